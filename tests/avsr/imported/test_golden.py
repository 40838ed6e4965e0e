"""The networks against the reference: its outputs in float64 on weights from a formula."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import golden_fill
import networks
import numpy as np
import pytest
import torch
from torch import Tensor

from avsr.decoding.attention.joint import JointSearch, joint_search
from avsr.imported.clips import normalise_audio
from avsr.imported.frontends import fold_batch_norms

DATA = Path(__file__).parent / "data"
AUTO_AVSR = np.load(DATA / "golden_autoavsr.npz")
USR = np.load(DATA / "golden_usr2.npz")
PREFIX = (5, 17, 17, 60, 3)  # after the start of the sentence
MODALITIES = {"v": "video", "a": "audio", "av": "av"}
FRAMES = 24
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
types = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])
modalities = pytest.mark.parametrize("short", MODALITIES)


def clip(normalise: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The golden pictures and samples."""
    audio = golden_fill.audio(FRAMES)
    audio = normalise_audio(audio) if normalise else audio
    return golden_fill.video(FRAMES).to(dtype), audio.to(dtype)


def after_prefix(scorer, memory: Tensor) -> Tensor:
    """Log-probabilities (V,) after the golden prefix, token by token."""
    state = scorer.start(memory)
    for token in (scorer.vocabulary - 1, *PREFIX):
        log_probs, state = scorer.step(torch.tensor([token]), state)
    return log_probs[0]


def outputs(network, modality: str, clip: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    memory = network.encode(modality, *clip)
    log_probs = network.ctc_log_probs(modality, memory)
    decoder = after_prefix(network.scorer(modality), memory)
    return {"encoded": memory, "ctc": log_probs, "decoder_log_probs": decoder}


def assert_golden(found: dict[str, Tensor], golden, short: str, dtype: torch.dtype) -> None:
    for name, value in found.items():
        assert value.dtype == dtype
        wanted = golden[f"{short}_{name}"]
        np.testing.assert_allclose(value.numpy(), wanted, rtol=0, atol=TOLERANCE[dtype])


@types
@modalities
def test_auto_avsr(short: str, dtype: torch.dtype):
    network = networks.auto_avsr(MODALITIES[short]).to(dtype)
    found = outputs(network, MODALITIES[short], clip(True, dtype))
    assert_golden(found, AUTO_AVSR, short, dtype)


@types
@modalities
def test_usr(short: str, dtype: torch.dtype):
    found = outputs(networks.usr().to(dtype), MODALITIES[short], clip(False, dtype))
    assert_golden(found, USR, short, dtype)


@types
def test_with_batch_norms_folded_the_outputs_stay(dtype: torch.dtype):
    network = networks.auto_avsr("av")
    fold_batch_norms(network)
    found = outputs(network.to(dtype), "av", clip(True, dtype))
    assert_golden(found, AUTO_AVSR, "av", dtype)
    assert not any("bn" in name for name in network.encoder.state_dict())


@types
def test_language_model(dtype: torch.dtype):
    found = after_prefix(networks.language_model().to(dtype), torch.empty(0))
    wanted = AUTO_AVSR["lm_log_probs"]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=TOLERANCE[dtype])


@cache
def memory_of(modality: str) -> Tensor:
    """The encoder's output for the golden clip."""
    return networks.auto_avsr(modality).encode(modality, *clip(True))


SEARCHES = [name.removesuffix("_tokens") for name in AUTO_AVSR if name.endswith("_tokens")]


@pytest.mark.parametrize("search", SEARCHES)
def test_beam_search_finds_the_references_texts_in_its_order(search: str):
    short, *numbers = re.fullmatch(
        r"(\w+)_beam(\d+)_lm([\d.]+)_penalty([\d.]+)_ctc([\d.]+)_bias([\d.]+)", search
    ).groups()
    beam, lm_weight, penalty, ctc_weight, bias = map(float, numbers)
    network = networks.auto_avsr(MODALITIES[short])
    networks.add_to_biases(network, bias)
    memory = memory_of(MODALITIES[short])
    log_probs = network.ctc_log_probs(MODALITIES[short], memory)

    options = JointSearch(int(beam), ctc_weight, lm_weight, penalty)
    scorer = network.scorer(MODALITIES[short])
    found = joint_search(log_probs, memory, scorer, networks.language_model(), options)

    inner = [[t for t in row if t >= 0] for row in AUTO_AVSR[f"{search}_tokens"].tolist()]
    end = scorer.vocabulary - 1
    wanted = [tuple(t for t in row if t != end) for row in inner]
    assert [text.ids for text in found] == wanted
    scores = [text.score for text in found]
    np.testing.assert_allclose(scores, AUTO_AVSR[f"{search}_scores"], rtol=0, atol=1e-9)
