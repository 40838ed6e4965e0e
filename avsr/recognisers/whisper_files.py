"""Where Whisper's weights lie, and how they come there: in CTranslate2's format.

They are looked for in the user's folder of models, in what faster-whisper fetched before, and in
installed Python packages that ship them, whole or in parts.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from avsr.base.errors import AvsrError
from avsr.base.inputs import content, install
from avsr.base.settings import data_folder

WEIGHTS = "model.bin"  # in every folder that CTranslate2 loads
PREFIX = "whisper-"
# What `avsr models get` offers, and the repositories that faster-whisper takes them from.
SOURCES = {
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "tiny": "Systran/faster-whisper-tiny",
    "base.en": "Systran/faster-whisper-base.en",
    "base": "Systran/faster-whisper-base",
    "small.en": "Systran/faster-whisper-small.en",
    "small": "Systran/faster-whisper-small",
    "medium.en": "Systran/faster-whisper-medium.en",
    "medium": "Systran/faster-whisper-medium",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
}
WIDTHS = {384: "tiny", 512: "base", 768: "small", 1024: "medium"}
LARGE = {32: "large-v3", 4: "large-v3-turbo", 2: "distil-large-v3"}  # by layers of the decoder
ENGLISH = 51_864  # tokens of the models that know English alone
BESIDE = (".json", ".txt")  # the files that lie beside the weights
TOKENS, VOCABULARY = "tokenizer.json", "vocabulary.*"  # without which they say nothing

Tell = Callable[[float, float], None]
"""Called with the bytes there are and those there will be."""


@dataclass(frozen=True)
class Shipped:
    """Weights that an installed package brings along."""

    size: str
    package: str
    files: list[Path]  # model.bin, or its parts in order
    beside: list[Path]


def folder_of(size: str) -> Path:
    """Where the weights of a size lie once they are fetched or put together."""
    return data_folder() / f"{PREFIX}{size}"


def find(size: str) -> Path | None:
    """The folder of a size's weights, put together from its parts where a package ships those; None
    where there are none, or only half of them."""
    for folder in (folder_of(size), _fetched_before(size)):
        if folder is not None and problem(folder) is None:
            return folder
    for shipped in shipped_weights():
        if shipped.size == size:
            whole = shipped.files[0].name == WEIGHTS
            return shipped.files[0].parent if whole else _put_together(shipped)
    return None


def installed() -> dict[str, tuple[Path, int]]:
    """Size -> where it lies, and its bytes, of those that can be used without a network."""
    found = {}
    for size in SOURCES:
        folder = folder_of(size)
        if not (folder / WEIGHTS).is_file():
            continue
        found[size] = folder, (folder / WEIGHTS).stat().st_size
    for shipped in shipped_weights():
        total = sum(file.stat().st_size for file in shipped.files)
        found.setdefault(shipped.size, (shipped.files[0].parent, total))
    return found


def problem(folder: Path) -> str | None:
    """What is wrong with a folder of weights, in a few words; None where it can be used."""
    weights = folder / WEIGHTS
    if not weights.is_file():
        return f"no {WEIGHTS}"
    if not is_whole(weights):
        return f"{WEIGHTS} is cut short"
    for name in (TOKENS, VOCABULARY):
        if not any(folder.glob(name)):
            return f"no {name}"
    return None


def remove(size: str) -> int:
    """Takes weights out of the user's folder.

    Returns:
        The bytes that are free now.

    Raises:
        AvsrError: they lie elsewhere, or cannot be taken away.
    """
    folder = folder_of(size)
    if not folder.is_dir():
        where = installed().get(size, (folder, 0))[0]
        raise AvsrError(f"{PREFIX}{size}: belongs to an installed package: uninstall it ({where})")
    freed = sum(file.stat().st_size for file in folder.iterdir())
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise AvsrError(f"{folder}: cannot be removed ({error.strerror})") from error
    return freed


def _fetched_before(size: str) -> Path | None:
    """What faster-whisper keeps in its own cache."""
    try:
        from faster_whisper import download_model

        return Path(download_model(SOURCES[size], local_files_only=True))
    except Exception:  # not installed, or nothing there: whatever it is, there are no weights
        return None


# ------------------------------------------------------------------------------- installed packages


def shipped_weights() -> Iterator[Shipped]:
    """What installed packages bring along, told by their files."""
    parts: dict[str, Path] = {}
    settings: dict[str, list[Path]] = {}
    for distribution in importlib.metadata.distributions():
        listed = distribution.read_text("RECORD")
        if listed is not None and WEIGHTS not in listed:
            continue  # hundreds of packages with a thousand files each: no path is made of those
        package = distribution.name
        for file in distribution.files or ():
            if file.name != WEIGHTS and not re.fullmatch(rf"{WEIGHTS}\.part\d+", file.name):
                continue
            path = Path(str(file.locate()))
            beside = [other for other in path.parent.iterdir() if other.suffix in BESIDE]
            if file.name == WEIGHTS and (size := size_of(path)):
                yield Shipped(size, package, [path], beside)
            elif file.name != WEIGHTS:
                parts[str(path)] = path
                settings[str(path)] = beside
    yield from _in_parts(parts, settings)


def _in_parts(parts: dict[str, Path], beside: dict[str, list[Path]]) -> Iterator[Shipped]:
    """Parts 1, 2 and so on, which may lie in packages whose names differ in that number alone."""
    for key, path in parts.items():
        if not path.name.endswith(".part1") or not (size := size_of(path)):
            continue
        files = [path]
        while True:
            following = re.sub(r"(part_?)1(?=\D|$)", rf"\g<1>{len(files) + 1}", key)
            if following not in parts:
                break
            files.append(parts[following])
        yield Shipped(size, path.parent.parent.name, files, beside[key])


def size_of(weights: Path) -> str | None:
    """The size of Whisper that a file holds, or begins with; None where it is something else."""
    try:
        with open(weights, "rb") as file:
            shapes = dict(_shapes(file))
    except (OSError, struct.error, UnicodeDecodeError):
        return None
    tokens, width = shapes.get("decoder/embeddings/weight", (0, 0))[:2]
    if width in WIDTHS:
        return WIDTHS[width] + (".en" if tokens == ENGLISH else "")
    layers = {name.split("/")[1] for name in shapes if name.startswith("decoder/layer_")}
    return (
        LARGE.get(len(layers - {"layer_norm"})) if width == 1280 and tokens > ENGLISH + 1 else None
    )


def _shapes(file: BinaryIO) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the arrays in a file of CTranslate2, as far as it goes."""

    def number(kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))
        return value

    def text() -> str:
        return file.read(number("H")).rstrip(b"\0").decode()

    number("I")
    if text() != "WhisperSpec":
        return
    number("I")
    for _ in range(number("I")):
        try:
            name = text()
            shape = tuple(number("I") for _ in range(number("B")))
            number("B")
            file.seek(number("I"), os.SEEK_CUR)
        except struct.error:  # the end of a part
            return
        yield name, shape


