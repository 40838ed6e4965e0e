"""Tensors out of any file that research checkpoints come in; nothing that is in one is ever run.

What may stand in front of a tensor's name, and which program wrote it so, is all here: what leaves
has the names of the networks in this room.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of, refuse_endless

if TYPE_CHECKING:
    from torch import Tensor

MOST_MB = 100_000  # no checkpoint is larger
LONGEST_NAME = 200  # of a tensor
AGAIN = "download it again"
KINDS = "give a checkpoint of Auto-AVSR or USR 2.0 (.pth, .ckpt, .safetensors)"
LIKELY_NAMES = ("model.safetensors", "model.pth")  # in a folder
# Objects of training programs that may lie beside the weights; nothing stands in for each.
BYSTANDERS: tuple[str, ...] = (
    *("omegaconf.", "argparse.", "collections.", "typing.", "pathlib.", "numpy."),
    *("lightning.", "pytorch_lightning.", "lightning_fabric."),
)
PLAIN_TYPES = tuple(f"builtins.{name}" for name in ("dict", "list", "int", "float", "str", "bool"))
WRAPPERS = ("module.", "model.", "avsr.", "vsr.", "asr.")  # in front of every name
USR_PREFIX = "model.backbone."  # USR's files hold more than the recogniser; it stands here
OTHER_SPELLINGS = (  # of the current Auto-AVSR
    ("frontend.", "encoder.frontend."),
    ("proj_encoder.", "encoder.embed.0."),
)


class _Nothing:
    """Takes what an object of a training program would be made of, and drops it."""

    def __new__(cls, *_: Any, **__: Any) -> _Nothing:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The weights of a checkpoint, by the names that they have in our networks.

    The tensors are views of the file where it allows that, so that they cost no memory until they
    are used.

    Args:
        path: a file, or a folder that holds one.

    Raises:
        AvsrError: it is not there, is no checkpoint, is cut short or damaged, holds other things
            than tensors, or tensors that no network has.
    """
    path = checkpoint_file(path)
    with open(path, "rb") as file:
        start = file.read(512)
    if start[8:9] == b"{":
        found: Any = _read_safetensors(path)
    elif start[:4] == b"PK\x03\x04":
        _check_archive(path)
        found = _read_pickled(path, mmap=True)
    elif start[:1] == b"\x80":  # PyTorch before 1.6
        found = _read_pickled(path, mmap=False)
    else:
        raise AvsrError(f"{path}: {_what_it_is(start)}: {KINDS}")
    tensors = canonical(_state_of(path, found), path)
    _check_tensors(path, tensors)
    return tensors


def checkpoint_file(path: str | Path) -> Path:
    """The file to read; of a folder the one that it holds.

    Raises:
        AvsrError: there is none, or it is empty.
    """
    path = path_of(path, "checkpoint")
    try:
        if path.is_dir():
            inside = [path / name for name in LIKELY_NAMES if (path / name).is_file()]
            if len(inside) != 1:
                names = " or ".join(LIKELY_NAMES)
                raise AvsrError(f"{path}: a folder without exactly one {names}: name the file")
            path = inside[0]
        refuse_endless(path, "checkpoint", MOST_MB)
        size = path.stat().st_size
        path.open("rb").close()
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read ({error.strerror}): check the name") from error
    if size == 0:
        raise AvsrError(f"{path}: an empty file: {AGAIN}")
    return path


