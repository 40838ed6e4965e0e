"""Word and character error rates: counts pooled over a corpus, divided once, with a bootstrap
interval.

jiwer aligns; this file counts per utterance, because both the interval and the comparison of two
systems resample utterances (Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR
performance evaluation", ICASSP 2004).

Where hardly any utterance differs from the others, above all where there is no error at all,
drawing utterances anew cannot tell what did not happen. There the interval is at least Wilson's
(JASA 22, 1927), which for no error in n words goes up to 3.8 / (n + 3.8); that of a difference is
Newcombe's (Statistics in Medicine 17, 1998), made of two of them. Words of one utterance go wrong
together, so n is their number over the design effect, see `_design_effect`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Literal

import numpy as np

from avsr.eval.metrics.normalize import characters, get_normalizer

SUBSTITUTIONS, DELETIONS, INSERTIONS, UNITS = range(4)  # columns of a table of counts
RESAMPLES = 2000
CONFIDENCE = 0.95
# utterances that differ from the others; with fewer the bootstrap alone is too sure of itself
FEW = 10
PRIOR_BURST = 2  # words that go wrong together in an utterance, where no error tells
_Z2 = 1.959964**2  # of a 95 % interval
_INDEX_BUDGET = 2_000_000  # drawn indices held at once: 16 MB whatever the size of the corpus
_TIMES_BUDGET = 8_000_000  # entries of a table that is kept: 64 MB


@dataclass(frozen=True)
class ErrorRate:
    """An error rate of a corpus with everything needed to check it.

    Attributes:
        rate: (substitutions + deletions + insertions) / units as a fraction; None where the
            references hold no unit.
        low, high: 95 % interval over utterances, fractions; None where rate is None.
        substitutions, deletions, insertions: pooled counts.
        units: words (or characters) in the references.
        utterances: how many were scored, those with an empty reference included.
    """

    rate: float | None
    low: float | None
    high: float | None
    substitutions: int
    deletions: int
    insertions: int
    units: int
    utterances: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


@dataclass(frozen=True)
class Difference:
    """Rate of one system minus that of another on the same utterances, fractions; None where the
    rates are None."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def real(self) -> bool:
        """Whether the 95 % interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def count_errors(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    unit: Literal["word", "character"] = "word",
    normalizer: str = "basic",
) -> np.ndarray:
    """Counts the errors of each utterance.

    An empty reference (after normalisation) adds its insertions and no units. Spaces between words
    are characters, but not in scripts without spaces, where each letter is a word (`normalize` says
    which).

    Args:
        references: what was said, one string an utterance.
        hypotheses: what was recognised, in the same order.
        unit: what is compared.
        normalizer: name from `normalize.NORMALIZERS`, applied to both sides.

    Returns:
        (n, 4) int64: substitutions, deletions, insertions, units in the reference.

    Raises:
        ValueError: the two sequences differ in length.
        AvsrError: unknown normaliser.
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references for {len(hypotheses)} hypotheses")
    normalize = get_normalizer(normalizer)
    spoken, heard = (
        [normalize(text) for text in references],
        [normalize(text) for text in hypotheses],
    )
    if unit == "character":
        spoken, heard = [characters(text) for text in spoken], [characters(text) for text in heard]
    counts = np.zeros((len(spoken), 4), np.int64)
    filled = [row for row, text in enumerate(spoken) if text]
    for row in set(range(len(spoken))) - set(filled):
        counts[row, INSERTIONS] = len(heard[row].split() if unit == "word" else heard[row])
    if filled:
        process = jiwer.process_words if unit == "word" else jiwer.process_characters
        aligned = process([spoken[row] for row in filled], [heard[row] for row in filled])
        for row, chunks, units in zip(filled, aligned.alignments, aligned.references, strict=True):
            counts[row] = *_count_chunks(chunks), len(units)
    return counts


