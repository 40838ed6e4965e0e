"""What a checkpoint is, read from the names and shapes of its tensors.

Two things cannot be read from them: the older relative attention and the names of characters. Both
are in the model.json that comes with such files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from avsr.base.errors import AvsrError
from avsr.imported.autoavsr import AutoAVSR, AutoAVSRConfig, FusionNorm
from avsr.imported.decoder import LanguageModel, LanguageModelConfig
from avsr.imported.encoder import EncoderConfig
from avsr.imported.frontends import Activation
from avsr.imported.reading import KINDS
from avsr.imported.usr import USR, USRConfig
from avsr.model.layers.decoder import DecoderConfig

if TYPE_CHECKING:
    from torch import nn

LEGACY_WIDTH = 256  # of the models with the older relative attention; no newer one has it
LM_HEAD_WIDTH = 64  # of a language model's attention, where its model.json does not say
Shape = tuple[int, ...]
Config = TypeVar("Config", bound=BaseModel)
FAMILIES: dict[type[BaseModel], type[nn.Module]] = {
    AutoAVSRConfig: AutoAVSR,
    USRConfig: USR,
    LanguageModelConfig: LanguageModel,
}


class Shapes:
    """The shapes of a file's tensors, asked by name.

    Args:
        path: of the file, for messages.
        shapes: by canonical names.
        facts: what the model.json beside it says; nothing where there is none.
    """

    def __init__(self, path: Path, shapes: Mapping[str, Shape], facts: dict[str, Any]) -> None:
        self.path = path
        self.shapes = shapes
        self.facts = facts

    def size(self, name: str, axis: int = 0) -> int:
        """One axis of one tensor."""
        shape = self.shapes.get(name)
        if shape is None:
            raise AvsrError(f"{self.path}: lacks the tensor {name}: {KINDS}")
        if not -len(shape) <= axis < len(shape):
            raise AvsrError(f"{self.path}: {name} has the shape {shape}: {KINDS}")
        return shape[axis]

    def layers(self, prefix: str) -> int:
        """How many numbered parts begin with this."""
        pattern = re.compile(re.escape(prefix) + r"\.(\d{1,6})\.")
        numbers = [int(found[1]) for name in self.shapes if (found := pattern.match(name))]
        return max(numbers, default=-1) + 1

    def has(self, prefix: str) -> bool:
        """Whether the name of any tensor begins so."""
        return any(name.startswith(prefix) for name in self.shapes)

    def make(self, config: type[Config], **values: Any) -> Config:
        """A configuration, or one line that says which value cannot be."""
        try:
            return config(**values)
        except ValidationError as error:
            first = error.errors()[0]
            what = ".".join(map(str, first["loc"])) or config.__name__
            raise AvsrError(
                f"{self.path}: {what} = {first.get('input')!r}: {first['msg']}: {KINDS}"
            ) from error


def read_facts(checkpoint: Path) -> dict[str, Any]:
    """What the JSON file of the same name says about a checkpoint; nothing where there is none.

    Raises:
        AvsrError: it is there and not what such files hold.
    """
    path = checkpoint.with_suffix(".json")
    if checkpoint.suffix not in (".pth", ".pt", ".ckpt") or not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AvsrError(f"{path}: cannot be read as JSON ({error}): copy it again") from error
    if isinstance(found, list) and found:  # ESPnet: input width, output width, and this
        found = found[-1]
    if not isinstance(found, dict):
        raise AvsrError(f"{path}: holds no settings: give the model.json of the checkpoint")
    return found


def infer_network(shapes: Shapes) -> AutoAVSRConfig | USRConfig:
    """The configuration of a recogniser.

    Raises:
        AvsrError: the tensors are of something else, or do not fit each other.
    """
    if "encoder.linear_av.weight" in shapes.shapes:
        config: AutoAVSRConfig | USRConfig = _usr(shapes)
    elif shapes.has("encoder.frontend."):
        config = _auto_avsr(shapes)
    elif "encoder.embed.1.weight" in shapes.shapes:
        raise AvsrError(f"{shapes.path}: a language model: give it with --lm, beside a recogniser")
    else:
        first = next(iter(shapes.shapes), "none")
        raise AvsrError(f"{shapes.path}: of another kind (its first tensor is {first}): {KINDS}")
    compare(shapes, config)
    return config


def infer_language_model(shapes: Shapes) -> LanguageModelConfig:
    """The configuration of a language model.

    Raises:
        AvsrError: the tensors are of something else, or do not fit each other.
    """
    if shapes.facts.get("pos_enc", "none") not in ("none", None):
        raise AvsrError(f"{shapes.path}: a language model with positions, which no known one has")
    width = shapes.size("encoder.embed.0.weight")
    config = shapes.make(
        LanguageModelConfig,
        vocabulary=shapes.size("embed.weight"),
        embedding=shapes.size("embed.weight", 1),
        width=width,
        heads=shapes.facts.get("head", max(1, width // LM_HEAD_WIDTH)),
        feed_forward=shapes.size("encoder.encoders.0.feed_forward.w_1.weight"),
        layers=shapes.layers("encoder.encoders"),
    )
    compare(shapes, config)
    return config


def _auto_avsr(shapes: Shapes) -> AutoAVSRConfig:
    encoders = {}
    for name in ("encoder", "aux_encoder"):
        if shapes.has(f"{name}."):
            is_video = shapes.has(f"{name}.frontend.frontend3D.")
            encoders["video" if is_video else "audio"] = _encoder(shapes, name)
    both = len(encoders) == 2
    first = encoders.get("video") or encoders["audio"]
    return shapes.make(
        AutoAVSRConfig,
        vocabulary=shapes.size("ctc.ctc_lo.weight"),
        **encoders,
        fusion_width=shapes.size("fusion.fc1.weight") if both else 0,
        fusion_norm=_fusion_norm(shapes),
        decoder=_decoder(shapes, first.heads),
    )


def _usr(shapes: Shapes) -> USRConfig:
    encoder = shapes.make(
        EncoderConfig,
        width=shapes.size("encoder.linear_v.weight"),
        heads=shapes.size("encoder.encoders.0.self_attn.pos_bias_u"),
        feed_forward=shapes.size("encoder.encoders.0.feed_forward.w_1.weight"),
        layers=shapes.layers("encoder.encoders"),
        channels=shapes.size("encoder.frontend_v.frontend3D.0.weight"),
    )
    vocabulary = shapes.size("ctc_av.ctc_lo.weight")
    decoder = _decoder(shapes, encoder.heads)
    return shapes.make(USRConfig, vocabulary=vocabulary, encoder=encoder, decoder=decoder)


def _encoder(shapes: Shapes, name: str) -> EncoderConfig:
    block = f"{name}.encoders.0"
    width = shapes.size(f"{name}.embed.0.weight")
    has_convolution = shapes.has(f"{block}.conv_module.")
    kernel = shapes.size(f"{block}.conv_module.depthwise_conv.weight", -1) if has_convolution else 0
    frontend = f"{name}.frontend"
    is_video = shapes.has(f"{frontend}.frontend3D.")
    stem = f"{frontend}.frontend3D.0.weight" if is_video else f"{frontend}.trunk.conv1.weight"
    has_prelu = shapes.has(f"{name}.frontend.trunk.layer1.0.relu1.")
    activation: Activation = "prelu" if has_prelu else "swish"
    return shapes.make(
        EncoderConfig,
        width=width,
        heads=shapes.size(f"{block}.self_attn.pos_bias_u"),
        feed_forward=shapes.size(f"{block}.feed_forward.w_1.weight"),
        layers=shapes.layers(f"{name}.encoders"),
        kernel=kernel,
        macaron=shapes.has(f"{block}.feed_forward_macaron."),
        legacy_positions=_is_legacy(shapes, width),
        activation=activation,
        channels=shapes.size(stem),
    )


def _is_legacy(shapes: Shapes, width: int) -> bool:
    """Whether the relative attention is the older one, which the tensors do not tell."""
    if shapes.facts:
        told = shapes.facts.get("adim", width)
        if told != width:
            raise AvsrError(
                f"{shapes.path}: the .json beside it is of a model {told} wide, this one has "
                f"{width}: put its own there"
            )
        return shapes.facts.get("rel_pos_type", "legacy") != "latest"
    if width == LEGACY_WIDTH:
        raise AvsrError(
            f"{shapes.path}: {width} wide, so its attention may be of the older kind: put the "
            f"model.json that came with it beside it, as {shapes.path.with_suffix('.json').name}"
        )
    return False


def _fusion_norm(shapes: Shapes) -> FusionNorm:
    if shapes.has("fusion.bn1."):
        return "batch"
    return "layer" if shapes.has("fusion.norm1.") else "none"


def _decoder(shapes: Shapes, heads: int) -> DecoderConfig:
    """Its heads are not in the tensors: every known file has as many as in the encoder."""
    return shapes.make(
        DecoderConfig,
        width=shapes.size("decoder.embed.0.weight", 1),
        heads=heads,
        feed_forward=shapes.size("decoder.decoders.0.feed_forward.w_1.weight"),
        layers=shapes.layers("decoder.decoders"),
    )


def empty_network(config: BaseModel) -> nn.Module:
    """The network of a configuration without weights, on PyTorch's meta device: no memory."""
    import torch

    with torch.device("meta"):
        return FAMILIES[type(config)](config)


def compare(shapes: Shapes, config: BaseModel) -> None:
    """Every tensor accounted for, none left over; names the first that is wrong."""
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in empty_network(config).state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    for name, shape in wanted.items():
        if name not in shapes.shapes:
            raise AvsrError(f"{shapes.path}: lacks the tensor {name} {shape}: {KINDS}")
        if shapes.shapes[name] != shape:
            raise AvsrError(
                f"{shapes.path}: {name} has the shape {shapes.shapes[name]}, must have {shape}: "
                f"{KINDS}"
            )
    for name in shapes.shapes:
        if name not in wanted:
            raise AvsrError(f"{shapes.path}: has a tensor that no known model has, {name}: {KINDS}")
