"""Long recordings in segments between pauses, for recognisers of any family."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from avsr.base.errors import AvsrError, UsageError
from avsr.decoding.words import Hypothesis, Word
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME, Clip
from avsr.recognisers.base import Recogniser
from avsr.transcribing.engine import Listener
from avsr.transcribing.pauses import between_pauses


def recording(spoken: Sequence[tuple[int, int]], frames: int) -> Clip:
    """Loud where somebody speaks."""
    level = np.full(frames, 1e-3, np.float32)
    for first, last in spoken:
        level[first:last] = 0.3
    lips = np.broadcast_to(np.uint8(0), (frames, CROP_SIZE, CROP_SIZE))
    there = np.ones(frames, np.bool_)
    return Clip("x", np.repeat(level, SAMPLES_PER_FRAME), lips, there, ~there)


def loud(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
    speaking = clip.audio[::SAMPLES_PER_FRAME] > 0.1
    return speaking, speaking


class Counting(Recogniser):
    """Says for each clip when it begins and ends, and makes up a word in silence."""

    name, sha256, modalities, longest_s = "counting", "0", ("audio",), 6.0
    activity = staticmethod(loud)

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[Hypothesis]:
        found = []
        for clip in clips:
            first = round(clip.start_s * FPS)
            self.asked.append((first, first + clip.frames))
            said = [Word("said", clip.start_s, clip.start_s + 0.2, 0.9, 1.0)]
            quiet = np.flatnonzero(~loud(clip)[0])
            if len(quiet):
                at_s = clip.start_s + float(quiet[len(quiet) // 2]) / FPS
                said.append(Word("thanks", at_s, at_s + 1 / FPS, 0.9, 1.0))
            found.append(Hypothesis(" ".join(word.word for word in said), said, 0.9))
        return found


def cut_up(clip: Clip, piece: int) -> list[Clip]:
    return [clip.window(i, min(i + piece, clip.frames)) for i in range(0, clip.frames, piece)]


@pytest.mark.parametrize("piece", [40, 150, 5000])
def test_segments_lie_between_pauses_and_are_never_too_long(piece: int):
    spoken = [(10, 60), (100, 220), (300, 700), (760, 790)]
    clip, recogniser = recording(spoken, 900), Counting()
    listener = Listener(recogniser, "audio", recogniser.recognise_part)
    parts = list(listener.parts(cut_up(clip, piece)))
    assert sum(part.frames for part, _ in parts) == 900
    assert [part.start_s for part, _ in parts] == sorted(part.start_s for part, _ in parts)
    assert all(last - first <= 150 for first, last in recogniser.asked)
    heard = np.zeros(900, np.bool_)
    for first, last in recogniser.asked:
        assert not heard[first:last].any()  # nothing is recognised twice
        heard[first:last] = True
    assert heard[loud(clip)[0]].all()  # nothing that is said is left out
    whole = {(10, 60), (100, 220), (760, 790)}  # where there are pauses, none is cut
    assert whole <= set(recogniser.asked)


def test_words_where_nobody_speaks_are_dropped_and_counted():
    clip, recogniser = recording([(10, 60), (80, 120)], 140), Counting()
    listener = Listener(recogniser, "audio", recogniser.recognise_part)
    words, present = listener.read([clip], lambda searched_s, done_s: None)
    assert [word.word for word in words] == ["said"]
    assert listener.remarks == ["1 word dropped where no voice was heard and no mouth moved"]
    assert present.frames == 140


class Wild(Counting):
    """Places its words out of order and beyond what it was given."""

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[Hypothesis]:
        said = [Word("late", 1.0, 99.0, 0.9, 1.0), Word("early", -3.0, -1.0, 0.9, 1.0)]
        return [Hypothesis("late early", said, 0.9) for _ in clips]


def test_words_lie_in_the_file_and_follow_each_other_wherever_a_recogniser_places_them():
    recogniser = Wild()
    listener = Listener(recogniser, "audio", recogniser.recognise_part)
    words, _ = listener.read([recording([(0, 60)], 60)], lambda searched_s, done_s: None)
    assert [(word.word, word.start_s, word.end_s) for word in words] == [
        ("late", 1.0, 2.4),
        ("early", 1.0, 1.0),
    ]


def test_who_only_reads_lips_says_so_of_a_file_without_a_picture(tmp_path: Path, monkeypatch):
    import soundfile

    import avsr

    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lips_alone.py").write_text(
        "def see(lips, **_): return 'seen'\nsee.modalities = ('video',)\n"
    )
    soundfile.write(tmp_path / "a.wav", recording([(0, 50)], 50).audio, 16_000)
    with pytest.raises(AvsrError, match=r"a\.wav: no picture, and python:.* takes nothing else"):
        avsr.load_model("python:lips_alone:see").transcribe(tmp_path / "a.wav")


def test_an_endless_talk_is_cut_at_its_quietest_place():
    clip = recording([(0, 400)], 400)
    clip.audio.reshape(400, -1)[120:124] = 0.15
    parts: list[int] = []

    def hear(part: Clip, speaking: np.ndarray) -> Hypothesis:
        parts.append(part.frames)
        return Hypothesis("", [], 0.0)

    list(between_pauses([clip], hear, loud, 150))
    assert abs(parts[0] - 122) <= 3
    assert sum(parts) == 400


def test_any_family_takes_media_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import soundfile

    import avsr

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_asr_for_files.py").write_text(
        "def hear(audio, **_): return f'{len(audio)} samples heard'\nhear.modalities = ('audio',)\n"
    )
    monkeypatch.setattr("avsr.recognisers.function.PythonFunction.activity", staticmethod(loud))
    soundfile.write("a.wav", recording([(0, 50)], 50).audio, 16_000)
    model = avsr.load_model("python:my_asr_for_files:hear")
    found = model.transcribe("a.wav")
    assert found.text == "32000 samples heard"
    (segment,) = found.segments
    times = [(word.start_s, word.end_s) for word in segment.words]
    assert times[0][0] == 0.0
    assert times[-1][1] == 2.0
    assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(times))
    assert [one.text for one in model.transcribe_many(["a.wav", "a.wav"])] == [found.text] * 2
    with pytest.raises(AvsrError, match="knows no modality 'video'; it takes audio"):
        model.transcribe("a.wav", modality="video")
    with pytest.raises(UsageError, match="takes no beam"):
        model.transcribe("a.wav", beam=4)
