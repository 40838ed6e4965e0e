"""Rows of a table as clips, whatever file the table is in."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, WordTimes, plain, word_times_problem
from avsr.preprocessing.corpora.beside import split_named

# What a column is for -> its names, the first of which is ours
COLUMNS = {
    "file": ("file", "path", "file_name", "video", "audio"),
    "text": ("text", "transcript", "transcription", "sentence"),
    "start_s": ("start_s", "start"),
    "end_s": ("end_s", "end"),
    "speaker": ("speaker", "speaker_id"),
    "split": ("split",),
    "id": ("id",),
    "sound": ("sound",),
    "words": ("words",),
}

Row = Mapping[str, Any]


def with_own_id(item: Item, named: Mapping[str, Item], number: int) -> Item:
    """The item, or what says that another one has its id already."""
    if item.id not in named:
        return item
    problem = f"row {number}: an earlier row has the id {item.id!r} too; give each its own"
    return Item(f"{item.id}#{number}", item.path, problem=problem)


def find_columns(rows: Iterable[Row], table: str) -> dict[str, str]:
    """What each of COLUMNS is called here; columns that nobody reads are told.

    Args:
        rows: of the table.
        table: its name, for the message.

    Raises:
        AvsrError: there is none for the file or the text.
    """
    there = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = {}
    for purpose, names in COLUMNS.items():
        known = [name for name in names if name in there]
        if known:
            found[purpose] = known[0]
    for purpose in ("file", "text"):
        if purpose not in found:
            raise AvsrError(
                f"{table}: no column for the {purpose}; looked for "
                f"{', '.join(COLUMNS[purpose])}, found {', '.join(map(plain, there)) or 'none'}"
            )
    unread = [plain(name) for name in there if name not in found.values()]
    if unread:
        told = "%s: columns that are not read: %s"
        logging.getLogger(__name__).warning(told, table, ", ".join(unread))
    return found


def cells(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    """A row by what its columns are for; empty cells other than the text are left out."""
    found = {purpose: row.get(name) for purpose, name in columns.items()}
    return {
        purpose: value
        for purpose, value in found.items()
        if value is not None and (value != "" or purpose == "text")
    }


def item_of(cell: Mapping[str, Any], folder: Path, number: int) -> Item:
    """The clip of a row.

    Args:
        cell: what it is for -> value.
        folder: where the table is.
        number: of the row, from 1 on.
    """
    file = str(cell.get("file", ""))
    path = folder / file
    speaker = _text(cell.get("speaker"))
    try:
        span = _span(cell)
        split = _split(cell.get("split"))
    except ValueError as error:
        return Item(f"row {number}", path, problem=f"row {number}: {error}")
    id = _text(cell.get("id")) or id_of(file) or f"row {number}"
    if "id" not in cell and span is not None:
        id += f"_{span[0]:g}" + ("" if span[1] is None else f"-{span[1]:g}")
    sound = folder / str(cell["sound"]) if "sound" in cell else None
    problem = None
    if not file:
        problem = f"row {number}: it names no file"
    elif not path.is_file():
        problem = f"row {number}: there is no {plain(file)}"
    elif sound is not None and not sound.is_file():
        problem = f"row {number}: there is no {plain(str(cell['sound']))}"
    elif "text" not in cell:
        problem = f"row {number}: no text"
    if problem:
        return Item(id, path, None, speaker, split=split, problem=problem, span=span)
    text = " ".join(str(cell["text"]).split())
    words, note = _words(cell.get("words"), text)
    if not text:
        note = "the text is empty: nothing is said"
    return Item(id, path, text, speaker, words, split, note, sound=sound, span=span)


def id_of(file: str) -> str:
    """The id of a clip by its file: without its suffix, and without a place of this machine."""
    path = Path(file)
    outside = path.is_absolute() or ".." in path.parts
    return plain(path.stem if outside else str(path.parent / path.stem) if path.name else "")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _span(cell: Mapping[str, Any]) -> tuple[float, float | None] | None:
    """The times of a row; raises ValueError where they are none."""
    if "start_s" not in cell and "end_s" not in cell:
        return None
    try:
        start_s = float(cell.get("start_s", 0.0))
        end_s = float(cell["end_s"]) if "end_s" in cell else math.inf
    except (TypeError, ValueError) as error:
        raise ValueError(f"its times are no numbers of seconds ({error})") from error
    if not 0 <= start_s < end_s or start_s == math.inf:
        raise ValueError(f"its times do not rise from 0 on ({start_s:g} to {end_s:g} s)")
    return start_s, None if end_s == math.inf else end_s


def _split(value: Any) -> str | None:
    """The split that a row names; raises ValueError where there is no such split."""
    if value is None:
        return None
    split = split_named(str(value))
    if split is None:
        raise ValueError(f"its split {value!r} is none of train, val, test")
    return split


def _words(value: Any, text: str) -> tuple[WordTimes | None, str | None]:
    """Word times and None, or None and what is wrong with them."""
    if value is None:
        return None, None
    try:
        words = tuple((str(word), float(start_s), float(end_s)) for word, start_s, end_s in value)
    except (TypeError, ValueError) as error:
        return None, f"words dropped: not [[word, start_s, end_s], ...] ({error})"
    problem = word_times_problem(words, text)
    return (None, f"words dropped: {problem}") if problem else (words, None)
