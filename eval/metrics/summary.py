"""The figures that stand above the rows: what they say about a recogniser in a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from avsr.eval.conditions.axes import Noise, Nothing
from avsr.eval.conditions.suites import HARM
from avsr.eval.metrics.results import Gain, Measured, Reliance, Summary, TrustBin
from avsr.eval.metrics.scoring import Scores
from avsr.eval.metrics.wer import align

REFERENCE_DB = 0.0  # where the effective SNR gain is read
TRUST_BINS = 10
RELIANCE = (
    "lips of another clip; of the places at which the two sentences, aligned word by word, have "
    "different words, the share at which the output has the lips' word, and the share at which it "
    "has the sound's"
)


def summarise(scores: Scores, table: Sequence[Measured]) -> Summary:
    """The summary of the results.

    Args:
        scores: errors by row and clip.
        table: the rows of the results.
    """
    scored = [row for row in table if row.available]
    seconds = sum(row.seconds for row in scored)
    recognised_s = sum(row.media_s for row in scored)
    lines = [line for row, seed in scores.counts for line in scores.lines_of(row, seed)]
    return Summary(
        **_hallucination(scored),
        effective_snr_gain_db=_snr_gains(scores),
        trust_curve=_trust_curve(scores),
        visual_reliance=_visual_reliance(scores),
        harm={name: scores.check(against) for name, against in HARM.items()},
        speakers=scores.speakers(),
        real_time_factor=round(seconds / recognised_s, 5) if recognised_s else None,
        seconds=round(seconds, 3),
        seconds_network=round(sum(line.seconds_network for line in lines), 3),
        seconds_other=round(sum(line.seconds_other for line in lines), 3),
    )


def _hallucination(scored: Sequence[Measured]) -> dict[str, Any]:
    """Words put out where nothing was there, and the share of such clips with any."""
    nothing = [row for row in scored if row.axis == Nothing.axis]
    utterances = sum(row.utterances for row in nothing)
    media_s = sum(row.media_s for row in nothing)
    words = sum(row.insertions for row in nothing)
    clips = sum(row.hallucinating_utterances for row in nothing)
    return {
        "hallucination_rate": clips / utterances if utterances else None,
        "hallucinated_words": words if nothing else None,
        "hallucinated_words_per_minute": round(60 * words / media_s, 3) if media_s else None,
    }


# ---- effective SNR gain


def _snr_gains(scores: Scores) -> dict[str, Gain]:
    """Noise kind -> how many dB noisier the sound may get before both together are no better than
    hearing at 0 dB.

    The measure of Ma et al., "Auto-AVSR", arXiv 2303.14307; between two measured ratios the error
    rate is taken to go straight, in dB.
    """
    curves: dict[str, dict[str, dict[float, float]]] = {}
    for row in scores.rows:
        if row.modality not in ("av", "audio") or len(row.condition.steps) != 1:
            continue
        step = row.condition.steps[0]
        rate = scores.rate(row) if isinstance(step, Noise) else None
        if isinstance(step, Noise) and rate is not None and rate.rate is not None:
            kind = curves.setdefault(step.kind, {"av": {}, "audio": {}})
            kind[row.modality][step.snr_db] = rate.rate
    return {
        kind: snr_gain(found["av"], found["audio"]) for kind, found in curves.items() if found["av"]
    }


def snr_gain(both: Mapping[float, float], audio: Mapping[float, float]) -> Gain:
    """The effective SNR gain of one noise.

    Args:
        both: SNR in dB -> WER of the audio-visual rows.
        audio: the same of the audio-only rows.

    Returns:
        A gain of None, with a note that says why, where the range measured does not hold it.
    """
    target = audio.get(REFERENCE_DB)
    if target is None:
        return Gain(gain_db=None, note=f"no audio-only condition at {REFERENCE_DB:g} dB")
    points = sorted(both.items())
    if len(points) < 2:
        return Gain(gain_db=None, note="fewer than two audio-visual conditions")
    # From the quiet end downwards: the first ratio at which both together have become as bad as the
    # sound at 0 dB.
    last_db, last = points[-1]
    if last > target:
        note = f"worse than audio only at {REFERENCE_DB:g} dB even at {last_db:g} dB"
        return Gain(gain_db=None, note=note)
    for (low_db, low), (high_db, high) in reversed(list(pairwise(points))):
        if low > target >= high:
            crossing = high_db - (high_db - low_db) * (target - high) / (low - high)
            return Gain(gain_db=round(REFERENCE_DB - crossing, 2), note=None)
    first_db = points[0][0]
    note = f"more than {REFERENCE_DB - first_db:g} dB: still no worse at {first_db:g} dB"
    return Gain(gain_db=None, note=note)


# ---- trust and reliance


def _trust_curve(scores: Scores) -> tuple[TrustBin, ...]:
    """Mean audio weight by how much of a clip's sound was there; rows in which sound alone is
    missing and the masks say so."""
    weights: dict[int, list[tuple[float, int]]] = {}
    for row, seed in scores.counts:
        condition = row.condition
        apt = condition.mask_indicated and condition.axis in ("clean", "audio missing")
        if row.modality != "av" or not apt:
            continue
        for line in scores.lines_of(row, seed):
            if line.audio_weight is not None:
                place = min(int(line.audio_present * TRUST_BINS), TRUST_BINS - 1)
                weighed = line.audio_weight, line.weighed_words
                weights.setdefault(place, []).append(weighed)
    curve = []
    for place, found in sorted(weights.items()):
        words = sum(count for _, count in found)
        mean = sum(weight * count for weight, count in found) / words
        share = round((place + 0.5) / TRUST_BINS, 3)
        curve.append(TrustBin(audio_present=share, audio_weight=round(mean, 4), words=words))
    return tuple(curve)


def _visual_reliance(scores: Scores) -> Reliance | None:
    """How far the output follows the lips of another clip; WER cannot see a model that ignores the
    picture."""
    totals = np.zeros(3, np.int64)
    for row, seed in scores.counts:
        if row.modality != "av":
            continue
        for line in scores.lines_of(row, seed):
            if line.lips_reference is not None:
                texts = line.reference, line.lips_reference, line.hypothesis
                totals += follows(*texts, scores.normalizer)
    words = int(totals[0])
    if not words:
        return None
    lips, sound = (int(count) / words for count in totals[1:])
    return Reliance(follows_lips=lips, follows_sound=sound, words=words, definition=RELIANCE)


def follows(sound: str, lips: str, output: str, normalizer: str = "basic") -> np.ndarray:
    """Which of two sentences an output follows where they differ.

    Args:
        sound: what the sound says.
        lips: what the lips say.
        output: what was recognised.
        normalizer: applied to all three.

    Returns:
        (3,) int64: places at which the sentences have different words, at how many of them the
        output has the lips' word, and the sound's.
    """
    heard, seen = _found(sound, output, normalizer), _found(lips, output, normalizer)
    totals = np.zeros(3, np.int64)
    place_heard = place_seen = 0
    for spoken, shown in align(sound, lips, normalizer=normalizer):
        if spoken is not None and shown is not None and spoken != shown:
            totals += (1, seen[place_seen], heard[place_heard])
        place_heard += spoken is not None
        place_seen += shown is not None
    return totals


def _found(sentence: str, output: str, normalizer: str) -> list[bool]:
    """For each word of a sentence whether the output has it in its place."""
    pairs = align(sentence, output, normalizer=normalizer)
    return [word == other for word, other in pairs if word is not None]
