"""Texts of clips from a recogniser: what it is sure of, cut into pieces that can be trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from avsr.decoding.words import Word, join, mean
from avsr.preprocessing.clip import FPS, Clip
from avsr.recognisers.protocol import Recogniser, stream_for

WHOLE_S = 10.0  # a clip up to this long stays whole
PAUSE_S = 0.3  # between two words: there a longer clip may be cut
EDGE_S = 0.1  # a word so near to where a stretch was cut out may be cut itself
MARGIN_S = 0.2  # kept before the first and after the last word of a piece
TOGETHER = 8  # clips that a recogniser gets at once


@dataclass(frozen=True)
class Label:
    """A clip, or a piece of one, with the text that a recogniser gave it.

    Attributes:
        clip: with text and word times.
        confidence: mean over its words; 0 where nothing was said.
    """

    clip: Clip
    confidence: float


def is_sure(confidence: float, least: float) -> bool:
    """Whether a text is kept where `least` is the limit: what says nothing never is."""
    return confidence > 0 and confidence >= least


def limit_of(confidences: Sequence[float], least: float, share: float | None) -> float:
    """The confidence from which on texts are kept.

    Args:
        confidences: of all texts that there are.
        least: the limit where no share is asked for.
        share: in (0, 1], of the texts that are kept, the surest ones: for a recogniser that is
            seldom sure though it is right.
    """
    if share is None or not confidences:
        return least
    ranked = sorted(confidences, reverse=True)
    return ranked[math.ceil(share * len(ranked)) - 1]


def label(clips: Iterable[Clip], recogniser: Recogniser) -> Iterator[Label]:
    """What a recogniser makes of clips, with both modalities where it takes both.

    A model of a few known words says these alone.

    Args:
        clips: of any length.
        recogniser: of any family.

    Yields:
        Each clip, or each piece of a long one, in order.
    """
    lexicon = getattr(recogniser, "lexicon", None)
    if lexicon is not None:
        recogniser = recogniser.with_decoding(None, lexicon)  # type: ignore[attr-defined]
    modality = stream_for(recogniser, "auto")
    rest = chain.from_iterable(_stretches(clip, recogniser.longest_s) for clip in clips)
    while batch := list(islice(rest, TOGETHER)):
        found = recogniser.recognise(batch, modality)
        for clip, hypothesis in zip(batch, found, strict=True):
            for piece, words in _pieces(clip, hypothesis.words):
                yield Label(piece, mean([word.confidence for word in words]))


def _stretches(clip: Clip, longest_s: float) -> Iterator[Clip]:
    """A clip in parts that a recogniser takes at once."""
    if clip.duration_s <= longest_s:
        yield clip
        return
    frames = int(longest_s * FPS)
    for number, first in enumerate(range(0, clip.frames, frames)):
        last = min(clip.frames, first + frames)
        yield replace(clip.window(first, last), id=f"{clip.id}-{number:03d}", text=None)


def _pieces(clip: Clip, words: Sequence[Word]) -> Iterator[tuple[Clip, list[Word]]]:
    """A clip with what was said in it; a long one cut where nobody speaks, without what reaches
    its ends."""
    if clip.duration_s <= WHOLE_S or not words:
        yield _with_words(clip, words), list(words)
        return
    groups = [[words[0]]]
    for word in words[1:]:
        last = groups[-1]
        if word.start_s - last[-1].end_s >= PAUSE_S and not word.glued:
            groups.append([word])
        else:
            last.append(word)
    for number, group in enumerate(groups):
        if group[0].start_s < clip.start_s + EDGE_S:
            continue
        if group[-1].end_s > clip.start_s + clip.duration_s - EDGE_S:
            continue
        begin, end = group[0].start_s - MARGIN_S, group[-1].end_s + MARGIN_S
        first = max(0, round((begin - clip.start_s) * FPS))
        last_frame = min(clip.frames, round((end - clip.start_s) * FPS))
        piece = replace(clip.window(first, last_frame), id=f"{clip.id}-{number:03d}")
        yield _with_words(piece, group), group


def _with_words(clip: Clip, words: Sequence[Word]) -> Clip:
    """The clip with these words for its text, their times from its begin."""
    times = []
    for word in words:
        begin, end = (
            min(clip.duration_s, max(0.0, at - clip.start_s)) for at in (word.start_s, word.end_s)
        )
        times.append((word.word, round(begin, 3), round(end, 3)))
    return replace(clip, text=join(words), words=tuple(times))
