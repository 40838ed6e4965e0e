"""How fast each step runs on this machine, each against a reference timed in the same run.

Frames a second of two machines, or of one machine on two days, differ by more than most changes to
the code do; the ratio to a reference from the same run travels better, so every row has one.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from avsr.base.errors import AvsrError
from avsr.base.processes.machine import cores, cpu_name, peak_memory_mb
from avsr.eval.metrics.cost.calls import Call, time_calls, to_markdown
from avsr.eval.metrics.text import Table
from avsr.preprocessing.clip import FPS, Clip
from avsr.recognisers.protocol import STREAMS

if TYPE_CHECKING:
    from avsr.preprocessing.faces.face_tracks import FaceTrack
    from avsr.preprocessing.media.streams import Piece
    from avsr.recognisers.base import Recogniser

REPEATS = 3
HELD_S = 10.0  # seconds of the file that the single steps are timed on
HELD_BYTES = 256 * 2**20  # decoded pictures held in memory for them at most; fewer seconds then
LONG_S = 60.0  # a longer file is transcribed once only


@dataclass(frozen=True)
class Machine:
    """What the figures were measured on."""

    cpu: str
    cores: int
    python: str
    torch: str
    threads: int
    device: str

    @classmethod
    def here(cls, device: str = "cpu") -> Machine:
        import torch

        return cls(
            cpu_name(),
            cores(),
            platform.python_version(),
            torch.__version__,
            torch.get_num_threads(),
            device,
        )

    def __str__(self) -> str:
        return (
            f"{self.cpu}, {self.cores} cores; Python {self.python}, torch {self.torch} with "
            f"{self.threads} threads, "
            f"network on {self.device}"
        )


@dataclass(frozen=True)
class Measurement:
    """One step.

    Attributes:
        step: what was timed.
        frames: 25 fps frames that went through it.
        seconds: median over the repeats.
        reference: the step that `ratio` compares with; its own name if it is one.
        ratio: speed of this step over that of the reference.
        peak_mb: peak memory of the process when the step was done, MB; it never falls.
    """

    step: str
    frames: int
    seconds: float
    reference: str
    ratio: float
    peak_mb: float

    @property
    def frames_per_s(self) -> float:
        return self.frames / self.seconds

    @property
    def real_time_factor(self) -> float:
        """Seconds of work a second of media."""
        return self.seconds * FPS / self.frames


@dataclass(frozen=True)
class Bench:
    """All measurements of a run; prints as Markdown."""

    machine: Machine
    file: str
    rows: list[Measurement]
    notes: list[str]
    calls: list[Call] = field(default_factory=list)

    def to_markdown(self) -> str:
        cells = [
            [
                row.step,
                f"{row.frames_per_s:,.0f}",
                f"{row.real_time_factor:.4f}",
                "1" if row.reference == row.step else f"{row.ratio:.3g} x {row.reference}",
                f"{row.peak_mb:,.0f}",
            ]
            for row in self.rows
        ]
        parts = [
            f"{self.machine}\n\nfile: {self.file}",
            Table(
                ["step", "frames/s", "real-time factor", "speed against", "peak memory, MB"], cells
            ).to_markdown(),
            "\n".join(f"- {note}" for note in self.notes),
            f"Whole calls, each in a process of its own:\n\n{to_markdown(self.calls)}"
            if self.calls
            else "",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def __str__(self) -> str:
        return self.to_markdown()


def bench(
    path: str | Path | None = None,
    *,
    recogniser: Recogniser | None = None,
    model: str | Path = "default",
    device: str = "auto",
    repeats: int = REPEATS,
    calls: Literal["none", "short", "long"] = "none",
    progress: Callable[[str], None] | None = None,
) -> Bench:
    """Times decoding, landmarks, crops, log-mel, the network and the whole way from file to words.

    Args:
        path: a video; a synthetic clip by default.
        recogniser: what recognises; otherwise `model` is loaded.
        model: name or path.
        device: where the model goes.
        repeats: runs of each step after one to warm up, of which the median counts.
        calls: whole calls of the command on a synthetic clip repeated to 3 s and 1 min, or to 10
            min too; see `calls`.
        progress: told the step that begins.

    Raises:
        AvsrError: the file cannot be used. A model that cannot be loaded is a note, not an error.
    """
    notes: list[str] = []
    if recogniser is None:
        from avsr.transcribing.transcribe import load_model

        try:
            recogniser = load_model(model, device)
        except AvsrError as error:
            notes.append(f"network not timed: {error}")
    with tempfile.TemporaryDirectory() as scratch:
        name = str(path) if path is not None else "synthetic clip"
        watch = Stopwatch(repeats, progress)
        file = Path(path) if path is not None else _synthetic(Path(scratch))
        clip = _time_preprocessing(file, watch, notes, recogniser)
        if recogniser is not None:
            _time_recogniser(file, clip, recogniser, watch, notes)
        timed = []
        if recogniser is not None and calls != "none":
            source = file if path is None else _synthetic(Path(scratch))
            timed = time_calls(
                source, Path(scratch), long=calls == "long", model=str(model), tell=progress
            )
    return Bench(
        Machine.here(str(getattr(recogniser, "device", "cpu"))), name, watch.rows, notes, timed
    )


class Stopwatch:
    """Times steps and sets each against its reference.

    Args:
        repeats: timed runs of a step, after one that is not timed.
        progress: told the step that begins.
    """

    def __init__(
        self, repeats: int = REPEATS, progress: Callable[[str], None] | None = None
    ) -> None:
        self.repeats = repeats
        self.progress = progress
        self.rows: list[Measurement] = []

    def time(
        self,
        step: str,
        frames: int,
        work: Callable[[], object],
        *,
        against: str | None = None,
        once: bool = False,
    ) -> None:
        """Times a step.

        Args:
            step: what it is called.
            frames: how many go through it.
            work: does it.
            against: the step, timed before, to compare with; None, or one that was not timed, makes
                it a reference.
            once: for what takes long: no run to warm up and no repeats.
        """
        if self.progress is not None:
            self.progress(step)
        if not once:
            work()
        taken = []
        for _ in range(1 if once else self.repeats):
            begin = time.perf_counter()
            work()
            taken.append(time.perf_counter() - begin)
        seconds = max(statistics.median(taken), 1e-9)
        other = next((row for row in self.rows if row.step == against), None)
        ratio = frames / seconds / other.frames_per_s if other else 1.0
        self.rows.append(
            Measurement(
                step, frames, seconds, other.step if other else step, ratio, peak_memory_mb()
            )
        )


def _time_preprocessing(
    file: Path, watch: Stopwatch, notes: list[str], recogniser: Recogniser | None
) -> Clip:
    """Decoding, landmarks, crops and the recogniser's log-mel, over the first seconds of the file.

    Returns:
        Its first window as a clip.
    """
    import torch

    from avsr.preprocessing import reader
    from avsr.preprocessing.audio import LogMel
    from avsr.preprocessing.faces.face_tracks import track_faces
    from avsr.recognisers.ours import NetworkRecogniser

    clip = next(reader.stream_clips(file, window_s=HELD_S))
    pieces = _held(file)
    watch.time("decode", sum(len(piece) for piece in pieces), lambda: _decode(file, len(pieces)))
    pictures = sum(frame is not None for piece in pieces for frame in piece.frames)
    held = sum(len(piece) for piece in pieces)
    if pictures:
        every, adaptive = "landmarks, every frame", "landmarks, adaptive"
        watch.time(every, held, lambda: track_faces(pieces, stride=1), against="decode")
        watch.time(adaptive, held, lambda: track_faces(pieces), against=every)
        track = max(track_faces(pieces), key=lambda track: track.duration, default=None)
        if track is not None:
            watch.time("crops", held, lambda: _crop(track, pieces, held), against="decode")
        else:
            notes.append("crops not timed: no face found")
    else:
        notes.append("landmarks and crops not timed: no picture")
    mel, device = LogMel(), torch.device("cpu")
    if isinstance(recogniser, NetworkRecogniser):  # each front end has its own
        mel, device = recogniser.model.audio_frontend.mel, recogniser.device
    audio, present = (
        torch.from_numpy(x)[None].to(device) for x in (clip.audio, clip.audio_present)
    )
    with torch.inference_mode():
        watch.time("log-mel", clip.frames, lambda: mel(audio, present).cpu(), against="decode")
    return clip


def _time_recogniser(
    file: Path, clip: Clip, recogniser: Recogniser, watch: Stopwatch, notes: list[str]
) -> None:
    """The network alone by modality, and the whole from file to words."""
    from avsr.preprocessing.media import streams

    present = {"audio": clip.audio_present.any(), "video": clip.video_present.any()}
    reference = None
    for modality, name in (
        ("av", "audio + video"),
        ("audio", "audio only"),
        ("video", "video only"),
    ):
        if modality not in getattr(recogniser, "modalities", STREAMS):
            notes.append(f"network, {name}, not timed: {recogniser.name} does not take it")
            continue
        absent = [
            stream for stream in present if not present[stream] and modality in ("av", stream)
        ]
        if absent:
            notes.append(
                f"network, {name}, not timed: the file has no usable {' and no '.join(absent)}"
            )
            continue
        step = f"network, {name}"
        watch.time(
            step,
            clip.frames,
            partial(recogniser.recognise, [clip], modality=modality),
            against=reference,
        )
        reference = reference or step
    duration_s = streams.probe(file).duration_s
    watch.time(
        "transcribe, file to words",
        max(1, round(duration_s * FPS)),
        lambda: recogniser.transcribe(file),
        against="decode",
        once=duration_s > LONG_S,
    )


def _held(file: Path) -> list[Piece]:
    """The first pieces of a file, as far as they fit the budget."""
    from avsr.preprocessing.media import streams

    pieces: list[Piece] = []
    frames = taken = 0
    for piece in streams.read(file):
        pieces.append(piece)
        frames += len(piece)
        taken += sum(frame.nbytes for frame in piece.frames if frame is not None)
        if frames >= HELD_S * FPS or taken >= HELD_BYTES:
            break
    return pieces


def _decode(file: Path, pieces: int) -> int:
    """Decodes so many pieces of a file and keeps none.

    Returns:
        How many there were.
    """
    from avsr.preprocessing.media import streams

    return sum(1 for _ in islice(streams.read(file), pieces))


def _crop(track: FaceTrack, pieces: list[Piece], frames: int) -> int:
    """Cuts every mouth out of the pictures.

    Returns:
        How many there were.
    """
    from avsr.preprocessing.faces.lips import mouth_transforms, warp_mouth

    matrices, present, _ = mouth_transforms(track, frames)
    pictures = [frame for piece in pieces for frame in piece.frames]
    cut = 0
    for picture, matrix, here in zip(pictures, matrices, present, strict=False):
        if here and picture is not None:
            warp_mouth(picture, matrix)
            cut += 1
    return cut


def _synthetic(folder: Path) -> Path:
    """A talking head of a few seconds."""
    import numpy as np

    from avsr.preprocessing.synthetic import corpus as synthetic

    path = folder / "bench.mp4"
    synthetic.make_clip(path, synthetic.sentence(np.random.default_rng(0)), seed=0)
    return path
