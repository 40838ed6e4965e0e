"""Who speaks when, from made-up cosines."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.preprocessing.clip import FPS
from avsr.transcribing.speakers.turns import ALONE, FITS, Evidence, Turns, find_turns

GOOD, FAIR, BAD = FITS + 0.25, (FITS + ALONE) / 2, FITS - 0.3
SECONDS = 12
FRAMES = SECONDS * FPS


def evidence(
    *fits: str,
    spells: tuple[str, ...] = (),
    voice: str = "v" * SECONDS,
    mute: str = "",
    several: str = "",
) -> Evidence:
    """One letter a second: for a person + fits the sound, = hardly and - does not; for their lips
    a dot is a closed mouth, _ one that cannot be seen; v is a voice, 2 two voices; m no sound."""
    spells = spells or tuple("s" * SECONDS for _ in fits)

    def seconds(text: str, sign: str) -> np.ndarray:
        return np.repeat([letter == sign for letter in text.ljust(SECONDS)], FPS)

    fit = np.stack([np.where(seconds(text, "+"), GOOD, BAD) for text in fits])
    fit[np.stack([seconds(text, "=") for text in fits])] = FAIR
    lips = np.stack([seconds(text, "s") for text in spells])
    return Evidence(
        fit.astype(np.float32).reshape(len(fits), FRAMES),
        lips,
        lips,
        ~np.stack([seconds(text, "_") for text in spells]),
        seconds(voice, "v"),
        seconds(mute, "m"),
        seconds(several, "2").astype(np.float32),
    )


def by_second(turns: Turns) -> list[str]:
    """Whose each second is, in its middle: numbers of persons, - for off screen."""
    at = np.arange(SECONDS) * FPS + FPS // 2
    whose = ["".join(str(n) for n, own in enumerate(turns.persons[:, t]) if own) for t in at]
    return [who + "-" * bool(off) for who, off in zip(whose, turns.off_screen[at], strict=True)]


def test_the_face_whose_lips_fit_speaks_though_both_mouths_move():
    turns = find_turns(evidence("++++++------", "------++++++"))
    assert by_second(turns) == list("000000111111")
    assert turns.spoken.tolist() == [6 * FPS, 6 * FPS]
    assert not turns.together.any()


def test_a_voice_that_runs_on_while_its_face_is_hidden_is_the_same():
    """Somebody turns away, or the camera shows who listens: up to the next pause."""
    hidden, listens = "ss____ssssss", "............"
    turns = find_turns(evidence("++----++++++", "------------", spells=(hidden, listens)))
    assert by_second(turns) == list("000000000000")
    pauses = evidence(
        "++------++++", "------------", spells=("ss______ssss", listens), voice="vvvv v vvvvv"
    )
    assert by_second(find_turns(pauses))[:6] == list("0000--")


def test_a_voice_off_screen_is_nobodys_who_is_seen():
    turns = find_turns(evidence("++----++++++", "------------", spells=("ss....ssssss", "." * 12)))
    assert by_second(turns) == list("00----000000")


def test_a_voice_that_nobodys_lips_fit_is_off_screen():
    still = "." * SECONDS
    turns = find_turns(evidence("++++--------", "------------", spells=("ssss........", still)))
    assert by_second(turns) == list("0000--------")


def test_lips_that_hardly_fit_speak_where_no_other_mouth_moves():
    turns = find_turns(
        evidence("====----====", "----====----", spells=("ssss....ssss", "....ssssssss"))
    )
    assert by_second(turns) == list("00001111----")


def test_turns_of_a_second_are_told():
    assert by_second(find_turns(evidence("+-" * 6, "-+" * 6))) == list("01" * 6)


def test_a_moment_that_does_not_fit_is_no_turn():
    found = evidence("++++++++++++", "------------")
    found.fit[0, 100:104], found.fit[1, 100:104] = BAD, GOOD
    assert by_second(find_turns(found)) == list("0" * SECONDS)


def test_a_turn_ends_in_the_pause_between_two_voices():
    found = evidence("++++++------", "------++++++", spells=("ssssss......", "......ssssss"))
    found.voice[140:150] = False  # the first lips rest, and the second do not move yet
    turns = find_turns(found)
    assert turns.persons[0, :144].all()
    assert turns.persons[1, 146:].all()


def test_where_two_voices_sound_the_two_whose_lips_fit_speak_together():
    turns = find_turns(evidence("++++====----", "----++++++++", several="    2222    "))
    assert by_second(turns) == ["0"] * 4 + ["01"] * 4 + ["1"] * 4
    assert turns.together[4 * FPS + 5 : 8 * FPS - 5].all()
    assert not turns.together[: 4 * FPS - 5].any()


def test_where_one_voice_sounds_nobody_speaks_beside_another_though_their_lips_fit_too():
    turns = find_turns(evidence("++++++++----", "----++++++++"))
    assert not turns.together.any()
    assert not turns.persons.all(axis=0).any()


def test_the_second_of_two_voices_is_of_those_who_move_their_lips_the_one_that_fits_best():
    rests, talks = "." * SECONDS, "s" * SECONDS
    fits = "+" * SECONDS, "=" * SECONDS, "-" * SECONDS, "=" * SECONDS
    lips = talks, talks, talks, rests
    found = evidence(*fits, spells=lips, several=" " * 4 + "2222")
    assert by_second(find_turns(found)) == ["0"] * 4 + ["01"] * 4 + ["0"] * 4


def test_the_second_voice_is_off_screen_where_only_one_mouth_moves():
    still = "." * SECONDS
    lips = "s" * SECONDS, still
    found = evidence("+" * SECONDS, "-" * SECONDS, spells=lips, several=" " * 4 + "2222")
    turns = find_turns(found)
    assert by_second(turns) == ["0"] * 4 + ["0-"] * 4 + ["0"] * 4
    assert turns.together.sum() == 4 * FPS


def test_a_moment_of_two_voices_brings_nobody_from_off_screen():
    found = evidence("+" * SECONDS, spells=("s" * SECONDS,))
    found.several[100 : 100 + FPS // 2] = 1
    turns = find_turns(found)
    assert not turns.off_screen.any()


def test_without_sound_the_lips_of_each_tell():
    silent = evidence("------------", "------------", voice="", mute="m" * SECONDS)
    turns = find_turns(silent)
    assert by_second(turns) == ["01"] * SECONDS
    assert turns.spoken.tolist() == [0, 0]


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_short_films_and_films_of_nobody(frames):
    nobody = np.zeros((0, frames))
    turns = find_turns(
        Evidence(
            nobody.astype(np.float32),
            nobody.astype(bool),
            nobody.astype(bool),
            nobody.astype(bool),
            np.ones(frames, bool),
            np.zeros(frames, bool),
            np.zeros(frames, np.float32),
        )
    )
    assert turns.off_screen.all()
    assert turns.persons.shape == (0, frames)
