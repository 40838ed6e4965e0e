"""From hypotheses to results: rates with intervals for every row, curves over its levels, the
predicates R_V and R_A.

Several seeds of a row are one measurement: their errors are added up clip by clip, so an interval
over clips holds for all of them. `summary.py` draws the figures that stand above the rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from avsr.eval.conditions.noise import SNR_DEFINITION
from avsr.eval.conditions.suites import AGAINST, Row, curve_rows, shared_by
from avsr.eval.metrics.wer import (
    INSERTIONS,
    SUBSTITUTIONS,
    UNITS,
    Difference,
    ErrorRate,
    compare,
    count_errors,
    pool,
)
from avsr.preprocessing.clip import FPS

TOLERANCE = 0.005  # of R_V and R_A, half a point of WER
ALONE = {"R_V": "audio", "R_A": "video"}  # the modality that each of them compares with
# errors with the right clip over errors with the wrong one, from which on a row tells nothing
INFORMED = 0.95
PASSES = {"pass": True, "fail": False, "undecided": None}
X_LABELS = {"noise": "SNR dB", "out of step": "sound lags by ms"}
_EPSILON = 1e-9


class Scores:
    """The errors of every row, seed and clip, and what follows from them.

    Args:
        rows: those of the suite, in order.
        seeds: of the rows that are drawn; a row in which nothing is drawn has the first alone.
        entries: the clips scored, each with `id`.
        lines: (row key, clip id) -> line of the hypothesis store.
        failed: row key -> why there is no such row; its rates are None.
        normalizer: applied to both sides.

    Attributes:
        counts: (row, seed) -> (n, 4) int64, see `wer.count_errors`; rows that failed are not in it.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        seeds: Sequence[int],
        entries: Sequence[Any],
        lines: Mapping[tuple[str, str], dict[str, Any]],
        failed: Mapping[str, str],
        normalizer: str = "basic",
    ) -> None:
        self.rows, self.seeds, self.entries = rows, seeds, entries
        self.lines, self.failed, self.normalizer = lines, failed, normalizer
        self.counts: dict[tuple[Row, int], np.ndarray] = {}
        for row, seed in self.measured(rows):
            mine = self.lines_of(row, seed)
            spoken, heard = (
                [line["reference"] for line in mine],
                [line["hypothesis"] for line in mine],
            )
            self.counts[row, seed] = count_errors(spoken, heard, normalizer=normalizer)

    def measured(self, rows: Iterable[Row]) -> list[tuple[Row, int]]:
        """Each of these rows with each of its seeds, where there is such a row."""
        return [
            (row, seed)
            for row in rows
            for seed in row.seeds(self.seeds)
            if row.key(seed) not in self.failed
        ]

    def lines_of(self, row: Row, seed: int) -> list[dict[str, Any]]:
        """The line of each clip, in the order of the entries."""
        return [self.lines[row.key(seed), entry.id] for entry in self.entries]

    def pooled(self, row: Row) -> np.ndarray | None:
        """(n, 4) int64: the errors of a row added up over its seeds; None where there is no such
        row."""
        found = [
            self.counts[row, seed] for seed in row.seeds(self.seeds) if (row, seed) in self.counts
        ]
        return np.sum(found, axis=0) if found and len(found) == len(row.seeds(self.seeds)) else None

    def rate(self, row: Row) -> ErrorRate | None:
        """Word error rate of a row over its seeds; None where there is no such row."""
        counts = self.pooled(row)
        return None if counts is None else pool(counts, repeats=len(row.seeds(self.seeds)))

    def results(self) -> dict[str, Any]:
        """ "rows", "curves", "predicates" of results.json. Rates are fractions.

        A row in which nothing is said has no rates (None); its insertions are what was
        hallucinated.
        """
        return {
            "rows": [self._line(row, seed) for row in self.rows for seed in row.seeds(self.seeds)],
            "curves": [
                curve for curve in map(self._curve, curve_rows(self.rows)) if curve["levels"]
            ],
            "predicates": {
                # A constant answer passes: no worse than a modality that knows nothing. Then the
                # verdict is void.
                name: self.check(against) | {"vacuous": self.uninformed(Row(modality=ALONE[name]))}
                for name, against in AGAINST.items()
            },
        }

    # ---- rows

    def _line(self, row: Row, seed: int) -> dict[str, Any]:
        described = _described(row, seed)
        if (row, seed) not in self.counts:
            return {**described, "not_available": self.failed[row.key(seed)], "wer": None}
        mine = self.lines_of(row, seed)
        spoken, heard = [line["reference"] for line in mine], [line["hypothesis"] for line in mine]
        characters = count_errors(spoken, heard, unit="character", normalizer=self.normalizer)
        full = next(
            (counts for (other, _), counts in self.counts.items() if not other.condition.steps),
            None,
        )
        words = self.counts[row, seed]
        return {
            **described,
            **_rates(words, characters, None if row.condition.empty else full),
            **_extent(mine),
        }

    # ---- predicates

    def uninformed(self, row: Row) -> bool | None:
        """Whether what was recognised has nothing to do with what was said: a predicate against it
        shows nothing.

        It has, where the hypotheses fit the clip they are for better than they fit the next one. A
        recogniser that ignores its input says the same of all clips, and fits all alike.

        Returns:
            None where there is no such row, or one clip only.
        """
        mine = [line for one, seed in self.measured([row]) for line in self.lines_of(one, seed)]
        if len(mine) < 2:
            return None
        spoken, heard = [line["reference"] for line in mine], [line["hypothesis"] for line in mine]
        right, wrong = (
            int(errors_of(count_errors(texts, heard, normalizer=self.normalizer)).sum())
            for texts in (spoken, [*spoken[1:], spoken[0]])
        )
        return right >= INFORMED * wrong

    def check(self, against: Callable[[Row], Row | None]) -> dict[str, Any]:
        """Whether the audio-visual rows are at most TOLERANCE worse than the rows that they are set
        against.

        A test of non-inferiority: see `decide`. All together pass where every check passes, so a
        pass needs no correction for their number; they fail where one fails, and of many one may
        fail by chance.

        Returns:
            {"verdict", "pass", "worst", "worst_row", "tolerance", "checks"}; `worst` is the largest
            WER(AV) - WER(other). Verdicts are "pass", "fail" and "undecided", where no row could be
            checked "not checked"; `pass` says the same as true, false and None. A check counts all
            seeds of its row together; "row" and "against" are the keys of the first seed, "seeds"
            is their number; "clips_needed" is about how many clips would decide what is undecided,
            were they like these. Where the whole of a stream is missing, each pattern has its check
            on the one row they share.
        """
        checks: list[dict[str, Any]] = []
        for row in self.rows:
            other = against(row) if row.modality == "av" else None
            check = self._check(row, other) if other is not None else None
            if check is not None:
                shared = shared_by(row, self.rows)
                checks += [
                    check,
                    *({**check, "label": same.label, "condition": same.name} for same in shared),
                ]
        worst = max(checks, key=lambda check: check["difference"], default=None)
        found = {check["verdict"] for check in checks}
        verdict = next(
            (one for one in ("fail", "undecided", "pass") if one in found), "not checked"
        )
        return {
            "verdict": verdict,
            "pass": PASSES.get(verdict),
            "worst": worst["difference"] if worst else None,
            "worst_row": worst["row"] if worst else None,
            "tolerance": TOLERANCE,
            "checks": checks,
        }

    def _check(self, row: Row, other: Row) -> dict[str, Any] | None:
        mine, theirs = self.pooled(row), self.pooled(other)
        if mine is None or theirs is None:
            return None
        # One row may be drawn for each seed and the other the same for all: each clip counts as
        # often on both sides.
        times, theirs_times = len(row.seeds(self.seeds)), len(other.seeds(self.seeds))
        mine, theirs = mine * theirs_times, theirs * times
        difference = compare(mine, theirs, repeats=times * theirs_times)
        verdict = decide(difference)
        if verdict is None:
            return None
        same = bool(np.array_equal(errors_of(mine), errors_of(theirs)))
        condition = row.condition
        return {
            "row": row.key(self.seeds[0]),
            "against": other.key(self.seeds[0]),
            "seeds": times,
            "label": condition.label,
            "axis": condition.axis,
            "condition": condition.name,
            "level": condition.level,
            "signalled": condition.signalled,
            "wer": pool(mine).rate,
            "against_wer": pool(theirs).rate,
            "difference": difference.value,
            "low": difference.low,
            "high": difference.high,
            "verdict": verdict,
            "pass": PASSES[verdict],
            "clips_needed": clips_needed(difference, len(mine), same)
            if verdict == "undecided"
            else None,
        }

    # ---- curves

    def _curve(self, points: Sequence[tuple[Any, Row]]) -> dict[str, Any]:
        """A condition over its levels, seeds pooled; levels of which nothing is known are left out.

        Args:
            points: (level, row) in the order of the axis; the condition's own rows and those it
                shares with others.
        """
        own = next(row for _, row in points if row.condition.steps)
        rates = [(level, row, self.rate(row)) for level, row in points]
        known = [
            (level, row, rate)
            for level, row, rate in rates
            if rate is not None and rate.rate is not None
        ]
        axis = own.condition.axis
        missing = axis.endswith("missing")
        wers = [rate.rate for *_, rate in known]
        levels = [level for level, *_ in known]
        if not any(row.condition.steps for _, row, _ in known):
            levels = []
        whole = missing and levels and (levels[0], levels[-1]) == (0.0, 1.0)
        return {
            "axis": axis,
            "condition": own.condition.name,
            "signalled": own.condition.signalled,
            "modality": own.modality,
            "x_label": "missing %" if missing else X_LABELS.get(axis, "severity"),
            "levels": levels,
            "wer": wers,
            "wer_low": [rate.low for *_, rate in known],
            "wer_high": [rate.high for *_, rate in known],
            "area": float(trapezoid(np.array(wers, np.float64), levels)) if whole else None,
            "rows": [[row.key(seed) for seed in row.seeds(self.seeds)] for _, row, _ in known],
        }