def _what_it_is(start: bytes) -> str:
    """A foreign file in words, from how it begins."""
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html")):
        return "a web page in place of the file, as download sites send it"
    if text.startswith(b"version https://git-lfs"):
        return "the pointer of Git LFS and not the file itself (git lfs pull fetches it)"
    if start[:6] in (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07") or start[:2] == b"\x1f\x8b":
        return "an archive; unpack it first"
    return "not a checkpoint"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise AvsrError(f"{path}: damaged or cut short ({_brief(error)}): {AGAIN}") from error


def _check_archive(path: Path) -> None:
    """Refuses a zip archive that is cut short, damaged, or none of PyTorch's."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            is_checkpoint = any(name.split("/")[-1] == "data.pkl" for name in names)
            damaged = archive.testzip() if is_checkpoint else None
    except Exception as error:  # damaged ones end in errors of every type
        raise AvsrError(f"{path}: damaged or cut short ({_brief(error)}): {AGAIN}") from error
    inside = [name for name in names if name.endswith((".pth", ".ckpt", ".pt"))]
    if not is_checkpoint and inside:
        raise AvsrError(f"{path}: an archive with {inside[0]!r:.80} in it: unpack it first")
    if not is_checkpoint:
        raise AvsrError(f"{path}: a zip archive without a checkpoint in it: {KINDS}")
    if damaged is not None:
        raise AvsrError(f"{path}: damaged ({damaged!r:.80} is not what was written): {AGAIN}")


def _read_pickled(path: Path, mmap: bool) -> Any:
    """What PyTorch saved, with its reader that makes tensors and plain containers alone."""
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    try:
        others = get_unsafe_globals_in_checkpoint(path) if mmap else []
    except Exception as error:  # whatever an odd pickle makes of its reader
        raise AvsrError(f"{path}: not a checkpoint that can be read: {KINDS}") from error
    for name in others:
        if not name.startswith(BYSTANDERS) and name not in PLAIN_TYPES:
            raise AvsrError(
                f"{path}: refused, it holds {name!r:.80}, which would be run: give a file with "
                "tensors alone"
            )
    try:
        with safe_globals([(_Nothing, name) for name in others]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that are odd, but can be read
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise AvsrError(
            f"{path}: refused, it holds more than tensors and plain values, which would be run, "
            f"or is damaged: give a file with tensors alone, or {AGAIN}"
        ) from error
    except Exception as error:  # damaged ones end in errors of every type
        raise AvsrError(f"{path}: damaged or cut short ({_brief(error)}): {AGAIN}") from error


def _brief(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}".split(". ")[0][:120]
    return "".join(char if char.isprintable() else " " for char in text)


def _state_of(path: Path, found: Any) -> dict[str, Tensor]:
    """The tensors by name in what was read: the whole of it, or a training checkpoint's part."""
    import torch

    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise AvsrError(f"{path}: holds no tensors by name: {KINDS}")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            kind = type(value).__name__
            raise AvsrError(f"{path}: {name!r:.80} is {kind}, not a tensor: {KINDS}")
        if not name.isprintable() or len(name) > LONGEST_NAME:
            raise AvsrError(f"{path}: no tensor is called {name!r:.80}: {KINDS}")
    return found


def canonical(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The same tensors by the names that our networks have; counters of batches are left out."""
    kept = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
    backbone = [name for name in kept if name.startswith(USR_PREFIX)]
    if backbone:
        kept = {name.removeprefix(USR_PREFIX): kept[name] for name in backbone}
    while prefix := _common(kept, WRAPPERS):
        kept = {name.removeprefix(prefix): tensor for name, tensor in kept.items()}
    tensors: dict[str, Tensor] = {}
    for name, tensor in kept.items():
        if name.endswith("num_batches_tracked"):
            continue
        for theirs, ours in OTHER_SPELLINGS:
            if name.startswith(theirs):
                name = ours + name.removeprefix(theirs)
        if name in tensors:
            raise AvsrError(f"{path}: holds {name} twice, spelt in two ways: {KINDS}")
        tensors[name] = tensor
    return tensors


def _common(names: Iterable[str], prefixes: Iterable[str]) -> str:
    """The prefix that all names have, or nothing."""
    names = list(names)
    for prefix in prefixes:
        if names and all(name.startswith(prefix) for name in names):
            return prefix
    return ""


def _check_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Refuses what no weights are, and more numbers than the file can hold."""
    import torch

    claimed = 0
    for name, tensor in tensors.items():
        plain = tensor.layout is torch.strided and not tensor.is_quantized
        if not plain or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise AvsrError(f"{path}: {name} holds {kind}, not plain numbers: {KINDS}")
        claimed += tensor.numel() * tensor.element_size()
    if claimed > 2 * path.stat().st_size:
        raise AvsrError(
            f"{path}: its tensors would take {claimed / 1e6:.0f} MB, the file has "
            f"{path.stat().st_size / 1e6:.0f}: {KINDS}"
        )
