"""The results of an evaluation as typed, frozen objects; the one place that knows results.json.

Scoring makes these objects, and every report, plot, comparison and requirement reads them. Rates
are fractions. A rate is None where nothing is said, because words that are put out there have no
share of anything. Files of earlier releases are read too: they call `mask_indicated` "signalled"
and may have one "seed" in place of "seeds".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    computed_field,
    model_validator,
)

from avsr.base.errors import AvsrError
from avsr.eval.conditions.former import all_current

SCHEMA = 1
FILE = "results.json"
CLEAN = "clean"  # axis of the test condition in which nothing is done to a clip
CROSSED = "crossed"  # axis of those in which several things are
TIMES = ("seconds", "real_time_factor")  # keys of what a clock says begin with these

Modality = Literal["av", "audio", "video"]
Verdict = Literal["pass", "fail", "undecided"]
PASSES: dict[str, bool | None] = {"pass": True, "fail": False, "undecided": None}
MASK_INDICATED = AliasChoices("mask_indicated", "signalled")


class Frozen(BaseModel):
    """Base of everything here."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")


class Errors(Frozen):
    """Errors pooled over utterances, with the 95 % interval of their rate."""

    utterances: int = 0
    words: int = 0
    wer: float | None = None
    wer_low: float | None = None
    wer_high: float | None = None
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions


class Measured(Errors):
    """One line of the table: a test condition, one modality, one seed.

    Attributes:
        key: tells it from every other line.
        label: of the condition, for people.
        axis: what kind of condition it is: "clean", "video missing", "noise" ...
        condition: its name without its level.
        level: a number, a name, one of either for each part of a crossed condition, or None.
        mask_indicated: the masks tell what is missing; else the recogniser must notice by itself.
        role: "suite", or "comparison" where another line needs it to compare with.
        steps: enough to do the same to a clip again.
        snr: over what a signal-to-noise ratio is taken, where there is noise.
        not_available: why there are no figures.
        delta_wer: difference to the full input, with its paired interval.
        audio_present, video_present: shares of the frames that the masks call present.
        audio_weight: mean over the words, where the recogniser tells.
    """

    key: str
    label: str
    axis: str
    condition: str
    level: Any
    seed: int
    modality: Modality
    mask_indicated: bool = Field(validation_alias=MASK_INDICATED)
    role: str = "suite"
    steps: tuple[dict[str, Any], ...] = ()
    snr: str | None = None
    not_available: str | None = None
    hallucinating_utterances: int = 0
    characters: int = 0
    cer: float | None = None
    cer_low: float | None = None
    cer_high: float | None = None
    character_substitutions: int = 0
    character_deletions: int = 0
    character_insertions: int = 0
    delta_wer: float | None = None
    delta_low: float | None = None
    delta_high: float | None = None
    audio_present: float | None = None
    video_present: float | None = None
    audio_weight: float | None = None
    media_s: float = 0.0
    seconds: float = 0.0
    real_time_factor: float | None = None

    @property
    def available(self) -> bool:
        return self.not_available is None

    @property
    def character_errors(self) -> int:
        return self.character_substitutions + self.character_deletions + self.character_insertions


class Check(Frozen):
    """One test of non-inferiority: an audio-visual line against one modality alone.

    Attributes:
        row, against: keys of the two lines, of the first seed.
        seeds: how many seeds are counted together.
        passed: None where there are too few clips to tell.
        clips_needed: about how many clips would decide what is undecided.
    """

    row: str
    against: str = ""
    seeds: int = 1
    label: str
    axis: str = CROSSED
    condition: str = ""
    level: Any = None
    mask_indicated: bool = Field(True, validation_alias=MASK_INDICATED)
    wer: float
    against_wer: float
    difference: float
    low: float
    high: float
    passed: bool | None = Field(alias="pass")
    clips_needed: int | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        return _verdict(self.passed)


class Predicate(Frozen):
    """A statement about all audio-visual lines of a kind, such as R_V: it passes where every check
    does.

    Attributes:
        passed: None where a check is undecided, or where there is none.
        worst: the largest difference; `worst_row` is the key of its line.
        vacuous: what is compared with knows nothing of what is said, so a pass is no merit.
    """

    passed: bool | None = Field(alias="pass")
    worst: float | None = None
    worst_row: str | None = None
    tolerance: float
    checks: tuple[Check, ...] = ()
    vacuous: bool | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict | Literal["not checked"]:
        if self.passed is None and not self.checks:
            return "not checked"
        return _verdict(self.passed)

    @property
    def worst_check(self) -> Check:
        return next(check for check in self.checks if check.row == self.worst_row)


def _verdict(passed: bool | None) -> Verdict:
    if passed is None:
        return "undecided"
    return "pass" if passed else "fail"


class Curve(Frozen):
    """Word error rates of a condition over its levels, seeds pooled.

    Attributes:
        levels: from little to much; None is clean.
        wer, wer_low, wer_high: at each level.
        area: below the curve, where it goes from nothing missing to everything missing.
        rows: keys of the lines at each level.
    """

    axis: str
    condition: str
    mask_indicated: bool = Field(True, validation_alias=MASK_INDICATED)
    modality: Modality
    x_label: str
    levels: tuple[Any, ...]
    wer: tuple[float | None, ...]
    wer_low: tuple[float | None, ...]
    wer_high: tuple[float | None, ...]
    area: float | None = None
    rows: tuple[tuple[str, ...], ...] = ()


class Gain(Frozen):
    """Effective SNR gain; the note says why there is none, or what it is at least."""

    gain_db: float | None
    note: str | None = None


