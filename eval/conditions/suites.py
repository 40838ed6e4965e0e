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
from avsr.eval.conditions.former import current
from avsr.eval.conditions.identity import IDENTITIES, SHIFTS_MS, Identity, OutOfSync
from avsr.eval.conditions.noise import NOISES
from avsr.eval.conditions.nonspeech import SOUNDS, NonSpeech
from avsr.eval.conditions.speakers import Speaker
from avsr.eval.conditions.video import VideoCorruption

SUITES = ("clean", "quick", "release", "speakers", "masked", "full")
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
        "release": _release,
        "speakers": _speakers,
        "masked": _masked,
        "full": _full,
    }
    if suite not in makers:
        raise UsageError(f"suite {suite!r} does not exist; choose one of {', '.join(makers)}")
    rows = list(dict.fromkeys(makers[suite]()))
    if conditions is not None:
        rows = _kept(rows, conditions)
    compared = []
    for against in AGAINST.values():
        for row in rows:
            other = against(row) if row.modality == "av" else None
            if other is not None:
                compared.append(other)
    return list(dict.fromkeys([*rows, *compared]))


def _kept(rows: Sequence[Row], conditions: str) -> list[Row]:
    """The clean rows and those that fit."""
    patterns = [current(pattern.strip().casefold()) for pattern in conditions.split(",")]

    def fits(condition: Condition) -> bool:
        names = [name.casefold() for name in (condition.label, condition.axis, condition.name)]
        return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    if not any(fits(row.condition) for row in rows):
        axes = ", ".join(dict.fromkeys(row.condition.axis for row in rows))
        raise UsageError(
            f"conditions {conditions!r} fit none of the suite; its axes are {axes}; * is a wildcard"
        )
    return [row for row in rows if not row.condition.steps or fits(row.condition)]


def _clean() -> list[Row]:
    return [Row(), Row(modality="audio"), Row(modality="video")]


def _quick() -> list[Row]:
    """Missing sound and picture come in bursts: one to three segments a clip."""
    babble = Noise("babble", 0.0)
    rows = _clean()
    for stream, rate in product(STREAMS, (0.5, 1.0)):
        rows.append(_row(Missing(stream, SHARED, rate)))
    return [*rows, _row(babble), _row(babble, Missing("video", SHARED, 0.5)), _row(Nothing())]


def _release() -> list[Row]:
    """What new weights are judged by: clean clips, babble and one talker, and sounds that are no
    speech."""
    rows = _clean()
    noises = [Noise("babble", 0.0), Noise("babble", -5.0)]
    noises += [Noise("talker", -5.0), Noise("talker", -10.0)]
    for noise in noises:
        rows += [_row(noise), Row(Condition((noise,)), "audio")]
    return [*rows, _row(Nothing()), *(_row(NonSpeech(kind)) for kind in SOUNDS)]


def _speakers() -> list[Row]:
    """Other voices, speaking rates and mouths, each with the streams it changes; then all in one,
    also in babble.

    The heaviest change of the mouth stands for lips that cannot be read: in babble they should
    still do no harm.
    """
    rows = _clean()
    for speaker in other_speakers():
        for modality, used in USES.items():
            if speaker.streams & used:
                rows.append(_row(speaker, modality=modality))
    other = (
        Speaker("higher voice", "heavy"),
        Speaker("faster", "light"),
        Speaker("other mouth", "medium"),
    )
    for modality in USES:
        rows.append(_row(*other, modality=modality))
    for modality in ("av", "audio"):
        rows.append(_row(*other, Noise("babble", 0.0), modality=modality))
    for snr_db in (0.0, -5.0):
        babble = Noise("babble", snr_db)
        rows.append(_row(babble, Speaker("other mouth", "heavy")))
        rows.append(_row(babble, modality="audio"))
    return rows


def _masked() -> list[Row]:
    """Everything that is missing in part or whole, with the masks saying so and without."""
    rows = _clean()
    for stream in STREAMS:
        for pattern, rate in product(PATTERNS, PARTS):
            rows.append(_row(Missing(stream, pattern, rate)))
        rows.append(_row(Missing(stream, SHARED, 1.0)))
    for pattern, rate in product(JOINT_PATTERNS, JOINT_RATES):
        rows.append(_row(Missing("both", pattern, rate)))
    for stream in STREAMS:
        for pattern, rate in product((SHARED, "utterance"), PARTS):
            rows.append(_row(Missing(stream, pattern, rate, mask_indicated=False)))
        rows.append(_row(Missing(stream, SHARED, 1.0, mask_indicated=False)))
    for rate in PARTS:
        rows.append(_row(Missing("video", SHARED, rate, mask_indicated=False, frozen=True)))
    return rows


