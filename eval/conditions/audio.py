"""What goes wrong with the sound on its way: lost packets, clipping, narrow bands, rooms, codecs.

Every corruption is a pure function of (clip id, kind, level, seed), and none moves the sound in
time: lips and voice stay synchronised. What decides a bit is integer arithmetic, or a filter whose
result is rounded to whole numbers that the transform's last digits cannot reach, so the bits are
the same on every machine. The codecs are FFmpeg's, and the version of its libraries, and for those
that count in floating point the processor, may change their bits (`conditions.library_versions`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.eval.conditions.masks import PACKETS_PER_FRAME
from avsr.eval.conditions.noise import CannotBuild, Corpus, Draw, energy, white
from avsr.eval.conditions.video import Kind, check, levels
from avsr.preprocessing.clip import SAMPLE_RATE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.media.codecs import round_trip

PACKET = SAMPLES_PER_FRAME // PACKETS_PER_FRAME  # samples, 20 ms
LOSS_RUN = 3  # packets are lost in runs of three, 60 ms, as networks lose them
CONCEALED = 3  # a lost packet is filled from the last one that came for so many packets, fading out

FULL_SCALE = 32_768
FILTER_TAPS = 511  # transition of about 100 Hz
FILTER_SCALE = 2**20
# samples, 2.5 ms: what comes this close to the peak of a response is direct sound
DIRECT = SAMPLE_RATE * 25 // 10_000


# ---- packets and clipping


def _packet_loss(audio: np.ndarray, share: float, draw: Draw, corpus: Corpus) -> np.ndarray:
    """Zeros where packets of 20 ms are lost."""
    return np.where(
        np.repeat(lost_packets(len(audio) // PACKET, share, draw), PACKET), np.float32(0), audio
    )


def _concealed(audio: np.ndarray, share: float, draw: Draw, corpus: Corpus) -> np.ndarray:
    """The same packets lost, and the last one that came repeated in their place, fading to nothing
    within 60 ms.

    The fade is that of ITU-T G.711 Appendix I, without its search for the pitch.
    """
    lost = lost_packets(len(audio) // PACKET, share, draw)
    packets = audio.reshape(-1, PACKET).copy()
    fade = (
        np.arange(CONCEALED * PACKET, 0, -1).astype(np.float32) / np.float32(CONCEALED * PACKET)
    ).reshape(-1, PACKET)
    gone = 0  # lost packets in a row
    for index in np.flatnonzero(lost):
        gone = gone + 1 if index and lost[index - 1] else 1
        source = index - gone
        packets[index] = (
            packets[source] * fade[gone - 1] if source >= 0 and gone <= CONCEALED else 0
        )
    return packets.reshape(-1)


def lost_packets(packets: int, share: float, draw: Draw) -> np.ndarray:
    """(packets,) bool, exactly round(share * packets) true, in runs of LOSS_RUN at places that do
    not overlap."""
    runs = draw.order(-(-packets // LOSS_RUN))
    order = (runs[:, None] * LOSS_RUN + np.arange(LOSS_RUN)).ravel()
    lost = np.zeros(packets, np.bool_)
    lost[order[order < packets][: math.floor(share * packets + 0.5)]] = True
    return lost


def _clipping(audio: np.ndarray, gain: int, draw: Draw, corpus: Corpus) -> np.ndarray:
    """Driven so many times too high into a limit at the peak that the sound had."""
    peak = np.abs(audio).max()
    return np.clip(audio * np.float32(gain), -peak, peak)


# ---- bands and rooms


def _band_limit(
    audio: np.ndarray, band_hz: tuple[int, int], draw: Draw, corpus: Corpus
) -> np.ndarray:
    """What is outside the band is taken away (about 50 dB), by a filter without delay."""
    filtered = convolved(_steps(audio), _band_pass(*band_hz))[FILTER_TAPS // 2 :][: len(audio)]
    return _limited(filtered / (FILTER_SCALE * FULL_SCALE))


@lru_cache(maxsize=8)
def _band_pass(low_hz: int, high_hz: int) -> np.ndarray:
    """(FILTER_TAPS,) int64, the difference of two windowed sincs (Hamming)."""
    at = np.arange(FILTER_TAPS) - FILTER_TAPS // 2
    low, high = (
        2 * hz / SAMPLE_RATE * np.sinc(2 * hz / SAMPLE_RATE * at) for hz in (low_hz, high_hz)
    )
    return np.rint((high - low) * np.hamming(FILTER_TAPS) * FILTER_SCALE).astype(np.int64)


def _reverberation(
    audio: np.ndarray, room: tuple[float, float], draw: Draw, corpus: Corpus
) -> np.ndarray:
    """In a made room: one pulse, and 2.5 ms after it seeded normal noise that decays exponentially.

    Args:
        room: RT60 in seconds, ratio of direct sound to reverberation in dB.
    """
    return _in_room(audio, _made_response(*room, draw))


def _recorded_room(audio: np.ndarray, nearer: float, draw: Draw, corpus: Corpus) -> np.ndarray:
    """In a room of the corpus's impulse responses, with its direct sound so many times as loud as
    recorded.

    Twice as loud is the microphone at half the distance.
    """
    return _in_room(audio, _recorded_response(corpus, nearer, draw))


def _in_room(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """As loud as before, the direct sound where it was."""
    direct = int(np.argmax(np.abs(response)))
    wet = convolved(_steps(audio), response)[direct:][: len(audio)] / FULL_SCALE**2
    loudness = energy(wet)
    return _limited(wet * math.sqrt(energy(audio) / loudness)) if loudness else audio


def _made_response(rt60_s: float, direct_db: float, draw: Draw) -> np.ndarray:
    """(rt60_s * 16000,) int64; its reverberation decays by 60 dB in that time."""
    samples = round(rt60_s * SAMPLE_RATE)
    decay = np.exp(np.arange(samples) * (-3 * math.log(10) / samples))
    tail = white(samples, draw).astype(np.float64) * decay
    tail[:DIRECT] = 0
    tail *= 10 ** (-direct_db / 20) / math.sqrt(math.fsum(tail * tail))
    tail[0] = 1
    return np.rint(tail * FULL_SCALE).astype(np.int64)


def _recorded_response(corpus: Corpus, nearer: float, draw: Draw) -> np.ndarray:
    """(R,) int64 of one of the corpus's responses, its peak at full scale times `nearer`."""
    files = corpus.rir_files()
    if not files:
        raise CannotBuild(
            f"recorded rooms need a folder of .wav, .flac, .ogg or .mp3 files, not {corpus.rir_dir}"
        )
    path = files[draw.below(len(files))]
    response = corpus.noise(path).astype(np.float64)
    peak = np.abs(response).max(initial=0)
    if peak == 0:
        raise CannotBuild(f"impulse response {path} is silent; remove it")
    direct = int(np.argmax(np.abs(response)))
    response[max(direct - DIRECT, 0) : direct + DIRECT] *= nearer
    return np.rint(response * (FULL_SCALE / peak)).astype(np.int64)


