"""Corpus -> shards: several processes, resumable after a kill at any moment, the same bytes however
many processes.

Every clip becomes one file in DST/parts, written beside and renamed: `000042.tar` (a piece of a
tar) or `000042.skip` (why it was left out). As soon as all clips of a shard have theirs, the shard
is their concatenation, renamed into place before the pieces are removed; the index is read back
from the shards and comes last. Whatever is there is therefore whole, and a restart redoes only the
clips that were in the making.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.outputs import write_file
from avsr.base.pool import work_off
from avsr.preprocessing.corpora import list_corpus
from avsr.preprocessing.destination import PARTS, claim, fingerprint, whole_index, writing
from avsr.preprocessing.faces.crop_styles import OWN, style_named
from avsr.preprocessing.members import TAR_END
from avsr.preprocessing.preparing.job import CLIP_LIMIT_S, Job, Task, prepare_clip, write_skip
from avsr.preprocessing.preparing.quality import Fit, Limits
from avsr.preprocessing.shards import INDEX, SHARD_CLIPS, shard_name, write_index

MAX_LOSS = 0.2  # share of the clips that may be skipped before the run counts as failed

NO_LIMITS = Limits()

Progress = Callable[[int, int, float], None]


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

    dst: Path
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
    workers: int | None = None,
    shard_clips: int = SHARD_CLIPS,
    limit: int | None = None,
    face: str | int = "main",
    crops: str = OWN.name,
    splits: str | None = None,
    limits: Limits = NO_LIMITS,
    load_fit: Callable[[], Fit] | None = None,
    clip_limit_s: float = CLIP_LIMIT_S,
    max_loss: float = MAX_LOSS,
    progress: Progress | None = None,
) -> Summary:
    """Turns a corpus into shards; run again after an interruption it goes on where it was.

    A clip is kept where sound or a readable mouth is there in at least half of its frames: a hidden
    face is marked absent and the clip still teaches the ear, and the other way round. What is
    skipped is named in index.json.

    Args:
        corpus: "grid", "folder" and others: see `corpora`.
        src: the corpus as its makers lay it out.
        dst: folder for the shards; new, empty, or of an earlier run with the same source and
            settings.
        workers: processes; as many as cores where None, 0 works in this process.
        shard_clips: clips a shard.
        limit: only the first so many clips.
        face: which face is meant where there are several, see `face.choose_track`.
        crops: how mouths are cut out; see faces.crop_styles.
        splits: which of the corpus's standard splits, where it has several: see its module.
        limits: what a clip must be like to be kept.
        load_fit: makes what measures how well sound and lips fit, once a process; for limits.sync.
        clip_limit_s: seconds that one clip may take; what takes longer is skipped.
        max_loss: share of skipped clips, 0 to 1, above which the run fails at its end.
        progress: called with (clips done, clips in all, seconds of media prepared in this run).

    Returns:
        Summary.

    Raises:
        AvsrError: unknown corpus or crops, nothing in the source, a destination that is not its
            own, a full disk (run it again when there is room), or more skipped than max_loss (the
            shards are complete all the same).
    """
    _check(workers, shard_clips, limit, max_loss, clip_limit_s)
    style_named(crops)
    root, folder = Path(src), Path(dst)
    items = list_corpus(corpus, root, splits)[:limit]
    root = root.parent if root.is_file() else root  # a table lies beside its clips
    made_from = {
        "corpus": corpus,
        "items": len(items),
        "fingerprint": fingerprint(items, root),
        "shard_clips": shard_clips,
        "face": face,
        "crops": crops,
    }
    if limits.asked:
        made_from["limits"] = limits.asked
    with writing(folder):
        resuming = claim(folder, made_from)
        if (folder / INDEX).exists():
            shutil.rmtree(folder / PARTS, ignore_errors=True)
            return _finish(folder, whole_index(folder), max_loss, already_done=True)
        task = Task(root, folder / PARTS, face, crops, limits, clip_limit_s, load_fit)
        jobs = [Job(number, item, task) for number, item in enumerate(items)]
        shards = [folder / shard_name(number) for number in range(-(-len(jobs) // shard_clips))]
        resumed = _run(folder, jobs, shards, shard_clips, workers, progress)
        whole = [path for path in shards if path.exists()]
        index = write_index(folder, whole, _skipped(jobs), made_from=made_from, crops=crops)
        shutil.rmtree(folder / PARTS)
        return _finish(folder, index, max_loss, resumed=resumed if resuming else 0)


def _check(
    workers: int | None, shard_clips: int, limit: int | None, max_loss: float, clip_limit_s: float
) -> None:
    """Refuses values out of range."""
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


def _finish(folder: Path, index: dict[str, Any], max_loss: float, **more: Any) -> Summary:
    """The summary of a complete set of shards.

    Raises:
        AvsrError: it lost more than max_loss.
    """
    counts = index["counts"]
    lost = counts["skipped"] / max(1, counts["skipped"] + counts["clips"])
    if lost > max_loss:
        reason, times = Counter(row["reason"] for row in index["skipped"]).most_common(1)[0]
        raise AvsrError(
            f"{folder}: {counts['skipped']} of {counts['skipped'] + counts['clips']} clips were "
            f"skipped ({lost:.0%}; "
            f"at most {max_loss:.0%} is allowed), most often ({times}) because: {reason}; each is "
            "named in "
            f"{folder / INDEX}, and the shards of the others are complete"
        )
    splits = Counter(clip.get("split") or "none" for clip in index["clips"])
    kept = {name: counts[name] for name in ("clips", "skipped", "without_video", "without_audio")}
    return Summary(dst=folder, hours=index["hours"], splits=splits, **kept, **more)


# ---------------------------------------------------------------------------------------- the parts


def _run(
    folder: Path,
    jobs: Sequence[Job],
    shards: Sequence[Path],
    shard_clips: int,
    workers: int | None,
    progress: Progress | None,
) -> int:
    """Prepares what is missing and puts the shards together; returns how many clips were there
    already."""
    # of a run killed while writing
    for left_over in [*folder.glob("*.tmp"), *(folder / PARTS).glob("*.tmp")]:
        left_over.unlink(missing_ok=True)
    ready = [path.exists() for path in shards]
    todo = deque(
        job
        for job in jobs
        if not (ready[job.number // shard_clips] or job.part.exists() or job.skip.exists())
    )
    missing = Counter(job.number // shard_clips for job in todo)
    done, seconds = len(jobs) - len(todo), 0.0
    resumed = done

    def assemble(number: int) -> None:
        group = jobs[number * shard_clips : (number + 1) * shard_clips]
        parts = [job.part for job in group if job.part.exists()]
        if parts:
            write_file(shards[number], chain((part.read_bytes() for part in parts), [TAR_END]))
        for part in parts:
            part.unlink()

    def on_done(job: Job, media_s: float) -> None:
        nonlocal done, seconds
        number = job.number // shard_clips
        done, seconds = done + 1, seconds + media_s
        missing[number] -= 1
        if not missing[number]:
            assemble(number)
        if progress:
            progress(done, len(jobs), seconds)

    def on_crash(job: Job) -> None:
        write_skip(job, "reading it killed the process (a crash in a decoder, or out of memory)")
        on_done(job, 0.0)

    for number, is_ready in enumerate(ready):
        if not is_ready and not missing[number]:
            assemble(number)
    if progress:
        progress(done, len(jobs), seconds)
    work_off(todo, prepare_clip, workers, on_done, on_crash)
    return resumed


def _skipped(jobs: Sequence[Job]) -> list[dict[str, str]]:
    """What `write_skip` recorded, in the order of the corpus."""
    there = [job.skip for job in jobs if job.skip.exists()]
    return [json.loads(path.read_text(encoding="utf-8")) for path in there]
