"""Whisper's encoder: its weights are read as they were written, and nothing else of the network is
touched."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.base.errors import AvsrError
from avsr.cli import main
from avsr.model import checkpoint
from avsr.model.config import SIZES, ModelConfig
from avsr.model.layers.frontends import WhisperEncoder, sinusoids
from avsr.model.network import AVSR
from avsr.model.tokenizer import BLANK
from avsr.training.tools.whisper import encoder_weights, read_ctranslate2, with_whisper_encoder

TINY = {"mels": 80, "width": 384, "layers": 4}


def theirs(encoder: WhisperEncoder) -> dict[str, np.ndarray]:
    """The arrays that CTranslate2's converter makes of Whisper's encoder."""
    own = {name: value.half().numpy() for name, value in encoder.state_dict().items()}
    out = {"encoder/num_heads": np.array(6, np.int16)}
    for kind, short in (("weight", "gamma"), ("bias", "beta")):
        out[f"encoder/layer_norm/{short}"] = own[f"norm.{kind}"]
        for conv in ("conv1", "conv2"):
            out[f"encoder/{conv}/{kind}"] = own[f"{conv}.{kind}"]
        for i in range(len(encoder.blocks)):
            block, layer = f"blocks.{i}", f"encoder/layer_{i}"
            both = [own[f"{block}.attention.{part}.{kind}"] for part in ("query", "key_value")]
            out[f"{layer}/self_attention/layer_norm/{short}"] = own[
                f"{block}.attention_norm.{kind}"
            ]
            out[f"{layer}/self_attention/linear_0/{kind}"] = np.concatenate(both)
            out[f"{layer}/self_attention/linear_1/{kind}"] = own[f"{block}.attention.out.{kind}"]
            out[f"{layer}/ffn/layer_norm/{short}"] = own[f"{block}.ff.0.{kind}"]
            out[f"{layer}/ffn/linear_0/{kind}"] = own[f"{block}.ff.1.{kind}"]
            out[f"{layer}/ffn/linear_1/{kind}"] = own[f"{block}.ff.3.{kind}"]
    return out


def packed(arrays: dict[str, np.ndarray], version: int = 6) -> bytes:
    """A model.bin as CTranslate2 writes it."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        kind = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}[array.dtype.name]
        out += text(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += struct.pack("<BI", kind, array.nbytes) + array.tobytes()
    return out + struct.pack("<I", 0)  # no aliases


def encoder(width: int = TINY["width"], layers: int = TINY["layers"]) -> WhisperEncoder:
    torch.manual_seed(3)
    return WhisperEncoder(TINY["mels"], width, layers).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny")
    (path / "model.bin").write_bytes(packed(theirs(encoder())))
    return path


@pytest.fixture(scope="module")
def plain() -> AVSR:
    torch.manual_seed(4)
    return AVSR(
        ModelConfig(tokens=(BLANK, "a", "b"), crop=32, dim=32, heads=2, video_width=4)
    ).eval()


def test_the_ear_hears_what_whispers_does(folder: Path, plain: AVSR) -> None:
    model = with_whisper_encoder(plain, read_ctranslate2(folder / "model.bin")).eval()
    mel, present = torch.randn(1, 48, 80), torch.ones(1, 12, dtype=torch.bool)
    with torch.inference_mode():
        expected = encoder()(mel, present, present)
        torch.testing.assert_close(
            model.audio_frontend.encoder(mel, present, present), expected, atol=2e-2, rtol=2e-2
        )
    kept = {
        name: value
        for name, value in plain.state_dict().items()
        if not name.startswith("audio_frontend.")
    }
    assert kept
    assert all(torch.equal(model.state_dict()[name], value) for name, value in kept.items())
    assert model.config.name == "avsr+whisper"  # no recipe's size
    assert model.config.dim == 32


def test_a_grid_tiny_becomes_a_grid_whisper(folder: Path) -> None:
    arrays = read_ctranslate2(folder / "model.bin")
    for size, name in (("grid-tiny", "grid-whisper"), ("grid", "grid+whisper")):
        model = AVSR(ModelConfig(name=size, tokens=(BLANK, "a"), **SIZES[size]))
        assert with_whisper_encoder(model, arrays).config.name == name


def test_the_encoder_is_a_pre_norm_transformer() -> None:
    """Against torch's own layers and Whisper's formula for positions, with nothing left at its
    start value."""
    torch.manual_seed(5)
    ours = WhisperEncoder(80, 128, 2).eval()
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, present = torch.randn(2, 40, 80), torch.ones(2, 10, dtype=torch.bool)
    layers = []
    for block in ours.blocks:
        layer = torch.nn.TransformerEncoderLayer(
            128, 2, 512, dropout=0, activation="gelu", batch_first=True, norm_first=True
        )
        own, attention = layer.state_dict(), block.attention
        own["self_attn.in_proj_weight"] = torch.cat(
            [attention.query.weight, attention.key_value.weight]
        )
        own["self_attn.in_proj_bias"] = torch.cat([attention.query.bias, attention.key_value.bias])
        pairs = {
            "self_attn.out_proj": attention.out,
            "norm1": block.attention_norm,
            "norm2": block.ff[0],
        }
        pairs |= {"linear1": block.ff[1], "linear2": block.ff[3]}
        own |= {
            f"{name}.{kind}": getattr(part, kind)
            for name, part in pairs.items()
            for kind in ("weight", "bias")
        }
        layer.load_state_dict(own)
        layers.append(layer.eval())
    with torch.no_grad():
        y = torch.nn.functional.gelu(ours.conv1(x.transpose(1, 2)))
        y = torch.nn.functional.gelu(ours.conv2(y)).transpose(1, 2)
        rates = torch.exp(-np.log(10_000) / 63 * torch.arange(64))
        angles = torch.arange(20)[:, None] * rates
        y = y + torch.cat([torch.sin(angles), torch.cos(angles)], 1)
        for layer in layers:
            y = layer(y)
        torch.testing.assert_close(ours(x, present, present), ours.norm(y), atol=1e-4, rtol=1e-4)


def test_positions_begin_again_after_thirty_seconds() -> None:
    places = sinusoids(1600, 64, torch.device("cpu"))
    assert torch.equal(places[1500:], places[:100])
    assert not torch.allclose(places[1499], places[0])


def test_clips_without_sound_give_finite_gradients() -> None:
    shape = {
        "audio_frontend": "whisper",
        "audio_width": 64,
        "audio_layers": 1,
        "dim": 32,
        "heads": 2,
        "video_width": 4,
    }
    model = AVSR(ModelConfig(tokens=(BLANK, "a"), crop=32, **shape))
    present = torch.ones(2, 10, dtype=torch.bool)
    present[1] = False
    model.audio_frontend.encoder.register_forward_hook(lambda _, given, out: seen.append(given[1]))
    seen: list[torch.Tensor] = []
    for heard in (present, present & False):
        output = model(
            torch.randn(2, 6400), torch.zeros(2, 10, 96, 96), heard, ~heard, torch.tensor([10, 10])
        )
        output.log_probs.sum().backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        assert grads
        assert all(torch.isfinite(grad).all() for grad in grads)
    assert len(seen) == 1  # not asked where there is nothing to hear
    assert seen[0].any(1).all()


def test_the_command_writes_a_model_to_start_from(
    folder: Path, plain: AVSR, tmp_path: Path, capsys
) -> None:
    checkpoint.save(tmp_path / "plain.safetensors", plain, {"license": "CC0", "step": 9})
    out = tmp_path / "ear.safetensors"
    assert (
        main(
            [
                "models",
                "encoder",
                str(folder),
                str(out),
                "--init",
                str(tmp_path / "plain.safetensors"),
            ]
        )
        == 0
    )
    assert capsys.readouterr().out == f"{out}\n"
    model, info = checkpoint.load(out)
    assert "Whisper" in info["audio_encoder"]
    assert info["license"] == "CC0"
    assert "step" not in info
    torch.testing.assert_close(
        model.audio_frontend.encoder.conv2.weight, encoder().conv2.weight.data, atol=1e-3, rtol=1e-3
    )


def test_what_is_no_whisper_tiny_is_told_in_one_line(tmp_path: Path, plain: AVSR, capsys) -> None:
    arrays = theirs(encoder(64, 4))
    path = tmp_path / "model.bin"
    cases = (
        (packed(arrays, version=5), "format 5 of CTranslate2"),
        (packed(arrays)[:-5000], "cut short"),
        (b"PK\x03\x04 some other file", "CTranslate2"),
    )
    for data, message in cases:
        path.write_bytes(data)
        with pytest.raises(AvsrError, match=message):
            read_ctranslate2(path)
    with pytest.raises(AvsrError, match="not shaped as Whisper tiny"):
        with_whisper_encoder(plain, arrays)
    broken = {**arrays, "encoder/conv1/weight": np.full((64, 80, 3), np.nan, np.float16)}
    with pytest.raises(AvsrError, match="encoder/conv1: holds values that are not finite"):
        encoder_weights(broken, 4)
    int8 = arrays | {"encoder/layer_1/ffn/linear_0/weight": np.zeros((256, 64), np.int8)}
    with pytest.raises(AvsrError, match="more than 3 layers"):
        encoder_weights(arrays, 3)
    for wrong, layers in ((int8, 4), (arrays, 6)):
        with pytest.raises(AvsrError, match="missing or quantised"):
            encoder_weights(wrong, layers)
    command, out = ["models", "encoder"], str(tmp_path / "out.safetensors")
    assert main([*command, str(tmp_path / "nowhere"), out, "--init", "default"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "name a folder with CTranslate2 weights" in err
    assert main([*command, str(tmp_path), str(tmp_path / "out.bin"), "--init", "default"]) == 2
    assert "must end in .safetensors" in capsys.readouterr().err
    for rest in ([], ["--init", "default", "--data", str(tmp_path)]):
        assert main([*command, str(tmp_path), out, *rest]) == 2
        assert "either --init MODEL or --data DIR" in capsys.readouterr().err