def convolved(audio: np.ndarray, response: np.ndarray) -> np.ndarray:
    """(N + R - 1,) int64, the exact convolution of whole numbers.

    Done by a Fourier transform in float64, whose error stays far below one half for sound of 16
    bits and the responses here, so that rounding gives the exact numbers whatever library made the
    transform.
    """
    size = 1 << (len(audio) + len(response) - 2).bit_length()
    product = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(response, size), size)
    return np.rint(product[: len(audio) + len(response) - 1]).astype(np.int64)


def _steps(audio: np.ndarray) -> np.ndarray:
    """Sound as whole 16-bit steps, (N,) int64."""
    return np.rint(audio.astype(np.float64) * FULL_SCALE).astype(np.int64)


def _limited(audio: np.ndarray) -> np.ndarray:
    """float32, scaled down as a whole where it would clip."""
    return (audio / max(1.0, np.abs(audio).max(initial=0))).astype(np.float32)


def _codec(audio: np.ndarray, setting: tuple[str, int], draw: Draw, corpus: Corpus) -> np.ndarray:
    codec, bits_per_s = setting
    try:
        return round_trip(audio, codec, bits_per_s)
    except AvsrError as error:  # of an FFmpeg without it
        raise CannotBuild(str(error)) from error


# ---- the step


