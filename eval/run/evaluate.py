"""A recogniser under every condition of a suite, on prepared clips; `scoring.py` makes results of
what it heard.

The work is cut into jobs: a batch of clips under one condition. A batch holds the same clips
whatever the number of processes and wherever a run was cut off, so neither changes a bit of the
results.
"""

from __future__ import annotations

import logging
import platform
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.outputs import write_file
from avsr.base.processes import cluster, pool
from avsr.eval.conditions.axes import VERSION
from avsr.eval.conditions.suites import Row, fitting_rows, suite_rows
from avsr.eval.metrics.normalize import VERSION as TEXT_VERSION
from avsr.eval.metrics.normalize import get_normalizer
from avsr.eval.metrics.results import SCHEMA, Results, to_json
from avsr.eval.metrics.scoring import Scores
from avsr.eval.metrics.summary import summarise
from avsr.eval.metrics.worst import worst_examples
from avsr.eval.report.files import if_installed
from avsr.eval.report.markdown import to_markdown
from avsr.eval.run.encoders import our_recogniser
from avsr.eval.run.jobs import BATCH_CLIPS, Bench, Job, Setup, do
from avsr.eval.run.provenance import compute_versions, fingerprint, run_parts
from avsr.eval.run.store import HypothesisStore, writing
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.shards import ShardIndex
from avsr.recognisers.protocol import STREAMS
from avsr.recognisers.registry import load

SEEDS = (17,)

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
    engine: str = "local",
    device: str = "auto",
    progress: Progress | None = None,
) -> Results:
    """Scores a recogniser on prepared clips.

    Args:
        recogniser: a spec of `recognisers.registry.load`, or an object with `name`, `sha256` (our
            own do without), `modalities` (all, where it does not say) and
            `recognise(clips, modality)`.
        data_dir: shards with their index.json.
        suite: one of `suites.SUITES`.
        split: score only clips of this split of the index.
        limit: score only so many clips, the first of the index; noise is still made of all.
        seeds: of masks and noise; each is measured, and curves and predicates count them all.
        conditions: only those that fit, see `suites.suite_rows`.
        out: folder for the reports and hypotheses. A run that was stopped goes on there; hypotheses
            of another model, other data or libraries are put aside, see `store`.
        normalizer: applied to references and hypotheses, see `normalize`.
        noise_dir, rir_dir: recorded noises, and impulse responses of rooms.
        workers: processes or actors, each with one thread; several need a spec. 1 is this process.
        engine: one of cluster.ENGINES: processes of this machine, or actors of a Ray cluster, which
            need a spec and the same paths on every machine.
        device: where to compute, for a spec.
        progress: told how far it is.

    Raises:
        AvsrError: unknown suite, conditions or normaliser, nothing to score, or a folder that
            cannot be written.
    """
    rows = suite_rows(suite, conditions)
    get_normalizer(normalizer)  # a wrong name is told now and not after all the work
    _check(recogniser, seeds, workers, engine, noise_dir, rir_dir)
    index = ShardIndex(data_dir)
    chosen = _chosen(index, split, limit)
    setup = Setup(str(recogniser), str(data_dir), split, _text(noise_dir), _text(rir_dir), device)
    bench = Bench(_loaded(recogniser, device, index), index, setup)
    store = HypothesisStore(Path(out) if out is not None else None, _parts(bench))
    plan = Plan(rows, tuple(seeds), tuple(chosen), normalizer)
    scores = _recognised(bench, setup, store, plan, (engine, workers), progress)
    results = _results(scores, bench, setup, suite=suite, conditions=conditions)
    if out is not None:
        store.finish()
        _write(Path(out), results, scores, bench)
    return results


@dataclass(frozen=True)
class Plan:
    """What is to be measured.

    Attributes:
        rows: of the suite.
        seeds: of the rows in which something is drawn.
        chosen: places of the clips in the index.
        normalizer: applied to references and hypotheses.
    """

    rows: Sequence[Row]
    seeds: tuple[int, ...]
    chosen: tuple[int, ...]
    normalizer: str


def _recognised(
    bench: Bench,
    setup: Setup,
    store: HypothesisStore,
    plan: Plan,
    hands: tuple[str, int],
    progress: Progress | None,
) -> Scores:
    """Recognises what the store does not have yet, by an engine and so many workers, and counts the
    errors of all."""
    rows, failed = _fitting(plan.rows, plan.seeds, bench.recogniser)
    entries = {i: bench.index.entries[i] for i in plan.chosen}
    work = Work(store, {i: entry.id for i, entry in entries.items()}, failed, progress)
    possible = [row for row in rows if row.key(plan.seeds[0]) not in failed]
    todo = jobs(possible, plan.seeds, plan.chosen)
    work.forget(todo, bench.unchanged)
    engine, workers = hands
    elsewhere = workers > 1 or engine == "ray"
    work.through(todo, partial(do, setup) if elsewhere else bench.do, workers, engine)
    lines, clips = store.lines, list(entries.values())
    return Scores(rows, plan.seeds, clips, lines, failed, plan.normalizer)


