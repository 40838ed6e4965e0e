"""Model files: one .safetensors with the configuration as JSON in its metadata; names, listing,
hashes.

A file is enough to rebuild everything. Pickled checkpoints are refused: loading one runs what is in
it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.base import outputs, settings
from avsr.base.device import pick_device
from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of, refuse_endless, refuse_url
from avsr.base.settings import data_folder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from avsr.model.config import ModelConfig
    from avsr.model.network import AVSR

KEY = "avsr"  # of the JSON in the file's metadata
IMPORTED = "imported"  # in that JSON, in place of config: what a research network is
DIGEST = "weights_sha256"  # in that JSON: of the tensors, see digest_of
SUFFIX = ".safetensors"
DEFAULT = "grid-whisper"  # the bundled model that "default" stands for, unless one was chosen
# Files written without a digest, the bundled one and its copies: SHA-256 of their JSON -> digest of
# their tensors.
DIGESTS = {
    "1035e94876df3e841df7fb2b2c55ef67d257e0769c52adeb69cd00ef3ce20062": (
        "078c1419e914a66bc53777f2320d064c255e94913b0305791eac2d89b464aab8"
    ),
}
MOST_MB = 100_000  # no model is larger
LARGEST_WEIGHT = 1e4  # of a network that was trained; noise in place of weights has larger ones
RETRAIN = "use a .safetensors file written by avsr train"
BY_NAME = "an imported model by its name alone"


@dataclass(frozen=True)
class ModelFile:
    """A model that can be named. `problem` says why it cannot be read; then the rest stays at its
    default."""

    name: str
    path: Path
    where: str  # "bundled", "installed" in the data folder, or "cached"
    size_bytes: int
    sha256: str
    vocabulary: int = 0
    parameters: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None


def save(
    path: str | Path, model: AVSR, info: dict[str, Any], dtype: torch.dtype | None = None
) -> None:
    """Writes a model, whole or not at all.

    Args:
        path: the file, ending in .safetensors; its folder must exist.
        model: what to save; its configuration goes along.
        info: anything JSON that a user should know: data, licence, numbers, limits.
        dtype: store floating-point weights in this type (torch.float16 halves the file); None keeps
            theirs.

    Raises:
        AvsrError: the file cannot be written.
    """
    weights = {
        name: tensor.detach()
        .to("cpu", dtype if tensor.is_floating_point() else None)
        .clone()
        .contiguous()
        for name, tensor in model.state_dict().items()
    }
    write(path, weights, {"config": model.config.model_dump(mode="json"), "info": info})


def write(path: str | Path, weights: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Writes the weights and what there is to know about them, with their digest, whole or not at
    all.

    Args:
        path: the file.
        weights: each contiguous, on the CPU.
        about: config and info, see save.

    Raises:
        AvsrError: the file cannot be written.
    """
    from safetensors.torch import save as to_bytes

    path = path_of(path, "model")
    try:
        text = json.dumps({**about, DIGEST: digest_of(weights)})
    except (TypeError, ValueError) as error:
        raise AvsrError(f"{path}: info can hold only what JSON can ({error})") from error
    try:
        outputs.write(path, [to_bytes(weights, metadata={KEY: text})])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AvsrError(
            f"{path}: cannot be written ({reason}): choose another folder or free space"
        ) from error


