"""Small networks of every family with the golden weights."""

from __future__ import annotations

import torch
from golden_fill import fill
from torch import nn

from avsr.imported.autoavsr import AutoAVSR, AutoAVSRConfig
from avsr.imported.decoder import DecoderConfig, LanguageModel, LanguageModelConfig
from avsr.imported.encoder import EncoderConfig
from avsr.imported.usr import USR, USRConfig

ENCODER = EncoderConfig(width=48, heads=4, feed_forward=96, layers=2, kernel=15, macaron=True)
DECODER = DecoderConfig(width=48, heads=4, feed_forward=80, layers=2)
PARTS = {
    "video": {"video": ENCODER},
    "audio": {"audio": ENCODER},
    "av": {"video": ENCODER, "audio": ENCODER, "fusion_width": 64, "fusion_norm": "batch"},
}


def filled(network: nn.Module) -> nn.Module:
    """The network in float64 with the golden weights."""
    network.to_empty(device="cpu")
    state = network.state_dict()
    counters = {name: state[name] for name in state if name.endswith("num_batches_tracked")}
    network.double().load_state_dict(fill(state) | counters)
    return network.eval().requires_grad_(False)


def auto_avsr(modality: str, **changes: object) -> AutoAVSR:
    """Auto-AVSR of the golden data's size; changes are the encoders'."""
    parts = dict(PARTS[modality])
    for name, part in parts.items():
        if isinstance(part, EncoderConfig):
            parts[name] = part.model_copy(update=changes)
    return filled(AutoAVSR(AutoAVSRConfig(vocabulary=120, decoder=DECODER, **parts)))


def usr() -> USR:
    """USR 2.0 of the golden data's size."""
    encoder = EncoderConfig(width=48, heads=4, feed_forward=96, layers=2)
    decoder = DecoderConfig(width=48, heads=4, feed_forward=96, layers=2)
    return filled(USR(USRConfig(vocabulary=1049, encoder=encoder, decoder=decoder)))


def language_model() -> LanguageModel:
    """The language model of the golden data's size."""
    sizes = {"vocabulary": 120, "embedding": 16, "width": 32, "heads": 4}
    return filled(LanguageModel(LanguageModelConfig(**sizes, feed_forward=64, layers=2)))


def add_to_biases(network: AutoAVSR, amount: float) -> None:
    """Makes ends (decoder) and blanks (CTC) likelier, as some of the golden searches have it."""
    with torch.no_grad():
        network.decoder.output_layer.bias[-1] += amount
        network.ctc["ctc_lo"].bias[0] += amount
