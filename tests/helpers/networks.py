"""Small networks of every family with the golden weights."""

from __future__ import annotations

from functools import cache

import torch
from golden_fill import fill
from pydantic import BaseModel
from torch import Tensor, nn

from avsr.imported.autoavsr import AutoAVSR, AutoAVSRConfig
from avsr.imported.decoder import LanguageModel, LanguageModelConfig
from avsr.imported.encoder import EncoderConfig
from avsr.imported.inference import empty_network
from avsr.imported.usr import USR, USRConfig
from avsr.model.layers.decoder import DecoderConfig

ENCODER = EncoderConfig(width=48, heads=4, feed_forward=96, layers=2, kernel=15, macaron=True)
DECODER = DecoderConfig(width=48, heads=4, feed_forward=80, layers=2)
PARTS = {
    "video": {"video": ENCODER},
    "audio": {"audio": ENCODER},
    "av": {"video": ENCODER, "audio": ENCODER, "fusion_width": 64, "fusion_norm": "batch"},
}


def filled(config: BaseModel) -> nn.Module:
    """The network of a configuration in float64 with the golden weights."""
    network = empty_network(config).double().to_empty(device="cpu")
    state = network.state_dict()
    counters = {name: state[name].zero_() for name in state if name.endswith("num_batches_tracked")}
    network.load_state_dict(golden_weights(config) | counters)
    return network.eval().requires_grad_(False)


@cache
def golden_weights(config: BaseModel) -> dict[str, Tensor]:
    """Made once for each configuration, and not to be changed."""
    return fill(empty_network(config).state_dict())


def auto_avsr(modality: str, **changes: object) -> AutoAVSR:
    """Auto-AVSR of the golden data's size; changes are the encoders'."""
    parts = dict(PARTS[modality])
    for name, part in parts.items():
        if isinstance(part, EncoderConfig):
            parts[name] = part.model_copy(update=changes)
    return filled(AutoAVSRConfig(vocabulary=120, decoder=DECODER, **parts))


def usr() -> USR:
    """USR 2.0 of the golden data's size."""
    encoder = EncoderConfig(width=48, heads=4, feed_forward=96, layers=2)
    decoder = DecoderConfig(width=48, heads=4, feed_forward=96, layers=2)
    return filled(USRConfig(vocabulary=1049, encoder=encoder, decoder=decoder))


def language_model() -> LanguageModel:
    """The language model of the golden data's size."""
    sizes = {"vocabulary": 120, "embedding": 16, "width": 32, "heads": 4}
    return filled(LanguageModelConfig(**sizes, feed_forward=64, layers=2))


def add_to_biases(network: AutoAVSR, amount: float) -> None:
    """Makes ends (decoder) and blanks (CTC) likelier, as some of the golden searches have it."""
    with torch.no_grad():
        network.decoder.output_layer.bias[-1] += amount
        network.ctc["ctc_lo"].bias[0] += amount
