"""Words where one speaker follows another without a pause."""

from __future__ import annotations

import numpy as np

from avsr.decoding.words import Word
from avsr.preprocessing.clip import FPS
from avsr.transcribing.speakers.seams import BEYOND_FRAMES, beyond, own_words

FRAMES = 8 * FPS


def turn(first_s: float, end_s: float) -> np.ndarray:
    flags = np.zeros(FRAMES, np.bool_)
    flags[round(first_s * FPS) : round(end_s * FPS)] = True
    return flags


def word(text: str, start_s: float, end_s: float) -> Word:
    return Word(text, start_s, end_s, 0.9, 1.0)


def test_who_stops_in_a_pause_hears_nothing_beyond():
    assert not beyond(turn(1, 3), voice=turn(1.2, 2.8) | turn(3.2, 6)).any()


def test_a_voice_that_runs_on_is_heard_for_a_second_more_at_most():
    assert beyond(turn(1, 3), turn(0, 3.4)).tolist() == (turn(0, 1) | turn(3, 3.4)).tolist()
    assert beyond(turn(2, 3), turn(0, 8)).sum() == 2 * BEYOND_FRAMES


def test_a_word_at_the_seam_is_there_once():
    """Both heard it, at times that differ a little; and what lies further beyond is the other's."""
    ann = [word("five", 2.4, 2.9), word("now", 2.8, 3.16), word("bin", 3.3, 3.8)]
    bo = [word("five", 2.4, 2.9), word("now", 2.82, 3.22), word("bin", 3.3, 3.8)]
    turns = [turn(1, 3), turn(3, 6)]
    said = own_words([ann, bo], turns, voice=turn(1, 6))
    assert [[one.word for one in words] for words in said] == [["five", "now"], ["bin"]]


def test_a_word_at_the_seam_that_each_takes_for_the_others_is_kept():
    ann, bo = [word("now", 2.84, 3.2)], [word("now", 2.8, 3.18)]
    said = own_words([ann, bo], [turn(1, 3), turn(3, 6)], voice=turn(1, 6))
    assert [[one.word for one in words] for words in said] == [["now"], []]


def test_words_outside_all_turns_stay_where_no_voice_runs_on():
    """A recogniser may tell the times of its words badly."""
    said = own_words([[word("now", 5, 6)]], [turn(1, 3)], voice=turn(1, 2))
    assert [one.word for one in said[0]] == ["now"]
