"""A Python function of the user's as a recogniser."""

from __future__ import annotations

import importlib
import inspect
import math
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import digest
from avsr.decoding.words import Hypothesis
from avsr.preprocessing.clip import Clip
from avsr.recognisers.adapter import Adapter, as_given
from avsr.recognisers.protocol import STREAMS

FORM = "python:MODULE:FUNCTION"
PREFIX = "python:"


def claims(spec: str) -> bool:
    return spec.startswith(PREFIX)


def load(spec: str, device: Any = "auto") -> PythonFunction:
    """See `PythonFunction`; the function chooses its device itself."""
    return PythonFunction(spec.removeprefix(PREFIX))


class PythonFunction(Adapter):
    """A function of the user's, called once per clip: function(audio, lips, audio_present,
    video_present) -> str.

    The arguments go by name: audio (N,) float32 in [-1, 1], 16 kHz mono, N = 640 T; lips (T, 96,
    96) uint8 grey; audio_present and video_present (T,) bool. It may return a `Hypothesis` in place
    of a string, to give word times. An attribute `modalities` says what it takes ("av", "audio" and
    "video" unless set), `name` and `sha256` what it is. An object with a method `recognise(clips,
    modality)` gets all clips of a batch at once. A class is instantiated first, which is where to
    load weights.

    Args:
        spec: MODULE:FUNCTION; the function may be dotted ("asr:model.decode"), and the module may
            lie in the working folder.

    Raises:
        AvsrError: it cannot be imported, or is nothing that can be called.
    """

    def __init__(self, spec: str) -> None:
        self.spec = f"python:{spec}"
        module, target = _imported(self.spec, spec)
        if inspect.isclass(target):
            target = self._guarded("cannot be made", target)
        self.batched: Callable[..., Sequence[Any]] | None = getattr(target, "recognise", None)
        if not callable(self.batched or target):
            raise AvsrError(
                f"{self.spec}: is a {type(target).__name__}, not a function of (audio, lips, ...)"
            )
        self.function: Callable[..., Any] = target
        self.name = str(getattr(target, "name", self.spec))
        self.about = str(getattr(target, "about", ""))
        self.modalities = _modalities(self.spec, getattr(target, "modalities", STREAMS))
        written = _code(self.spec, module)
        about = self.about.encode("utf-8", "backslashreplace")
        self.sha256 = str(
            getattr(target, "sha256", None) or digest([self.spec.encode(), about, *written])
        )

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[Hypothesis]:
        if self.batched is None or modality not in self.modalities:
            return super().recognise(clips, modality)
        given = [as_given(clip, modality) for clip in clips]
        found = self._guarded("failed", self.batched, given, modality)
        if not hasattr(found, "__len__") or len(found) != len(given):
            raise AvsrError(
                f"{self.spec}: recognise must return a list with one hypothesis for each of the "
                "clips given"
            )
        return [self._hypothesis(said) for said in found]

    def hear(self, clip: Clip) -> Hypothesis:
        said = self._guarded(
            f"failed on clip {clip.id!r}",
            self.function,
            audio=clip.audio,
            lips=clip.lips,
            audio_present=clip.audio_present,
            video_present=clip.video_present,
        )
        return self._hypothesis(said)

    def _hypothesis(self, said: Any) -> Hypothesis:
        if isinstance(said, str):
            return Hypothesis(said, [], 0.0)
        if isinstance(getattr(said, "text", None), str):
            if not all(map(_is_word, getattr(said, "words", ()))):
                raise AvsrError(
                    f"{self.spec}: gave a word without finite times, or with a confidence or "
                    "audio_weight outside 0 to 1"
                )
            return said
        raise AvsrError(
            f"{self.spec}: returned {type(said).__name__}; return the words as a string"
        )

    def _guarded(
        self, trouble: str, function: Callable[..., Any], *given: Any, **named: Any
    ) -> Any:
        """Calls what the user wrote; whatever it raises becomes one line."""
        try:
            return function(*given, **named)
        except Exception as error:
            raise AvsrError(f"{self.spec}: {trouble}: {_in_one_line(error)}") from error


def _is_word(word: Any) -> bool:
    """Whether it has times that are numbers, and shares that are shares."""
    try:
        times = math.isfinite(word.start_s) and math.isfinite(word.end_s)
        return times and 0 <= word.confidence <= 1 and 0 <= word.audio_weight <= 1
    except (AttributeError, TypeError):
        return False


def _imported(name: str, spec: str) -> tuple[Any, Any]:
    """The module and what is named in it."""
    module_name, colon, path = spec.partition(":")
    if not colon or not all(
        part.isidentifier() for part in [*module_name.split("."), *path.split(".")]
    ):
        raise UsageError(
            f"{name}: write python:MODULE:FUNCTION, for example python:my_asr:recognise"
        )
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that nothing there hides an installed module
    # bytecode knows its source by size and second, too little for one that is being written
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise AvsrError(
            f"{name}: {module_name} cannot be imported ({_in_one_line(error)})"
        ) from error
    finally:
        sys.dont_write_bytecode = before
    target: Any = module
    for part in path.split("."):
        if not hasattr(target, part):
            raise AvsrError(f"{name}: {module_name} has no {path}")
        target = getattr(target, part)
    return module, target


_IMPORTED: dict[Path, bytes] = {}
"""The user's files as they were when they were imported."""


def _code(name: str, module: Any) -> list[bytes]:
    """The content of the user's files that a module is made of.

    Raises:
        AvsrError: one has changed since it was imported: what runs is no longer what it says.
    """
    found = []
    for path in _sources(module):
        content = path.read_bytes()
        if _IMPORTED.setdefault(path, content) != content:
            raise AvsrError(f"{name}: {path} has changed since it was imported: start Python anew")
        found.append(content)
    return found


def _sources(module: Any) -> list[Path]:
    """The user's files that a module is made of: its own, and those that it imports, but for
    installed packages."""
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    found: dict[Path, None] = {}
    waiting = [module]
    while waiting:
        current = waiting.pop()
        path = Path(getattr(current, "__file__", None) or "").resolve()
        installed = (
            bool({"site-packages", "dist-packages"} & {*path.parts}) or standard in path.parents
        )
        apart = installed or current.__name__.partition(".")[0] == "avsr"
        if (
            path.suffix == ".py"
            and path.is_file()
            and path not in found
            and (current is module or not apart)
        ):
            found[path] = None
            owners = (
                getattr(value, "__module__", None)
                for value in vars(current).values()
                if not _is_module(value)
            )
            waiting += [value for value in vars(current).values() if _is_module(value)]
            waiting += [
                sys.modules[owner]
                for owner in owners
                if isinstance(owner, str) and owner in sys.modules
            ]
    return sorted(found)


def _is_module(value: Any) -> bool:
    return isinstance(value, ModuleType)


def _modalities(name: str, declared: Any) -> tuple[str, ...]:
    """What a system says it takes, checked."""
    found = (declared,) if isinstance(declared, str) else tuple(declared)
    if not found or not set(found) <= set(STREAMS):
        raise AvsrError(f"{name}: modalities {declared!r}: name some of {', '.join(STREAMS)}")
    return found


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
