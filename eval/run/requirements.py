"""What a user requires of results, as text: "R_V,R_A,wer:clean<=2" turns an evaluation into a
gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from avsr.base.errors import UsageError
from avsr.eval.conditions.former import current
from avsr.eval.metrics.results import Predicate, Results

PREDICATES = ("R_V", "R_A")
MODALITIES = ("av", "audio", "video")
_EPSILON = 1e-9  # percent; a rate of exactly the limit passes, whatever the division left over
_LIMIT = re.compile(
    r"(?P<rate>wer|cer):(?P<label>.+?)(?:/(?P<modality>av|audio|video))?<=(?P<limit>\d+(?:\.\d+)?)"
)


@dataclass(frozen=True)
class Requirement:
    """One of them.

    Attributes:
        text: as the user wrote it.
        predicate: "R_V" or "R_A"; empty for a limit on a rate.
        rate: "wer" or "cer".
        label: of the test condition, as the report shows it.
        modality: None takes audio + video where there is such a condition, else the only one.
        limit: highest rate allowed, percent.
    """

    text: str
    predicate: str = ""
    rate: str = "wer"
    label: str = ""
    modality: str | None = None
    limit: float = 0.0


def parse(text: str) -> list[Requirement]:
    """Reads requirements separated by commas; commas within brackets belong to a label.

    Args:
        text: each is R_V, R_A, wer:LABEL<=PERCENT or cer:LABEL<=PERCENT; "/audio" or "/video" after
            the label names the modality.

    Raises:
        UsageError: it is none of these.
    """
    found = []
    for part in (part.strip() for part in re.split(r",(?![^()]*\))", text)):
        limit = _LIMIT.fullmatch(re.sub(r"\s*<=\s*", "<=", part))
        if part in PREDICATES:
            found.append(Requirement(part, predicate=part))
        elif limit:
            label = current(" ".join(limit["label"].split()))
            percent = float(limit["limit"])
            found.append(Requirement(part, "", limit["rate"], label, limit["modality"], percent))
        else:
            raise UsageError(
                f"requirement {part!r} is not understood: write R_V, R_A or wer:LABEL<=PERCENT, "
                "for example wer:clean<=2 or wer:clean/video<=15"
            )
    return found


def check_labels(requirements: Sequence[Requirement], rows: Sequence[tuple[str, str]]) -> None:
    """Refuses, before any work, a limit on a condition that the run will not have.

    Args:
        requirements: from `parse`.
        rows: label and modality of each condition.

    Raises:
        UsageError: there is no such condition.
    """
    for requirement in requirements:
        if not requirement.predicate and not _chosen(requirement, rows):
            known = sorted({label for label, _ in rows})
            near = get_close_matches(requirement.label, known, n=3, cutoff=0.3) or known[:3]
            raise UsageError(
                f"requirement {requirement.text!r}: this run has no such condition; like it are "
                f"{'; '.join(near)} (with /{', /'.join(MODALITIES)})"
            )


def violations(requirements: Sequence[Requirement], results: Results) -> list[str]:
    """One line for each requirement that is not shown to hold; what could not be checked or is
    undecided is not.

    Args:
        requirements: from `parse`.
        results: of the run. A condition of several seeds counts with all of them.
    """
    found = (_violation(requirement, results) for requirement in requirements)
    return [line for line in found if line]


def _violation(requirement: Requirement, results: Results) -> str:
    if requirement.predicate:
        return _broken(requirement.text, results.predicates.get(requirement.predicate))
    names = _chosen(requirement, [(row.label, row.modality) for row in results.rows])
    mine = [row for row in results.rows if (row.label, row.modality) in names]
    if not mine:
        return f"{requirement.text}: could not be checked: the results have no such condition"
    words = requirement.rate == "wer"
    units = "words" if words else "characters"
    missing = next((row.not_available for row in mine if not row.available), None)
    total = sum(row.words if words else row.characters for row in mine)
    if missing or not total:
        why = missing or f"the condition has no {units}"
        return f"{requirement.text}: could not be checked: {why}"
    errors = sum(row.errors if words else row.character_errors for row in mine)
    rate = 100 * errors / total
    if rate <= requirement.limit + _EPSILON:
        return ""
    told = f"{rate:.2f} % ({errors} errors in {total} {units})"
    return f"{requirement.text}: {requirement.rate.upper()} is {told}"


def _broken(text: str, predicate: Predicate | None) -> str:
    """Why a predicate is not shown to hold; empty where it is."""
    if predicate is not None and predicate.vacuous and predicate.passed is not False:
        return (
            f"{text}: could not be checked: the modality that it compares with tells nothing of "
            "what is said, so no worse than that is no merit"
        )
    if predicate is not None and predicate.passed:
        return ""
    if predicate is None or not predicate.checks:
        return f"{text}: could not be checked: no condition to compare"
    allowed = f"({100 * predicate.tolerance:g} points allowed)"
    total = len(predicate.checks)
    failed = [check for check in predicate.checks if check.passed is False]
    if failed:
        worst = max(failed, key=lambda check: check.difference)
        rates = f"{100 * worst.wer:.2f} % against {100 * worst.against_wer:.2f} %"
        counted = f"{len(failed)} of {total} conditions fail"
        return f"{text}: {counted}; worst {worst.label}: {rates} {allowed}"
    undecided = [check for check in predicate.checks if check.passed is None]
    widest = max(undecided, key=lambda check: check.high)
    return (
        f"{text}: undecided, which is no pass: {len(undecided)} of {total} conditions may be worse "
        f"than is allowed; {widest.label}: {100 * widest.difference:+.2f} points, up to "
        f"{100 * widest.high:+.2f} {allowed}; more clips would tell"
    )


def _chosen(requirement: Requirement, rows: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Label and modality of the condition that a limit is about."""
    same = {row for row in rows if row[0].casefold() == requirement.label.casefold()}
    there = {modality for _, modality in same}
    wanted = [requirement.modality] if requirement.modality else MODALITIES
    modality = next((one for one in wanted if one in there), None)
    return {row for row in same if row[1] == modality}
