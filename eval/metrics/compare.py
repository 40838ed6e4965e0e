"""Two evaluations row by row: paired differences, and which of them are real.

Each difference comes with a paired bootstrap interval over utterances (`wer.compare`). With many
rows some intervals leave out zero by chance, so each row also has an exact paired randomisation
test: if it did not matter which system said what, every utterance's difference could as well have
had the other sign (Noreen, "Computer-intensive methods for testing hypotheses", 1989; Yeh, "More
accurate tests for the statistical significance of result differences", COLING 2000). Its p values
are adjusted for the number of rows (Holm, "A simple sequentially rejective multiple test
procedure", Scandinavian Journal of Statistics, 1979).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from avsr.base.errors import AvsrError
from avsr.eval.metrics.hypotheses import FILE as HYPOTHESES
from avsr.eval.metrics.hypotheses import Heard, heard
from avsr.eval.metrics.results import (
    FILE,
    MASK_INDICATED,
    About,
    Frozen,
    Measured,
    Modality,
    Results,
    parsed,
    read_results,
    text_of,
)
from avsr.eval.metrics.wer import CONFIDENCE, INSERTIONS, UNITS, compare, count_errors, pool

SCHEMA = 1
ALPHA = 1 - CONFIDENCE  # of the test after Holm's adjustment

Lines = Mapping[str, Heard]
"""Clip id -> line of hypotheses.jsonl."""


class Side(About):
    """One of the two that are compared, and where its results lie."""

    results: str


class ComparedRow(Frozen):
    """One line of both tables.

    Attributes:
        wer_a, wer_b: None where nothing is said; `insertions_*` then tell what was put out.
        difference: B - A: below zero B has fewer errors; with its paired 95 % interval.
        p: of the exact paired randomisation test; None where there is no rate.
        p_holm: adjusted for all lines compared.
        real: the interval leaves out zero.
        better: None where the difference is not real.
    """

    key: str
    label: str
    axis: str
    condition: str
    level: Any
    seed: int
    modality: Modality
    mask_indicated: bool = Field(validation_alias=MASK_INDICATED)
    utterances: int
    words: int
    wer_a: float | None
    wer_b: float | None
    insertions_a: int
    insertions_b: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None = None
    real: bool
    real_after_holm: bool = False
    better: Literal["a", "b"] | None


class Comparison(Frozen):
    """Two evaluations, line by line.

    Attributes:
        a, b: what is compared.
        rows_compared: lines that have a rate.
        rows: lines that both have.
        only_a, only_b: keys of lines scored in one alone.
        notes: what does not forbid the comparison, and should be known.
    """

    schema_: int = Field(SCHEMA, alias="schema")
    a: Side
    b: Side
    normalizer: str
    confidence: float
    rows_compared: int
    rows: tuple[ComparedRow, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def rated(self) -> list[ComparedRow]:
        """The lines that have a rate."""
        return [row for row in self.rows if row.p is not None]

    @property
    def several_seeds(self) -> bool:
        """Whether a label does not yet say which of several seeds it is."""
        return len({row.seed for row in self.rated}) > 1

    def to_json(self) -> str:
        """The content of compare.json."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Run:
    """One evaluation as it lies on disk.

    Attributes:
        path: of results.json.
        results: its content.
        rows: key -> line of the table, those that were scored.
        lines: the same key -> its hypotheses.
    """

    path: Path
    results: Results
    rows: Mapping[str, Measured]
    lines: Mapping[str, Lines]


def compare_runs(a: str | Path, b: str | Path) -> Comparison:
    """Compares two runs of `avsr evaluate` in every test condition that both have.

    Args:
        a, b: folders that evaluate wrote, or the results.json in them; hypotheses.jsonl lies
            beside.

    Raises:
        AvsrError: a file is missing or damaged, or the two cannot be paired: not the same clips,
            references, masks, split, normaliser or version of the conditions.
    """
    first, second = _load(a), _load(b)
    _pairable(first, second)
    common = [key for key in first.rows if key in second.rows]
    if not common:
        raise AvsrError(
            f"{first.path} and {second.path} have no test condition in common that was scored: "
            "evaluate both with the same --suite, seeds and modalities"
        )
    rows = _adjusted([_row(first, second, key) for key in common])
    return Comparison(
        a=_side(first),
        b=_side(second),
        normalizer=first.results.normalizer,
        confidence=CONFIDENCE,
        rows_compared=sum(row.p is not None for row in rows),
        rows=tuple(rows),
        only_a=tuple(key for key in first.rows if key not in second.rows),
        only_b=tuple(key for key in second.rows if key not in first.rows),
        notes=tuple(_notes(first, second)),
    )


# ---- reading


def _load(path: str | Path) -> Run:
    """Reads results.json and hypotheses.jsonl of one run, and checks that they belong together."""
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    results = read_results(path)
    beside = path.with_name(HYPOTHESES)
    lines: dict[str, dict[str, Heard]] = {}
    for number, text in enumerate(text_of(beside).splitlines(), 1):
        line = heard(parsed(text, beside, number))
        if line is None:
            raise AvsrError(
                f"{beside}, line {number}: is no hypothesis of avsr evaluate; evaluate again"
            )
        lines.setdefault(line.row, {})[line.id] = line
    scored = {row.key: row for row in results.available}
    for key, row in scored.items():
        if len(lines.get(key, {})) != row.utterances:
            raise AvsrError(
                f"{beside}: does not belong to {path.name} ({key!r} differs); evaluate again"
            )
    return Run(path, results, scored, lines)


