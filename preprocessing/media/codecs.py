"""Sound through a real codec and back, in memory and in place: what comes out starts where what
went in started."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import SAMPLE_RATE


@dataclass(frozen=True)
class Codec:
    """How FFmpeg is asked for a codec.

    Attributes:
        encoder, decoder: FFmpeg's names.
        sample_format: of the encoder's input.
        sample_rate: Hz of its input.
        delay: samples, at the rate of its output, that the decoded sound lags behind after the
            decoder has dropped what the encoder told it to drop. Tests measure it.
        options: for the encoder.
    """

    encoder: str
    decoder: str
    sample_format: str
    sample_rate: int = SAMPLE_RATE
    delay: int = 0
    options: dict[str, str] = field(default_factory=dict)


CODECS = {
    "opus": Codec("libopus", "libopus", "flt", options={"application": "voip"}),
    # 5 ms of look-ahead
    "amr-nb": Codec("libopencore_amrnb", "amrnb", "s16", sample_rate=8000, delay=40),
    "mp3": Codec("libmp3lame", "mp3float", "fltp"),
    "aac": Codec("aac", "aac", "fltp", delay=1024),  # one frame; raw AAC has nowhere to say so
}
_TAIL = 4096  # samples of silence after the sound, so that its end leaves every codec


def round_trip(audio: np.ndarray, codec: str, bits_per_s: int) -> np.ndarray:
    """Encodes and decodes sound.

    Args:
        audio: (N,) float32, 16 kHz mono.
        codec: one of CODECS.
        bits_per_s: asked of the encoder, which may take the nearest it has.

    Returns:
        (N,) float32, 16 kHz mono, in step with what was given.

    Raises:
        AvsrError: the FFmpeg that PyAV brings has no such encoder or decoder.
    """
    import av
    from scipy.signal import resample_poly

    how = CODECS[codec]
    sound = np.concatenate([audio, np.zeros(_TAIL, np.float32)])
    if how.sample_rate != SAMPLE_RATE:
        sound = resample_poly(sound, how.sample_rate, SAMPLE_RATE).astype(np.float32)
    try:
        packets, header = _encode(sound, how, bits_per_s)
        decoded, rate = _decode(packets, header, how)
    except (av.FFmpegError, av.codec.codec.UnknownCodecError, ValueError) as error:
        raise AvsrError(
            f"codec {codec}: FFmpeg of this PyAV cannot do it ({error}); install a full build"
        ) from error
    decoded = decoded[how.delay :]
    if rate != SAMPLE_RATE:
        decoded = resample_poly(decoded, SAMPLE_RATE, rate)
    peak = np.abs(decoded).max(initial=1.0)
    return (decoded[: len(audio)] / peak).astype(np.float32)


def _encode(sound: np.ndarray, how: Codec, bits_per_s: int) -> tuple[list[Any], bytes | None]:
    """Packets, and the header that a decoder needs where the codec has one."""
    import av

    encoder: Any = av.AudioCodecContext.create(how.encoder, "w")
    encoder.sample_rate, encoder.layout, encoder.format = how.sample_rate, "mono", how.sample_format
    encoder.bit_rate, encoder.time_base = bits_per_s, Fraction(1, how.sample_rate)
    encoder.options = dict(how.options)
    encoder.thread_count = 1
    encoder.open()
    whole = -(-len(sound) // encoder.frame_size) * encoder.frame_size
    sound = np.pad(sound, (0, whole - len(sound)))
    if how.sample_format == "s16":
        sound = np.clip(np.rint(sound * np.float32(32_768)), -32_768, 32_767).astype(np.int16)
    packets = []
    for start in range(0, whole, encoder.frame_size):
        samples = np.ascontiguousarray(sound[None, start : start + encoder.frame_size])
        frame = av.AudioFrame.from_ndarray(samples, format=how.sample_format, layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = (
            how.sample_rate,
            Fraction(1, how.sample_rate),
            start,
        )
        packets += encoder.encode(frame)
    return packets + encoder.encode(None), encoder.extradata


def _decode(packets: list[Any], header: bytes | None, how: Codec) -> tuple[np.ndarray, int]:
    """(N,) float64 and its sample rate."""
    import av

    decoder: Any = av.AudioCodecContext.create(how.decoder, "r")
    decoder.sample_rate, decoder.layout, decoder.thread_count = how.sample_rate, "mono", 1
    if header:
        decoder.extradata = header
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    scale = 32_768 if frames[0].format.name.startswith("s16") else 1
    parts = [frame.to_ndarray().reshape(-1).astype(np.float64) / scale for frame in frames]
    return np.concatenate(parts), frames[0].sample_rate