def _put_together(shipped: Shipped) -> Path:
    """Writes a model that came in parts into the user's folder.

    Raises:
        AvsrError: it cannot be written, or the parts are not all of it.
    """
    folder = folder_of(shipped.size)
    part = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        part.mkdir(parents=True)
        with open(part / WEIGHTS, "wb") as whole:
            for file in shipped.files:
                with open(file, "rb") as source:
                    shutil.copyfileobj(source, whole)
        for file in shipped.beside:
            shutil.copy(file, part / file.name)
        if not is_whole(part / WEIGHTS):
            raise AvsrError(
                f"{WEIGHTS} of {shipped.package} and the packages beside it is cut short: install "
                "all of its parts again"
            )
        _take_place(part, folder)
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot be written ({error.strerror}): free space, or name another folder "
            "in AVSR_MODELS"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def is_whole(weights: Path) -> bool:
    """Whether all arrays that a file should hold end within it."""
    try:
        with open(weights, "rb") as file:
            count = sum(1 for _ in _shapes(file))
            end = file.tell()
            file.seek(4)
            (length,) = struct.unpack("<H", file.read(2))
            file.seek(length + 4, os.SEEK_CUR)
            (wanted,) = struct.unpack("<I", file.read(4))
        return 0 < wanted == count and end <= weights.stat().st_size
    except (OSError, struct.error, UnicodeDecodeError):
        return False


