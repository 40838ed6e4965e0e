"""The figures that stand above the rows: what they say about a recogniser in a few numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from avsr.eval.conditions.axes import Noise, Nothing
from avsr.eval.conditions.suites import HARM
from avsr.eval.metrics.scoring import Scores, errors_of
from avsr.eval.metrics.wer import UNITS, align

REFERENCE_DB = 0.0  # where the effective SNR gain is read
TRUST_BINS = 10
RELIANCE = (
    "lips of another clip; of the places at which the two sentences, aligned word by word, have "
    "different words, the "
    "share at which the output has the lips' word, and the share at which it has the sound's"
)


def summarise(scores: Scores, table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of results.json.

    Args:
        scores: errors by row and clip.
        table: the "rows" of the results.
    """
    scored = [row for row in table if "not_available" not in row]
    seconds, recognised_s = (
        sum(row["seconds"] for row in scored),
        sum(row["media_s"] for row in scored),
    )
    lines = [line for row, seed in scores.counts for line in scores.lines_of(row, seed)]
    return {
        **_hallucination(scored),
        "effective_snr_gain_db": _snr_gains(scores),
        "trust_curve": _trust_curve(scores),
        "visual_reliance": _visual_reliance(scores),
        "harm": {name: scores.check(against) for name, against in HARM.items()},
        "speakers": _speakers(scores),
        "real_time_factor": round(seconds / recognised_s, 5) if recognised_s else None,
        "seconds": round(seconds, 3),
        "seconds_network": round(sum(line["seconds_network"] for line in lines), 3),
        "seconds_other": round(sum(line["seconds_other"] for line in lines), 3),
    }


def _hallucination(scored: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Words put out where nothing was there, and the share of such clips with any."""
    nothing = [row for row in scored if row["axis"] == Nothing.axis]
    utterances, media_s = (
        sum(row["utterances"] for row in nothing),
        sum(row["media_s"] for row in nothing),
    )
    words = sum(row["insertions"] for row in nothing)
    clips = sum(row["hallucinating_utterances"] for row in nothing)
    return {
        "hallucination_rate": clips / utterances if utterances else None,
        "hallucinated_words": words if nothing else None,
        "hallucinated_words_per_minute": round(60 * words / media_s, 3) if media_s else None,
    }


# ---- speakers


def _speakers(scores: Scores) -> list[dict[str, Any]]:
    """What each speaker comes to: {"speaker", "utterances", "rows": {row key: {"wer", "errors",
    "words"}}}, seeds added up; empty where not at least two are known."""
    clips: dict[str, list[int]] = {}
    for place, entry in enumerate(scores.entries):
        if speaker := getattr(entry, "speaker", None):
            clips.setdefault(speaker, []).append(place)
    if len(clips) < 2:
        return []
    found = []
    for speaker, places in sorted(clips.items()):
        rows = {}
        for row in scores.rows:
            counts = scores.pooled(row)
            if counts is None:
                continue
            errors, words = int(errors_of(counts[places]).sum()), int(counts[places, UNITS].sum())
            rate = errors / words if words else None
            rows[row.key(scores.seeds[0])] = {"wer": rate, "errors": errors, "words": words}
        found.append({"speaker": speaker, "utterances": len(places), "rows": rows})
    return found


# ---- effective SNR gain


def _snr_gains(scores: Scores) -> dict[str, dict[str, Any]]:
    """Noise kind -> how many dB noisier the sound may get before both together are no better than
    hearing at 0 dB.

    The measure of Ma et al., "Auto-AVSR", arXiv 2303.14307; between two measured ratios the error
    rate is taken to go straight, in dB.
    """
    curves: dict[str, dict[str, dict[float, float]]] = {}
    for row in scores.rows:
        if row.modality in ("av", "audio") and len(row.condition.steps) == 1:
            step = row.condition.steps[0]
            rate = scores.rate(row) if isinstance(step, Noise) else None
            if isinstance(step, Noise) and rate is not None and rate.rate is not None:
                curves.setdefault(step.kind, {"av": {}, "audio": {}})[row.modality][step.snr_db] = (
                    rate.rate
                )
    return {
        kind: snr_gain(found["av"], found["audio"]) for kind, found in curves.items() if found["av"]
    }


def snr_gain(both: Mapping[float, float], audio: Mapping[float, float]) -> dict[str, Any]:
    """The effective SNR gain of one noise.

    Args:
        both: SNR in dB -> WER of the audio-visual rows.
        audio: the same of the audio-only rows.

    Returns:
        {"gain_db", "note"}; the gain is None, and the note says why, where the range measured does
        not hold it.
    """
    target = audio.get(REFERENCE_DB)
    if target is None:
        return {"gain_db": None, "note": f"no audio-only row at {REFERENCE_DB:g} dB"}
    points = sorted(both.items())
    if len(points) < 2:
        return {"gain_db": None, "note": "fewer than two audio-visual rows"}
    # From the quiet end downwards: the first ratio at which both together have become as bad as the
    # sound at 0 dB.
    if points[-1][1] > target:
        return {
            "gain_db": None,
            "note": f"worse than audio only at {REFERENCE_DB:g} dB even at {points[-1][0]:g} dB",
        }
    for (low_db, low), (high_db, high) in reversed(list(pairwise(points))):
        if low > target >= high:
            crossing = high_db - (high_db - low_db) * (target - high) / (low - high)
            return {"gain_db": round(REFERENCE_DB - crossing, 2), "note": None}
    first_db = points[0][0]
    return {
        "gain_db": None,
        "note": f"more than {REFERENCE_DB - first_db:g} dB: still no worse at {first_db:g} dB",
    }


# ---- trust and reliance


def _trust_curve(scores: Scores) -> list[dict[str, Any]]:
    """Mean audio weight by how much of a clip's sound was there; rows in which sound alone is
    missing and says so."""
    weights: dict[int, list[tuple[float, int]]] = {}
    for row, seed in scores.counts:
        condition = row.condition
        if (
            row.modality == "av"
            and condition.signalled
            and condition.axis in ("clean", "audio missing")
        ):
            for line in scores.lines_of(row, seed):
                if line["audio_weight"] is not None:
                    place = min(int(line["audio_present"] * TRUST_BINS), TRUST_BINS - 1)
                    weights.setdefault(place, []).append(
                        (line["audio_weight"], line["weighed_words"])
                    )
    curve = []
    for place, found in sorted(weights.items()):
        words = sum(count for _, count in found)
        mean = sum(weight * count for weight, count in found) / words
        curve.append(
            {
                "audio_present": round((place + 0.5) / TRUST_BINS, 3),
                "audio_weight": round(mean, 4),
                "words": words,
            }
        )
    return curve


def _visual_reliance(scores: Scores) -> dict[str, Any] | None:
    """How far the output follows the lips of another clip; WER cannot see a model that ignores the
    picture."""
    totals = np.zeros(3, np.int64)
    for row, seed in scores.counts:
        for line in scores.lines_of(row, seed) if row.modality == "av" else ():
            if line.get("lips_reference") is not None:
                totals += follows(
                    line["reference"], line["lips_reference"], line["hypothesis"], scores.normalizer
                )
    words = int(totals[0])
    if not words:
        return None
    lips, sound = (int(count) / words for count in totals[1:])
    return {"follows_lips": lips, "follows_sound": sound, "words": words, "definition": RELIANCE}


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
