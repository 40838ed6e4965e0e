"""What the streams look at in each other is what the forward pass uses, and nothing absent."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from avsr.model.batches import compute
from avsr.model.config import ModelConfig
from avsr.model.layers.blocks import Attention
from avsr.model.layers.crossing import crosses, crossing
from avsr.model.network import AVSR
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip

SMALL = {"dim": 32, "heads": 2, "video_width": 4, "audio_width": 4, "crop": 32}


def network(fusion: str = "cross") -> AVSR:
    torch.manual_seed(0)
    return AVSR(ModelConfig(tokens=("<blank>", " ", "a"), fusion=fusion, **SMALL)).eval()


def clip(frames: int = 20) -> Clip:
    rng = np.random.default_rng(0)
    present = np.ones((2, frames), bool)
    present[1, 5:9] = False
    return Clip(
        "x",
        rng.normal(0, 0.1, frames * SAMPLES_PER_FRAME).astype(np.float32),
        rng.integers(0, 255, (frames, CROP_SIZE, CROP_SIZE)).astype(np.uint8),
        present[0],
        present[1],
    )


@pytest.mark.parametrize("plain", [False, True])
def test_the_weights_are_those_of_the_forward_pass(plain: bool):
    torch.manual_seed(0)
    attention = Attention(16, 2, plain).eval()
    x, source, mask = torch.randn(1, 6, 16), torch.randn(1, 6, 16), torch.ones(1, 6) > 0
    with torch.inference_mode():
        weights = attention.weights(x, source, mask)[..., :6]
        value = attention.key_value(source).chunk(2, -1)[1]
        value = value.unflatten(-1, (2, -1)).transpose(1, 2)
        y = attention.out((weights @ value).transpose(1, 2).flatten(2))
        torch.testing.assert_close(y, attention(x, source, mask))


def test_a_frame_looks_only_at_what_is_there():
    found = crossing(network(), clip(), torch.device("cpu"))
    for attention in (found.of_audio, found.of_video):
        assert attention.shape == (20, 21)
        np.testing.assert_allclose(attention.sum(1), 1, atol=1e-5)
    assert (found.of_audio[:, 5:9] == 0).all()
    assert (found.of_audio[:, :5] > 0).all()
    assert (found.audio_weight[5:9] == 1).all()


def test_looking_changes_nothing():
    model, one = network(), clip()
    crossing(model, one, torch.device("cpu"))
    assert not any(block.cross._forward_pre_hooks for block in model.audio_cross)


def test_other_clips_in_other_threads_are_not_seen():
    model, cpu = network(), torch.device("cpu")
    alone = crossing(model, clip(), cpu)

    def meanwhile(*_: object) -> None:
        hook.remove()
        with ThreadPoolExecutor(1) as other:
            other.submit(compute, model, [clip(33)], cpu).result()

    hook = model.audio_cross[0].cross.register_forward_pre_hook(meanwhile)
    found = crossing(model, clip(), cpu)
    np.testing.assert_array_equal(found.of_audio, alone.of_audio)
    np.testing.assert_array_equal(found.of_video, alone.of_video)


@pytest.mark.parametrize(("fusion", "there"), [("cross", True), ("early", False), ("late", False)])
def test_only_cross_fusion_has_it(fusion: str, there: bool):
    assert crosses(network(fusion)) == there
