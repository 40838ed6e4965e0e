"""Training as a user runs it: it learns, survives a kill to the bit, and stops on a bad loss."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from safetensors.torch import load_file
from toy import SHAPE, TEXTS, make_clip

from avsr.base.errors import AvsrError
from avsr.decoding.ctc import greedy
from avsr.model import checkpoint
from avsr.model.config import SIZES, ModelConfig
from avsr.model.network import AVSR
from avsr.model.tokenizer import BLANK, Tokenizer
from avsr.recognisers.ours import load
from avsr.training import train as module
from avsr.training.config import LossConfig, load_recipe
from avsr.training.data.batch import Batch, collate
from avsr.training.losses import Objective, distil, weights_at
from avsr.training.run.start import load_matching
from avsr.training.run.state import write_state
from avsr.training.train import Run, compile_blocks, learning_rate, parameter_groups, train

RECIPE = """
size = "grid-tiny"
log_every = 1
val_every = 1000
save_every = 3
[data]
max_frames = 100
workers = 0
cache_gb = 1
[optim]
steps = 10
warmup = 2
precision = "32-true"
[model]
"""
RECIPE += "".join(f"{name} = {value}\n" for name, value in SHAPE.items())


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture
def run_of_one_step(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, one_step: dict[str, Path]
) -> tuple[str, Path, Path]:
    """Recipe, data and a folder of its own with what one step left; trained once."""
    folder = corpus()
    if "run" not in one_step:
        made = Path(tempfile.mkdtemp(dir=tmp_path.parent))
        train(recipe, [folder], made, overrides=["optim.steps=1"], say=quiet)
        one_step["run"] = made
    return recipe, folder, Path(shutil.copytree(one_step["run"], tmp_path / "run"))


@pytest.fixture(scope="module")
def one_step() -> dict[str, Path]:
    return {}


def quiet(_: str) -> None: ...


def test_overfits_a_handful_of_clips_to_no_error(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    plain = [
        "augment.speed=0",
        "augment.noise=0",
        "augment.equalise=0",
        "augment.spans=0",
        "augment.unindicated=0",
    ]
    plain += [
        "augment.mel_masks=0",
        "augment.video_masks=0",
        "augment.shift_px=0",
        "augment.rotate_deg=0",
    ]
    plain += [
        "data.join=0",
        "augment.non_speech=0",
        "augment.formants=0",
        "augment.scale=0",
        "augment.flip=0",
    ]
    plain += [
        "augment.voice=0",
        "augment.wrong_lips=0",
        "augment.out_of_sync=0",
        "augment.warp_px=0",
        "augment.codec=0",
    ]
    plain += ["augment.picture=0", "model.dropout=0", "optim.ema=0.9"]
    plain += ["optim.steps=300", "optim.lr=3e-3", "save_every=300", "log_every=50"]
    path = train(recipe, [corpus()], tmp_path / "run", overrides=plain, say=quiet)
    model, _ = checkpoint.load(path)
    tokenizer = Tokenizer(model.config.tokens)
    for use_audio, use_video in ((True, True), (True, False), (False, True)):
        for number, text in enumerate(TEXTS):
            clip = make_clip(number, text)
            with torch.inference_mode():
                output = model(
                    torch.from_numpy(clip.audio)[None],
                    torch.from_numpy(clip.lips)[None],
                    torch.from_numpy(clip.audio_present & use_audio)[None],
                    torch.from_numpy(clip.video_present & use_video)[None],
                    torch.tensor([clip.frames]),
                )
            assert tokenizer.decode(greedy(output.log_probs, output.lens)[0]) == text


@pytest.mark.slow
def test_killed_and_resumed_ends_with_the_same_weights(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder = corpus()
    whole = train(recipe, [folder], tmp_path / "whole", say=quiet)
    out = tmp_path / "killed"
    # Slow the victim down after its first state is saved, so that the kill falls between saves.
    code = f"""
import time
from avsr.training.train import train
def say(line):
    if line.startswith("step 5/"):
        print("now", flush=True)
        time.sleep(600)
