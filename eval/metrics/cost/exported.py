"""How well an exported network agrees with the one that it was made of, and how fast both are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avsr.decoding.ctc import greedy
from avsr.eval.metrics.text import Table, percent
from avsr.eval.metrics.wer import wer
from avsr.model.batches import batches_by_length, compute, mask
from avsr.model.network import AVSR, Output
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.text import canonical
from avsr.recognisers.protocol import STREAMS

Network = Callable[..., Output]

LIKELY = 1e-4  # what both take for rarer decides nothing


@dataclass(frozen=True)
class Agreement:
    """One modality.

    Attributes:
        modality: av, audio or video.
        difference: largest between the log-probabilities of a token that one of the two takes for
            as likely as LIKELY.
        same: share of outputs with the same likeliest token.
        wer, exported_wer: word error rates, greedily, as fractions; None without texts.
        rtf, exported_rtf: real-time factors, one clip and one thread at a time.
    """

    modality: str
    difference: float
    same: float
    wer: float | None
    exported_wer: float | None
    rtf: float
    exported_rtf: float


def agreement(
    network: AVSR,
    exported: Network,
    clips: Sequence[Clip],
    batched: bool = False,
    tell: Callable[[float, float], None] = lambda done, of: None,
) -> list[Agreement]:
    """Asks both networks about the same clips, with both modalities and with each alone.

    Args:
        network: the original, on the CPU.
        exported: called as it is.
        clips: each short enough for the exported one.
        batched: several clips at once are compared too.
        tell: told how many clips are done, and of how many.
    """
    rows = []
    for place, modality in enumerate(STREAMS):
        shown = [mask(clip, modality) for clip in clips]
        asked = _Asked(network, exported)
        for number, clip in enumerate(shown):
            asked.ask([clip])
            tell(place * len(clips) + number + 1, len(STREAMS) * len(clips))
        own_wer, exported_wer = (_wer(network, clips, said) for said in asked.said)
        media_s = sum(clip.frames for clip in clips) / FPS
        own_rtf, exported_rtf = (seconds / media_s for seconds in asked.seconds)
        if batched:
            for batch in batches_by_length(range(len(clips)), [clip.frames for clip in clips]):
                asked.ask([shown[i] for i in batch])
        same = asked.same / asked.outputs
        rows.append(
            Agreement(
                modality, asked.difference, same, own_wer, exported_wer, own_rtf, exported_rtf
            )
        )
    return rows


class _Asked:
    """Both networks, and what came out so far."""

    def __init__(self, *networks: Network) -> None:
        self.networks = networks
        self.seconds = [0.0, 0.0]
        self.said: tuple[list[list[int]], list[list[int]]] = ([], [])
        self.difference, self.same, self.outputs = 0.0, 0, 0

    def ask(self, clips: Sequence[Clip]) -> None:
        """One forward pass of each over some clips."""
        found: list[Tensor] = []
        for i, network in enumerate(self.networks):
            began = time.perf_counter()
            output = compute(network, clips, torch.device("cpu"))
            self.seconds[i] += time.perf_counter() - began
            self.said[i].extend(greedy(output.log_probs, output.lens))
            found += [own[:count] for own, count in zip(output.log_probs, output.lens, strict=True)]
        for own, other in zip(found[: len(clips)], found[len(clips) :], strict=True):
            likely = torch.maximum(own, other).exp() >= LIKELY
            self.difference = max(self.difference, float(((own - other).abs() * likely).max()))
            self.same += int((own.argmax(-1) == other.argmax(-1)).sum())
            self.outputs += len(own)


def _wer(network: AVSR, clips: Sequence[Clip], said: Sequence[Sequence[int]]) -> float | None:
    """The word error rate of what was said of the clips; None where one has no text."""
    tokenizer = Tokenizer.of(network.config.tokens, network.config.piece_scores)
    texts = [canonical(clip.text) for clip in clips if clip.text]
    if len(texts) < len(clips):
        return None
    return wer(texts, [tokenizer.decode(ids) for ids in said]).rate


def most_lost(rows: Sequence[Agreement]) -> float | None:
    """By how much the exported network's word error rate is above the original's, at most, as a
    fraction; None without texts."""
    losses = []
    for row in rows:
        if row.wer is not None and row.exported_wer is not None:
            losses.append(row.exported_wer - row.wer)
    return max(losses, default=None)


def to_markdown(rows: Sequence[Agreement]) -> str:
    """A table for people."""
    head = ["modality", "largest difference", "same token, %"]
    head += [f"{what} {who}" for what in ("WER, %,", "RTF") for who in ("torch", "ONNX")]
    lines = []
    for row in rows:
        figures = [f"{row.difference:.1e}", percent(row.same), percent(row.wer)]
        figures += [percent(row.exported_wer), f"{row.rtf:.3f}", f"{row.exported_rtf:.3f}"]
        lines.append([row.modality, *figures])
    return Table(head, lines).to_markdown()
