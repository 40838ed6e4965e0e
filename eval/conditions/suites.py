"""Which rows a suite has, which of them the predicates compare, and which of them make a curve.

Rows of each suite, comparison rows included, for one seed (a row in which nothing is drawn is
measured for the first seed alone): see `avsr evaluate --help`, which a test keeps true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import product
from typing import Literal

from avsr.base.errors import UsageError
from avsr.eval.conditions.axes import (
    JOINT_PATTERNS,
    JOINT_RATES,
    PATTERNS,
    SNRS_DB,
    Condition,
    Missing,
    Noise,
    Nothing,
    Step,
    corrupted_audio,
    corrupted_video,
    other_speakers,
)
from avsr.eval.conditions.identity import IDENTITIES, SHIFTS_MS, Identity, OutOfStep
from avsr.eval.conditions.noise import NOISES
from avsr.eval.conditions.speakers import Speaker
from avsr.eval.conditions.video import VideoCorruption

SUITES = ("clean", "quick", "speakers", "masked", "full")
# modality -> the streams it is given
USES = {"av": {"audio", "video"}, "audio": {"audio"}, "video": {"video"}}
STREAMS: tuple[Literal["video", "audio"], ...] = ("video", "audio")
# rates at which a pattern is a pattern; at 0 and 1 all of them are the same
PARTS = (0.1, 0.25, 0.3, 0.5, 0.75)
SHARED = "bursts"  # the pattern in whose name the whole of a stream is missing
CROSSED_SNRS_DB = (5.0, 0.0, -5.0)
CROSSED_RATES = (0.5, 1.0)
CROSSED_CORRUPTION = "occlusion"
# a picture that is neither missing nor bad, but of another moment
FALSE = ("other lips", "too fast", "too slow")


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

    def seeds(self, seeds: Sequence[int]) -> Sequence[int]:
        """Those it is measured for: the first alone where another would give the very same
        clips."""
        drawn = any(
            _drawn(step) and step.streams & USES[self.modality] for step in self.condition.steps
        )
        return seeds if drawn else seeds[:1]


def _drawn(step: Step) -> bool:
    """Whether the seed changes anything; nothing is left to draw where all of a stream is missing,
    or none."""
    return step.seeded and not (
        isinstance(step, Missing) and step.stream != "both" and step.rate in (0.0, 1.0)
    )


# ---- suites


def suite_rows(suite: str, conditions: str | None = None) -> list[Row]:
    """The rows of a suite, and after them those that its predicates compare with; the first is the
    clean clip.

    Args:
        suite: one of SUITES.
        conditions: keep only rows whose label, axis or condition fits one of these patterns,
            separated by commas; `*` and `?` are wildcards and case does not matter. The clean rows
            stay, and what the rest is compared with.

    Raises:
        UsageError: no such suite, or no such rows.
    """
    makers: dict[str, Callable[[], list[Row]]] = {
        "clean": _clean,
        "quick": _quick,
        "speakers": _speakers,
        "masked": _masked,
        "full": _full,
    }
    if suite not in makers:
        raise UsageError(f"suite {suite!r} does not exist; choose one of {', '.join(makers)}")
    rows = list(dict.fromkeys(makers[suite]()))
    if conditions is not None:
        rows = _kept(rows, conditions)
    others = [AGAINST[name](row) for name in AGAINST for row in rows if row.modality == "av"]
    return list(dict.fromkeys([*rows, *(row for row in others if row is not None)]))


def _kept(rows: Sequence[Row], conditions: str) -> list[Row]:
    """The clean rows and those that fit."""
    patterns = [pattern.strip().casefold() for pattern in conditions.split(",")]

    def fits(condition: Condition) -> bool:
        names = [name.casefold() for name in (condition.label, condition.axis, condition.name)]
        return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    if not any(fits(row.condition) for row in rows):
        axes = ", ".join(dict.fromkeys(row.condition.axis for row in rows))
        raise UsageError(
            f"conditions {conditions!r} fit no row of the suite; its axes are {axes}; * is a "
            "wildcard"
        )
    return [row for row in rows if not row.condition.steps or fits(row.condition)]


def _clean() -> list[Row]:
    return [Row(), Row(modality="audio"), Row(modality="video")]


def _quick() -> list[Row]:
    """Missing sound and picture come in bursts: one to three segments a clip."""
    babble = Noise("babble", 0.0)
    return [
        *_clean(),
        *(
            _row(Missing(stream, SHARED, rate))
            for stream in ("video", "audio")
            for rate in (0.5, 1.0)
        ),
        _row(babble),
        _row(babble, Missing("video", SHARED, 0.5)),
        _row(Nothing()),
    ]


def _speakers() -> list[Row]:
    """Other voices, speaking rates and mouths, each with the streams it changes; then all in one,
    also in babble.

    The heaviest change of the mouth stands for lips that cannot be read: in babble they should
    still do no harm.
    """
    rows = _clean()
    for condition in (Condition((speaker,)) for speaker in other_speakers()):
        rows += [
            Row(condition, modality) for modality, used in USES.items() if condition.streams & used
        ]
    other = (
        Speaker("higher voice", "heavy"),
        Speaker("faster", "light"),
        Speaker("other mouth", "medium"),
    )
    rows += [Row(Condition(other), modality) for modality in USES]
    rows += [
        Row(Condition((*other, Noise("babble", 0.0))), modality) for modality in ("av", "audio")
    ]
    for babble in (Noise("babble", 0.0), Noise("babble", -5.0)):
        rows += [_row(babble, Speaker("other mouth", "heavy")), Row(Condition((babble,)), "audio")]
    return rows


def _masked() -> list[Row]:
    """Everything that is missing in part or whole, with the masks saying so and without."""
    rows = _clean()
    for stream in STREAMS:
        rows += [_row(Missing(stream, pattern, rate)) for pattern, rate in product(PATTERNS, PARTS)]
        rows.append(_row(Missing(stream, SHARED, 1.0)))
    rows += [
        _row(Missing("both", pattern, rate))
        for pattern, rate in product(JOINT_PATTERNS, JOINT_RATES)
    ]
    for stream in STREAMS:
        unsaid = [
            Missing(stream, name, rate, signalled=False)
            for name, rate in product((SHARED, "utterance"), PARTS)
        ]
        rows += [_row(step) for step in (*unsaid, Missing(stream, SHARED, 1.0, signalled=False))]
    return rows + [
        _row(Missing("video", SHARED, rate, signalled=False, frozen=True)) for rate in PARTS
    ]


def _full() -> list[Row]:
    """The whole protocol."""
    rows = _masked()
    for kind, snr_db in product(NOISES, SNRS_DB):
        rows += [_row(Noise(kind, snr_db)), Row(Condition((Noise(kind, snr_db),)), "audio")]
    corruptions: list[Step] = [*corrupted_video(), *corrupted_audio()]
    rows += [_row(step) for step in corruptions]
    rows += [_row(OutOfStep(shift_ms)) for shift_ms in SHIFTS_MS]
    rows += [_row(Identity(kind)) for kind in IDENTITIES]
    rows += [_row(Nothing()), _row(Nothing(signalled=True))]
    for snr_db, rate in product(CROSSED_SNRS_DB, CROSSED_RATES):
        rows.append(_row(Noise("babble", snr_db), Missing("video", SHARED, rate)))
    corrupted = VideoCorruption(CROSSED_CORRUPTION, "heavy")
    return rows + [_row(corrupted, Missing("audio", SHARED, rate)) for rate in CROSSED_RATES]


def _row(*steps: Step) -> Row:
    return Row(Condition(steps))


# ---- what a recogniser can be asked


def fitting_rows(
    rows: Iterable[Row], modalities: Sequence[str], name: str
) -> tuple[list[Row], dict[Row, str]]:
    """The rows as a recogniser of these modalities can be asked for them.

    A row of both streams whose condition changes one stream alone becomes that stream's row, where
    the recogniser has that modality and not both: its figures under noise are those of the sound
    alone.

    Args:
        rows: of the suite.
        modalities: some of "av", "audio", "video".
        name: of the recogniser.

    Returns:
        The rows, and for those that cannot be had why.
    """
    fitted: dict[Row, str | None] = {}
    for row in rows:
        if row.modality not in modalities and row.modality == "av":
            alone = next(
                (
                    one
                    for one in ("audio", "video")
                    if one in modalities and row.condition.streams <= {one}
                ),
                None,
            )
            row = replace(row, modality=alone) if alone else row
        has = " and ".join(
            {"av": "audio + video", "audio": "audio", "video": "video"}[one] for one in modalities
        )
        fitted.setdefault(row, None if row.modality in modalities else f"{name} takes {has} only")
    return list(fitted), {row: reason for row, reason in fitted.items() if reason is not None}


# ---- what is compared with what


def audio_only(row: Row) -> Row | None:
    """The row that R_V compares with: the same sound, whole or spoilt, and no lips.

    None where sound is missing or comes at a wrong time, and where the picture is there and spoilt
    or another's: the predicate is about a picture that is missing in part or whole, or there as it
    was.
    """
    if _gone(row, "audio") or _false(row) or _spoilt(row, "video corrupted"):
        return None
    return Row(row.condition.without("video"), "audio", "comparison")


def video_only(row: Row) -> Row | None:
    """The row that R_A compares with: the same lips, whole or spoilt, and no sound.

    None where lips are missing, another's or at another speed, and where the sound is there and
    spoilt: the mirror of `audio_only`.
    """
    if _gone(row, "video") or _false(row) or _spoilt(row, "noise", "audio corrupted"):
        return None
    return Row(row.condition.without("audio"), "video", "comparison")


def clean_audio(row: Row) -> Row | None:
    """The sound alone, where the picture is spoilt, false or out of step and the sound is as it
    was."""
    bad = _spoilt(row, "video corrupted", "identity", "out of step")
    return Row(modality="audio") if bad and len(row.condition.steps) == 1 else None


def clean_video(row: Row) -> Row | None:
    """The lips alone, where the sound is spoilt or out of step and the lips are as they were."""
    bad = _spoilt(row, "noise", "audio corrupted", "out of step")
    return Row(modality="video") if bad and len(row.condition.steps) == 1 else None


def _gone(row: Row, stream: Literal["audio", "video"]) -> bool:
    return row.condition.loses(stream)


def _false(row: Row) -> bool:
    return any(
        isinstance(step, OutOfStep | Speaker) or step.name in FALSE for step in row.condition.steps
    )


def _spoilt(row: Row, *axes: str) -> bool:
    return any(step.axis in axes for step in row.condition.steps)


AGAINST: dict[str, Callable[[Row], Row | None]] = {"R_V": audio_only, "R_A": video_only}

HARM: dict[str, Callable[[Row], Row | None]] = {
    "bad picture": clean_audio,
    "bad sound": clean_video,
}
"""What a stream that is there and bad does, against not using it; told beside the predicates and not part of them."""


# ---- curves


def curve_rows(rows: Sequence[Row]) -> list[list[tuple[float | str | None, Row]]]:
    """Each condition over its levels: (level, row) in the order of the axis, the clean clip among
    them.

    Clean is level 0 where something is missing or moved, "none" where it is corrupted and the last,
    None, in noise. The rows in which the whole of a stream is missing stand in the curves of all
    patterns.
    """
    curves: dict[tuple[str, str, bool, str], list[tuple[float | str | None, Row]]] = {}
    for row in rows:
        condition = row.condition
        if len(condition.steps) == 1 and condition.level is not None:
            place = (condition.axis, condition.name, condition.signalled, row.modality)
            curves.setdefault(place, []).append((condition.level, row))  # type: ignore[arg-type]
    found = []
    for (axis, _, signalled, modality), points in curves.items():
        clean = Row(modality=modality)
        if axis == "noise":
            points = [*sorted(points, key=_level), (None, clean)]
        elif axis.endswith("missing"):
            points = [(0.0, clean), *sorted(points, key=_level)]
            if _one(axis) and points[-1][0] != 1.0:
                points.append(
                    (
                        1.0,
                        Row(Condition((Missing(_stream(axis), SHARED, 1.0, signalled),)), modality),
                    )
                )
        elif axis == "out of step":
            points = sorted([*points, (0, clean)], key=_level)
        else:
            points = [("none", clean), *points]
        found.append([(level, row) for level, row in points if row in rows])
    return found


def shared_by(row: Row, rows: Iterable[Row]) -> list[Condition]:
    """The conditions of other patterns that are this row, to the last bit: the whole of a stream is
    missing."""
    steps = row.condition.steps
    if (
        len(steps) != 1
        or not isinstance(steps[0], Missing)
        or steps[0].stream == "both"
        or steps[0].rate != 1.0
    ):
        return []
    whole = steps[0]
    partial = [other.condition.steps[0] for other in rows if len(other.condition.steps) == 1]
    patterns = {
        (step.pattern, step.frozen): None
        for step in partial
        if isinstance(step, Missing)
        and (step.stream, step.signalled) == (whole.stream, whole.signalled)
    }
    return [
        Condition((replace(whole, pattern=pattern, frozen=frozen),))
        for pattern, frozen in patterns
        if (pattern, frozen) != (whole.pattern, whole.frozen)
    ]


def _level(point: tuple[float | str | None, Row]) -> float:
    return float(point[0])  # type: ignore[arg-type]


def _one(axis: str) -> bool:
    return axis in ("audio missing", "video missing")


def _stream(axis: str) -> Literal["audio", "video"]:
    return "audio" if axis.startswith("audio") else "video"
