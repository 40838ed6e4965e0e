"""A small talking-head corpus made from nothing: GRID's sentences, a synthetic voice, a portrait whose lips follow.

For tests, continuous integration and the demo: a seed fixes everything but the speech engine's version. Sound and
lips really carry the words; how well a model does on such clips says nothing about people.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME
from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.puppet import frames_of, mouth_shapes
from avsr.preprocessing.voice import Utterance, speak, voices

__all__ = [
    "GRAMMAR",
    "WORDS",
    "Utterance",
    "align_lines",
    "make_clip",
    "make_corpus",
    "render",
    "sentence",
    "speak",
    "voices",
]

GRAMMAR: dict[str, tuple[str, ...]] = {
    "command": ("bin", "lay", "place", "set"),
    "colour": ("blue", "green", "red", "white"),
    "preposition": ("at", "by", "in", "with"),
    "letter": tuple("abcdefghijklmnopqrstuvxyz"),
    "digit": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "adverb": ("again", "now", "please", "soon"),
}
"""The six slots of a GRID sentence. Cooke, Barker, Cunningham, Shao, JASA 120(5), 2006."""

WORDS: tuple[str, ...] = tuple(word for slot in GRAMMAR.values() for word in slot)
"""GRID's 51 words."""


def sentence(rng: np.random.Generator) -> str:
    """A random GRID sentence, such as "bin blue at f two now"."""
    return " ".join(slot[rng.integers(len(slot))] for slot in GRAMMAR.values())


def render(utterance: Utterance, rng: np.random.Generator, width: int = 360, height: int = 288) -> Iterator[np.ndarray]:
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
        raise AvsrError(f"voice {utterance.voice} gives no phone times to move lips by: use espeak, flite or formant")
    frames = -(-len(utterance.audio) // SAMPLES_PER_FRAME)
    return frames_of(mouth_shapes(utterance.phones, frames), rng, width, height)


def _make(path: Path, text: str | None, seed: int, engine: str, size: tuple[int, int]) -> Utterance:
    """Writes one clip and returns what it says, with times."""
    from avsr.preprocessing.media import write_video

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
    """Writes n clips: `clip0000.mp4`, its words in `.txt`, their times in GRID's `.align` and in `.json`.

    Args:
        dst: folder, made where missing.
        n: number of clips.
        seed: fixes all of them; clip k is the same whatever n is.
        engine: see `speak`.
        size: width and height in pixels, even.

    Returns:
        The sentences, in order.
    """
    folder = Path(dst)
    folder.mkdir(parents=True, exist_ok=True)
    texts = []
    for index in range(n):
        stem = folder / f"clip{index:04d}"
        clip_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        said = _make(stem.with_suffix(".mp4"), None, clip_seed, engine, size)
        words = said.words or []
        meta = {
            "text": said.text,
            "voice": said.voice,
            "seed": clip_seed,
            "words": [{"word": word, "start_s": round(a, 3), "end_s": round(b, 3)} for word, a, b in words],
        }
        _write(stem.with_suffix(".txt"), said.text + "\n")
        _write(stem.with_suffix(".align"), align_lines(said))
        _write(stem.with_suffix(".json"), json.dumps(meta, indent=1) + "\n")
        texts.append(said.text)
    return texts


def _write(path: Path, text: str) -> None:
    """Beside and renamed: nobody sees half a file."""
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text)
    os.replace(beside, path)


def align_lines(utterance: Utterance) -> str:
    """Word times the way GRID writes them: "start end word", frames times 1000, silences as "sil"."""
    words = utterance.words or []
    spans = [("sil", 0.0, words[0][1] if words else utterance.duration_s), *words]
    if words:
        spans.append(("sil", words[-1][2], utterance.duration_s))
    return "".join(f"{round(a * FPS * 1000)} {round(b * FPS * 1000)} {word}\n" for word, a, b in spans)
