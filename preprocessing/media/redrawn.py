"""Copies of films with something drawn into their pictures; sound and subtitles stay as they were.

H, W  of the upright picture, both even
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.media.copies import (
    copied_stream,
    film_at,
    opened,
    packets,
    streams_of,
)
from avsr.preprocessing.media.streams import open_media
from avsr.preprocessing.media.ticks import Shape
from avsr.preprocessing.media.tracks import Track

QUALITY = {"crf": "18", "preset": "veryfast"}  # of x264: hardly a difference is seen

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]
"""A picture as (H, W) uint8 luma and twice (H/2, W/2) uint8 chroma, YUV 4:2:0."""

Draw = Callable[[float, Planes], None]
"""Draws into a picture, which is on screen at so many seconds."""


def redrawn(source: Path, target: Path, draw: Draw) -> None:
    """Copies a film with something drawn into its pictures.

    The pictures are encoded anew (H.264, 8 bits), each at its own time, so a rate that varies still
    does. A picture that is stored turned is stored upright. All else is copied as it is.

    Args:
        source: the film.
        target: with a suffix of copies.KEPT; is there whole or not at all.
        draw: called with each picture.

    Raises:
        MediaError: the source cannot be read or has no picture, or the target's container does not
            take a stream.
        OSError: the target cannot be written.
    """
    with open_media(source) as media, opened(source) as film:
        if not media.info.has_video:
            raise MediaError(f"{source}: has no picture to draw into")
        track = media.take("video")
        with film_at(source, target) as copy:
            copy.metadata.update(film.metadata)
            pictures = _Encoder(copy, track)
            others = [stream for stream in streams_of(film) if stream.type != "video"]
            added = {stream.index: copied_stream(copy, stream) for stream in others}
            waiting = packets(film, set(added))
            held = next(waiting, None)
            for start_s, _, frame in track:
                now_s = start_s + track.origin_s
                # beside each other, so that neither players nor the writer must search
                while held is not None and held.dts * held.time_base <= now_s:
                    held = _passed_on(copy, held, added, waiting)
                pictures.add(frame, start_s, draw)
            pictures.end()
            while held is not None:
                held = _passed_on(copy, held, added, waiting)


def _passed_on(copy: Any, packet: Any, added: dict[int, Any], waiting: Iterator[Any]) -> Any:
    """Copies a packet; the next one."""
    packet.stream = added[packet.stream_index]
    copy.mux(packet)
    return next(waiting, None)


class _Encoder:
    """Takes the frames of a track, draws into them and encodes them."""

    def __init__(self, copy: Any, track: Track) -> None:
        source, first = track.stream, track.first
        self._copy, self._unit_s = copy, source.time_base
        self._size = first.width // 2 * 2, first.height // 2 * 2
        self._turns = Shape.of(source, first).quarter_turns
        self._full_range = first.format.name.startswith("yuvj")
        self._last: int | None = None
        rate = source.average_rate or source.guessed_rate or FPS
        stream = copy.add_stream("libx264", rate=rate, options=QUALITY)
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = self._size[::-1] if self._turns % 2 else self._size
        stream.time_base = stream.codec_context.time_base = source.time_base
        stream.metadata.update({k: v for k, v in source.metadata.items() if k != "rotate"})
        context, told = stream.codec_context, source.codec_context
        aspect = source.sample_aspect_ratio or told.sample_aspect_ratio
        if aspect:
            context.sample_aspect_ratio = 1 / aspect if self._turns % 2 else aspect
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(told, name))
        context.color_range = 1 if self._full_range else told.color_range
        self._stream = stream

    def add(self, frame: Any, start_s: float, draw: Draw) -> None:
        """Draws into a picture and encodes it, at its own time."""
        import av

        planes = self._planes(frame)
        draw(start_s, planes)
        height, width = planes[0].shape
        packed = np.concatenate([plane.reshape(-1) for plane in planes])
        drawn = av.VideoFrame.from_ndarray(packed.reshape(height * 3 // 2, width), "yuv420p")
        drawn.pts, drawn.time_base = self._pts(frame, start_s), self._unit_s
        self._copy.mux(self._stream.encode(drawn))

    def end(self) -> None:
        self._copy.mux(self._stream.encode(None))

    def _pts(self, frame: Any, start_s: float) -> int:
        """The time of a picture, later than that of the one before."""
        pts = round(start_s / self._unit_s) if frame.pts is None else frame.pts
        self._last = pts if self._last is None else max(pts, self._last + 1)
        return self._last

    def _planes(self, frame: Any) -> Planes:
        """A copy of a picture, upright."""
        width, height = self._size
        rows = frame.reformat(width, height, "yuv420p").to_ndarray()
        half = height // 2, width // 2
        count = half[0] * half[1]
        luma, chroma = rows[:height], rows[height:].reshape(-1)
        stored = luma, chroma[:count].reshape(half), chroma[count:].reshape(half)
        y, u, v = (np.ascontiguousarray(np.rot90(plane, self._turns)) for plane in stored)
        return y, u, v
