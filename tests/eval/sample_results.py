"""Results as results.json has them, made up by a formula: many conditions, several seeds, curves,
every figure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from avsr.eval.metrics.scoring import PASSES, TOLERANCE, clips_needed, decide
from avsr.eval.metrics.wer import Difference
from avsr.eval.report.examples import Example
from avsr.preprocessing.clip import Clip

PATTERNS = ("utterance", "frame", "start", "middle", "end", "bursts", "interval")
RATES = (0.1, 0.25, 0.3, 0.5, 0.75, 1.0)
SNRS = (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0)
NOISES = ("babble", "white", "pink", "recorded", "talker")
CLEAN = {"av": 0.048, "audio": 0.067, "video": 0.125}
WORDS = 600


def wer(axis: str, condition: str, level: Any, modality: str, signalled: bool, seed: int) -> float:
    """A rate that goes up with the level as that of a small audio-visual model does."""
    jitter = (
        zlib.crc32(f"{axis}{condition}{level}{modality}{seed}".encode()) % 100
    ) / 10_000 - 0.005
    if level is None or axis == "clean":
        return CLEAN[modality]
    if axis == "noise":
        audio = 0.93 / (1 + np.exp((level + 2) / 3)) + CLEAN["audio"]
        return {"av": 0.15 * audio + 0.05, "audio": audio, "video": CLEAN["video"]}[
            modality
        ] + jitter
    if axis in ("video missing", "audio missing"):
        end = CLEAN["audio" if axis == "video missing" else "video"] + (0 if signalled else 0.12)
        return CLEAN["av"] + (end - CLEAN["av"]) * level + (0.0 if level == 1.0 else jitter)
    return CLEAN[modality] + {"light": 0.01, "heavy": 0.06}.get(str(level), 0.03) + jitter


def row(
    axis: str, condition: str, level: Any, modality: str = "av", **changes: Any
) -> dict[str, Any]:
    """One row; `label`, `signalled`, `seed` and any figure can be given."""
    signalled, seed = changes.pop("signalled", True), changes.pop("seed", 17)
    label = changes.pop("label", None) or name_of(axis, condition, level, signalled)
    rate = wer(axis, condition, level, modality, signalled, seed)
    errors = round(rate * WORDS)
    return {
        "key": f"{label} | {modality} | seed {seed}",
        "label": label,
        "axis": axis,
        "condition": condition,
        "level": level,
        "seed": seed,
        "modality": modality,
        "signalled": signalled,
        "role": "suite",
        **({"snr": "whole clip"} if axis == "noise" else {}),
        "utterances": 100,
        "words": WORDS,
        "wer": rate,
        "wer_low": max(0.0, rate - 0.02 - 0.05 * rate),
        "wer_high": rate + 0.02 + 0.05 * rate,
        "substitutions": errors - errors // 5,
        "deletions": errors // 5,
        "insertions": 0,
        "cer": rate * 0.4,
        "delta_wer": rate - CLEAN["av"],
        "delta_low": rate - CLEAN["av"] - 0.02,
        "delta_high": rate - CLEAN["av"] + 0.02,
        "audio_present": 1 - level if axis == "audio missing" else 1.0,
        "video_present": 1 - level if axis == "video missing" else 1.0,
        "audio_weight": 0.7,
        "media_s": 300.0,
        "seconds": 3.0,
        "real_time_factor": 0.01,
        **changes,
    }


def name_of(axis: str, condition: str, level: Any, signalled: bool) -> str:
    if axis.endswith("missing"):
        return f"{axis} {100 * level:g} % ({condition}{'' if signalled else ', silent'})"
    if axis == "noise":
        return f"{condition} {level:g} dB"
    return f"{condition} {level}" if level is not None else condition


def check(one: dict[str, Any], against: str) -> dict[str, Any]:
    """The check of a row against another rate on clean clips."""
    difference = one["wer"] - CLEAN[against]
    copied = {name: one[name] for name in ("label", "axis", "condition", "level", "wer")}
    ends = Difference(difference, difference - 0.008, difference + 0.008)
    verdict = decide(ends)
    return {
        "row": one["key"],
        "against": f"clean | {against} | seed {one['seed']}",
        **copied,
        "against_wer": CLEAN[against],
        "difference": difference,
        "low": ends.low,
        "high": ends.high,
        "verdict": verdict,
        "pass": PASSES[verdict],
        "clips_needed": clips_needed(ends, 100, same=False) if verdict == "undecided" else None,
    }


def predicate(checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    worst = max(checks, key=lambda one: one["difference"], default=None)
    found = {one["verdict"] for one in checks}
    verdict = next((one for one in ("fail", "undecided", "pass") if one in found), "not checked")
    return {
        "verdict": verdict,
        "pass": PASSES.get(verdict),
        "worst": worst["difference"] if worst else None,
        "worst_row": worst["row"] if worst else None,
        "tolerance": TOLERANCE,
        "checks": list(checks),
    }


def curve(
    axis: str, condition: str, x_label: str, rows: Sequence[dict[str, Any]], levels: Sequence[Any]
) -> dict[str, Any]:
    area = (
        float(np.trapezoid([one["wer"] for one in rows], levels))
        if axis.endswith("missing")
        else None
    )
    return {
        "axis": axis,
        "condition": condition,
        "signalled": rows[-1]["signalled"] and rows[0]["signalled"],
        "modality": rows[0]["modality"],
        "x_label": x_label,
        "levels": list(levels),
        **{name: [one[name] for one in rows] for name in ("wer", "wer_low", "wer_high")},
        "area": area,
        "rows": [[one["key"]] for one in rows],
    }


def missing(
    axis: str, signalled: bool, seeds: Sequence[int]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rows, curves = [], []
    for pattern in PATTERNS if signalled else ("bursts", "utterance"):
        mine = [
            row(axis, pattern, rate, signalled=signalled, seed=seed)
            for rate in RATES
            for seed in seeds
        ]
        first = [one for one in mine if one["seed"] == seeds[0]]
        rows += mine
        curves.append(
            curve(axis, pattern, "missing %", [row("clean", "clean", None), *first], (0.0, *RATES))
        )
        curves[-1]["signalled"] = signalled
    return rows, curves


def full_results(seeds: Sequence[int] = (17, 29, 43), **changes: Any) -> dict[str, Any]:
    """A full suite: R_V fails where absence is not signalled, R_A too; one noise cannot be
    built."""
    rows = [row("clean", "clean", None, use) for use in ("av", "audio", "video")]
    curves = []
    for axis in ("video missing", "audio missing"):
        for signalled in (True, False):
            found, drawn = missing(axis, signalled, seeds)
            rows += found
            curves += drawn
    for kind in NOISES:
        for use in ("av", "audio"):
            mine = [row("noise", kind, snr, use) for snr in SNRS]
            if kind == "talker":
                rows += [
                    {**one, "not_available": "the corpus has one talker only", "wer": None}
                    for one in mine
                ]
                continue
            rows += mine
            clean = row("clean", "clean", None, use)
            curves.append(curve("noise", kind, "SNR dB", [*mine, clean], (*SNRS, None)))
    for kind in ("blur", "occlusion", "JPEG"):
        mine = [row("video corrupted", kind, level) for level in ("light", "heavy")]
        rows += mine
        clean = row("clean", "clean", None)
        curves.append(
            curve("video corrupted", kind, "strength", [clean, *mine], ("none", "light", "heavy"))
        )
    nothing = row(
        "nothing there",
        "silence and black",
        None,
        label="nothing there (silent)",
        insertions=500,
        words=0,
    )
    blank = ("wer", "wer_low", "wer_high", "cer", "delta_wer", "delta_low", "delta_high")
    rows.append({**nothing, **dict.fromkeys(blank)})
    crossed = row(
        "crossed",
        "noise babble + video missing bursts",
        [0.0, 0.5],
        label="babble 0 dB + video missing 50 %",
    )
    rows.append(crossed)
    against = {"R_V": ("video missing", "audio"), "R_A": ("audio missing", "video")}
    checks = {
        name: [check(one, other) for one in rows if one["axis"] == axis and one["seed"] == seeds[0]]
        for name, (axis, other) in against.items()
    }
    checks["R_V"].append(check(crossed, "audio"))
    harm = [check(one, "audio") for one in rows if one["axis"] == "video corrupted"]
    return {
        "schema": 1,
        "model": "grid-tiny",
        "model_sha256": "f033f138c2e8a50c4268281a66421d3c0c5df6e7ae410cf50874980727a87090",
        "data": "data/grid",
        "split": "val",
        "suite": "full",
        "seeds": list(seeds),
        "normalizer": "basic",
        "clips": 100,
        "clips_without_text": [],
        "versions": {"avsr": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
        "rows": rows,
        "curves": curves,
        "predicates": {name: predicate(found) for name, found in checks.items()},
        "summary": {
            "hallucination_rate": 0.25,
            "hallucinated_words": 500,
            "hallucinated_words_per_minute": 100.0,
            "effective_snr_gain_db": {
                "babble": {"gain_db": 6.4, "note": None},
                "white": {"gain_db": None, "note": "more than 10 dB: still no worse at -10 dB"},
            },
            "trust_curve": [
                {
                    "audio_present": 0.05 + 0.1 * step,
                    "audio_weight": 0.02 + 0.07 * step,
                    "words": 400 + 10 * step,
                }
                for step in range(10)
            ],
            "visual_reliance": {
                "follows_lips": 0.31,
                "follows_sound": 0.52,
                "words": 480,
                "definition": "Of the words that differ between the two: the share with which it goes.",
            },
            "harm": {"bad picture": predicate(harm), "bad sound": predicate([])},
            "real_time_factor": 0.0123,
            "seconds": 1234.5,
        },
        **changes,
    }


def small_results(**changes: Any) -> dict[str, Any]:
    """A clean suite, as a release before this report wrote it: one seed, no curves, a summary of
    four figures."""
    rows = [row("clean", "clean", None, use) for use in ("av", "audio", "video")]
    kept = ("schema", "model", "data", "split", "normalizer", "clips_without_text")
    summary = dict.fromkeys(
        ("hallucination_rate", "hallucinated_words", "hallucinated_words_per_minute")
    )
    none = predicate([])
    return {
        **{name: value for name, value in full_results().items() if name in kept},
        "suite": "clean",
        "seed": 17,
        "rows": rows,
        "predicates": {"R_V": none, "R_A": none},
        "summary": {**summary, "real_time_factor": 0.01},
        **changes,
    }


def make_clip(name: str = "clip", frames: int = 75) -> Clip:
    """A chirp and a moving bright disc; the last third of the lips and the first fifth of the sound
    marked absent."""
    time = np.arange(640 * frames) / 16_000
    rows, columns = np.indices((96, 96))
    discs = [
        (rows - 48) ** 2 + (columns - 48) ** 2 < (10 + 20 * abs(np.sin(t / 6))) ** 2
        for t in range(frames)
    ]
    place = np.arange(frames)
    return Clip(
        id=name,
        audio=(0.3 * np.sin(2 * np.pi * (200 + 600 * time) * time)).astype(np.float32),
        lips=(40 + 160 * np.array(discs, np.uint8).reshape(frames, 96, 96)).astype(np.uint8),
        audio_present=place >= frames // 5,
        video_present=place < frames * 2 // 3,
    )


def make_examples() -> list[Example]:
    """A substitution, a deletion and an insertion; and words where nothing was said."""
    said, heard = "bin blue at f two now", "bin green at two now please"
    return [
        Example("babble -10 dB", "s1_bbaf2n", said, heard, 3, make_clip("s1_bbaf2n")),
        Example(
            "nothing there (silent)",
            "s1_bbaf3s",
            "",
            "set white with q nine again",
            6,
            make_clip("s1_bbaf3s"),
        ),
    ]
