"""Whisper through faster-whisper: sound alone, open vocabulary."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import logging
import sys
from itertools import chain
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import content, digest, install
from avsr.decoding.words import Hypothesis, Word, mean
from avsr.preprocessing.clip import Clip
from avsr.recognisers import whisper_files
from avsr.recognisers.adapter import Adapter
from avsr.recognisers.whisper_files import BESIDE, PREFIX, SOURCES, WEIGHTS, Tell

FORM = "whisper-SIZE, faster-whisper:SIZE_OR_FOLDER"
DIRECT = "faster-whisper:"
OPTIONS = ("beam", "compute", "fallback", "language", "prompt", "times")
# text that shrinks so much says one thing over and over; faster-whisper takes it for a failure too
MOST_COMPRESSION = 2.4
TEMPERATURES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]  # faster-whisper's fallbacks


def claims(spec: str) -> bool:
    return spec.startswith((DIRECT, PREFIX))


def load(spec: str, device: Any = "auto") -> FasterWhisper:
    """Loads a Whisper model.

    Args:
        spec: "whisper-small" as `avsr models` lists it, with word times and without what it says
            over and over in noise; or "faster-whisper:" and
            what `FasterWhisper` takes.
        device: see `FasterWhisper`.

    Raises:
        AvsrError: see `FasterWhisper`, or no such weights on this machine.
    """
    if spec.startswith(DIRECT):
        return FasterWhisper(spec, spec.removeprefix(DIRECT), str(device))
    size, _, query = spec.removeprefix(PREFIX).partition("?")
    _library(spec)
    if size not in SOURCES:
        names = ", ".join(f"{PREFIX}{known}" for known in SOURCES)
        raise AvsrError(f"{spec}: no such model; there are {names}")
    folder = whisper_files.find(size)
    if folder is None:
        wrong = whisper_files.problem(whisper_files.folder_of(size))
        here = "not on this machine yet"
        if size in whisper_files.installed():
            here = f"damaged ({wrong})"
        raise AvsrError(
            f"{spec}: {here}: avsr models get {PREFIX}{size}, or, without a network, {DIRECT}FOLDER"
        )
    # the path, as it is, may hold a question mark
    return FasterWhisper(
        spec, str(folder), str(device), query if "times=" in query else f"times=yes&{query}"
    )


def names() -> dict[str, str]:
    """Name -> what it is, of the models that can be loaded without a network."""
    found = {}
    by_size = sorted(whisper_files.installed().items(), key=lambda one: one[1][1])
    for size, (folder, size_bytes) in by_size:
        about = f"{size_bytes / 1e6:.0f} MB, {folder}"
        wrong = whisper_files.problem(folder) if folder == whisper_files.folder_of(size) else None
        if wrong is not None:
            about = f"{about}: damaged ({wrong}): avsr models get {PREFIX}{size}"
        found[f"{PREFIX}{size}"] = about
    return found


def polyglots() -> list[str]:
    """The names of those on this machine that know many languages, the smallest first."""
    return [name for name in names() if not name.endswith(".en")]


def offered() -> list[str]:
    """The names that `get` takes."""
    return [f"{PREFIX}{size}" for size in SOURCES]


def remove(name: str) -> int:
    """Takes the weights of a size out of the user's folder; how many bytes are free then."""
    return whisper_files.remove(name.removeprefix(PREFIX))


def get(name: str, tell: Tell, told: Any) -> Path:
    """Makes sure that a model's weights are on this machine.

    Args:
        name: one of `offered`.
        tell: told the bytes that were fetched, and all there are.
        told: told in a line what is fetched, or that nothing need be.

    Raises:
        AvsrError: as in `whisper_files.fetch`.
    """
    size = name.removeprefix(PREFIX)
    if size in SOURCES and (folder := whisper_files.find(size)) is not None:
        told(f"{name} is there: {folder}")
        return folder
    return whisper_files.fetch(size, tell, told)


