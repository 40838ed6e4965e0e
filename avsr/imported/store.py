"""The user's folder of imported models: each a folder of its own with weights, configuration and a
note on its licence.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avsr.base import outputs
from avsr.base.device import pick_device
from avsr.base.errors import AvsrError
from avsr.base.settings import data_folder
from avsr.imported.autoavsr import AutoAVSRConfig
from avsr.imported.decoder import LanguageModelConfig
from avsr.imported.usr import USRConfig
from avsr.model import checkpoint
from avsr.preprocessing.faces.crop_styles import RESEARCH

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from avsr.imported.model import ImportedModel

WEIGHTS, LANGUAGE, CONFIGURATION = "model.safetensors", "language.safetensors", "config.json"
LICENCE = "LICENCE.txt"
WHISPER = "model.bin"  # a folder with this is no imported model
OURS = frozenset((WEIGHTS, LANGUAGE, CONFIGURATION, LICENCE))  # what a model's folder holds
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
NAME_RULE = "letters, digits, dots, dashes and underscores, at most 60, a letter or digit first"
COUNTER = "num_batches_tracked"  # of batch norms; plays no part
TRAINED = checkpoint.IMPORTED  # in the metadata of a file: the description, see write_trained
BYTES = 4  # of a number in the weights, which are all stored in float32
NOTES = {
    "auto-avsr": (
        "Weights of Auto-AVSR (Ma et al., ICASSP 2023). Their authors allow them for comparison "
        "and benchmarking, not for commercial use."
    ),
    "usr": (
        "Weights of USR 2.0 (Haliassos et al.), CC BY-NC 4.0: name the authors, no commercial use."
    ),
}
NOTE = (
    "They were trained on corpora with terms of their own (LRS2, LRS3, VoxCeleb2, AVSpeech). avsr "
    "neither ships nor licenses them: you brought them, and what you do with them is between you "
    "and their authors. This note is a reading of their pages, not advice."
)


class Description(BaseModel):
    """What config.json holds: everything but the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(1, ge=1, le=1)
    network: AutoAVSRConfig | USRConfig = Field(..., discriminator="family")
    language_model: LanguageModelConfig | None = None
    pieces: tuple[str, ...]
    piece_scores: tuple[float, ...] = Field(
        (), description="log probability of each, where known: how a text is cut into them"
    )
    crops: str = Field(RESEARCH.name, description="the style that it reads")
    source: str = Field("", description="name of the file it was imported from")


@dataclass(frozen=True)
class Installed:
    """An imported model on disk. `problem` says why it cannot be used."""

    name: str
    folder: Path
    size_bytes: int = 0
    description: Description | None = None
    problem: str | None = None


def licence_note(family: str) -> str:
    """What a user should know before the weights of a family are used."""
    return f"{NOTES[family]} {NOTE}"


def check_name(name: str, taken: Collection[str] = ()) -> str:
    """The name, if a model may be called so and none is.

    Args:
        name: of a model to be.
        taken: names of models of other kinds.

    Raises:
        AvsrError: says which names there may be, or that it is taken.
    """
    if not NAME.fullmatch(name):
        raise AvsrError(f"model name {name!r}: give --name with {NAME_RULE}")
    if name in taken or name == "default":
        raise AvsrError(f"model name {name!r}: another model has it: give another --name")
    if os.path.lexists(data_folder() / name):
        raise AvsrError(
            f"model {name!r} is installed already: give another --name, or take that one away "
            f"with: avsr models remove {name}"
        )
    return name


def install(
    name: str,
    description: Description,
    weights: dict[str, Tensor],
    language: dict[str, Tensor] | None = None,
) -> Path:
    """Writes a model's folder, whole or not at all.

    Args:
        name: a free one, see check_name.
        description: what config.json will hold.
        weights: the network's, by canonical names.
        language: the language model's.

    Returns:
        The folder.

    Raises:
        AvsrError: it cannot be written, or a tensor holds numbers that are not finite.
    """
    folder = data_folder() / name
    part = folder.with_name(f".{name}.{os.getpid()}.tmp")
    try:
        part.mkdir(parents=True)
        outputs.write_file(part / WEIGHTS, safetensors_chunks(weights))
        if language is not None:
            outputs.write_file(part / LANGUAGE, safetensors_chunks(language))
        text = description.model_dump_json(indent=1)
        outputs.write_file(part / CONFIGURATION, [text.encode()])
        note = licence_note(description.network.family)
        outputs.write_file(part / LICENCE, [f"{note}\n".encode()])
        os.rename(part, folder)
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot be written ({error.strerror}): free space, or name another folder "
            "in AVSR_MODELS"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def safetensors_chunks(tensors: dict[str, Tensor], about: str = "") -> Iterator[bytes]:
    """A safetensors file tensor by tensor, all in float32, so that none of it is held twice.

    Args:
        tensors: by name, on any device.
        about: what its metadata say under `checkpoint.KEY`, if anything.

    Raises:
        AvsrError: a tensor holds numbers that are not finite.
    """
    import torch

    header: dict[str, Any] = {"__metadata__": {checkpoint.KEY: about}} if about else {}
    end = 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.numel() * BYTES
        offsets = [start, end]
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name, tensor in tensors.items():
        values = tensor.detach().to("cpu", torch.float32).contiguous()
        if not torch.isfinite(values).all():
            raise AvsrError(f"{name} holds numbers that are not finite: the checkpoint is damaged")
        yield values.reshape(-1).view(torch.uint8).numpy().data  # type: ignore[misc]


