"""A trained network with another vocabulary or another number of outputs a frame."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from avsr.model.network import AVSR

# tensors of the decoder that have a row for each token, and the row of its own one
AT_THE_END = ("embed.0.weight", "output_layer.weight", "output_layer.bias")
ENDS = torch.tensor([-1])


@torch.no_grad()
def with_outputs(model: AVSR, per_frame: int) -> AVSR:
    """The same network with each output of a frame given several times: it says what it said, until
    it is trained on.

    Args:
        model: is left as it is.
        per_frame: R of the result, a multiple of the model's.
    """
    config = model.config
    wider = AVSR(config.model_copy(update={"outputs_per_frame": per_frame}))
    times, tokens = per_frame // config.outputs_per_frame, len(config.tokens)
    weights = model.state_dict()
    for name, value in weights.items():
        if name.endswith(("head.weight", "head.bias")):
            weights[name] = (
                value.unflatten(0, (-1, tokens)).repeat_interleave(times, 0).flatten(0, 1)
            )
        elif name.endswith("feedback.weight"):
            weights[name] = (
                value.unflatten(1, (-1, tokens)).repeat_interleave(times, 1).flatten(1, 2) / times
            )
    wider.load_state_dict(weights)
    return wider.train(model.training)


@torch.no_grad()
def with_tokens(model: AVSR, tokens: Sequence[str]) -> AVSR:
    """The same network with another vocabulary: what belongs to tokens that it had is kept, the
    rest starts anew.

    Args:
        model: is left as it is.
        tokens: strings of the result's vocabulary, the blank first.
    """
    old = model.config.tokens
    vocabulary = {"tokens": tuple(tokens), "piece_scores": ()}
    other = AVSR(model.config.model_copy(update=vocabulary))
    places = {token: i for i, token in enumerate(tokens)}
    here = torch.tensor([i for i, token in enumerate(old) if token in places])
    there = torch.tensor([places[token] for token in old if token in places])
    weights = other.state_dict()
    for name, value in model.state_dict().items():
        if name.endswith(("head.weight", "head.bias")):
            weights[name].unflatten(0, (-1, len(tokens)))[:, there] = value.unflatten(
                0, (-1, len(old))
            )[:, here]
        elif name.endswith("feedback.weight"):
            weights[name].unflatten(1, (-1, len(tokens)))[..., there] = value.unflatten(
                1, (-1, len(old))
            )[..., here]
        elif name.startswith("decoder.") and name.endswith(AT_THE_END):
            # the token that begins and ends a text is behind all others
            weights[name][torch.cat([there, ENDS])] = value[torch.cat([here, ENDS])]
        else:
            weights[name] = value
    other.load_state_dict(weights)
    return other.train(model.training)