def _rates(codec: str, *bits_per_s: int) -> dict[str, tuple[Any, str]]:
    return levels(*(((codec, rate), f"{rate / 1000:g} kb/s") for rate in bits_per_s))


AUDIO_CORRUPTIONS: dict[str, Kind] = {
    "packet loss": Kind(
        _packet_loss, levels((0.1, "10 %"), (0.3, "30 %")), mask_indicated=False, seeded=True
    ),
    "packet loss concealed": Kind(
        _concealed,
        levels((0.1, "10 %"), (0.3, "30 %")),
        mask_indicated=False,
        seeded=True,
        draws_of="packet loss",
    ),
    "clipping": Kind(_clipping, levels((4, "12 dB too loud"), (16, "24 dB too loud"))),
    "band limit": Kind(
        _band_limit, levels(((300, 3400), "300-3400 Hz"), ((500, 2000), "500-2000 Hz"))
    ),
    "reverberation": Kind(
        _reverberation,
        levels(((0.4, 3.0), "RT60 0.4 s, 3 dB"), ((1.0, -6.0), "RT60 1 s, -6 dB")),
        seeded=True,
    ),
    "recorded room": Kind(
        _recorded_room, levels((2.0, "half the distance"), (1.0, "as recorded")), seeded=True
    ),
    "opus": Kind(_codec, _rates("opus", 16_000, 6_000)),
    "amr-nb": Kind(_codec, _rates("amr-nb", 12_200, 4_750)),
    "mp3": Kind(_codec, _rates("mp3", 32_000, 8_000)),
    "aac": Kind(_codec, _rates("aac", 24_000, 8_000)),
}
"""Every kind with its levels, weakest first; `change` takes and gives (N,) float32."""


@dataclass(frozen=True)
class AudioCorruption:
    """The sound is corrupted; the picture and the masks are left as they are.

    Attributes:
        kind: one of AUDIO_CORRUPTIONS.
        level: "light" or "heavy".
    """

    kind: str
    level: str
    axis = "audio corrupted"
    streams = frozenset({"audio"})
    lost = frozenset[str]()

    def __post_init__(self) -> None:
        check(self.axis, AUDIO_CORRUPTIONS, self.kind, self.level)

    @property
    def stage(self) -> int:
        """A room comes before the noise in it, and everything else after."""
        return 0 if self.kind in ("reverberation", "recorded room") else 2

    @property
    def name(self) -> str:
        return self.kind

    @property
    def label(self) -> str:
        """For people: "opus heavy (6 kb/s)"."""
        return f"{self.kind} {self.level} ({AUDIO_CORRUPTIONS[self.kind].levels[self.level][1]})"

    @property
    def mask_indicated(self) -> bool:
        """False where sound is gone and the mask still says present."""
        return AUDIO_CORRUPTIONS[self.kind].mask_indicated

    @property
    def seeded(self) -> bool:
        return AUDIO_CORRUPTIONS[self.kind].seeded

    def apply(self, clip: Clip, seed: int, corpus: Corpus) -> Clip:
        """Frames without sound stay without."""
        if not clip.audio.any():
            return clip
        kind = AUDIO_CORRUPTIONS[self.kind]
        draw = Draw(clip.id, self.axis, kind.draws_of or self.kind, seed)
        audio = kind.change(clip.audio, kind.levels[self.level][0], draw, corpus)
        heard = np.repeat(clip.audio_present, SAMPLES_PER_FRAME)
        return replace(clip, audio=np.where(heard, audio, np.float32(0)))
