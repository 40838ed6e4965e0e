"""Is one system worse than another by at most a margin? The test behind R_V and R_A."""

from __future__ import annotations

import math

from avsr.eval.metrics.wer import Difference

TOLERANCE = 0.005  # half a point of WER
_EPSILON = 1e-9


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
