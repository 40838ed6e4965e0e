"""What a user requires of results, as text: "R_V,R_A,wer:clean<=2" turns an evaluation into a
gate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from avsr.base.errors import UsageError

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
        label: of the row, as the report shows it.
        modality: of the row; None takes audio + video where there is such a row, else the only one.
        limit: highest rate allowed, percent.
    """

    text: str
    predicate: str = ""
    rate: str = "wer"
    label: str = ""
    modality: str | None = None
    limit: float = 0.0


def parse(text: str) -> list[Requirement]:
    """Reads requirements separated by commas; commas within brackets belong to a row's label.

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
            label = " ".join(limit["label"].split())
            found.append(
                Requirement(
                    part, "", limit["rate"], label, limit["modality"], float(limit["limit"])
                )
            )
        else:
            raise UsageError(
                f"requirement {part!r} is not understood: write R_V, R_A or wer:LABEL<=PERCENT, "
                "for example "
                "wer:clean<=2 or wer:clean/video<=15"
            )
    return found


def check_labels(requirements: Sequence[Requirement], rows: Sequence[tuple[str, str]]) -> None:
    """Refuses, before any work, a limit on a row that the run will not have.

    Args:
        requirements: from `parse`.
        rows: label and modality of each row.

    Raises:
        UsageError: there is no such row.
    """
    for requirement in requirements:
        if not requirement.predicate and not _chosen(requirement, rows):
            known = sorted({label for label, _ in rows})
            near = get_close_matches(requirement.label, known, n=3, cutoff=0.3) or known[:3]
            raise UsageError(
                f"requirement {requirement.text!r}: this run has no such row; like it are "
                f"{'; '.join(near)} "
                f"(with /{', /'.join(MODALITIES)})"
            )


def violations(requirements: Sequence[Requirement], results: Mapping[str, Any]) -> list[str]:
    """One line for each requirement that is not shown to hold; what could not be checked or is
    undecided is not.

    Args:
        requirements: from `parse`.
        results: content of results.json. A row of several seeds counts with all of them.
    """
    found = (_violation(requirement, results) for requirement in requirements)
    return [line for line in found if line]


def _violation(requirement: Requirement, results: Mapping[str, Any]) -> str:
    if requirement.predicate:
        return _broken(requirement, results["predicates"].get(requirement.predicate, {}))
    rows = results["rows"]
    names = _chosen(requirement, [(row["label"], row["modality"]) for row in rows])
    mine = [row for row in rows if (row["label"], row["modality"]) in names]
    if not mine:
        return f"{requirement.text}: could not be checked: the results have no such row"
    missing = next((row["not_available"] for row in mine if "not_available" in row), None)
    units = "words" if requirement.rate == "wer" else "characters"
    total = sum(row.get(units, 0) for row in mine)
    if missing or not total:
        return f"{requirement.text}: could not be checked: {missing or f'the row has no {units}'}"
    prefix = "" if requirement.rate == "wer" else "character_"
    counted = ("substitutions", "deletions", "insertions")
    errors = sum(row[prefix + name] for row in mine for name in counted)
    rate = 100 * errors / total
    if rate <= requirement.limit + _EPSILON:
        return ""
    counts = f"{errors} errors in {total} {units}"
    return f"{requirement.text}: {requirement.rate.upper()} is {rate:.2f} % ({counts})"


def _broken(requirement: Requirement, predicate: Mapping[str, Any]) -> str:
    if predicate.get("vacuous") and predicate["pass"] is not False:
        return (
            f"{requirement.text}: could not be checked: the modality that it compares with tells "
            "nothing of what is "
            "said, so no worse than that is no merit"
        )
    if predicate.get("pass"):
        return ""
    checks = predicate.get("checks") or []
    if not checks:
        return f"{requirement.text}: could not be checked: no row to compare"
    allowed = f"({100 * predicate['tolerance']:g} points allowed)"
    failed = [check for check in checks if check["pass"] is False]
    if failed:
        worst = max(failed, key=lambda check: check["difference"])
        return (
            f"{requirement.text}: {len(failed)} of {len(checks)} rows fail; worst "
            f"{worst['label']}: "
            f"{100 * worst['wer']:.2f} % against {100 * worst['against_wer']:.2f} % {allowed}"
        )
    open_ones = [check for check in checks if check["pass"] is None]
    widest = max(open_ones, key=lambda check: check["high"])
    return (
        f"{requirement.text}: undecided, which is no pass: {len(open_ones)} of {len(checks)} rows "
        "may be worse than is "
        f"allowed; {widest['label']}: {100 * widest['difference']:+.2f} points, up to "
        f"{100 * widest['high']:+.2f} "
        f"{allowed}; more clips would tell"
    )


def _chosen(requirement: Requirement, rows: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Label and modality of the rows that a limit is about: one row, but for its seeds."""
    same = {row for row in rows if row[0].casefold() == requirement.label.casefold()}
    wanted = [requirement.modality] if requirement.modality else MODALITIES
    modality = next((one for one in wanted if one in {row[1] for row in same}), None)
    return {row for row in same if row[1] == modality}