def digest_of(weights: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of tensors; 20 ms for the bundled model."""
    import torch

    total = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def weights_sha256(path: Path) -> str:
    """The digest of a model file's weights, which tells what was made for them.

    Raises:
        AvsrError: not a model file, or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    digest = _told_digest(_read_about(path))
    if digest is not None:
        return digest
    try:
        return digest_of(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise AvsrError(f"{path}: damaged model file ({_brief(error)})") from error


def _told_digest(about: dict[str, Any]) -> str | None:
    """The digest of its weights that a model file's metadata name, if they do."""
    return about.get(DIGEST) or DIGESTS.get(hashlib.sha256(json.dumps(about).encode()).hexdigest())


def load(name: str | Path, device: str | torch.device = "cpu") -> tuple[AVSR, dict[str, Any]]:
    """Rebuilds a model from its file alone, in float32 and in evaluation mode.

    Args:
        name: a path or a name, see resolve.
        device: where the weights go, see pick_device.

    Returns:
        The model and the info it was saved with.

    Raises:
        AvsrError: no such model, not a model file, or a damaged one.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from avsr.model.network import AVSR

    path, device = resolve(name), pick_device(device)
    about = _read_about(path)
    config = _config(path, about)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise AvsrError(
            f"{path}: damaged model file ({_brief(error)}): copy or download it again"
        ) from error
    # no memory is spent on what the file claims to be, no random weights are drawn
    with torch.device("meta"):
        model = AVSR(config)
    _compare(path, model.state_dict(), weights)
    for key, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise AvsrError(
                f"{path}: {key} holds values that are not finite: the training diverged, {RETRAIN}"
            )
    _refuse_damaged(path, weights, about, {name for name, _ in model.named_parameters()})
    for key, tensor in weights.items():
        if tensor.is_floating_point():
            # a copy: the file may go while the model is in use
            weights[key] = tensor.to(torch.float32, copy=True)
    model.load_state_dict(weights, assign=True)
    return model.to(device).eval().requires_grad_(False), about["info"]


def resolve(name: str | Path, others: Callable[[], Iterable[str]] = list) -> Path:
    """The file that a model's name or path stands for: a bundled model, one of the user's own, or
    the path itself.

    Args:
        name: of a model, or its path.
        others: names of recognisers of other kinds, for the message.

    Raises:
        AvsrError: there is no such file.
    """
    refuse_url(name, "model")
    known = _known()
    path = path_of(name, "model")
    text = str(path)
    if text == "default":
        text = settings.default_model() or DEFAULT
    if text in known:
        return known[text][0]
    try:
        if path.is_dir():
            raise AvsrError(f"{path}: is a folder: name the {SUFFIX} file in it, or {BY_NAME}")
        refuse_endless(path, "model", MOST_MB)
        if path.is_file():
            return path
    except OSError as error:  # a name too long, no permission
        raise AvsrError(
            f"model {text}: cannot be opened ({error.strerror}): check the name"
        ) from error
    names = (
        ", ".join(dict.fromkeys([*known, *others()]))
        or "none, not even a default: give the path of a model file"
    )
    raise AvsrError(f"model {text!r}: no such file, nor a known name (there are {names})")


def names() -> list[str]:
    """The names that resolve knows."""
    return list(_known())


def list_models() -> list[ModelFile]:
    """The bundled models and the user's own; a damaged one is listed with its problem."""
    found = []
    for name, (path, where) in _known().items():
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entry = ModelFile(name, path, where, path.stat().st_size, digest)
        try:
            about = _read_about(path)
            tokens = len(_config(path, about).tokens)
            entry = replace(
                entry, vocabulary=tokens, parameters=_count_parameters(path), info=about["info"]
            )
        except AvsrError as error:
            entry = replace(entry, problem=str(error))
        found.append(entry)
    return found


def cache_folder() -> Path:
    """Where they lived before; what is still there can be used, but whoever clears caches loses
    it."""
    from platformdirs import user_cache_path

    return user_cache_path("avsr") / "models"


def _known() -> dict[str, tuple[Path, str]]:
    """Name -> (file, where); of the same name the bundled one wins, then that of the data
    folder."""
    bundled = Path(str(resources.files("avsr"))) / "weights"
    folders = [(bundled, "bundled"), (data_folder(), "installed"), (cache_folder(), "cached")]
    known: dict[str, tuple[Path, str]] = {}
    for folder, where in folders:
        for path in sorted(filter(Path.is_file, folder.glob(f"*{SUFFIX}"))):
            known.setdefault(path.stem, (path, where))
    return known


def _read_about(path: Path) -> dict[str, Any]:
    """The JSON in a model file's metadata, its two parts checked for type."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read ({error.strerror})") from error
    # Safetensors begin with the length of their header, which may well be the bytes of a pickle,
    # and an opening brace.
    if start[8:] != b"{" and (start[:1] == b"\x80" or start[:4] == b"PK\x03\x04"):
        raise AvsrError(
            f"{path}: a pickled checkpoint is refused, loading one can run any program: {RETRAIN}"
        )
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise AvsrError(
            f"{path}: not a model file, or cut short ({_brief(error)}): {RETRAIN}"
        ) from error
    if KEY not in metadata:
        raise AvsrError(
            f"{path}: a .safetensors file of another program, without avsr's configuration: "
            f"{RETRAIN}, or name {BY_NAME}"
        )
    try:
        about = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:
        raise AvsrError(
            f"{path}: its configuration is not JSON ({_brief(error)}): {RETRAIN}"
        ) from error
    if isinstance(about, dict) and IMPORTED in about:
        raise AvsrError(
            f"{path}: a research network that was trained on, and this takes models of ours: it "
            "can be used to transcribe and evaluate, or be trained on again"
        )
    if not isinstance(about, dict) or not all(
        isinstance(about.get(key), dict) for key in ("config", "info")
    ):
        raise AvsrError(f"{path}: its metadata must hold config and info: {RETRAIN}")
    return about


def told_by(path: Path) -> dict[str, Any]:
    """What a file of avsr says of itself, whatever kind of network it holds; nothing for all other
    paths."""
    from safetensors import SafetensorError, safe_open

    try:
        if path.suffix != SUFFIX or not path.is_file():
            return {}
        with safe_open(path, framework="np") as file:
            found = json.loads((file.metadata() or {}).get(KEY, "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _config(path: Path, about: dict[str, Any]) -> ModelConfig:
    """The validated configuration object."""
    from pydantic import ValidationError

    from avsr.model.config import ModelConfig
    from avsr.model.tokenizer import Tokenizer

    try:
        config = ModelConfig.model_validate(about["config"])
        Tokenizer.of(config.tokens, config.piece_scores)
        return config
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "configuration"
        raise AvsrError(
            f"{path}: {where}: {first['msg']}: written by another version, or damaged: {RETRAIN}"
        ) from error
    except ValueError as error:
        raise AvsrError(f"{path}: tokens: {error}: {RETRAIN}") from error


def _compare(path: Path, expected: dict[str, Any], weights: dict[str, Any]) -> None:
    """Raises one line about the first difference between the weights a model wants and those in the
    file."""
    missing, extra = expected.keys() - weights.keys(), weights.keys() - expected.keys()
    if missing or extra:
        name = min(missing or extra)
        word = "lacks" if missing else "has unknown"
        raise AvsrError(
            f"{path}: {word} weights {name} ({len(missing)} missing, {len(extra)} unknown): "
            f"{RETRAIN}"
        )
    for name, tensor in expected.items():
        if tensor.shape != weights[name].shape:
            found, wanted = tuple(weights[name].shape), tuple(tensor.shape)
            raise AvsrError(
                f"{path}: weights {name} are {found}, the configuration says {wanted}: {RETRAIN}"
            )
        if tensor.is_floating_point() != weights[name].is_floating_point():
            raise AvsrError(
                f"{path}: weights {name} are {weights[name].dtype}, not {tensor.dtype}: {RETRAIN}"
            )


def _refuse_damaged(
    path: Path, weights: dict[str, Tensor], about: dict[str, Any], parameters: set[str]
) -> None:
    """Raises where the tensors are not those that were saved; without a digest, where zeros or
    noise stand for them."""
    again = "copy or download it again"
    digest = _told_digest(about)
    if digest is not None:
        if digest_of(weights) != digest:
            raise AvsrError(
                f"{path}: damaged, its weights are not those that were saved (checksum): {again}"
            )
        return
    zeros = sum(weights[name].numel() - int(weights[name].count_nonzero()) for name in parameters)
    if (
        zeros * 2 > sum(weights[name].numel() for name in parameters)
        or not weights["head.weight"].any()
    ):
        raise AvsrError(f"{path}: damaged, most of its weights are zero: {again}")
    for name in sorted(parameters):
        if (weights[name].abs() > LARGEST_WEIGHT).any():
            raise AvsrError(f"{path}: damaged, {name} holds noise: {again}")


def _count_parameters(path: Path) -> int:
    """Numbers in the file, buffers included, read from its header alone."""
    from math import prod

    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return sum(prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118 (not a dict)


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
