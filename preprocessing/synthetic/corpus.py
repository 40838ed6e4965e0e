"""A small talking-head corpus made from nothing: GRID's sentences, a synthetic voice, a portrait
whose lips follow.

    avsr synth OUT --clips 100              talking heads
    avsr synth OUT --clips 2000 --voices    sound alone, by several engines

Both are what `avsr prepare folder OUT DST` reads: each clip with its words in `.txt` and, where the
engine tells them, their times in `.words.json`.

For tests, continuous integration and the demo: a seed fixes everything but the speech engine's
version. Sound and lips really carry the words; how well a model does on such clips says nothing
about people.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import install
from avsr.base.outputs import write_file
from avsr.preprocessing.clip import SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.preprocessing.corpora.grid import SLOTS
from avsr.preprocessing.synthetic import kokoro
from avsr.preprocessing.synthetic.puppet import frames_of, mouth_shapes
from avsr.preprocessing.synthetic.voice import Utterance, speak, voices

__all__ = [
    "DEFAULT_ENGINES",
    "GRAMMAR",
    "SHARES",
    "WORDS",
    "Utterance",
    "make_clip",
    "make_corpus",
    "make_voices",
    "render",
    "sentence",
    "speak",
    "voices",
]

GRAMMAR = {name: tuple(words.values()) for name, words in SLOTS.items()}
"""The six slots of a GRID sentence and the words of each."""

WORDS: tuple[str, ...] = tuple(word for slot in GRAMMAR.values() for word in slot)
"""GRID's 51 words."""

SHARES = {
    "espeak": 0.4,
    "flite": 0.28,
    "festival": 0.17,
    "formant": 0.15,
    "pico": 0.1,
    "kokoro": 0.5,
    "held-out": 0.5,
}
"""Engine -> share of the utterances that `make_voices` gives it, in proportion to the others that
are asked for."""

DEFAULT_ENGINES = ("espeak", "flite", "festival", "formant")
"""What `make_voices` uses unless told. The others speak only where they are named: they need
packages of their own."""

_INSTALL = {
    "espeak": "apt-get install espeak-ng",
    "flite": "apt-get install flite",
    "festival": "apt-get install festival festvox-kallpc16k",
    "pico": install("ttspico"),
    "kokoro": kokoro.INSTALL,
    "held-out": kokoro.INSTALL,
}


def sentence(rng: np.random.Generator) -> str:
    """A random GRID sentence, such as "bin blue at f two now"."""
    return " ".join(slot[rng.integers(len(slot))] for slot in GRAMMAR.values())


