"""How true confidences and word times are: expected calibration error, reliability, and both as
tables.

Expected calibration error: words sorted by confidence, cut into 15 bins of the same size; the mean
over the bins of |share of right words - mean confidence|, weighted by their sizes (Naeini et al.,
AAAI 2015, with equal mass).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.eval.metrics.text import Table, percent
from avsr.preprocessing.clip import FPS

if TYPE_CHECKING:
    from avsr.decoding.alignment import Timing
    from avsr.decoding.confidence import Calibration
    from avsr.recognisers.ours import NetworkRecogniser

SCHEMA = 1
BINS = 15
DRAWS = 200  # of right and wrong words, for the error that true confidences would show by chance
CLEAN = "clean"  # label of the condition without any; word times are measured there


@dataclass(frozen=True)
class Utterance:
    """What a model made of one clip in one row; the words in the order of the hypothesis.

    Attributes:
        row: label of the condition, and the modality.
        confidences: mean posterior of each word's letters, not calibrated.
        features: see confidence.FEATURES.
        right: whether each word was said.
        extents: where each word's letters begin and end, in frames.
        said: [start, end] of each word in seconds, None where it was not said or nobody knows when.
        frames: T.
    """

    row: tuple[str, str]
    confidences: list[float]
    features: list[tuple[float, ...]]
    right: list[bool]
    extents: list[tuple[float, float]]
    said: list[tuple[float, float] | None]
    frames: int


# ---- confidences


def expected_calibration_error(
    confidences: np.ndarray, right: np.ndarray, bins: int = BINS
) -> float:
    """Expected calibration error in [0, 1], see the head of this file; 0 without words.

    Args:
        confidences: (n,) float in [0, 1].
        right: (n,) bool.
        bins: of equal size, as far as n can be divided.
    """
    return sum(
        abs(sure - share) * count for sure, share, count in reliability(confidences, right, bins)
    ) / max(len(right), 1)


def reliability(
    confidences: np.ndarray, right: np.ndarray, bins: int = BINS
) -> list[tuple[float, float, int]]:
    """Per bin, least sure first: mean confidence, share of right words, words. Empty bins are left
    out."""
    order = np.argsort(confidences, kind="stable")
    return [
        (float(confidences[part].mean()), float(right[part].mean()), len(part))
        for part in np.array_split(order, bins)
        if len(part)
    ]


def error_by_chance(confidences: np.ndarray, seed: int = 0) -> float:
    """The mean expected calibration error of words that are right exactly as often as their
    confidences say."""
    draws = np.random.default_rng(seed).random((DRAWS, len(confidences))) < confidences
    return float(np.mean([expected_calibration_error(confidences, right) for right in draws]))


# ---- word times


def timing_errors(utterances: Sequence[Utterance], timing: Timing) -> np.ndarray:
    """(n, 2) float: start and end of the words whose times are known, seconds too late."""
    return np.array(
        [
            (first / FPS - said[0], last / FPS - said[1])
            for utterance in utterances
            for (first, last), said in zip(
                timing.stretch(utterance.extents, utterance.frames), utterance.said, strict=True
            )
            if said is not None
        ]
    ).reshape(-1, 2)


# ---- the whole


def report(
    before: NetworkRecogniser, after: NetworkRecogniser, utterances: Sequence[Utterance]
) -> dict[str, Any]:
    """How true the confidences and word times of two recognisers are that differ in nothing else.

    Returns:
        "rows", per condition and modality: "words", "right", mean "confidence", "ece" and
        "ece_by_chance" after, "ece_before", "reliability" ([confidence, share right, words] per
        bin); "all" of them in one; and "word_times", before and after, medians of the absolute
        error of starts and ends, seconds, None where times are unknown.
    """
    by_row: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in utterances:
        by_row.setdefault(utterance.row, []).append(utterance)
    rows = []
    for (condition, modality), mine in by_row.items():
        described = {"condition": condition, "modality": modality}
        rows.append(described | _row(before, after, mine))
    clean = [utterance for utterance in utterances if utterance.row[0] == CLEAN]
    times = {}
    for name, one in (("before", before), ("after", after)):
        times[name] = _time_summary(timing_errors(clean, one.timing))
    return {
        "schema": SCHEMA,
        "bins": BINS,
        "rows": rows,
        "all": _row(before, after, utterances),
        "word_times": times,
    }


def _row(
    before: NetworkRecogniser, after: NetworkRecogniser, utterances: Sequence[Utterance]
) -> dict[str, Any]:
    right = np.array([word for utterance in utterances for word in utterance.right], np.bool_)
    old, new = (_confidences(one.calibration, utterances) for one in (before, after))
    return {
        "words": len(right),
        "right": float(right.mean()) if len(right) else None,
        "confidence": float(new.mean()) if len(right) else None,
        "ece_before": expected_calibration_error(old, right),
        "ece": expected_calibration_error(new, right),
        "ece_by_chance": error_by_chance(new) if len(right) else 0.0,
        "reliability": [
            [round(sure, 4), round(share, 4), count]
            for sure, share, count in reliability(new, right)
        ],
    }


def _confidences(calibration: Calibration | None, utterances: Sequence[Utterance]) -> np.ndarray:
    """(n,) of all words, as `Recogniser.recognise` gives them."""
    if calibration is None:
        return np.array(
            [word for utterance in utterances for word in utterance.confidences], np.float64
        )
    return np.array(
        [calibration(word) for utterance in utterances for word in utterance.features], np.float64
    )


def _time_summary(errors: np.ndarray) -> dict[str, Any]:
    names = ("start_s", "end_s")
    if not len(errors):
        return {"words": 0, **dict.fromkeys(names)}
    return {
        "words": len(errors),
        **dict(zip(names, np.median(np.abs(errors), axis=0).round(4).tolist(), strict=True)),
    }


def to_markdown(results: dict[str, Any]) -> str:
    """The tables of one report, ending in a line break."""
    head = [
        "condition",
        "uses",
        "words",
        "right %",
        "confidence %",
        "ECE % before",
        "ECE %",
        "by chance %",
    ]
    rates = ("right", "confidence", "ece_before", "ece", "ece_by_chance")
    cells = []
    for row in [*results["rows"], results["all"]]:
        about = [row.get("condition", "all of them"), row.get("modality", ""), str(row["words"])]
        cells.append([*about, *(percent(row[name]) for name in rates)])
    bins = []
    for sure, share, count in results["all"]["reliability"]:
        bins.append([percent(sure), percent(share), str(count)])
    times = []
    for name, entry in results["word_times"].items():
        ends = [_seconds(entry[key]) for key in ("start_s", "end_s")]
        times.append([name, str(entry["words"]), *ends])
    note = (
        f"ECE: {results['bins']} bins of the same number of words, mean of |share right - mean "
        "confidence|. By chance: what confidences that are exactly true would show with so many "
        "words."
    )
    heading = ["word times", "words", "start: median error s", "end: median error s"]
    parts = [
        Table(head, cells, texts=2).to_markdown(),
        note,
        Table(["confidence %", "right %", "words"], bins, texts=0).to_markdown(),
        Table(heading, times).to_markdown(),
    ]
    return "\n\n".join(parts) + "\n"


def _seconds(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"
