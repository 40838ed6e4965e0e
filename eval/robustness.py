"""A recogniser under every condition of a suite, on prepared clips; `scoring.py` makes results of what it heard.

Each clip is decoded once and then put through every row. Hypotheses are written as they come, and a run that was cut
off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from avsr.eval import report
from avsr.eval.conditions import VERSION
from avsr.eval.noise import CannotBuild, Corpus
from avsr.eval.normalize import get_normalizer
from avsr.eval.scoring import score
from avsr.eval.suites import Row, suite_rows
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.shards import ShardIndex, write_file

SCHEMA = 1
BATCH_CLIPS = 16  # decoded and held at once

Progress = Callable[[float, float], None]
"""Called with the clips recognised, counted once a row, and how many there are."""


class Recogniser(Protocol):
    """What can be evaluated: `avsr.transcribe.Recogniser` or anything like it."""

    name: str

    def recognise(self, clips: Sequence[Clip], modality: str) -> Sequence[Any]:
        """One hypothesis with a `text` per clip."""


def evaluate(
    recogniser: Recogniser,
    data_dir: str | Path,
    suite: str = "quick",
    *,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 17,
    out: str | Path | None = None,
    normalizer: str = "basic",
    noise_dir: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores a recogniser on prepared clips.

    Args:
        recogniser: what to score.
        data_dir: shards with their index.json.
        suite: "clean" or "quick".
        split: score only clips of this split of the index.
        limit: score only so many clips, the first of the index; noise is still made of all.
        seed: of masks, noise and bootstrap.
        out: folder for results.json, report.md and hypotheses.jsonl. Hypotheses of the same model, data and seed that
            are already there are used and not computed again; those of another model or data are replaced.
        normalizer: applied to references and hypotheses, see `normalize`.
        noise_dir: recorded noises, for rows that need them.
        progress: told how far it is.

    Returns:
        The content of results.json: see `scoring.score` for the rows.

    Raises:
        AvsrError: unknown suite or normaliser, nothing to score, or a folder that cannot be written.
    """
    rows = suite_rows(suite)
    get_normalizer(normalizer)  # a wrong name is told now and not after all the work
    index = ShardIndex(data_dir)
    pool_of = [i for i, entry in enumerate(index.entries) if split is None or entry.split == split]
    chosen = _chosen(index, pool_of, limit)
    if not chosen:
        splits = sorted({str(entry.split) for entry in index.entries})
        raise AvsrError(f"{data_dir}: no clip with a text in split {split!r}; its splits are {', '.join(splits)}")
    corpus = _corpus(index, pool_of, noise_dir)
    model_sha256 = fingerprint(recogniser)
    run = _digest([VERSION, model_sha256, [asdict(index.entries[i]) for i in pool_of], _names(corpus)])
    store = HypothesisStore(Path(out) if out is not None else None, run)
    failed = _recognise(recogniser, index, chosen, rows, corpus, seed, store, progress)
    results = {
        "schema": SCHEMA,
        "model": recogniser.name,
        "model_sha256": model_sha256,
        "data": str(data_dir),
        "split": split,
        "suite": suite,
        "seed": seed,
        "normalizer": normalizer,
        "clips_without_text": [index.entries[i].id for i in pool_of if index.entries[i].text is None],
        **score(rows, [index.entries[i] for i in chosen], store.lines, failed, seed=seed, normalizer=normalizer),
    }
    if out is not None:
        store.finish()
        _write(Path(out), results)
    return results


def _chosen(index: ShardIndex, pool_of: Sequence[int], limit: int | None) -> list[int]:
    """Places in the index of the clips to score."""
    if limit is not None and limit < 1:
        raise AvsrError(f"limit {limit} is too small; give 1 or more clips, or none for all")
    return [i for i in pool_of if index.entries[i].text is not None][:limit]


def _write(folder: Path, results: dict[str, Any]) -> None:
    """Writes results.json and report.md."""
    body = json.dumps(results, ensure_ascii=False, indent=1, allow_nan=False)
    with _writing(folder):
        write_file(folder / "report.md", [report.to_markdown(results).encode()])
        write_file(folder / "results.json", [body.encode(), b"\n"])


