"""Stand-ins for other speakers: pitch, pace and mouth change as stated, and sound and lips stay in
step."""

from __future__ import annotations

from dataclasses import replace

import librosa
import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.eval.conditions.axes import Condition, Missing, Noise, other_speakers
from avsr.eval.conditions.identity import Identity
from avsr.eval.conditions.noise import Corpus
from avsr.eval.conditions.speakers import SPEAKERS, Speaker
from avsr.preprocessing.clip import CROP_SIZE, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip

FRAMES = 75
PITCH_HZ = 125
ALL = other_speakers()


def burst(at: int = 30) -> Clip:
    """A buzz of 125 Hz, loud from frame ``at`` to the tenth after it, while the lips are bright."""
    loud = (np.arange(FRAMES) >= at) & (np.arange(FRAMES) < at + 10)
    phase = np.arange(FRAMES * SAMPLES_PER_FRAME) * PITCH_HZ / SAMPLE_RATE % 1
    level = np.repeat(np.where(loud, 0.5, 0.01), SAMPLES_PER_FRAME)
    columns = np.tile(np.linspace(0, 40, CROP_SIZE), (CROP_SIZE, 1))
    return Clip(
        id="burst",
        audio=((phase - 0.5) * level).astype(np.float32),
        lips=(columns + np.where(loud, 200, 10)[:, None, None]).astype(np.uint8),
        audio_present=np.ones(FRAMES, bool),
        video_present=np.arange(FRAMES) > 2,
    )


@pytest.fixture
def corpus() -> Corpus:
    return Corpus(["burst"], lambda _: burst().audio)


def middle(values: np.ndarray) -> float:
    """Where the loud or bright part lies, as a share of the whole."""
    where = np.flatnonzero(values > values.max() / 2)
    return (where.mean() + 0.5) / len(values)


def pitch_hz(audio: np.ndarray) -> float:
    loud = np.flatnonzero(np.abs(audio) > 0.3 * np.abs(audio).max())
    return float(
        np.median(librosa.yin(audio[loud[0] : loud[-1]], fmin=60, fmax=400, sr=SAMPLE_RATE))
    )


@pytest.mark.parametrize("speaker", ALL, ids=lambda speaker: speaker.label)
def test_sound_and_lips_stay_in_step(speaker: Speaker, corpus: Corpus) -> None:
    clip = burst()
    before = clip.lips.copy(), clip.audio.copy()
    out = speaker.apply(clip, 17, corpus)
    factor = (
        SPEAKERS[speaker.kind].levels[speaker.level][0]
        if speaker.kind in ("faster", "slower")
        else 1.0
    )
    assert out.frames == round(FRAMES / factor)
    clip_ms = 1000 * out.duration_s
    heard = middle(np.abs(out.audio).reshape(-1, 160).mean(axis=1))
    shown = middle(out.lips.reshape(out.frames, -1).mean(axis=1))
    assert abs(heard - shown) * clip_ms < 50
    assert abs(heard - middle(np.abs(clip.audio))) * clip_ms < 50
    assert out.video_present.sum() == pytest.approx(72 / factor, abs=1)
    np.testing.assert_array_equal(clip.lips, before[0])
    np.testing.assert_array_equal(clip.audio, before[1])
    again = speaker.apply(burst(), 17, corpus)
    np.testing.assert_array_equal(out.audio, again.audio)
    np.testing.assert_array_equal(out.lips, again.lips)


@pytest.mark.parametrize("speaker", ALL, ids=lambda speaker: speaker.label)
def test_only_the_streams_it_names_change(speaker: Speaker, corpus: Corpus) -> None:
    clip = burst()
    out = speaker.apply(clip, 17, corpus)
    changed = {
        "audio": not np.array_equal(out.audio, clip.audio),
        "video": not np.array_equal(out.lips, clip.lips),
    }
    assert {stream for stream, is_so in changed.items() if is_so} == speaker.streams


@pytest.mark.parametrize(
    "speaker", [one for one in ALL if one.kind != "other mouth"], ids=lambda one: one.label
)
def test_a_voice_has_another_pitch_and_a_rate_has_not(speaker: Speaker, corpus: Corpus) -> None:
    setting = SPEAKERS[speaker.kind].levels[speaker.level][0]
    wanted = PITCH_HZ * (setting if "voice" in speaker.kind else 1.0)
    assert pitch_hz(speaker.apply(burst(), 17, corpus).audio) == pytest.approx(wanted, rel=0.04)


