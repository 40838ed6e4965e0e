"""Which segments are of the model's language, and whether the file is."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.decoding.domain import Domain
from avsr.decoding.grammar import load_grammar
from avsr.decoding.words import Word
from avsr.preprocessing.clip import FPS
from avsr.transcribing.domains import judged, told
from avsr.transcribing.transcript import Segment, segments

DOMAIN = Domain((1.0, 4.0, -6.0), -5.0, load_grammar("grid").follows())
OWN, OTHER = "bin blue at f two now", "two at now at red by"


def file(
    *sentences: tuple[str, float], seconds: float, spoken: list[tuple[float, float]]
) -> tuple[list[Segment], np.ndarray]:
    """Segments of sentences that begin at given seconds, with a word every 0.3 s, and where
    somebody speaks."""
    words = []
    for text, start_s in sentences:
        for n, word in enumerate(text.split()):
            at = start_s + 0.3 * n
            words.append(Word(word, at, at + 0.3, 0.9, 1.0))
    present = np.ones(round(seconds * FPS), np.bool_)
    speaking = np.zeros(len(present), np.bool_)
    for start_s, end_s in spoken:
        speaking[round(start_s * FPS) : round(end_s * FPS)] = True
    return segments(words, present, present), speaking


@pytest.mark.parametrize(
    ("sentences", "seconds", "spoken", "flags", "whole"),
    [
        ([(OWN, 1)], 4, [(0.5, 3.3)], [True], True),
        ([(OTHER, 1)], 4, [(0.5, 3.3)], [False], False),
        ([(OWN, 1), (OTHER, 8)], 12, [(0.5, 3.3), (7.5, 10.3)], [True, False], True),
        (
            [(OWN, 1), (OTHER, 8), (OTHER, 12)],
            15,
            [(0.5, 3.3), (7, 15)],
            [True, False, False],
            False,
        ),
        # a sentence of its own in ten minutes of speech that it finds no words in
        ([(OWN, 1)], 600, [(0.5, 3.3), (5, 600)], [True], False),
        # words in speech most of which it finds no words for
        ([(OWN, 3)], 8, [(0, 8)], [False], False),
        ([], 10, [(1, 9)], [], False),
        ([], 10, [], [], None),
        ([], 10, [(1, 2)], [], None),
        ([(OWN, 1)], 4, [], [True], True),
    ],
)
def test_segments_and_file(sentences, seconds, spoken, flags, whole) -> None:
    found, speaking = file(*sentences, seconds=seconds, spoken=spoken)
    marked, in_domain = judged(found, speaking, DOMAIN)
    assert [segment.in_domain for segment in marked] == flags
    assert in_domain is whole
    assert [segment.words for segment in marked] == [segment.words for segment in found]


def test_only_other_speech_is_told() -> None:
    assert told(None, "m", "") == told(True, "m", "") == []
    (line,) = told(False, "m", "")
    assert "language of the model m;" in line