def _recognise(
    recogniser: Recogniser,
    index: ShardIndex,
    chosen: Sequence[int],
    rows: Sequence[Row],
    corpus: Corpus,
    seed: int,
    store: HypothesisStore,
    progress: Progress | None,
) -> dict[str, str]:
    """Fills the store with each row of each clip.

    Returns:
        Key of each row that this corpus cannot give -> why.
    """
    failed: dict[str, str] = {}
    done = 0
    for first in range(0, len(chosen), BATCH_CLIPS):
        batch = chosen[first : first + BATCH_CLIPS]
        clips: list[Clip] = []
        for row in rows:
            key = row.key(seed)
            # A batch is redone whole, so that going on gives the padding, and so the bits, of a run in one go.
            if key not in failed and not all((key, index.entries[i].id) in store.lines for i in batch):
                clips = clips or [index.load(i) for i in batch]
                try:
                    altered = [row.condition.apply(clip, seed, corpus) for clip in clips]
                except CannotBuild as error:
                    failed[key] = str(error)
                else:
                    store.add(_timed(recogniser, row, key, clips, altered))
            done += len(batch)
            if progress is not None:
                progress(done, len(chosen) * len(rows))
    return failed


def _timed(
    recogniser: Recogniser, row: Row, key: str, clips: Sequence[Clip], altered: Sequence[Clip]
) -> list[dict[str, Any]]:
    """Recognises one batch of one row.

    Returns:
        A line for each clip: what was said, what was heard, what the masks said, and its share of the seconds.
    """
    begin = time.perf_counter()
    hypotheses = recogniser.recognise(altered, modality=row.modality)
    seconds = (time.perf_counter() - begin) / max(sum(clip.frames for clip in altered), 1)
    return [
        {
            "row": key,
            "id": clip.id,
            "reference": "" if row.condition.empty else clip.text,
            "hypothesis": hypothesis.text,
            "audio_present": round(float(given.audio_present.mean()) if given.frames else 0.0, 4),
            "video_present": round(float(given.video_present.mean()) if given.frames else 0.0, 4),
            "seconds": round(seconds * clip.frames, 6),
        }
        for clip, given, hypothesis in zip(clips, altered, hypotheses, strict=True)
    ]


class HypothesisStore:
    """Hypotheses by (row key, clip id); on disk as lines of hypotheses.jsonl, added as they come.

    Args:
        folder: where the file is kept; None keeps everything in memory.
        run: what the lines depend on; lines of another run are dropped. So is a last line cut short by a kill.
    """

    def __init__(self, folder: Path | None, run: str) -> None:
        self.path = folder / "hypotheses.jsonl" if folder else None
        self.run = run
        self.lines: dict[tuple[str, str], dict[str, Any]] = {}
        if self.path is None:
            return
        with _writing(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists():
                self._keep(_parsed(self.path.read_text(encoding="utf-8", errors="replace").splitlines()))
        self.finish()

    def _keep(self, lines: Iterable[dict[str, Any]]) -> None:
        self.lines.update({(line["row"], line["id"]): line for line in lines if line.get("run") == self.run})

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Keeps the lines, and appends them to the file in one write."""
        stamped = [{"run": self.run, **line} for line in lines]
        self._keep(stamped)
        if self.path is not None:
            with _writing(self.path.parent), open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(_jsonl(line) for line in stamped))

    def finish(self) -> None:
        """Writes the file anew in an order that does not depend on when a line came."""
        if self.path is not None:
            with _writing(self.path.parent):
                write_file(self.path, (_jsonl(self.lines[key]).encode() for key in sorted(self.lines)))


def _parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines that are whole."""
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue  # cut short; its clips are recognised again
        if isinstance(value, dict) and {"row", "id", "reference", "hypothesis"} <= value.keys():
            yield value


# ---- what a run depends on


def fingerprint(recogniser: Recogniser) -> str:
    """Hash that tells one model from another: its `sha256` where it has one, else that of its weights.

    Raises:
        AvsrError: it has neither, so that results of two models could be taken for each other.
    """
    digest = getattr(recogniser, "sha256", None)
    if digest:
        return str(digest)
    model = getattr(recogniser, "model", None)
    if model is None or not hasattr(model, "state_dict"):
        raise AvsrError(f"recogniser {recogniser.name!r} cannot be told from others; give it an attribute `sha256`")
    total = hashlib.sha256(str(getattr(recogniser, "config", "")).encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().float().numpy().tobytes())
    return total.hexdigest()


def _corpus(index: ShardIndex, pool_of: Sequence[int], noise_dir: str | Path | None) -> Corpus:
    places = {index.entries[i].id: i for i in pool_of}
    speakers = {index.entries[i].id: index.entries[i].speaker for i in pool_of}
    return Corpus(places, lambda id: index.load(places[id]).audio, speakers=speakers, noise_dir=noise_dir)


def _names(corpus: Corpus) -> list[str]:
    return [path.name for path in corpus.noise_files()]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _jsonl(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot write results ({error.strerror or error}); free space or name another"
        ) from error
