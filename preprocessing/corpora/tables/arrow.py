"""Tables of Arrow: parquet, and data sets as Hugging Face's `datasets` saves them on disk.

    SRC/dataset_dict.json           {"splits": ["train", "test"]}, and a folder for each; or SRC is
                                    one data set, with state.json in it
    SRC/train/state.json            names the files
    SRC/train/data-00000-of-00001.arrow

Columns are those of a manifest. A `video` or `audio` column holds files, or the media itself: then
a clip is read from its cell. `datasets` is not needed to read them, pyarrow is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from avsr.base.errors import AvsrError, MediaError
from avsr.base.inputs import install
from avsr.preprocessing.corpora import Item
from avsr.preprocessing.corpora.beside import split_named
from avsr.preprocessing.corpora.tables.rows import (
    cells,
    find_columns,
    id_of,
    item_of,
    with_own_id,
)

ALL_SPLITS, STATE = "dataset_dict.json", "state.json"


def _pyarrow() -> Any:
    """The library.

    Raises:
        AvsrError: it is not installed.
    """
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise AvsrError(
            f"tables of Arrow and parquet need pyarrow: {install('pyarrow')}"
        ) from error
    return pyarrow


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a parquet file.

    Raises:
        ValueError: it is none.
        AvsrError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    try:
        with open(path, "rb") as file:
            return pyarrow.parquet.read_table(file).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError("it is no parquet file, or a damaged one") from error


def is_dataset(folder: Path) -> bool:
    """Whether a folder is what `datasets` saves."""
    return (folder / ALL_SPLITS).is_file() or (folder / STATE).is_file()


def list_dataset(folder: Path) -> list[Item]:
    """The clips of a data set, in its order; those that cannot be used carry a `problem`.

    Args:
        folder: as `save_to_disk` wrote it.

    Raises:
        AvsrError: it is damaged, lacks a column, or pyarrow is not installed.
    """
    try:
        names = [""]
        if (folder / ALL_SPLITS).is_file():
            names = json.loads((folder / ALL_SPLITS).read_text(encoding="utf-8"))["splits"]
        named: dict[str, Item] = {}
        for name in names:
            for file in _data_files(folder / name):
                for number, item in enumerate(_items(file, folder / name, split_named(name)), 1):
                    prefixed = replace(item, id=f"{name}/{item.id}" if name else item.id)
                    kept = with_own_id(prefixed, named, number)
                    named[kept.id] = kept
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise AvsrError(
            f"{folder}: no data set as `save_to_disk` writes it ({error}); save it again"
        ) from error
    if not named:
        raise AvsrError(f"{folder}: no row in it")
    return list(named.values())


def _data_files(folder: Path) -> list[Path]:
    state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    return [folder / row["filename"] for row in state["_data_files"]]


def _items(file: Path, folder: Path, split: str | None) -> Iterator[Item]:
    """The clips of one Arrow file; media in cells are left where they are."""
    rows, inside = _rows(_table(file))
    if not rows:
        return
    columns = find_columns(rows, str(file))
    column = columns["file"]
    for number, row in enumerate(rows):
        found = cells(row, columns)
        if column in inside and inside[column][number]:
            file_id = id_of(str(found.get("file", "")))
            id = str(found.get("id") or file_id or f"{file.stem}-{number:06d}")
            item = item_of(found | {"file": file.name, "id": id}, file.parent, number + 1)
            item = replace(item, cell=(column, number))
        else:
            item = item_of(found, folder, number + 1)
        yield replace(item, split=item.split or split)


def _rows(table: Any) -> tuple[list[dict[str, Any]], dict[str, list[bool]]]:
    """The rows of a table without the media in its cells, and for each column that may hold media
    which of its cells do. A struct of `bytes` and `path` counts as its path."""
    flat = table.flatten()
    names = list(flat.column_names)
    inside = {}
    for name in table.column_names:
        if {f"{name}.bytes", f"{name}.path"} <= set(names):
            inside[name] = flat.column(f"{name}.bytes").is_valid().to_pylist()
    light = flat.drop_columns([f"{name}.bytes" for name in inside])
    own_names = {f"{name}.path": name for name in inside}
    light = light.rename_columns([own_names.get(name, name) for name in light.column_names])
    return light.to_pylist(), inside


def _table(file: Path) -> Any:
    """An Arrow file, mapped and not read; raises ValueError where it is none."""
    pyarrow = _pyarrow()
    try:
        return pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all()
    except pyarrow.ArrowException as error:
        raise ValueError(f"{file.name}: {error}") from error


@contextmanager
def media_file(item: Item) -> Iterator[Path]:
    """The media file of a clip; that of a cell is written to a temporary one.

    Raises:
        MediaError: of the body, without the temporary name.
    """
    if item.cell is None:
        yield item.path
        return
    column, row = item.cell
    content = _table(item.path).column(column)[row]["bytes"].as_py()
    with TemporaryDirectory(prefix="avsr-") as folder:
        path = Path(folder, "media")
        path.write_bytes(content)
        try:
            yield path
        except MediaError as error:
            raise MediaError(str(error).replace(f"{path}: ", "")) from error