def list_installed() -> list[Installed]:
    """The imported models in the user's folder; a damaged one is listed with its problem."""
    found = []
    for folder in sorted(data_folder().glob("*")):
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        names = {path.name for path in folder.iterdir()}
        if WHISPER in names or not names & OURS:
            continue
        size = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
        try:
            entry = Installed(folder.name, folder, size, describe(folder))
        except AvsrError as error:
            entry = Installed(folder.name, folder, size, problem=str(error))
        found.append(entry)
    return found


def describe(folder: Path) -> Description:
    """What an imported model is.

    Raises:
        AvsrError: there is no such model, or its description is damaged.
    """
    path = folder / CONFIGURATION
    try:
        return Description.model_validate_json(path.read_bytes())
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read ({error.strerror}): import it again") from error
    except ValidationError as error:
        raise AvsrError(f"{path}: damaged ({_first(error)}): import it again") from error


def _first(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def is_installed(name: str) -> bool:
    """Whether an imported model is called so."""
    return NAME.fullmatch(name) is not None and (data_folder() / name / CONFIGURATION).is_file()


def write_trained(
    path: Path, network: nn.Module, description: Description, info: dict[str, Any]
) -> None:
    """Writes a network that was trained on here: one file that holds all there is to it.

    Args:
        path: the file.
        network: of the description's configuration.
        description: what it is; its language model stays where it was imported.
        info: anything JSON that a user should know.

    Raises:
        AvsrError: the file cannot be written.
    """
    alone = description.model_copy(update={"language_model": None})
    text = json.dumps({TRAINED: alone.model_dump(mode="json"), "info": info})
    try:
        outputs.write(path, safetensors_chunks(tensors_of(network), text))
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot be written ({error.strerror}): choose another folder or free space"
        ) from error


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """What is stored of a network: all but counters of batches."""
    state = network.state_dict()
    return {name: value for name, value in state.items() if not name.endswith(COUNTER)}


def read_trained(path: str | Path) -> tuple[Description, dict[str, Any]] | None:
    """What a file says that `write_trained` wrote: the description and the info; None for all
    other names and files.

    Raises:
        AvsrError: it says so in a way that cannot be.
    """
    about = checkpoint.told_by(Path(path))
    if TRAINED not in about:
        return None
    info = about.get("info")
    try:
        description = Description.model_validate(about[TRAINED])
    except ValidationError as error:
        raise AvsrError(f"{path}: damaged, or of another version ({_first(error)})") from error
    return description, info if isinstance(info, dict) else {}


def description_of(name: str) -> Description:
    """What a model is: an installed one, by its name, or a file of `write_trained`.

    Raises:
        AvsrError: there is no such model, or its description is damaged.
    """
    trained = read_trained(name)
    return describe(data_folder() / name) if trained is None else trained[0]


def is_one(name: str) -> bool:
    """Whether a name or path is that of an imported model."""
    return is_installed(name) or TRAINED in checkpoint.told_by(Path(name))


def read(name: str) -> tuple[Description, nn.Module]:
    """An imported model with the layers that it was trained with, on the CPU, without gradients.

    Args:
        name: of an installed model, or a file of `write_trained`.

    Raises:
        AvsrError: no such model, or a damaged one.
    """
    description = description_of(name)
    return description, _filled(description.network, _weights(name))


def _weights(name: str) -> Path:
    folder = data_folder() / name
    return folder / WEIGHTS if is_installed(name) else Path(name)


def load(name: str, device: str | torch.device = "cpu") -> ImportedModel:
    """An imported model, ready for inference.

    Args:
        name: of an installed model, or a file of `write_trained`.
        device: where it runs, see pick_device.

    Raises:
        AvsrError: no such model, or a damaged one.
    """
    from avsr.imported.frontends import fold_batch_norms
    from avsr.imported.model import ImportedModel

    device = pick_device(device)
    description, found = read(name)
    network: Any = found
    fold_batch_norms(network)
    language: Any = None
    files = [_weights(name)]
    if description.language_model is not None:
        language = _filled(description.language_model, data_folder() / name / LANGUAGE).to(device)
    if is_installed(name):
        files = sorted(path for path in (data_folder() / name).iterdir() if path.is_file())
    pieces, crops = description.pieces, description.crops
    return ImportedModel(name, network.to(device), pieces, language, crops, tuple(files))


def _filled(config: BaseModel, path: Path) -> nn.Module:
    """A network with the weights of a file."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from avsr.imported.inference import empty_network

    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise AvsrError(f"{path}: damaged ({reason}): import it again") from error
    network = empty_network(config)
    counters = {
        key: torch.zeros((), dtype=torch.int64)
        for key in network.state_dict()
        if key.endswith(COUNTER)
    }
    try:
        network.load_state_dict(weights | counters, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise AvsrError(
            f"{path}: does not fit {CONFIGURATION} ({reason}): import it again"
        ) from error
    return network.eval().requires_grad_(False)


def remove(name: str) -> int:
    """Takes an imported model away.

    Returns:
        The bytes that are free now.

    Raises:
        AvsrError: there is no such model, it cannot be removed, or its folder holds other files.
    """
    folder = data_folder() / name
    known = {entry.name: entry for entry in list_installed()}
    if name not in known:
        names = ", ".join(known) or "none"
        raise AvsrError(f"model {name!r}: not among the imported ones ({names})")
    others = sorted({path.name for path in folder.iterdir()} - OURS)
    if others:
        raise AvsrError(
            f"{folder}: holds {others[0]!r}, which avsr did not write: remove it yourself"
        )
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise AvsrError(f"{folder}: cannot be removed ({error.strerror})") from error
    return known[name].size_bytes
