"""The attention decoder of our networks: whole texts in training, token by token in a search."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from avsr.model.config import ModelConfig
from avsr.model.layers.decoder import DecoderScorer
from avsr.model.network import AVSR
from avsr.model.resize import with_tokens
from avsr.model.tokenizer import BLANK

TOKENS = (BLANK, " ", *"abc")
SMALL = {"dim": 32, "heads": 2, "stream_layers": 0, "cross_layers": 0, "joint_layers": 1}


def network(tokens: tuple[str, ...] = TOKENS) -> AVSR:
    torch.manual_seed(0)
    return AVSR(ModelConfig(tokens=tokens, decoder_layers=2, decoder_ff=16, **SMALL)).eval()


def test_reading_a_text_at_once_is_reading_it_token_by_token() -> None:
    model = network()
    assert model.decoder is not None
    end, frames = model.decoder.vocabulary - 1, 7
    memory = torch.randn(1, 9, 32)
    valid = torch.arange(9)[None] < frames
    text = torch.tensor([[end, 2, 3, 4]])
    with torch.inference_mode():
        whole = model.decoder(text, memory, valid)
        whole = model.decoder.get_submodule("output_layer")(whole).log_softmax(-1)
        scorer = DecoderScorer(model.decoder)
        state = scorer.start(memory[0, :frames])
        for place, token in enumerate(text[0]):
            log_probs, state = scorer.step(token[None], state)
            torch.testing.assert_close(log_probs[0], whole[0, place], rtol=1e-4, atol=1e-5)


def test_more_tokens_leave_what_the_decoder_knows() -> None:
    model = network()
    wider = with_tokens(model, (*TOKENS, "é"))
    for name in ("embed.0", "output_layer"):
        old, new = (m.decoder.get_submodule(name).weight for m in (model, wider))
        assert torch.equal(new[:5], old[:5])
        assert torch.equal(new[-1], old[-1])  # the end
        assert len(new) == len(old) + 1


def test_late_fusion_has_nothing_to_decode() -> None:
    with pytest.raises(ValidationError, match="late fusion has no fused part"):
        ModelConfig(tokens=TOKENS, fusion="late", decoder_layers=1)
