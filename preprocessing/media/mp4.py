"""Pictures and sound into mp4 files: lip crops for the shards, and films."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLE_RATE


def write_lips(
    target: str | os.PathLike[str] | BinaryIO, lips: np.ndarray, *, crf: int = 12
) -> None:
    """Stores grey crops as an H.264 mp4 that any player shows; `media.read_lips` gives them back
    nearly unchanged.

    Grey goes into the luma plane at full range, with neutral chroma.

    Args:
        target: a path (written beside and renamed) or a seekable binary file such as `io.BytesIO`.
        lips: (T, H, W) uint8 grey, T at least 1, H and W even; 96 x 96 by convention.
        crf: x264 quality, lower is better; 12 keeps the mean error of real crops below one grey
            level.
    """
    if (
        lips.ndim != 3
        or lips.dtype != np.uint8
        or not len(lips)
        or lips.shape[1] % 2
        or lips.shape[2] % 2
    ):
        raise ValueError(
            f"lips are {lips.dtype} {lips.shape}, must be uint8 (T >= 1, even H, even W)"
        )
    frames, height, width = lips.shape
    planes = np.full((frames, height * 3 // 2, width), 128, np.uint8)
    planes[:, :height] = lips
    _write_mp4(
        target,
        planes,
        "yuv420p",
        FPS,
        {"crf": str(crf), "preset": "fast", "x264-params": "threads=1:mbtree=0"},
    )


def write_video(
    target: str | os.PathLike[str] | BinaryIO,
    frames: Iterable[np.ndarray],
    audio: np.ndarray | None = None,
    *,
    fps: int = FPS,
    sample_rate: int = SAMPLE_RATE,
    crf: int = 18,
) -> None:
    """Writes an mp4 with H.264 pictures and AAC sound.

    Args:
        target: a path (written beside and renamed) or a seekable binary file.
        frames: (H, W, 3) uint8 RGB pictures of one size, at least one; an odd last row or column is
            cut off.
        audio: (N,) float32 in [-1, 1] mono, or None for a silent film.
        fps: pictures a second.
        sample_rate: of the audio, in Hz.
        crf: x264 quality, lower is better.
    """
    even = (frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] for frame in frames)
    _write_mp4(
        target, even, "rgb24", fps, {"crf": str(crf), "preset": "veryfast"}, audio, sample_rate
    )


def _write_mp4(
    target: str | os.PathLike[str] | BinaryIO,
    pictures: Iterable[np.ndarray],
    layout: str,
    fps: int,
    options: dict[str, str],
    audio: np.ndarray | None = None,
    sample_rate: int = SAMPLE_RATE,
) -> None:
    """Encodes pictures (numpy arrays in the pixel format `layout`) and sound into an mp4; a path
    appears when done."""
    if isinstance(target, (str, os.PathLike)):
        path = Path(target)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with beside.open("wb") as file:
                _write_mp4(file, pictures, layout, fps, options, audio, sample_rate)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        return
    import av

    with av.open(target, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.pix_fmt = "yuv420p"
        audio = np.empty(0, np.float32) if audio is None else audio
        sound = container.add_stream("aac", rate=sample_rate, layout="mono") if len(audio) else None
        # samples handed to the encoder: sound follows the pictures, so that players need not search
        # for it
        done = 0
        for index, picture in enumerate(pictures):
            if index == 0:
                stream.height, stream.width = picture.shape[:2]
                if layout == "yuv420p":
                    stream.height = stream.height * 2 // 3
                    # full range: grey 0 to 255 is luma 0 to 255
                    stream.codec_context.color_range = 2
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format=layout)
            frame.pts = index
            container.mux(stream.encode(frame))
            if sound is not None:
                until = round((index + 1) * sample_rate / fps)
                container.mux(_encode(sound, audio, done, until))
                done = until
        if sound is not None:
            container.mux(_encode(sound, audio, done, len(audio)))
            container.mux(sound.encode(None))
        container.mux(stream.encode(None))


def _encode(stream: Any, audio: np.ndarray, begin: int, end: int) -> list[Any]:
    """Packets for the samples begin to end (exclusive), if there are any."""
    import av

    samples = np.ascontiguousarray(audio[begin:end], np.float32)[None]
    if not samples.size:
        return []
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate, frame.pts = stream.rate, begin
    return stream.encode(frame)
