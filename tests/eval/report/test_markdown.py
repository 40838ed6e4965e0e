"""The Markdown report says what the results say, as figures a person can read."""

from __future__ import annotations

from typing import Any

from sample_results import full_results, small_results

from avsr.eval.metrics.results import Check, Measured, Predicate, Results, Summary
from avsr.eval.metrics.text import Table, percent
from avsr.eval.report.markdown import NAMED_CHECKS, to_markdown
from avsr.eval.report.words import level_text, ordered_levels


def row(label: str, modality: str = "av", **changes: Any) -> Measured:
    fields = {
        "key": f"{label} | {modality}",
        "label": label,
        "axis": "clean",
        "condition": label,
        "level": None,
        "seed": 17,
        "mask_indicated": True,
        "modality": modality,
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
    }
    return Measured(**{**fields, **changes})


def results(**changes: Any) -> Results:
    check = Check(
        row="half | av",
        label="half",
        wer=0.2,
        against_wer=0.1,
        difference=0.1,
        low=0.05,
        high=0.15,
        passed=False,
    )
    blank = dict.fromkeys(("wer", "wer_low", "wer_high", "cer", "delta_wer"))
    fields = {
        "model": "tiny",
        "data": "data/val",
        "split": "val",
        "suite": "quick",
        "seeds": (17,),
        "normalizer": "basic",
        "clips": 100,
        "clips_without_text": ("x",),
        "rows": (
            row("clean"),
            row("half", axis="noise"),
            row("nothing", axis="nothing there", words=0, insertions=7, **blank),
            row("babble", axis="noise", not_available="one clip only"),
        ),
        "predicates": {
            "R_V": Predicate(
                passed=False, worst=0.1, worst_row="half | av", tolerance=0.005, checks=(check,)
            ),
            "R_A": Predicate(passed=None, tolerance=0.005),
        },
        "summary": Summary(
            hallucination_rate=0.25,
            hallucinated_words=7,
            hallucinated_words_per_minute=1.4,
            real_time_factor=0.0123,
        ),
    }
    return Results(**{**fields, **changes})


def test_report_holds_every_figure() -> None:
    text = to_markdown(results())
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    cells = [cell.strip() for cell in lines["clean"].split("|")[2:-1]]
    assert cells == [
        "audio + video",
        "12.3 [10.0, 15.0]",
        "5.0",
        "60",
        "10",
        "4",
        "600",
        "+2.0 [-1.0, +5.0]",
    ]
    nothing = [cell.strip() for cell in lines["nothing"].split("|")[2:-1]]
    assert nothing == ["audio + video", "n/a", "n/a", "60", "10", "7", "0", "n/a"]
    assert "n/a: babble: one clip only" in text
    assert "100 clips, 600 words of data/val, split val; seed 17" in text
    assert "25.0 % of the clips" in text
    assert "1 clips have no text" in text


def test_titles_name_the_decoding_where_it_is_not_greedy() -> None:
    # results of before it was told
    assert to_markdown(results()).startswith("# tiny: suite quick\n")
    assert to_markdown(results(decoding="greedy")).startswith("# tiny: suite quick\n")
    assert to_markdown(results(decoding="grammar grid")).startswith(
        "# tiny, grammar grid: suite quick\n"
    )


def test_predicates_name_their_verdict_and_the_worst_row() -> None:
    text = to_markdown(results())
    assert "**R_V FAIL**" in text
    assert "+10.0 points, at half; 0.5 allowed" in text
    assert "half: 20.0 % against 10.0 %, +10.0 [+5.0, +15.0] points" in text
    assert "**R_A** not checked" in text


def lines_of(text: str, heading: str) -> dict[str, list[str]]:
    """Cells of each line of the tables under a heading, by their first cell."""
    body = text.partition(f"\n## {heading}")[2].partition("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in body.splitlines()
        if line.startswith("|")
    ]
    return {line[0]: line[1:] for line in cells}


def test_the_matrix_shows_each_condition_at_each_level() -> None:
    matrix = lines_of(to_markdown(full_results()), "R_V: points of WER above audio only")
    assert matrix["video missing"] == ["10 %", "25 %", "30 %", "50 %", "75 %", "100 %"]
    # the last ones are too close to tell
    assert {cell.split()[0] for cell in matrix["bursts"]} == {"✓", "?"}
    assert matrix["bursts, unindicated"][-1] == "✗ +12.0"
    assert matrix["babble 0 dB + video missing 50 %"][-1].startswith("✗ +")
    assert lines_of(to_markdown(full_results()), "R_A: points of WER above video only")[
        "audio missing"
    ]