class FasterWhisper(Adapter):
    """A Whisper model through faster-whisper (extra `whisper`): sound alone, with word times on
    request.

    Temperature 0 without its fallbacks, no voice activity detection, nothing carried from one 30 s
    window to the next: the same sound gives the same words, also where they are one word over and
    over, as noise can make Whisper say. All else is faster-whisper's default.

    Args:
        name: what it is called, its options among them.
        weights: SIZE_OR_FOLDER or SIZE_OR_FOLDER?option=value&option=value. A size ("tiny.en") or
            the name of a repository ("owner/name") is downloaded by faster-whisper; a folder holds
            CTranslate2 weights; so may an installed Python package, named as pip names it. Options:
            beam: width, 5 unless given.
            compute: type of the arithmetic as CTranslate2 names it; "default" keeps that of the
                weights.
            fallback: "yes": what looks like a failure is decided again by drawing at random, which
                ends repetitions
            and differs from run to run.
            language: detected in every clip unless given; models whose name ends in ".en" have one.
            prompt: text that sounds like what is said.
            times: "yes": words with times and probabilities. faster-whisper then moves the ends of
                its windows to ends
            of words, which changes what it says here and there.
        device: "auto", "cpu" or "cuda".
        query: the options, where they are not part of `weights`.

    Raises:
        AvsrError: faster-whisper is not installed, no such weights, or wrong options.
    """

    modalities: tuple[str, ...] = ("audio",)
    longest_s = 30.0  # a window of Whisper's

    def __init__(
        self, name: str, weights: str, device: str = "auto", query: str | None = None
    ) -> None:
        if query is None:
            weights, _, query = weights.partition("?")
        self.name = name
        self.drops_loops = name.startswith(PREFIX)
        options = _whisper_options(self.name, query)
        compute = options.get("compute", "default")
        self.model, self.folder = _load_whisper(self.name, weights, device, compute)
        versions = {
            name: importlib.metadata.version(name) for name in ("faster-whisper", "ctranslate2")
        }
        self._besides = {"compute": compute, **versions}
        if self.drops_loops:
            self._besides["most_compression"] = str(MOST_COMPRESSION)
        self._set(
            {
                "beam_size": int(options.get("beam", "5")),
                "language": options.get("language"),
                "initial_prompt": options.get("prompt"),
                "temperature": TEMPERATURES if options.get("fallback") == "yes" else 0.0,
                "vad_filter": False,
                "condition_on_previous_text": False,
                "word_timestamps": options.get("times") == "yes",
            }
        )

    def _set(self, settings: dict[str, Any]) -> None:
        """Takes over how to decode."""
        language, known = settings["language"], tuple(self.model.supported_languages)
        if language not in (None, *known):
            raise AvsrError(
                f"{self.name}: language {language!r} is not one that it knows; use a code as en"
            )
        self.settings = settings
        self.languages = known if language is None else (language,)
        self.about = json.dumps({**settings, **self._besides})

    def in_language(self, code: str) -> Self:
        other = copy.copy(self)
        other._set({**self.settings, "language": code})
        return other

    @property
    def sha256(self) -> str:  # type: ignore[override]  # gigabytes are read when asked for
        """Of the weights, the tokens and all settings."""
        besides = sorted(path for path in self.folder.iterdir() if path.suffix in BESIDE)
        files = (chunk for path in (self.folder / WEIGHTS, *besides) for chunk in content(path))
        return digest(chain([self.about.encode()], files))

    def language_of(self, clip: Clip) -> tuple[str, float]:
        """The code of the language that is most likely spoken in a clip, and how likely it is."""
        code, likely, _ = self.model.detect_language(audio=clip.audio)
        return str(code), float(likely)

    def hear(self, clip: Clip) -> Hypothesis:
        segments = list(self.model.transcribe(clip.audio, **self.settings)[0])
        if self.drops_loops:
            segments = [one for one in segments if one.compression_ratio <= MOST_COMPRESSION]
        words: list[Word] = []
        for segment in segments:
            for word in segment.words or ():
                # it may place a word in the silence that it adds to fill its window
                start_s, end_s = (
                    clip.start_s + min(float(at_s), clip.duration_s)
                    for at_s in (word.start, word.end)
                )
                sure = float(word.probability)
                # some scripts write no space before a word
                glued = bool(words) and not word.word.startswith(" ")
                words.append(Word(word.word.strip(), start_s, end_s, sure, 1.0, glued))
        text = "".join(segment.text for segment in segments).strip()
        return Hypothesis(text, words, mean([word.confidence for word in words]))


def _whisper_options(name: str, query: str) -> dict[str, str]:
    """The options after the question mark, checked as far as no model is needed for it."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option in sorted(options.keys() - set(OPTIONS)):
        raise UsageError(f"{name}: option {option!r} is unknown; there are {', '.join(OPTIONS)}")
    if not options.get("beam", "1").isdecimal() or int(options.get("beam", "1")) < 1:
        raise UsageError(f"{name}: beam {options['beam']!r} must be a whole number from 1 on")
    for option in ("fallback", "times"):
        if options.get(option, "no") not in ("no", "yes"):
            raise UsageError(f"{name}: {option} {options[option]!r} must be yes or no")
    return options


def _load_whisper(name: str, weights: str, device: str, compute: str) -> tuple[Any, Path]:
    """The model and the folder of its weights."""
    faster_whisper = _library(name)
    place, _, index = device.partition(":")
    if place not in ("auto", "cpu", "cuda") or not (index or "0").isdecimal():
        raise AvsrError(f"{name}: cannot use device {device!r}: use auto, cpu or cuda")
    if ctranslate2 := sys.modules.get("ctranslate2"):
        # else it says, on standard error, that this processor computes in another precision
        ctranslate2.set_log_level(logging.ERROR)
    try:
        folder = _whisper_folder(name, weights, faster_whisper)
        model = faster_whisper.WhisperModel(
            str(folder), device=place, device_index=int(index or 0), compute_type=compute
        )
    except AvsrError:
        raise
    except Exception as error:  # whatever CTranslate2, the tokenizer or the download raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise AvsrError(
            f"{name}: cannot be loaded ({reason}); without a network name a folder with {WEIGHTS}, "
            "or an installed "
            "package that ships one"
        ) from error
    return model, folder


def _library(name: str) -> Any:
    """faster-whisper.

    Raises:
        AvsrError: it is not installed.
    """
    try:
        import faster_whisper
    except ModuleNotFoundError as error:
        raise AvsrError(
            f"{name}: {error.name} is not installed: {install('faster_whisper')}"
        ) from error
    return faster_whisper


def _whisper_folder(name: str, weights: str, library: Any) -> Path:
    """Where the weights lie; downloads those that are named by size or repository."""
    if Path(weights).is_dir():
        if not (Path(weights) / WEIGHTS).is_file():
            raise AvsrError(
                f"{name}: the folder has no {WEIGHTS}; name one that CTranslate2 can load"
            )
        return Path(weights)
    sizes = library.available_models()
    if weights in sizes or (weights.count("/") == 1 and not weights.startswith((".", "/", "~"))):
        return Path(library.download_model(weights))
    try:
        shipped = [file for file in importlib.metadata.files(weights) or () if file.name == WEIGHTS]
    except (importlib.metadata.PackageNotFoundError, ValueError):
        shipped = []
    if not shipped:
        raise AvsrError(
            f"{name}: neither a folder, nor an installed package that ships {WEIGHTS}, nor a size "
            f"({', '.join(sizes)})"
        )
    return Path(str(shipped[0].locate())).parent
