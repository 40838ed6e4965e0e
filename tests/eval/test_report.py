"""The Markdown report says what the results say, as figures a person can read."""

from __future__ import annotations

from typing import Any

from avsr.eval.report import percent, table, to_markdown


def row(label: str, modality: str = "av", **changes: Any) -> dict[str, Any]:
    return {
        "key": f"{label} | {modality}",
        "label": label,
        "axis": "clean",
        "modality": modality,
        "role": "suite",
        "utterances": 100,
        "words": 600,
        "wer": 0.1234,
        "wer_low": 0.1,
        "wer_high": 0.15,
        "cer": 0.05,
        "substitutions": 60,
        "deletions": 10,
        "insertions": 4,
        "delta_wer": 0.02,
        "delta_low": -0.01,
        "delta_high": 0.05,
        **changes,
    }


def results(**changes: Any) -> dict[str, Any]:
    check = {"row": "half | av", "label": "half", "wer": 0.2, "against_wer": 0.1, "difference": 0.1}
    check |= {"low": 0.05, "high": 0.15, "pass": False}
    nothing = row("nothing", wer=None, wer_low=None, wer_high=None, cer=None, delta_wer=None, words=0, insertions=7)
    return {
        "model": "tiny",
        "data": "data/val",
        "split": "val",
        "suite": "quick",
        "seed": 17,
        "normalizer": "basic",
        "clips_without_text": ["x"],
        "rows": [row("clean"), row("half"), nothing, {**row("babble"), "not_available": "one clip only"}],
        "predicates": {
            "R_V": {"pass": False, "worst": 0.1, "worst_row": "half | av", "tolerance": 0.005, "checks": [check]},
            "R_A": {"pass": None, "worst": None, "worst_row": None, "tolerance": 0.005, "checks": []},
        },
        "summary": {
            "hallucination_rate": 0.25,
            "hallucinated_words": 7,
            "hallucinated_words_per_minute": 1.4,
            "real_time_factor": 0.0123,
        },
        **changes,
    }


def test_report_holds_every_figure() -> None:
    text = to_markdown(results())
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    cells = [cell.strip() for cell in lines["clean"].split("|")[2:-1]]
    assert cells == ["audio + video", "12.3 [10.0, 15.0]", "5.0", "60", "10", "4", "600", "+2.0 [-1.0, +5.0]"]
    nothing = [cell.strip() for cell in lines["nothing"].split("|")[2:-1]]
    assert nothing == ["audio + video", "n/a", "n/a", "60", "10", "7", "0", "n/a"]
    assert "n/a: babble: one clip only" in text
    assert "100 clips, 600 words of data/val, split val; seed 17" in text
    assert "25.0 % of the clips" in text
    assert "1 clips have no text" in text


def test_predicates_name_their_verdict_and_the_worst_row() -> None:
    text = to_markdown(results())
    assert "**R_V FAIL**" in text
    assert "+10.0 points, at half; 0.5 allowed" in text
    assert "half: 20.0 % against 10.0 %, +10.0 [+5.0, +15.0] points" in text
    assert "**R_A** not checked" in text


def test_tables_are_even_and_keep_bars_in_text_apart() -> None:
    lines = table(["a|b", "n"], [["x", "1000"], ["longer text", "2"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("| a\\|b")
    assert lines[1].endswith("---: |")


def test_percentages() -> None:
    assert percent(0.0) == "0.0"
    assert percent(1.5, 1.25, 1.75) == "150.0 [125.0, 175.0]"
    assert percent(-0.01, sign=True) == "-1.0"
    assert percent(None) == "n/a"
