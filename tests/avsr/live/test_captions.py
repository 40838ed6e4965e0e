"""Captions while somebody speaks, by a recogniser whose words are known."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avsr.decoding.words import Hypothesis, Word
from avsr.live.captions import GUARD_S, Caption, Captioner
from avsr.live.session import Latency, Played, _in_time, live
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.media.streams import Piece
from avsr.preprocessing.media.ticks import Picture
from avsr.recognisers.base import Recogniser

WORD = 10  # frames of each spoken word


def loud(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    speaking = np.abs(clip.audio[::SAMPLES_PER_FRAME]) > 0.1
    return speaking, speaking


class Counter(Recogniser):
    """Says the number of each word that begins in a clip; the last one wrongly while it goes on."""

    name, sha256, modalities, longest_s = "counter", "0", ("audio",), 30.0
    activity = staticmethod(loud)

    def __init__(self) -> None:
        self.longest = 0

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[Hypothesis]:
        return [self._said(clip) for clip in clips]

    def _said(self, clip: Clip) -> Hypothesis:
        self.longest = max(self.longest, clip.frames)
        first, words = round(clip.start_s * FPS), []
        for frame in np.flatnonzero(loud(clip)[0]) + first:
            number, into = divmod(int(frame), WORD)
            if into == WORD // 2:
                heard = min(first + clip.frames, (number + 1) * WORD)
                text = f"w{number}" if heard == (number + 1) * WORD else f"cut{number}"
                words.append(Word(text, number * WORD / FPS, heard / FPS, 0.9, 1.0))
        return Hypothesis(" ".join(word.word for word in words), words, 0.9)


def recording(spoken: Sequence[tuple[int, int]], frames: int) -> Clip:
    level = np.zeros(frames, np.float32)
    for first, last in spoken:
        level[first:last] = 0.3
    lips = np.broadcast_to(np.uint8(0), (frames, CROP_SIZE, CROP_SIZE))
    there = np.ones(frames, np.bool_)
    return Clip("x", np.repeat(level, SAMPLES_PER_FRAME), lips, there, ~there)


def captions(whole: Clip, piece: int = 4, **options: object) -> list[Caption]:
    parts = [whole.window(i, min(i + piece, whole.frames)) for i in range(0, whole.frames, piece)]
    return list(Captioner(Counter(), **options)(parts))  # type: ignore[arg-type]


def final(found: Sequence[Caption]) -> list[str]:
    return [word.word for caption in found for word in caption.final]


@pytest.mark.parametrize("piece", [1, 4, 7])
def test_every_word_becomes_final_once_and_in_order(piece: int):
    found = captions(recording([(20, 120), (200, 260)], 330), piece)
    assert final(found) == [f"w{n}" for n in (*range(2, 12), *range(20, 26))]
    assert [caption.ended for caption in found].count(True) == 2


def test_a_word_is_shown_before_it_is_final_and_final_before_the_pause():
    found = captions(recording([(20, 120)], 200))
    (shown,) = [c.heard_s for c in found if any(w.word == "w4" for w in c.partial)][:1]
    (certain,) = [c.heard_s for c in found if any(w.word == "w4" for w in c.final)]
    assert 2.0 <= shown < certain < 4.0


def test_what_the_end_of_the_recording_cuts_off_is_not_final_yet():
    for caption in captions(recording([(0, 200)], 200))[:-1]:
        assert all(word.end_s <= caption.heard_s - GUARD_S for word in caption.final)
        assert not any(word.word.startswith("cut") for word in caption.final)


def test_a_long_utterance_is_not_heard_again_from_its_beginning():
    recogniser = Counter()
    whole = recording([(0, 1500)], 1500)
    parts = [whole.window(i, i + 4) for i in range(0, 1500, 4)]
    assert final(list(Captioner(recogniser)(parts))) == [f"w{n}" for n in range(150)]
    assert recogniser.longest < 8 * FPS


def test_a_recogniser_that_is_late_takes_along_what_waits():
    whole = recording([(20, 120)], 200)
    parts = [whole.window(i, i + 4) for i in range(0, 200, 4)]
    assert len(list(Captioner(Counter())(parts, lambda: True))) == 1


def test_silence_has_no_captions():
    assert captions(recording([], 200)) == []


def test_latency_counts_from_the_end_of_each_word():
    latency = Latency()
    one, two = (Word(text, at, at + 0.5, 1.0, 1.0) for text, at in (("a", 0.0), ("b", 0.5)))
    latency.add(Caption([], [one], False, 1.0), 1.0)
    latency.add(Caption([one], [two], False, 1.5), 2.0)
    latency.add(Caption([two], [], True, 1.5), 3.0)
    assert latency.shown_s == pytest.approx([0.5, 1.0])
    assert latency.final_s == pytest.approx([1.5, 2.0])


class Slow:
    """A source whose pieces were taken far too late."""

    def __init__(self, late_s: float) -> None:
        self.began_s = time.monotonic() - late_s - 4 / FPS
        picture = Picture.of_rgb(np.zeros((64, 64, 3), np.uint8))
        sound = np.zeros(4 * SAMPLES_PER_FRAME, np.float32)
        self.pieces = [Piece(0, [picture] * 4, sound, np.ones(4, np.bool_))]

    def __iter__(self) -> Iterator[Piece]:
        return iter(self.pieces)

    def close(self) -> None:
        pass


def test_a_machine_that_is_too_slow_leaves_lips_out_and_says_so():
    for late_s, unseen_s in ((-30.0, 0.0), (30.0, 4 / FPS)):
        latency = Latency()
        (piece,) = _in_time(Slow(late_s), latency)
        assert latency.unseen_s == pytest.approx(unseen_s)
        assert piece.video_present.all() == (not unseen_s)
    latency.final_s, latency.shown_s = [1.0], [1.0]
    assert "lips left out" in str(latency)


def test_a_file_is_captioned_at_the_speed_of_its_recording(tmp_path: Path):
    import soundfile

    path = tmp_path / "a.wav"
    soundfile.write(path, recording([(5, 25)], 30).audio, 16_000, subtype="PCM_16")
    latency, source = Latency(), Played(path)
    assert final(list(live(source, Counter(), latency=latency, step_s=0.2))) == ["w0", "w1"]
    assert all(late_s > 0 for late_s in latency.shown_s)
    assert all(a <= b for a, b in pairwise(sorted(latency.final_s)))