def _count_chunks(chunks: Sequence) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions in jiwer's alignment of one utterance."""
    totals = {"substitute": 0, "delete": 0, "insert": 0, "equal": 0}
    for chunk in chunks:
        spoken, heard = (
            chunk.ref_end_idx - chunk.ref_start_idx,
            chunk.hyp_end_idx - chunk.hyp_start_idx,
        )
        totals[chunk.type] += max(spoken, heard)
    return totals["substitute"], totals["delete"], totals["insert"]


def align(
    reference: str, hypothesis: str, *, normalizer: str = "basic"
) -> list[tuple[str | None, str | None]]:
    """Which word stands for which, in the alignment with the fewest errors.

    Returns:
        Pairs (word of the reference, word of the hypothesis) in order; None where there is none on
        that side.
    """
    import jiwer

    normalize = get_normalizer(normalizer)
    spoken, heard = normalize(reference).split(), normalize(hypothesis).split()
    if not spoken or not heard:
        return [*((word, None) for word in spoken), *((None, word) for word in heard)]
    pairs: list[tuple[str | None, str | None]] = []
    for chunk in jiwer.process_words(" ".join(spoken), " ".join(heard)).alignments[0]:
        left = spoken[chunk.ref_start_idx : chunk.ref_end_idx]
        right = heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
        pairs += zip_longest(left, right)
    return pairs


def pool(
    counts: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES, repeats: int = 1
) -> ErrorRate:
    """Pools counts of utterances into one rate with its interval.

    Args:
        counts: (n, 4) int64 from `count_errors`.
        seed: of the bootstrap.
        resamples: how often the corpus is drawn anew.
        repeats: how often each utterance was recognised for these counts; one utterance stays one
            witness.
    """
    substitutions, deletions, insertions, units = (int(total) for total in counts.sum(axis=0))
    rate = (substitutions + deletions + insertions) / units if units else None
    totals = _errors_and_units(counts)
    low, high = _interval(totals, seed, resamples)
    if low is not None and high is not None and _few_differ(totals):
        ends = _wilson(totals[:, 0], totals[:, 1], _witnesses(totals, repeats))
        low, high = min(low, ends[0]), max(high, ends[1])
    return ErrorRate(rate, low, high, substitutions, deletions, insertions, units, len(counts))


def compare(
    counts: np.ndarray,
    baseline: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    repeats: int = 1,
) -> Difference:
    """Paired bootstrap of rate(counts) - rate(baseline): every resample draws the same utterances
    for both.

    Args:
        counts, baseline: (n, 4) int64 from `count_errors`, the same utterances in the same order.
        seed: of the bootstrap.
        resamples: how often the corpus is drawn anew.
        repeats: how often each utterance was recognised for these counts, see `pool`.

    Raises:
        ValueError: the references differ, so the two are not paired.
    """
    if counts.shape != baseline.shape or not np.array_equal(counts[:, UNITS], baseline[:, UNITS]):
        raise ValueError(
            "a paired comparison needs the same utterances, in the same order, on both sides"
        )
    excess = _errors_and_units(counts)
    excess[:, 0] -= _errors_and_units(baseline)[:, 0]
    errors, units = excess.sum(axis=0)
    low, high = _interval(excess, seed, resamples)
    if low is not None and high is not None and _few_differ(excess):
        ends = _newcombe(excess, repeats)
        low, high = min(low, ends[0]), max(high, ends[1])
    return Difference(float(errors / units) if units else None, low, high)


def wer(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    normalizer: str = "basic",
    seed: int = 0,
) -> ErrorRate:
    """Word error rate of a corpus; see `count_errors` for the rules and `ErrorRate` for the
    fields."""
    return pool(count_errors(references, hypotheses, normalizer=normalizer), seed=seed)


def cer(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    normalizer: str = "basic",
    seed: int = 0,
) -> ErrorRate:
    """Character error rate of a corpus; see `count_errors` for the rules and `ErrorRate` for the
    fields."""
    return pool(
        count_errors(references, hypotheses, unit="character", normalizer=normalizer), seed=seed
    )


