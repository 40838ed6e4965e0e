"""What a caller names: paths of any kind, files that can be read to an end, extras that can be
installed."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from numbers import Integral
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError

_CHUNK = 2**20  # bytes read at once
ROOT = Path(__file__).resolve().parents[2]  # of the clone, if a clone runs
# The extra of pyproject.toml that brings a library, by the name that it is imported by.
EXTRAS = {
    "lightning": "train",
    "tensorboard": "train",
    "fsspec": "train",
    "filelock": "train",
    "librosa": "train",
    "sentencepiece": "train",
    "webdataset": "train",
    "pyarrow": "corpora",
    "praatio": "corpora",
    "pysubs2": "corpora",
    "ray": "cluster",
    "matplotlib": "report",
    "torchaudio": "torchaudio",
    "faster_whisper": "whisper",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "ttspico": "voices",
    "kokoro_onnx": "kokoro",
    "gradio": "app",
}


def path_of(value: Any, what: str = "file") -> Path:
    """A path from text, bytes, or anything that is a path.

    Raises:
        AvsrError: it is none of these, or no path can be written like that.
    """
    try:
        text = os.fsdecode(value)
    except TypeError:
        raise AvsrError(
            f"{what} {value!r}: give a path as text, not {type(value).__name__}"
        ) from None
    if "\0" in text:
        raise AvsrError(f"{what} {text!r}: no path holds a zero character")
    return Path(text)


def refuse_url(value: Any, what: str) -> None:
    """Says so where a path of this machine is wanted and text is a URL, before it is a path: that
    would be shown with one slash less.

    Raises:
        AvsrError: it is one.
    """
    if isinstance(value, str) and "://" in value:
        raise AvsrError(f"{what} {value}: a URL: fetch it, and give its place on this machine")


def whole_number(value: Any, what: str, wanted: str) -> int:
    """A number of any library's type as Python's own.

    Args:
        value: what was given.
        what: it is meant to be, for the message.
        wanted: what may be given, for the message.

    Raises:
        AvsrError: it is no whole number.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise AvsrError(f"{what} {value!r}: must be {wanted}, not {type(value).__name__}")
    return int(value)


def refuse_endless(path: Path, what: str, most_mb: float) -> None:
    """Refuses what has no end, such as a pipe or a device, and what is far too large, before it is
    opened.

    Args:
        path: what is not there is not refused: who opens it says so.
        what: it is meant to be, for the message.
        most_mb: largest size in megabytes.

    Raises:
        AvsrError: names the path and why.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        return
    if not stat.S_ISREG(found.st_mode):
        raise AvsrError(f"{what} {path}: not a file but a {_kind(found.st_mode)}: give a file")
    if found.st_size > most_mb * 1e6:
        raise AvsrError(
            f"{what} {path}: {found.st_size / 1e6:.0f} MB, at most {most_mb:.0f} MB can be used"
        )


def _kind(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "device")


def install(module: str) -> str:
    """The command that installs a library: with its extra, from the clone that runs or as a package
    where none does; alone, where it is of no extra.

    Args:
        module: what is imported, `lightning.fabric` for instance.
    """
    library = module.partition(".")[0]
    extra = EXTRAS.get(library)
    if extra is None:
        return f"pip install {library}"
    if (ROOT / "pyproject.toml").is_file() and (ROOT / "preprocessing").is_dir():
        return f"pip install '{ROOT}[{extra}]'"
    return f"pip install 'avsr[{extra}]'"


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of all parts as a hexadecimal string; of one part, that of `sha256sum`."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def content(path: Path) -> Iterator[bytes]:
    """A file's bytes, some at a time; raises AvsrError where it cannot be read."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise AvsrError(f"{path}: is no file, and results would depend on it; remove it")
    try:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot be read ({error.strerror}); results depend on it"
        ) from error
