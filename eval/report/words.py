"""What all reports share: names, figures and levels as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from avsr.eval.metrics.results import Check, Curve, Gain, Measured, Predicate, Results
from avsr.eval.metrics.text import percent

MODALITIES = {"av": "audio + video", "audio": "audio only", "video": "video only"}
PREDICATES = {
    "R_V": "with lips missing in part or whole, never worse than audio alone",
    "R_A": "with sound missing in part or whole, never worse than lip reading alone",
}
HARM = {
    "bad picture": "with lips that are there and bad, never worse than audio alone",
    "bad sound": "with sound that is there and bad, never worse than lip reading alone",
}
"""Told beside the predicates and not part of them."""
MEANINGS = {**PREDICATES, **HARM}
SINGLE = {"R_V": "audio", "R_A": "video", "bad picture": "audio", "bad sound": "video"}
"""The one modality that each of these compares with."""
VACUOUS = (
    "What it is compared with is no better than words without the clip, so no worse than that is "
    "no merit."
)
SIGNS = {"pass": "✓", "undecided": "?", "fail": "✗"}
NON_INFERIORITY = (
    "✓ the 95 % interval of the difference ends within what is allowed, ✗ it begins above, ? "
    "undecided: too few clips"
)
INTERVALS = (
    "Intervals: 95 %, bootstrap over utterances; differences: paired bootstrap; where fewer than "
    "10 utterances differ from the rest, at least the interval of Wilson or Newcombe."
)
# of the levels of an axis; those of missing ones are rates
UNITS = {"noise": " dB", "out of sync": " ms"}
STRENGTHS = ("none", "light", "medium", "heavy")


# ---- figures


def interval(low: float | None, high: float | None) -> str:
    """ "10.1 to 14.8", in percent; empty where there is none."""
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def gain_text(gain: Gain) -> str:
    """ "+4.2 dB" and its note; where the gain could not be measured, the note says why or what it
    is at least."""
    figure = "" if gain.gain_db is None else f"{gain.gain_db:+.1f} dB"
    return ", ".join(part for part in (figure, gain.note) if part) or "n/a"


# ---- conditions and levels


def is_level(level: Any) -> bool:
    """Whether it is one level; crossed conditions have a list of them."""
    return level is not None and not isinstance(level, (list, tuple, dict))


def ordered_levels(levels: Iterable[Any]) -> list[Any]:
    """Each level once: figures in order and then clean (None); or clean, then names from light to
    heavy."""
    unique = list({str(level): level for level in levels}.values())
    clean = [level for level in unique if level is None]
    figures = sorted(level for level in unique if isinstance(level, (int, float)))
    names = [level for level in unique if level is not None and not isinstance(level, (int, float))]
    names.sort(key=_strength)
    return [*clean, *names] if names and not figures else [*figures, *names, *clean]


def _strength(name: str) -> int:
    return STRENGTHS.index(name) if name in STRENGTHS else len(STRENGTHS)


def level_text(axis: str, level: Any) -> str:
    """ "50 %", "-2.5 dB", "80 ms", "heavy"; "clean" for None."""
    if level is None:
        return "clean"
    if isinstance(level, (list, tuple)):
        return " / ".join(level_text("", part) for part in level)
    if not isinstance(level, (int, float)):
        return str(level)
    return f"{100 * level:g} %" if axis.endswith("missing") else f"{level:g}{UNITS.get(axis, '')}"


def condition_text(of: Measured | Check | Curve) -> str:
    """A condition without its level: "bursts", "bursts, unindicated"."""
    return of.condition + ("" if of.mask_indicated else ", unindicated")


def label_text(row: Measured) -> str:
    """The label of a line of the table, which says where it is there for others to compare with."""
    return row.label + (" (comparison)" if row.role == "comparison" else "")


# ---- verdicts


def verdict_text(name: str, found: Predicate) -> str:
    """ "pass", "undecided" or "FAIL"; "no harm" or "harm" for what is told beside them; "says
    nothing"."""
    if found.vacuous and found.verdict in ("pass", "undecided"):
        return "says nothing"  # no worse than a modality that knows nothing is no merit
    harm = {"pass": "no harm", "fail": "harm"}
    words = {"pass": "pass", "fail": "FAIL"} if name in PREDICATES else harm
    return words.get(found.verdict, found.verdict)


def tally(found: Predicate) -> str:
    """ "130 of 134 checks pass, 4 undecided, 0 fail"."""
    verdicts = [check.verdict for check in found.checks]
    passed, undecided, failed = (verdicts.count(one) for one in ("pass", "undecided", "fail"))
    return f"{passed} of {len(verdicts)} checks pass, {undecided} undecided, {failed} fail"


def worst_text(found: Predicate) -> str:
    """ "Worst +0.2 points, at ...; 0.5 allowed", of a predicate that has checks."""
    return (
        f"Worst {100 * (found.worst or 0.0):+.1f} points, at {found.worst_check.label}; "
        f"{100 * found.tolerance:g} allowed"
    )


def difference_text(check: Check) -> str:
    """ "+0.2 [-0.1, +0.5]", in points."""
    return percent(check.difference, check.low, check.high, sign=True)


def needed_text(check: Check) -> str:
    """ "about 260 clips would tell", in two digits; empty where nothing is undecided or no number
    would."""
    if check.clips_needed is None:
        return ""
    scale = 10 ** max(0, len(str(check.clips_needed)) - 2)
    return f"about {math.ceil(check.clips_needed / scale) * scale} clips would tell"


def mark(check: Check) -> str:
    """ "✓ -1.2", "✗ +3.4" or "? +0.2" where it is undecided: the verdict and the difference in
    points."""
    return f"{SIGNS[check.verdict]} {percent(check.difference, sign=True)}"


# ---- results as a whole


def seeds_text(results: Results) -> str:
    """ "seed 17" or "seeds 17, 29"."""
    return f"seed{'s' if len(results.seeds) > 1 else ''} {', '.join(map(str, results.seeds))}"


def data_text(results: Results) -> str:
    """ "data/grid, split val"."""
    return results.data + (f", split {results.split}" if results.split else "")


def snr_meaning(results: Results) -> str | None:
    """What an SNR of these results is, as a sentence; None where there is no noise."""
    over = next((row.snr for row in results.rows if row.snr is not None), None)
    if over == "whole clip":
        return (
            "SNR is over the whole clip, pauses included; while somebody speaks it is better than "
            "it says."
        )
    return over and f"SNR is over: {over}."


def unavailable(results: Results) -> dict[str, list[str]]:
    """Why test conditions have no figures -> labels of those."""
    reasons: dict[str, dict[str, None]] = {}
    for row in results.rows:
        if row.not_available is not None:
            reasons.setdefault(row.not_available, {})[row.label] = None
    return {reason: list(labels) for reason, labels in reasons.items()}
