"""Requirements are read as they are meant, and say what does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from avsr.base.errors import AvsrError
from avsr.eval.metrics.results import Check, Measured, Predicate, Results
from avsr.eval.run.requirements import check_labels, parse, violations

UNINDICATED = "video missing 50 % (bursts, unindicated)"


def row(
    label: str, modality: str = "av", errors: int = 0, words: int = 100, **more: Any
) -> Measured:
    fields = {"key": f"{label} | {modality}", "axis": "clean", "condition": label, "level": None}
    fields |= {"seed": 17, "mask_indicated": True, "substitutions": errors, "words": words}
    fields |= {"character_deletions": 2, "characters": 400}
    return Measured(label=label, modality=modality, **{**fields, **more})


def results(**predicates: Predicate) -> Results:
    rows = (
        row("clean", errors=2),
        row("clean", "audio", errors=9),
        row(UNINDICATED, errors=10, seed=17),
        row(UNINDICATED, errors=20, seed=29),
        row("recorded 0 dB", words=0, not_available="no folder"),
        row("nothing there (unindicated)", errors=5, words=0),
    )
    about = {"model": "m", "data": "d", "suite": "quick", "seeds": (17, 29), "normalizer": "basic"}
    return Results(**about, rows=rows, predicates=predicates)


def test_what_is_written_is_what_is_meant() -> None:
    first, second, third, fourth = parse(
        f" R_V, wer:clean <= 2,cer:clean/audio<=0.5 , wer:{UNINDICATED}<=15"
    )
    assert first.predicate == "R_V"
    assert (second.rate, second.label, second.modality, second.limit) == ("wer", "clean", None, 2)
    assert (third.rate, third.label, third.modality, third.limit) == ("cer", "clean", "audio", 0.5)
    assert (fourth.label, fourth.limit) == (UNINDICATED, 15)


@pytest.mark.parametrize(
    "text", ["", "R_X", "wer:clean", "wer:clean<2", "wer:clean<=x", "wer:<=2", "R_V;R_A", "R_V,"]
)
def test_what_is_not_understood_is_one_line(text: str) -> None:
    with pytest.raises(AvsrError, match=r"R_V, R_A or wer:LABEL<=PERCENT"):
        parse(text)


def test_labels_are_looked_for_before_any_work() -> None:
    rows = [("clean", "av"), ("clean", "audio"), (UNINDICATED, "av")]
    check_labels(parse(f"R_A,wer:Clean/audio<=2,wer:{UNINDICATED}<=3"), rows)
    with pytest.raises(AvsrError, match=r"wer:claen<=2.*like it are clean"):
        check_labels(parse("wer:claen<=2"), rows)
    with pytest.raises(AvsrError, match="no such condition"):
        check_labels(parse("wer:clean/video<=2"), rows)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("wer:clean<=2", ""),
        ("wer:clean<=1.9", "WER is 2.00 % (2 errors in 100 words)"),
        ("wer:clean/audio<=9", ""),
        ("wer:clean/audio<=8", "WER is 9.00 %"),
        ("cer:clean<=0.4", "CER is 0.50 % (2 errors in 400 characters)"),
        (f"wer:{UNINDICATED}<=15", ""),  # both seeds together
        (f"wer:{UNINDICATED}<=14", "30 errors in 200 words"),
        ("wer:recorded 0 dB<=50", "could not be checked: no folder"),
        ("wer:nothing there (unindicated)<=50", "could not be checked: the condition has no words"),
        ("wer:clean/video<=50", "could not be checked: the results have no such condition"),
        ("R_A", "could not be checked: no condition to compare"),
    ],
)
def test_rates_are_held_against_their_limits(text: str, says: str) -> None:
    lines = violations(parse(text), results(R_A=Predicate(passed=None, tolerance=0.005)))
    assert len(lines) == bool(says)
    assert all(line.startswith(f"{text}: ") and says in line for line in lines)


def test_predicates_hold_or_name_the_worst_row() -> None:
    good = Check(
        row="a",
        label="a",
        passed=True,
        difference=0.0,
        low=0.0,
        high=0.004,
        wer=0.1,
        against_wer=0.1,
    )
    bad = good.model_copy(update={"label": "b", "passed": False, "difference": 0.2, "wer": 0.3})
    undecided = good.model_copy(update={"label": "c", "passed": None, "high": 0.012})

    def told(passed: bool | None, *checks: Check, vacuous: bool = False) -> list[str]:
        found = Predicate(passed=passed, tolerance=0.005, checks=checks, vacuous=vacuous)
        return violations(parse("R_V"), results(R_V=found))

    assert told(True, good) == []
    (line,) = told(False, good, bad, undecided)
    assert line == (
        "R_V: 1 of 3 conditions fail; worst b: 30.00 % against 10.00 % (0.5 points allowed)"
    )
    (line,) = told(None, good, undecided)
    assert line.startswith("R_V: undecided, which is no pass: 1 of 2 conditions")
    assert "c: +0.00 points, up to +1.20 (0.5 points allowed)" in line
    for passed in (True, None):
        (line,) = told(passed, good, vacuous=True)
        assert "tells nothing of what is said" in line
