"""Augmentation keeps sound, lips and words in step, and does what it says."""

from __future__ import annotations

from dataclasses import replace

import cv2
import librosa
import numpy as np
import pytest
import torch

from avsr.preprocessing.audio import LogMel, hz_to_mel, mel_to_hz
from avsr.training.config import AugmentConfig
from avsr.training.data.augmentation import augment
from avsr.training.data.augmentation.augment import Sample

STRAIGHT = {"picture": 0, "scale": 0, "rotate_deg": 0, "shift_px": 0, "warp_px": 0, "codec": 0}


def sample(
    number: int, frames: int = 50, words: tuple[str, ...] = ("bin", "blue", "now")
) -> Sample:
    """Lips and sound both hold the number of the frame, 100 x clip + frame, so that stretches can
    be recognised."""
    marks = 100 * number + np.arange(frames)
    starts = np.linspace(0.4, 1.6, len(words) + 1) + 0.04 * number
    return Sample(
        id=f"clip{number}",
        text=" ".join(f"{word}{number}" for word in words),
        speaker="s1",
        audio=np.repeat(marks, 640).astype(np.float32),
        lips=np.broadcast_to(
            (marks % 251).astype(np.uint8)[:, None, None], (frames, 96, 96)
        ).copy(),
        audio_present=np.ones(frames, bool),
        video_present=np.ones(frames, bool),
        words=[(f"{w}{number}", a, b) for w, a, b in zip(words, starts, starts[1:], strict=False)],
    )


@pytest.mark.parametrize("seed", range(8))
def test_splicing_keeps_sound_lips_and_words_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clips = [sample(0), sample(1), sample(2)]
    out = augment.splice(clips[0], clips[1:], rng)
    assert len(out.audio) == 640 * out.frames
    assert out.text == " ".join(word for word, _, _ in out.words)
    assert [word[:-1] for word in out.text.split()] == ["bin", "blue", "now"]
    heard = out.audio[320::640].round().astype(int)  # the middle of each frame, away from the seams
    np.testing.assert_array_equal(heard % 251, out.lips[:, 0, 0])
    for word, start, end in out.words:
        middle = int((start + end) / 2 * 25)
        # the word's time points into the clip it came from
        assert heard[middle] // 100 == int(word[-1])
        source = {w: (a + b) / 2 for w, a, b in clips[int(word[-1])].words}[word]
        assert abs(heard[middle] % 100 - source * 25) <= 1.5


def test_speed_moves_sound_lips_and_words_alike() -> None:
    out = augment.change_speed(sample(1), 1.25)
    assert out.frames == 40
    assert len(out.audio) == 640 * 40
    np.testing.assert_allclose(out.audio[320::640], 100 + np.arange(40) * 1.25, atol=1.5)
    np.testing.assert_allclose(out.lips[:, 0, 0], 100 + np.arange(40) * 1.25, atol=1)
    assert out.words[0][1] == pytest.approx(0.44 / 1.25)


def test_speed_that_changes_on_the_way_keeps_sound_lips_and_words_together() -> None:
    even, out = (
        augment.change_speed(sample(1), 0.8),
        augment.change_speed(sample(1), 0.8, np.array([1.0, 1.5, 0.7])),
    )
    assert abs(out.frames - even.frames) <= 1  # 62.5
    assert len(out.audio) == 640 * out.frames
    np.testing.assert_allclose(out.audio[320::640], out.lips[:, 0, 0], atol=1)
    shown = np.diff(out.lips[:, 0, 0].astype(int))
    assert shown.min() >= 0
    assert shown[:30].mean() > 1.3 * shown[-10:].mean()  # hurries first, slows down at the end
    for (word, start, end), (_, first, last) in zip(out.words, sample(1).words, strict=True):
        middle = int((start + end) / 2 * 25)
        assert first * 25 - 1 <= out.lips[middle, 0, 0] - 100 <= last * 25 + 1, word


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 7.5])
def test_noise_has_the_stated_level(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.05, 16000).astype(np.float32)
    noise = augment.coloured_noise(16000, 1.0, rng)
    mixed = augment.add_noise(speech, noise, snr_db)
    measured = 10 * np.log10(np.mean(speech**2) / np.mean((mixed - speech) ** 2))
    assert measured == pytest.approx(snr_db, abs=0.05)


