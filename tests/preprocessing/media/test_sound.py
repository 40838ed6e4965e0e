"""Sound of any layout and level: the voice comes through one channel, neither cancelled nor drowned
nor clipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.preprocessing.media import streams

RATE = 44_100


def voice(seconds: float = 3.0) -> np.ndarray:
    """(N,) syllables of a buzz at 44.1 kHz, peak 0.5."""
    time = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * time + k * k) / k for k in range(1, 20))
    syllables = buzz * np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    return 0.5 * syllables / np.abs(syllables).max()


def noise(level_db: float, like: np.ndarray, seed: int) -> np.ndarray:
    """White noise, its level relative to that of a sound."""
    return (
        np.random.default_rng(seed).standard_normal(len(like)) * like.std() * 10 ** (level_db / 20)
    )


def write(path: Path, *channels: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> Path:
    soundfile.write(path, np.stack(channels, axis=1), rate, subtype=subtype)
    return path


def heard(path: Path, piece_frames: int = 25) -> np.ndarray:
    pieces = list(streams.read(path, video=False, piece_frames=piece_frames))
    return np.concatenate([piece.audio for piece in pieces])


def likeness(found: np.ndarray, wanted: np.ndarray) -> float:
    """Correlation of what was heard with a sound at 44.1 kHz."""
    at = np.arange(0, len(wanted), RATE / SAMPLE_RATE)
    wanted = np.interp(at, np.arange(len(wanted)), wanted)
    return abs(float(np.corrcoef(found[: len(wanted)], wanted)[0, 1]))


def warnings_of(path: Path) -> list[str]:
    with streams.open_media(path) as opened:
        list(opened.pieces())
        return opened.warnings


# ----------------------------------------------------------------------------------------- channels


@pytest.mark.parametrize(
    ("share", "noise_db"), [(-1.0, -200), (-0.7, -200), (-1.0, -15), (-0.4, -200)]
)
def test_inverted_stereo_does_not_cancel(tmp_path: Path, share: float, noise_db: float) -> None:
    said = voice()
    channels = [said + noise(noise_db, said, 1), share * said + noise(noise_db, said, 2)]
    path = write(tmp_path / "inverted.wav", *channels)
    assert likeness(heard(path), said) > 0.97
    assert len(warnings_of(path)) == int(share < -0.5)  # at less nothing is lost but level
    if share < -0.5:
        assert "cancel" in warnings_of(path)[0]


@pytest.mark.parametrize("channels", [3, 4, 5, 6, 8, 10, 16])
def test_the_voice_on_any_of_many_microphones(tmp_path: Path, channels: int) -> None:
    said = voice(1.5)
    for speaking in {0, channels // 2, channels - 1}:
        tracks = [noise(-30, said, seed) for seed in range(channels)]
        tracks[speaking] = said
        assert likeness(heard(write(tmp_path / "array.wav", *tracks)), said) > 0.99, speaking


def test_all_of_many_microphones(tmp_path: Path) -> None:
    said = voice()
    tracks = [(-1) ** i * 0.9**i * said for i in range(10)]
    assert likeness(heard(write(tmp_path / "array.wav", *tracks)), said) > 0.99


@pytest.mark.parametrize(
    "pan", ["5.1|LFE=c0", "5.1|BL=c0", "5.1|FC=c0", "7.1|SR=c0", "22.2|TFL=c0", "quad|BR=c0"]
)
@pytest.mark.parametrize("codec", ["pcm_s16le", "wavpack"])  # samples by time; by channel
def test_the_voice_on_any_channel_of_a_known_layout(
    ffmpeg: str, tmp_path: Path, pan: str, codec: str
) -> None:
    import subprocess

    if codec == "wavpack" and pan.startswith("22.2"):
        pytest.skip("FFmpeg does not read this from Matroska")
    said = voice()
    source, path = write(tmp_path / "in.wav", said), tmp_path / "out.mka"
    options = ["-af", f"pan={pan}", "-c:a", codec]
    subprocess.run([ffmpeg, "-v", "error", "-i", source, *options, path], check=True)
    assert likeness(heard(path), said) > 0.99
    assert warnings_of(path) == []


def test_ordinary_stereo_is_mixed_by_swresample_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, music = voice(12), noise(-6, voice(12), 3)
    for name, left, right in [
        ("wide", said + music, said - 0.3 * music),
        ("one side", said, 0 * said),
    ]:
        path = write(tmp_path / f"{name}.wav", left, right)
        ours = heard(path)
        monkeypatch.setattr("avsr.preprocessing.media.ticks.mixable", iter)
        np.testing.assert_array_equal(ours, heard(path), err_msg=name)
        monkeypatch.undo()


def test_what_is_mixed_does_not_depend_on_the_pieces(tmp_path: Path) -> None:
    """Plain, inverted, plain again: the mix changes midway, nothing is lost or moved."""
    said = voice(9)
    turned = np.where((np.arange(len(said)) // (3 * RATE)) % 2, -1, 1)
    path = write(tmp_path / "turns.wav", said, turned * said)
    whole = heard(path, 1000)
    np.testing.assert_array_equal(whole, heard(path, 7))
    assert len(whole) == 9 * SAMPLE_RATE
    for begin in (0, 4, 7):  # seconds, away from the turns
        part = slice(round(begin * RATE), round((begin + 1) * RATE))
        assert likeness(whole[begin * SAMPLE_RATE :], said[part]) > 0.97  # a sample off at most


# -------------------------------------------------------------------------------------------- level


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("times", [1.5, 20, 32_768, 2.0**31])
def test_loud_samples_are_scaled_and_not_clipped(
    tmp_path: Path, subtype: str, times: float
) -> None:
    said = voice()
    for channels in ([said], [said, said], [said, -said], [said] * 3):
        path = write(
            tmp_path / "loud.wav", *(2 * times * channel for channel in channels), subtype=subtype
        )
        found = heard(path)
        assert 0.9 < np.abs(found).max() <= 1
        assert likeness(found, said) > 0.999


def test_a_quiet_beginning_stays_quieter_than_the_loud_rest(tmp_path: Path) -> None:
    said = voice(24)
    said[: 12 * RATE] *= 0.001
    found = heard(write(tmp_path / "rising.wav", 20 * said, subtype="FLOAT"))
    loud, quiet = (
        np.abs(part).max() for part in (found[13 * SAMPLE_RATE :], found[: 10 * SAMPLE_RATE])
    )
    assert quiet < 0.05 < 0.9 < loud <= 1


def test_ordinary_levels_stay_as_they_are(tmp_path: Path) -> None:
    said = voice()
    path = write(tmp_path / "s16.wav", said)
    for subtype in ("FLOAT", "DOUBLE", "PCM_32", "PCM_24"):
        np.testing.assert_allclose(
            heard(write(tmp_path / "x.wav", said, subtype=subtype)), heard(path), atol=1e-4
        )


def test_what_is_no_number_is_silence_and_counted(tmp_path: Path) -> None:
    said = voice()
    for value in (np.nan, np.inf, -np.inf, 1e30):
        broken = said.copy()
        broken[RATE : RATE + 100] = value
        path = write(tmp_path / "broken.wav", broken, subtype="DOUBLE")
        found = heard(path)
        assert np.isfinite(found).all()
        assert likeness(found, said) > 0.98
        assert "damaged audio" in warnings_of(path)[0]
    spike = said.copy()
    spike[RATE] = 1e5  # one sample must not turn the rest down
    assert (
        np.abs(
            heard(write(tmp_path / "spike.wav", spike, subtype="FLOAT"))[2 * SAMPLE_RATE :]
        ).max()
        > 0.1
    )


@pytest.mark.parametrize("rate", [1, 100])
def test_absurdly_slow_sampling_is_refused(tmp_path: Path, rate: int) -> None:
    with pytest.raises(MediaError, match=f"{rate} samples a second"):
        streams.probe(write(tmp_path / "slow.wav", voice(0.1), rate=rate))


def test_absurdly_fast_sampling_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "fast.wav", voice(3), rate=5_000_000)
    assert len(heard(path)) <= SAMPLE_RATE


# ------------------------------------------------------------------------------------- to the words


def test_rows_9_10_19_the_words_of_a_real_clip(shared: Path, tmp_path: Path) -> None:
    from avsr import load_model

    clip = shared / "data" / "grid" / "s1" / "bbaf2n.mp4"
    said, none = heard(clip), np.zeros(len(heard(clip)))
    recogniser = load_model()
    for name, channels in {
        "inverted": [said, -said],
        "last of ten": [*[none] * 9, said],
        "loud": [20 * said],
    }.items():
        path = write(tmp_path / "clip.wav", *channels, subtype="FLOAT", rate=SAMPLE_RATE)
        assert recogniser.transcribe(path).text == "bin blue at f two now", name
