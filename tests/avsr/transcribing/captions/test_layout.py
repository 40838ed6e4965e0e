"""Cues are readable, read back by another program, and lose nothing."""

from __future__ import annotations

from itertools import pairwise

import pysubs2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.base.errors import UsageError
from avsr.decoding.words import Word, join
from avsr.transcribing import writers
from avsr.transcribing.captions.formats import PLAIN, Style
from avsr.transcribing.captions.layout import Layout
from avsr.transcribing.transcript import Segment, Transcript


def transcript(words: list[Word]) -> Transcript:
    end_s = words[-1].end_s
    segment = Segment(words[0].start_s, end_s, join(words), 0.9, None, 1.0, 1.0, words)
    return Transcript("a.wav", "fake", end_s + 5.0, [segment])


def talk(
    texts: list[str], pause_s: float = 0.1, word_s: float = 0.3, glued: bool = False
) -> Transcript:
    words, at = [], 0.5
    for text in texts:
        words.append(Word(text, at, at + word_s, 0.9, 0.5, **({"glued": True} if glued else {})))
        at += word_s + pause_s
    return transcript(words)


def read_back(said: Transcript, format: str, style: Style = PLAIN) -> list[pysubs2.SSAEvent]:
    text = writers.RENDERERS[format](said, style)
    return list(pysubs2.SSAFile.from_string(text, format_=format))


def check(said: Transcript, format: str, style: Style = PLAIN) -> list[pysubs2.SSAEvent]:
    cues, layout = read_back(said, format, style), style.layout
    for cue in cues:
        lines = cue.plaintext.split("\n")
        assert len(lines) <= layout.lines
        assert all(0 < len(line) <= layout.chars for line in lines)
        assert 0 <= cue.duration <= layout.longest * 1000
    for cue, after in pairwise(cues):
        assert cue.end <= after.start
        enough = max(layout.shortest, min(len(cue.plaintext) / layout.speed, layout.longest))
        assert cue.duration >= enough * 1000 - 60 or cue.end == after.start
    shown = "".join("".join(cue.plaintext.split()) for cue in cues)
    assert shown == "".join("".join(segment.text.split()) for segment in said.segments)
    return cues


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_speech_without_long_pauses_is_cut_into_cues(format: str):
    words = ("bin blue at f two now lay green by z nine please " * 9).split()
    said = talk(words)
    assert said.duration_s > 43
    cues = check(said, format)
    assert all(cue.duration >= 1000 for cue in cues)
    for cue in cues:  # a cue is shown while its words are said
        first = cue.plaintext.split()[0]
        assert any(
            word.word == first and abs(word.start_s * 1000 - cue.start) < 1.01
            for word in said.segments[0].words
        )


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_cuts_are_made_in_pauses(format: str):
    words = [
        Word(f"word{i}", i * 0.5 + 0.6 * (i >= 9), i * 0.5 + 0.45 + 0.6 * (i >= 9), 0.9, 0.5)
        for i in range(16)
    ]
    first, second = check(transcript(words), format)
    assert first.plaintext.split()[-1] == "word8"
    assert second.plaintext.split()[0] == "word9"


@pytest.mark.parametrize("format", ["srt", "vtt"])
@pytest.mark.parametrize(
    ("texts", "glued"),
    [
        (["今天天气很好" * 40], False),
        (["今", "天", "天", "气", "很", "好"] * 40, True),
        (["Donaudampfschifffahrt" * 20, "ja"], False),
        (["a", "b" * 43, "c" * 42, "d" * 84, "e"], False),
        (["e\u0301" * 60], False),
    ],
)
def test_scripts_without_spaces_and_very_long_words(format: str, texts: list[str], glued: bool):
    check(talk(texts, word_s=3.0 if not glued else 0.2, pause_s=0.0, glued=glued), format)


def test_a_word_alone_is_shown_for_a_second():
    (cue,) = check(talk(["yes"], word_s=0.1), "srt")
    assert cue.duration == 1000
    end = transcript([Word("no", 4.95, 5.0, 0.9, 0.5)])
    end = Transcript("a", "b", 5.0, end.segments)
    (cue,) = check(end, "srt")
    assert (cue.start, cue.end) == (4000, 5000)


def test_a_text_that_is_not_that_of_its_words_is_kept():
    text = (
        "what somebody wrote instead of what was recognised, and rather more of it than there were "
        "words in it. " * 2
    )
    said = Transcript("a", "b", 20.0, [Segment(1.0, 19.0, text, 1.0, None, 1.0, 1.0, [])])
    check(said, "vtt")


SAID = st.tuples(st.text("abcÄ今", min_size=1, max_size=60), st.floats(0, 3), st.floats(0, 9))


@settings(max_examples=100, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=40))
def test_whatever_is_said_fits_and_is_complete(parts: list[tuple[str, float, float]]):
    words, at = [], 0.0
    for text, pause_s, word_s in parts:
        words.append(Word(text, at + pause_s, at + pause_s + word_s, 0.9, 0.5))
        at += pause_s + word_s
    check(transcript(words), "srt")


LAYOUTS = ["chars=20,lines=1", "chars=32,lines=3,longest=4", "shortest=2,longest=3,speed=10"]


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=20, deadline=None)
@given(parts=st.lists(SAID, min_size=1, max_size=20))
def test_any_layout_is_kept(layout: str, parts: list[tuple[str, float, float]]):
    words, at = [], 0.0
    for text, pause_s, word_s in parts:
        words.append(Word(text, at + pause_s, at + pause_s + word_s, 0.9, 0.5))
        at += pause_s + word_s
    check(transcript(words), "srt", Style(Layout.read(layout)))


def test_a_cue_stays_for_as_long_as_it_takes_to_read():
    words = ["what", "was", "said", "so", "fast", "that", "nobody", "could", "ever", "follow"]
    (cue,) = check(talk(words, pause_s=0.0, word_s=0.1), "srt")
    assert cue.duration == pytest.approx(len(" ".join(words)) / 20 * 1000, abs=60)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "We waited for the train, which came an hour too late.",
            ["We waited for the train,", "which came an hour too late."],
        ),
        (
            "she went down to the harbour to see the old ships go",
            ["she went down to the harbour", "to see the old ships go"],
        ),
    ],
)
def test_lines_end_where_a_reader_would_pause(text: str, lines: list[str]):
    (cue,) = read_back(talk(text.split(), pause_s=0.0), "srt")
    assert cue.plaintext.split("\n") == lines


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("lines=4", "layout lines=4: must be 1 to 3"),
        ("chars=9", "layout chars=9: must be 10 to 100"),
        ("chars=wide", "layout 'chars=wide': chars must be a whole number"),
        ("lines=1.5", "layout 'lines=1.5': lines must be a whole number"),
        ("speed=nan", "layout speed=nan: must be 5 to 100"),
        ("lines=1,lines=2", "layout 'lines=2': lines is there twice"),
        ("width=3", "layout 'width=3': give some of chars=42, lines=2, shortest=1"),
        ("shortest=5,longest=4", "layout shortest=5: is more than longest=4"),
    ],
)
def test_a_layout_that_makes_no_sense_is_one_line(text: str, told: str):
    with pytest.raises(UsageError, match=told):
        Layout.read(text)
