"""Neural voices for training material: Kokoro-82M, 54 speakers, and everyone between two of them.

The Python package kokoro-onnx runs it on a CPU. Its two files are looked for in the folder that
AVSR_KOKORO_DIR names, else in the user cache (`avsr/kokoro`). Model and voices are under the Apache
licence; its author says that it learnt from freely licensed and, for the most part, synthetic
speech. The method is StyleTTS 2 (Li et al. 2023).
"""

from __future__ import annotations

import functools
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.preprocessing.clip import SAMPLE_RATE

if TYPE_CHECKING:
    from kokoro_onnx import Kokoro

MODEL, VOICES = "kokoro-v1.0.int8.onnx", "voices-v1.0.bin"
INSTALL = (
    f"{install('kokoro_onnx')}, then put {MODEL} and {VOICES} of its releases into AVSR_KOKORO_DIR"
)

ENGLISH = (
    *(
        "af_alloy",
        "af_aoede",
        "af_bella",
        "af_heart",
        "af_jessica",
        "af_kore",
        "af_nicole",
        "af_river",
        "af_sarah",
    ),
    *(
        "af_sky",
        "am_adam",
        "am_echo",
        "am_fenrir",
        "am_liam",
        "am_michael",
        "am_onyx",
        "am_puck",
        "am_santa",
    ),
    *("bf_alice", "bf_emma", "bf_isabella", "bm_daniel", "bm_george", "bm_lewis"),
)
"""Voices for training; a woman's or man's, American (a) or British (b)."""

HELD_OUT = ("af_nova", "am_eric", "bf_lily", "bm_fable")
"""Voices that training never hears, also not in part, to measure with."""


def folder() -> Path:
    """Where the model and the voices should be."""
    import platformdirs

    return Path(
        os.environ.get("AVSR_KOKORO_DIR") or platformdirs.user_cache_path("avsr") / "kokoro"
    )


def available() -> bool:
    """Whether it can speak on this machine."""
    files = all((folder() / name).is_file() for name in (MODEL, VOICES))
    return files and importlib.util.find_spec("kokoro_onnx") is not None


def say(text: str, voice: str, rng: np.random.Generator) -> np.ndarray:
    """Speaks a text in a drawn tempo; half of the time a training voice gets a drawn share of
    another speaker.

    Args:
        text: lower-case words as espeak-ng should read them.
        voice: one of ENGLISH or HELD_OUT.
        rng: the same state gives the same words, speaker and tempo; the network adds a little noise
            of its own.

    Returns:
        (N,) float32, 16 kHz.

    Raises:
        AvsrError: the files are others than they should be.
    """
    from scipy.signal import resample_poly

    engine = _load(str(folder()))
    speed = float(np.exp(rng.uniform(np.log(0.8), np.log(1.3))))
    style = engine.voices[voice]
    if voice not in HELD_OUT and rng.random() < 0.5:
        # also those who learnt another language
        others = [name for name in engine.voices if name not in HELD_OUT]
        share = rng.uniform(0.2, 0.5)
        style = (1 - share) * style + share * engine.voices[others[rng.integers(len(others))]]
    accent = "en-gb" if voice.startswith("b") else "en-us"
    sound, rate = engine.create(text, voice=style.astype(np.float32), speed=speed, lang=accent)
    return resample_poly(sound, SAMPLE_RATE, rate).astype(np.float32)


@functools.cache
def _load(where: str) -> Kokoro:
    import onnxruntime
    from kokoro_onnx import Kokoro

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(
            f"{where}/{MODEL}", options, providers=["CPUExecutionProvider"]
        )
        engine = Kokoro.from_session(session, f"{where}/{VOICES}")
        engine.voices = dict(engine.voices)  # read the archive once
        missing = sorted({*ENGLISH, *HELD_OUT} - engine.voices.keys())
    except Exception as error:  # each library has exceptions of its own for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AvsrError(
            f"{where}: {MODEL} or {VOICES} cannot be read ({reason}): fetch both again"
        ) from error
    if missing:
        raise AvsrError(
            f"{where}/{VOICES}: lacks the voice {missing[0]}: fetch {VOICES} of the same release "
            f"as {MODEL}"
        )
    return engine
