"""Adapters for recognisers of others: faster-whisper, a Python function, a command that reads a
media file."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import install
from avsr.eval.run.provenance import content
from avsr.eval.run.recognisers import MODALITIES, Adapter, as_given, digest
from avsr.preprocessing.clip import SAMPLE_RATE, Clip
from avsr.transcribing.transcribe import Hypothesis, Word

# ----------------------------------------------------------------------------------- faster-whisper

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


# ---------------------------------------------------------------------------------- Python function


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
        self.modalities = _modalities(self.spec, getattr(target, "modalities", MODALITIES))
        written = [path.read_bytes() for path in _sources(module)]
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
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise AvsrError(
            f"{name}: {module_name} cannot be imported ({_in_one_line(error)})"
        ) from error
    _refresh(name, module)
    target: Any = module
    for part in path.split("."):
        if not hasattr(target, part):
            raise AvsrError(f"{name}: {module_name} has no {path}")
        target = getattr(target, part)
    return module, target


_LOADED: dict[Path, bytes] = {}
"""Files of the user's modules as they were when they were run."""


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


def _refresh(name: str, module: Any) -> None:
    """Runs a module again that was imported before, where its file or that of a module it imports
    has changed since."""
    sources = {path: path.read_bytes() for path in _sources(module)}
    changed = {path for path, content in sources.items() if _LOADED.get(path, content) != content}
    own = Path(module.__file__).resolve() if getattr(module, "__file__", None) else None
    files = {one: getattr(one, "__file__", None) for one in [*sys.modules.values()]}
    modules = {Path(file).resolve(): one for one, file in files.items() if file}
    try:
        for path in sorted(changed, key=lambda path: path == own):  # the module itself comes last
            # no bytecode that may be of the old file
            exec(compile(sources[path], path, "exec"), vars(modules[path]))
        if changed and own in sources and own not in changed:
            exec(compile(sources[own], own, "exec"), vars(module))
    except Exception as error:
        raise AvsrError(
            f"{name}: has changed and cannot be imported again ({_in_one_line(error)})"
        ) from error
    _LOADED.update(sources)


def _modalities(name: str, declared: Any) -> tuple[str, ...]:
    """What a system says it takes, checked."""
    found = (declared,) if isinstance(declared, str) else tuple(declared)
    if not found or not set(found) <= set(MODALITIES):
        raise AvsrError(f"{name}: modalities {declared!r}: name some of {', '.join(MODALITIES)}")
    return found


# ------------------------------------------------------------------------------------------ command

PLACEHOLDERS = {"{media}": MODALITIES, "{wav}": ("audio",), "{video}": ("video",)}
TIMEOUT_S = 300.0


class Command(Adapter):
    """A program that reads a media file and prints the words; it is run once per clip, without a
    shell.

    What it takes follows from the file that it asks for:

    - `{media}`: an mp4 with picture and sound. A stream that is missing all through is left out of
      the file, as real files have it (sound alone is a wav); where one is missing in part, it is
      black or silent there.
    - `{wav}`: the sound, 16 kHz mono, 16 bit; the program then has the modality "audio" alone.
    - `{video}`: an mp4 without sound; modality "video" alone.

    The picture is what prepared clips hold: the lip crop, 96 x 96 grey at 25 pictures a second, as
    H.264. Standard output, its lines joined, is the hypothesis.

    Args:
        spec: the command, in the quoting of a POSIX shell.
        timeout_s: for one clip.

    Raises:
        AvsrError: no such program, or not exactly one kind of file asked for.
    """

    def __init__(self, spec: str, timeout_s: float = TIMEOUT_S) -> None:
        self.name = f"command:{spec}"
        self.timeout_s = timeout_s
        try:
            self.arguments = shlex.split(spec)
        except ValueError as error:
            raise UsageError(f"{self.name}: {error}; quote it as for a shell") from error
        asked = [
            holder for holder in PLACEHOLDERS if any(holder in part for part in self.arguments)
        ]
        if len(asked) != 1 or asked[0] in self.arguments[0]:
            raise UsageError(
                f"{self.name}: name the file that it reads by one of {', '.join(PLACEHOLDERS)}"
            )
        self.placeholder = asked[0]
        self.modalities = PLACEHOLDERS[self.placeholder]
        program = shutil.which(self.arguments[0])
        if program is None:
            raise AvsrError(
                f"{self.name}: no program {self.arguments[0]!r} is found; install it or give its "
                "path"
            )
        files = _named_files([program, *self.arguments[1:]])
        self.sha256 = digest(
            chain([self.name.encode()], (chunk for path in files for chunk in content(path)))
        )

    def hear(self, clip: Clip) -> Hypothesis:
        with TemporaryDirectory(prefix="avsr-") as folder:
            media = self._render(clip, Path(folder))
            said = self._run(
                [part.replace(self.placeholder, str(media)) for part in self.arguments], clip.id
            )
        return Hypothesis(" ".join(said.split()), [], 0.0)

    def _render(self, clip: Clip, folder: Path) -> Path:
        """Writes the clip as a file, whose name tells nothing: in many corpora a clip's id gives
        its words away."""
        seen = bool(clip.video_present.any())
        if self.placeholder == "{wav}" or not seen:
            import soundfile

            path = folder / "clip.wav"
            soundfile.write(path, clip.audio, SAMPLE_RATE, subtype="PCM_16")
            return path
        from avsr.preprocessing.media.mp4 import write_video

        path = folder / "clip.mp4"
        heard = self.placeholder == "{media}" and bool(clip.audio_present.any())
        write_video(path, _in_colour(clip.lips), clip.audio if heard else None, crf=12)
        return path

    def _run(self, arguments: Sequence[str], id: str) -> str:
        """Standard output of the program; what it started goes with it when its time is up."""
        # a process group of its own, so that its children can be ended too
        apart = os.name == "posix"
        try:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=apart,
            )
        except OSError as error:
            raise AvsrError(f"{self.name}: cannot be run ({error.strerror})") from error
        with process:
            try:
                said, complaints = process.communicate(timeout=self.timeout_s)
            except subprocess.TimeoutExpired as error:
                _end(process, apart)
                raise AvsrError(
                    f"{self.name}: gave no answer on clip {id!r} in {self.timeout_s:g} s; it was "
                    "ended"
                ) from error
            except BaseException:  # Ctrl-C reaches only our own process group
                _end(process, apart)
                raise
        if process.returncode:
            last = next(
                reversed(complaints.strip().splitlines()), "nothing on standard error"
            ).strip()
            raise AvsrError(f"{self.name}: exit status {process.returncode} on clip {id!r}: {last}")
        return said


def _named_files(arguments: Sequence[str]) -> list[Path]:
    """Files that a command line names: by their path, behind "=", as a module after -m, or all that
    lie in a folder.

    What a program reads besides cannot be known.
    """
    found: dict[Path, None] = {}
    for before, part in pairwise(["", *arguments]):
        names = [
            part,
            part.partition("=")[2],
            part.replace(".", "/") + ".py" if before == "-m" else "",
        ]
        for path in (Path(name) for name in names if name and "{" not in name):
            inside = sorted(path.iterdir()) if path.is_dir() else [path]
            found |= dict.fromkeys(file for file in inside if file.is_file())
    return list(found)


def _in_colour(lips: np.ndarray) -> Iterator[np.ndarray]:
    """(T, H, W) grey as (H, W, 3) RGB pictures, one at a time."""
    return (np.repeat(picture[..., None], 3, axis=-1) for picture in lips)


def _end(process: subprocess.Popen[str], apart: bool) -> None:
    """Ends the program, and where it has a group of its own, everything in it."""
    if apart:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