def decide(difference: Difference, tolerance: float = TOLERANCE) -> str | None:
    """Whether a system is worse than another by at most a tolerance: "pass", "fail" or "undecided".

    Non-inferiority: it passes where the upper end of the 95 % interval is within the tolerance and
    fails where the lower end is above it; in between there are too few clips to tell.

    Returns:
        None where there is no difference to look at.
    """
    if difference.low is None or difference.high is None:
        return None
    if difference.high <= tolerance + _EPSILON:
        return "pass"
    return "fail" if difference.low > tolerance + _EPSILON else "undecided"


def clips_needed(
    difference: Difference, clips: int, same: bool, tolerance: float = TOLERANCE
) -> int | None:
    """About how many clips would decide, were the difference to stay what it is.

    Args:
        difference: undecided.
        clips: how many there were.
        same: no utterance differs; the interval then shrinks with the number of clips, otherwise
            with its root.
        tolerance: as in `decide`.

    Returns:
        None where the difference is the tolerance itself, which no number decides.
    """
    value, low, high = difference.value or 0.0, difference.low or 0.0, difference.high or 0.0
    if same:
        return math.ceil(clips * (high / (1 - high)) / (tolerance / (1 - tolerance)))
    margin = tolerance - value
    if abs(margin) < _EPSILON:
        return None
    return math.ceil(clips * ((high - value if margin > 0 else value - low) / margin) ** 2)


