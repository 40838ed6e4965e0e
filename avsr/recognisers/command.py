"""A program that reads a media file and prints the words, as a recogniser."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import content, digest
from avsr.base.processes.signals import stop
from avsr.decoding.words import Hypothesis
from avsr.preprocessing.clip import SAMPLE_RATE, Clip
from avsr.recognisers.adapter import Adapter
from avsr.recognisers.protocol import STREAMS

FORM = "command:'PROGRAM {media}'"
PREFIX = "command:"


def claims(spec: str) -> bool:
    return spec.startswith(PREFIX)


def load(spec: str, device: Any = "auto") -> Command:
    """See `Command`; the program chooses its device itself."""
    return Command(spec.removeprefix(PREFIX))


PLACEHOLDERS = {"{media}": STREAMS, "{wav}": ("audio",), "{video}": ("video",)}
TIMEOUT_S = 300.0
LOOK_S = 0.2  # how often it is looked whether an interrupt came


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
        end = partial(_end, process, apart)
        stop.leaving.add(end)
        with process:
            try:
                said, complaints = _answer(process, self.timeout_s)
            except subprocess.TimeoutExpired as error:
                end()
                raise AvsrError(
                    f"{self.name}: gave no answer on clip {id!r} in {self.timeout_s:g} s; it was "
                    "ended"
                ) from error
            except BaseException:  # Ctrl-C reaches only our own process group
                end()
                raise
            finally:
                stop.leaving.discard(end)
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


def _answer(process: subprocess.Popen[str], timeout_s: float) -> tuple[str, str]:
    """What the program prints, on standard output and on standard error.

    Raises:
        TimeoutExpired: its time is up.
        KeyboardInterrupt: one came; where this is not the main thread, Python tells that one alone.
    """
    until_s = time.monotonic() + timeout_s
    while True:
        left_s = until_s - time.monotonic()
        try:
            return process.communicate(timeout=max(0.0, min(LOOK_S, left_s)))
        except subprocess.TimeoutExpired:
            if stop.number is not None:
                raise KeyboardInterrupt from None
            if left_s <= LOOK_S:
                raise


def _end(process: subprocess.Popen[str], apart: bool) -> None:
    """Ends the program, and where it has a group of its own, everything in it."""
    if apart:
        with suppress(ProcessLookupError):  # it has just ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