def test_long_lists_of_violations_are_cut_and_say_so() -> None:
    text = to_markdown(full_results())
    for name, found in full_results().predicates.items():
        told = text.partition(f"**{name} ")[2].partition("\n- ")[0].splitlines()[1:]
        for kind in ("fail", "undecided"):
            count = sum(check.verdict == kind for check in found.checks)
            lines = [line for line in told if line.startswith(f"  - {kind}: ")]
            assert len(lines) == min(count, NAMED_CHECKS + 1)
            assert (f"and {count - NAMED_CHECKS} more" in lines[-1]) == (count > NAMED_CHECKS)
    assert "**bad picture harm**" in text


def test_curves_are_tables_with_their_area() -> None:
    curves = lines_of(to_markdown(full_results()), "WER in % against the level")
    assert curves["video missing"] == [
        "uses",
        "0 %",
        "10 %",
        "25 %",
        "30 %",
        "50 %",
        "75 %",
        "100 %",
        "area",
    ]
    assert len(curves["frame"]) == len(curves["video missing"])
    assert curves["noise"][1:] == [
        *(f"{snr:g} dB" for snr in (-10, -7.5, -5, -2.5, 0, 2.5, 5, 7.5, 10)),
        "clean",
    ]
    assert curves["video corrupted"][1:] == ["none", "light", "heavy"]


def test_summary_figures_and_seeds() -> None:
    text = to_markdown(full_results())
    assert "seeds 17, 29, 43" in text
    assert "Effective SNR gain at 0 dB, babble: +6.4 dB." in text
    assert "Effective SNR gain at 0 dB, white: more than 10 dB: still no worse at -10 dB." in text
    assert "31.0 % follow the lips, 52.0 % the sound" in text
    assert "0.02 at 5 %" in text
    assert lines_of(text, "Test conditions")["clean"][1] == "17"


def test_rows_that_are_not_available_are_named_once_for_each_reason() -> None:
    text = to_markdown(full_results())
    notes = [line for line in text.splitlines() if line.startswith("- n/a:")]
    assert notes == [
        "- n/a: talker -10 dB, talker -7.5 dB, talker -5 dB and 6 more: the corpus has one talker "
        "only",
    ]


def test_a_clean_suite_has_a_report() -> None:
    text = to_markdown(small_results())
    assert text.splitlines()[4].startswith("- **WER clean, audio + video: 4.8 %** (95 %: 2.6 to")
    assert "R_V" not in text  # nothing was checked
    assert "against the level" not in text
    assert "100 clips, 600 words" in text
    assert "seed 17" in text


def test_errors_of_each_speaker_and_their_rates_in_every_condition() -> None:
    text = to_markdown(full_results())
    body = text.partition("## WER in % by speaker")[2].partition("\n## ")[0]
    counts, rates = body.strip().split("\n\n")
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in counts.splitlines()]
    assert lines[0] == ["speaker", "uses", "clips", "WER % [95 %]", "S", "D", "I", "N"]
    assert lines[2] == ["s1", "audio + video", "50", "2.4 [0.3, 4.5]", "6", "1", "0", "300"]
    assert [line[:2] for line in lines[3:]] == [
        ["s1", "audio only"],
        ["s1", "video only"],
        ["s2", "audio + video"],
        ["s2", "audio only"],
        ["s2", "video only"],
    ]
    assert rates.splitlines()[0].split("|")[3].strip() == "clean, audio + video"
    assert len(rates.splitlines()) == 4
    assert "by speaker" not in to_markdown(small_results())


def test_levels_in_order() -> None:
    assert ordered_levels([None, 5.0, -10.0, 0, 5.0]) == [-10.0, 0, 5.0, None]
    assert ordered_levels(["heavy", "medium", "none", "light"]) == [
        "none",
        "light",
        "medium",
        "heavy",
    ]
    assert level_text("video missing", 0.25) == "25 %"
    assert level_text("out of sync", -40) == "-40 ms"
    assert level_text("noise", None) == "clean"
    assert level_text("crossed", [0.0, "heavy"]) == "0 / heavy"


def test_nothing_below_nothing() -> None:
    assert percent(-0.0001, sign=True) == "+0.0"
    assert percent(-0.0001) == "0.0"


def test_tables_are_even_and_keep_bars_in_text_apart() -> None:
    lines = Table(["a|b", "n"], [["x", "1000"], ["longer text", "2"]]).to_markdown().splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].startswith("| a\\|b")
    assert lines[1].endswith("---: |")


def test_percentages() -> None:
    assert percent(0.0) == "0.0"
    assert percent(1.5, 1.25, 1.75) == "150.0 [125.0, 175.0]"
    assert percent(-0.01, sign=True) == "-1.0"
    assert percent(None) == "n/a"
