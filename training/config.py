"""What a training run is: validated recipes in TOML, one file a run, any value settable from the
command line."""

from __future__ import annotations

import logging
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from avsr.base.errors import AvsrError
from avsr.model.config import SIZES, ModelConfig
from avsr.model.tokenizer import Tokenizer
from avsr.training.sections import (
    MOST,
    AugmentConfig,
    DataConfig,
    LocalPath,
    LossConfig,
    OptimConfig,
    Section,
    TokensConfig,
)

__all__ = [
    "AugmentConfig",
    "DataConfig",
    "LossConfig",
    "OptimConfig",
    "TokensConfig",
    "TrainConfig",
    "load_recipe",
    "renamed",
]

FROM_INIT = "init"  # in place of a size
# section -> what its keys were called before; recipes and runs of then are still read
FORMER = {
    "augment": {
        "nothing": "non_speech",
        "silent": "unindicated",
        "lookalike": "homophenes",
        "lookalike_groups": "homophene_groups",
        "out_of_step": "out_of_sync",
    },
    "loss": {"quiet": "blank", "space": "contrastive", "word_errors": "mwer"},
}
log = logging.getLogger(__name__)


class TrainConfig(Section):
    """One run. Unknown keys and values out of range are errors."""

    size: str = Field(
        "grid-tiny", description=f"one of {', '.join(SIZES)}; or init: the shape of that model"
    )
    seed: int = Field(0, ge=0, lt=2**63)
    devices: int = Field(
        1,
        ge=1,
        le=64,
        description="processes that train together: GPUs, or on a CPU shares of its cores",
    )
    nodes: int = Field(1, ge=1, le=10_000, description="machines that train together")
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="several processes: each has the model, or a share of it"
    )
    log_every: int = Field(25, ge=1, le=MOST)
    val_every: int = Field(500, ge=1, le=MOST)
    val_clips: int = Field(40, ge=0, le=MOST)
    save_every: int = Field(200, ge=1, le=MOST)
    keep: int = Field(
        1, ge=1, le=1000, description="models of the last savings that are kept; the best besides"
    )
    init: LocalPath | None = Field(None, description="checkpoint whose weights the run starts from")
    init_parts: tuple[str, ...] = Field(
        (), description="parts of the network taken from init; all by default"
    )
    freeze: tuple[str, ...] = Field(
        (), description="parts not trained, such as video_frontend or audio_frontend.encoder"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="changes to the size's network")
    data: DataConfig = DataConfig()
    tokens: TokensConfig = TokensConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()

    @model_validator(mode="before")
    @classmethod
    def _with_todays_names(cls, values: Any) -> Any:
        return renamed(values) if isinstance(values, dict) else values

    @field_validator("init_parts")
    @classmethod
    def _taken_from_somewhere(cls, parts: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if parts and not info.data.get("init"):
            raise ValueError("these parts are taken from init, a checkpoint: name it too")
        return parts

    @model_validator(mode="after")
    def _scaled_whole(self) -> Self:
        if self.strategy == "fsdp" and self.optim.precision == "16-mixed":
            raise ValueError("strategy = fsdp goes with optim.precision bf16-mixed or 32-true")
        return self

    def network(
        self, tokenizer: Tokenizer, language: str = "", init: ModelConfig | None = None
    ) -> ModelConfig:
        """The network this recipe asks for, with a vocabulary and the language that it spells.

        Args:
            tokenizer: of the vocabulary.
            language: in which texts are spelt.
            init: the model that the run starts from, if any.

        Raises:
            AvsrError: the size is unknown or a change to it is not valid.
        """
        if self.size == FROM_INIT and init is None:
            raise AvsrError(f"size = {self.size}: name the model with --set init=MODEL")
        if self.size not in (FROM_INIT, *SIZES):
            allowed = ", ".join((*SIZES, FROM_INIT))
            raise AvsrError(f"size = {self.size!r}: allowed are {allowed}")
        shape: dict[str, Any] = {"name": self.size, **SIZES.get(self.size, {})}
        if self.size == FROM_INIT and init is not None:
            shape = init.model_dump()
        spelling = {
            "tokens": tokenizer.tokens,
            "piece_scores": tokenizer.scores,
            "language": language,
        }
        try:
            return ModelConfig(**{**shape, **spelling, **self.model})
        except ValidationError as error:
            raise AvsrError(f"recipe, section model: {_first(error)}") from None


def load_recipe(name: str, overrides: list[str] | None = None) -> TrainConfig:
    """Reads a recipe: the name of one that ships with the package, or the path of a TOML file.

    Args:
        name: for example ``grid-tiny`` or ``my/recipe.toml``.
        overrides: ``section.key=value`` with TOML values; bare words are taken as strings.

    Raises:
        AvsrError: no such recipe, bad TOML, an unknown key or a value out of range.
    """
    shipped = resources.files("avsr.training") / "recipes"
    path = Path(name)
    source = path if path.suffix == ".toml" else shipped / f"{name}.toml"
    try:
        values = tomllib.loads(source.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        names = sorted(
            p.name.removesuffix(".toml") for p in shipped.iterdir() if p.name.endswith(".toml")
        )
        raise AvsrError(
            f"no recipe {name!r}: give one of {', '.join(names)} or the path of a .toml file"
        ) from None
    # not UTF-8, not TOML, thousands of digits or brackets
    except (ValueError, RecursionError) as error:
        raise AvsrError(f"recipe {name}: not valid TOML: {error}") from None
    values = renamed(values)
    for item in overrides or []:
        _override(values, item)
        values = renamed(values)  # what is set counts, whichever name it has
    try:
        return TrainConfig(**values)
    except ValidationError as error:
        raise AvsrError(f"recipe {name}: {_first(error)}") from None


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe with today's names for its keys; each former one is told once."""
    values = dict(values)
    for section, names in FORMER.items():
        given = values.get(section)
        if not isinstance(given, dict):
            continue
        values[section] = kept = dict(given)
        for former, name in names.items():
            if former in kept:
                _tell_former(f"{section}.{former}", f"{section}.{name}")
                kept[name] = kept.pop(former)
    return values


@cache
def _tell_former(key: str, name: str) -> None:
    log.warning("%s is deprecated: the key is called %s now", key, name)


def _override(values: dict[str, Any], item: str) -> None:
    key, equals, text = item.partition("=")
    if not equals or not key.strip():
        raise AvsrError(
            f"--set {item!r}: write it as section.key=value, for example optim.steps=1000"
        )
    try:
        value = tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):  # not TOML; thousands of digits or brackets
        value = text
    *sections, last = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise AvsrError(f"--set {item!r}: {section} is a value, not a section")
    values[last] = value


def _first(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: which key, what is wrong, what was
    given."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"]) or "value"
    if problem["type"] == "extra_forbidden":
        return (
            f"unknown key {key}; training/config.py and training/sections.py list those that exist"
        )
    given = repr(problem["input"])
    given = given if len(given) <= 60 else f"{given[:40]}..."
    return f"{key} = {given}: {problem['msg'].removeprefix('Value error, ')}"