def render(
    utterance: Utterance, rng: np.random.Generator, width: int = 360, height: int = 288
) -> Iterator[np.ndarray]:
    """Frames of a head that says an utterance, as many as its sound is long.

    Args:
        utterance: must have phone times.
        rng: place, size, colour and movement of the head; the same state gives the same frames.
        width: of a frame, pixels, even.
        height: of a frame, pixels, even; the mouth is about a fifth of it.

    Returns:
        Iterator of T frames (height, width, 3) uint8 RGB at 25 a second, T = ceil(N / 640).

    Raises:
        AvsrError: the voice gives no phone times.
    """
    if utterance.phones is None:
        raise AvsrError(
            f"voice {utterance.voice} gives no phone times to move lips by: use espeak, flite or "
            "formant"
        )
    frames = -(-len(utterance.audio) // SAMPLES_PER_FRAME)
    return frames_of(mouth_shapes(utterance.phones, frames), rng, width, height)


def _make(path: Path, text: str | None, seed: int, engine: str, size: tuple[int, int]) -> Utterance:
    """Writes one clip and returns what it says, with times."""
    from avsr.preprocessing.media.mp4 import write_video

    rng = np.random.default_rng(seed)
    utterance = speak(text if text is not None else sentence(rng), rng, engine=engine)
    frames = -(-len(utterance.audio) // SAMPLES_PER_FRAME)
    audio = np.pad(utterance.audio, (0, frames * SAMPLES_PER_FRAME - len(utterance.audio)))
    write_video(path, render(utterance, rng, *size), audio)
    return utterance


def make_clip(
    path: str | os.PathLike,
    text: str | None = None,
    seed: int = 0,
    engine: str = "auto",
    size: tuple[int, int] = (360, 288),
) -> str:
    """Writes a talking-head clip (.mp4, 25 fps, 16 kHz sound) and returns its words.

    Args:
        path: file to write.
        text: what is said; a random GRID sentence where not given.
        seed: fixes sentence, voice and picture.
        engine: see `speak`.
        size: width and height in pixels, even.
    """
    return _make(Path(path), text, seed, engine, size).text


def make_corpus(
    dst: str | os.PathLike,
    n: int,
    seed: int = 0,
    engine: str = "auto",
    size: tuple[int, int] = (360, 288),
) -> list[str]:
    """Writes n talking heads, `clip0000.mp4` and so on, as the folder corpus reads them.

    Args:
        dst: folder, made where missing.
        n: number of clips.
        seed: fixes all of them; clip k is the same whatever n is.
        engine: see `speak`.
        size: width and height in pixels, even.

    Returns:
        The sentences, in order.

    Raises:
        AvsrError: n or seed below their least.
    """
    _check(n, seed)
    folder = Path(dst)
    folder.mkdir(parents=True, exist_ok=True)
    texts = []
    for index in range(n):
        stem = folder / f"clip{index:04d}"
        clip_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        said = _make(stem.with_suffix(".mp4"), None, clip_seed, engine, size)
        _write_words(stem, said)
        texts.append(said.text)
    return texts


def make_voices(
    dst: str | os.PathLike, n: int, seed: int = 0, engines: Sequence[str] = DEFAULT_ENGINES
) -> list[str]:
    """Writes n utterances without a picture, `ENGINE/00000.wav` and so on, as the folder corpus
    reads them.

    Args:
        dst: folder, made where missing. Utterances that are there already are kept.
        n: number of utterances.
        seed: fixes all of them; utterance k is the same whatever n is.
        engines: each speaks its share of SHARES; the same ones must be asked for to get the same
            utterances.

    Returns:
        The sentences, in order.

    Raises:
        AvsrError: n or seed below their least, an engine that does not exist or is not installed,
            or a folder of utterances that were made otherwise.
    """
    import soundfile

    _check(n, seed)
    for engine in engines:
        if engine not in SHARES:
            raise AvsrError(f"unknown speech engine {engine!r}: choose among {', '.join(SHARES)}")
        if not voices(engine):
            raise AvsrError(
                f"{engine} is not on this machine: {_INSTALL[engine]}, or name the others with "
                "--engines"
            )
    # in whatever order they were given
    engines = [engine for engine in SHARES if engine in engines]
    shares = np.array([SHARES[engine] for engine in engines])
    texts = []
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        engine = str(rng.choice(engines, p=shares / shares.sum()))
        texts.append(sentence(rng))
        stem = Path(dst) / engine / f"{index:05d}"
        if stem.with_suffix(".wav").exists():
            if stem.with_suffix(".txt").read_text(encoding="utf-8").strip() != texts[-1]:
                raise AvsrError(
                    f"{stem}.wav was made with another seed or other engines: choose another folder"
                )
            continue
        stem.parent.mkdir(parents=True, exist_ok=True)
        said = speak(texts[-1], rng, engine=engine)
        _write_words(stem, said)
        sound = io.BytesIO()
        soundfile.write(sound, said.audio, SAMPLE_RATE, format="WAV")
        # last: where it is, the rest is too
        write_file(stem.with_suffix(".wav"), [sound.getvalue()])
    return texts


def _check(n: int, seed: int) -> None:
    if n < 1 or seed < 0:
        raise UsageError(
            f"{n} clips with seed {seed}: at least 1 clip and a seed of at least 0 are needed"
        )


def _write_words(stem: Path, said: Utterance) -> None:
    """What is said, and when where that is known, beside the recording."""
    write_file(stem.with_suffix(".txt"), [said.text.encode(), b"\n"])
    if said.words:
        write_file(stem.with_suffix(".words.json"), [json.dumps(said.words).encode()])