train({recipe!r}, [{str(folder)!r}], {str(out)!r}, say=say)
"""
    victim = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    assert any(line.strip() == "now" for line in victim.stdout)
    victim.kill()
    victim.wait()
    assert (out / "model.safetensors").read_bytes() != whole.read_bytes()
    lines: list[str] = []
    resumed = train(recipe, [folder], out, resume=True, say=lines.append)
    assert any("step 3 of 10" in line for line in lines)
    first, second = load_file(whole), load_file(resumed)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "more",
    [
        [],
        ['freeze=["video_frontend", "audio_stream"]', "data.use=video"],
        ["optim.accumulate=2", "tokens.kind=pieces", "tokens.size=20"],
        ["data.stream=yes", "data.shuffle_frames=50"],
    ],
)
def test_a_run_that_is_interrupted_and_resumed_ends_with_the_same_weights(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, more: list[str]
) -> None:
    """Also one with every new thing that is drawn: followers, voices, lips that do not fit."""
    drawn = [
        "augment.voice=0.5",
        "augment.wrong_lips=0.3",
        "augment.out_of_sync=0.3",
        "data.join=0.5",
    ]
    overrides = ["optim.steps=7", *drawn, *more]
    folder, out = corpus(), tmp_path / "stopped"

    def stop(line: str) -> None:
        if line.startswith("step 5/"):
            raise KeyboardInterrupt

    whole = load_file(train(recipe, [folder], tmp_path / "whole", overrides=overrides, say=quiet))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, [folder], out, overrides=overrides, say=stop)
    resumed = load_file(train(recipe, [folder], out, resume=True, overrides=overrides, say=quiet))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_batches_one_after_the_other_make_the_step_of_all_their_clips_at_once(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    """Whatever their sizes; what differs inside a batch is left out: statistics, other clips."""
    alike = ["loss.streams_first=0", "loss.contrastive=0", "loss.lips_only=0", "loss.sound_only=0"]
    alike += ["model.dropout=0", "augment.borrow=0", "augment.wrong_lips=0", "augment.spans=0"]
    alike += ["augment.out_of_sync=0", "augment.non_speech=0", "loss.frame=0", "loss.blank=0"]
    config = load_recipe(recipe, [*alike, "augment.unindicated=0"])
    folder, found = corpus(), []
    for parts in ([6], [2, 4]):
        run = Run(config, [folder], tmp_path / f"{len(parts)}", quiet)
        for part in run.model.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eval()
        items = iter([run.dataset[(0, i, ())] for i in range(6)])
        batches = [collate([next(items) for _ in range(count)]) for count in parts]
        found.append(run._update(batches))
    for name in ("total", "fused", "audio_stream", "gradient"):
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_compiled_blocks_are_the_same_blocks_with_the_same_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the generated code, which takes minutes: it is PyTorch's."""
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **more: compiled(self, backend="eager", **more)
    )
    shape = {"dim": 32, "heads": 2, "stream_layers": 0, "cross_layers": 0, "joint_layers": 1}
    model = AVSR(ModelConfig(tokens=(BLANK, "a"), fusion="early", dropout=0, **shape))
    block, names = model.joint[0], list(model.state_dict())
    x, valid = torch.randn(2, 9, 32), torch.arange(9) < torch.tensor([[9], [5]])
    plain = block(x, valid)
    compile_blocks(model)
    torch.testing.assert_close(block(x, valid), plain)
    assert list(model.state_dict()) == names


