"""A recogniser under every condition of a suite, on prepared clips; `scoring.py` makes results of
what it heard.

The work is cut into jobs: a batch of clips under one condition. A batch holds the same clips
whatever the number of processes and wherever a run was cut off, so neither changes a bit of the
results.
"""

from __future__ import annotations

import json
import logging
import platform
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.pool import work_off
from avsr.eval.conditions.axes import VERSION
from avsr.eval.conditions.suites import Row, fitting_rows, suite_rows
from avsr.eval.metrics.normalize import VERSION as TEXT_VERSION
from avsr.eval.metrics.normalize import get_normalizer
from avsr.eval.metrics.scoring import Scores
from avsr.eval.metrics.summary import summarise
from avsr.eval.report.markdown import to_markdown
from avsr.eval.report.worst import worst_examples
from avsr.eval.run.encoders import our_recogniser
from avsr.eval.run.jobs import BATCH_CLIPS, Bench, Job, Setup, do
from avsr.eval.run.provenance import compute_versions, fingerprint, run_parts
from avsr.eval.run.store import HypothesisStore, writing
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.shards import ShardIndex, write_file
from avsr.recognisers.protocol import STREAMS
from avsr.recognisers.registry import load

SCHEMA = 1
SEEDS = (17,)
TIMES = ("seconds", "real_time_factor")  # keys of what a clock says begin with these

Progress = Callable[[float, float], None]
"""Called with the clips recognised, counted once a row and seed, and how many there are."""