# ------------------------------------------------------------------------------------- the network


def fetch(size: str, tell: Tell, told: Callable[[str], None]) -> Path:
    """Fetches the weights of a size into the user's folder; goes on where it was stopped.

    Args:
        size: one of SOURCES.
        tell: told how far it is.
        told: told beforehand how large it is, in a line for people.

    Raises:
        AvsrError: no such size, no library, no network, or what came is damaged.
    """
    if size not in SOURCES:
        raise AvsrError(f"{PREFIX}{size}: unknown; there are {', '.join(SOURCES)}")
    name, folder = f"{PREFIX}{size}", folder_of(size)
    try:
        import huggingface_hub as hub
    except ModuleNotFoundError as error:
        raise AvsrError(
            f"{name}: {error.name} is not installed: {install('faster_whisper')}"
        ) from error
    part = folder.with_name(f".{name}.part")  # the same again, so that a second try goes on there
    try:
        about = hub.HfApi().model_info(SOURCES[size], files_metadata=True)
        wanted = [file for file in about.siblings or () if _is_wanted(file.rfilename)]
        total = sum(file.size or 0 for file in wanted)
        told(f"{name}: {total / 1e6:.0f} MB from huggingface.co/{SOURCES[size]}, licence MIT")
        part.mkdir(parents=True, exist_ok=True)
        _fetch_all(hub, SOURCES[size], about.sha, part, wanted, lambda done: tell(done, total))
    except AvsrError:
        raise
    except Exception as error:  # whatever the library and those below it raise
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise AvsrError(
            f"{name}: cannot be fetched ({reason}); without a network, --model "
            f"faster-whisper:FOLDER takes a folder with {WEIGHTS}"
        ) from error
    _verify(part, wanted, name)
    shutil.rmtree(part / ".cache", ignore_errors=True)
    _take_place(part, folder)
    return folder


def _take_place(part: Path, folder: Path) -> None:
    """Renames a whole folder to where a damaged one may lie."""
    shutil.rmtree(folder, ignore_errors=True)
    os.rename(part, folder)


def _is_wanted(name: str) -> bool:
    return "/" not in name and (name == WEIGHTS or Path(name).suffix in BESIDE)


def _fetch_all(
    hub: Any,
    source: str,
    revision: str | None,
    part: Path,
    wanted: list[Any],
    tell: Callable[[float], None],
) -> None:
    """Fetches all files of a revision, and looks at the folder now and then to see how far it
    is."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            names = [file.rfilename for file in wanted]
            hub.snapshot_download(
                source, revision=revision, local_dir=str(part), allow_patterns=names
            )
        except BaseException as error:
            failure.append(error)

    before = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")
    thread = threading.Thread(target=work, daemon=True, name="avsr-fetch")
    hub.utils.disable_progress_bars()
    thread.start()
    while thread.is_alive():
        tell(float(sum(file.stat().st_size for file in part.rglob("*") if file.is_file())))
        thread.join(0.5)
    if before is None:
        hub.utils.enable_progress_bars()
    if failure:
        raise failure[0]


def _verify(folder: Path, wanted: list[Any], name: str) -> None:
    """Raises AvsrError, and takes the file away, where one is not what its source says it is."""
    for file in wanted:
        path = folder / file.rfilename
        digest = getattr(getattr(file, "lfs", None), "sha256", None)
        total = hashlib.sha256()
        for chunk in content(path):
            total.update(chunk)
        is_whole = file.size is None or path.stat().st_size == file.size
        if not is_whole or (digest and total.hexdigest() != digest):
            path.unlink()
            raise AvsrError(f"{name}: {file.rfilename} came damaged: avsr models get {name} again")
