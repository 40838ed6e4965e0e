"""A recogniser with a stopwatch; a network of ours encodes the same sound, or the same lips, only
once.

Rows of a suite share streams: every noise leaves the lips alone, every missing picture leaves the
sound alone, and the audio-only row hears what the audio-visual row heard. An encoding is found
again by what went into it, so it is the encoding that would have been computed, to the last bit.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from avsr.preprocessing.clip import Clip

if TYPE_CHECKING:
    from torch import Tensor

    from avsr.model.network import AVSR
    from avsr.recognisers.ours import NetworkRecogniser

HELD = 32  # encodings of a batch held at once, about 1 MB each for the bundled model


@dataclass(frozen=True)
class Spent:
    """Seconds of one call.

    Attributes:
        alone_s: what the call would have taken with nothing shared; what real-time factors are made
            of.
        network_s: spent in the network (in the whole call, where the network cannot be told apart).
        total_s: spent in the call.
    """

    alone_s: float
    network_s: float
    total_s: float


class Listener:
    """Recognises batches and tells what they cost.

    Args:
        recogniser: anything with `recognise(clips, modality)`. Our own networks share encodings
            between calls.
        share: whether they may.
    """

    def __init__(self, recogniser: Any, *, share: bool = True) -> None:
        ours = our_recogniser(recogniser) if share else None
        self._encoder: SharedEncoder | None = None
        self._recognise: Callable[..., Sequence[Any]] = recogniser.recognise
        if ours is not None:
            listening: Any = copy.copy(ours)  # the caller's recogniser keeps its plain network
            self._encoder = SharedEncoder()
            listening.model = self._encoder.hooked_into(ours.model)
            self._recognise = listening.recognise

    def recognise(self, clips: Sequence[Clip], modality: str) -> tuple[Sequence[Any], Spent]:
        """One hypothesis per clip, and the time it took."""
        encoder = self._encoder
        if encoder is not None:
            encoder.network_s = encoder.saved_s = 0.0
        begin = time.perf_counter()
        hypotheses = self._recognise(clips, modality=modality)
        total_s = time.perf_counter() - begin
        if encoder is None:
            return hypotheses, Spent(total_s, total_s, total_s)
        return hypotheses, Spent(total_s + encoder.saved_s, encoder.network_s, total_s)


class SharedEncoder:
    """Hooks into a network: a stream that was just encoded is not encoded again.

    Args:
        held: how many encodings are kept, those used last.

    Attributes:
        network_s: seconds spent in the network.
        saved_s: seconds that encodings took which were there already.
    """

    def __init__(self, held: int = HELD) -> None:
        self.held = held
        self.network_s = 0.0
        self.saved_s = 0.0
        self._encodings: OrderedDict[bytes, tuple[tuple[Tensor, Tensor], float]] = OrderedDict()

    def hooked_into(self, model: AVSR) -> AVSR:
        """The same network, weights shared, with its encoders and its fusion called through this;
        the one given is left as it is."""
        hooked: Any = copy.copy(model)
        hooked.encode_audio = partial(self._encoded, "audio", model.encode_audio)
        hooked.encode_video = partial(self._encoded, "video", model.encode_video)
        hooked.fuse_and_remember = partial(self._fused, model.fuse_and_remember)
        return hooked

    def _fused(self, fuse: Callable[..., Any], *streams: Any) -> Any:
        with _timed(streams[0]) as clock:
            fused = fuse(*streams)
        self.network_s += clock.seconds
        return fused

    def _encoded(
        self,
        stream: str,
        encode: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
        signal: Tensor,
        present: Tensor,
        valid: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The stream's encoding, from memory where it is there."""
        key = _key(stream, signal, present, valid)
        if key in self._encodings:
            self._encodings.move_to_end(key)
            encoding, seconds = self._encodings[key]
            self.saved_s += seconds
            return encoding
        with _timed(signal) as clock:
            encoding = encode(signal, present, valid)
        self._encodings[key] = encoding, clock.seconds
        self.network_s += clock.seconds
        if len(self._encodings) > self.held:
            self._encodings.popitem(last=False)
        return encoding


def _key(stream: str, signal: Tensor, present: Tensor, valid: Tensor) -> bytes:
    """Hash of all that an encoding depends on: what stands in an absent frame cannot change it and
    does not count."""
    frames = signal.reshape(*present.shape, -1)[present]
    digest = hashlib.sha256(f"{stream} {tuple(present.shape)}".encode())
    for tensor in (present, valid, frames):
        digest.update(tensor.contiguous().cpu().numpy().data)
    return digest.digest()


class _Clock:
    seconds = 0.0


@contextmanager
def _timed(tensor: Tensor) -> Iterator[_Clock]:
    """Times what is done on the tensor's device; work that a GPU was only asked to do is waited
    for."""
    import torch

    clock = _Clock()
    begin = time.perf_counter()
    yield clock
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    clock.seconds = time.perf_counter() - begin


def our_recogniser(recogniser: Any) -> NetworkRecogniser | None:
    """The recogniser itself where it is a network of ours, else None."""
    from avsr.recognisers.ours import NetworkRecogniser

    return recogniser if isinstance(recogniser, NetworkRecogniser) else None
