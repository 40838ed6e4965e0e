"""Each corruption of the sound against a re-implementation from its description; none of them moves
it in time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.eval.conditions import noise as noises
from avsr.eval.conditions.audio import AUDIO_CORRUPTIONS, AudioCorruption, convolved
from avsr.eval.conditions.axes import corrupted_audio
from avsr.eval.conditions.noise import CannotBuild, Corpus
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.media.codecs import CODECS

SEED = 17
RATE = 16_000
STEPS = corrupted_audio()


def voice(id: str = "k1", frames: int = 75, level: float = 0.1) -> Clip:
    """Something like vowels: harmonics of a gliding pitch under moving formants, in syllables;
    16-bit steps."""
    rng = np.random.default_rng(list(id.encode()))
    time = np.arange(frames * SAMPLES_PER_FRAME) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 30 * np.sin(2 * np.pi * time * 0.7 + rng.random())) / RATE
    formant = 700 + 300 * np.sin(2 * np.pi * time * 2.3)
    audio = sum(
        np.sin(n * phase + n * n) * (1 / (1 + ((n * 120 - formant) / 150) ** 2) + 0.1 / n + 0.02)
        for n in range(1, 28)
    )
    audio = audio * np.maximum(np.sin(2 * np.pi * time * 3.1), 0) + rng.normal(0, 0.01, len(time))
    audio = (
        np.round(level * audio / np.sqrt(np.mean(audio**2) if frames else 1) * 32_768).clip(
            -32_768, 32_767
        )
        / 32_768
    )
    there = np.ones(frames, np.bool_)
    lips = np.zeros((frames, 96, 96), np.uint8)
    return Clip(id, audio.astype(np.float32), lips, there, there.copy())


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """With two impulse responses whose direct sound is not their first sample."""
    rng = np.random.default_rng(5)
    responses = {}
    for name, direct in (("a.wav", 40), ("b.wav", 333)):
        tail = rng.normal(0, 0.05, 6000) * np.exp(-np.arange(6000) / 1500)
        responses[name] = np.concatenate([np.zeros(direct), [0.8], np.zeros(60), tail]).astype(
            np.float32
        )
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(noises, "_read_noise", lambda path: responses[path.name])
    return Corpus([], lambda id: np.zeros(0, np.float32), rir_dir=tmp_path)


def corrupted(clip: Clip, kind: str, level: str, corpus: Corpus, seed: int = SEED) -> Clip:
    try:
        return AudioCorruption(kind, level).apply(clip, seed, corpus)
    except CannotBuild as error:
        pytest.skip(str(error))


def lag(before: np.ndarray, after: np.ndarray, low_hz: float = 300, high_hz: float = 2500) -> int:
    """Samples by which `after` comes later, by cross-correlation in a band that everything lets
    through."""
    size = 2 * len(before)
    hertz = np.fft.rfftfreq(size, 1 / RATE)
    cross = (
        np.fft.rfft(after, size)
        * np.fft.rfft(before, size).conj()
        * ((hertz > low_hz) & (hertz < high_hz))
    )
    place = int(np.argmax(np.fft.irfft(cross, size)))
    return place - size if place > size // 2 else place


def likeness(before: np.ndarray, after: np.ndarray) -> float:
    """Correlation at no shift."""
    return float(before @ after / np.linalg.norm(before) / np.linalg.norm(after))


# ---- what holds for all of them


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.label)
def test_the_sound_alone_is_changed_and_stays_in_step(
    step: AudioCorruption, corpus: Corpus
) -> None:
    clip = voice()
    before = clip.audio.copy()
    after = corrupted(clip, step.kind, step.level, corpus)
    assert (clip.audio == before).all()
    assert (after.audio != clip.audio).any()
    assert np.abs(after.audio).max() <= 1
    assert after.lips is clip.lips
    assert after.audio_present is clip.audio_present
    assert after.video_present is clip.video_present
    assert abs(lag(clip.audio, after.audio)) <= 16  # 1 ms


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.label)
def test_the_same_seed_gives_the_same_bits_and_another_one_others_where_it_is_said_to_matter(
    step: AudioCorruption, corpus: Corpus
) -> None:
    clip = voice("k3", 50)
    first, again = (corrupted(clip, step.kind, step.level, corpus).audio for _ in range(2))
    assert (first == again).all()
    others = [corrupted(clip, step.kind, step.level, corpus, seed).audio for seed in range(30, 34)]
    assert any((other != first).any() for other in others) == step.seeded


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_very_short_and_silent_clips_pass_through(frames: int, corpus: Corpus) -> None:
    for step in STEPS:
        assert corrupted(voice("k5", frames), step.kind, step.level, corpus).frames == frames
        silent = voice("k5", frames, level=0)
        assert not corrupted(silent, step.kind, step.level, corpus).audio.any()


@pytest.mark.parametrize("kind", AUDIO_CORRUPTIONS)
def test_heavy_is_less_like_the_sound_than_light(kind: str, corpus: Corpus) -> None:
    clips = [voice(f"k{n}", 50) for n in range(3)]
    light, heavy = (
        np.mean(
            [likeness(clip.audio, corrupted(clip, kind, level, corpus).audio) for clip in clips]
        )
        for level in AUDIO_CORRUPTIONS[kind].levels
    )
    assert heavy < light < 1


def test_frames_without_sound_stay_without(corpus: Corpus) -> None:
    clip = voice("k6")
    clip.audio_present[30:40] = False
    clip.audio[30 * SAMPLES_PER_FRAME : 40 * SAMPLES_PER_FRAME] = 0
    for step in STEPS:
        after = corrupted(clip, step.kind, step.level, corpus)
        assert not after.audio[30 * SAMPLES_PER_FRAME : 40 * SAMPLES_PER_FRAME].any()


def test_mistakes_are_told_with_what_is_allowed() -> None:
    with pytest.raises(AvsrError, match=r"'wind'.*choose one of packet loss"):
        AudioCorruption("wind", "light")
    with pytest.raises(AvsrError, match=r"opus.*'medium'.*light, heavy"):
        AudioCorruption("opus", "medium")


# ---- packets and clipping


def lost_packets(clip: Clip, level: str, corpus: Corpus, seed: int = SEED) -> np.ndarray:
    noisy = Clip(
        clip.id, clip.audio + np.float32(2), clip.lips, clip.audio_present, clip.video_present
    )
    return ~corrupted(noisy, "packet loss", level, corpus, seed).audio.reshape(-1, 320).any(axis=1)


@pytest.mark.parametrize(("level", "share"), [("light", 0.1), ("heavy", 0.3)])
@pytest.mark.parametrize("frames", [1, 7, 75])
def test_exactly_the_stated_share_of_20_ms_packets_is_lost(
    level: str, share: float, frames: int, corpus: Corpus
) -> None:
    clip = voice("k7", frames)
    after = corrupted(clip, "packet loss", level, corpus)
    lost = lost_packets(clip, level, corpus)
    assert lost.sum() == int(share * 2 * frames + 0.5)
    assert not after.audio[np.repeat(lost, 320)].any()
    assert (after.audio == clip.audio)[~np.repeat(lost, 320)].all()
    assert after.audio_present.all()  # nobody says so
    assert not AudioCorruption("packet loss", level).mask_indicated


def test_packets_are_lost_in_runs_and_more_of_them_at_the_heavier_level(corpus: Corpus) -> None:
    for seed in range(10):
        light, heavy = (
            lost_packets(voice("k8"), level, corpus, seed) for level in ("light", "heavy")
        )
        assert (heavy | ~light).all()
        runs = np.diff(
            np.flatnonzero(np.diff(np.concatenate([[False], heavy, [False]]).astype(int)))
        )[::2]
        assert set(runs.tolist()) <= {3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45}


def test_concealment_repeats_the_last_packet_and_fades_within_60_ms(corpus: Corpus) -> None:
    clip = voice("k9")
    after = corrupted(clip, "packet loss concealed", "heavy", corpus).audio.reshape(-1, 320)
    lost = lost_packets(clip, "heavy", corpus)
    packets = clip.audio.reshape(-1, 320)
    since, last = 0, np.zeros(320)
    for index, gone in enumerate(lost):
        if gone:
            fade = np.maximum(1 - (since * 320 + np.arange(320)) / 960, 0)
            assert after[index] == pytest.approx(last * fade, abs=1e-6)
            since += 1
        else:
            assert (after[index] == packets[index]).all()
            since, last = 0, packets[index]


@pytest.mark.parametrize(("level", "gain_db"), [("light", 12), ("heavy", 24)])
def test_clipping_drives_the_sound_into_its_peak(
    level: str, gain_db: float, corpus: Corpus
) -> None:
    clip = voice()
    peak = np.abs(clip.audio).max()
    expected = np.clip(clip.audio * 10 ** (gain_db / 20), -peak, peak)
    assert np.abs(corrupted(clip, "clipping", level, corpus).audio - expected).max() < 0.03 * peak


# ---- bands and rooms


@pytest.mark.parametrize(
    ("level", "low_hz", "high_hz"), [("light", 300, 3400), ("heavy", 500, 2000)]
)
def test_the_band_is_the_stated_one(
    level: str, low_hz: float, high_hz: float, corpus: Corpus
) -> None:
    time = np.arange(75 * SAMPLES_PER_FRAME) / RATE
    for hertz in (60, low_hz - 150, low_hz + 100, 1000, high_hz - 100, high_hz + 150, 6000):
        clip = voice()
        clip.audio[:] = 0.2 * np.sin(2 * np.pi * hertz * time)
        after = corrupted(clip, "band limit", level, corpus)
        middle = slice(1000, -1000)
        gain_db = 20 * math.log10(np.std(after.audio[middle]) / np.std(clip.audio[middle]))
        assert gain_db == pytest.approx(0, abs=0.3) if low_hz < hertz < high_hz else gain_db < -40


def test_convolution_is_exact_at_full_scale() -> None:
    rng = np.random.default_rng(1)
    audio, response = rng.integers(-32_768, 32_768, 48_000), rng.integers(-32_768, 32_768, 16_000)
    expected = np.convolve(audio[:3000], response[:2000])  # whole numbers: exact
    assert (convolved(audio[:3000], response[:2000]) == expected).all()
    whole = convolved(audio, response)
    for place in (0, 777, 20_000, 55_000, 63_998):
        first, last = max(place - 15_999, 0), min(place, 47_999)
        assert (
            whole[place]
            == audio[first : last + 1] @ response[place - last : place - first + 1][::-1]
        )


@pytest.mark.parametrize(
    ("level", "rt60_s", "direct_db"), [("light", 0.4, 3.0), ("heavy", 1.0, -6.0)]
)
def test_the_made_room_has_the_stated_reverberation(
    level: str, rt60_s: float, direct_db: float, corpus: Corpus
) -> None:
    clip = voice()
    clip.audio[:] = 0
    clip.audio[2000] = 0.5  # a clap
    after = corrupted(clip, "reverberation", level, corpus).audio.astype(float)
    assert not after[:2000].any()
    assert np.argmax(np.abs(after)) == 2000
    direct, tail = after[2000], after[2001:]
    assert 10 * np.log10(direct**2 / (tail @ tail)) == pytest.approx(direct_db, abs=0.3)
    # Schroeder 1965
    decay_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / (tail @ tail) + 1e-12)
    fall = np.flatnonzero((decay_db < -5) & (decay_db > -25))
    slope = np.polyfit(fall / RATE, decay_db[fall], 1)[0]
    assert -60 / slope == pytest.approx(rt60_s, rel=0.1)
    assert np.linalg.norm(after) == pytest.approx(0.5, rel=0.01)  # as loud as before


def test_a_recorded_room_is_the_recording_with_its_direct_sound_in_place(corpus: Corpus) -> None:
    clip = voice()
    found = {}
    for level, nearer in (("heavy", 1.0), ("light", 2.0)):
        after = corrupted(clip, "recorded room", level, corpus).audio
        errors = []
        for path in corpus.rir_files():
            response = corpus.noise(path).astype(float)
            direct = int(np.argmax(response))
            response[direct] *= nearer
            expected = np.convolve(clip.audio, response)[direct:][: len(clip.audio)]
            expected *= np.linalg.norm(clip.audio) / np.linalg.norm(expected)
            errors.append(np.abs(after - expected / max(1, np.abs(expected).max())).max())
        found[level] = int(np.argmin(errors))
        assert min(errors) < 2e-3 < max(errors)
    assert found["light"] == found["heavy"]  # the same room
    drawn = {
        corrupted(clip, "recorded room", "heavy", corpus, seed).audio.tobytes()
        for seed in range(10)
    }
    assert len(drawn) == 2  # both of them are used


def test_without_recordings_there_is_no_recorded_room(tmp_path: Path) -> None:
    for folder in (None, tmp_path):
        empty = Corpus([], lambda id: np.zeros(0, np.float32), rir_dir=folder)
        with pytest.raises(CannotBuild, match="recorded rooms need a folder"):
            AudioCorruption("recorded room", "light").apply(voice(), SEED, empty)
        AudioCorruption("reverberation", "light").apply(voice(), SEED, empty)


# ---- codecs


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_keeps_the_sound_in_step_and_what_it_says(codec: str, corpus: Corpus) -> None:
    for start in (0, 1000):  # a whole number of the codec's frames or not
        clip = voice("k2")
        clip.audio[:] = np.roll(clip.audio, start)
        for level, alike in (("light", 0.8), ("heavy", 0.6)):
            after = corrupted(clip, codec, level, corpus).audio
            assert abs(lag(clip.audio, after)) <= 16
            assert likeness(clip.audio, after) > alike
            assert np.std(after) == pytest.approx(np.std(clip.audio), rel=0.35)


def test_a_codec_loses_neither_the_first_nor_the_last_sound(corpus: Corpus) -> None:
    for codec in CODECS:
        clip = voice("k4", frames=25)
        clip.audio[:] = voice("k4", frames=50).audio[3200:19200]
        after = corrupted(clip, codec, "light", corpus).audio
        for part in (slice(0, 1600), slice(-1600, None)):
            ratio = np.std(after[part]) / max(np.std(clip.audio[part]), 1e-4)
            assert np.std(clip.audio[part]) < 0.01 or 0.3 < ratio < 2


def test_a_codec_that_ffmpeg_has_not_got_cannot_be_built(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setitem(CODECS, "opus", replace(CODECS["opus"], encoder="libnothing"))
    with pytest.raises(CannotBuild, match=r"codec opus.*FFmpeg"):
        AudioCorruption("opus", "light").apply(voice(), SEED, corpus)