def _results(
    scores: Scores, bench: Bench, setup: Setup, *, suite: str, conditions: str | None
) -> Results:
    """What the scores say, and of what."""
    ours = our_recogniser(bench.recogniser)
    clips = [bench.index.entries[i] for i in bench.places]
    table = scores.table()
    return Results(
        schema_=SCHEMA,
        model=bench.recogniser.name,
        model_sha256=fingerprint(bench.recogniser),
        decoding=str(ours.decoding) if ours is not None else None,
        data=setup.data,
        split=setup.split,
        suite=suite,
        conditions=conditions,
        seeds=tuple(scores.seeds),
        normalizer=scores.normalizer,
        clips=len(scores.entries),
        clips_without_text=tuple(clip.id for clip in clips if clip.text is None),
        versions=_versions(),
        rows=table,
        curves=scores.curves(),
        predicates=scores.predicates(),
        summary=summarise(scores, table),
    )


# ---- what is to be done


def _loaded(recogniser: Any, device: str, index: ShardIndex) -> Any:
    """The recogniser, where the clips hold the crops that it was trained on."""
    hears = load(recogniser, device) if isinstance(recogniser, (str, Path)) else recogniser
    if set(getattr(hears, "modalities", STREAMS)) - {"audio"}:
        index.require_crops(getattr(hears, "crops", OWN.name), hears.name)
    return hears


def _parts(bench: Bench) -> dict[str, str]:
    """All that hypotheses depend on, besides their row."""
    entries = (bench.index.entries[i] for i in bench.places)
    noises, rooms = bench.corpus.noise_files(), bench.corpus.rir_files()
    return run_parts(fingerprint(bench.recogniser), entries, noises, rooms)


def _check(
    recogniser: Any,
    seeds: Sequence[int],
    workers: int,
    engine: str,
    noise_dir: str | Path | None,
    rir_dir: str | Path | None,
) -> None:
    """Refuses, before any work, what cannot be."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise AvsrError(f"seeds {list(seeds)}: give one or more, each once")
    if workers < 1:
        raise AvsrError(f"workers {workers} is too few; give 1 or more processes")
    cluster.check_engine(engine)
    if (workers > 1 or engine == "ray") and not isinstance(recogniser, (str, Path)):
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
    found = []
    for first in range(0, len(chosen), BATCH_CLIPS):
        batch = tuple(chosen[first : first + BATCH_CLIPS])
        for same in conditions.values():
            found += [Job(batch, seed, tuple(same)) for seed in same[0].seeds(seeds)]
    return found


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
        there = [job for job in todo if self._has(job)]
        stale = [job for job in there if not unchanged(job, self.store)]
        batches = {job.batch for job in stale if not job.rows[0].condition.steps}
        stale += [job for job in there if job.batch in batches and job not in stale]
        for job in stale:
            self.store.drop(job.keys, self._clips(job))
        if stale:
            count = sum(job.size for job in stale)
            logging.getLogger(__name__).warning(
                "%s: %d hypotheses are of clips that have changed since; these are recognised anew",
                self.store.path,
                count,
            )

    def through(
        self,
        todo: Sequence[Job],
        task: Callable[[Job], Any],
        workers: int,
        engine: str = "local",
    ) -> None:
        """Does the jobs, in order.

        Args:
            todo: every job of the run.
            task: does one, see `jobs.Bench.do`.
            workers: processes or actors; 1 is this process, or one actor.
            engine: one of cluster.ENGINES.
        """
        # A batch is done whole, so that going on gives the padding, and so the bits, of a run in
        # one go.
        self.left = deque(job for job in todo if not self._has(job))
        self.total = sum(job.size for job in todo)
        self.done = self.total - sum(job.size for job in self.left)
        self.progress(self.done, self.total)
        if engine == "ray":
            cluster.work_off(self.left, task, workers, self._finished, _crashed)
        else:
            pool.work_off(self.left, task, workers if workers > 1 else 0, self._finished, _crashed)

    def _clips(self, job: Job) -> list[str]:
        return [self.ids[i] for i in job.batch]

    def _has(self, job: Job) -> bool:
        return self.store.has(job.keys, self._clips(job))

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
        f"{job.rows[0].condition.label}: the recogniser took its process down again and "
        "again (out of memory?); what is done is kept: try fewer workers"
    )


# ---- what comes out


def _write(folder: Path, results: Results, scores: Scores, bench: Bench) -> None:
    """Writes results.json, report.md and, where what draws it is installed, report.html."""
    page = _page(results, scores, bench)
    with writing(folder):
        write_file(folder / "report.md", [to_markdown(results).encode()])
        if page is not None:
            write_file(folder / "report.html", [page.encode()])
        write_file(folder / "results.json", [to_json(results).encode()])


def _page(results: Results, scores: Scores, bench: Bench) -> str | None:
    """The page; None where the extra for it is not installed."""
    with if_installed("report.html"):
        from avsr.eval.report.page import to_html

        return to_html(results, worst_examples(scores, bench.altered))
    return None


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
