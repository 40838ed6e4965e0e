"""How well lips fit a voice is not found again after a call was stopped."""

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
from avsr.transcribing.speakers.evidence import KIND, LOOKS, NAMES, weigh

FRAMES, PERSONS, SCENES = 50, (0, 4), LOOKS + 3
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
        heard = clip.audio.reshape(clip.frames, -1)[:, :3]
        seen = clip.lips[:, 0, :3].astype(np.float32) / 255
        present = clip.audio_present, clip.video_present
        return sync.Embedding("", heard, seen, *present, clip.video_present.copy())


def scenes() -> list[Crops]:
    """Stretches of noise; the second person is away in every other."""
    random, found = np.random.default_rng(5), []
    for number in range(SCENES):
        mouths = {}
        for person in PERSONS[: 1 + number % 2]:
            crops = random.integers(0, 256, (FRAMES, CROP_SIZE, CROP_SIZE), np.uint8)
            mouths[person] = {at: (crop, 1.0) for at, crop in enumerate(crops)}
        sound = random.uniform(-1, 1, FRAMES * SAMPLES_PER_FRAME).astype(np.float32)
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
    assert again.lag == whole.lag
    other = Network()
    found(other, "another model")
    assert other.sounds == SCENES
