"""Model files: what goes in comes out, and whatever is wrong with one is said in one line."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avsr.base.errors import AvsrError
from avsr.model import checkpoint
from avsr.model.network import AVSR

INFO = {"data": "made from nothing", "wer": {"av": 0.5}, "name": "ünï"}


@pytest.fixture(scope="module")
def model(tiny_network: Callable[..., AVSR]) -> AVSR:
    return tiny_network(("<blank>", " ", "a", "b"), seed=3)


@pytest.fixture
def file(model: AVSR, tmp_path: Path) -> Path:
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, model, INFO)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setattr(checkpoint, "cache_folder", lambda: folder)
    return folder


def refused(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(AvsrError) as caught:
        checkpoint.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def rewrite(path: Path, change) -> None:
    """Changes the weights and the JSON of a model file."""
    weights = load_file(path)
    about = checkpoint._read_about(path)
    about = change(weights, about) or about
    save_file(
        weights, path, metadata={"avsr": about if isinstance(about, str) else json.dumps(about)}
    )


def test_what_is_saved_comes_back(model: AVSR, file: Path):
    loaded, info = checkpoint.load(file)
    assert info == INFO
    assert loaded.config == model.config
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert {buffer.device.type for buffer in loaded.buffers()} == {"cpu"}


def test_same_output_before_and_after(model: AVSR, file: Path):
    loaded, _ = checkpoint.load(file)
    generator = torch.Generator().manual_seed(0)
    audio = torch.randn(1, 3200, generator=generator)
    lips = torch.randint(0, 255, (1, 5, 96, 96), generator=generator, dtype=torch.uint8)
    present = torch.ones(1, 5, dtype=torch.bool)
    batch = (audio, lips, present, present, torch.tensor([5]))
    with torch.inference_mode():
        assert torch.equal(model(*batch).log_probs, loaded(*batch).log_probs)


def test_a_header_whose_length_looks_like_a_pickle_is_no_pickle(model: AVSR, tmp_path: Path):
    path = tmp_path / "m.safetensors"
    # the header's length is rounded up to eight bytes: some padding ends it in 0x80
    for padding in range(256):
        checkpoint.save(path, model, {"padding": "x" * padding})
        if path.read_bytes()[:1] == b"\x80":
            break
    assert path.read_bytes()[:1] == b"\x80"
    assert checkpoint.load(path)[1] == {"padding": "x" * padding}


def test_half_precision_is_half_the_size_and_loads_as_float32(
    model: AVSR, file: Path, tmp_path: Path
):
    half = tmp_path / "half.safetensors"
    checkpoint.save(half, model, INFO, dtype=torch.float16)
    assert half.stat().st_size < 0.7 * file.stat().st_size
    loaded, _ = checkpoint.load(half)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == model.state_dict()[name].dtype, name
        torch.testing.assert_close(tensor, model.state_dict()[name], rtol=2e-3, atol=1e-3)


def test_loading_leaves_the_global_generator_alone(file: Path):
    before = torch.random.get_rng_state()
    checkpoint.load(file)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_saving_twice_gives_the_same_bytes_and_nothing_beside(model: AVSR, file: Path):
    first = file.read_bytes()
    checkpoint.save(file, model, INFO)
    assert file.read_bytes() == first
    assert os.listdir(file.parent) == [file.name]


def test_failed_save_leaves_the_old_file(model: AVSR, file: Path, monkeypatch: pytest.MonkeyPatch):
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(AvsrError, match="No space left on device"):
        checkpoint.save(file, model, INFO)
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


class Boobytrap:
    def __reduce__(self):
        return (os.mkdir, ("boobytrap-went-off",))


@pytest.mark.parametrize("how", ["pickle", "torch", "torch-old"])
def test_pickles_are_refused_and_not_run(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.safetensors"
    if how == "pickle":
        path.write_bytes(pickle.dumps(Boobytrap()))
    else:
        torch.save({"trap": Boobytrap()}, path, _use_new_zipfile_serialization=how == "torch")
    assert "pickled checkpoint is refused" in refused(path)
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("size", [0, 4, 8, 100, 5000, -1])
def test_cut_short(file: Path, size: int):
    file.write_bytes(file.read_bytes()[:size])
    assert "not a model file, or cut short" in refused(file)


@pytest.mark.parametrize(
    "content", [b"hello\n", b"\xff" * 64, b"\x10" + b"\0" * 7 + b'{"a": nonsense}']
)
def test_not_a_model_file(tmp_path: Path, content: bytes):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    assert "not a model file" in refused(path)


def test_file_of_another_program(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    assert "another program" in refused(path)


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "must hold config and info"),
        ("{}", "must hold config and info"),
        ('{"config": 3, "info": {}}', "must hold config and info"),
    ],
)
def test_wrong_json(file: Path, about: str, expected: str):
    rewrite(file, lambda weights, _: about)
    assert expected in refused(file)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"dim": 1_000_000_000}, "dim"),
        ({"stream_layers": "many"}, "stream_layers"),
        ({"colour": "red"}, "colour"),
        ({"tokens": ["a", "b"]}, "first token"),
        ({"tokens": ["<blank>", "a", "a", "b"]}, "distinct"),
    ],
)
def test_wrong_configuration(file: Path, change: dict, expected: str):
    rewrite(file, lambda weights, about: about["config"].update(change))
    assert expected in refused(file)


def test_configuration_larger_than_the_file_costs_no_memory(file: Path):
    rewrite(file, lambda weights, about: about["config"].update(dim=1024, joint_layers=24))
    assert "missing" in refused(file)


def test_missing_unknown_misshapen_and_diverged_weights(file: Path):
    rewrite(file, lambda weights, _: weights.update(head=weights.pop("head.bias")))
    assert "lacks weights head.bias (1 missing, 1 unknown)" in refused(file)
    rewrite(file, lambda weights, _: weights.update({"head.bias": weights.pop("head")[:2]}))
    assert "weights head.bias are (2,), the configuration says (4,)" in refused(file)
    rewrite(file, lambda weights, _: weights.update({"head.bias": torch.full((4,), torch.nan)}))
    assert "head.bias holds values that are not finite" in refused(file)


def test_weights_of_another_kind_of_number(file: Path):
    rewrite(file, lambda weights, _: weights.update({"head.weight": weights["head.weight"] > 0}))
    assert "weights head.weight are torch.bool, not torch.float32" in refused(file)


def test_missing_file_and_folder(tmp_path: Path, cache: Path):
    with pytest.raises(AvsrError, match=r"no such file, nor a known name"):
        checkpoint.load(tmp_path / "none.safetensors")
    with pytest.raises(AvsrError, match="is a folder"):
        checkpoint.load(tmp_path)
    with pytest.raises(AvsrError, match="model http://host/none: a URL: fetch it"):
        checkpoint.load("http://host/none")


def test_names(file: Path, cache: Path):
    mine = cache / "mine.safetensors"
    mine.write_bytes(file.read_bytes())
    assert checkpoint.resolve("mine") == mine
    assert checkpoint.resolve(str(file)) == file
    assert checkpoint.resolve(file) == file
    with pytest.raises(AvsrError, match="mine"):
        checkpoint.resolve("yours")


def test_a_folder_in_the_cache_is_no_model(cache: Path):
    (cache / "x.safetensors").mkdir()
    assert "x" not in [entry.name for entry in checkpoint.list_models()]


def test_list_tells_size_hash_and_what_is_broken(file: Path, cache: Path):
    (cache / "good.safetensors").write_bytes(file.read_bytes())
    (cache / "bad.safetensors").write_bytes(b"bad")
    found = {entry.name: entry for entry in checkpoint.list_models() if entry.where == "cached"}
    assert set(found) == {"good", "bad"}
    good, bad = found["good"], found["bad"]
    assert (good.size_bytes, good.vocabulary, good.info, good.problem) == (
        file.stat().st_size,
        4,
        INFO,
        None,
    )
    assert good.parameters > 1000
    assert len(good.sha256) == 64
    assert bad.problem is not None


def test_bundled_default_is_there_and_loads():
    bundled = [entry for entry in checkpoint.list_models() if entry.where == "bundled"]
    if not bundled:
        pytest.skip("no model is bundled yet")
    assert all(entry.problem is None for entry in bundled)
    assert checkpoint.DEFAULT in {entry.name for entry in bundled}
    model, info = checkpoint.load("default")
    assert len(model.config.tokens) > 20
    assert info


def data_start(path: Path) -> int:
    """Where the tensors begin in a file."""
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


@pytest.mark.parametrize(
    ("which", "damage"),
    [
        ("saved", "one bit"),
        ("saved", "zeros"),
        ("saved", "zeros at the end"),
        ("saved", "noise"),
        ("bundled", "one bit"),
    ],
)
def test_damaged_weights_are_refused(file: Path, tmp_path: Path, which: str, damage: str):
    path = file
    if which == "bundled":
        path = tmp_path / "copy.safetensors"
        path.write_bytes(checkpoint.resolve("default").read_bytes())
    checkpoint.load(path)
    body, start = bytearray(path.read_bytes()), data_start(path)
    if damage == "one bit":
        body[start + 4001] ^= 4  # in the mantissa of a weight: nothing else would show it
    elif damage == "zeros":
        body[start:] = bytes(len(body) - start)
    elif damage == "zeros at the end":
        body[-600:] = bytes(600)
    else:
        body[start:] = bytes(1 + i % 100 for i in range(len(body) - start))
    path.write_bytes(body)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("damage", [torch.zeros_like, lambda tensor: tensor * 1e6])
def test_files_without_a_checksum_load_unless_they_are_no_weights(file: Path, damage):
    rewrite(file, lambda weights, about: {key: about[key] for key in ("config", "info")})
    checkpoint.load(file)
    rewrite(
        file, lambda weights, about: weights.update({"head.weight": damage(weights["head.weight"])})
    )
    assert "damaged" in refused(file)


def test_the_checksum_of_the_bundled_model_is_that_of_its_weights():
    path = checkpoint.resolve("default")
    with safe_open(path, framework="np") as file:
        about = json.loads(file.metadata()[checkpoint.KEY])
    assert checkpoint.digest_of(load_file(path)) == about[checkpoint.DIGEST]


def test_models_of_the_old_cache_folder_are_found_after_those_of_the_data_folder(
    file: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = tmp_path / "data"
    monkeypatch.setattr(checkpoint, "data_folder", lambda: data)
    (cache / "old.safetensors").write_bytes(file.read_bytes())
    assert checkpoint.resolve("old") == cache / "old.safetensors"
    data.mkdir()
    (data / "old.safetensors").write_bytes(file.read_bytes())
    assert checkpoint.resolve("old") == data / "old.safetensors"
    assert {entry.where for entry in checkpoint.list_models()} == {"bundled", "installed"}
