"""Results made up by a formula: many conditions, several seeds, curves, every figure."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from avsr.eval.metrics.noninferiority import TOLERANCE, clips_needed, decide
from avsr.eval.metrics.results import (
    PASSES,
    Check,
    Curve,
    Errors,
    Gain,
    Measured,
    Predicate,
    Reliance,
    Results,
    Speaker,
    Summary,
    TrustBin,
)
from avsr.eval.metrics.wer import Difference
from avsr.eval.metrics.worst import Example
from avsr.preprocessing.clip import Clip

PATTERNS = ("utterance", "frame", "start", "middle", "end", "bursts", "interval")
RATES = (0.1, 0.25, 0.3, 0.5, 0.75, 1.0)
SNRS = (-10.0, -7.5, -5.0, -2.5, 0.0, 2.5, 5.0, 7.5, 10.0)
NOISES = ("babble", "white", "pink", "recorded", "talker")
CLEAN = {"av": 0.048, "audio": 0.067, "video": 0.125}
WORDS = 600


def wer(axis: str, condition: str, level: Any, modality: str, indicated: bool, seed: int) -> float:
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
        end = CLEAN["audio" if axis == "video missing" else "video"] + (0 if indicated else 0.12)
        return CLEAN["av"] + (end - CLEAN["av"]) * level + (0.0 if level == 1.0 else jitter)
    return CLEAN[modality] + {"light": 0.01, "heavy": 0.06}.get(str(level), 0.03) + jitter


def errors(rate: float, words: int = WORDS, utterances: int = 100) -> dict[str, Any]:
    """Counts that give a rate, and an interval around it."""
    wrong = round(rate * words)
    return {
        "utterances": utterances,
        "words": words,
        "wer": rate,
        "wer_low": max(0.0, rate - 0.02 - 0.05 * rate),
        "wer_high": rate + 0.02 + 0.05 * rate,
        "substitutions": wrong - wrong // 5,
        "deletions": wrong // 5,
        "insertions": 0,
    }


def row(axis: str, condition: str, level: Any, modality: str = "av", **changes: Any) -> Measured:
    """One line; `label`, `mask_indicated`, `seed` and any figure can be given."""
    indicated, seed = changes.pop("mask_indicated", True), changes.pop("seed", 17)
    label = changes.pop("label", None) or name_of(axis, condition, level, indicated)
    rate = wer(axis, condition, level, modality, indicated, seed)
    fields = {
        "key": f"{label} | {modality} | seed {seed}",
        "label": label,
        "axis": axis,
        "condition": condition,
        "level": level,
        "seed": seed,
        "modality": modality,
        "mask_indicated": indicated,
        "role": "suite",
        **({"snr": "whole clip"} if axis == "noise" else {}),
        **errors(rate),
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
    }
    return Measured(**{**fields, **changes})


def name_of(axis: str, condition: str, level: Any, indicated: bool) -> str:
    if axis.endswith("missing"):
        return f"{axis} {100 * level:g} % ({condition}{'' if indicated else ', unindicated'})"
    if axis == "noise":
        return f"{condition} {level:g} dB"
    return f"{condition} {level}" if level is not None else condition


def check(one: Measured, against: str) -> Check:
    """The check of a line against another rate on clean clips."""
    difference = one.wer - CLEAN[against]
    ends = Difference(difference, difference - 0.008, difference + 0.008)
    verdict = decide(ends)
    copied = ("label", "axis", "condition", "level", "mask_indicated", "wer")
    return Check(
        row=one.key,
        against=f"clean | {against} | seed {one.seed}",
        **{name: getattr(one, name) for name in copied},
        against_wer=CLEAN[against],
        difference=difference,
        low=ends.low,
        high=ends.high,
        passed=PASSES[verdict],
        clips_needed=clips_needed(ends, 100, same=False) if verdict == "undecided" else None,
    )


def predicate(checks: Sequence[Check]) -> Predicate:
    worst = max(checks, key=lambda one: one.difference, default=None)
    found = {one.verdict for one in checks}
    verdict = next((one for one in ("fail", "undecided", "pass") if one in found), None)
    return Predicate(
        passed=PASSES.get(verdict),
        worst=worst.difference if worst else None,
        worst_row=worst.row if worst else None,
        tolerance=TOLERANCE,
        checks=tuple(checks),
    )


def curve(
    axis: str, condition: str, x_label: str, rows: Sequence[Measured], levels: Sequence[Any]
) -> Curve:
    missing = axis.endswith("missing")
    return Curve(
        axis=axis,
        condition=condition,
        mask_indicated=rows[-1].mask_indicated,
        modality=rows[0].modality,
        x_label=x_label,
        levels=tuple(levels),
        wer=tuple(one.wer for one in rows),
        wer_low=tuple(one.wer_low for one in rows),
        wer_high=tuple(one.wer_high for one in rows),
        area=float(np.trapezoid([one.wer for one in rows], levels)) if missing else None,
        rows=tuple((one.key,) for one in rows),
    )


def missing(axis: str, indicated: bool, seeds: Sequence[int]) -> tuple[list[Measured], list[Curve]]:
    clean = row("clean", "clean", None)
    rows, curves = [], []
    for pattern in PATTERNS if indicated else ("bursts", "utterance"):
        mine = [
            row(axis, pattern, rate, mask_indicated=indicated, seed=seed)
            for rate in RATES
            for seed in seeds
        ]
        first = [one for one in mine if one.seed == seeds[0]]
        rows += mine
        curves.append(curve(axis, pattern, "missing %", [clean, *first], (0.0, *RATES)))
    return rows, curves


def full_results(seeds: Sequence[int] = (17, 29, 43), **changes: Any) -> Results:
    """A full suite: R_V fails where absence is unindicated, R_A too; one noise cannot be built."""
    rows = [row("clean", "clean", None, use) for use in ("av", "audio", "video")]
    curves = []
    for axis in ("video missing", "audio missing"):
        for indicated in (True, False):
            found, drawn = missing(axis, indicated, seeds)
            rows += found
            curves += drawn
    for kind in NOISES:
        for use in ("av", "audio"):
            told = {"not_available": "the corpus has one talker only", "wer": None}
            absent = told if kind == "talker" else {}
            mine = [row("noise", kind, snr, use, **absent) for snr in SNRS]
            rows += mine
            if not absent:
                clean = row("clean", "clean", None, use)
                curves.append(curve("noise", kind, "SNR dB", [*mine, clean], (*SNRS, None)))
    for kind in ("blur", "occlusion", "JPEG"):
        mine = [row("video corrupted", kind, level) for level in ("light", "heavy")]
        rows += mine
        levels = ("none", "light", "heavy")
        clean = row("clean", "clean", None)
        curves.append(curve("video corrupted", kind, "strength", [clean, *mine], levels))
    blank = ("wer", "wer_low", "wer_high", "cer", "delta_wer", "delta_low", "delta_high")
    nothing = row(
        "nothing there",
        "silence and black",
        None,
        label="nothing there (unindicated)",
        insertions=500,
        words=0,
        **dict.fromkeys(blank),
    )
    crossed = row(
        "crossed",
        "noise babble + video missing bursts",
        [0.0, 0.5],
        label="babble 0 dB + video missing 50 %",
    )
    rows += [nothing, crossed]
    against = {"R_V": ("video missing", "audio"), "R_A": ("audio missing", "video")}
    checks = {
        name: [check(one, other) for one in rows if one.axis == axis and one.seed == seeds[0]]
        for name, (axis, other) in against.items()
    }
    checks["R_V"].append(check(crossed, "audio"))
    harm = [check(one, "audio") for one in rows if one.axis == "video corrupted"]
    fields = {
        "schema": 1,
        "model": "grid-tiny",
        "model_sha256": "f033f138c2e8a50c4268281a66421d3c0c5df6e7ae410cf50874980727a87090",
        "data": "data/grid",
        "split": "val",
        "suite": "full",
        "seeds": tuple(seeds),
        "normalizer": "basic",
        "clips": 100,
        "clips_without_text": (),
        "versions": {"avsr": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
        "rows": tuple(rows),
        "curves": tuple(curves),
        "predicates": {name: predicate(found) for name, found in checks.items()},
        "summary": summary(rows, harm),
    }
    return Results(**{**fields, **changes})


def summary(rows: Sequence[Measured], harm: Sequence[Check]) -> Summary:
    return Summary(
        hallucination_rate=0.25,
        hallucinated_words=500,
        hallucinated_words_per_minute=100.0,
        effective_snr_gain_db={
            "babble": Gain(gain_db=6.4, note=None),
            "white": Gain(gain_db=None, note="more than 10 dB: still no worse at -10 dB"),
        },
        trust_curve=tuple(
            TrustBin(
                audio_present=0.05 + 0.1 * step,
                audio_weight=0.02 + 0.07 * step,
                words=400 + 10 * step,
            )
            for step in range(10)
        ),
        visual_reliance=Reliance(
            follows_lips=0.31,
            follows_sound=0.52,
            words=480,
            definition="Of the words that differ between the two: the share with which it goes.",
        ),
        harm={"bad picture": predicate(harm), "bad sound": predicate([])},
        speakers=tuple(speaker(name, share, rows) for name, share in (("s1", 0.5), ("s2", 1.5))),
        real_time_factor=0.0123,
        seconds=1234.5,
    )


def speaker(name: str, share: float, rows: Sequence[Measured]) -> Speaker:
    """One with a share of the errors of all."""
    first = {one.key: one.wer for one in rows if one.wer is not None and one.seed == 17}
    counted = {key: Errors(**errors(share * rate, WORDS // 2, 50)) for key, rate in first.items()}
    return Speaker(speaker=name, utterances=50, rows=counted)


def small_results(**changes: Any) -> Results:
    """A clean suite, as a release before this report wrote it: one seed, no curves, a summary of
    four figures."""
    full = full_results()
    kept = ("schema_", "model", "data", "split", "normalizer", "clips_without_text")
    none = predicate([])
    fields = {
        **{name: getattr(full, name) for name in kept},
        "suite": "clean",
        "seed": 17,
        "rows": [one.model_dump(exclude_unset=True) for one in full.rows[:3]],
        "predicates": {"R_V": none, "R_A": none},
        "summary": Summary(real_time_factor=0.01),
        **changes,
    }
    return Results(**fields)


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
            "nothing there (unindicated)",
            "s1_bbaf3s",
            "",
            "set white with q nine again",
            6,
            make_clip("s1_bbaf3s"),
        ),
    ]
