"""Corpus -> shards: by several processes or a Ray cluster, resumable after a kill at any moment,
the same bytes however they were made.

Every clip becomes one file in DST/parts, there whole or not at all: `000042.tar` (a piece of a tar)
or `000042.skip` (why it was left out). As soon as all clips of a shard have theirs, the shard is
their concatenation, put into place before the pieces are removed; the index is read back from the
shards and comes last. Whatever is there is therefore whole, and a restart redoes only the clips
that were in the making. DST is a folder, or a place of object storage by its URL.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.processes import cluster, pool
from avsr.preprocessing.corpora import Item, list_corpus
from avsr.preprocessing.faces.crop_styles import OWN, style_named
from avsr.preprocessing.members import TAR_END
from avsr.preprocessing.preparing.destination import claim, fingerprint, whole_index, writing
from avsr.preprocessing.preparing.job import (
    CLIP_LIMIT_S,
    PARTS,
    Job,
    Made,
    Task,
    prepare_clip,
    skipped,
)
from avsr.preprocessing.preparing.quality import Fit, Limits
from avsr.preprocessing.preparing.store import Store, open_store
from avsr.preprocessing.shards import (
    INDEX,
    SHARD_CLIPS,
    index_text,
    make_index,
    scan_tar,
    shard_name,
)

MAX_LOSS = 0.2  # share of the clips that may be skipped before the run counts as failed

NO_LIMITS = Limits()

Progress = Callable[[int, int, float], None]


class LostTooMuch(AvsrError):
    """More clips were skipped than may be; the shards of the others are complete."""


@dataclass(frozen=True)
class Summary:
    """What a preparation ended with.

    Attributes:
        dst: where the shards are.
        clips: clips in the shards.
        skipped: clips left out; index.json has their reasons.
        hours: of media in the shards.
        without_video, without_audio: clips in the shards that lack one modality altogether.
        splits: clips of each split; "none" are those of no split, which training uses.
        resumed: clips that an earlier, interrupted run had finished.
        already_done: True where the shards were complete before, and nothing was done.
    """

    dst: str
    clips: int
    skipped: int
    hours: float
    without_video: int
    without_audio: int
    splits: Mapping[str, int] = field(default_factory=dict)
    resumed: int = 0
    already_done: bool = False

    def __str__(self) -> str:
        kept = f"{self.clips} clips, {self.hours:.2f} h, {self.skipped} skipped"
        if set(self.splits) - {"none"}:
            kept += ", split " + ", ".join(
                f"{name} {count}" for name, count in sorted(self.splits.items())
            )
        if self.already_done:
            return f"{self.dst} is complete already ({kept}): nothing to do"
        lacks = f"{self.without_video} without a face, {self.without_audio} without sound"
        again = f"; {self.resumed} were done before" if self.resumed else ""
        return f"{kept} ({lacks}{again}) in {self.dst}"


def prepare(
    corpus: str,
    src: str | Path,
    dst: str | Path,
    *,
    engine: str = "local",
    workers: int | None = None,
    shard_clips: int = SHARD_CLIPS,
    limit: int | None = None,
    face: str | int = "main",
    crops: str = OWN.name,
    splits: str | None = None,
    untold: bool = False,
    limits: Limits = NO_LIMITS,
    load_fit: Callable[[], Fit] | None = None,
    clip_limit_s: float = CLIP_LIMIT_S,
    max_loss: float = MAX_LOSS,
    progress: Progress | None = None,
) -> Summary:
    """Turns a corpus into shards; run again after an interruption it goes on where it was.

    A clip is kept where sound or a readable mouth is there in at least half of its frames: a hidden
    face is marked absent and the clip still trains the audio stream, and the other way round. What
    is skipped is named in index.json.

    Args:
        corpus: "grid", "folder" and others: see `corpora`.
        src: the corpus as its makers lay it out.
        dst: folder or URL for the shards; new, empty, or of an earlier run with the same source and
            settings.
        engine: one of cluster.ENGINES: processes of this machine, or actors of a Ray cluster.
        workers: processes or actors; as many as there are cores where None, 0 works in this
            process.
        shard_clips: clips a shard.
        limit: only the first so many clips.
        face: which face is meant where there are several, see `faces.persons.choose_person`.
        crops: how mouths are cut out; see faces.crop_styles.
        splits: which of the corpus's standard splits, where it has several: see its module.
        untold: clips without a text are taken, too, for a recogniser to give them one.
        limits: what a clip must be like to be kept.
        load_fit: makes what measures how well sound and lips fit, once a process; for limits.sync.
        clip_limit_s: seconds that one clip may take; what takes longer is skipped.
        max_loss: share of skipped clips, 0 to 1, above which the run fails at its end.
        progress: called with (clips done, clips in all, seconds of media prepared in this run).

    Returns:
        Summary.

    Raises:
        AvsrError: unknown corpus or crops, nothing in the source, a destination that is not its
            own, or a full disk (run it again when there is room).
        LostTooMuch: more skipped than max_loss.
    """
    _check(engine, workers, shard_clips, limit, max_loss, clip_limit_s, crops)
    items, root = _listed(corpus, Path(src), splits, limit, untold)
    store = open_store(dst)
    writes = store.everywhere if engine == "ray" else store.here
    task = Task(root, store if writes else None, face, crops, limits, clip_limit_s, load_fit)
    made_from = _made_from(corpus, items, shard_clips, task)
    with writing(store):
        resuming = claim(store, made_from)
        if store.size(INDEX) is not None:
            store.remove(PARTS)
            return _finish(store, whole_index(store), max_loss, already_done=True)
        run = _Run(store, items, task, shard_clips, progress)
        run.work_off(engine, workers)
        index = run.write_index(made_from)
        return _finish(store, index, max_loss, resumed=run.resumed if resuming else 0)


def _listed(
    corpus: str, root: Path, splits: str | None, limit: int | None, untold: bool
) -> tuple[list[Item], Path]:
    """The clips of a corpus, and the folder that their places are told from."""
    items = list_corpus(corpus, root, splits)[:limit]
    if untold:
        items = [replace(item, problem=None) if item.untold else item for item in items]
    return items, root.parent if root.is_file() else root  # a table lies beside its clips


def _made_from(corpus: str, items: Sequence[Item], shard_clips: int, task: Task) -> dict[str, Any]:
    """What shards are made from, by which a later run knows its own."""
    made_from = {
        "corpus": corpus,
        "items": len(items),
        "fingerprint": fingerprint(items, task.src),
        "shard_clips": shard_clips,
        "face": task.face,
        "crops": task.crops,
    }
    return made_from | ({"limits": task.limits.asked} if task.limits.asked else {})


def _check(
    engine: str,
    workers: int | None,
    shard_clips: int,
    limit: int | None,
    max_loss: float,
    clip_limit_s: float,
    crops: str,
) -> None:
    """Refuses names that are none, and values out of range."""
    cluster.check_engine(engine)
    style_named(crops)
    if workers is not None and workers < 0:
        raise AvsrError(f"workers is {workers}; allowed are 0 (work in this process) and more")
    if shard_clips < 1:
        raise AvsrError(f"shard_clips is {shard_clips}; a shard holds 1 clip or more")
    if limit is not None and limit < 1:
        raise AvsrError(f"limit is {limit}; allowed are 1 clip and more")
    if not 0 <= max_loss <= 1:
        raise AvsrError(f"max_loss is {max_loss}; it is a share between 0 and 1")
    if not 0 < clip_limit_s < float("inf"):
        raise AvsrError(f"clip_limit_s is {clip_limit_s}; a clip may take some seconds")


def _finish(store: Store, index: dict[str, Any], max_loss: float, **more: Any) -> Summary:
    """The summary of a complete set of shards.

    Raises:
        LostTooMuch: it did.
    """
    counts = index["counts"]
    lost = counts["skipped"] / max(1, counts["skipped"] + counts["clips"])
    if lost > max_loss:
        reason, times = Counter(row["reason"] for row in index["skipped"]).most_common(1)[0]
        total = counts["skipped"] + counts["clips"]
        raise LostTooMuch(
            f"{store.place}: {counts['skipped']} of {total} clips were skipped ({lost:.0%}; "
            f"at most {max_loss:.0%} is allowed), most often ({times}) because: {reason}; each is "
            f"named in {store.place}/{INDEX}, and the shards of the others are complete"
        )
    splits = Counter(clip.get("split") or "none" for clip in index["clips"])
    kept = {name: counts[name] for name in ("clips", "skipped", "without_video", "without_audio")}
    return Summary(dst=store.place, hours=index["hours"], splits=splits, **kept, **more)


# ---------------------------------------------------------------------------------------- the parts


class _Run:
    """What is there of the clips of a corpus, and the way to all of it.

    Attributes:
        resumed: clips that were there at the beginning.
    """

    def __init__(
        self,
        store: Store,
        items: Sequence[Item],
        task: Task,
        shard_clips: int,
        progress: Progress | None,
    ) -> None:
        jobs = [Job(number, item, task) for number, item in enumerate(items)]
        self._store, self._jobs, self._shard_clips = store, jobs, shard_clips
        self._crops, self._progress = task.crops, progress
        for folder in ("", f"{PARTS}/"):  # what a run that was killed was writing
            for name in store.names(folder):
                if name.endswith(".tmp"):
                    store.remove(folder + name)
        self._shards = [shard_name(n) for n in range(-(-len(jobs) // shard_clips))]
        there = store.names()
        self._ready = [name in there for name in self._shards]
        self._there = {f"{PARTS}/{name}" for name in store.names(PARTS)}
        self._todo = deque(job for job in jobs if not self._is_there(job))
        self._missing = Counter(self._shard_of(job) for job in self._todo)
        self._done = self.resumed = len(jobs) - len(self._todo)
        self._seconds = 0.0

    def _shard_of(self, job: Job) -> int:
        return job.number // self._shard_clips

    def _is_there(self, job: Job) -> bool:
        ready = self._ready[self._shard_of(job)]
        return ready or job.part in self._there or job.skip in self._there

    def work_off(self, engine: str, workers: int | None) -> None:
        """Prepares what is missing and puts the shards together."""
        for number, is_ready in enumerate(self._ready):
            if not is_ready and not self._missing[number]:
                self._assemble(number)
        self._tell()
        work_off = cluster.work_off if engine == "ray" else pool.work_off
        work_off(self._todo, prepare_clip, workers, self._on_done, self._on_crash)

    def _on_done(self, job: Job, made: Made) -> None:
        if made.content is not None:
            self._store.write(made.name, [made.content])
        self._there.add(made.name)
        number = self._shard_of(job)
        self._done, self._seconds = self._done + 1, self._seconds + made.seconds
        self._missing[number] -= 1
        if not self._missing[number]:
            self._assemble(number)
        self._tell()

    def _on_crash(self, job: Job) -> None:
        reason = "reading it killed the process (a crash in a decoder, or out of memory)"
        self._on_done(job, skipped(job, reason))

    def _tell(self) -> None:
        if self._progress:
            self._progress(self._done, len(self._jobs), self._seconds)

    def _assemble(self, number: int) -> None:
        """Makes a shard of its parts, which are all there."""
        first = number * self._shard_clips
        group = self._jobs[first : first + self._shard_clips]
        parts = [job.part for job in group if job.part in self._there]
        if parts:
            content = (self._store.read(part) for part in parts)
            self._store.write(self._shards[number], chain(content, [TAR_END]))
        for part in parts:
            self._store.remove(part)

    def write_index(self, made_from: dict[str, Any]) -> dict[str, Any]:
        """The index of all shards, with the clips that were left out in the order of the corpus;
        written, which is the end of the run."""
        clips: list[dict[str, Any]] = []
        there = self._store.names()
        for name in self._shards:
            if name in there:
                with self._store.open(name) as file:
                    clips += scan_tar(file, name)
        left_out = [job.skip for job in self._jobs if job.skip in self._there]
        reasons = [json.loads(self._store.read(name)) for name in left_out]
        index = make_index(clips, reasons, made_from=made_from, crops=self._crops)
        self._store.write(INDEX, [index_text(index).encode()])
        self._store.remove(PARTS)
        return index
