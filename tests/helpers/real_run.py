"""A small real evaluation: the bundled model on made-up voices, under a condition of every kind
that reports show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsr.eval.metrics.results import Results
from avsr.eval.run.evaluate import evaluate
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.shards import ShardWriter
from avsr.preprocessing.synthetic.corpus import sentence
from avsr.preprocessing.synthetic.voice import speak

CLIPS = 3
CONDITIONS = (
    "babble 0 dB,babble 5 dB,white 0 dB,recorded 0 dB,*missing 50 % (bursts)*,blur light*,other "
    "lips,"
    "nothing there (unindicated)"
)


@dataclass(frozen=True)
class RealRun:
    """What `evaluate` returned and where it wrote."""

    results: Results
    folder: Path
    corpus: Path


def evaluated(folder: Path) -> RealRun:
    """The full suite's conditions of each kind, one of which cannot be had, for two seeds."""
    with ShardWriter(folder / "shards") as writer:
        for number in range(CLIPS):
            writer.add(_spoken(number), {"split": "val"})
    results = evaluate(
        "default",
        folder / "shards",
        "full",
        seeds=[17, 29],
        conditions=CONDITIONS,
        out=folder / "run",
        device="cpu",
    )
    return RealRun(results, folder / "run", folder / "shards")


def _spoken(number: int) -> Clip:
    """A sentence in our own formant voice, with a mouth-like disc that opens with the loudness."""
    rng = np.random.default_rng(number)
    text = sentence(rng)
    audio = speak(text, rng, engine="formant").audio
    frames = -(-len(audio) // SAMPLES_PER_FRAME)
    audio = np.pad(audio, (0, frames * SAMPLES_PER_FRAME - len(audio))).astype(np.float32)
    loud = np.abs(audio.reshape(frames, -1)).max(axis=1)[:, None, None]
    rows, columns = np.indices((96, 96)) - 48
    lips = np.where(np.hypot(rows / (0.2 + loud), columns) < 20, 60, 150).astype(np.uint8)
    there = np.ones(frames, np.bool_)
    return Clip(f"made{number}", audio, lips, there, there, 0.0, text, f"voice{number}")
