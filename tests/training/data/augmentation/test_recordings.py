"""Noise and rooms: a folder of any size takes no more memory than a small one."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError
from avsr.eval.run.provenance import file_digest
from avsr.preprocessing.media import streams
from avsr.training.data.augmentation import recordings
from avsr.training.data.augmentation.augment import fit
from avsr.training.data.augmentation.recordings import Recordings, read_recordings


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def sparse_wav(path: Path, seconds: int) -> None:
    """A wav file of 16 kHz and 16 bit that takes no room on the disk."""
    size = seconds * 32000
    kind = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    path.write_bytes(
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + kind + b"data" + struct.pack("<I", size)
    )
    with path.open("r+b") as file:
        file.truncate(44 + size)


@pytest.mark.parametrize("samples", [64000, 64000 + 79, 64000 + 80, 100])
def test_a_small_folder_gives_what_decoding_it_whole_gives(tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "a.wav", sound(samples), 16000)
    found = Recordings(tmp_path)
    whole = np.concatenate([piece.audio for piece in streams.read(tmp_path / "a.wav", video=False)])
    np.testing.assert_array_equal(found.whole(0), whole)
    for wanted in (1000, 200_000):
        drawn = found.stretch(0, wanted, np.random.default_rng(3))
        np.testing.assert_array_equal(drawn, fit(whole, wanted, np.random.default_rng(3)))


def test_of_a_folder_of_any_size_only_what_is_drawn_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(25):
        sparse_wav(tmp_path / f"{k:02}.wav", 30_000)  # almost 1 GB each
    read, plain = [], soundfile.SoundFile.read

    def counted(file: soundfile.SoundFile, *args: int, **options: object) -> np.ndarray:
        out = plain(file, *args, **options)
        read.append(len(out))
        return out

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    found = Recordings(tmp_path)
    assert len(found) == 25
    assert sum(read) == 0
    rng = np.random.default_rng(0)
    for _ in range(40):
        assert found.stretch(int(rng.integers(25)), 48000, rng).shape == (48000,)
    assert sum(read) == 40 * 48000


def test_a_stretch_of_a_large_folder_is_the_one_that_a_small_one_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.flac", sound(320_000), 16000)
    small = Recordings(tmp_path)
    monkeypatch.setattr(recordings, "KEPT_BYTES", 1000)
    large = Recordings(tmp_path)
    for seed in range(4):
        kept, read = (
            found.stretch(0, 48000, np.random.default_rng(seed)) for found in (small, large)
        )
        np.testing.assert_array_equal(kept, read)


@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_other_rates_and_channels_become_16_khz_mono(
    tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "KEPT_BYTES", 1000)
    tone = np.sin(2 * np.pi * 1000 * np.arange(20 * rate) / rate)
    soundfile.write(tmp_path / "a.wav", np.stack([tone, tone], 1), rate)
    drawn = Recordings(tmp_path).stretch(0, 16000, np.random.default_rng(0))
    middle = drawn[2000:-2000]
    assert (
        np.abs(np.fft.rfft(middle * np.hanning(len(middle)))).argmax()
        == 1000 * len(middle) // 16000
    )
    assert np.abs(middle).max() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", ["silent", "empty", "damaged", "none"])
def test_a_recording_of_no_use_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    if kind == "damaged":
        (tmp_path / "room.wav").write_bytes(b"RIFF")
    elif kind != "none":
        soundfile.write(tmp_path / "room.wav", np.zeros(1600 if kind == "silent" else 0), 16000)
    told = {
        "silent": r"room\.wav: silent",
        "empty": r"room\.wav: empty",
        "damaged": r"room\.wav: cannot be read",
    }
    with pytest.raises(
        AvsrError, match=told.get(kind, "no wav, flac, ogg, opus or mp3 files")
    ) as error:
        read_recordings(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_among_the_recordings_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AvsrError, match=r"pipe\.wav: is no file; remove it"):
        Recordings(tmp_path)
    with pytest.raises(
        AvsrError, match=r"pipe\.wav: is no file, and results would depend on it; remove it"
    ):
        file_digest(tmp_path / "pipe.wav")