def _described(row: Row, seed: int) -> dict[str, Any]:
    """What a row is; `steps` is enough to do the same to a clip again."""
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
        "steps": [{"step": type(step).__name__, **asdict(step)} for step in condition.steps],
        **({"snr": SNR_DEFINITION} if condition.noisy else {}),
    }


def _rates(words: np.ndarray, characters: np.ndarray, full: np.ndarray | None) -> dict[str, Any]:
    """The figures of a row.

    Args:
        words, characters: (n, 4) int64 counts.
        full: (n, 4) int64 word counts of the full-input row; None where a difference makes no
            sense.
    """
    word, character = pool(words), pool(characters)
    delta = compare(words, full) if full is not None else None
    return {
        "utterances": word.utterances,
        "words": word.units,
        "wer": word.rate,
        "wer_low": word.low,
        "wer_high": word.high,
        "substitutions": word.substitutions,
        "deletions": word.deletions,
        "insertions": word.insertions,
        "hallucinating_utterances": int(
            ((words[:, UNITS] == 0) & (words[:, INSERTIONS] > 0)).sum()
        ),
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


def _extent(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the masks said, as fractions of the frames, how much was heard, and what the row cost.

    The frames are those that were given: at another speaking rate a clip is longer or shorter than
    it was.
    """
    frames = np.array([line["frames"] for line in lines], np.float64)
    media_s, seconds = frames.sum() / FPS, sum(line["seconds"] for line in lines)
    shares = {
        name: round(
            float(np.array([line[name] for line in lines]) @ frames / max(frames.sum(), 1)), 4
        )
        for name in ("audio_present", "video_present")
    }
    return {
        **shares,
        "audio_weight": mean_weight(lines),
        "media_s": round(float(media_s), 3),
        "seconds": round(seconds, 3),
        "real_time_factor": round(seconds / media_s, 5) if media_s else None,
    }


def mean_weight(lines: Iterable[Mapping[str, Any]]) -> float | None:
    """Audio weight over the words of these lines; None where the recogniser does not tell or found
    no word."""
    weighed = [
        (line["audio_weight"], line["weighed_words"])
        for line in lines
        if line["audio_weight"] is not None
    ]
    total = sum(words for _, words in weighed)
    return round(sum(weight * words for weight, words in weighed) / total, 4) if total else None


def errors_of(counts: np.ndarray) -> np.ndarray:
    """(n,) int64: substitutions, deletions and insertions of each utterance."""
    return counts[:, SUBSTITUTIONS:UNITS].sum(axis=1)
