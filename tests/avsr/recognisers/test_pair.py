"""Two recognisers in one: which of them has the word, by what is there, how noisy, how sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avsr.base.errors import UsageError
from avsr.decoding import language
from avsr.decoding.words import Hypothesis, Word
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.recognisers import registry
from avsr.recognisers.base import Recogniser
from avsr.recognisers.pair import Pair, halves, stnr_db
from avsr.transcribing.engine import Listener
from avsr.transcribing.transcript import Transcript, segments

FRAMES = 50


class Saying(Recogniser):
    """Says its name and what it was asked with, as sure as it was told."""

    def __init__(self, name: str, sure: float, *modalities: str, calibrated: bool = False) -> None:
        self.name, self.sha256, self.sure = name, name, sure
        self.modalities, self.calibrated = modalities, calibrated
        self.asked: list[str] = []

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[Hypothesis]:
        self.asked.append(modality)
        found = []
        for clip in clips:
            start_s = clip.start_s + 0.4
            word = Word(f"{self.name}-{modality}", start_s, start_s + 0.2, self.sure, 1.0)
            found.append(Hypothesis(word.word, [word], self.sure))
        return found


def talking(noise: float = 0.0, *, heard: bool = True, seen: bool = True) -> Clip:
    """A voice that pauses, over noise."""
    rng = np.random.default_rng(1)
    level = np.repeat(np.where(np.arange(FRAMES) % 10 < 7, 0.2, 1e-3), SAMPLES_PER_FRAME)
    audio = level * rng.standard_normal(len(level)) + noise * rng.standard_normal(len(level))
    lips = np.zeros((FRAMES, 96, 96), np.uint8)
    there = np.ones(FRAMES, np.bool_)
    return Clip("x", audio.astype(np.float32), lips, there & heard, there & seen)


@pytest.fixture(autouse=True)
def everybody_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    always = lambda clip: (np.ones(clip.frames, np.bool_),) * 2  # noqa: E731
    monkeypatch.setattr(Pair, "activity", staticmethod(always))


def words(pair: Pair, clip: Clip, modality: str = "av") -> list[tuple[str, str | None]]:
    (said,) = pair.recognise([clip], modality)
    return [(word.word, word.source) for word in said.words]


def test_good_sound_is_the_firsts_and_what_is_missing_or_noisy_the_seconds():
    ear, eyes = Saying("ear", 0.9, "audio"), Saying("eyes", 0.7, "av", "video")
    pair = Pair(ear, eyes)
    assert (pair.name, pair.modalities) == ("ear+eyes", ("av", "audio", "video"))
    assert words(pair, talking()) == [("ear-audio", "ear")]
    assert eyes.asked == []  # what is heard well costs no reading
    assert words(pair, talking(noise=0.1)) == [("eyes-av", "eyes")]
    assert words(pair, talking(heard=False)) == [("eyes-video", "eyes")]
    assert words(pair, talking(), "video") == [("eyes-video", "eyes")]
    half = talking()
    half.audio_present[20:] = False
    assert words(pair, half) == [("eyes-av", "eyes")]
    assert words(pair, talking(noise=0.1), "audio") == [("ear-audio", "ear")]  # who else?
    assert words(pair, talking(heard=False, seen=False)) == []


def test_of_two_that_know_how_sure_they_are_the_surer_one_counts():
    ear = Saying("ear", 0.8, "audio")
    for sure, has_it in ((0.9, "few-av"), (0.7, "ear-audio")):
        few = Saying("few", sure, "av", "audio", "video", calibrated=True)
        few.domain = SimpleNamespace(judge=lambda words, speaking, origin_s: True)  # type: ignore[assignment]
        assert words(Pair(ear, few), talking())[0][0] == has_it
    for sure, has_it in ((0.6, "few-av"), (0.4, "ear-audio")):  # in noise it must be much surer
        few = Saying("few", sure, "av", "audio", "video", calibrated=True)
        assert words(Pair(ear, few), talking(noise=0.1))[0][0] == has_it


def test_who_cannot_tell_its_own_language_is_not_believed_where_the_sound_is_good():
    few = Saying("few", 0.9, "av", "audio", "video", calibrated=True)
    pair = Pair(Saying("ear", 0.2, "audio"), few)
    assert words(pair, talking()) == [("ear-audio", "ear")]
    assert words(pair, talking(noise=0.1)) == [("few-av", "few")]


def test_a_pair_in_a_pair_says_who_of_it_read_a_word():
    inner = Pair(Saying("ear", 0.9, "audio"), Saying("eyes", 0.7, "av", "video"))
    assert words(Pair(Saying("other", 0.9, "audio"), inner), talking(heard=False)) == [
        ("eyes-video", "eyes")
    ]


def test_without_a_lexicon_only_who_has_one_decodes_otherwise():
    ear = Saying("ear", 0.9, "audio")
    assert ear.without_lexicon() is ear  # letter by letter is no slower or worse search
    ours = registry.load("grid-whisper", "cpu")
    pair = Pair(ear, ours).without_lexicon()
    assert pair.first is ear
    assert pair.second.lexicon is None
    assert pair.second.without_lexicon() is pair.second


def test_a_plus_in_a_path_parts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+b c").mkdir()
    assert halves("a+b c") == ("a+b c", "")
    assert halves("faster-whisper:a+b c?beam=1+x+y") == ("faster-whisper:a+b c?beam=1", "x+y")
    assert halves("x+y+z") == ("x", "y+z")


def test_who_says_that_it_is_not_its_language_is_not_believed():
    few = Saying("few", 0.9, "av", "audio", "video", calibrated=True)
    few.domain = SimpleNamespace(judge=lambda words, speaking, origin_s: False)  # type: ignore[assignment]
    pair = Pair(Saying("ear", 0.2, "audio"), few)
    assert words(pair, talking()) == [("ear-audio", "ear")]
    assert words(pair, talking(noise=0.1)) == [("ear-audio", "ear")]
    assert words(pair, talking(heard=False)) == [("few-video", "few")]


def test_sources_are_told_in_the_json_and_only_there_where_there_are_several():
    pair = Pair(Saying("ear", 0.9, "audio"), Saying("eyes", 0.7, "av", "video"))
    clip = talking()
    listener = Listener(pair, "av", pair.recognise_part)
    found, present = listener.read([clip], lambda searched_s, done_s: None)
    own = segments(found, present.audio, present.video)
    body = Transcript("a", pair.name, 2.0, own).to_dict()
    assert body["segments"][0]["words"][0]["source"] == "ear"
    plain = segments([replace(word, source=None) for word in found], present.audio, present.video)
    assert "source" not in Transcript("a", "x", 2.0, plain).to_dict()["segments"][0]["words"][0]


def test_noise_is_measured_without_knowing_the_voice():
    assert stnr_db(talking()) > 30
    assert 4 < stnr_db(talking(noise=0.1)) < 12
    assert stnr_db(talking(heard=False)) == 0.0
    silent = talking()
    assert stnr_db(replace(silent, audio=np.zeros_like(silent.audio))) == 0.0


def test_a_pair_is_written_with_a_plus(monkeypatch: pytest.MonkeyPatch):
    pair = registry.load("default+default?beam=4", "cpu")
    assert isinstance(pair, Pair)
    assert pair.name == "grid-whisper+grid-whisper"
    assert pair.sha256 != registry.load("default+default", "cpu").sha256
    grammar = pair.with_decoding(language=language.load(grammar="grid"))
    assert "grammar grid" in grammar.about
    assert "grammar grid" not in pair.about
    with pytest.raises(UsageError, match="the second must work by lips alone"):
        Pair(Saying("a", 1, "audio"), Saying("b", 1, "audio"))
    with pytest.raises(UsageError, match="the first must work by sound alone"):
        Pair(Saying("a", 1, "video"), Saying("b", 1, "video"))