def _full() -> list[Row]:
    """The whole protocol."""
    rows = _masked()
    for kind, snr_db in product(NOISES, SNRS_DB):
        noise = Noise(kind, snr_db)
        rows += [_row(noise), _row(noise, modality="audio")]
    others: list[Step] = [*corrupted_video(), *corrupted_audio()]
    others += [OutOfSync(shift_ms) for shift_ms in SHIFTS_MS]
    others += [Identity(kind) for kind in IDENTITIES]
    rows += [_row(step) for step in others]
    rows += [_row(Nothing()), _row(Nothing(mask_indicated=True))]
    for snr_db, rate in product(CROSSED_SNRS_DB, CROSSED_RATES):
        rows.append(_row(Noise("babble", snr_db), Missing("video", SHARED, rate)))
    corrupted = VideoCorruption(CROSSED_CORRUPTION, "heavy")
    return rows + [_row(corrupted, Missing("audio", SHARED, rate)) for rate in CROSSED_RATES]


def _row(*steps: Step, modality: str = "av") -> Row:
    return Row(Condition(steps), modality)


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
    called = {"av": "audio + video", "audio": "audio", "video": "video"}
    has = " and ".join(called[modality] for modality in modalities)
    fitted: dict[Row, None] = {}  # in order, each once
    impossible = {}
    for row in rows:
        if row.modality == "av" and "av" not in modalities:
            row = _of_one_stream(row, modalities)
        fitted[row] = None
        if row.modality not in modalities:
            impossible[row] = f"{name} takes {has} only"
    return list(fitted), impossible


def _of_one_stream(row: Row, modalities: Sequence[str]) -> Row:
    """A row of both streams as that of the one that its condition changes, where that is one of the
    modalities; else as it is."""
    for stream in ("audio", "video"):
        if stream in modalities and row.condition.streams <= {stream}:
            return replace(row, modality=stream)
    return row


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
    """The sound alone, where the picture is spoilt, false or out of sync and the sound is as it
    was."""
    bad = _spoilt(row, "video corrupted", "identity", "out of sync")
    return Row(modality="audio") if bad and len(row.condition.steps) == 1 else None


def clean_video(row: Row) -> Row | None:
    """The lips alone, where the sound is spoilt or out of sync and the lips are as they were."""
    bad = _spoilt(row, "noise", "audio corrupted", "out of sync")
    return Row(modality="video") if bad and len(row.condition.steps) == 1 else None


def _gone(row: Row, stream: Literal["audio", "video"]) -> bool:
    return row.condition.loses(stream)


def _false(row: Row) -> bool:
    return any(
        isinstance(step, OutOfSync | Speaker) or step.name in FALSE for step in row.condition.steps
    )


def _spoilt(row: Row, *axes: str) -> bool:
    return any(step.axis in axes for step in row.condition.steps)


AGAINST: dict[str, Callable[[Row], Row | None]] = {"R_V": audio_only, "R_A": video_only}

HARM: dict[str, Callable[[Row], Row | None]] = {
    "bad picture": clean_audio,
    "bad sound": clean_video,
}
"""What a stream that is there and bad does, against not using it.

Told beside the predicates, not part of them."""


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
            place = (condition.axis, condition.name, condition.mask_indicated, row.modality)
            curves.setdefault(place, []).append((condition.level, row))  # type: ignore[arg-type]
    found = []
    for (axis, _, mask_indicated, modality), points in curves.items():
        clean = Row(modality=modality)
        if axis == "noise":
            points = [*sorted(points, key=_level), (None, clean)]
        elif axis.endswith("missing"):
            points = [(0.0, clean), *sorted(points, key=_level)]
            if axis in ("audio missing", "video missing") and points[-1][0] != 1.0:
                whole = Missing(_stream(axis), SHARED, 1.0, mask_indicated)
                points.append((1.0, _row(whole, modality=modality)))
        elif axis == "out of sync":
            points = sorted([*points, (0, clean)], key=_level)
        else:
            points = [("none", clean), *points]
        found.append([(level, row) for level, row in points if row in rows])
    return found


def shared_by(row: Row, rows: Iterable[Row]) -> list[Condition]:
    """The conditions of other patterns that are this row, to the last bit: the whole of a stream is
    missing."""
    whole = _only_missing(row)
    if whole is None or whole.stream == "both" or whole.rate != 1.0:
        return []
    found = []
    for other in rows:
        part = _only_missing(other)
        if part is None or (part.stream, part.mask_indicated) != (
            whole.stream,
            whole.mask_indicated,
        ):
            continue
        same = Condition((replace(whole, pattern=part.pattern, frozen=part.frozen),))
        if same != row.condition and same not in found:
            found.append(same)
    return found


def _only_missing(row: Row) -> Missing | None:
    """What is missing in a row, where nothing else is done in it."""
    steps = row.condition.steps
    return steps[0] if len(steps) == 1 and isinstance(steps[0], Missing) else None


def _level(point: tuple[float | str | None, Row]) -> float:
    return float(point[0])  # type: ignore[arg-type]


def _stream(axis: str) -> Literal["audio", "video"]:
    return "audio" if axis.startswith("audio") else "video"
