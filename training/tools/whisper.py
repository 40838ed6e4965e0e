"""Gives a network the audio encoder of Whisper, from the files that faster-whisper uses.

    avsr models encoder WHISPER OUT --init MODEL     all but the audio encoder is MODEL's
    avsr models encoder WHISPER OUT --data FOLDER    the rest starts anew, for these texts

WHISPER is a folder with CTranslate2's ``model.bin`` of tiny or tiny.en, as faster-whisper downloads
it. A run starts from what is written: ``avsr train grid --set init=OUT``. Whisper (Radford
et al. 2022, "Robust speech recognition via large-scale weak supervision") is under the MIT licence.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avsr.base.errors import AvsrError
from avsr.model import checkpoint
from avsr.model.config import SIZES, ModelConfig
from avsr.model.layers.frontends import WhisperEncoder
from avsr.model.network import AVSR
from avsr.training.data.vocabulary import vocabulary

FILE = "model.bin"
VERSION = 6  # of CTranslate2's file format
MELS = 80
SIZE = "grid-whisper"
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_ctranslate2(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a CTranslate2 model file.

    Raises:
        AvsrError: the file cannot be read, is another version's or is damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot be read ({error.strerror}): name a folder with CTranslate2 weights"
        ) from error
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from(f"<{kind}", data, place)
        place += struct.calcsize(f"<{kind}")
        return value

    def text() -> str:
        nonlocal place
        length = number("H")
        place += length
        return data[place - length : place].rstrip(b"\0").decode()

    arrays = {}
    try:
        version, _, _, count = number("I"), text(), number("I"), number("I")
        if version != VERSION:
            raise AvsrError(
                f"{path}: format {version} of CTranslate2, not {VERSION}: convert the model again"
            )
        for _ in range(count):
            name = text()
            shape = [number("I") for _ in range(number("B"))]
            code, size = number("B"), number("I")
            kind = np.dtype(TYPES.get(code, np.uint8))
            if code not in TYPES:
                # a type that numpy lacks, such as bfloat16: refused where it is needed
                shape = [-1]
            arrays[name] = np.frombuffer(data, kind, size // kind.itemsize, place).reshape(shape)
            place += size
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        raise AvsrError(
            f"{path}: not a model file of CTranslate2, or cut short: fetch it again"
        ) from error
    return arrays


def encoder_weights(arrays: dict[str, np.ndarray], layers: int) -> dict[str, Tensor]:
    """CTranslate2's names to those of ``WhisperEncoder``; float32.

    Raises:
        AvsrError: the model is quantised or damaged, or no Whisper of so many layers.
    """
    names = {"encoder/layer_norm": "norm", "encoder/conv1": "conv1", "encoder/conv2": "conv2"}
    for i in range(layers):
        names |= {
            f"encoder/layer_{i}/self_attention/layer_norm": f"blocks.{i}.attention_norm",
            # query, key and value in one
            f"encoder/layer_{i}/self_attention/linear_0": f"blocks.{i}.attention",
            f"encoder/layer_{i}/self_attention/linear_1": f"blocks.{i}.attention.out",
            f"encoder/layer_{i}/ffn/layer_norm": f"blocks.{i}.ff.0",
            f"encoder/layer_{i}/ffn/linear_0": f"blocks.{i}.ff.1",
            f"encoder/layer_{i}/ffn/linear_1": f"blocks.{i}.ff.3",
        }
    if f"encoder/layer_{layers}/ffn/linear_0/weight" in arrays:
        raise AvsrError(f"a Whisper model of more than {layers} layers: take tiny or tiny.en")
    weights: dict[str, Tensor] = {}
    for theirs, ours in names.items():
        for kind, known in (("weight", ("weight", "gamma")), ("bias", ("bias", "beta"))):
            array = next(
                (arrays[f"{theirs}/{k}"] for k in known if f"{theirs}/{k}" in arrays), None
            )
            if array is None or array.dtype not in (np.float16, np.float32):
                raise AvsrError(
                    f"{theirs}: missing or quantised: take float16 or float32 weights of a Whisper "
                    "model"
                )
            value = torch.from_numpy(array.astype(np.float32))
            if not value.isfinite().all():
                raise AvsrError(
                    f"{theirs}: holds values that are not finite: fetch the model again"
                )
            if ours.endswith(".attention"):
                query, key_value = value.tensor_split([len(value) // 3])
                weights |= {f"{ours}.query.{kind}": query, f"{ours}.key_value.{kind}": key_value}
            else:
                weights[f"{ours}.{kind}"] = value
    return weights


def with_whisper_encoder(model: AVSR, arrays: dict[str, np.ndarray]) -> AVSR:
    """The model with Whisper's audio encoder in place of its own: from grid-tiny to grid-whisper.

    What joins the two, the projection behind the encoder, starts anew.
    """
    if model.config.n_mels != MELS:
        raise AvsrError(
            f"the model has {model.config.n_mels} mel bins and Whisper {MELS}: start from another "
            "one"
        )
    shape = {key: SIZES[SIZE][key] for key in ("audio_frontend", "audio_width", "audio_layers")}
    config = model.config.model_copy(update={**shape, "name": SIZE})
    if config != ModelConfig(tokens=config.tokens, name=SIZE, **SIZES[SIZE]):
        config = config.model_copy(update={"name": f"{model.config.name[:52]}+whisper"})
    network = AVSR(config)
    weights = network.state_dict() | {
        name: value
        for name, value in model.state_dict().items()
        if not name.startswith("audio_frontend.")
    }
    network.load_state_dict(weights)
    assert isinstance(network.audio_frontend.encoder, WhisperEncoder)
    try:
        network.audio_frontend.encoder.load_state_dict(encoder_weights(arrays, config.audio_layers))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise AvsrError(
            f"these weights are not shaped as Whisper tiny's ({reason}): take tiny or tiny.en"
        ) from error
    return network


def start_from(
    whisper: Path, init: str | None = None, data: Sequence[str | Path] = ()
) -> tuple[AVSR, dict[str, Any]]:
    """A network to start a run from, and what its file says about it.

    Args:
        whisper: folder with the CTranslate2 weights of tiny or tiny.en.
        init: name or path of the model that all but the audio encoder comes from.
        data: where there is none, folders of shards, for whose texts the rest starts anew.

    Raises:
        AvsrError: weights that cannot be read or do not fit.
    """
    arrays = read_ctranslate2(whisper / FILE)
    about: dict[str, Any] = {}
    torch.manual_seed(0)
    if init is not None:
        model, about = checkpoint.load(init)
    else:
        tokens = vocabulary([Path(folder) for folder in data], "train").tokens
        model = AVSR(ModelConfig(tokens=tokens, **SIZES[SIZE]))
    info = {"audio_encoder": "encoder of Whisper, MIT licence, OpenAI", "from": init}
    info |= {"license": about["license"]} if "license" in about else {}
    return with_whisper_encoder(model, arrays), info