class TrustBin(Frozen):
    """Mean audio weight of the words of clips of whose sound this share was there."""

    audio_present: float
    audio_weight: float | None
    words: int


class Reliance(Frozen):
    """Which of two contradicting streams the words follow, as shares of the words."""

    follows_lips: float
    follows_sound: float
    words: int
    definition: str


class Speaker(Frozen):
    """The errors of one speaker's clips.

    Attributes:
        rows: key of a line of the table, of the first seed -> errors, seeds pooled.
    """

    speaker: str
    utterances: int
    rows: dict[str, Errors]


class Summary(Frozen):
    """The figures above the table."""

    hallucination_rate: float | None = None
    hallucinated_words: int | None = None
    hallucinated_words_per_minute: float | None = None
    effective_snr_gain_db: dict[str, Gain] = Field(default_factory=dict)
    trust_curve: tuple[TrustBin, ...] = ()
    visual_reliance: Reliance | None = None
    harm: dict[str, Predicate] = Field(default_factory=dict)
    speakers: tuple[Speaker, ...] = ()
    real_time_factor: float | None = None
    seconds: float | None = None
    seconds_network: float | None = None
    seconds_other: float | None = None


class About(Frozen):
    """What was evaluated, and on what.

    Attributes:
        model_sha256: of all that decides what the recogniser says.
        decoding: how it decodes; systems of others do not tell.
        seeds: of masks and noise.
    """

    model: str
    model_sha256: str | None = None
    decoding: str | None = None
    data: str
    split: str | None = None
    suite: str
    seeds: tuple[int, ...]

    @property
    def title(self) -> str:
        """What was evaluated, for titles: "default", "default, beam 8"; greedy decoding goes
        without saying."""
        told = self.decoding not in (None, "greedy")
        return f"{self.model}, {self.decoding}" if told else self.model


class Results(About):
    """Everything that one evaluation found.

    Attributes:
        conditions: the pattern by which conditions of the suite were chosen.
        versions: of what decides what is measured.
        rows: the table.
        predicates: "R_V" and "R_A".
    """

    schema_: int = Field(SCHEMA, alias="schema")
    conditions: str | None = None
    normalizer: str
    clips: int = 0
    clips_without_text: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)
    rows: tuple[Measured, ...]
    curves: tuple[Curve, ...] = ()
    predicates: dict[str, Predicate] = Field(default_factory=dict)
    summary: Summary = Summary()

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_releases(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        found = dict(given)
        if "seed" in found:
            found.setdefault("seeds", [found.pop("seed")])
        if "clips" not in found:
            counts = [row.get("utterances", 0) for row in found.get("rows", ()) if _is_map(row)]
            found["clips"] = max(counts, default=0)
        return found

    @property
    def words(self) -> int:
        """Words that were said, in the clips of one line."""
        return max((row.words for row in self.rows), default=0)

    @property
    def available(self) -> list[Measured]:
        """The lines that have figures."""
        return [row for row in self.rows if row.available]

    @property
    def clean(self) -> list[Measured]:
        """The lines in which nothing is done to the clips, one for each modality."""
        return [row for row in self.rows if row.axis == CLEAN]

    @property
    def comparisons(self) -> dict[str, Predicate]:
        """The predicates, and after them what is told beside them, where there is a check."""
        harm = {name: found for name, found in self.summary.harm.items() if found.checks}
        return {**self.predicates, **harm}


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


# ---- files


def to_dict(results: Results) -> dict[str, Any]:
    """What results.json holds: all that was set, no defaults."""
    return results.model_dump(mode="json", by_alias=True, exclude_unset=True)


def to_json(results: Results) -> str:
    return json.dumps(to_dict(results), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def read_results(path: str | Path) -> Results:
    """Reads what `evaluate` wrote.

    Args:
        path: results.json, or the folder that it lies in.

    Raises:
        AvsrError: it cannot be read, is damaged, or is something else.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    content = parsed(text_of(path), path, 1)
    if content.get("schema") != SCHEMA or "rows" not in content or "normalizer" not in content:
        raise AvsrError(
            f"{path}: not results of avsr evaluate (schema {SCHEMA}); name its {FILE} or its folder"
        )
    for name in ("rows", "curves", "predicates", "summary"):
        if name in content:
            content[name] = all_current(content[name])
    try:
        return Results.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise AvsrError(
            f"{path}: {where}: {first['msg'].lower()}; evaluate again with this version"
        ) from error


def text_of(path: Path) -> str:
    """The text of a file of an evaluation; raises AvsrError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise AvsrError(
            f"{path}: cannot be read ({reason}); name a folder that avsr evaluate --out wrote"
        ) from error


def parsed(text: str, path: Path, line: int) -> dict[str, Any]:
    """A JSON object; raises AvsrError that names the line where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AvsrError(
            f"{path}, line {line}: is not JSON, or cut short; evaluate again"
        ) from error
    if not isinstance(value, dict):
        raise AvsrError(
            f"{path}, line {line}: holds no JSON object; name a folder that avsr evaluate --out "
            "wrote"
        )
    return value


def without_times(value: Any) -> Any:
    """The same results (or any part of `to_dict`) but for what a clock says: all else is the same
    in every run."""
    if isinstance(value, Results):
        return without_times(to_dict(value))
    if isinstance(value, Mapping):
        kept = {key: item for key, item in value.items() if not key.startswith(TIMES)}
        return {key: without_times(item) for key, item in kept.items()}
    return [without_times(item) for item in value] if isinstance(value, list) else value
