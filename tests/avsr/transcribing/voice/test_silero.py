"""The voice detector: the same network as in its package, and what it hears."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import SAMPLES_PER_FRAME
from avsr.transcribing.voice import silero
from avsr.transcribing.voice.silero import CHUNK, CONTEXT, detector, voice


def test_all_chunks_at_once_are_those_that_the_package_hears_one_by_one():
    package = Path(importlib.util.find_spec("silero_vad").submodule_search_locations[0])
    theirs = torch.jit.load(package / "data" / "silero_vad.jit")
    sound = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 40 * CHUNK).astype(np.float32))
    sound *= torch.sin(torch.arange(40 * CHUNK) / 3000)
    with torch.inference_mode():
        expected = torch.cat([theirs(chunk[None], 16_000)[0] for chunk in sound.split(CHUNK)])
        padded = torch.nn.functional.pad(sound, (CONTEXT, 0))
        found = detector()(padded.unfold(0, CONTEXT + CHUNK, CHUNK))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_network_that_goes_step_by_step_has_one_thread_whoever_asks():
    counts: list[int] = []
    hook = detector().register_forward_pre_hook(lambda *_: counts.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    voice(np.zeros(10 * SAMPLES_PER_FRAME, np.float32))
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    hook.remove()
    assert (counts, after) == ([1], 2)


@pytest.mark.parametrize("frames", [0, 1, 2, 5, 76])
def test_a_value_for_every_frame(frames: int):
    found = voice(np.zeros(frames * SAMPLES_PER_FRAME, np.float32))
    assert found.shape == (frames,)
    assert (found < 0.1).all()


def test_hearing_leaves_the_process_as_it_was():
    before = torch.get_num_threads()
    voice(np.zeros(SAMPLES_PER_FRAME, np.float32))
    assert torch.get_num_threads() == before


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    detector.cache_clear()
    monkeypatch.setattr(silero.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AvsrError, match="pip install 'silero-vad"):
        detector()
    detector.cache_clear()
