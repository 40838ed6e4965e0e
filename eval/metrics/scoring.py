"""From hypotheses to results: rates with intervals for every row, curves over its levels, the
predicates R_V and R_A.

Several seeds of a row are one measurement: their errors are added up clip by clip, so an interval
over clips holds for all of them. `summary.py` draws the figures that stand above the rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.integrate import trapezoid

from avsr.eval.conditions.noise import SNR_DEFINITION
from avsr.eval.conditions.suites import AGAINST, Row, curve_rows, shared_by
from avsr.eval.metrics.hypotheses import Heard
from avsr.eval.metrics.noninferiority import TOLERANCE, clips_needed, decide
from avsr.eval.metrics.results import (
    PASSES,
    Check,
    Curve,
    Errors,
    Measured,
    Predicate,
    Speaker,
)
from avsr.eval.metrics.wer import (
    INSERTIONS,
    SUBSTITUTIONS,
    UNITS,
    ErrorRate,
    compare,
    count_errors,
    pool,
)
from avsr.preprocessing.clip import FPS

ALONE = {"R_V": "audio", "R_A": "video"}  # the modality that each of them compares with
# errors with the right clip over errors with the wrong one, from which on a row tells nothing
INFORMED = 0.95
X_LABELS = {"noise": "SNR dB", "out of sync": "sound lags by ms"}


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
        lines: Mapping[tuple[str, str], Heard],
        failed: Mapping[str, str],
        normalizer: str = "basic",
    ) -> None:
        self.rows, self.seeds, self.entries = rows, seeds, entries
        self.lines, self.failed, self.normalizer = lines, failed, normalizer
        self.counts: dict[tuple[Row, int], np.ndarray] = {}
        for row, seed in self.measured(rows):
            mine = self.lines_of(row, seed)
            spoken, heard = (
                [line.reference for line in mine],
                [line.hypothesis for line in mine],
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

    def lines_of(self, row: Row, seed: int) -> list[Heard]:
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

    # ---- the table

    def table(self) -> tuple[Measured, ...]:
        """Every row with each of its seeds. Rates are fractions.

        A row in which nothing is said has no rates (None); its insertions are what was
        hallucinated.
        """
        return tuple(
            self._measured(row, seed) for row in self.rows for seed in row.seeds(self.seeds)
        )

    def _measured(self, row: Row, seed: int) -> Measured:
        described = _described(row, seed)
        if (row, seed) not in self.counts:
            return Measured(**described, not_available=self.failed[row.key(seed)], wer=None)
        mine = self.lines_of(row, seed)
        characters = count_errors(
            [line.reference for line in mine],
            [line.hypothesis for line in mine],
            unit="character",
            normalizer=self.normalizer,
        )
        full = None if row.condition.empty else self._full_input()
        figures = _rates(self.counts[row, seed], characters, full)
        return Measured(**described, **figures, **_extent(mine))

    def _full_input(self) -> np.ndarray | None:
        """(n, 4) int64: errors of the first row in which nothing is done to the clips."""
        for (row, _), counts in self.counts.items():
            if not row.condition.steps:
                return counts
        return None

    def speakers(self) -> tuple[Speaker, ...]:
        """The errors of each speaker in each row, seeds pooled; none where not at least two are
        known."""
        places: dict[str, list[int]] = {}
        for place, entry in enumerate(self.entries):
            if speaker := getattr(entry, "speaker", None):
                places.setdefault(speaker, []).append(place)
        if len(places) < 2:
            return ()
        found = []
        # A speaker is taken through all rows before the next: the bootstrap then draws once.
        for speaker in sorted(places, key=_natural):
            rows = {}
            for row in self.rows:
                counts = self.pooled(row)
                if counts is not None:
                    rate = pool(counts[places[speaker]], repeats=len(row.seeds(self.seeds)))
                    rows[row.key(self.seeds[0])] = Errors(**_errors(rate))
            found.append(Speaker(speaker=speaker, utterances=len(places[speaker]), rows=rows))
        return tuple(found)

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
        spoken, heard = [line.reference for line in mine], [line.hypothesis for line in mine]
        right, wrong = (
            int(errors_of(count_errors(texts, heard, normalizer=self.normalizer)).sum())
            for texts in (spoken, [*spoken[1:], spoken[0]])
        )
        return right >= INFORMED * wrong

    def predicates(self) -> dict[str, Predicate]:
        """R_V and R_A. A constant answer passes them, being no worse than a modality that knows
        nothing; then they are called vacuous."""
        found = {}
        for name, against in AGAINST.items():
            alone = Row(modality=ALONE[name])
            found[name] = self.check(against, vacuous=self.uninformed(alone))
        return found

    def check(self, against: Callable[[Row], Row | None], **told: Any) -> Predicate:
        """Whether the audio-visual rows are at most TOLERANCE worse than the rows that they are set
        against.

        A test of non-inferiority: see `decide`. All together pass where every check passes, so a
        pass needs no correction for their number; they fail where one fails, and of many one may
        fail by chance. A check counts all seeds of its row together. Where the whole of a stream is
        missing, each pattern has its check on the one row they share.

        Args:
            against: what a row is compared with, if anything.
            told: what else the predicate says.
        """
        checks: list[Check] = []
        for row in self.rows:
            other = against(row) if row.modality == "av" else None
            check = self._check(row, other) if other is not None else None
            if check is None:
                continue
            checks.append(check)
            for same in shared_by(row, self.rows):
                shared = {"label": same.label, "condition": same.name}
                checks.append(check.model_copy(update=shared))
        worst = max(checks, key=lambda check: check.difference, default=None)
        verdicts = {check.verdict for check in checks}
        overall = next((one for one in ("fail", "undecided", "pass") if one in verdicts), None)
        return Predicate(
            passed=PASSES[overall] if overall else None,
            worst=worst.difference if worst else None,
            worst_row=worst.row if worst else None,
            tolerance=TOLERANCE,
            checks=tuple(checks),
            **told,
        )

    def _check(self, row: Row, other: Row) -> Check | None:
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
        needed = None
        if verdict == "undecided":
            same = bool(np.array_equal(errors_of(mine), errors_of(theirs)))
            needed = clips_needed(difference, len(mine), same)
        condition = row.condition
        return Check(
            row=row.key(self.seeds[0]),
            against=other.key(self.seeds[0]),
            seeds=times,
            label=condition.label,
            axis=condition.axis,
            condition=condition.name,
            level=condition.level,
            mask_indicated=condition.mask_indicated,
            wer=_known(pool(mine).rate),
            against_wer=_known(pool(theirs).rate),
            difference=_known(difference.value),
            low=_known(difference.low),
            high=_known(difference.high),
            passed=PASSES[verdict],
            clips_needed=needed,
        )

    # ---- curves

    def curves(self) -> tuple[Curve, ...]:
        """Each condition that has levels, over them."""
        found = (self._curve(points) for points in curve_rows(self.rows))
        return tuple(curve for curve in found if curve.levels)

    def _curve(self, points: Sequence[tuple[Any, Row]]) -> Curve:
        """A condition over its levels, seeds pooled; levels of which nothing is known are left out.

        Args:
            points: (level, row) in the order of the axis; the condition's own rows and those it
                shares with others.
        """
        own = next(row for _, row in points if row.condition.steps)
        levels, rows, rates = [], [], []
        for level, row in points:
            rate = self.rate(row)
            if rate is not None and rate.rate is not None:
                levels.append(level)
                rows.append(row)
                rates.append(rate)
        if not any(row.condition.steps for row in rows):
            levels, rows, rates = [], [], []  # nothing but what it shares with others
        axis = own.condition.axis
        missing = axis.endswith("missing")
        wers = [rate.rate for rate in rates]
        whole = missing and levels and (levels[0], levels[-1]) == (0.0, 1.0)
        return Curve(
            axis=axis,
            condition=own.condition.name,
            mask_indicated=own.condition.mask_indicated,
            modality=own.modality,
            x_label="missing %" if missing else X_LABELS.get(axis, "severity"),
            levels=tuple(levels),
            wer=tuple(wers),
            wer_low=tuple(rate.low for rate in rates),
            wer_high=tuple(rate.high for rate in rates),
            area=float(trapezoid(np.array(wers, np.float64), levels)) if whole else None,
            rows=tuple(self._keys(row) for row in rows),
        )

    def _keys(self, row: Row) -> tuple[str, ...]:
        """Of a row with each of its seeds."""
        return tuple(row.key(seed) for seed in row.seeds(self.seeds))


def _known(value: float | None) -> float:
    """A figure that is there wherever a verdict is."""
    assert value is not None
    return value


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
        "mask_indicated": condition.mask_indicated,
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
        **_errors(word),
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


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts s2 before s10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _errors(rate: ErrorRate) -> dict[str, Any]:
    """A word error rate as the fields of `results.Errors`."""
    return {
        "utterances": rate.utterances,
        "words": rate.units,
        "wer": rate.rate,
        "wer_low": rate.low,
        "wer_high": rate.high,
        "substitutions": rate.substitutions,
        "deletions": rate.deletions,
        "insertions": rate.insertions,
    }


def _extent(lines: Sequence[Heard]) -> dict[str, Any]:
    """What the masks said, as fractions of the frames, how much was heard, and what the row cost.

    The frames are those that were given: at another speaking rate a clip is longer or shorter than
    it was.
    """
    frames = np.array([line.frames for line in lines], np.float64)
    media_s, seconds = frames.sum() / FPS, sum(line.seconds for line in lines)
    shares = {}
    for name in ("audio_present", "video_present"):
        present = np.array([getattr(line, name) for line in lines]) @ frames
        shares[name] = round(float(present / max(frames.sum(), 1)), 4)
    return {
        **shares,
        "audio_weight": mean_weight(lines),
        "media_s": round(float(media_s), 3),
        "seconds": round(seconds, 3),
        "real_time_factor": round(seconds / media_s, 5) if media_s else None,
    }


def mean_weight(lines: Iterable[Heard]) -> float | None:
    """Audio weight over the words of these lines; None where the recogniser does not tell or found
    no word."""
    weighed = [
        (line.audio_weight, line.weighed_words) for line in lines if line.audio_weight is not None
    ]
    total = sum(words for _, words in weighed)
    return round(sum(weight * words for weight, words in weighed) / total, 4) if total else None


def errors_of(counts: np.ndarray) -> np.ndarray:
    """(n,) int64: substitutions, deletions and insertions of each utterance."""
    return counts[:, SUBSTITUTIONS:UNITS].sum(axis=1)
