"""One decoded stream on the clock of 25 frames a second: the picture on screen and the 640 samples
of every tick."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.preprocessing.media.sound import mixable

if TYPE_CHECKING:
    import av

    from avsr.preprocessing.media.tracks import Track

# longer pictures are scaled down: no face needs more, and 4K would cost four times the memory
MAX_SIDE = 1920
ROUNDING_S = 0.001  # containers that count in milliseconds round a timestamp by up to this much
# sound timestamps may stray this far from the sample count before they are believed
JITTER_S = 1 / FPS
# a picture that declares no duration stays on screen at most this long; after that the stream is
# lost
HOLD_S = 2.0
MIN_SAMPLES = SAMPLES_PER_FRAME // 8  # a frame with less sound than this (5 ms) has none


@dataclass(frozen=True)
class Shape:
    """How a decoded picture becomes an upright one with square pixels: its size before turning, and
    the turns."""

    width: int
    height: int
    quarter_turns: int  # counter-clockwise

    @classmethod
    def of(cls, stream: Any, frame: Any) -> Shape:
        aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
        aspect = float(aspect) if aspect and 0.2 < aspect < 5 else 1.0
        width, height = frame.width * aspect, float(frame.height)
        scale = min(1.0, MAX_SIDE / max(width, height))
        return cls(
            max(1, round(width * scale)),
            max(1, round(height * scale)),
            round((frame.rotation or 0) / 90) % 4,
        )

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after turning."""
        return (self.width, self.height) if self.quarter_turns % 2 else (self.height, self.width)

    def rgb(self, frame: Any) -> np.ndarray:
        """(H, W, 3) uint8, contiguous: rows are padded in FFmpeg's memory at widths such as 360."""
        import av

        try:
            # One thread: at the size of a talking head starting more costs more than they save.
            picture = frame.reformat(self.width, self.height, "rgb24", threads=1)
        except av.FFmpegError:  # a damaged header names a colour space that does not exist
            picture = frame.reformat(
                self.width, self.height, "rgb24", src_colorspace="ITU601", threads=1
            )
        return np.ascontiguousarray(np.rot90(picture.to_ndarray(), self.quarter_turns))


class Picture:
    """A decoded picture that is converted when somebody looks: most are only counted, and
    converting costs time."""

    def __init__(self, frame: Any, shape: Shape) -> None:
        self._frame, self._shape = frame, shape
        self._rgb: np.ndarray | None = None

    @classmethod
    def of_rgb(cls, rgb: np.ndarray) -> Picture:
        """A picture that is there already, (H, W, 3) uint8."""
        picture = cls(None, Shape(rgb.shape[1], rgb.shape[0], 0))
        picture._rgb = rgb
        return picture

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, upright."""
        return self._shape.upright

    def rgb(self) -> np.ndarray:
        """(H, W, 3) uint8, contiguous; the same array at every call: copy before writing."""
        if self._rgb is None:
            self._rgb = self._shape.rgb(self._frame)
        return self._rgb


def picture_ticks(track: Track) -> Iterator[Picture | None]:
    """For t = 0, 1, 2...: the picture on screen at t / 25 s, None where there is none; ends with
    the last picture."""
    shape = Shape.of(track.stream, track.first)
    # Two streams rarely start at the same instant. A 25 fps video 2 ms behind the clock would show
    # each picture 38 ms late, and one whose timestamps are rounded would drop and double pictures:
    # put it on the clock's own grid.
    phase_s = 0.0
    if abs(track.fps - FPS) < 0.5:
        first_s = track.start_s - track.origin_s
        phase_s = math.floor(first_s * FPS + 0.5) / FPS - first_s
    tick, held, ends_s, lost_s = 0, None, 0.0, 0.0
    for start_s, duration_s, frame in track:
        start_s += phase_s
        while tick / FPS + ROUNDING_S < start_s:
            yield held if tick / FPS < lost_s else None
            tick += 1
        held, ends_s = Picture(frame, shape), start_s + duration_s
        lost_s = max(ends_s, start_s + HOLD_S)
    while tick / FPS + ROUNDING_S < ends_s:
        yield held
        tick += 1


def resampled(track: Track) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks of 16 kHz mono sound with the sample each begins at; a jump in the timestamps begins a
    new run.

    Within a run samples are counted and timestamps only watched, since containers round them.
    """
    import av

    resampler: _Resampler | None = None
    kind, position, expected_s = None, 0, 0.0
    for start_s, duration_s, frame in mixable(track):
        jumped = kind is None or abs(start_s - expected_s) > JITTER_S
        this_kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None or jumped or this_kind != kind:
            if resampler is not None:
                samples = resampler.mono(None)
                yield position, samples
                position += len(samples)
            if jumped:
                position, expected_s = round(start_s * SAMPLE_RATE), start_s
            resampler, kind = _Resampler(), this_kind
        try:
            samples = resampler.mono(frame)
        except av.FFmpegError:  # a damaged header names a layout that cannot be mixed
            track.count_damaged()
            resampler = kind = None
            continue
        yield position, samples
        position += len(samples)
        expected_s += duration_s
    if resampler is not None:
        yield position, resampler.mono(None)


class _Resampler:
    """Frames of any rate, layout and format to 16 kHz mono; swresample, whose filter adds no delay.

    It goes through 16-bit samples: only then does swresample scale a downmix so that it cannot
    overflow.
    """

    def __init__(self) -> None:
        from av.audio.resampler import AudioResampler

        self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)

    def mono(self, frame: av.AudioFrame | None) -> np.ndarray:
        """(n,) float32 in [-1, 1]; None for a frame hands out what the filter still holds."""
        blocks = [
            block.to_ndarray()[0] for block in self._resampler.resample(frame) if block is not None
        ]
        return np.concatenate([np.empty(0, np.int16), *blocks]).astype(np.float32) / 32768


def sound_ticks(blocks: Iterable[tuple[int, np.ndarray]]) -> Iterator[np.ndarray | None]:
    """For t = 0, 1, 2...: the 640 samples from t / 25 s on, None where there are none; what
    overlaps is cut."""
    tick, cell, end, covered = 0, np.zeros(SAMPLES_PER_FRAME, np.float32), 0, 0
    for position, samples in blocks:
        late = max(0, tick * SAMPLES_PER_FRAME + end - position)
        position, samples = position + late, samples[late:]
        while len(samples):
            while tick < position // SAMPLES_PER_FRAME:
                yield cell if covered >= MIN_SAMPLES else None
                tick, cell, end, covered = tick + 1, np.zeros(SAMPLES_PER_FRAME, np.float32), 0, 0
            begin = position - tick * SAMPLES_PER_FRAME
            end = min(SAMPLES_PER_FRAME, begin + len(samples))
            cell[begin:end] = samples[: end - begin]
            covered += end - begin
            position, samples = position + end - begin, samples[end - begin :]
    if covered >= MIN_SAMPLES:
        yield cell