def test_a_full_disk_and_a_damaged_shard_stop_a_run_which_goes_on_as_if_nothing_had_been(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out, four = corpus(), tmp_path / "run", ["optim.steps=4", "save_every=2"]
    whole = load_file(train(recipe, [folder], tmp_path / "whole", False, four, quiet))
    saved = torch.save

    def full(kept: dict[str, Any], file: BinaryIO) -> None:
        if kept["step"] == 4:
            file.write(b"a part of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        saved(kept, file)

    with monkeypatch.context() as disk:
        disk.setattr(torch, "save", full)
        with pytest.raises(AvsrError, match=r"cannot save step 4 \(.*No space left .*--resume"):
            train(recipe, [folder], out, False, four, quiet)
    assert torch.load(out / module.STATE, weights_only=True)["step"] == 2
    assert not list(out.glob("*.tmp"))

    (shard,) = folder.glob("*.tar")
    good = shard.read_bytes()
    shard.write_bytes(good[: len(good) // 2])
    with pytest.raises(AvsrError, match=rf"{shard.name}"):
        train(recipe, [folder], out, True, four, quiet)
    shard.write_bytes(good)
    resumed = load_file(train(recipe, [folder], out, True, four, quiet))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_state_that_has_no_room_says_so_and_leaves_the_last_one(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / module.STATE
    write_state(path, {"step": 2})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(AvsrError, match=r"cannot save step 4 \(File too large\): free"):
            write_state(path, {"step": 4, "weights": torch.zeros(1 << 20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_run_is_not_overwritten_nor_resumed_with_another_recipe(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = corpus(), tmp_path / "run"
    train(recipe, [folder], out, overrides=["optim.steps=1"], say=quiet)
    with pytest.raises(AvsrError, match="--resume"):
        train(recipe, [folder], out, say=quiet)
    more = ["optim.steps=2", "model.dim=64", "model.crop=48", "seed=3"]
    told = (
        r"model.crop = 48 \(was 32\), model.dim = 64 \(was 32\), seed = 3 \(was 0\)\. "
        r".* --set init=.*model.saf"
    )
    with pytest.raises(AvsrError, match=told):
        train(recipe, [folder], out, resume=True, overrides=more, say=quiet)


def test_a_resumed_run_may_be_longer_and_its_optimiser_another(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out, lines = corpus(), tmp_path / "run", []
    train(recipe, [folder], out, overrides=["optim.steps=4"], say=quiet)
    more = [
        "optim.steps=6",
        "optim.lr=5e-4",
        "optim.weight_decay=0",
        "data.workers=1",
        "data.cache_gb=0",
    ]
    path = train(recipe, [folder], out, resume=True, overrides=more, say=lines.append)
    assert lines[:2] == [
        "resumed with data.cache_gb = 0.0 (was 1.0)",
        "resumed with data.workers = 1 (was 0)",
    ]
    assert "resumed with optim.lr = 0.0005 (was 0.001)" in lines
    assert any(
        line.startswith("resumed with optim.steps = 6 (was 4): learning rate and ")
        for line in lines
    )
    assert [line.split()[1] for line in lines if line.startswith("step ")] == ["5/6", "6/6"]
    rate = learning_rate(4, load_recipe(recipe, more))
    assert f"lr {rate:.1e}" in next(line for line in lines if line.startswith("step 5/6"))
    assert checkpoint.load(path)[1]["step"] == 6
    with pytest.raises(
        AvsrError, match=r"optim.steps = 3, but .* has trained 6 steps already: ask for more"
    ):
        train(recipe, [folder], out, resume=True, overrides=[*more, "optim.steps=3"], say=quiet)


def test_a_run_is_not_resumed_on_other_clips_nor_from_the_state_of_something_else(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out, two = corpus(), tmp_path / "run", ["optim.steps=1"]
    train(recipe, [folder], out, overrides=two, say=quiet)
    more = corpus([make_clip(60, "zoo a"), make_clip(61, "set b")])
    with pytest.raises(
        AvsrError, match="was trained on other clips: resume it with the same --data"
    ):
        train(recipe, [folder, more], out, resume=True, overrides=two, say=quiet)
    torch.save({"epoch": 3}, out / module.STATE)
    with pytest.raises(AvsrError, match="not a saved state of this version"):
        train(recipe, [folder], out, resume=True, overrides=two, say=quiet)
    (out / module.STATE).unlink()
    with pytest.raises(AvsrError, match=r"holds a model.safetensors already"):
        train(recipe, [folder], out, overrides=two, say=quiet)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_batch(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, batch: object, progress: float) -> dict:
        return {
            "both": torch.tensor(torch.nan),
            "total": torch.tensor(torch.nan, requires_grad=True),
        }

    monkeypatch.setattr(Objective, "forward", broken)
    with pytest.raises(AvsrError, match=r"step 0: loss not finite \(both, total\)"):
        train(recipe, [corpus()], tmp_path / "run", say=quiet)
    saved = load_file(tmp_path / "run" / "bad_batch.safetensors")
    assert {"audio", "lips", "targets"} <= saved.keys()


def test_a_kill_between_the_state_and_the_model_loses_nothing(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    folder, out, one = corpus(), tmp_path / "run", ["optim.steps=1"]
    whole = load_file(train(recipe, [folder], tmp_path / "whole", overrides=one, say=quiet))
    with monkeypatch.context() as before:
        before.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, [folder], out, overrides=one, say=quiet)
    resumed = load_file(train(recipe, [folder], out, resume=True, overrides=one, say=quiet))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def root_of_nothing(losses: dict[str, torch.Tensor], objective: Objective) -> None:
    """The root of the distance from itself is 0, and its slope there is not finite."""
    weight = objective.model.head.weight
    losses["total"] = losses["total"] + (weight - weight.detach()).abs().sqrt().sum()


def infinite_weight(losses: dict[str, torch.Tensor], objective: Objective) -> None:
    """Of a part that plays no part in the losses."""
    with torch.no_grad():
        objective.model.audio_space.weight[0, 0] = torch.inf


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (root_of_nothing, "gradient not finite, though the loss is"),
        (infinite_weight, "audio_space.weight not finite"),
    ],
)
def test_what_is_not_finite_stops_the_run_before_anything_is_saved_over(
    recipe: str,
    corpus: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Any,
    told: str,
) -> None:
    """At step 4 of 7, where step 3 was saved; without the fault the run then ends as if nothing had
    been."""
    folder, out = corpus(), tmp_path / "run"
    overrides = ["optim.steps=7", "log_every=5", "save_every=3", "loss.contrastive=0"]
    whole = load_file(train(recipe, [folder], tmp_path / "whole", overrides=overrides, say=quiet))
    sound, kept = Objective.forward, {}

    def faulty(self: Objective, batch: Batch, progress: float) -> dict[str, torch.Tensor]:
        losses = sound(self, batch, progress)
        if progress == 4 / 7:
            kept.update(
                batch=batch,
                state=(out / "state.ckpt").read_bytes(),
                model=(out / "model.safetensors").read_bytes(),
            )
            fault(losses, self)
        return losses

    with monkeypatch.context() as broken:
        broken.setattr(Objective, "forward", faulty)
        with pytest.raises(
            AvsrError, match=rf"^step [45]: .*{told}.*; the batch is in .*--resume"
        ) as error:
            train(recipe, [folder], out, overrides=overrides, say=quiet)
    assert "\n" not in str(error.value)
    assert (out / "state.ckpt").read_bytes() == kept["state"]
    assert (out / "model.safetensors").read_bytes() == kept["model"]
    saved = load_file(out / "bad_batch.safetensors")
    if fault is root_of_nothing:
        assert saved.keys() == dict(kept["batch"].tensors()).keys()
        assert all(torch.equal(saved[name], value) for name, value in kept["batch"].tensors())
    resumed = load_file(train(recipe, [folder], out, resume=True, overrides=overrides, say=quiet))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "tensorboard",
        "config.json",
        "dropped.txt",
        "state.ckpt",
        "model.safetensors",
        "bad_batch.safetensors",
    ],
)
def test_a_folder_that_cannot_be_written_to_is_told_before_any_work(
    run_of_one_step: tuple[str, Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    resume: bool,
) -> None:
    recipe, folder, out = run_of_one_step
    out = out if resume else tmp_path / "new"
    path = out / name
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    out.mkdir(exist_ok=True)
    path.touch() if name == "tensorboard" else path.mkdir()
    monkeypatch.setattr(module, "Run", None)
    with pytest.raises(
        AvsrError, match=rf"{name} is there already and is no (file|folder)"
    ) as error:
        train(recipe, [folder], out, resume=resume, overrides=["optim.steps=2"], say=quiet)
    assert "\n" not in str(error.value)


def test_an_out_that_is_a_file_or_below_one_is_told_before_any_work(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "Run", None)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        with pytest.raises(
            AvsrError, match=r"file is there already and is no folder: choose another --out"
        ):
            train(recipe, [corpus()], out, say=quiet)
    with pytest.raises(AvsrError, match=r"cannot be written to .*: choose another --out"):
        train(recipe, [corpus()], tmp_path / ("x" * 300), say=quiet)
    monkeypatch.setattr("os.access", lambda *_: False)  # tests may run as root
    with pytest.raises(AvsrError, match=r"cannot be written to: choose another --out"):
        train(recipe, [corpus()], tmp_path / "new", say=quiet)


def test_resume_begins_where_nothing_was_saved_and_says_so(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    """A script that always resumes: its first start, one that was stopped before the first save,
    and a later one."""
    folder, out, lines = corpus(), tmp_path / "run", []

    def stop(line: str) -> None:
        lines.append(line)
        if line.startswith("step 1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, [folder], out, resume=True, overrides=["optim.steps=2"], say=stop)
    train(recipe, [folder], out, resume=True, overrides=["optim.steps=2"], say=lines.append)
    told = [
        line for line in lines if "no saved state to resume from: the run begins at step 0" in line
    ]
    assert len(told) == 2
    later: list[str] = []
    train(recipe, [folder], out, resume=True, overrides=["optim.steps=3"], say=later.append)
    assert not any("no saved state" in line for line in later)
    assert any("step 2 of 3" in line for line in later)


def test_a_state_that_cannot_be_used_is_named_in_one_line(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = corpus(), tmp_path / "run"
    train(recipe, [folder], out, overrides=["optim.steps=1"], say=quiet)
    path = out / "state.ckpt"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1  # in the middle of a tensor
    foreign = pickle.dumps({"objective": {}, "print": print})
    for content in (
        b"",
        b"nonsense",
        b"\x80\x02}q\x00.",
        foreign,
        whole[:1000],
        whole[:-1000],
        bytes(flipped),
    ):
        path.write_bytes(content)
        with pytest.raises(
            AvsrError, match=r"state.ckpt: (empty|damaged, or not a saved state): .* --set init="
        ) as error:
            train(recipe, [folder], out, resume=True, overrides=["optim.steps=1"], say=quiet)
        assert "\n" not in str(error.value)
        assert "weights_only" not in str(error.value)


def lack(*keys: str) -> Any:
    """Removes what lies under these keys, the last one in all of a list's items."""

    def change(state: dict) -> None:
        for key in keys[:-1]:
            state = state[key]
        for one in state if isinstance(state, list) else [state]:
            del one[keys[-1]]

    return change


def of_state(*keys: Any) -> Any:
    """Changes the tensor under these keys with the last of them, a function."""
    *path, name, new = keys

    def change(state: dict) -> None:
        for key in path:
            state = state[key]
        state[name] = new(state[name])

    return change


def not_a_number(value: torch.Tensor) -> torch.Tensor:
    return value * torch.nan


def below_zero(value: torch.Tensor) -> torch.Tensor:
    return value - 2


def recipe_without(key: str) -> Any:
    section, _, name = key.partition(".")

    def change(state: dict) -> None:
        config = json.loads(state["config"])
        del config[section][name]
        state["config"] = json.dumps(config)

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        *(
            (lack(key), f"no '{key}' in it")
            for key in ("objective", "optimizer", "average", "step", "config", "data")
        ),
        (lack("objective", "audio_frames.weight"), "had no audio_frames.weight"),
        (lambda state: state["objective"].update(more=torch.zeros(1)), "had more"),
        (lack("average", "head.bias"), "had no head.bias"),
        (
            lambda state: state["average"].update({"head.bias": torch.zeros(3)}),
            r"\(head.bias\) has another shape",
        ),
        (lack("optimizer", "state"), "kept no 'param_groups'"),
        (lack("optimizer", "param_groups", "share"), "had no share"),
        (lack("optimizer", "state", 0, "exp_avg"), "had another exp_avg"),
        (lambda state: state["optimizer"]["param_groups"].pop(), "other groups of parameters"),
        *(
            (
                lambda state, wrong=wrong: state["optimizer"].update(param_groups=wrong),
                "'param_groups'",
            )
            for wrong in (
                [1, 2],
                [],
                {},
                "x",
                [{"params": 3}],
                [{"params": torch.zeros(2)}],
                [[]] * 4,
            )
        ),
        *(
            (lambda state, wrong=wrong: state["optimizer"].update(state=wrong), "'state'")
            for wrong in ([1], {}, {"x": {}}, {0: 5}, None)
        ),
        (
            lambda state: state["optimizer"]["state"].pop(0),
            "damaged .* in 'state' of its optimiser",
        ),
        (
            of_state("objective", "model.head.bias", torch.Tensor.int),
            r"\(model.head.bias\) has another type",
        ),
        (
            of_state("average", "head.weight", torch.Tensor.double),
            r"\(head.weight\) has another type",
        ),
        (
            of_state("average", "head.weight", torch.Tensor.to_sparse),
            r"\(head.weight\) has another type",
        ),
        (
            of_state("objective", "model.head.bias", not_a_number),
            r"damaged \(model.head.bias not finite",
        ),
        (
            of_state("average", "head.bias", not_a_number),
            r"damaged \(averaged head.bias not finite",
        ),
        (
            of_state("optimizer", "state", 0, "exp_avg", not_a_number),
            "damaged .*exp_avg of parameter 0 not finite",
        ),
        (
            of_state("optimizer", "state", 0, "exp_avg_sq", below_zero),
            "damaged .*exp_avg_sq of parameter 0 below 0",
        ),
        (
            of_state("optimizer", "state", 0, "exp_avg_sq", torch.Tensor.int),
            "had another exp_avg_sq",
        ),
        (
            of_state("optimizer", "state", 0, "step", below_zero),
            "damaged .*step of parameter 0 below 0",
        ),
        (lambda state: state["average"].update({7: torch.zeros(1), "more": 1}), "had 7"),
        (recipe_without("augment.picture"), "recipes had no augment.picture"),
        (recipe_without("optim.ema"), "recipes had no optim.ema"),
        (
            lambda state: state.update(config=state["config"].replace('"ema"', '"emma"')),
            "recipes had",
        ),
        (lambda state: state.update(step=-1), r"damaged \(-1 steps"),
        (lambda state: state.update(step=True), r"damaged \(True steps"),
        (lambda state: state.update(batches=-5), "damaged .* -5 batches"),
        (lambda state: state.update(batches=10**15), "damaged .* 10+ batches"),
    ],
)
def test_a_state_of_another_version_is_known_by_whatever_it_lacks_or_has(
    run_of_one_step: tuple[str, Path, Path], change: Any, named: str
) -> None:
    recipe, folder, out = run_of_one_step
    state = torch.load(out / "state.ckpt", weights_only=True)
    change(state)
    torch.save(state, out / "state.ckpt")
    with pytest.raises(
        AvsrError, match=rf"{named}.*: go on from its weights with --set init=.*model\.saf"
    ) as error:
        train(recipe, [folder], out, resume=True, overrides=["optim.steps=2"], say=quiet)
    assert "\n" not in str(error.value)


def test_a_state_that_does_not_say_how_much_was_trained_is_resumed(
    run_of_one_step: tuple[str, Path, Path],
) -> None:
    recipe, folder, out = run_of_one_step
    state = torch.load(out / "state.ckpt", weights_only=True)
    del state["trained"]
    torch.save(state, out / "state.ckpt")
    path = train(recipe, [folder], out, resume=True, overrides=["optim.steps=2"], say=quiet)
    assert checkpoint.load(path)[1]["step"] == 2


def test_the_log_says_what_is_going_on(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    lines: list[str] = []
    val = corpus([make_clip(50, "bin a"), make_clip(51, "set b")], split="val")
    clips = [*(make_clip(i, text) for i, text in enumerate(TEXTS)), make_clip(9, "bin a", frames=2)]
    train(
        recipe,
        [corpus(clips), val],
        tmp_path / "run",
        overrides=["optim.steps=2", "val_every=2"],
        say=lines.append,
    )
    text = "\n".join(lines)
    assert "dropped clip9" in text
    assert "step 2/2 total" in text
    assert "clips/s" in text
    assert "min left" in text
    assert "WER % on 2 validation clips: both" in text
    assert list((tmp_path / "run" / "tensorboard").iterdir())


def test_a_run_of_a_size_that_has_changed_is_not_resumed_but_started_from(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = corpus()
    with monkeypatch.context() as before:
        before.setitem(SIZES, "grid-tiny", {})  # one output a frame, as it once was
        old = train(recipe, [folder], tmp_path / "old", overrides=["optim.steps=1"], say=quiet)
    with pytest.raises(
        AvsrError,
        match=r"another shape: go on from its weights with --set init=.*model\.safetensors",
    ):
        train(
            recipe, [folder], tmp_path / "old", overrides=["optim.steps=1"], resume=True, say=quiet
        )
    lines: list[str] = []
    new = train(
        recipe,
        [folder],
        tmp_path / "new",
        overrides=["optim.steps=1", f"init={old}"],
        say=lines.append,
    )
    taken, _, whole, *_ = next(line for line in lines if "tensors taken" in line).split()
    assert taken == whole  # the heads too
    assert checkpoint.load(new)[0].config.outputs_per_frame == 2


def test_starting_from_a_model_keeps_its_vocabulary(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    path = train(recipe, [corpus()], tmp_path / "a", overrides=["optim.steps=1"], say=quiet)
    few = corpus([make_clip(0, "bin a")])
    tuned = train(
        recipe, [few], tmp_path / "b", overrides=["optim.steps=1", f"init={path}"], say=quiet
    )
    assert checkpoint.load(tuned)[0].config.tokens == checkpoint.load(path)[0].config.tokens


def test_the_recipes_for_large_corpora_at_the_size_of_a_toy(
    corpus: Callable[..., Path], tmp_path: Path
) -> None:
    """From pieces and an attention decoder beside CTC to a model that goes on from there."""
    folder = corpus()
    few = ["data.workers=0", "data.max_frames=75", "optim.steps=1", "log_every=1"]
    tiny = [f"model.{name}={value}" for name, value in SHAPE.items()]
    tiny += ["model.decoder_layers=1", "tokens.size=20", "optim.accumulate=2"]
    lines: list[str] = []
    more = [*tiny, *few, "loss.streams_first=0"]
    first = train("lrs", [folder], tmp_path / "a", False, more, lines.append)
    assert any(" attention " in line for line in lines)
    network = checkpoint.load(first)[0]
    assert network.config.language == "en"
    more = [*few, f"init={first}", "optim.lr=1e-9"]
    second = train("finetune", [folder], tmp_path / "b", False, more, quiet)
    assert checkpoint.load(second)[0].config == network.config
    told = next(iter(load(f"{second}?beam=2").recognise([make_clip(0, TEXTS[0])])))
    assert told.text == " ".join(word.word for word in told.words)


# ----------------------------------------------------------------------------- parts of the network


def weights_of(path: Path, part: str) -> dict[str, torch.Tensor]:
    """Weights and buffers of a part in a state file's model that is trained, not averaged."""
    state = torch.load(path / "state.ckpt", weights_only=True)["objective"]
    return {name: value for name, value in state.items() if name.startswith(f"model.{part}.")}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def test_frozen_parts_keep_their_weights_and_their_statistics(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    """Two steps on what another run left; what is taken from it is what init_parts names."""
    folder, first, second = corpus(), tmp_path / "a", tmp_path / "b"
    start = train(recipe, [folder], first, overrides=["optim.steps=2"], say=quiet)
    assert start is not None
    frozen = ["video_frontend.stem", "video_frontend.stages", "audio_frontend"]
    parts = ["init_parts=['video_frontend', 'video_stream']", f"freeze={frozen}"]
    more = [
        "optim.steps=2",
        "data.join=0",
        "augment.non_speech=0",
        "seed=1",
        f"init={start}",
        *parts,
    ]
    end = train(recipe, [folder], second, overrides=more, say=quiet)
    assert end is not None
    before, after = load_file(start), load_file(end)  # averages
    frozen = [
        name
        for name in before
        if name.startswith(("video_frontend.stem.", "video_frontend.stages."))
    ]
    assert any("running_mean" in name for name in frozen)
    assert any("num_batches_tracked" in name for name in frozen)
    for name in frozen:
        assert torch.equal(after[name], before[name])
        assert torch.equal(weights_of(second, "video_frontend")[f"model.{name}"], before[name])
    # is trained
    assert not same(weights_of(first, "video_stream"), weights_of(second, "video_stream"))
    torch.manual_seed(1)
    fresh = AVSR(checkpoint.load(end)[0].config)
    kept = {
        f"model.audio_frontend.{name}": value
        for name, value in fresh.audio_frontend.state_dict().items()
    }
    # frozen as it started: not taken, not trained
    assert same(weights_of(second, "audio_frontend"), kept)
    assert not same(weights_of(first, "audio_frontend"), kept)


def test_only_the_parts_that_are_named_are_taken() -> None:
    def model(seed: int, **changes: int) -> AVSR:
        torch.manual_seed(seed)
        return AVSR(ModelConfig(tokens=(BLANK, "a"), **SHAPE | changes))

    source, fresh = model(1).state_dict(), model(2).state_dict()
    for parts in (("video_frontend",), ("audio_stream", "head"), ()):
        own = model(2)
        taken, whole = load_matching(own, model(1), parts)
        assert whole == len(fresh)
        assert len(taken) == sum(not parts or name.split(".")[0] in parts for name in fresh)
        for name, value in own.state_dict().items():
            named = not parts or name.split(".")[0] in parts
            torch.testing.assert_close(
                value, source[name] if named else fresh[name], atol=0, rtol=0
            )
    own = model(2)
    blocks = {name for name in fresh if name.startswith("video_stream.blocks.")}
    assert load_matching(own, model(1), ("video_stream.blocks",))[0] == blocks
    other = model(2, audio_width=6)
    load_matching(other, model(1))  # what has another shape keeps its fresh start
    assert other.audio_frontend.conv1.weight.shape[0] == 6
    torch.testing.assert_close(
        other.audio_frontend.absent, source["audio_frontend.absent"], atol=0, rtol=0
    )
    with pytest.raises(AvsrError, match="audio_frontend cannot be taken from init"):
        load_matching(model(2, audio_width=6), model(1), ("video_frontend", "audio_frontend"))
    with pytest.raises(AvsrError, match="joint cannot be taken from init"):
        load_matching(model(2, joint_layers=1), model(1, joint_layers=2), ("joint",))
    with pytest.raises(AvsrError, match="no part '' in the network"):
        load_matching(model(2), model(1), ("",))
    with pytest.raises(AvsrError, match="head cannot be taken from init"):
        load_matching(model(2, dim=64), model(1), ("head", "joint"))


def test_a_frozen_part_that_init_does_not_hold_ends_the_run_before_it_begins(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    deeper = ["optim.steps=1", "model.joint_layers=2"]
    start = train(recipe, [corpus()], tmp_path / "a", overrides=deeper, say=quiet)
    more = [f"init={start}", "freeze=['video_frontend', 'audio_frontend']", "model.audio_width=6"]
    with pytest.raises(AvsrError, match=r"freeze: audio_frontend of .* has another shape"):
        train(recipe, [corpus()], tmp_path / "b", overrides=more, say=quiet)
    with pytest.raises(AvsrError, match=r"freeze: joint of .* has another shape"):
        train(
            recipe,
            [corpus()],
            tmp_path / "b",
            overrides=[f"init={start}", "freeze=['joint']"],
            say=quiet,
        )


def test_what_a_model_owes_to_others_goes_with_its_weights(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    start = train(recipe, [corpus()], tmp_path / "a", overrides=["optim.steps=1"], say=quiet)
    assert start is not None
    model, info = checkpoint.load(start)
    checkpoint.save(
        tmp_path / "ear.safetensors",
        model,
        info | {"ear": "Whisper's", "license": "MIT", "card": "old"},
    )
    more = ["optim.steps=1", f"init={tmp_path / 'ear.safetensors'}"]
    end = train(recipe, [corpus()], tmp_path / "b", overrides=more, say=quiet)
    assert end is not None
    info = checkpoint.load(end)[1]
    assert info["license"] == "MIT"
    assert "ear" not in info  # this network has none of Whisper's
    assert "card" not in info
    shape = [
        "model.audio_frontend=whisper",
        "model.audio_width=64",
        "model.audio_layers=1",
        "optim.steps=1",
    ]
    start = train(recipe, [corpus()], tmp_path / "c", overrides=shape, say=quiet)
    assert start is not None
    checkpoint.save(tmp_path / "ear.safetensors", checkpoint.load(start)[0], {"ear": "Whisper's"})
    for more, kept in (([], True), (["init_parts=['video_frontend']"], False)):
        overrides = [*shape, f"init={tmp_path / 'ear.safetensors'}", *more]
        end = train(recipe, [corpus()], tmp_path / f"d{kept}", overrides=overrides, say=quiet)
        assert end is not None
        assert ("ear" in checkpoint.load(end)[1]) == kept


@pytest.mark.parametrize("key", ["freeze", "init_parts"])
def test_an_unknown_part_is_named_in_one_line(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, key: str
) -> None:
    start = train(recipe, [corpus()], tmp_path / "a", overrides=["optim.steps=1"], say=quiet)
    more = [f"init={start}", f"{key}=['video_frontend', 'ears']"]
    with pytest.raises(
        AvsrError, match=r"no part 'ears' in the network: choose among audio_frontend, "
    ) as error:
        train(recipe, [corpus()], tmp_path / "b", overrides=more, say=quiet)
    assert "\n" not in str(error.value)


# -------------------------------------------------------------------------------------- specialists


@pytest.mark.parametrize("use", ["audio", "video"])
def test_a_specialist_learns_from_one_modality(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, use: str
) -> None:
    lines: list[str] = []
    more = [
        f"data.use={use}",
        "optim.steps=3",
        "loss.streams_first=0.5",
        "loss.distil_start=0",
        "augment.non_speech=0",
    ]
    train(recipe, [corpus()], tmp_path / "run", overrides=more, say=lines.append)
    shown = next(line for line in lines if line.startswith("step 3/")).split()
    losses = {
        name: float(shown[shown.index(name) + 1]) for name in ("audio_stream", "video_stream", use)
    }
    other = "video" if use == "audio" else "audio"
    assert losses[f"{use}_stream"] > 0
    assert losses[use] > 0
    assert losses[f"{other}_stream"] == 0
    assert not {other, "both", "infonce_frames", "infonce_clips"} & set(shown)


@pytest.mark.parametrize(("use", "missing"), [("audio", "sound"), ("video", "lips")])
def test_nobody_learns_from_what_is_not_there(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, use: str, missing: str
) -> None:
    clips = [
        make_clip(i, text, video=use != "video", audio=use != "audio")
        for i, text in enumerate(TEXTS)
    ]
    lines: list[str] = []
    with pytest.raises(
        AvsrError, match=rf"no clip of split 'train' can be used: 6 are left out \(no {missing}"
    ):
        train(
            recipe,
            [corpus(clips)],
            tmp_path / "run",
            overrides=[f"data.use={use}"],
            say=lines.append,
        )
    assert [line.rpartition(": ")[2] for line in lines] == [
        f"no {missing}, and data.use is {use}"
    ] * len(TEXTS)


@pytest.mark.filterwarnings("ignore:.*fp16 is not supported on CPU")
def test_with_a_gradient_scaler_the_optimiser_lets_gradients_be_clipped(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path
) -> None:
    """Lightning clips no gradients of an optimiser that unscales them itself, as the fused one
    does."""
    config = load_recipe(recipe, ["optim.precision=16-mixed"])
    run = Run(config, [corpus()], tmp_path / "run", quiet)
    assert not getattr(run.optimizer.optimizer, "_step_supports_amp_scaling", False)


@pytest.mark.parametrize("split", ["nowhere", "train"])
def test_nothing_to_train_on_is_said(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, split: str
) -> None:
    folder = corpus([make_clip(0, "bin a", frames=2)])
    with pytest.raises(AvsrError, match=split):
        train(
            recipe, [folder], tmp_path / "run", overrides=[f"data.train_split={split}"], say=quiet
        )


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    config = load_recipe("grid-tiny", ["optim.steps=100", "optim.warmup=10", "optim.lr=1.0"])
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.001


def test_the_teacher_waits_and_the_frame_targets_fade() -> None:
    config = LossConfig(frame=1.0, frame_end=0.1, distil=0.5, distil_start=0.1)
    assert weights_at(0.0, config).distil == 0
    assert weights_at(0.2, config).distil == 0.5
    assert [round(weights_at(p, config).frame, 3) for p in (0, 0.25, 0.5, 1)] == [1, 0.55, 0.1, 0.1]


def test_a_student_who_agrees_has_nothing_to_learn() -> None:
    teacher = torch.randn(2, 5, 4).log_softmax(-1)
    everywhere = torch.ones(2, 5, dtype=torch.bool)
    tokens = torch.tensor(3)
    assert distil(teacher, teacher, everywhere, tokens).abs() < 1e-6
    assert distil(teacher.flip(-1), teacher, everywhere, tokens) > 0
    assert distil(teacher.flip(-1), teacher, ~everywhere, tokens) == 0


def test_a_whisper_encoder_learns_at_a_rate_of_its_own() -> None:
    shape = {
        "audio_frontend": "whisper",
        "audio_width": 64,
        "audio_layers": 1,
        "dim": 32,
        "heads": 2,
        "video_width": 4,
    }
    objective = Objective(AVSR(ModelConfig(tokens=(BLANK, "a"), **shape)), LossConfig())
    groups = parameter_groups(objective, load_recipe("grid-tiny", ["optim.encoder_lr=0.1"]))
    shares = {id(p): group["share"] for group in groups for p in group["params"]}
    encoder = list(objective.model.audio_frontend.encoder.parameters())
    assert [shares[id(p)] for p in encoder] == [0.1] * len(encoder)
    assert len(shares) == len(list(objective.parameters()))
    assert sum(share == 1.0 for share in shares.values()) == len(shares) - len(encoder)
    assert all(
        group["weight_decay"] == 0 for group in groups for p in group["params"] if p.ndim <= 1
    )


@pytest.mark.parametrize(
    "texts",
    [
        ["été à la", "où ça", "un été", "il a bu", "ça va", "le thé"],
        ["你好 世界", "今天 天气", "很好", "你好", "天气 很好", "世界"],
        ["größe", "straße", "für uns", "über", "öl", "das maß"],
        [text.upper() for text in TEXTS],
    ],
    ids=["French", "Chinese", "German", "capitals"],
)
def test_texts_of_another_alphabet_extend_the_vocabulary_of_init(
    run_of_one_step: tuple[str, Path, Path],
    corpus: Callable[..., Path],
    tmp_path: Path,
    texts: list[str],
) -> None:
    recipe, _, begun = run_of_one_step
    init, lines = begun / "model.safetensors", []
    known = checkpoint.load(init)[0]
    folder = corpus([make_clip(i, text) for i, text in enumerate(texts)])
    more = ["optim.steps=1", "optim.lr=1e-9", "optim.ema=0", f"init={init}"]
    path = train(recipe, [folder], tmp_path / "new", overrides=more, say=lines.append)
    model = checkpoint.load(path)[0]
    new = sorted({char for text in texts for char in text} - set(known.config.tokens))
    assert model.config.tokens == (*known.config.tokens, *new)
    assert any(" ".join(new) in line for line in lines)
    assert not any("dropped" in line for line in lines)
    assert any("6 clips" in line for line in lines)
    rows, outputs = len(known.config.tokens), known.config.outputs_per_frame
    head, kept = (m.head.weight.unflatten(0, (outputs, -1)) for m in (model, known))
    torch.testing.assert_close(head[:, :rows], kept, atol=1e-4, rtol=0)
    fed, kept = (m.audio_stream.feedback.weight.unflatten(1, (outputs, -1)) for m in (model, known))
    torch.testing.assert_close(fed[..., :rows], kept, atol=1e-4, rtol=0)
    assert head[:, rows:].abs().sum() > 0


def test_a_head_that_has_to_learn_new_characters_cannot_be_frozen(
    run_of_one_step: tuple[str, Path, Path], corpus: Callable[..., Path], tmp_path: Path
) -> None:
    recipe, _, begun = run_of_one_step
    folder = corpus([make_clip(i, text.upper()) for i, text in enumerate(TEXTS)])
    init = f"init={begun / 'model.safetensors'}"
    with pytest.raises(AvsrError, match="leave head out of freeze"):
        train(recipe, [folder], tmp_path / "new", overrides=[init, "freeze=['head']"], say=quiet)


@pytest.mark.parametrize("lost", ["short", "no text"])
def test_a_run_that_would_lose_most_of_its_clips_does_not_start(
    recipe: str, corpus: Callable[..., Path], tmp_path: Path, lost: str
) -> None:
    bad = [
        make_clip(i, text, frames=2) if lost == "short" else make_clip(i, "\u200b")
        for i, text in enumerate(TEXTS[:3])
    ]
    folder = corpus([*bad, *(make_clip(i, text) for i, text in enumerate(TEXTS[3:], 3))])
    with pytest.raises(
        AvsrError, match=r"3 of 6 clips .* or set data.max_dropped=0.5 to train on the rest"
    ):
        train(recipe, [folder], tmp_path / "a", overrides=["optim.steps=1"], say=quiet)
    assert len((tmp_path / "a" / "dropped.txt").read_text().splitlines()) == 3
    train(
        recipe,
        [folder],
        tmp_path / "a",
        overrides=["optim.steps=1", "data.max_dropped=0.5"],
        say=quiet,
    )
