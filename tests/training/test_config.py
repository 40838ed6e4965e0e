"""Recipes: what ships loads, and a mistake gets one line that names it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from avsr.base.errors import AvsrError
from avsr.model.config import ModelConfig
from avsr.model.tokenizer import BLANK, Tokenizer
from avsr.training.config import TrainConfig, _tell_former, load_recipe


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("grid-tiny", "grid-tiny"),
        ("grid-finetune", "grid-whisper"),
        ("grid", "grid-whisper"),
        ("lrs", "lrs"),
    ],
)
def test_shipped_recipes_build_their_network(name: str, size: str) -> None:
    assert load_recipe(name).network(Tokenizer((BLANK, "a"))).name == size


def test_a_run_takes_the_shape_of_the_model_that_it_starts_from() -> None:
    init = ModelConfig(name="mine", tokens=(BLANK, "b"), dim=32, language="fr")
    config = load_recipe("finetune", ["model.dropout=0.3"])
    network = config.network(Tokenizer((BLANK, "b", "c")), "fr", init)
    grown = {"tokens": (BLANK, "b", "c"), "dropout": 0.3}
    assert network == init.model_copy(update=grown)
    with pytest.raises(AvsrError, match="size = init: name the model with --set init=MODEL"):
        config.network(Tokenizer((BLANK, "b")))


def test_values_from_the_command_line_win(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('size = "grid"\n[optim]\nsteps = 7\n')
    config = load_recipe(
        str(path), ["optim.steps=9", "model.fusion=late", "augment.noise_dir=some/where"]
    )
    assert (config.size, config.optim.steps, config.model) == ("grid", 9, {"fusion": "late"})
    assert config.augment.noise_dir == Path("some/where")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optim.stepz=3", "optim.stepz"),
        ("optim.lr=-1", "optim.lr"),
        ("augment.flip=2", "augment.flip"),
        ("augment.join=0.1", "augment.join"),
        ("augment.wrong_lips=0.6", "augment.wrong_lips"),
        ("data.join=2", "data.join"),
        ("data.use=ears", "data.use"),
        ("augment.snr_low_db=30", "augment.snr_high_db = 20.0: at least snr_low_db"),
        ("augment.spans=0.45", "augment.unindicated = .*: spans and unindicated are shares"),
        ("augment.talker=0.5", "augment.babble = .*: talker and babble are shares"),
        (
            "augment.homophenes=0.2",
            "augment.homophene_groups = .*: homophenes is above 0: name the groups",
        ),
        (
            "augment.homophene_groups=['b p', 'c c']",
            "homophene_groups = .*: each is a group of two words or more",
        ),
        ("loss.lips_only=0.8", "loss.sound_only = 0.3: lips_only and sound_only are shares"),
        ("freeze=video_frontend", "freeze"),
        ("init_parts=['video_frontend']", "init_parts = .*: these parts are taken from init"),
        ("optim.precision=int4", "optim.precision"),
        ("loss.stream=inf", "loss.stream = inf: "),
        ("loss.blank=nan", "loss.blank = nan: "),
        ("loss.mwer=1e30", "loss.mwer"),
        ("optim.clip_norm=inf", "optim.clip_norm = inf: "),
        ("optim.lr=nan", "optim.lr = nan: "),
        ("optim.steps=inf", "optim.steps = inf: "),
        ("optim.steps=0", "optim.steps = 0: "),
        ("optim.steps=true", "optim.steps = True: "),
        ("optim.warmup=-3", "optim.warmup = -3: "),
        ("data.cache_gb=inf", "data.cache_gb = inf: "),
        (f"seed={'7' * 30}", "seed = 7{30}: "),
        (f"seed={'7' * 5000}", "seed = '7{39}\\.\\.\\.: "),
        (f"seed={'[' * 5000}", r"seed = '\[{39}\.\.\.: "),
        ("seed=-1", "seed = -1: "),
        ("devices=0", "devices = 0: "),
        ("nodes=1000000", "nodes = 1000000: "),
        ("log_every=0", "log_every = 0: "),
        ("init=http://a/b.safetensors", r"init http://a/b\.safetensors: a URL: fetch it"),
        ("augment.noise_dir=s3://a/b", "noise_dir s3://a/b: a URL"),
        ("nonsense", "nonsense"),
        ("seed.x=1", "seed"),
    ],
)
def test_mistakes_are_named_in_one_line(override: str, named: str) -> None:
    base = ["seed=1"] if override.startswith("seed") else []
    with pytest.raises(AvsrError, match=named) as error:
        load_recipe("grid-tiny", [*base, override])
    assert "\n" not in str(error.value)


def numbers(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """All numeric fields below a section by their dotted names."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from numbers(kind, f"{prefix}{name}.")
        elif kind in (int, float):
            yield prefix + name, field


def test_every_number_is_finite_and_has_bounds() -> None:
    found = dict(numbers(TrainConfig))
    assert len(found) > 40
    for name, field in found.items():
        bounds = {
            kind
            for bound in field.metadata
            for kind in ("ge", "gt", "le", "lt")
            if hasattr(bound, kind)
        }
        assert bounds & {"ge", "gt"}, name
        assert bounds & {"le", "lt"}, name
        for value in ("inf", "-inf", "nan", "1e400", f"-{'9' * 40}", "9" * 40):
            with pytest.raises(AvsrError, match=rf"recipe grid-tiny: {name} = ") as error:
                load_recipe("grid-tiny", [f"{name}={value}"])
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["size=huge", "model.dim=30", "model.colour=1"])
def test_impossible_networks_are_named(override: str) -> None:
    with pytest.raises(AvsrError, match=override.split("=")[0].split(".")[-1]):
        load_recipe("grid-tiny", [override]).network(Tokenizer((BLANK, "a")))


def test_unknown_and_broken_recipes(tmp_path: Path) -> None:
    with pytest.raises(AvsrError, match="grid-tiny"):
        load_recipe("no-such-recipe")
    broken = tmp_path / "broken.toml"
    broken.write_text("[optim\n")
    with pytest.raises(AvsrError, match="TOML"):
        load_recipe(str(broken))


def test_former_names_of_keys_are_read_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = tmp_path / "old.toml"
    recipe.write_text("[augment]\nsilent = 0.1\n[loss]\nspace = 0.4\nquiet = 0.3\n")
    _tell_former.cache_clear()
    config = load_recipe(str(recipe), ["loss.space=0.5", "loss.blank=0.2"])
    assert (config.augment.unindicated, config.loss.contrastive, config.loss.blank) == (
        0.1,
        0.5,
        0.2,
    )
    told = [record.getMessage() for record in caplog.records]
    assert sorted(told) == [
        "augment.silent is deprecated: the key is called augment.unindicated now",
        "loss.quiet is deprecated: the key is called loss.blank now",
        "loss.space is deprecated: the key is called loss.contrastive now",
    ]
    kept = TrainConfig.model_validate({"loss": {"word_errors": 0.7}})
    assert kept.loss.mwer == 0.7
