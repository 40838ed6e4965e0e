"""Coloured subtitles, read back by other programs."""

from __future__ import annotations

import html
import re

import pysubs2
import pytest
import webvtt

from avsr.decoding.words import Word, join
from avsr.transcribing.captions.colours import COLOURS, colour
from avsr.transcribing.captions.formats import Style, ass, srt, vtt
from avsr.transcribing.transcript import Segment, Transcript

WORDS = [
    Word("heard", 0.5, 0.9, 0.99, 0.9),
    Word("perhaps", 1.0, 1.4, 0.7, 0.9),
    Word("a<b", 1.5, 1.9, 0.2, 0.9),
    Word("lips", 2.0, 2.4, 0.95, 0.1),
    Word("maybe", 2.5, 2.9, 0.6, 0.1),
    Word("{x}", 3.0, 3.4, 0.3, 0.1),
    Word("\\N", 3.5, 3.9, 0.3, 0.0),
]
SAID = Transcript(
    "talks/film, of {us}.mp4",
    "fake",
    9.0,
    [Segment(0.5, 3.9, join(WORDS), 0.6, "Ann, Bo", 1.0, 1.0, WORDS)],
)
HIGHLIGHT = Style(highlight=True)


def test_words_of_vtt_have_the_classes_that_its_style_block_colours():
    text = vtt(SAID, HIGHLIGHT)
    (cue,) = webvtt.from_string(text)
    assert html.unescape(cue.text).split() == [
        "heard",
        "perhaps",
        "a<b",
        "lips",
        "maybe",
        "{x}",
        "\\N",
    ]
    assert (cue.start, cue.end) == ("00:00:00.500", "00:00:03.900")
    classes = re.findall(r"<c\.([\w-]+)>", cue.raw_text)
    assert classes == [colour(word).name for word in WORDS]
    (style,) = webvtt.from_string(text).styles
    assert all(f"::cue(.{name}) {{ color: #" in style.text for name in classes)


def test_words_of_ass_have_the_colours():
    (event,) = pysubs2.SSAFile.from_string(ass(SAID, HIGHLIGHT), format_="ass")
    assert event.plaintext.replace("\u2060", "").split() == [
        *("Ann,", "Bo:", "heard", "perhaps", "a<b", "lips", "maybe", "\uff5bx\uff5d", "\\N"),
    ]
    shown = re.findall(r"\{\\c&H(..)(..)(..)&\\u(\d)\}", event.text)
    expected = [colour(word) for word in WORDS]
    assert [f"#{red}{green}{blue}" for blue, green, red, _ in shown] == [c.rgb for c in expected]
    assert [line == "1" for *_, line in shown] == [c.underlined for c in expected]
    assert event.name == "Ann  Bo"
    assert (event.start, event.end) == (500, 3900)


def test_ass_without_colours_is_plain():
    (event,) = pysubs2.SSAFile.from_string(ass(SAID), format_="ass")
    assert event.text.startswith("Ann, Bo: heard perhaps")
    assert "::cue" not in vtt(SAID)


def test_what_a_colour_says():
    assert [colour(word).meaning for word in WORDS[:6]] == [c.meaning for c in COLOURS.values()]


@pytest.mark.parametrize("kind", COLOURS.values(), ids=lambda kind: kind.name)
def test_colours_can_be_read_on_black(kind):
    """Contrast as WCAG 2.2 defines it, 7 for its level AAA."""
    channels = [int(kind.rgb[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    assert (luminance + 0.05) / 0.05 >= 7


def test_who_speaks_is_said_once_and_both_are_shown_where_two_do_at_once():
    said = [(0.0, 3.0, "Ann"), (3.2, 4.0, "Ann"), (3.5, 5.0, "Bo")]
    words = [[Word(f"word{n}", start, end, 0.9, 1.0)] for n, (start, end, _) in enumerate(said)]
    segments = [
        Segment(start, end, join(spoken), 0.9, who, 1.0, 1.0, spoken)
        for (start, end, who), spoken in zip(said, words, strict=True)
    ]
    transcript = Transcript("a.mp4", "fake", 9.0, segments)
    events = list(pysubs2.SSAFile.from_string(srt(transcript), format_="srt"))
    assert [event.text for event in events] == ["Ann: word0", "word1", "Bo: word2"]
    assert [(event.start, event.end) for event in events][1:] == [(3000, 4000), (3500, 5000)]
    voices = [cue.voice for cue in webvtt.from_string(vtt(transcript))]
    assert voices == ["Ann", "Ann", "Bo"]
