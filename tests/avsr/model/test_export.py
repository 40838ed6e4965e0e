"""ONNX files: what onnxruntime makes of clips is what torch makes of them, whatever is missing.

An export takes seconds however small the network is, so there are two of them for all tests.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avsr.base.errors import AvsrError
from avsr.decoding.ctc import greedy
from avsr.model import adapter, checkpoint
from avsr.model.batches import collate, compute
from avsr.model.config import ModelConfig
from avsr.model.export import KEY, Dense, OnnxNetwork, export, mel_of, quantise
from avsr.model.network import AVSR
from avsr.model.tokenizer import BLANK
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardWriter

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def network(frontend: str = "convolution", **more: object) -> AVSR:
    config = ModelConfig(
        tokens=("<blank>", " ", "a", "b"),
        dim=16,
        heads=2,
        crop=32,
        video_width=4,
        audio_frontend=frontend,
        audio_width=64 if frontend == "whisper" else 4,
        audio_layers=1,
        stream_layers=1,
        joint_layers=1,
        **more,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AVSR(config).eval().requires_grad_(False)
        for parameter in model.parameters():  # branches start at zero
            parameter += 0.05 * torch.randn_like(parameter)
        return model


WITH_DECODER = {"fusion": "early", "decoder_layers": 1, "decoder_ff": 16}


def clip(frames: int, heard: slice = slice(None), seen: slice = slice(None)) -> Clip:
    rng = np.random.default_rng(frames)
    present = np.zeros((2, frames), np.bool_)
    present[0, heard], present[1, seen] = True, True
    audio = rng.normal(0, 0.1, 640 * frames).astype(np.float32)
    lips = rng.integers(0, 256, (frames, 96, 96), dtype=np.uint8)
    return Clip(f"clip{frames}", audio, lips, present[0], present[1])


CLIPS = [clip(11), clip(7, heard=slice(0)), clip(9, seen=slice(0)), clip(8, slice(2, 5), slice(4))]


@pytest.fixture(scope="module")
def model() -> AVSR:
    return network("whisper")


@pytest.fixture(scope="module")
def file(model: AVSR, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    export(model, path, {"licence": "none"})
    return path


def difference(model: AVSR, exported: OnnxNetwork, clips: list[Clip]) -> float:
    own, other = (compute(asked, clips, torch.device("cpu")) for asked in (model, exported))
    assert torch.equal(own.lens, other.lens)
    torch.testing.assert_close(own.audio_weight, other.audio_weight, atol=1e-3, rtol=0)
    return float((own.log_probs - other.log_probs).abs().max())


def test_clips_of_any_length_one_by_one_and_together(model: AVSR, file: Path):
    exported = OnnxNetwork(file)
    for one in CLIPS:
        assert difference(model, exported, [one]) < 1e-3
    assert difference(model, exported, CLIPS) < 1e-3


def test_the_file_runs_without_us(model: AVSR, file: Path):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    assert about["config"]["tokens"] == list(model.config.tokens)
    assert about["info"] == {"licence": "none"}
    feeds = {
        "audio": np.zeros((1, 640 * 5), np.float32),
        "lips": np.zeros((1, 5, 96, 96), np.uint8),
        "audio_present": np.zeros((1, 5), np.bool_),
        "video_present": np.zeros((1, 5), np.bool_),
        "lens": np.array([5]),
    }
    log_probs, weight = session.run(["log_probs", "audio_weight"], feeds)
    assert log_probs.shape == (1, 5, 4)
    assert np.isfinite(log_probs).all()
    assert weight.shape == (1, 5)


def test_the_example_in_the_documents_runs(model: AVSR, file: Path, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    one = clip(12, seen=slice(0))
    shutil.copy(file, tmp_path / "model.onnx")
    soundfile.write(tmp_path / "talk.wav", one.audio, 16_000, subtype="FLOAT")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/export.md", "exec"), {})
    output = compute(model, [one], torch.device("cpu"))
    (ids,) = greedy(output.log_probs, output.lens)
    assert capsys.readouterr().out == "".join(model.config.tokens[i] for i in ids) + "\n"


def test_computing_absent_frames_changes_nothing():
    kinds = ({}, {"frontend": "whisper"}, {"fusion": "late"}, WITH_DECODER)
    for kind in kinds:
        model = network(**kind)
        audio, *rest = collate(CLIPS)
        mel = mel_of(model, audio, rest[1])
        with torch.inference_mode():
            own = model(audio, *rest)
            log_probs, _ = Dense(model)(audio, *rest)
            beside, _ = Dense(model, "beside")(mel, *rest)
        assert not model.video_frontend.dense
        torch.testing.assert_close(log_probs, own.log_probs, atol=1e-5, rtol=0)
        torch.testing.assert_close(beside, own.log_probs, atol=1e-5, rtol=0)


def test_a_file_that_is_none_of_ours(tmp_path: Path):
    path = tmp_path / "other.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(AvsrError, match=r"other\.onnx: not an ONNX file of avsr"):
        OnnxNetwork(path)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shards"
    with ShardWriter(folder) as writer:
        for one in CLIPS:
            writer.add(replace(one, text="a b"), {"split": "val"})
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, network(**WITH_DECODER), {})
    return path


@pytest.fixture
def adapter_file(saved: Path, tmp_path: Path) -> Path:
    """Of the saved network; changes its output."""
    path, sha256 = tmp_path / "adapter.safetensors", checkpoint.weights_sha256(saved)
    weight = network(**WITH_DECODER).get_parameter("head.weight")
    change = adapter.LowRank(weight, 2, torch.Generator().manual_seed(0))
    change.up.data[1] = 3.0
    adapter.write(path, {"head.weight": change}, {"base": "tiny", "base_sha256": sha256})
    return path


def test_the_command_writes_a_file_and_tells_what_it_checked(
    avsr, saved, adapter_file, shards, tmp_path, monkeypatch
):
    out = tmp_path / "tiny.onnx"
    asked = ("export", saved, "--out", out, "--data", shards, "--frames", 10, "--mel", "beside")
    asked += ("--adapter", adapter_file)
    status, told, errors = avsr(*asked)
    assert (status, errors) == (0, "")
    rows = [line.split("|")[1].strip() for line in told.splitlines() if line.startswith("|")]
    assert rows[2:] == ["av", "audio", "video"]
    assert f"{out}: " in told

    adapted, base = network(**WITH_DECODER), network(**WITH_DECODER)
    about = adapter.apply(adapted, adapter_file, checkpoint.weights_sha256(saved))
    exported = OnnxNetwork(out, made_by=adapted)
    assert exported.session.get_inputs()[0].shape == [1, 40, 80]
    metadata = exported.session.get_modelmeta().custom_metadata_map[KEY]
    assert json.loads(metadata)["info"]["adapter"] == about
    for one in CLIPS[1:]:  # shorter ones are padded
        assert difference(adapted, exported, [one]) < 1e-3
    assert difference(base, exported, [CLIPS[1]]) > 0.1
    with pytest.raises(AvsrError, match="one clip of 10 frames"):
        compute(exported, [CLIPS[0]], torch.device("cpu"))

    written = out.read_bytes()
    monkeypatch.setattr(
        "avsr.model.export.export", lambda model, path, *_: path.write_bytes(written)
    )
    monkeypatch.setattr(importlib.import_module("avsr.cli.export"), "MOST_DIFFERENCE", -1.0)
    out.unlink()
    status, told, errors = avsr(*asked)  # a graph unlike the model
    assert (status, told) == (1, "")
    assert "differs from the model" in errors
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.pt"], "must end in .onnx"),
        (["--out", "nowhere/x.onnx"], "its folder does not exist"),
        (["--out", "x.onnx", "--frames", "5"], "at most 5 frames (the shortest has 7)"),
    ],
)
def test_what_is_refused_before_any_work(
    avsr, saved, shards, tmp_path, monkeypatch, arguments, message
):
    monkeypatch.chdir(tmp_path)
    status, _, errors = avsr("export", saved, "--data", shards, *arguments)
    assert status != 0
    assert message in errors


def test_int8_keeps_the_filters_of_the_log_mel(file: Path, tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    quantise(file, tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    types = {own.name: own.data_type for own in graph.initializer}
    (filters,) = [kind for name, kind in types.items() if name.endswith("filterbank")]
    assert filters == onnx.TensorProto.FLOAT
    assert onnx.TensorProto.INT8 in types.values()
    OnnxNetwork(tmp_path / "int8.onnx")


def test_a_pytorch_that_cannot_make_the_graph_is_one_line(tmp_path, monkeypatch):
    """As 2.9 cannot, for clips of any length."""

    def cannot(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("guards\nand more guards")

    monkeypatch.setattr(torch.onnx, "export", cannot)
    model = AVSR(ModelConfig(tokens=(BLANK, "a"), dim=32, heads=2))
    with pytest.raises(AvsrError, match=r"^PyTorch .* cannot make a graph .* --frames for a fixed"):
        export(model, tmp_path / "a.onnx", {})
