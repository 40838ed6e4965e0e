"""Which rows a suite has, and which of them the predicates R_V and R_A compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from avsr.eval.conditions import Condition, Missing, Noise, Nothing
from avsr.preprocessing.errors import AvsrError


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


def suite_rows(suite: str) -> list[Row]:
    """The rows of a suite, and after them those that its predicates compare with.

    Missing sound and picture come in bursts: one to three segments a clip.

    Raises:
        AvsrError: no such suite.
    """
    clean = [Row(), Row(modality="audio"), Row(modality="video")]
    babble = Noise("babble", 0.0)
    quick = [
        *clean,
        *(Row(Condition((Missing(stream, "bursts", rate),))) for stream in ("video", "audio") for rate in (0.5, 1.0)),
        Row(Condition((babble,))),
        Row(Condition((babble, Missing("video", "bursts", 0.5)))),
        Row(Condition((Nothing(),))),
    ]
    suites = {"clean": clean, "quick": quick}
    if suite not in suites:
        raise AvsrError(f"suite {suite!r} does not exist; choose one of {', '.join(suites)}")
    rows = suites[suite]
    for against in [AGAINST[name](row) for name in AGAINST for row in rows if row.modality == "av"]:
        if against is not None and against not in rows:
            rows = [*rows, against]
    return rows


def audio_only(row: Row) -> Row | None:
    """The row that R_V compares with: the same sound, whole or noisy, and no lips. None where sound is missing."""
    if row.condition.loses("audio"):
        return None
    return Row(row.condition.without("video"), "audio", "comparison")


def video_only(row: Row) -> Row | None:
    """The row that R_A compares with: the same lips and no sound. None where lips are missing or the sound is noisy."""
    if row.condition.loses("video") or row.condition.noisy:
        return None
    return Row(row.condition.without("audio"), "video", "comparison")


AGAINST: dict[str, Callable[[Row], Row | None]] = {"R_V": audio_only, "R_A": video_only}