# ---- what must agree, so that utterance by utterance the same thing was asked

_SAME: tuple[tuple[str, Callable[[Results], Any]], ...] = (
    ("text normaliser", lambda results: results.normalizer),
    ("version of the text normaliser", lambda results: results.versions.get("normalizer")),
    ("split", lambda results: results.split),
    ("version of the conditions", lambda results: results.versions.get("conditions")),
)


def _pairable(first: Run, second: Run) -> None:
    """Refuses two runs whose lines of one name are not the same task."""
    for what, of in _SAME:
        mine, theirs = of(first.results), of(second.results)
        if mine != theirs:
            raise AvsrError(
                f"{first.path} and {second.path} differ in their {what} ({mine} and {theirs}): "
                "evaluate both alike"
            )
    for key in first.rows:
        if key in second.rows:
            _same_clips(first, second, key)


def _same_clips(first: Run, second: Run, key: str) -> None:
    mine, theirs = first.lines[key], second.lines[key]
    if mine.keys() != theirs.keys():
        odd = min(mine.keys() ^ theirs.keys())
        raise AvsrError(
            f"{key!r} has {len(mine)} clips in {first.path} and {len(theirs)} in {second.path} "
            f"({odd} only in one): evaluate both on the same clips"
        )
    for id, line in mine.items():
        for what in ("reference", "audio_present", "video_present", "clip_sha256"):
            one, other = getattr(line, what), getattr(theirs[id], what)
            if one != other:
                raise AvsrError(
                    f"{key!r}, clip {id}: {what} is {one!r} in {first.path} and {other!r} in "
                    f"{second.path}: evaluate both on the same clips, noises and libraries"
                )


def _notes(first: Run, second: Run) -> list[str]:
    """What does not forbid the comparison, and should be known."""
    a, b = first.results, second.results
    notes = []
    if a.model_sha256 == b.model_sha256:
        notes.append("A and B are the same model.")
    if a.data != b.data:
        notes.append(
            f"The data are called {a.data} in A and {b.data} in B; references and clips, as they "
            "were given with all that was done to them, agree."
        )
    return notes


# ---- comparing


def _row(first: Run, second: Run, key: str) -> ComparedRow:
    """One line of both runs; Holm's adjustment is to come."""
    counts_a, counts_b = (_counts(run, key) for run in (first, second))
    a, b, difference = pool(counts_a), pool(counts_b), compare(counts_b, counts_a)
    errors = (counts_b - counts_a)[:, :UNITS].sum(axis=1)
    better: Literal["a", "b"] | None = None
    if difference.real:
        better = "a" if errors.sum() > 0 else "b"
    row = first.rows[key]
    return ComparedRow(
        key=key,
        label=row.label,
        axis=row.axis,
        condition=row.condition,
        level=row.level,
        seed=row.seed,
        modality=row.modality,
        mask_indicated=row.mask_indicated,
        utterances=a.utterances,
        words=a.units,
        wer_a=a.rate,
        wer_b=b.rate,
        insertions_a=int(counts_a[:, INSERTIONS].sum()),
        insertions_b=int(counts_b[:, INSERTIONS].sum()),
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        p=sign_flip_p(errors) if difference.value is not None else None,
        real=difference.real,
        better=better,
    )


def _counts(run: Run, key: str) -> np.ndarray:
    """(n, 4) int64 word errors of a line, clips in the order of their ids."""
    lines = [line for _, line in sorted(run.lines[key].items())]
    counts = count_errors(
        [line.reference for line in lines],
        [line.hypothesis for line in lines],
        normalizer=run.results.normalizer,
    )
    if counts[:, :UNITS].sum() != run.rows[key].errors:
        raise AvsrError(
            f"{run.path}: {key!r} does not follow from {HYPOTHESES} beside it; evaluate again"
        )
    return counts


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided exact p value of a paired randomisation test: how often random signs give a sum as
    far from zero.

    The differences are whole numbers, so the distribution of the sum is a product of polynomials,
    and no random sample of the 2^n signs is needed.

    Args:
        differences: (n,) int64, errors of one system minus errors of the other, utterance by
            utterance.
    """
    chances = np.ones(1)  # of the sums -reach ... reach
    for step in np.abs(differences[differences != 0]):
        chances = (np.pad(chances, (0, 2 * step)) + np.pad(chances, (2 * step, 0))) / 2
    reach, seen = len(chances) // 2, abs(int(differences.sum()))
    return min(1.0, float(2 * chances[reach + seen :].sum())) if seen else 1.0


def _adjusted(rows: Sequence[ComparedRow]) -> list[ComparedRow]:
    """The lines with p_holm and real_after_holm, in the order given."""
    rated = sorted((row.p, place) for place, row in enumerate(rows) if row.p is not None)
    found = list(rows)
    least = 0.0
    for rank, (p, place) in enumerate(rated):
        least = max(least, min(1.0, (len(rated) - rank) * p))
        firm = rows[place].real and least <= ALPHA + 1e-12
        found[place] = rows[place].model_copy(update={"p_holm": least, "real_after_holm": firm})
    return found


def _side(run: Run) -> Side:
    about = {name: getattr(run.results, name) for name in About.model_fields}
    return Side(results=str(run.path), **about)