def test_a_mouth_is_bent_alike_in_all_frames_and_otherwise_with_another_seed(
    corpus: Corpus,
) -> None:
    heavy = Speaker("other mouth", "heavy")
    out, other = heavy.apply(burst(), 17, corpus), heavy.apply(burst(), 29, corpus)
    np.testing.assert_array_equal(out.lips[:3], burst().lips[:3])  # no mouth was found there
    np.testing.assert_array_equal(out.lips[35], out.lips[36])
    assert not np.array_equal(out.lips[35], other.lips[35])


def test_noise_comes_over_the_other_voice(corpus: Corpus) -> None:
    noise, faster = Noise("white", 0.0), Speaker("faster", "heavy")
    out = Condition((noise, faster)).apply(burst(), 17, corpus)
    np.testing.assert_array_equal(
        out.audio, noise.apply(faster.apply(burst(), 17, corpus), 17, corpus).audio
    )
    assert Condition((Identity("no face"), faster)) == Condition((faster, Identity("no face")))


def test_a_bend_is_as_large_as_stated_leaves_the_mouth_in_place_and_folds_nothing(
    corpus: Corpus,
) -> None:
    ramp = np.arange(CROP_SIZE) * 2  # grey tells the place, twice over
    across, down = np.tile(ramp, (CROP_SIZE, 1)), np.tile(ramp[:, None], (1, CROP_SIZE))
    lips = np.stack([across, down]).astype(np.uint8)
    there, bends, middles = np.ones(2, bool), [], []
    for number in range(30):
        clip = Clip(
            f"clip{number}", np.zeros(2 * SAMPLES_PER_FRAME, np.float32), lips, there, there
        )
        bent = Speaker("other mouth", "medium").apply(clip, 17, corpus).lips / 2
        moved = bent - lips / 2
        bends.append(moved.std())
        middles.append(np.abs(moved[:, 24:72, 24:72].mean(axis=(1, 2))).max())
        # grey is whole numbers: half a pixel
        assert np.diff(bent[0, 8:-8, 8:-8], axis=1).min() >= -0.5
        assert np.diff(bent[1, 8:-8, 8:-8], axis=0).min() >= -0.5
    assert np.mean(bends) == pytest.approx(3.0, abs=0.5)  # a little is lost beyond the edge
    assert max(middles) < 0.5


def test_what_was_absent_stays_silent_and_nothing_is_too_loud(corpus: Corpus) -> None:
    square = replace(burst(), audio=np.sign(burst().audio) + np.float32(0))
    square = replace(square, audio_present=(np.arange(FRAMES) < 40) | (np.arange(FRAMES) > 50))
    for speaker in ALL:
        out = speaker.apply(square, 17, corpus)
        assert np.abs(out.audio).max() <= 1
        assert not out.audio[np.repeat(~out.audio_present, SAMPLES_PER_FRAME)].any()


def test_what_is_missing_of_a_faster_clip_is_recorded_as_it_was_taken(corpus: Corpus) -> None:
    condition = Condition((Speaker("faster", "heavy"), Missing("video", "bursts", 0.5)))
    given = condition.apply(burst(), 17, corpus)
    told = np.zeros(given.frames, bool)
    for start, end in condition.missing_ms(given, 17, corpus)["video"]:
        told[start // 40 : end // 40] = True
    np.testing.assert_array_equal(told[3:], ~given.video_present[3:])


def test_a_clip_without_frames_is_left_alone(corpus: Corpus) -> None:
    empty = burst().window(0, 0)
    assert Speaker("faster", "light").apply(empty, 17, corpus) is empty


def test_what_does_not_exist_is_told_in_one_line() -> None:
    with pytest.raises(
        AvsrError, match="another speaker: 'child' does not exist; choose one of higher voice"
    ):
        Speaker("child", "light")
    with pytest.raises(
        AvsrError, match="faster has no level 'absurd'; choose one of light, medium, heavy"
    ):
        Speaker("faster", "absurd")
