"""What a start costs: which modules transcribing brings in, and that a model loaded the quick way
is the same model."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.model import checkpoint
from avsr.model.network import AVSR

# Each of these takes longer to import than the words of a short file to find, and transcribing
# needs none of them.
NEVER = {
    *("torch._dynamo", "torch._inductor", "torch.onnx", "sympy", "torchaudio", "librosa", "numba"),
    *(
        "scipy",
        "skimage",
        "sklearn",
        "pandas",
        "matplotlib",
        "lightning",
        "webdataset",
        "ray",
        "jiwer",
        "jinja2",
    ),
    *("IPython", "PIL", "transformers", "faster_whisper", "gradio"),
}
NOT_FOR_SOUND = {"mediapipe", "cv2", "sounddevice", "_sounddevice"}


def loaded_by(code: str) -> set[str]:
    """The modules, and the packages they lie in, that a fresh Python has after some code."""
    code = f"import sys\n{code}\nprint('modules:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    names = done.stdout.rpartition("modules:")[2].split()
    return {
        ".".join(parts[:n])
        for parts in (name.split(".") for name in names)
        for n in range(1, len(parts) + 1)
    }


def test_loading_a_model_and_transcribing_sound_imports_nothing_for_nothing(tmp_path: Path):
    path = tmp_path / "noise.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(
            np.random.default_rng(0).integers(-3000, 3000, 16_000).astype("<i2").tobytes()
        )
    found = loaded_by(f"import avsr; avsr.load_model(device='cpu').transcribe({str(path)!r})")
    assert {"torch", "av"} <= found
    assert sorted(found & (NEVER | NOT_FOR_SOUND)) == []


def test_transcribing_lips_imports_nothing_for_nothing(shared: Path):
    path = shared / "data" / "grid" / "s1" / "bbaf2n.mp4"
    found = loaded_by(f"import avsr; avsr.load_model(device='cpu').transcribe({str(path)!r})")
    assert "mediapipe" in found
    assert sorted(found & NEVER) == []


@pytest.mark.parametrize(
    "name", [entry.name for entry in checkpoint.list_models() if entry.where == "bundled"]
)
def test_a_loaded_model_is_the_one_that_its_class_makes_bit_for_bit(name: str):
    model, _ = checkpoint.load(name)
    expected = AVSR(model.config)
    expected.load_state_dict(model.state_dict())
    ours, theirs = dict(model.named_buffers()), dict(expected.named_buffers())
    assert ours.keys() == theirs.keys()
    for key, buffer in ours.items():  # those too that no file holds
        assert not buffer.is_meta
        assert torch.equal(buffer, theirs[key]), key
    assert {key: p.shape for key, p in model.named_parameters()} == {
        key: p.shape for key, p in expected.named_parameters()
    }
    assert all(
        not p.is_meta and p.dtype is torch.float32 and not p.requires_grad
        for p in model.parameters()
    )