def _errors_and_units(counts: np.ndarray) -> np.ndarray:
    """(n, 2) int64: errors and reference units of each utterance."""
    return np.stack([counts[:, :UNITS].sum(axis=1), counts[:, UNITS]], axis=1)


def _few_differ(totals: np.ndarray) -> bool:
    """Whether fewer than FEW utterances have another rate than most have; (n, 2) int64 errors and
    units."""
    known = totals[totals[:, 1] > 0]
    _, times = np.unique(known[:, 0] / known[:, 1], return_counts=True)
    return bool(len(known) - times.max() < FEW)


def _witnesses(totals: np.ndarray, repeats: int) -> float:
    """How many independent words tell as much: units over repeats and design effect."""
    return float(totals[:, 1].sum()) / repeats / _design_effect(np.abs(totals[:, 0]) / repeats)


def _design_effect(errors: np.ndarray) -> float:
    """How many words go wrong at once: E[e^2] / E[e] over utterances with e errors, (n,).

    That is the variance of their sum over that of as many single errors, where utterances go wrong
    independently. An utterance with PRIOR_BURST errors is added, so that it is never made of
    nothing.
    """
    return float((np.square(errors).sum() + PRIOR_BURST**2) / (errors.sum() + PRIOR_BURST))


def _wilson(errors: np.ndarray, units: np.ndarray, witnesses: float) -> tuple[float, float]:
    """95 % score interval of sum(errors) / sum(units), as if that were the share of so many
    independent words."""
    share = min(1.0, float(errors.sum() / units.sum()))
    middle = share + _Z2 / (2 * witnesses)
    half = math.sqrt(_Z2 * (share * (1 - share) / witnesses + _Z2 / (4 * witnesses**2)))
    whole = 1 + _Z2 / witnesses
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def _newcombe(excess: np.ndarray, repeats: int) -> tuple[float, float]:
    """95 % interval of the words that are worse minus those that are better, from the score
    interval of each."""
    units, witnesses = excess[:, 1], _witnesses(excess, repeats)
    sides = [np.maximum(sign * excess[:, 0], 0) for sign in (1, -1)]
    worse, better = (min(1.0, float(side.sum() / units.sum())) for side in sides)
    (worse_low, worse_high), (better_low, better_high) = (
        _wilson(side, units, witnesses) for side in sides
    )
    value = worse - better
    return (
        value - math.hypot(worse - worse_low, better_high - better),
        value + math.hypot(worse_high - worse, better - better_low),
    )


def _interval(totals: np.ndarray, seed: int, resamples: int) -> tuple[float | None, float | None]:
    """Percentile interval of sum(totals[:, 0]) / sum(totals[:, 1]) over utterances drawn with
    replacement."""
    if totals[:, 1].sum() == 0:
        return None, None
    # whole numbers in float64: the very same sums, and much faster
    if len(totals) * resamples <= _TIMES_BUDGET:
        drawn = _times_drawn(len(totals), seed, resamples) @ totals.astype(np.float64)
    else:
        drawn = np.concatenate(
            [totals[rows].sum(axis=1) for rows in _resampled_rows(len(totals), seed, resamples)]
        )
    drawn = drawn[drawn[:, 1] > 0]  # a resample of empty references alone has no rate
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


@lru_cache(maxsize=2)
def _times_drawn(utterances: int, seed: int, resamples: int) -> np.ndarray:
    """(resamples, n) float64: how often each utterance is in each resample; every row of a suite
    asks for the same."""
    tables = [
        np.apply_along_axis(np.bincount, 1, rows, minlength=utterances)
        for rows in _resampled_rows(utterances, seed, resamples)
    ]
    return np.concatenate(tables).astype(np.float64)


def _resampled_rows(utterances: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Row numbers of the resamples, (some, n) int64 at a time; the same for every system, which is
    what pairs them."""
    generator = np.random.default_rng(seed)
    step = max(1, _INDEX_BUDGET // utterances)
    for first in range(0, resamples, step):
        yield generator.integers(utterances, size=(min(step, resamples - first), utterances))
