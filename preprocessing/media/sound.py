"""Sound of any layout and level made fit for one channel of 16 bits: nothing cancels, drowns or
clips.

swresample does the mixing of ordinary sound, and what it gives stays as it is. Looked at are
stretches counted in the stream's own samples, so that the result does not depend on how the file is
read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from avsr.preprocessing.media.tracks import Track

STRETCH_S = 10.0  # held at a time: how loud it gets is known before it is heard ...
STRETCH_VALUES = 8_000_000  # ... but no more values over all channels (32 MB)
SPAN_S = 1.0  # mixed in one way
QUIET = 0.01  # of the power of the loudest span: here a span tells nothing of its own
LOOK_HZ = 8000  # rate at which channels are compared: where speech is
RUMBLE = 20  # samples at that rate (2.5 ms) whose mean is taken off: a high-pass at 250 Hz
SILENT = 1e-9  # power below which nothing is decided
# of the power that unrelated channels would have in the mix: stereo correlated by less than -0.8
CANCELLED = 0.2
ALONE = 4.0  # times the power of all others together: the one channel that matters
OPPOSITE = -0.2  # correlation below which a channel is taken upside down
FADE_S = 0.02  # from one mix to the next
# times full scale that lossy coders reach with ordinary music and speech; swresample clips it
OVERSHOOT = 4.0
# FFmpeg's formats
SAMPLES = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
BROKEN = 2.0**33  # beyond any scale samples are written in: not a sample
CREST = 8.0  # a peak further above the loudest thousandth of the samples is a fault, not a level

# How swresample mixes down to one channel, before the sum is scaled to 1; the low-frequency channel
# is left out.
DOWNMIX = {"FC": 1.0, "FL": 0.7071, "FR": 0.7071, "BC": 0.7071, "FLC": 0.7071, "FRC": 0.7071}
DOWNMIX |= {"BL": 0.5, "BR": 0.5, "SL": 0.5, "SR": 0.5, "LFE": 0.0}
FRONT = {"FC", "FL", "FR"}


def mixable(track: Track) -> Iterator[tuple[float, float, Any]]:
    """The frames of a track (start, duration, frame) in an order, number and length that do not
    change.

    A stretch passes as it is where swresample mixes it well. Else its frames are replaced by float
    ones: scaled where they go beyond full scale, of one channel where a plain mix would cancel, or
    drown the one channel that matters, or where the layout is unknown.
    """
    mixer = _Mixer(track)
    held: list[tuple[float, float, Any]] = []
    kind, seconds, values = None, 0.0, 0
    for start_s, duration_s, frame in track:
        this_kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if held and (this_kind != kind or seconds >= STRETCH_S or values >= STRETCH_VALUES):
            yield from mixer.mend(held)
            held, seconds, values = [], 0.0, 0
        kind = this_kind
        if frame.layout.nb_channels == 1 and not _is_float(frame):
            yield start_s, duration_s, frame  # nothing to mix and nothing to scale
            continue
        held.append((start_s, duration_s, frame))
        seconds += duration_s
        values += frame.samples * frame.layout.nb_channels
    if held:
        yield from mixer.mend(held)


@dataclass
class _Mixer:
    """Decides, stretch by stretch, how the channels of a track become one and how loud."""

    track: Track
    gain: float = 1.0  # only ever falls: what is quiet beside the loudest stays quiet
    weights: np.ndarray | None = None  # (C,) of the span before; None where swresample mixed

    def mend(self, held: list[tuple[float, float, Any]]) -> Iterator[tuple[float, float, Any]]:
        """One stretch of frames of one kind, as it is or replaced."""
        frames = [frame for _, _, frame in held]
        sound = np.concatenate([values_of(frame) for frame in frames], axis=1)  # (C, n)
        edges = np.cumsum([0, *(frame.samples for frame in frames)])
        broken = self._silence_broken(sound, edges, frames[0])
        gain = self._turned_down(sound) if _is_float(frames[0]) else 1.0
        as_it_is = gain == 1.0 and not broken
        for first, last, weights in self._mixes(sound, edges, frames[0]):
            span, (begin, end) = held[first:last], edges[[first, last]]
            before, self.weights = self.weights, weights
            if weights is None and as_it_is:
                yield from span
                continue
            part = sound[:, begin:end] * np.float32(gain)
            if weights is not None:
                part = _faded(part, before, weights, round(FADE_S * frames[0].sample_rate))
            parts = np.split(part, edges[first + 1 : last] - begin, axis=1)
            for (start_s, duration_s, frame), samples in zip(span, parts, strict=True):
                yield start_s, duration_s, _frame(samples, frame)

    def _silence_broken(self, sound: np.ndarray, edges: np.ndarray, frame: Any) -> bool:
        """Zeroes what is no number, and counts the frames it was in as damaged."""
        if not _is_float(frame):
            return False
        bad = ~(np.abs(sound) < BROKEN).all(axis=0)  # NaN compares as false
        if not bad.any():
            return False
        self.track.count_damaged(sum(bool(bad[a:b].any()) for a, b in pairwise(edges)))
        sound[:, bad] = 0
        return True

    def _turned_down(self, sound: np.ndarray) -> float:
        """The gain under which nothing of the stretch, or of what came before, goes beyond full
        scale."""
        size = np.abs(sound)
        peak = float(size.max(initial=0.0))
        lossless = self.track.lossless
        if peak > (1.0 if lossless else OVERSHOOT):
            level = min(peak, CREST * float(np.quantile(size, 0.999)))
            self.gain = min(self.gain, 1 / max(level, 1.0))
        return self.gain

    def _mixes(
        self, sound: np.ndarray, edges: np.ndarray, frame: Any
    ) -> Iterator[tuple[int, int, np.ndarray | None]]:
        """Spans of frames (first, behind the last) and the weights they are mixed by; quiet ones go
        on as before.

        Weights are (C,), the sum of their sizes 1; None where swresample is to mix.
        """
        if len(sound) == 1:
            yield 0, len(edges) - 1, None
            return
        at = range(0, edges[-1], round(SPAN_S * frame.sample_rate) or 1)
        bounds = sorted({int(np.searchsorted(edges, sample)) for sample in at} | {len(edges) - 1})
        spans = list(pairwise(bounds))
        found = [
            _compare(sound[:, edges[first] : edges[last]], frame.sample_rate)
            for first, last in spans
        ]
        quiet = max(SILENT, QUIET * max(float(np.diagonal(related).max()) for related in found))
        names = [channel.name for channel in frame.layout.channels]
        weights = (
            self.weights if self.weights is not None and len(self.weights) == len(sound) else None
        )
        for (first, last), related in zip(spans, found, strict=True):
            if np.diagonal(related).max() > quiet:
                before = weights
                weights, cancels = _weights(related, names)
                if weights is not None and before is not None and before @ related @ weights < 0:
                    weights = -weights  # no turn in the middle of a word
                self.track.remarks.cancelled_s += (
                    cancels * float(edges[last] - edges[first]) / frame.sample_rate
                )
            yield first, last, weights


def _weights(related: np.ndarray, names: list[str]) -> tuple[np.ndarray | None, bool]:
    """How channels of a covariance (C, C) are mixed, see _Mixer._mixes; whether swresample's mix
    would cancel."""
    power = np.diagonal(related)
    best, plain, cancels = int(power.argmax()), _plain_weights(names), False
    if plain is not None:
        cancels = bool(plain @ related @ plain < CANCELLED * (plain**2 @ power))
        drowned = (
            names[best] not in FRONT
            and len(names) > 2
            and power[best] > ALONE * (power.sum() - power[best])
        )
        if not cancels and not drowned:
            return None, False
    likeness = related[best] / np.sqrt(power * power[best] + SILENT**2)
    return np.where(likeness < OPPOSITE, -1, 1) * power / power.sum(), cancels


def _plain_weights(names: list[str]) -> np.ndarray | None:
    """(C,) of swresample's own mix, the sum 1; None for layouts it can only guess at."""
    if len(names) == 2 and not set(names) <= set(DOWNMIX):
        names = ["FL", "FR"]
    if not set(names) <= set(DOWNMIX):
        return None
    weights = np.array([DOWNMIX[name] for name in names])
    return weights / weights.sum() if weights.any() else None


