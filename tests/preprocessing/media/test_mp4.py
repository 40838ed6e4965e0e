"""Written mp4 files: lips come back nearly unchanged, films in step, and a failure leaves nothing
behind."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS, SAMPLE_RATE
from avsr.preprocessing.media import streams
from avsr.preprocessing.media.mp4 import write_lips, write_video


def grey(level: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def drifting_texture(frames: int, size: int = 96) -> np.ndarray:
    """(T, size, size) uint8 with the smoothness and the grain of a real crop, over the whole grey
    range."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:size, :size] / size
    waves = [
        128 + 127 * np.sin(6 * x + 4 * y + t / 5) * np.cos(5 * y - t / 7) for t in range(frames)
    ]
    return np.clip(np.stack(waves) + rng.normal(0, 1.5, (frames, size, size)), 0, 255).astype(
        np.uint8
    )


def test_lips_come_back_nearly_unchanged_and_fast(tmp_path: Path) -> None:
    lips = drifting_texture(75)
    file = io.BytesIO()
    write_lips(file, lips)
    again = streams.read_lips(file.getvalue())
    assert again.shape == lips.shape
    assert again.dtype == np.uint8
    assert np.abs(again.astype(int) - lips).mean() <= 1.5
    assert len(file.getvalue()) < lips.nbytes / 5
    write_lips(tmp_path / "lips.mp4", lips[:3])
    assert streams.read_lips(tmp_path / "lips.mp4").shape == (3, 96, 96)
    assert [path.name for path in tmp_path.iterdir()] == ["lips.mp4"]


def test_lips_are_a_film_that_players_show_in_grey(ffmpeg: str, tmp_path: Path) -> None:
    lips = drifting_texture(10)
    write_lips(tmp_path / "lips.mp4", lips)
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        tmp_path / "lips.mp4",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    output = subprocess.run(command, check=True, capture_output=True).stdout
    shown = np.frombuffer(output, np.uint8).reshape(10, 96, 96, 3).astype(int)
    assert np.abs(shown - lips[..., None]).mean() < 3
    info = streams.probe(tmp_path / "lips.mp4")
    assert (info.width, info.height, info.fps, info.has_audio) == (96, 96, 25, False)


def test_lips_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_lips(io.BytesIO(), np.zeros((3, 96, 96), np.float32))
    with pytest.raises(ValueError, match="uint8"):
        write_lips(io.BytesIO(), np.zeros((0, 96, 96), np.uint8))
    with pytest.raises(MediaError):
        streams.read_lips(b"not a film")
    with pytest.raises(MediaError):
        streams.read_lips(tmp_path / "none.mp4")


@pytest.mark.parametrize("fps", [25, 30])
def test_written_film_reads_back_in_step(tmp_path: Path, fps: int) -> None:
    seconds = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    sound = np.where(seconds >= 0.5, 0.5 * np.cos(2e3 * np.pi * seconds), 0).astype(np.float32)
    write_video(tmp_path / "film.mp4", (grey(4 * i) for i in range(2 * fps)), sound, fps=fps)
    (piece,) = streams.read(tmp_path / "film.mp4", piece_frames=100)
    levels = [float(frame.mean()) for frame in piece.frames[:50]]
    assert levels == pytest.approx([4 * int(t / FPS * fps + 0.01) for t in range(50)], abs=1.9)
    assert np.flatnonzero(np.abs(piece.audio) > 0.12)[0] / SAMPLE_RATE == pytest.approx(
        0.5, abs=0.004
    )
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_written_film_of_odd_size_without_sound(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", [grey(i, 47, 131) for i in range(5)])
    info = streams.probe(tmp_path / "film.mp4")
    assert (info.width, info.height, info.has_audio) == (130, 46, False)


def test_failed_writing_leaves_nothing_behind(tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield grey(0)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="broke"):
        write_video(tmp_path / "film.mp4", frames())
    assert not list(tmp_path.iterdir())