@pytest.mark.parametrize("coder", augment.CODEC_KBPS)
@pytest.mark.parametrize("samples", [640, 30001])
def test_lossy_coders_change_the_sound_and_not_its_time(
    coder: str, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent and far too loud sound included."""
    monkeypatch.setattr(augment, "CODEC_KBPS", {coder: augment.CODEC_KBPS[coder]})
    rng, times = np.random.default_rng(0), np.arange(samples) / 16000
    speech = np.float32(
        sum(np.sin(2 * np.pi * times * (150 + 40 * times) * k) / k for k in range(1, 12)) / 5
    )
    for _ in range(3):
        coded = augment.codec(speech, rng)
        assert coded.shape == speech.shape
        assert coded.dtype == np.float32
        assert np.std(coded - speech) > 0.001
        if samples > 640:
            assert np.corrcoef(coded, speech)[0, 1] > 0.6
            later = np.corrcoef(coded[16:], speech[:-16])[0, 1]  # by a millisecond
            assert later < np.corrcoef(coded, speech)[0, 1] - 0.1
        assert np.abs(augment.codec(np.zeros(samples, np.float32), rng)).max() < 0.01
        assert np.abs(augment.codec(9 * speech, rng)).max() < 2


def test_noise_leaves_silence_alone() -> None:
    silence = np.zeros(1000, np.float32)
    assert augment.add_noise(silence, np.ones(1000, np.float32), 0.0) is silence


def test_a_room_keeps_the_voice_in_step_with_the_lips() -> None:
    click = np.zeros(8000, np.float32)
    click[4000] = 1
    room = np.zeros(2000, np.float32)
    room[300], room[900] = 1, 0.4  # the direct sound comes 300 samples late in the recording
    out = augment.channel(click, room, False, np.random.default_rng(0))
    assert len(out) == 8000
    assert int(np.argmax(np.abs(out))) == 4000


def test_masks_have_their_shapes_and_sometimes_take_everything() -> None:
    rng = np.random.default_rng(0)
    gone = np.array([augment.spans(75, rng).mean() for _ in range(400)])
    assert gone.min() < 0.15
    assert gone.max() > 0.9
    keep = augment.mel_keep(75, 80, 2, rng)
    assert keep.shape == (300, 80)
    assert 0.4 < keep.mean() < 1
    assert augment.mel_keep(75, 80, 0, rng).all()


def test_absences_are_spans_scattered_frames_or_a_comb() -> None:
    rng = np.random.default_rng(0)
    gone = [augment.absences(75, rng) for _ in range(400)]
    # separate absences in a clip
    runs = np.array([np.count_nonzero(np.diff(g.astype(int)) == 1) + g[0] for g in gone])
    assert 0.5 < (runs <= 3).mean() < 0.75  # mostly one to three spans
    assert (runs > 8).mean() > 0.25  # frames come and go
    shares = np.array([g.mean() for g in gone])
    assert shares.min() < 0.15
    assert shares.max() > 0.9


def test_a_compressed_picture_is_nearly_the_same() -> None:
    lips = cv2.GaussianBlur(
        np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8), (0, 0), 3
    )
    plain = lips[None].repeat(5, 0)
    config = AugmentConfig(**STRAIGHT | {"codec": 1})
    coded = augment.picture(plain, config, np.random.default_rng(1))
    assert coded.shape == plain.shape
    assert coded.dtype == np.uint8
    assert 0.3 < np.abs(coded.astype(float) - plain).mean() < 6


def test_something_before_the_mouth_leaves_the_given_picture_alone() -> None:
    plain = np.full((20, 96, 96), 7, np.uint8)
    config = AugmentConfig(picture=1, codec=0)
    hidden = [augment.picture(plain, config, np.random.default_rng(seed)) for seed in range(20)]
    assert (plain == 7).all()
    shares = [(lips != 7).mean() for lips in hidden]
    assert 4 < sum(share > 0 for share in shares) < 16
    assert max(shares) < 0.25


# ----------------------------------------------------------------------------- lips that do not fit


@pytest.mark.parametrize("frames", [3, -4, 0, 60, -60])
def test_lips_out_of_step_are_late_by_so_many_frames_and_the_sound_is_not(frames: int) -> None:
    before = sample(1)
    before.video_present[20] = False
    out = augment.out_of_sync(before, frames)
    assert out.audio is before.audio
    assert (out.words, out.text, out.frames) == (before.words, before.text, before.frames)
    np.testing.assert_array_equal(out.audio_present, before.audio_present)
    for t in range(50):
        shown = min(max(t - frames, 0), 49)  # late: at t one sees what happened before t
        assert out.lips[t, 0, 0] == 100 + shown
        assert out.video_present[t] == (shown != 20)
    assert before.lips[0, 0, 0] == 100


def test_one_words_lips_are_those_of_the_word_in_the_same_place_of_another_clip() -> None:
    before, other = (
        sample(0, words=("a", "lengthy", "place")),
        sample(1, words=("two", "to", "now")),
    )
    marks = np.arange(50)
    for place in range(3):
        out = augment.with_lips_of_a_word(before, place, other)
        shown = out.lips[:, 0, 0].astype(int)
        begin, end = (round(before.words[place][edge] * 25) for edge in (1, 2))
        first, last = (round(other.words[place][edge] * 25) for edge in (1, 2))
        np.testing.assert_array_equal(np.flatnonzero(shown != marks), np.arange(begin, end))
        assert shown[begin] == 100 + first
        assert set(shown[begin:end] - 100) <= set(range(first, last))
        np.testing.assert_array_equal(out.audio, before.audio)
        assert out.words == before.words
        hidden = replace(other, video_present=np.arange(50) < 0)
        gone = augment.with_lips_of_a_word(before, place, hidden).video_present
        np.testing.assert_array_equal(np.flatnonzero(~gone), np.arange(begin, end))
    np.testing.assert_array_equal(before.lips[:, 0, 0], marks)
    short = replace(other, words=[(word, 0.2, 0.201) for word, _, _ in other.words or ()])
    assert augment.with_lips_of_a_word(before, 1, short) is before


@pytest.mark.parametrize("frames", [30, 50, 80])
def test_the_lips_of_another_clip_are_held_or_cut_to_length(frames: int) -> None:
    before, other = sample(0), sample(1, frames)
    other.video_present[5], other.audio_present[:] = False, False
    out = augment.with_lips_of(before, other)
    assert out.audio is before.audio
    assert (out.id, out.words, out.text, out.frames) == (before.id, before.words, before.text, 50)
    assert len(out.video_present) == 50
    np.testing.assert_array_equal(out.audio_present, before.audio_present)
    np.testing.assert_array_equal(out.lips[:, 0, 0], [100 + min(t, frames - 1) for t in range(50)])
    assert np.flatnonzero(~out.video_present).tolist() == [5]


# ------------------------------------------------------------------------------------ another voice


def hum(f0: float = 125.0, formant: float = 1500.0, seconds: float = 2.0) -> np.ndarray:
    """Harmonics of f0 under one formant, in syllables of uneven length."""
    times = np.arange(int(16000 * seconds)) / 16000
    hz = f0 * np.arange(1, int(7000 / f0))
    level = 1 / (1 + ((hz - formant) / 250) ** 2)
    tone = (level * np.sin(2 * np.pi * hz * times[:, None] + np.arange(len(hz)))).sum(1)
    syllables = np.interp(
        times, np.linspace(0, seconds, 15), [0.05, 1, 0.2, 0.9, 0.05, 0.05, 0.6, 1, 0.1] + 6 * [0.4]
    )
    return (0.05 * tone * syllables).astype(np.float32)


def loudness(audio: np.ndarray) -> np.ndarray:
    """RMS over 40 ms, every 10 ms."""
    return np.sqrt(np.lib.stride_tricks.sliding_window_view(audio**2, 640)[::160].mean(1))


def formant_of(audio: np.ndarray) -> float:
    """Mean frequency, weighted by power, Hz; of one formant it is the middle."""
    power = np.abs(np.fft.rfft(audio)) ** 2
    return float((np.fft.rfftfreq(len(audio), 1 / 16000) * power).sum() / power.sum())


@pytest.mark.parametrize(
    ("pitch", "formants"),
    [(1.0, 1.2), (1.5, 1.0), (1.4, 1.15), (0.8, 1.0), (0.8, 0.92), (1.7, 0.95)],
)
def test_another_voice_has_the_pitch_and_the_formants_asked_for(
    pitch: float, formants: float
) -> None:
    before = hum()
    out = augment.change_voice(before, pitch, formants)
    f0 = librosa.yin(out, fmin=60, fmax=400, sr=16000, frame_length=1024)
    assert np.median(f0) == pytest.approx(125 * pitch, rel=0.02)
    assert formant_of(out) / formant_of(before) == pytest.approx(formants, rel=0.05)


@pytest.mark.parametrize("pitch", [0.8, 1.0, 1.3, 1.8])
def test_another_voice_says_the_same_at_the_same_time(pitch: float) -> None:
    before = hum()
    kept = before.copy()
    out = augment.change_voice(before, pitch, 1.1)
    np.testing.assert_array_equal(before, kept)
    assert out.shape == before.shape
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    a, b = loudness(before) - loudness(before).mean(), loudness(out) - loudness(out).mean()
    assert np.corrcoef(a, b)[0, 1] > 0.97
    assert abs(int(np.argmax(np.correlate(a, b, "full"))) - (len(a) - 1)) <= 1  # in step to 10 ms


def test_the_same_pitch_and_formants_are_the_same_voice() -> None:
    before = hum()
    out = augment.change_voice(before, 1.0, 1.0)
    assert np.abs(out - before).max() < 0.01 * np.abs(before).max()


@pytest.mark.parametrize("pitch", [0.8, 1.0, 1.8])
def test_silence_and_the_shortest_clip_survive_another_voice(pitch: float) -> None:
    assert np.abs(augment.change_voice(np.zeros(6400, np.float32), pitch, 1.1)).max() < 1e-4
    out = augment.change_voice(hum()[3200:3840], pitch, 1.1)
    assert out.shape == (640,)
    assert np.isfinite(out).all()


# ------------------------------------------------------------------------- joined, or nobody speaks


def spoken_frames(sample: Sample) -> list[int]:
    """The marks of all frames between the first word and the last one's end."""
    first, last = sample.words[0][1] * 25, sample.words[-1][2] * 25
    return [int(a) for t, a in enumerate(sample.audio[320::640]) if first - 0.5 < t < last + 0.5]


def test_joining_keeps_sound_lips_and_words_together_and_cuts_only_pause() -> None:
    first, second = sample(0), sample(1, frames=60)
    sources = {"0": first, "1": second}
    ends, begins = set(), set()
    for seed in range(60):
        out = augment.join(first, second, np.random.default_rng(seed))
        assert len(out.audio) == 640 * out.frames
        assert len(out.audio_present) == len(out.video_present) == out.frames
        assert (
            out.text == f"{first.text} {second.text}" == " ".join(word for word, _, _ in out.words)
        )
        heard = out.audio[320::640].round().astype(int)
        np.testing.assert_array_equal(heard % 251, out.lips[:, 0, 0])
        seam = int(np.flatnonzero(heard >= 100)[0])
        # nothing is cut but at the seam
        np.testing.assert_array_equal(heard[:seam], np.arange(seam))
        np.testing.assert_array_equal(heard[seam:], np.arange(heard[seam], 160))
        assert set(spoken_frames(first) + spoken_frames(second)) <= set(heard.tolist())
        for word, start, end in out.words:
            a, b = next((a, b) for w, a, b in sources[word[-1]].words if w == word)
            assert end - start == pytest.approx(b - a)
            assert int(heard[int(start * 25 + 1e-6)]) == 100 * int(word[-1]) + int(a * 25 + 1e-6)
        ends.add(seam)
        begins.add(int(heard[seam]) - 100)
    assert (min(ends), max(ends)) == (41, 50)  # the last word ends in frame 40 of 50
    assert (min(begins), max(begins)) == (0, 10)  # the first one starts in frame 11


@pytest.mark.parametrize("end", [2.0, 2.3])
def test_where_words_fill_the_clips_joining_cuts_nothing(end: float) -> None:
    first, second = sample(0), sample(1)
    # an alignment may go on after the clip
    first = replace(first, words=[*first.words[:-1], ("now0", 1.2, end)])
    second = replace(second, words=[("bin1", 0.0, 0.5), *second.words[1:]])
    for seed in range(5):
        out = augment.join(first, second, np.random.default_rng(seed))
        assert out.frames == 100
        assert out.words[3] == ("bin1", 2.0, 2.5)


def test_joining_carries_the_masks_of_each_half() -> None:
    first, second = sample(0), sample(1)
    first.audio_present[:], second.video_present[:] = False, False
    out = augment.join(first, second, np.random.default_rng(1))
    seam = int(out.audio_present.argmax())
    assert out.audio[640 * seam + 320] >= 100 > out.audio[640 * seam - 320]
    assert out.audio_present.tolist() == [False] * seam + [True] * (out.frames - seam)
    assert out.video_present.tolist() == [True] * seam + [False] * (out.frames - seam)


def test_where_nobody_speaks_there_is_no_text_no_speech_and_no_moving_mouth() -> None:
    rng = np.random.default_rng(0)
    levels, pictures = [], set()
    for _ in range(60):
        before = sample(3)
        noise = rng.normal(0, 5.0, 640 * before.frames).astype(np.float32)
        out = augment.without_speech(before, noise, rng)
        assert (out.text, out.words) == ("", [])
        assert out.frames == before.frames
        assert out.audio.shape == before.audio.shape
        assert out.audio.dtype == np.float32
        assert out.lips.dtype == np.uint8
        assert (out.lips == out.lips[0]).all()
        levels.append(float(out.audio.std()))
        assert levels[-1] < 10**-0.6
        # the noise, and nothing of the clip
        assert abs(np.corrcoef(out.audio + 1e-9 * noise, noise)[0, 1]) > 0.99
        pictures.add(int(out.lips[0, 0, 0]))
        np.testing.assert_array_equal(out.audio_present, before.audio_present)
        np.testing.assert_array_equal(out.video_present, before.video_present)
    assert pictures == {0, 49}  # black, or the first picture of the clip
    assert 0 < sum(level == 0 for level in levels) < len(levels)
    silent = np.zeros(640 * 50, np.float32)
    assert not augment.without_speech(sample(3), silent, rng).audio.any()


# ------------------------------------------------------------------------------- vocal tract length


def warped(mel: np.ndarray, factor: float) -> np.ndarray:
    """Independent of the code: each bin read at `factor` times its centre in Hz, linear between the
    bins' places."""
    bins = mel.shape[1]
    centres = np.arange(1, bins + 1) / (bins + 1)
    hz = mel_to_hz(torch.from_numpy(centres).double()) * factor
    places = hz_to_mel(hz).numpy()
    return np.stack([np.interp(places, centres, row) for row in mel])


@pytest.mark.parametrize("factor", [0.86, 0.97, 1.0, 1.05, 1.16])
def test_formants_move_as_an_interpolation_says(factor: float) -> None:
    mel = np.random.default_rng(0).normal(size=(2, 12, 80)).astype(np.float32)
    out = augment.warp_mel(torch.from_numpy(mel), torch.tensor([factor, 1.0]))
    np.testing.assert_allclose(out[0].numpy(), warped(mel[0], factor), atol=2e-3)
    # each clip has its own factor; 1 changes nothing
    np.testing.assert_allclose(out[1].numpy(), mel[1], atol=2e-3)


def test_a_longer_vocal_tract_has_lower_formants() -> None:
    """A tone of 1200 Hz, read by a factor of 1.2 from higher bins, looks like one of 1000 Hz."""
    log_mel = LogMel()
    times = torch.arange(640 * 25) / 16000

    def loudest(hz: float, factor: float) -> int:
        mel = log_mel.power(torch.sin(2 * torch.pi * hz * times)[None]).clamp_min(1e-10).log10()
        return int(augment.warp_mel(mel, torch.tensor([factor]))[0, 50].argmax())

    assert abs(loudest(1200, 1.2) - loudest(1000, 1.0)) <= 1
    assert abs(loudest(2400, 0.8) - loudest(3000, 1.0)) <= 1
    assert loudest(1200, 1.2) < loudest(1200, 1.0) < loudest(1200, 0.8)
    absent = augment.warp_mel(
        log_mel(torch.zeros(1, 640 * 25), torch.zeros(1, 25, dtype=torch.bool)), torch.tensor([1.1])
    )
    assert not absent.any()  # what is absent stays zero


def test_warping_reads_nothing_from_beyond_the_highest_bin() -> None:
    mel = torch.arange(80.0).expand(1, 4, 80)
    out = augment.warp_mel(mel, torch.tensor([1.15]))
    assert out.max() == 79
    assert (out.diff(dim=-1) >= 0).all()
    assert (out >= mel - 1e-3).all()  # from higher bins
    assert (augment.warp_mel(mel, torch.tensor([0.87])) <= mel + 1e-3).all()
