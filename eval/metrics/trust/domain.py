"""Tells a model's own language from other speech: fits what `avsr.decoding.domain` weighs.

The model hears its own sentences, clean and in babble, with lips and without, and recordings of
other speech in pieces of several lengths, each as `avsr transcribe` would hear it. A logistic
regression parts the two. Its bias is then moved to where hardly any of its own sentences are
refused, and further, to the middle between the two, where they lie apart.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.decoding.domain import Domain, domain_features
from avsr.decoding.grammar import Grammar
from avsr.eval.conditions.axes import Condition, Noise
from avsr.eval.conditions.noise import Corpus, Draw
from avsr.eval.metrics.trust.calibration import VOICES
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.reader import load_clip
from avsr.preprocessing.recordings import AUDIO_SUFFIXES, media_below
from avsr.preprocessing.shards import ShardIndex
from avsr.recognisers.ours import NetworkRecogniser
from avsr.transcribing.engine import Listener
from avsr.transcribing.voice.activity import somebody

OWN_REFUSED = 0.005  # share of its own clips that may be taken for other speech
OTHER_MISSED = 0.02  # share of other speech below which the two count as lying apart
PIECES_S = (2.0, 4.0, 8.0)  # other speech is heard in pieces of these lengths in turn
LEAST_PIECES = 20  # of either kind
# the surer and the more in order, the more it is its own; what no word covers never speaks for it
SIGNS: list[tuple[float | None, float | None]] = [(0.0, None), (0.0, None), (None, 0.0)]
RIDGE = 1e-2  # keeps the weights finite where the two can be parted without an error
CONDITIONS = (Condition(), Condition((Noise("babble", 0.0),)))

Features = list[tuple[float, ...]]
Progress = Callable[[int, int], None]
"""Called with the pieces done and how many there are."""


def fit_domain(
    recogniser: NetworkRecogniser,
    index: ShardIndex,
    other: Path,
    grammar: Grammar,
    *,
    split: str | None = "train",
    clips: int = 100,
    seed: int = 17,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What stands in the model's info under "domain", and on what it was fitted.

    Args:
        recogniser: with calibrated confidences.
        index: prepared clips of its own language.
        other: folder of recordings of other speech.
        grammar: of its own language.
        split: of the clips.
        clips: how many of them, drawn, of all speakers alike; each in every one of CONDITIONS with
            lips and without.
        seed: of draws and noise.
        progress: told how far it is.

    Raises:
        AvsrError: too little of either.
    """
    listening = listener(recogniser, grammar)
    files = media_below(other, AUDIO_SUFFIXES)
    pieces = [*_own(index, split, clips, seed)]
    total = len(pieces) + len(files) * len(PIECES_S)
    own, others = Features(), Features()
    follows = grammar.follows()
    for done, (clip, modality) in enumerate(pieces, 1):
        own += heard(listening, clip, modality, follows)
        if progress is not None:
            progress(done, total)
    for done, file in enumerate(files, 1):
        for piece in _pieces(load_clip(file, video=False)):
            others += heard(listening, piece, "audio", follows)
        if progress is not None:
            progress(len(pieces) + done * len(PIECES_S), total)
    if min(len(own), len(others)) < LEAST_PIECES:
        raise AvsrError(
            f"{len(own)} clips of its own language and {len(others)} of other speech in {other} "
            f"are too few: give at least {LEAST_PIECES} of each"
        )
    found = Domain(*part(np.array(own), np.array(others)))
    about: dict[str, Any] = {"split": split, "seed": seed}
    for name, kind in (("own", own), ("other", others)):
        refused = sum(found.score(features) < 0 for features in kind)
        about[name] = {"pieces": len(kind), "taken_for_other_speech": refused}
    return found.to_info() | {"fitted_on": about}


def listener(recogniser: NetworkRecogniser, grammar: Grammar) -> NetworkRecogniser:
    """The recogniser as `avsr transcribe` uses it: with its lexicon, where somebody speaks."""
    listening = copy.copy(recogniser).with_decoding(language=grammar.lexicon())
    listening.activity = somebody
    return listening


def heard(
    recogniser: NetworkRecogniser, clip: Clip, modality: str, follows: frozenset[tuple[str, str]]
) -> Features:
    """The features of a clip; none where nobody speaks in it."""
    listening = Listener(recogniser, modality, recogniser.recognise_part)
    words, present = listening.read([replace(clip, start_s=0.0)], lambda searched_s, done_s: None)
    if not words and not present.speaking.any():
        return []
    return [domain_features(words, present.speaking, 0.0, follows)]


def part(own: np.ndarray, other: np.ndarray) -> tuple[tuple[float, ...], float]:
    """Weights and bias that part two kinds of speech.

    Args:
        own: (n, F) features of the model's own language.
        other: (m, F) features of other speech; both kinds count as much.
    """
    from scipy.optimize import minimize

    inputs = np.concatenate([own, other])
    mean, spread = inputs.mean(0), inputs.std(0) + 1e-6
    scaled = np.column_stack([(inputs - mean) / spread, np.ones(len(inputs))])
    signs = np.repeat([1.0, -1.0], [len(own), len(other)])
    shares = np.repeat([0.5 / len(own), 0.5 / len(other)], [len(own), len(other)])

    def loss(weights: np.ndarray) -> float:
        margins = signs * (scaled @ weights)
        return float(shares @ np.logaddexp(0, -margins) + RIDGE * (weights[:-1] @ weights[:-1]) / 2)

    free = [(None, None)]  # the bias
    found = minimize(loss, np.zeros(scaled.shape[1]), method="L-BFGS-B", bounds=SIGNS + free).x
    weights = found[:-1] / spread
    low = float(np.quantile(own @ weights, OWN_REFUSED))
    high = float(np.quantile(other @ weights, 1 - OTHER_MISSED))
    edge = (low + high) / 2 if high < low else low
    return tuple(round(float(weight), 4) for weight in weights), round(-edge, 4)


def _own(index: ShardIndex, split: str | None, clips: int, seed: int) -> Iterator[tuple[Clip, str]]:
    """Clips of the model's language in every condition, with lips and without."""
    pool = index.select(split, text=True)
    speakers = [index.entries[i].speaker for i in pool]
    order = balanced(Draw("domain", seed).order(len(pool)).tolist(), speakers)
    places = {index.entries[pool[n]].id: pool[n] for n in order[: max(VOICES, clips)]}
    corpus = Corpus(places, lambda id: index.load(places[id]).audio)
    for n in order[:clips]:
        clip = index.load(pool[n])
        for condition in CONDITIONS:
            given = condition.apply(clip, seed, corpus)
            yield from ((given, modality) for modality in ("av", "audio"))


def balanced(order: Sequence[int], speakers: Sequence[str | None]) -> list[int]:
    """Numbers of clips in an order in which each speaker comes up once before any comes up again.

    Args:
        order: numbers of the clips, drawn.
        speakers: of each clip, by its number.
    """
    turns = Counter[str | None]()
    turn = {}
    for n in order:
        turn[n] = turns[speakers[n]]
        turns[speakers[n]] += 1
    return sorted(order, key=lambda n: turn[n])


def _pieces(clip: Clip) -> Iterator[Clip]:
    """One piece of each length from different places of a recording, as far as it is long enough;
    all of a shorter one once."""
    first = 0
    for seconds in PIECES_S:
        last = min(first + round(seconds * FPS), clip.frames)
        if last - first >= min(PIECES_S) * FPS or first == 0:
            yield clip.window(first, last)
        first = last
