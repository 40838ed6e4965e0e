"""Everybody's lips are set against the sound at their own lag; and what is known of that is not
found again after a call was stopped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from avsr import sync
from avsr.base.partial import LEAST_S, Partial
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME
from avsr.preprocessing.faces.mouths import Crops
from avsr.transcribing.kept import Kept
from avsr.transcribing.speakers import evidence
from avsr.transcribing.speakers.evidence import KIND, LOOKS, NAMES, own_lags, weigh

FRAMES, PERSONS, SCENES = 50, (0, 4), LOOKS + 3
WIDTH = 8  # of the embedding
LATE = 10  # frames by which the picture of one person comes after the sound
EMBEDDER = SimpleNamespace(device="cpu")


class Network:
    """Stands for `sync.embed`: embeds by content, and counts the clips that have sound."""

    def __init__(self, most: int = SCENES) -> None:
        self.most, self.sounds = most, 0

    def __call__(self, _: object, clips: list) -> list[sync.Embedding]:
        self.sounds += sum(bool(clip.audio_present.any()) for clip in clips)
        if self.sounds > self.most:
            raise KeyboardInterrupt
        return [self._embedded(clip) for clip in clips]

    def _embedded(self, clip) -> sync.Embedding:
        heard = units(clip.audio.reshape(clip.frames, -1)[:, :WIDTH])
        seen = units(clip.lips[:, 0, :WIDTH] / np.float32(127.5) - 1)
        present = clip.audio_present, clip.video_present
        return sync.Embedding("", heard, seen, *present, clip.video_present.copy())


def units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def scenes() -> list[Crops]:
    """Stretches of noise. The second person is away in every other, and speaks in those after the
    first ones, with a late picture."""
    random, found = np.random.default_rng(5), []
    for number in range(SCENES):
        mouths = {}
        sound = random.uniform(-1, 1, FRAMES * SAMPLES_PER_FRAME).astype(np.float32)
        for person in PERSONS[: 1 + number % 2]:
            crops = random.integers(0, 256, (FRAMES, CROP_SIZE, CROP_SIZE), np.uint8)
            if person == PERSONS[1] and number >= LOOKS:
                said = sound.reshape(FRAMES, -1)[:-LATE, :WIDTH]
                crops[LATE:, 0, :WIDTH] = (said + 1) * 127.5
            mouths[person] = {at: (crop, 1.0) for at, crop in enumerate(crops)}
        found.append(Crops(FRAMES * number, sound, np.ones(FRAMES, np.bool_), mouths))
    return found


def test_what_was_looked_at_before_is_not_looked_at_again(tmp_path: Path, monkeypatch):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    monkeypatch.setattr(evidence, "heard", lambda clip: clip.audio_present)

    def found(network: Network, asked: str = "this model"):
        monkeypatch.setattr(sync, "embed", network)
        partial = Partial.beside(tmp_path / "film.txt", film, lambda: asked)
        kept = Kept(partial, LEAST_S + 1, KIND)
        return weigh(EMBEDDER, scenes(), PERSONS, lambda seconds: None, kept)

    monkeypatch.setattr(sync, "embed", Network())
    whole = weigh(EMBEDDER, scenes(), PERSONS, lambda seconds: None)
    with pytest.raises(KeyboardInterrupt):
        found(Network(SCENES - 1))
    goes_on = Network()
    again = found(goes_on)
    # the first ones, which tell the lag, and the one that was missing
    assert goes_on.sounds == LOOKS + 1
    for name in NAMES:
        assert np.array_equal(getattr(again, name), getattr(whole, name))
    assert again.lags == whole.lags == (whole.lags[0], -LATE)
    assert whole.fit[1, -FRAMES : -LATE - 5].min() > 0.8
    other = Network()
    found(other, "another model")
    assert other.sounds == SCENES


def look(*speaks: np.ndarray, lags: tuple[int, ...], seed: int = 0) -> evidence._Look:
    """A stretch in which everybody's lips move all the time, and are those of the voice, so many
    frames apart, where somebody speaks."""
    random, frames = np.random.default_rng(seed), len(speaks[0])
    voice = units(random.normal(size=(frames, WIDTH)).astype(np.float32))
    everywhere, lips = np.ones(frames, np.bool_), {}
    for n, (own, lag) in enumerate(zip(speaks, lags, strict=True)):
        idle = units(random.normal(size=(frames, WIDTH)).astype(np.float32))
        seen = evidence.shifted(np.where(own[:, None], voice, idle), lag)
        lips[n] = sync.Embedding("", seen * 0, seen, ~everywhere, everywhere, everywhere)
    sound = sync.Embedding("", voice, voice * 0, everywhere, ~everywhere, ~everywhere)
    nothing = np.zeros(frames, np.float32)
    return evidence._Look(
        sound, lips, dict.fromkeys(lips, everywhere), everywhere, ~everywhere, nothing
    )


@pytest.mark.parametrize("lags", [(0, -10), (5, -5), (-2, -12)])
def test_each_has_their_own_lag(lags: tuple[int, int]):
    first = np.arange(500) < 250
    film = lags[0] if abs(lags[0]) <= sync.HARMLESS_FRAMES else 0
    assert own_lags([look(first, ~first, lags=lags)], (film, film), film) == lags


def test_who_does_not_speak_gets_no_lag_by_moving_their_lips():
    never, always = np.zeros(500, np.bool_), np.ones(500, np.bool_)
    for seed in range(5):
        off_screen = look(never, never, lags=(0, 0), seed=seed)
        assert own_lags([off_screen], (0, 0), 0) == (0, 0)
        beside = look(always, never, lags=(8, 0), seed=seed)
        assert own_lags([beside], (0, 0), 0) == (8, 0)
    few = np.arange(500) < 20
    assert own_lags([look(few, never, lags=(8, 0))], (0, 0), 0) == (0, 0)
