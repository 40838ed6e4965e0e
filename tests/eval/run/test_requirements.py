"""Requirements are read as they are meant, and say what does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from avsr.base.errors import AvsrError
from avsr.eval.run.requirements import check_labels, parse, violations

SILENT = "video missing 50 % (bursts, silent)"


def row(
    label: str, modality: str = "av", errors: int = 0, words: int = 100, **more: Any
) -> dict[str, Any]:
    counts = {"substitutions": errors, "deletions": 0, "insertions": 0, "words": words}
    counts |= {
        "character_substitutions": 0,
        "character_deletions": 2,
        "character_insertions": 0,
        "characters": 400,
    }
    return {"label": label, "modality": modality, **counts, **more}


def results(**predicates: dict[str, Any]) -> dict[str, Any]:
    rows = [
        row("clean", errors=2),
        row("clean", "audio", errors=9),
        row(SILENT, errors=10, seed=17),
        row(SILENT, errors=20, seed=29),
        {"label": "recorded 0 dB", "modality": "av", "wer": None, "not_available": "no folder"},
        row("nothing there (silent)", errors=5, words=0),
    ]
    return {"rows": rows, "predicates": predicates}


def test_what_is_written_is_what_is_meant() -> None:
    first, second, third, fourth = parse(
        f" R_V, wer:clean <= 2,cer:clean/audio<=0.5 , wer:{SILENT}<=15"
    )
    assert first.predicate == "R_V"
    assert (second.rate, second.label, second.modality, second.limit) == ("wer", "clean", None, 2)
    assert (third.rate, third.label, third.modality, third.limit) == ("cer", "clean", "audio", 0.5)
    assert (fourth.label, fourth.limit) == (SILENT, 15)


@pytest.mark.parametrize(
    "text", ["", "R_X", "wer:clean", "wer:clean<2", "wer:clean<=x", "wer:<=2", "R_V;R_A", "R_V,"]
)
def test_what_is_not_understood_is_one_line(text: str) -> None:
    with pytest.raises(AvsrError, match=r"R_V, R_A or wer:LABEL<=PERCENT"):
        parse(text)


def test_labels_are_looked_for_before_any_work() -> None:
    rows = [("clean", "av"), ("clean", "audio"), (SILENT, "av")]
    check_labels(parse(f"R_A,wer:Clean/audio<=2,wer:{SILENT}<=3"), rows)
    with pytest.raises(AvsrError, match=r"wer:claen<=2.*like it are clean"):
        check_labels(parse("wer:claen<=2"), rows)
    with pytest.raises(AvsrError, match="no such row"):
        check_labels(parse("wer:clean/video<=2"), rows)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wer:clean<=2", ""),
        ("wer:clean<=1.9", "WER is 2.00 % (2 errors in 100 words)"),
        ("wer:clean/audio<=9", ""),
        ("wer:clean/audio<=8", "WER is 9.00 %"),
        ("cer:clean<=0.4", "CER is 0.50 % (2 errors in 400 characters)"),
        (f"wer:{SILENT}<=15", ""),  # both seeds together
        (f"wer:{SILENT}<=14", "30 errors in 200 words"),
        ("wer:recorded 0 dB<=50", "could not be checked: no folder"),
        ("wer:nothing there (silent)<=50", "could not be checked: the row has no words"),
        ("wer:clean/video<=50", "could not be checked: the results have no such row"),
        ("R_A", "could not be checked: no row to compare"),
    ],
)
def test_rates_are_held_against_their_limits(text: str, says: str) -> None:
    lines = violations(parse(text), results(R_A={"pass": None, "checks": []}))
    assert len(lines) == bool(says)
    assert all(line.startswith(f"{text}: ") and says in line for line in lines)


def test_predicates_hold_or_name_the_worst_row() -> None:
    good = {
        "label": "a",
        "pass": True,
        "difference": 0.0,
        "high": 0.004,
        "wer": 0.1,
        "against_wer": 0.1,
    }
    bad = {**good, "label": "b", "pass": False, "difference": 0.2, "wer": 0.3}
    open_one = {**good, "label": "c", "pass": None, "high": 0.012}
    holds = {"pass": True, "vacuous": False, "tolerance": 0.005, "checks": [good]}
    assert violations(parse("R_V"), results(R_V=holds)) == []
    (line,) = violations(
        parse("R_V"), results(R_V={**holds, "pass": False, "checks": [good, bad, open_one]})
    )
    assert line == "R_V: 1 of 3 rows fail; worst b: 30.00 % against 10.00 % (0.5 points allowed)"
    (line,) = violations(
        parse("R_V"), results(R_V={**holds, "pass": None, "checks": [good, open_one]})
    )
    assert line.startswith("R_V: undecided, which is no pass: 1 of 2 rows")
    assert "c: +0.00 points, up to +1.20 (0.5 points allowed)" in line
    for passed in (True, None):
        (line,) = violations(parse("R_V"), results(R_V={**holds, "pass": passed, "vacuous": True}))
        assert "tells nothing of what is said" in line
