"""Importing checkpoints: every form they come in, what is read from them, what comes out."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import golden_fill
import networks
import numpy as np
import pytest
import torch
from checkpoints import (
    current,
    float32,
    prefixed,
    saved_as_before_1_6,
    saved_with_pth,
    saved_with_safetensors,
    training_checkpoint,
    units,
)
from torch import Tensor

from avsr.base.errors import AvsrError
from avsr.imported import store
from avsr.imported.autoavsr import AutoAVSR
from avsr.imported.importing import import_checkpoint, name_after

USR_PREFIX = "model.backbone."
FRAMES = 3


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models."""
    folder = tmp_path / "models"
    monkeypatch.setenv("AVSR_MODELS", str(folder))
    return folder


Wrap = Callable[[dict[str, Tensor]], object]
FORMS: dict[str, tuple[str, Wrap, Callable]] = {
    "model zoo, lips": ("video", dict, saved_with_pth),
    "model zoo, sound": ("audio", dict, saved_with_pth),
    "model zoo, both": ("av", dict, saved_with_pth),
    "before PyTorch 1.6": ("video", dict, saved_as_before_1_6),
    "current, lips": ("video", current, saved_with_pth),
    "current, sound": ("audio", current, saved_with_pth),
    "mirror, both": ("av", lambda state: prefixed(state, "avsr."), saved_with_safetensors),
    "mirror, lips": ("video", lambda state: prefixed(state, "vsr."), saved_with_safetensors),
    "mirror, sound": ("audio", lambda state: prefixed(state, "asr."), saved_with_safetensors),
    "several devices": ("video", lambda state: prefixed(state, "module."), saved_with_pth),
    "training": ("video", lambda state: training_checkpoint(current(state)), saved_with_pth),
}


def clip(frames: int = FRAMES) -> tuple[Tensor, Tensor]:
    """Noise: lips (T, 96, 96) uint8 and audio (640 T,)."""
    values = golden_fill.uniform(frames * 96 * 96, 7) * 255
    lips = torch.from_numpy(values.astype(np.uint8)).reshape(frames, 96, 96)
    return lips, golden_fill.audio(frames).float()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_auto_avsr(form: str, models: Path, tmp_path: Path):
    modality, wrap, save = FORMS[form]
    network = networks.auto_avsr(modality)
    path = save(wrap(float32(network)), tmp_path / "some-model.pth")

    name, found = import_checkpoint(path, units(tmp_path))

    assert (name, found.network.modalities) == ("some-model", (modality,))
    assert found.network == network.config
    assert sorted(path.name for path in (models / name).iterdir()) == [
        "LICENCE.txt",
        "config.json",
        "model.safetensors",
    ]
    model = store.load(name)
    memory, log_probs = model.encode(modality, *clip())
    wanted = expected(network.float(), modality)
    np.testing.assert_allclose(memory.numpy(), wanted.numpy(), atol=1e-4)
    assert log_probs.shape == (FRAMES, len(model.pieces))


def expected(network, modality: str) -> Tensor:
    """Section 8 of the specification by hand."""
    lips, audio = clip()
    video = (lips[:, 4:92, 4:92] / 255 - 0.421) / 0.165
    if network.normalised_audio:
        audio = (audio - audio.mean()) / (audio.var(unbiased=False) + 1e-8).sqrt()
    with torch.inference_mode():
        return network.encode(modality, video, audio)


@pytest.mark.parametrize("compiled", ["", "_orig_mod."])
def test_usr(compiled: str, models: Path, tmp_path: Path):
    network = networks.usr()
    state = prefixed(float32(network), USR_PREFIX + compiled)
    state["model.teacher.weight"] = torch.zeros(3)
    path = saved_with_pth(state, tmp_path / "usr.pth")

    import_checkpoint(path, units(tmp_path, 1047), name="usr-small")

    model = store.load("usr-small")
    assert model.modalities == ("av", "audio", "video")
    for modality in model.modalities:
        memory, _ = model.encode(modality, *clip())
        wanted = expected(network.float(), modality)
        np.testing.assert_allclose(memory.numpy(), wanted.numpy(), atol=1e-4)


