"""Suites have the rows of the protocol, once each, with what they are compared with and the curves
they make."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import typer

from avsr.base.errors import AvsrError
from avsr.cli import program
from avsr.eval.conditions.axes import Condition, Missing, Noise, Nothing, all_steps, other_speakers
from avsr.eval.conditions.identity import Identity, OutOfSync
from avsr.eval.conditions.speakers import Speaker
from avsr.eval.conditions.suites import (
    SUITES,
    Row,
    audio_only,
    clean_audio,
    clean_video,
    curve_rows,
    fitting_rows,
    shared_by,
    suite_rows,
    video_only,
)
from avsr.eval.conditions.video import VideoCorruption

QUICK = [
    ("clean", "av"),
    ("clean", "audio"),
    ("clean", "video"),
    ("video missing 50 % (bursts)", "av"),
    ("video missing 100 % (bursts)", "av"),
    ("audio missing 50 % (bursts)", "av"),
    ("audio missing 100 % (bursts)", "av"),
    ("babble 0 dB", "av"),
    ("babble 0 dB + video missing 50 % (bursts)", "av"),
    ("nothing there (unindicated)", "av"),
]


def row(*steps: object, modality: str = "av") -> Row:
    return Row(Condition(steps), modality)


def test_quick_and_clean_have_their_rows() -> None:
    quick = suite_rows("quick")
    assert [(row.condition.label, row.modality) for row in quick if row.role == "suite"] == QUICK
    extra = [(row.condition.label, row.modality) for row in quick if row.role == "comparison"]
    assert extra == [("babble 0 dB", "audio")]  # what R_V compares the noisy rows with
    assert [(row.condition.label, row.modality) for row in suite_rows("clean")] == QUICK[:3]
    with pytest.raises(AvsrError, match=r"'fast'.*clean, quick, release, speakers, masked, full"):
        suite_rows("fast")


@pytest.mark.parametrize("suite", SUITES)
def test_no_row_comes_twice_and_every_comparison_is_there(suite: str) -> None:
    rows = suite_rows(suite)
    labels = Counter((row.condition.label, row.modality) for row in rows)
    assert max(labels.values()) == 1
    assert rows[0] == Row()
    for one in rows:
        for other in (audio_only(one), video_only(one)) if one.modality == "av" else ():
            assert other is None or other in rows


def test_the_command_line_tells_the_number_of_rows() -> None:
    option = next(
        p
        for p in typer.main.get_command(program.app).commands["evaluate"].params
        if p.name == "suite"  # type: ignore[attr-defined]
    )
    told = [
        (name, int(count)) for name, count in re.findall(r"(\w+): [^.]*?, (\d+)\b", option.help)
    ]
    assert told == [(suite, len(suite_rows(suite))) for suite in SUITES]


def test_masked_has_every_pattern_and_rate_and_full_has_all_axes() -> None:
    masked, full = suite_rows("masked"), suite_rows("full")
    for stream in ("video", "audio"):
        for pattern in ("utterance", "frame", "start", "middle", "end", "bursts", "interval"):
            for rate in (0.1, 0.25, 0.3, 0.5, 0.75):
                assert row(Missing(stream, pattern, rate)) in masked
        assert row(Missing(stream, "bursts", 1.0)) in masked
        assert row(Missing(stream, "bursts", 0.5, mask_indicated=False)) in masked
        assert row(Missing(stream, "utterance", 0.5, mask_indicated=False)) in masked
    assert set(masked) <= set(full)
    assert {row.condition.axis for row in full} == {
        "clean",
        "video missing",
        "audio missing",
        "both missing",
        "noise",
        "video corrupted",
        "audio corrupted",
        "out of sync",
        "identity",
        "nothing there",
        "crossed",
    }


def test_full_leaves_out_only_what_is_there_by_another_name_or_silent_in_other_patterns() -> None:
    there = {row.condition for row in suite_rows("full")}
    left_out = [step for step in all_steps() if Condition((step,)) not in there]
    for step in left_out:
        if isinstance(step, Identity):
            # all of the picture missing, silent
            assert step == Identity("no face", mask_indicated=False)
        else:
            assert isinstance(step, Missing)
            silent = not step.mask_indicated and step.pattern not in ("bursts", "utterance")
            # The picture of a whole utterance has nothing before it that it could be frozen to: it
            # is black.
            assert step.rate == 1 or silent or (step.frozen and step.pattern == "utterance")


def test_other_speakers_are_asked_for_with_the_streams_that_change() -> None:
    rows = suite_rows("speakers")
    assert set(other_speakers()) <= {step for row in rows for step in row.condition.steps}
    uses = {
        row.modality
        for row in rows
        if row.condition == Condition((Speaker("other mouth", "heavy"),))
    }
    assert uses == {"av", "video"}
    # in babble: worth hearing alone, too
    stranger = [row for row in rows if len(row.condition.steps) == 4]
    assert [row.modality for row in stranger] == ["av", "audio"]
    torn = [
        row
        for row in rows
        if {Speaker("other mouth", "heavy"), Noise("babble", -5.0)} == set(row.condition.steps)
    ]
    assert [row.modality for row in torn] == ["av"]
    assert Row(Condition((Noise("babble", -5.0),)), "audio") in rows  # what it is compared with
    quiet = [row for row in rows if len(row.condition.steps) == 3 and row.modality == "audio"]
    assert [row.seeds((17, 29)) for row in quiet] == [(17,)]  # only the mouth is drawn
    # R_V and R_A compare what is missing, not who speaks
    assert {row.role for row in rows} == {"suite"}


def test_seeds_are_for_rows_in_which_something_is_drawn() -> None:
    seeds = (17, 29, 43)
    assert row(Missing("video", "bursts", 0.5)).seeds(seeds) == seeds
    assert row(Noise("white", 0.0), Missing("video", "start", 1.0)).seeds(seeds) == seeds
    for once in (
        row(),
        row(Missing("video", "bursts", 1.0)),
        row(Missing("audio", "end", 0.5)),
        row(OutOfSync(80)),
        row(VideoCorruption("blur", "heavy")),
        row(Nothing()),
    ):
        assert once.seeds(seeds) == seeds[:1]


def test_what_is_compared_with_what() -> None:
    audio, video = Row(modality="audio"), Row(modality="video")
    babble, half = Noise("babble", 0.0), Missing("video", "bursts", 0.5)
    assert (audio_only(row(half)), video_only(row(half))) == (audio, None)
    assert (audio_only(row(babble, half)), video_only(row(babble))) == (
        row(babble, modality="audio"),
        None,
    )
    blur, no_sound = VideoCorruption("blur", "heavy"), Missing("audio", "bursts", 0.5)
    assert (audio_only(row(blur)), video_only(row(blur, no_sound))) == (
        None,
        row(blur, modality="video"),
    )
    assert (audio_only(row(Nothing())), video_only(row(Nothing()))) == (None, None)
    for false in (Identity("other lips"), OutOfSync(80)):
        assert (audio_only(row(false)), video_only(row(false))) == (None, None)
        assert clean_audio(row(false)) == audio
    assert audio_only(row(Identity("still face"))) == audio
    assert (clean_audio(row(blur)), clean_video(row(babble)), clean_video(row(blur))) == (
        audio,
        video,
        None,
    )


def test_conditions_choose_rows_and_keep_what_they_need() -> None:
    labels = [(row.condition.label, row.modality) for row in suite_rows("quick", "BABBLE*dB")]
    assert labels == [*QUICK[:3], ("babble 0 dB", "av"), ("babble 0 dB", "audio")]
    axes = {row.condition.axis for row in suite_rows("full", "video missing, out of sync")}
    assert axes == {"clean", "video missing", "out of sync"}
    with pytest.raises(AvsrError, match=r"'rain' fit none.*video missing"):
        suite_rows("quick", "rain")


def test_a_recogniser_of_sound_gets_the_rows_that_change_sound() -> None:
    rows, missing = fitting_rows(suite_rows("quick"), ["audio"], "ear")
    had = [(row.condition.label, row.modality) for row in rows if row not in missing]
    assert had == [
        ("clean", "audio"),
        ("audio missing 50 % (bursts)", "audio"),
        ("audio missing 100 % (bursts)", "audio"),
        ("babble 0 dB", "audio"),
    ]
    assert {row.condition.label for row in missing} == {
        "clean",  # lips only
        "video missing 50 % (bursts)",
        "video missing 100 % (bursts)",
        "babble 0 dB + video missing 50 % (bursts)",
        "nothing there (unindicated)",
    }
    assert set(missing.values()) == {"ear takes audio only"}
    rows, missing = fitting_rows(suite_rows("quick"), ["av", "audio", "video"], "all")
    assert (rows, missing) == (suite_rows("quick"), {})


def test_curves_share_the_row_in_which_a_stream_is_wholly_missing() -> None:
    rows = suite_rows("full")
    told = [points for points in curve_rows(rows) if points[1][1].condition.mask_indicated]
    curves = {(points[1][1].condition.axis, points[1][1].condition.name): points for points in told}
    whole = row(Missing("video", "bursts", 1.0))
    for pattern in ("frame", "bursts", "utterance"):
        points = curves["video missing", pattern]
        assert [level for level, _ in points] == [0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0]
        assert (points[0][1], points[-1][1]) == (Row(), whole)
    assert [level for level, _ in curves["noise", "babble"]][-2:] == [10.0, None]
    assert [level for level, _ in curves["out of sync", "audio shift"]][3:6] == [-40, 0, 40]
    assert [level for level, _ in curves["video corrupted", "blur"]] == ["none", "light", "heavy"]
    assert all(one in rows for points in curve_rows(rows) for _, one in points)
    silent = [points for points in curve_rows(rows) if not points[1][1].condition.mask_indicated]
    assert {points[-1][1].condition.label for points in silent if points[-1][0] == 1.0} == {
        "video missing 100 % (bursts, unindicated)",
        "audio missing 100 % (bursts, unindicated)",
    }
    assert {same.name for same in shared_by(whole, rows)} == {
        "utterance",
        "frame",
        "start",
        "middle",
        "end",
        "interval",
    }
    assert shared_by(row(Missing("video", "bursts", 0.5)), rows) == []
