"""Whisper through faster-whisper: sound alone, open vocabulary."""

from __future__ import annotations

import importlib.metadata
import json
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import content, digest, install
from avsr.decoding.words import Hypothesis, Word
from avsr.preprocessing.clip import Clip
from avsr.recognisers.adapter import Adapter

FORM = "faster-whisper:SIZE_OR_FOLDER"
PREFIX = "faster-whisper:"


def claims(spec: str) -> bool:
    return spec.startswith(PREFIX)


def load(spec: str, device: Any = "auto") -> FasterWhisper:
    """See `FasterWhisper`."""
    return FasterWhisper(spec.removeprefix(PREFIX), str(device))


WEIGHTS = "model.bin"  # in every folder that CTranslate2 loads
WHISPER_OPTIONS = ("beam", "compute", "fallback", "language", "prompt", "times")
TEMPERATURES = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]  # faster-whisper's fallbacks


class FasterWhisper(Adapter):
    """A Whisper model through faster-whisper (extra `peers`): sound alone, with word times on
    request.

    Temperature 0 without its fallbacks, no voice activity detection, nothing carried from one 30 s
    window to the next: the same sound gives the same words, also where they are one word over and
    over, as noise can make Whisper say. All else is faster-whisper's default.

    Args:
        spec: SIZE_OR_FOLDER or SIZE_OR_FOLDER?option=value&option=value. A size ("tiny.en") or the
            name of a repository ("owner/name") is downloaded by faster-whisper; a folder holds
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

    Raises:
        AvsrError: faster-whisper is not installed, no such weights, or wrong options.
    """

    modalities: tuple[str, ...] = ("audio",)

    def __init__(self, spec: str, device: str = "auto") -> None:
        weights, _, query = spec.partition("?")
        self.name = f"faster-whisper:{spec}"  # options too: they make another recogniser
        options = _whisper_options(self.name, query)
        self.model, folder = _load_whisper(
            self.name, weights, device, options.get("compute", "default")
        )
        self.settings: dict[str, Any] = {
            "beam_size": int(options.get("beam", "5")),
            "language": options.get("language"),
            "initial_prompt": options.get("prompt"),
            "temperature": TEMPERATURES if options.get("fallback") == "yes" else 0.0,
            "vad_filter": False,
            "condition_on_previous_text": False,
            "word_timestamps": options.get("times") == "yes",
        }
        if self.settings["language"] not in (None, *self.model.supported_languages):
            raise AvsrError(
                f"{self.name}: language {options['language']!r} is not one that it knows; use a "
                "code as en"
            )
        versions = {
            name: importlib.metadata.version(name) for name in ("faster-whisper", "ctranslate2")
        }
        self.about = json.dumps(
            {**self.settings, "compute": options.get("compute", "default"), **versions}
        )
        # tokens, settings
        besides = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".txt"))
        files = (chunk for path in (folder / WEIGHTS, *besides) for chunk in content(path))
        self.sha256 = digest(chain([self.about.encode()], files))

    def hear(self, clip: Clip) -> Hypothesis:
        segments = list(self.model.transcribe(clip.audio, **self.settings)[0])
        words = [
            Word(
                word.word.strip(),
                clip.start_s + float(word.start),
                clip.start_s + float(word.end),
                float(word.probability),
                1.0,
            )
            for segment in segments
            for word in segment.words or ()
        ]
        confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
        return Hypothesis("".join(segment.text for segment in segments).strip(), words, confidence)


def _whisper_options(name: str, query: str) -> dict[str, str]:
    """The options after the question mark, checked as far as no model is needed for it."""
    options = dict(parse_qsl(query, keep_blank_values=True))
    for option in sorted(options.keys() - set(WHISPER_OPTIONS)):
        raise UsageError(
            f"{name}: option {option!r} is unknown; there are {', '.join(WHISPER_OPTIONS)}"
        )
    if not options.get("beam", "1").isdecimal() or int(options.get("beam", "1")) < 1:
        raise UsageError(f"{name}: beam {options['beam']!r} must be a whole number from 1 on")
    for option in ("fallback", "times"):
        if options.get(option, "no") not in ("no", "yes"):
            raise UsageError(f"{name}: {option} {options[option]!r} must be yes or no")
    return options


def _load_whisper(name: str, weights: str, device: str, compute: str) -> tuple[Any, Path]:
    """The model and the folder of its weights."""
    try:
        import faster_whisper
    except ModuleNotFoundError as error:
        raise AvsrError(f"{name}: {error.name} is not installed: {install('peers')}") from error
    place, _, index = device.partition(":")
    if place not in ("auto", "cpu", "cuda") or not (index or "0").isdecimal():
        raise AvsrError(f"{name}: cannot use device {device!r}: use auto, cpu or cuda")
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