def evaluate(
    recogniser: Any,
    data_dir: str | Path,
    suite: str = "quick",
    *,
    split: str | None = None,
    limit: int | None = None,
    seeds: Sequence[int] = SEEDS,
    conditions: str | None = None,
    out: str | Path | None = None,
    normalizer: str = "basic",
    noise_dir: str | Path | None = None,
    rir_dir: str | Path | None = None,
    workers: int = 1,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a recogniser on prepared clips.

    Args:
        recogniser: what to score: a spec of `recognisers.registry.load`, or an object with
            `name`, `sha256` (our own do without), `modalities` (all, where it does not say) and
            `recognise(clips, modality)`.
        data_dir: shards with their index.json.
        suite: one of `suites.SUITES`.
        split: score only clips of this split of the index.
        limit: score only so many clips, the first of the index; noise is still made of all.
        seeds: of masks and noise; each is measured, and curves and predicates count them all.
        conditions: only rows that fit, see `suites.suite_rows`.
        out: folder for results.json, report.md, report.html and hypotheses.jsonl. Hypotheses that
            are already there are used and not computed again, where all that they depend on is the
            same (see `provenance`); those of another model, other data or libraries are put aside,
            which is logged as a warning.
        normalizer: applied to references and hypotheses, see `normalize`.
        noise_dir: recorded noises, for rows that need them.
        rir_dir: recorded impulse responses of rooms, for rows that need them.
        workers: processes, each with one thread; several need a spec. 1 is this process.
        device: where to compute, for a spec.
        progress: told how far it is.

    Returns:
        The content of results.json.

    Raises:
        AvsrError: unknown suite, conditions or normaliser, nothing to score, or a folder that
            cannot be written.
    """
    rows = suite_rows(suite, conditions)
    get_normalizer(normalizer)  # a wrong name is told now and not after all the work
    _check(recogniser, seeds, workers, noise_dir, rir_dir)
    index = ShardIndex(data_dir)
    chosen = _chosen(index, split, limit)
    setup = Setup(str(recogniser), str(data_dir), split, _text(noise_dir), _text(rir_dir), device)
    hears = load(recogniser, device) if isinstance(recogniser, (str, Path)) else recogniser
    if set(getattr(hears, "modalities", STREAMS)) - {"audio"}:
        index.require_crops(getattr(hears, "crops", OWN.name), hears.name)
    bench = Bench(hears, index, setup)
    rows, failed = _fitting(rows, seeds, hears)
    model_sha256, ours = fingerprint(hears), our_recogniser(hears)
    parts = run_parts(
        model_sha256,
        (index.entries[i] for i in bench.places),
        bench.corpus.noise_files(),
        bench.corpus.rir_files(),
    )
    store = HypothesisStore(Path(out) if out is not None else None, parts)
    work = Work(store, {i: index.entries[i].id for i in chosen}, failed, progress)
    todo = jobs([row for row in rows if row.key(seeds[0]) not in failed], seeds, chosen)
    work.forget(todo, bench.unchanged)
    work.through(todo, partial(do, setup) if workers > 1 else bench.do, workers)
    scores = Scores(
        rows, seeds, [index.entries[i] for i in chosen], store.lines, failed, normalizer
    )
    scored = scores.results()
    results = {
        "schema": SCHEMA,
        "model": hears.name,
        "model_sha256": model_sha256,
        "decoding": str(ours.decoding) if ours is not None else None,
        "data": str(data_dir),
        "split": split,
        "suite": suite,
        "conditions": conditions,
        "seeds": list(seeds),
        "normalizer": normalizer,
        "clips": len(chosen),
        "clips_without_text": [
            index.entries[i].id for i in bench.places if index.entries[i].text is None
        ],
        "versions": _versions(),
        **scored,
        "summary": summarise(scores, scored["rows"]),
    }
    if out is not None:
        store.finish()
        _write(Path(out), results, scores, bench)
    return results


def without_times(value: Any) -> Any:
    """The same results (or any part of them) but for what a clock says: all else is the same in
    every run."""
    if isinstance(value, Mapping):
        return {
            key: without_times(item) for key, item in value.items() if not key.startswith(TIMES)
        }
    return [without_times(item) for item in value] if isinstance(value, list) else value


# ---- what is to be done


def _check(
    recogniser: Any,
    seeds: Sequence[int],
    workers: int,
    noise_dir: str | Path | None,
    rir_dir: str | Path | None,
) -> None:
    """Refuses, before any work, what cannot be."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise AvsrError(f"seeds {list(seeds)}: give one or more, each once")
    if workers < 1:
        raise AvsrError(f"workers {workers} is too few; give 1 or more processes")
    if workers > 1 and not isinstance(recogniser, (str, Path)):
        raise AvsrError(
            f"workers {workers}: several processes need a recogniser by its name, which each can "
            "load"
        )
    for folder in (noise_dir, rir_dir):
        if folder is not None and not Path(folder).is_dir():
            raise AvsrError(
                f"{folder}: no such folder; give one with .wav, .flac, .ogg or .mp3 files"
            )


def _chosen(index: ShardIndex, split: str | None, limit: int | None) -> list[int]:
    """Places in the index of the clips to score."""
    if limit is not None and limit < 1:
        raise AvsrError(f"limit {limit} is too small; give 1 or more clips, or none for all")
    return index.select(split, text=True)[:limit]


def _fitting(
    rows: Sequence[Row], seeds: Sequence[int], recogniser: Any
) -> tuple[list[Row], dict[str, str]]:
    """The rows that the recogniser has, and key -> why for those that it cannot give."""
    fitted, unavailable = fitting_rows(
        rows, getattr(recogniser, "modalities", STREAMS), recogniser.name
    )
    return fitted, {
        row.key(seed): why for row, why in unavailable.items() for seed in row.seeds(seeds)
    }


def jobs(rows: Sequence[Row], seeds: Sequence[int], chosen: Sequence[int]) -> list[Job]:
    """All rows of all clips, batch after batch; rows of one condition share a job, and so what was
    done to the clips.

    Args:
        rows: of the suite.
        seeds: of the rows in which something is drawn.
        chosen: places of the clips in the index.
    """
    conditions: dict[Any, list[Row]] = {}
    for row in rows:
        conditions.setdefault(row.condition, []).append(row)
    return [
        Job(tuple(chosen[first : first + BATCH_CLIPS]), seed, tuple(same))
        for first in range(0, len(chosen), BATCH_CLIPS)
        for same in conditions.values()
        for seed in same[0].seeds(seeds)
    ]


# ---- doing it


class Work:
    """Fills a store with jobs, those of them that are not there yet.

    Args:
        store: of the hypotheses, those of an earlier run among them.
        ids: place in the index -> id of the clip.
        failed: row key -> why there is no such row; what turns out to be impossible is added.
        progress: told how far it is.
    """

    def __init__(
        self,
        store: HypothesisStore,
        ids: Mapping[int, str],
        failed: dict[str, str],
        progress: Progress | None,
    ) -> None:
        self.store, self.ids, self.failed = store, ids, failed
        self.progress = progress or (lambda done, total: None)
        self.left: deque[Job] = deque()
        self.done = self.total = 0

    def forget(
        self, todo: Sequence[Job], unchanged: Callable[[Job, HypothesisStore], bool]
    ) -> None:
        """Drops hypotheses of an earlier run whose clips are no longer what they were, and says so.

        Args:
            todo: every job of the run; a batch of clean clips that changed voids all that was made
                of them.
            unchanged: see `jobs.Bench.unchanged`.
        """
        there = [job for job in todo if self.store.has(job.keys, [self.ids[i] for i in job.batch])]
        stale = [job for job in there if not unchanged(job, self.store)]
        batches = {job.batch for job in stale if not job.rows[0].condition.steps}
        stale += [job for job in there if job.batch in batches and job not in stale]
        for job in stale:
            self.store.drop(job.keys, [self.ids[i] for i in job.batch])
        if stale:
            count = sum(job.size for job in stale)
            logging.getLogger(__name__).warning(
                "%s: %d hypotheses are of clips that have changed since; these are recognised anew",
                self.store.path,
                count,
            )

    def through(self, todo: Sequence[Job], task: Callable[[Job], Any], workers: int) -> None:
        """Does the jobs, in order.

        Args:
            todo: every job of the run.
            task: does one, see `jobs.Bench.do`.
            workers: processes; 1 is this one.
        """
        # A batch is done whole, so that going on gives the padding, and so the bits, of a run in
        # one go.
        self.left = deque(
            job for job in todo if not self.store.has(job.keys, [self.ids[i] for i in job.batch])
        )
        self.total = sum(job.size for job in todo)
        self.done = self.total - sum(job.size for job in self.left)
        self.progress(self.done, self.total)
        work_off(self.left, task, workers if workers > 1 else 0, self._finished, _crashed)

    def _finished(self, job: Job, found: Any) -> None:
        self.done += job.size
        if isinstance(found, str):
            self.failed.update(dict.fromkeys(job.keys, found))
            vain = [other for other in self.left if other.keys == job.keys]
            for other in vain:
                self.left.remove(other)
                self.done += other.size
        else:
            self.store.add(found)
        self.progress(self.done, self.total)


def _crashed(job: Job) -> None:
    raise AvsrError(
        f"{job.rows[0].condition.label}: the recogniser took its process down twice (out of "
        "memory?); what is done is "
        "kept: try fewer workers"
    )


# ---- what comes out


def _write(folder: Path, results: dict[str, Any], scores: Scores, bench: Bench) -> None:
    """Writes results.json, report.md and report.html."""
    from avsr.eval.report.page import to_html

    body = json.dumps(results, ensure_ascii=False, indent=1, allow_nan=False)
    page = to_html(results, worst_examples(scores, bench))
    with writing(folder):
        write_file(folder / "report.md", [to_markdown(results).encode()])
        write_file(folder / "report.html", [page.encode()])
        write_file(folder / "results.json", [body.encode(), b"\n"])


def _versions() -> dict[str, str]:
    """Versions of what decides what a recogniser is given, what it makes of it, and how that is
    counted."""
    own = {
        "conditions": str(VERSION),
        "normalizer": str(TEXT_VERSION),
        "python": platform.python_version(),
    }
    return {**compute_versions(), **own, "jiwer": version("jiwer")}


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