def _compare(sound: np.ndarray, rate: int) -> np.ndarray:
    """(C, C) covariance of the channels where speech is: rumble and hiss count little."""
    step = max(1, rate // LOOK_HZ)
    whole = sound.shape[1] // step * step
    slow = sound[:, :whole].reshape(len(sound), -1, step).mean(axis=2, dtype=np.float64)
    total = np.cumsum(np.pad(slow, ((0, 0), (RUMBLE, 0))), axis=1)
    speech = (
        slow[:, RUMBLE // 2 : RUMBLE // 2 - RUMBLE]
        - (total[:, RUMBLE:] - total[:, :-RUMBLE])[:, RUMBLE:] / RUMBLE
    )
    return speech @ speech.T / max(1, speech.shape[1])


def _faded(
    sound: np.ndarray, before: np.ndarray | None, weights: np.ndarray, fade: int
) -> np.ndarray:
    """(C, n) -> (1, n) by the weights, beginning with those of the stretch before."""
    mixed = weights.astype(np.float32) @ sound
    if before is not None and len(before) == len(weights):
        old = before.astype(np.float32) @ sound[:, :fade]
        mixed[:fade] += (old - mixed[:fade]) * np.linspace(1, 0, len(old), dtype=np.float32)
    return mixed[None]


def _is_float(frame: Any) -> bool:
    return frame.format.name.startswith(("flt", "dbl"))


def values_of(frame: Any) -> np.ndarray:
    """(C, n) float32, full scale 1. PyAV's to_ndarray reads past the planes where there are eight
    or more."""
    from av.audio.plane import AudioPlane

    count, channels, dtype = (
        frame.samples,
        frame.layout.nb_channels,
        np.dtype(SAMPLES[frame.format.packed.name]),
    )
    if frame.format.is_planar:
        planes = (AudioPlane(frame, channel) for channel in range(channels))
        values = np.stack([np.frombuffer(memoryview(plane), dtype, count) for plane in planes])
    else:
        values = (
            np.frombuffer(memoryview(AudioPlane(frame, 0)), dtype, count * channels)
            .reshape(count, channels)
            .T
        )
    if dtype.kind == "f":
        # a double beyond the range is infinite, which is found later
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    if dtype.kind == "u":
        return (values.astype(np.float32) - 128) / 128
    return values.astype(np.float32) / -float(np.iinfo(dtype).min)


def _frame(sound: np.ndarray, like: Any) -> Any:
    """(C, n) as a float frame in the place of another."""
    from av import AudioFrame

    layout = {1: "mono", 2: "stereo"}.get(len(sound), like.layout.name)
    packed = np.ascontiguousarray(sound.T, np.float32).reshape(1, -1)
    frame = AudioFrame.from_ndarray(packed, format="flt", layout=layout)
    frame.sample_rate = like.sample_rate
    return frame
