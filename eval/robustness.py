"""A recogniser under every condition of a suite: rows with counts, intervals and the two predicates R_V and R_A.

Each clip is decoded once and then put through every row. Hypotheses are written as they come, and a run that was cut
off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from avsr.eval import report
from avsr.eval.conditions import SNR_DEFINITION, VERSION, CannotBuild, Condition, Corpus, Missing, Noise, Nothing
from avsr.eval.normalize import get_normalizer
from avsr.eval.wer import INSERTIONS, UNITS, compare, count_errors, pool
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.shards import ShardIndex, write_file

SCHEMA = 1
TOLERANCE = 0.005  # of R_V and R_A, half a point of WER
BATCH_CLIPS = 16  # decoded and held at once

Progress = Callable[[float, float], None]
"""Called with the clips recognised, counted once a row, and how many there are."""


class Recogniser(Protocol):
    """What can be evaluated: `avsr.transcribe.Recogniser` or anything like it."""

    name: str

    def recognise(self, clips: Sequence[Clip], modality: str) -> Sequence[Any]:
        """One hypothesis with a `text` per clip."""


@dataclass(frozen=True)
class Row:
    """One line of the results: a condition and what the recogniser may use of it.

    Attributes:
        condition: what is done to each clip.
        modality: "av", "audio" or "video".
        role: "suite", or "comparison" for a row that only a predicate needs.
    """

    condition: Condition = field(default_factory=Condition)
    modality: str = "av"
    role: str = field(default="suite", compare=False)

    def key(self, seed: int) -> str:
        """Names the row in the results and beside each hypothesis."""
        return f"{self.condition.label} | {self.modality} | seed {seed}"


def suite_rows(suite: str) -> list[Row]:
    """The rows of a suite, and after them those that its predicates compare with.

    Missing sound and picture come in bursts: one to three segments a clip.

    Raises:
        AvsrError: no such suite.
    """
    clean = [Row(), Row(modality="audio"), Row(modality="video")]
    babble = Noise("babble", 0.0)
    quick = [
        *clean,
        *(Row(Condition((Missing(stream, "bursts", rate),))) for stream in ("video", "audio") for rate in (0.5, 1.0)),
        Row(Condition((babble,))),
        Row(Condition((babble, Missing("video", "bursts", 0.5)))),
        Row(Condition((Nothing(),))),
    ]
    suites = {"clean": clean, "quick": quick}
    if suite not in suites:
        raise AvsrError(f"suite {suite!r} does not exist; choose one of {', '.join(suites)}")
    rows = suites[suite]
    for against in [AGAINST[name](row) for name in AGAINST for row in rows if row.modality == "av"]:
        if against is not None and against not in rows:
            rows = [*rows, against]
    return rows


def audio_only(row: Row) -> Row | None:
    """The row that R_V compares with: the same sound, whole or noisy, and no lips. None where sound is missing."""
    if row.condition.loses("audio"):
        return None
    return Row(row.condition.without("video"), "audio", "comparison")


def video_only(row: Row) -> Row | None:
    """The row that R_A compares with: the same lips and no sound. None where lips are missing or the sound is noisy."""
    if row.condition.loses("video") or row.condition.noisy:
        return None
    return Row(row.condition.without("audio"), "video", "comparison")


AGAINST: dict[str, Callable[[Row], Row | None]] = {"R_V": audio_only, "R_A": video_only}


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
        The content of results.json: see `score` for the rows.

    Raises:
        AvsrError: unknown suite or normaliser, nothing to score, or a folder that cannot be written.
    """
    rows = suite_rows(suite)
    get_normalizer(normalizer)  # a wrong name is told now and not after all the work
    index = ShardIndex(data_dir)
    pool_of = [i for i, entry in enumerate(index.entries) if split is None or entry.split == split]
    chosen = [i for i in pool_of if index.entries[i].text is not None]
    unscored = [index.entries[i].id for i in pool_of if index.entries[i].text is None]
    chosen = chosen[: _checked_limit(limit)]
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
        "clips_without_text": unscored,
        **score(rows, [index.entries[i] for i in chosen], store.lines, failed, seed=seed, normalizer=normalizer),
    }
    if out is not None:
        with _writing(Path(out)):
            store.finish()
            write_file(Path(out) / "report.md", [report.to_markdown(results).encode()])
            body = json.dumps(results, ensure_ascii=False, indent=1, allow_nan=False)
            write_file(Path(out) / "results.json", [body.encode(), b"\n"])
    return results


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


# ---- from hypotheses to results


def score(
    rows: Sequence[Row],
    entries: Sequence[Any],
    lines: dict[tuple[str, str], dict[str, Any]],
    failed: dict[str, str],
    *,
    seed: int,
    normalizer: str = "basic",
) -> dict[str, Any]:
    """Turns hypotheses into the rows, predicates and summary of results.json.

    Args:
        rows: of the suite; the first is the full input that `delta_wer` compares with.
        entries: the clips scored, each with `id` and `frames`.
        lines: (row key, clip id) -> line of the hypothesis store.
        failed: row key -> why the corpus cannot give that row; its rates are None.
        seed: of the rows' keys and the bootstrap.
        normalizer: applied to both sides.

    Returns:
        {"rows", "predicates", "summary"}. Rates are fractions; a row in which nothing is said has none (None), its
        insertions are what was hallucinated.
    """
    counts: dict[Row, np.ndarray] = {}
    table = []
    for row in rows:
        key = row.key(seed)
        if key in failed:
            table.append({**_described(row, seed), "not_available": failed[key], "wer": None})
            continue
        mine = [lines[key, entry.id] for entry in entries]
        spoken, heard = [line["reference"] for line in mine], [line["hypothesis"] for line in mine]
        counts[row] = count_errors(spoken, heard, normalizer=normalizer)
        characters = count_errors(spoken, heard, unit="character", normalizer=normalizer)
        table.append(
            {
                **_described(row, seed),
                **_rates(counts[row], characters, None if row.condition.empty else counts.get(rows[0]), seed),
                **_extent(mine, entries),
            }
        )
    return {
        "rows": table,
        "predicates": {name: _predicate(against, counts, seed) for name, against in AGAINST.items()},
        "summary": _summary(table),
    }


