"""Frames as they leave the decoder, measured before anything is mixed, scaled or put on a clock.

C  channels
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from avsr.preprocessing.media.sound import BROKEN, values_of

LONGEST_MS = 10_000  # between two pictures that is told from a longer one
# A step between pictures that differs from the usual one by more is another rate: containers
# round timestamps to a millisecond, which makes two steps differ by 2 ms at most.
OTHER_STEP, ROUNDING_MS = 0.1, 2
LOWEST_DB, HIGHEST_DB = -100.0, 12.0  # levels that are told apart, of full scale ...
STEPS = 10  # ... in tenths of a decibel
NEAR_STEPS = 2  # samples within 0.2 dB of a level count as at it
LOOK_S = 0.2  # from one picture whose light is measured to the next
SMALL = 32, 18  # pixels to which it is shrunk for that
BLACK, BLACK_S = 20.0, 1.0  # grey level up to which, and seconds from which, it shows nothing
ALL_BUT = 0.98  # of the picture must be as dark; a face in the dark is above
TINY = 1e-12  # power below every 24-bit step


class PictureTimes:
    """How the pictures of a stream follow each other in time; its size does not grow."""

    def __init__(self) -> None:
        self.count = 0
        self._steps: Counter[int] = Counter()  # ms between two pictures -> how often
        self._first_s = self._last_s = 0.0

    def __call__(self, start_s: float, duration_s: float, frame: Any) -> None:
        if self.count:
            self._steps[min(max(round(1000 * (start_s - self._last_s)), 0), LONGEST_MS)] += 1
        else:
            self._first_s = start_s
        self._last_s = start_s
        self.count += 1

    @property
    def fps(self) -> float:
        """Pictures a second from the first to the last; 0 for fewer than two."""
        span_s = self._last_s - self._first_s
        return (self.count - 1) / span_s if self.count > 1 and span_s > 0 else 0.0

    @property
    def usual_ms(self) -> int:
        """The median step between two pictures; 0 where there is none."""
        return self._quantile(0.5)

    @property
    def varying(self) -> float:
        """Share of the steps that differ from the median one."""
        usual = self.usual_ms
        tolerance = max(ROUNDING_MS, OTHER_STEP * usual)
        other = sum(n for step, n in self._steps.items() if abs(step - usual) > tolerance)
        return other / max(1, sum(self._steps.values()))

    @property
    def range_ms(self) -> tuple[int, int]:
        """The steps that 5 % and 95 % of all are at most."""
        return self._quantile(0.05), self._quantile(0.95)

    def _quantile(self, share: float) -> int:
        passed, total = 0, sum(self._steps.values())
        for step in sorted(self._steps):
            passed += self._steps[step]
            if passed >= share * total:
                return step
        return 0


class Blackness:
    """Where the pictures of a stream show nothing for a while; a few pictures a second are looked
    at."""

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []
        self._since_s: float | None = None  # when the black began that goes on
        self._next_s = -math.inf
        self._end_s = 0.0

    def __call__(self, start_s: float, duration_s: float, frame: Any) -> None:
        self._end_s = start_s + duration_s
        if start_s < self._next_s:
            return
        self._next_s = start_s + LOOK_S
        if _brightest(frame) <= BLACK:
            self._since_s = start_s if self._since_s is None else self._since_s
        else:
            self._spans += self._open(start_s)
            self._since_s = None

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """(first second, end) of each stretch; complete once all pictures were shown."""
        return (*self._spans, *self._open(self._end_s))

    def _open(self, end_s: float) -> list[tuple[float, float]]:
        """The stretch that ends then, where there is one that is long enough."""
        if self._since_s is None or end_s - self._since_s < BLACK_S:
            return []
        return [(self._since_s, end_s)]


def _brightest(frame: Any) -> float:
    """The grey level, 0 to 255, that hardly any part of a picture is above."""
    small = frame.reformat(width=SMALL[0], height=SMALL[1], format="gray")
    return float(np.quantile(small.to_ndarray(), ALL_BUT))


class Channels:
    """The channels of a sound track: levels and how they go together; its size does not grow."""

    def __init__(self) -> None:
        self.samples = 0
        self._names: list[str] = []
        self._peaks = self._sums = np.zeros(0)
        self._products = np.zeros((0, 0))
        self._levels = np.zeros((0, 0), np.int64)  # (C, steps)

    def __call__(self, start_s: float, duration_s: float, frame: Any) -> None:
        names = [channel.name for channel in frame.layout.channels]
        if not self._names:
            count = len(names)
            self._names = names
            self._peaks, self._sums = np.zeros(count), np.zeros(count)
            self._products = np.zeros((count, count))
            steps = round((HIGHEST_DB - LOWEST_DB) * STEPS) + 1
            self._levels = np.zeros((count, steps), np.int64)
        if names != self._names or not frame.samples:
            return  # a track that changes its layout is judged by its first
        values = values_of(frame).astype(np.float64)
        values[~(np.abs(values) < BROKEN)] = 0  # what is no sample, NaN among it
        size = np.abs(values)
        self.samples += values.shape[1]
        self._peaks = np.maximum(self._peaks, size.max(axis=1))
        self._sums += values.sum(axis=1)
        self._products += values @ values.T
        level_db = 20 * np.log10(np.maximum(size, 10 ** (LOWEST_DB / 20)))
        steps = np.rint((np.minimum(level_db, HIGHEST_DB) - LOWEST_DB) * STEPS).astype(np.int64)
        for channel, row in enumerate(steps):
            self._levels[channel] += np.bincount(row, minlength=self._levels.shape[1])

    @property
    def names(self) -> list[str]:
        """FFmpeg's names, as FL and FR."""
        return list(self._names)

    @property
    def rms_db(self) -> np.ndarray:
        """(C,) level of each channel without its offset, decibels of full scale."""
        return 10 * np.log10(np.maximum(np.diagonal(self._covariance()), TINY))

    @property
    def peak_db(self) -> float:
        """Of the loudest sample."""
        return float(20 * np.log10(max(self._peaks.max(initial=0.0), TINY)))

    @property
    def clipped(self) -> float:
        """Share of the samples of the worst channel that lie at its peak, or at full scale or
        beyond: sound that was cut off there piles up, other sound hardly ever gets there."""
        if not self.samples:
            return 0.0
        full = round(-LOWEST_DB * STEPS) - NEAR_STEPS
        worst = 0.0
        for levels in self._levels:
            loudest = int(np.flatnonzero(levels)[-1])
            if loudest:  # silence lies at its peak too
                at_peak = levels[max(1, min(loudest - NEAR_STEPS, full)) :]
                worst = max(worst, int(at_peak.sum()) / self.samples)
        return worst

    @property
    def correlation(self) -> float:
        """The lowest correlation of two channels, -1 to 1; 1 for fewer than two with sound."""
        covariance = self._covariance()
        size = np.sqrt(np.diagonal(covariance))
        there = size > np.sqrt(TINY)
        if there.sum() < 2:
            return 1.0
        likeness = covariance[there][:, there] / np.outer(size[there], size[there])
        return float(likeness.min())

    def _covariance(self) -> np.ndarray:
        mean = self._sums / max(1, self.samples)
        return self._products / max(1, self.samples) - np.outer(mean, mean)