def test_a_training_checkpoint_with_its_settings_in_it_is_read_and_they_are_not_run(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = types.ModuleType("omegaconf.dictconfig")

    class DictConfig:
        __module__, __qualname__ = "omegaconf.dictconfig", "DictConfig"

        def __setstate__(self, state: dict) -> None:
            pytest.fail("was run")

    module.DictConfig = DictConfig
    monkeypatch.setitem(sys.modules, "omegaconf", types.ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    settings = DictConfig()
    settings.data = {"modality": "video"}
    state = training_checkpoint(current(float32(networks.auto_avsr("video"))))
    path = saved_with_pth(state | {"hyper_parameters": settings}, tmp_path / "last.ckpt")

    name, _ = import_checkpoint(path, units(tmp_path), name="mine")

    assert store.load(name).modalities == ("video",)


def test_an_older_character_model_takes_attention_and_characters_from_its_model_json(
    models: Path, tmp_path: Path
):
    network = networks.auto_avsr("video", legacy_positions=True)
    folder = tmp_path / "LRS3_V_WER32.3"
    folder.mkdir()
    saved_with_pth(float32(network), folder / "model.pth")
    characters = ["<blank>", "<space>", *(chr(0x100 + i) for i in range(117)), "<eos>"]
    facts = [None, None, {"adim": 48, "char_list": characters}]
    (folder / "model.json").write_text(json.dumps(facts))

    name, found = import_checkpoint(folder)

    assert name == "lrs3_v_wer32.3"
    assert found.network == network.config
    assert found.pieces == tuple(characters)
    facts[2]["rel_pos_type"] = "latest"
    (folder / "model.json").write_text(json.dumps(facts))
    _, found = import_checkpoint(folder, name="newer")
    assert not found.network.video.legacy_positions


def test_a_language_model_comes_along_and_counts_for_lips_alone(models: Path, tmp_path: Path):
    language = networks.language_model()
    lm = saved_with_pth(float32(language), tmp_path / "lm.pth")
    (tmp_path / "lm.json").write_text(json.dumps([None, None, {"head": 4, "pos_enc": "none"}]))
    units(tmp_path)
    for modality in ("video", "audio"):
        path = saved_with_pth(float32(networks.auto_avsr(modality)), tmp_path / f"{modality}.pth")
        import_checkpoint(path, tmp_path / "units.txt", lm)

    model = store.load("video")
    decoder, found = model.scorers("video")
    assert (decoder.vocabulary, found.vocabulary, model.lm_weight("video")) == (120, 120, 0.3)
    log_probs, _ = found.step(torch.tensor([119]), found.start(torch.empty(0)))
    wanted, _ = language.float().step(torch.tensor([119]), language.start(torch.empty(0)))
    np.testing.assert_allclose(log_probs.numpy(), wanted.numpy(), atol=1e-5)
    assert store.load("audio").scorers("audio")[1] is None


def test_half_precision_is_stored_and_run_in_float32(models: Path, tmp_path: Path):
    state = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in float32(networks.auto_avsr("audio")).items()
    }
    path = saved_with_pth(state, tmp_path / "half.pth")
    import_checkpoint(path, units(tmp_path))
    memory, _ = store.load("half").encode("audio", None, clip()[1])
    assert memory.dtype == torch.float32


MEASURE = """
import sys
from avsr.base.processes.machine import peak_memory_mb
from avsr.imported.importing import import_checkpoint
import avsr.imported.inference, torch, pydantic, safetensors.torch
before = peak_memory_mb()
import_checkpoint(*sys.argv[1:])
print((peak_memory_mb() - before) * 2**20 / 1e6)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measured as Linux tells it")
@pytest.mark.parametrize("save", [saved_with_pth, saved_as_before_1_6])
def test_memory_stays_below_twice_the_file(save: Callable, models: Path, tmp_path: Path):
    config = networks.auto_avsr("audio").config
    wide = config.decoder.model_copy(update={"feed_forward": 16384, "layers": 12})
    network = AutoAVSR(config.model_copy(update={"decoder": wide}))
    path = save(network.state_dict(), tmp_path / "large.pth")
    arguments = [sys.executable, "-c", MEASURE, path, units(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2 * path.stat().st_size / 1e6


def test_digital_silence_gives_numbers(models: Path, tmp_path: Path):
    path = saved_with_pth(float32(networks.auto_avsr("av")), tmp_path / "both.pth")
    import_checkpoint(path, units(tmp_path))
    lips, _ = clip()
    memory, log_probs = store.load("both").encode("av", lips * 0, torch.zeros(FRAMES * 640))
    assert memory.isfinite().all()
    assert log_probs.isfinite().all()


def test_the_longer_stream_is_cut_and_what_is_not_asked_for_is_not_looked_at(
    models: Path, tmp_path: Path
):
    path = saved_with_pth(prefixed(float32(networks.usr()), USR_PREFIX), tmp_path / "usr.pth")
    import_checkpoint(path, units(tmp_path, 1047))
    model = store.load("usr")
    lips, audio = clip()
    longer = torch.cat([audio, torch.ones(700)])
    whole, _ = model.encode("av", lips, audio)
    assert torch.equal(model.encode("av", lips, longer)[0], whole)
    alone, _ = model.encode("video", lips, None)
    assert torch.equal(model.encode("video", lips, audio[:640])[0], alone)
    with pytest.raises(AvsrError, match="less than one frame"):
        model.encode("audio", lips, audio[:639])


def test_a_modality_without_weights_is_refused(models: Path, tmp_path: Path):
    path = saved_with_pth(float32(networks.auto_avsr("video")), tmp_path / "lips.pth")
    import_checkpoint(path, units(tmp_path))
    with pytest.raises(AvsrError, match="cannot do modality 'audio', only video"):
        store.load("lips").encode("audio", *clip())


def test_the_list_beside_the_checkpoint_is_found(models: Path, tmp_path: Path):
    path = saved_with_pth(prefixed(float32(networks.usr()), USR_PREFIX), tmp_path / "usr.pth")
    units(tmp_path, 1047).rename(tmp_path / "unigram1000_units.txt")
    _, found = import_checkpoint(path)
    assert found.pieces[:3] == ("<blank>", "<unk>", "\u2581W2")
    assert (len(found.pieces), found.pieces[-1]) == (1049, "<eos>")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("zoo/vsr_trlrs3_base.pth", "vsr_trlrs3_base"),
        ("zoo/LRS3_V_WER19.1/model.pth", "lrs3_v_wer19.1"),
        ("a b/Größe (1).ckpt", "gr-e-1"),
    ],
)
def test_a_model_is_called_after_its_file_or_folder(path: str, name: str):
    assert name_after(Path(path)) == name
