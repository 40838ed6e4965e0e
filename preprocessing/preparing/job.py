"""One clip of a preparation: read, judged, and made its part, or the reason why there is none."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS, Clip, with_sound_of
from avsr.preprocessing.corpora import Item, below, plain
from avsr.preprocessing.corpora.tables.arrow import media_file
from avsr.preprocessing.members import encode_clip, shard_key, tar_fragment
from avsr.preprocessing.preparing.quality import Fit, Limits, reason_against
from avsr.preprocessing.preparing.store import Store
from avsr.preprocessing.preparing.timelimit import time_limit

PARTS = "parts"  # folder of what is ready and in no shard yet
MIN_PRESENT = 0.5  # a clip is kept where at least one modality is there in this share of its frames
LATE_END_S = 0.5  # so much later than the recording word times may end: tables are rounded
MAX_CLIP_S = 300.0  # a clip is held in memory whole; what is longer is no utterance
CLIP_LIMIT_S = 600.0  # for a clip: far longer than MAX_CLIP_S of video take on one slow core

# What a damaged file may do to a decoder: one clip's trouble, and recorded. An AvsrError (no face
# model), a missing module or a mistake in the code would happen to every clip and stops the run.
CLIP_TROUBLE = (
    OSError,
    ValueError,
    RuntimeError,
    ArithmeticError,
    LookupError,
    EOFError,
    MemoryError,
)


@dataclass(frozen=True)
class Task:
    """What is done with every clip of a corpus.

    Attributes:
        src: the corpus; paths in records are below it.
        store: where a clip is written as soon as it is ready; None where only the process that
            leads can write there.
        face: which face is meant.
        crops: how mouths are cut out.
        limits: what a clip must be like.
        clip_limit_s: seconds that a clip may take.
        load_fit: makes what measures `limits.sync`, once a process; can be pickled.
    """

    src: Path
    store: Store | None
    face: str | int
    crops: str
    limits: Limits
    clip_limit_s: float = CLIP_LIMIT_S
    load_fit: Callable[[], Fit] | None = None


@dataclass(frozen=True)
class Made:
    """What came of a clip.

    Attributes:
        name: of its file in the store: its piece of a tar, or why it was left out.
        content: of the file; None where it is written already.
        seconds: of media that it keeps; 0 where it was left out.
    """

    name: str
    content: bytes | None
    seconds: float


@dataclass(frozen=True)
class Job:
    """One clip to prepare; number is its place in the corpus."""

    number: int
    item: Item
    task: Task

    @property
    def part(self) -> str:
        return f"{PARTS}/{self.number:06d}.tar"

    @property
    def skip(self) -> str:
        return f"{PARTS}/{self.number:06d}.skip"

    @property
    def source(self) -> str:
        """The media file as records name it, with the place in it where it holds several clips."""
        name = plain(below(self.item.path, self.task.src))
        if self.item.cell is not None:
            name += f"#row={self.item.cell[1]}"
        if self.item.span is None:
            return name
        start_s, end_s = self.item.span
        return f"{name}#t={start_s:g}" + ("" if end_s is None else f",{end_s:g}")


def prepare_clip(job: Job) -> Made:
    """Makes the part of one clip, or tells why there is none, and writes it where it can.

    Raises:
        AvsrError: something that concerns all clips, such as a missing face model.
        OSError: it cannot be written.
    """
    store = job.task.store
    if store is not None and store.size(job.skip) is not None:
        return Made(job.skip, None, 0.0)  # the process was ended over it, and why is told already
    made = _made(job)
    if store is None or made.content is None:
        return made
    store.write(made.name, [made.content])
    return replace(made, content=None)


def _made(job: Job) -> Made:
    alone = threading.current_thread() is threading.main_thread() and _is_worker()
    try:
        with time_limit(job.task.clip_limit_s, _giving_up(job) if alone else None):
            clip = _load(job)
            _judge(clip, job.task)
    except MediaError as error:
        return skipped(job, str(error))
    except CLIP_TROUBLE as error:
        return skipped(job, f"{type(error).__name__}: {error}")
    item = _with_times_inside(job.item, clip.duration_s)
    extra = {"split": item.split, "source": job.source}
    members = encode_clip(
        replace(clip, words=item.words), extra | ({"note": item.note} if item.note else {})
    )
    return Made(job.part, tar_fragment(members, shard_key(item.id)), clip.duration_s)


def _is_worker() -> bool:
    """Whether this process does nothing but jobs, and may be ended over one."""
    from multiprocessing import parent_process

    return parent_process() is not None


def _giving_up(job: Job) -> Callable[[str], None]:
    """What records why a clip is given up, where this process can write."""

    def record(reason: str) -> None:
        made = skipped(job, reason)
        if job.task.store is not None and made.content is not None:
            job.task.store.write(made.name, [made.content])

    return record


def _judge(clip: Clip, task: Task) -> None:
    """Raises MediaError where the clip is not as the limits ask for."""
    fit = None
    if task.limits.sync is not None and task.load_fit is not None:
        fit = _fit(task.load_fit)
    reason = reason_against(clip, task.limits, fit)
    if reason is not None:
        raise MediaError(reason)


@cache
def _fit(load: Callable[[], Fit]) -> Fit:
    return load()


def _with_times_inside(item: Item, duration_s: float) -> Item:
    """The item without word times that go on after its recording ends, which are those of another
    one."""
    if not item.words or item.words[-1][2] <= duration_s + LATE_END_S:
        return item
    end_s = item.words[-1][2]
    note = f"word times dropped: they end at {end_s:g} s, after the recording ({duration_s:.2f} s)"
    return replace(item, words=None, note=f"{item.note}; {note}" if item.note else note)


def _load(job: Job) -> Clip:
    """The clip of a job.

    Raises:
        MediaError: it cannot be used.
    """
    from avsr.preprocessing.reader import load_clip

    item = job.item
    if item.problem:
        raise MediaError(item.problem)
    stretch: dict[str, Any] = {"span": item.span} if item.span else {}
    with media_file(item) as path:
        clip = load_clip(
            path,
            id=item.id,
            face=job.task.face,
            text=item.text,
            speaker=item.speaker,
            crops=job.task.crops,
            longest_s=MAX_CLIP_S,
            **stretch,
        )
    if item.sound is not None:
        heard_clip = load_clip(item.sound, id=item.id, video=False, longest_s=MAX_CLIP_S)
        clip = with_sound_of(clip, heard_clip)
    if clip.frames == 0:
        raise MediaError(f"too short: less than one frame ({1000 // FPS} ms)")
    seen, heard = float(clip.video_present.mean()), float(clip.audio_present.mean())
    if max(seen, heard) < MIN_PRESENT:
        share = f"a face in {seen:.0%} of the frames and sound in {heard:.0%}"
        raise MediaError(f"too little to use: {share}, one must reach {MIN_PRESENT:.0%}")
    return clip


def skipped(job: Job, reason: str) -> Made:
    """Why a clip is left out; paths are given below the source, so that the record says nothing of
    the machine."""
    bare = plain(reason.replace(f"{job.task.src}{os.sep}", ""))
    row = {"source": job.source, "reason": bare}
    return Made(job.skip, json.dumps(row, ensure_ascii=False).encode(), 0.0)
