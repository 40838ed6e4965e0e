"""A network as an ONNX file, which runs without avsr and without torch, and what runs one here.

B  clips in a batch        T  frames, 25 a second        N  audio samples, 640 T
S  mel frames, 4 T         M  mel bins                   R  CTC outputs of a frame, U  tokens

The graph takes what `AVSR.forward` takes, under the names INPUTS, and gives OUTPUTS. Every frame is
computed, present or not, so no shape in it depends on what is in the data.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.base.inputs import install, refuse_endless
from avsr.model.config import ModelConfig
from avsr.model.network import AVSR, Output
from avsr.preprocessing.audio import MELS_PER_FRAME, LogMel
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    import onnxruntime

Mel = Literal["inside", "beside"]  # whether the graph makes the log-mel, or is given it

INPUTS = ("audio", "lips", "audio_present", "video_present", "lens")  # beside: "mel" for "audio"
OUTPUTS = ("log_probs", "audio_weight")
KEY = "avsr"  # of the JSON in the file's metadata: config, info, mel, frames, and weights_sha256
OPSET = 20
MOST_BATCH, MOST_FRAMES = 256, 3000  # of a graph of any length: two minutes
TRACED = (2, 50)  # clips and frames that a graph of any length is traced with
SMALLEST_QUANTISED = 10_000  # weights of a matrix
MOST_MB = 2000  # protobuf holds no more


class _GivenMel(LogMel):
    """Takes the log-mel itself where the sound was."""

    def forward(self, audio: Tensor, present: Tensor) -> Tensor:
        """(B, S, M), (B, T) -> the same (B, S, M)."""
        return audio


class Dense(nn.Module):
    """A network whose shapes depend on the shapes of what it is given alone.

    Args:
        model: is left as it is.
        mel: "beside" has the log-mel for the sound: (B, S, M) float32, as `mel_of` makes it.
    """

    def __init__(self, model: AVSR, mel: Mel = "inside") -> None:
        super().__init__()
        self.model = copy.deepcopy(model).float().cpu().eval().requires_grad_(False)
        self.model.video_frontend.dense = True
        if mel == "beside":
            self.model.audio_frontend.mel = _GivenMel(model.config.n_mels)
        if model.config.audio_frontend == "whisper":
            self.model.audio_frontend.dense = True

    def forward(
        self,
        audio: Tensor,
        lips: Tensor,
        audio_present: Tensor,
        video_present: Tensor,
        lens: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """As `AVSR.forward` -> log-probabilities (B, R T, U) and audio weight (B, T)."""
        output = self.model(audio, lips, audio_present, video_present, lens)
        return output.log_probs, output.audio_weight


def mel_of(model: AVSR, audio: Tensor, present: Tensor) -> Tensor:
    """The log-mel (B, S, M) that a graph with its mel beside takes, of (B, N) and (B, T)."""
    with torch.inference_mode():
        return model.audio_frontend.mel(audio, present)


def export(
    model: AVSR, path: Path, info: dict[str, Any], mel: Mel = "inside", frames: int | None = None
) -> None:
    """Writes a network as ONNX, whole or not at all.

    Args:
        model: in evaluation mode.
        path: the file to write.
        info: what its maker says about it; goes along.
        mel: whether the graph makes the log-mel from the sound, or is given it.
        frames: T, for a graph of one clip of this length; None for any batch of any length.

    Raises:
        AvsrError: onnx is not installed, this PyTorch cannot make the graph, or the file cannot be
            written.
    """
    _require("onnx", "onnxscript")
    names = ["mel" if name == "audio" and mel == "beside" else name for name in INPUTS]
    batch, length = (1, frames) if frames else TRACED
    try:
        with _quiet():
            program = torch.onnx.export(
                Dense(model, mel).eval(),
                _example(model, batch, length, mel),
                dynamo=True,
                dynamic_shapes=None if frames else _any_size(mel),
                input_names=names,
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                external_data=False,
            )
    except torch.onnx.OnnxExporterError as error:
        way = "install a newer PyTorch" + ("" if frames else ", or set --frames for a fixed length")
        raise AvsrError(
            f"PyTorch {torch.__version__} cannot make a graph of this network (2.13 does): {way}"
        ) from error
    assert program is not None  # so it is with dynamo
    about = {"config": model.config.model_dump(mode="json"), "info": info}
    program.model.metadata_props[KEY] = json.dumps({**about, "mel": mel, "frames": frames})
    _write(path, program.model_proto.SerializeToString())


def _example(model: AVSR, batch: int, frames: int, mel: Mel) -> tuple[Tensor, ...]:
    """What the network is traced with: noise of some size, all of it there."""
    noise = torch.Generator().manual_seed(0)
    sound = torch.randn(batch, frames * SAMPLES_PER_FRAME, generator=noise) * 0.1
    lips = torch.randint(
        0, 256, (batch, frames, CROP_SIZE, CROP_SIZE), dtype=torch.uint8, generator=noise
    )
    there = torch.ones(batch, frames, dtype=torch.bool)
    if mel == "beside":
        sound = mel_of(model, sound, there).clone()
    return sound, lips, there, there.clone(), torch.full((batch,), frames)


def _any_size(mel: Mel) -> tuple[dict[int, Any], ...]:
    """Which sizes of the inputs are free, and how they hang together."""
    batch = torch.export.Dim("batch", min=1, max=MOST_BATCH)
    frames = torch.export.Dim("frames", min=2, max=MOST_FRAMES)
    own = {0: batch, 1: frames}
    heard = (MELS_PER_FRAME if mel == "beside" else SAMPLES_PER_FRAME) * frames
    return {0: batch, 1: heard}, own, own, own, {0: batch}


def quantise(source: Path, path: Path) -> None:
    """Writes a graph with the weights of its large matrix products as int8, one scale a channel.

    What goes into a product is quantised as it comes (dynamic quantisation). Convolutions stay as
    they are, and so does what is small, heads among it, and the filters of the log-mel: power
    spectra span many powers of ten, and with those in int8 a fifth of the words went wrong.

    Raises:
        AvsrError: onnxruntime is not installed, or the file cannot be written.
    """
    _require("onnx", "onnxruntime")
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(source).graph
    weights = {own.name: own.dims for own in graph.initializer}
    kept = []
    for node in graph.node:
        for name in node.input:
            small = name in weights and math.prod(weights[name]) < SMALLEST_QUANTISED
            if small or name.endswith("filterbank"):
                kept.append(node.name)

    with tempfile.TemporaryDirectory() as scratch, _quiet():
        made = Path(scratch) / "int8.onnx"
        quantize_dynamic(
            source,
            made,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_exclude=kept,
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        _write(path, made.read_bytes())


class OnnxNetwork:
    """An exported network, called as `AVSR` is.

    Args:
        path: a file that `export` wrote.
        threads: that it computes with.
        made_by: the network it was made of, which makes its log-mel where that is beside.

    Raises:
        AvsrError: onnxruntime is not installed, or no such file.
    """

    def __init__(self, path: Path, threads: int = 1, made_by: AVSR | None = None) -> None:
        _require("onnxruntime")
        import onnxruntime

        refuse_endless(path, "model", MOST_MB)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors alone
        try:
            self.session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            about = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
            self.config = ModelConfig.model_validate(about["config"])
        except Exception as error:  # onnxruntime's own kinds have no common name
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise AvsrError(
                f"{path}: not an ONNX file of avsr, or a damaged one ({reason}): write it with "
                "avsr export"
            ) from error
        self.mel: Mel = about["mel"]
        self.frames: int | None = about["frames"]
        self.made_by = made_by

    def __call__(
        self,
        audio: Tensor,
        lips: Tensor,
        audio_present: Tensor,
        video_present: Tensor,
        lens: Tensor,
    ) -> Output:
        """As `AVSR.forward`; the streams' own heads are left out of the graph, and empty here.

        Raises:
            AvsrError: clips longer than a graph of one length takes, or several at once.
        """
        length = lips.shape[1]
        if self.frames is not None and (len(lips) > 1 or length > self.frames):
            raise AvsrError(
                f"the graph takes one clip of {self.frames} frames, not {len(lips)} of {length}: "
                "export it without --frames"
            )
        if self.frames is not None:
            missing = self.frames - length
            audio = nn.functional.pad(audio, (0, missing * SAMPLES_PER_FRAME))
            lips = nn.functional.pad(lips, (0, 0, 0, 0, 0, missing))
            audio_present, video_present = (
                nn.functional.pad(there, (0, missing)) for there in (audio_present, video_present)
            )
        if self.mel == "beside":
            assert self.made_by is not None, "a graph with its mel beside needs who makes it"
            audio = mel_of(self.made_by, audio, audio_present)
        given = (audio, lips, audio_present, video_present, lens)
        names = [own.name for own in self.session.get_inputs()]
        feeds = {name: value.numpy() for name, value in zip(names, given, strict=True)}
        log_probs, weight = map(torch.from_numpy, self.session.run(list(OUTPUTS), feeds))
        per_frame = self.config.outputs_per_frame
        log_probs, weight = log_probs[:, : length * per_frame], weight[:, :length]
        nothing = log_probs.new_empty(0)
        return Output(log_probs, nothing, nothing, weight, lens * per_frame)


def _require(*packages: str) -> None:
    from importlib.util import find_spec

    for package in packages:
        if find_spec(package) is None:
            raise AvsrError(f"ONNX files need {package}: {install(package)}")


def _write(path: Path, content: bytes) -> None:
    try:
        outputs.write(path, [content])
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot be written ({error.strerror}): choose another folder or free space"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporters say of themselves is not for our users."""
    noisy = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in noisy]
    try:
        for logger in noisy:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)
