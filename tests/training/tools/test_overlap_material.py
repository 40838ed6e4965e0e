"""What the overlapped speech detector learns from: who speaks when, and that it is checked on
others."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME
from avsr.training.tools.overlap import (
    FRAMES,
    READERS,
    Recording,
    at_level,
    cut,
    faster,
    readers,
    track,
    turns,
)


def spoken(seconds: int, speaks_s: tuple[float, float]) -> Recording:
    """A loud tone while somebody speaks, and nothing else."""
    speaks = np.zeros(seconds * FPS, np.bool_)
    speaks[slice(*(round(FPS * at) for at in speaks_s))] = True
    tone = np.sin(np.arange(len(speaks) * SAMPLES_PER_FRAME) / 9).astype(np.float32)
    return Recording("anna", tone * np.repeat(speaks, SAMPLES_PER_FRAME), speaks)


def loud(audio: np.ndarray) -> np.ndarray:
    """(T,) bool."""
    return np.abs(audio).reshape(-1, SAMPLES_PER_FRAME).max(axis=1) > 0.3


@pytest.mark.parametrize("seed", range(8))
def test_where_a_voice_speaks_stays_with_its_sound(seed: int) -> None:
    audio, speaks = track([spoken(4, (0.5, 3)), spoken(3, (1, 2))], np.random.default_rng(seed))
    assert len(speaks) == FRAMES
    assert len(audio) == FRAMES * SAMPLES_PER_FRAME
    assert (loud(audio) != speaks).mean() < 0.05  # frames at the edges, played faster or slower
    kept = np.zeros(FRAMES, np.bool_)
    kept[50:150] = True
    audio, speaks = cut((audio, speaks), kept)
    assert not speaks[:50].any()
    assert not loud(audio)[:49].any()
    assert speaks[50:150].any()
    assert (loud(audio) != speaks).mean() < 0.07


def test_a_voice_played_faster_is_shorter() -> None:
    one = faster(spoken(4, (1, 3)), 1.25)
    assert len(one.audio) == len(one.speaks) * SAMPLES_PER_FRAME == 80 * SAMPLES_PER_FRAME
    assert one.speaks.sum() == pytest.approx(40, abs=1)


def test_its_level_is_that_of_its_speech() -> None:
    one = spoken(10, (1, 3))
    sound = at_level((one.audio, one.speaks), -20.0)
    spoken_here = sound.reshape(-1, SAMPLES_PER_FRAME)[one.speaks]
    assert np.sqrt(np.square(spoken_here).mean()) == pytest.approx(0.1, rel=1e-3)


def test_in_turns_nobody_speaks_beside_another() -> None:
    first, second = turns(np.random.default_rng(3))
    assert not (first & second).any()
    assert first.any()
    assert second.any()


def test_no_reader_is_both_learnt_from_and_held_out() -> None:
    names = [f"{reader}-7-{k:04d}.flac" for reader in range(100, 124) for k in range(10)]
    learnt, held_out = readers(names, False), readers(names, True)
    assert not learnt & held_out
    assert len(held_out) == 24 // READERS
    assert len(learnt | held_out) == 24
