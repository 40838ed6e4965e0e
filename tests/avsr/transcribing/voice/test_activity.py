"""Silence, noise, music and mouths at rest are no words; speech, however soft or noisy, stays."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import avsr
from avsr.decoding.language import load
from avsr.decoding.words import Word
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.reader import load_clip
from avsr.preprocessing.synthetic.corpus import make_clip
from avsr.recognisers.ours import NetworkRecogniser
from avsr.transcribing.engine import Listener
from avsr.transcribing.voice.activity import (
    GAP,
    HOLD,
    mean_around,
    motion,
    somebody,
    spoken,
    stretches,
)

LENGTH_S = 10
TIMES_S = np.arange(LENGTH_S * SAMPLE_RATE) / SAMPLE_RATE


@pytest.fixture(scope="module")
def model() -> NetworkRecogniser:
    return avsr.load_model(device="cpu")


def clicks(count: int, decay_s: float, level: float) -> np.ndarray:
    """Decaying bursts of noise, as of a keyboard."""
    rng = np.random.default_rng(2)
    sound, each = np.zeros(len(TIMES_S)), 2000
    for at in rng.integers(0, len(sound) - each, count):
        decay = np.exp(-np.arange(each) / (decay_s * SAMPLE_RATE))
        sound[at : at + each] += level * rng.uniform(0.4, 1) * rng.standard_normal(each) * decay
    return sound


def melody(
    harmonics: int, note_s: float, decay: float, vibrato: float = 0.0, chord: tuple[int, ...] = (0,)
):
    """Notes of the major scale, drawn at random."""
    rng = np.random.default_rng(1)
    times_s = np.arange(round(note_s * SAMPLE_RATE)) / SAMPLE_RATE
    notes = []
    for step in rng.choice([0, 2, 4, 5, 7, 9, 11, 12], round(LENGTH_S / note_s)):
        sound = np.zeros(len(times_s))
        for voice in chord:
            phase = 2 * np.pi * 220 * 2 ** ((step + voice) / 12) * times_s
            phase += vibrato * np.sin(2 * np.pi * 5.5 * times_s)
            sound += sum(np.sin(n * phase) / n for n in range(1, harmonics + 1))
        notes.append(sound * np.minimum(1, times_s / 0.02) * np.exp(-decay * times_s))
    return 0.3 * np.concatenate(notes) / np.abs(notes).max()


def noise(level: float) -> np.ndarray:
    return level * np.random.default_rng(4).standard_normal(len(TIMES_S))


def pink(level: float) -> np.ndarray:
    spectrum = np.fft.rfft(noise(1.0))
    sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(1, np.arange(len(spectrum)))), len(TIMES_S))
    return level * sound / sound.std()


def hum() -> np.ndarray:
    return 0.05 * sum(np.sin(2 * np.pi * 50 * n * TIMES_S) / n for n in (1, 2, 3, 5, 7))


NON_SPEECH = {
    "typing": lambda: clicks(60, 0.03, 0.3),
    "loud typing": lambda: clicks(60, 0.004, 0.8),
    "applause": lambda: clicks(4000, 0.004, 0.05),
    "melody": lambda: melody(6, 0.4, 3),
    "whistling": lambda: melody(1, 0.5, 0),
    "strings": lambda: melody(10, 0.8, 0.3, vibrato=1.0),
    "chords": lambda: melody(6, 0.8, 1, chord=(0, 4, 7)),
    "white noise": lambda: noise(0.1),
    "faint noise": lambda: noise(1e-4),
    "one bit of noise": lambda: np.random.default_rng(0).integers(-1, 2, len(TIMES_S)) / 32768,
    "pink noise": lambda: pink(0.1),
    "breath": lambda: pink(0.05) * np.maximum(0, np.sin(2 * np.pi * 0.3 * TIMES_S)) ** 2,
    "noise that comes and goes": lambda: noise(0.1) * (0.5 + 0.5 * np.sin(2 * np.pi * 4 * TIMES_S)),
    "hum": hum,
    "sweep": lambda: 0.3 * np.sin(2 * np.pi * (100 + 345 * TIMES_S) * TIMES_S),
    "siren": lambda: (
        0.3 * np.sin(2 * np.pi * np.cumsum(700 + 300 * np.sin(np.pi * TIMES_S)) / SAMPLE_RATE)
    ),
    "beeps": lambda: 0.3 * np.sin(2 * np.pi * 1000 * TIMES_S) * (TIMES_S % 0.5 < 0.1),
}


def heard(model: NetworkRecogniser, folder: Path, sound: np.ndarray) -> list[str]:
    """What a sound file becomes, with the greedy search and with a grammar."""
    path = folder / "sound.wav"
    soundfile.write(path, np.clip(sound, -1, 1), SAMPLE_RATE)
    return [model.transcribe(path, language=spoken).text for spoken in (None, load(grammar="grid"))]


def test_ten_seconds_of_zeros_are_no_words(model: NetworkRecogniser, tmp_path: Path):
    assert heard(model, tmp_path, np.zeros(len(TIMES_S))) == ["", ""]


def around_a_minute_of_zeros(path: Path) -> np.ndarray:
    sound = load_clip(path, video=False).audio
    return np.concatenate([sound, np.zeros(60 * SAMPLE_RATE, np.float32), sound])


def test_a_sentence_a_minute_of_zeros_and_the_sentence_again(
    model: NetworkRecogniser, tmp_path: Path
):
    make_clip(tmp_path / "demo.mp4", seed=0)
    once = model.transcribe(tmp_path / "demo.mp4", modality="audio").text
    assert len(once.split()) == 6
    greedy, grammar = heard(model, tmp_path, around_a_minute_of_zeros(tmp_path / "demo.mp4"))
    assert greedy == f"{once} {once}"
    assert len(grammar.split()) == 12


def test_a_real_sentence_a_minute_of_zeros_and_the_sentence_again(
    model: NetworkRecogniser, shared: Path, tmp_path: Path
):
    sound = around_a_minute_of_zeros(shared / "data" / "grid" / "s1" / "bbaf2n.mp4")
    assert heard(model, tmp_path, sound) == ["bin blue at f two now bin blue at f two now"] * 2


@pytest.mark.parametrize("kind", NON_SPEECH)
def test_what_is_not_speech_is_no_words(model: NetworkRecogniser, tmp_path: Path, kind: str):
    assert heard(model, tmp_path, NON_SPEECH[kind]()) == ["", ""]


@pytest.mark.parametrize("number", range(1, 6))
def test_recorded_noise_is_no_words(model: NetworkRecogniser, shared: Path, number: int):
    assert model.transcribe(shared / "data" / "noise" / f"noise{number}.wav").text == ""


# Mouths at rest, of a head that sways, in light that flickers, and filmed by a poor sensor.
FILMS = {
    "still": "null",
    "moving camera": "scale=720:-2,crop=640:512:40+20*sin(4*t):32+15*sin(7*t),scale=360:288",
    "turning head": "rotate=0.06*sin(3*t)",
    "flicker": "eq=brightness=0.08*sin(12*t):eval=frame",
    "poor sensor": "noise=alls=12:allf=t",
}


@pytest.mark.parametrize("kind", FILMS)
@pytest.mark.parametrize("sound", ["none", "zeros"])
def test_a_mouth_at_rest_says_nothing(
    model: NetworkRecogniser, shared: Path, ffmpeg: str, tmp_path: Path, kind: str, sound: str
):
    clip = shared / "data" / "grid" / "s1" / "bbaf2n.mp4"
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", clip, "-frames:v", "1", tmp_path / "still.png"], check=True
    )
    track = ["-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono"] if sound == "zeros" else []
    picture = ["-loop", "1", "-framerate", "25", "-i", tmp_path / "still.png"]
    shape = ["-t", "3", "-vf", FILMS[kind], "-pix_fmt", "yuv420p", tmp_path / "film.mp4"]
    subprocess.run([ffmpeg, "-v", "error", *picture, *track, *shape], check=True)
    found = model.transcribe(tmp_path / "film.mp4")
    assert found.text == ""
    assert "no words recognised" in found.warnings


def grid_clips(shared: Path, count: int) -> list[Clip]:
    """Clips of several speakers."""
    root = shared / "data" / "grid-others"
    names = (root / "val.txt").read_text().split() + (root / "train.txt").read_text().split()[::20]
    return [load_clip(root / f"{name}.mp4") for name in names[:: max(1, len(names) // count)]]


@pytest.fixture(scope="module")
def sentences(shared: Path) -> list[Clip]:
    folder = shared / "data" / "grid" / "s1"
    names = ("bbaf2n", "bbal7s", "bbas1s", "bbaszn", "bbaf3s")
    return [load_clip(folder / f"{name}.mp4") for name in names]


@pytest.mark.parametrize("seconds", [1, 2, 3])
def test_a_pause_without_sound_is_no_word(
    model: NetworkRecogniser, sentences: list[Clip], seconds: float
):
    """Pauses of editors, noise gates and black screens: zeros, without lips or with the last
    picture."""
    frames = round(25 * seconds)
    for modality in ("audio", "av"):
        apart = [hypothesis.text for hypothesis in model.recognise(sentences, modality)]
        for standing in (False, True):
            parts = []
            for clip in sentences:
                lips = np.repeat(clip.lips[-1:], frames, 0)
                there = np.full(frames, standing)
                pause = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
                parts += [clip, Clip("pause", pause, lips, np.ones(frames, bool), there)]
            listener = Listener(model, modality, model.recognise_part)
            found = listener.read(parts, lambda searched_s, done_s: None)[0]
            assert " ".join(word.word for word in found) == " ".join(apart)


def test_a_mouth_in_another_place_after_a_black_screen_did_not_move():
    lips = np.zeros((80, CROP_SIZE, CROP_SIZE), np.uint8)
    lips[:40, 40:60] = lips[40:, 60:80] = 200
    present = np.ones(80, bool)
    present[30:50] = False
    clip = Clip(
        "x", np.zeros(80 * SAMPLES_PER_FRAME, np.float32), lips, np.zeros(80, bool), present
    )
    assert not somebody(clip)[0].any()


def test_speech_that_is_soft_or_noisy_is_all_looked_at(shared: Path):
    rng = np.random.default_rng(0)
    for clip in grid_clips(shared, 8):
        level = np.sqrt((clip.audio**2).mean())
        # -5 dB
        noisy = clip.audio + rng.normal(0, level * 10 ** (5 / 20), len(clip.audio)).astype(
            np.float32
        )
        for sound in (clip.audio, 0.01 * clip.audio, np.clip(noisy, -1, 1)):
            for there in (clip.video_present, np.zeros(clip.frames, bool)):
                found, _ = somebody(
                    replace(clip, audio=sound.astype(np.float32), video_present=there)
                )
                assert found[clip.frames // 4 : -clip.frames // 3].all()


def test_a_mouth_that_speaks_is_seen_without_sound(shared: Path):
    for clip in grid_clips(shared, 8):
        found, _ = somebody(replace(clip, audio_present=np.zeros(clip.frames, bool)))
        assert found[clip.frames // 4 : -clip.frames // 3].mean() > 0.9


def test_what_is_absent_is_not_looked_at():
    rng = np.random.default_rng(0)
    lips = rng.integers(0, 255, (20, 8, 8), dtype=np.uint8).repeat(12, 1).repeat(12, 2)
    absent = np.zeros(20, bool)
    clip = Clip("x", np.zeros(20 * SAMPLES_PER_FRAME, np.float32), lips, absent, ~absent)
    assert np.all(somebody(clip))
    assert not np.any(somebody(replace(clip, video_present=absent)))
    assert not np.any(somebody(clip.window(0, 0)))


def test_a_picture_that_stands_does_not_move():
    grey = np.full((30, CROP_SIZE, CROP_SIZE), 90, np.uint8)
    assert motion(grey) == pytest.approx(np.zeros(30))
    assert motion(grey[:0]).shape == (0,)
    assert motion(grey[:1]) == pytest.approx([0])


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 2 * GAP)), max_size=8))
def test_stretches_hold_all_there_is_and_no_long_silence(runs: list[tuple[bool, int]]):
    active = np.repeat([there for there, _ in runs], [frames for _, frames in runs]).astype(bool)
    inside = np.zeros(len(active), bool)
    end = 0
    for first, last in stretches(active, np.ones(len(active), bool)):
        assert end <= first < last <= len(active)
        inside[first:last] = True
        end = last
        silent, longest = 0, 0
        for there in active[first:last]:
            silent = 0 if there else silent + 1
            longest = max(longest, silent)
        assert longest <= GAP
    assert inside[active].all()


def test_a_word_that_is_sure_is_believed_without_another_sign():
    def word(start_s: float, confidence: float) -> Word:
        return Word("now", start_s, start_s + 0.2, confidence, 1.0)

    clip = Clip(
        "x",
        np.zeros(250 * SAMPLES_PER_FRAME, np.float32),
        np.zeros((250, CROP_SIZE, CROP_SIZE), np.uint8),
        np.ones(250, bool),
        np.zeros(250, bool),
        start_s=100.0,
    )
    speaking = np.zeros(250, bool)
    speaking[:45] = True
    words = [
        word(101, 0.1),
        word(103, 0.6),
        word(105.15, 0.3),
        word(105.4, 0.99),
        word(109, 0.6),
        word(109.95, 0.2),
    ]
    assert spoken(words, clip, speaking) == [words[0], words[2], words[3]]
    assert spoken(words, clip, speaking, sure=1.0) == [words[0]]


def test_a_doubted_word_needs_more_than_to_be_near():
    """In a pause between two sentences, amid quiet sound and before a still mouth, recognisers make
    up words; those at its edges lie in the half second that is added around what was found."""
    frames = 5 * FPS
    clip = Clip(
        "x",
        np.zeros(frames * SAMPLES_PER_FRAME, np.float32),
        np.zeros((frames, CROP_SIZE, CROP_SIZE), np.uint8),
        np.ones(frames, bool),
        np.ones(frames, bool),
    )
    found = np.zeros(frames, bool)
    found[25:50] = found[75:100] = True
    speaking = mean_around(found, 2 * HOLD + 1) > 0
    words = [Word(f"{at}", at, at + 0.3, 0.6, 1.0) for at in (0.6, 1.0, 1.6, 2.1, 2.6, 3.1, 4.1)]
    kept = [word.word for word in spoken(words, clip, speaking)]
    assert kept == ["1.0", "1.6", "3.1"]
    # where no confidence is worth believing nothing is doubted
    assert [word.word for word in spoken(words, clip, speaking, sure=1.0)] == [
        word.word for word in words
    ]


def test_a_pause_is_recognised_with_what_lies_around_it():
    active = np.zeros(1000, bool)
    active[100:150] = active[150 + GAP : 260] = active[600:650] = True
    present = np.ones(1000, bool)
    assert list(stretches(active, present)) == [(100, 260), (600, 650)]
    present[:105] = present[645:] = False  # what has neither sound nor lips is left out at the ends
    assert list(stretches(active, present)) == [(105, 260), (600, 645)]
    assert list(stretches(active, np.zeros(1000, bool))) == []


def test_a_sentence_read_from_lips_alone_is_not_parted_where_the_mouth_rests(tmp_path: Path):
    make_clip(tmp_path / "demo.mp4", seed=0)
    clip = load_clip(tmp_path / "demo.mp4", audio=False)
    rest = slice(40, 60)
    lips = clip.lips.copy()
    lips[rest] = lips[rest.start]
    speaking, perceptible = somebody(replace(clip, lips=lips))
    assert not speaking.all()
    assert perceptible.all()
    still = np.repeat(lips[:1], clip.frames, axis=0)
    assert not somebody(replace(clip, lips=still))[1].any()  # nothing but rest is nothing to read