def _described(row: Row, seed: int) -> dict[str, Any]:
    """What a row is."""
    condition = row.condition
    return {
        "key": row.key(seed),
        "label": condition.label,
        "axis": condition.axis,
        "condition": condition.name,
        "level": condition.level,
        "seed": seed,
        "modality": row.modality,
        "signalled": condition.signalled,
        "role": row.role,
        **({"snr": SNR_DEFINITION} if condition.noisy else {}),
    }


def _rates(words: np.ndarray, characters: np.ndarray, full: np.ndarray | None, seed: int) -> dict[str, Any]:
    """The figures of a row.

    Args:
        words, characters: (n, 4) int64 counts.
        full: (n, 4) int64 word counts of the full-input row; None where a difference makes no sense.
        seed: of the bootstrap.
    """
    word, character = pool(words, seed=seed), pool(characters, seed=seed)
    delta = compare(words, full, seed=seed) if full is not None else None
    return {
        "utterances": word.utterances,
        "words": word.units,
        "wer": word.rate,
        "wer_low": word.low,
        "wer_high": word.high,
        "substitutions": word.substitutions,
        "deletions": word.deletions,
        "insertions": word.insertions,
        "hallucinating_utterances": int(((words[:, UNITS] == 0) & (words[:, INSERTIONS] > 0)).sum()),
        "characters": character.units,
        "cer": character.rate,
        "cer_low": character.low,
        "cer_high": character.high,
        "character_substitutions": character.substitutions,
        "character_deletions": character.deletions,
        "character_insertions": character.insertions,
        "delta_wer": delta.value if delta else None,
        "delta_low": delta.low if delta else None,
        "delta_high": delta.high if delta else None,
    }


def _extent(lines: Sequence[dict[str, Any]], entries: Sequence[Any]) -> dict[str, Any]:
    """What the masks said, as fractions of the frames, and what the row cost."""
    frames = np.array([entry.frames for entry in entries], np.float64)
    media_s, seconds = frames.sum() / FPS, sum(line["seconds"] for line in lines)
    shares = {
        name: round(float(np.array([line[name] for line in lines]) @ frames / max(frames.sum(), 1)), 4)
        for name in ("audio_present", "video_present")
    }
    return {
        **shares,
        "media_s": round(float(media_s), 3),
        "seconds": round(seconds, 3),
        "real_time_factor": round(seconds / media_s, 5) if media_s else None,
    }


def _predicate(against: Callable[[Row], Row | None], counts: dict[Row, np.ndarray], seed: int) -> dict[str, Any]:
    """Whether the audio-visual rows are at most TOLERANCE worse than the rows that have one modality alone.

    Returns:
        {"pass", "worst", "worst_row", "tolerance", "checks"}; `worst` is the largest WER(AV) - WER(one modality). Where
        no row could be checked, pass and worst are None.
    """
    checks = []
    for row in counts:
        other = against(row) if row.modality == "av" else None
        if other is None or other not in counts:
            continue
        mine, theirs = pool(counts[row], seed=seed), pool(counts[other], seed=seed)
        difference = compare(counts[row], counts[other], seed=seed)
        if difference.value is None:
            continue
        checks.append(
            {
                "row": row.key(seed),
                "against": other.key(seed),
                "label": row.condition.label,
                "wer": mine.rate,
                "against_wer": theirs.rate,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "pass": difference.value <= TOLERANCE + 1e-9,
            }
        )
    worst = max(checks, key=lambda check: check["difference"], default=None)
    return {
        "pass": all(check["pass"] for check in checks) if checks else None,
        "worst": worst["difference"] if worst else None,
        "worst_row": worst["row"] if worst else None,
        "tolerance": TOLERANCE,
        "checks": checks,
    }


def _summary(table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures over the rows: what was hallucinated where nothing was there, and the cost of recognising."""
    scored = [row for row in table if "not_available" not in row]
    nothing = [row for row in scored if row["axis"] == Nothing.axis]
    utterances, media_s = sum(row["utterances"] for row in nothing), sum(row["media_s"] for row in nothing)
    words = sum(row["insertions"] for row in nothing)
    seconds, recognised_s = sum(row["seconds"] for row in scored), sum(row["media_s"] for row in scored)
    return {
        # Share of the utterances with nothing in them for which any word was put out.
        "hallucination_rate": sum(row["hallucinating_utterances"] for row in nothing) / utterances
        if utterances
        else None,
        "hallucinated_words": words if nothing else None,
        "hallucinated_words_per_minute": round(60 * words / media_s, 3) if media_s else None,
        "real_time_factor": round(seconds / recognised_s, 5) if recognised_s else None,
        "seconds": round(seconds, 3),
    }


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


def _checked_limit(limit: int | None) -> int | None:
    if limit is not None and limit < 1:
        raise AvsrError(f"limit {limit} is too small; give 1 or more clips, or none for all")
    return limit


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot write results ({error.strerror or error}); free space or name another"
        ) from error
