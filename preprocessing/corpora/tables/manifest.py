"""A corpus as a table: one row a clip, in CSV, TSV, JSON lines or parquet.

    file,text,start_s,end_s,speaker,split
    videos/talk.mp4,good day,12.4,14.0,anna,train

`file` and `text` must be there. The file is given as it is seen from the table's folder. Times are
seconds of that file; without them the clip is all of it. `id`, `sound` (a file of its own) and, in
JSON lines and parquet, `words` ([[word, start_s, end_s], ...] on the clip's clock) are read too.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item
from avsr.preprocessing.corpora.beside import read_text
from avsr.preprocessing.corpora.tables.arrow import read_parquet
from avsr.preprocessing.corpora.tables.rows import Row, cells, find_columns, item_of, with_own_id

SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".parquet"})


def list_table(path: Path) -> list[Item]:
    """The clips of a table, in its order; those that cannot be used carry a `problem`.

    Args:
        path: the table, with one of SUFFIXES.

    Raises:
        AvsrError: it cannot be read, or lacks a column.
    """
    try:
        rows = _read(path)
    except FileNotFoundError as error:
        raise AvsrError(f"{path}: no such table; name one, or the folder of the corpus") from error
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read as a table ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise AvsrError(f"{path}: cannot be read as a table ({error})") from error
    if not rows:
        raise AvsrError(f"{path}: no row in it; give one for each clip, with `file` and `text`")
    columns = find_columns(rows, str(path))
    named: dict[str, Item] = {}
    for number, row in enumerate(rows, 1):
        item = item_of(cells(row, columns), path.parent, number)
        kept = with_own_id(item, named, number)
        named[kept.id] = kept
    return list(named.values())


def _read(path: Path) -> Sequence[Row]:
    """The rows of a table.

    Raises:
        ValueError: a row is no row, or the suffix is none of SUFFIXES.
        AvsrError: pyarrow, which reads parquet, is not installed.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return read_parquet(path)
    if suffix == ".jsonl":
        lines = enumerate(_text(path).split("\n"), 1)
        return [_object(line, number) for number, line in lines if line.strip()]
    if suffix not in SUFFIXES:
        raise ValueError(f"use one of {', '.join(sorted(SUFFIXES))}")
    separator = "\t" if suffix == ".tsv" else ","
    text = io.StringIO(_text(path), newline="")
    table = list(csv.DictReader(text, delimiter=separator))
    if any(None in row for row in table):
        raise ValueError("a row has more cells than the head; put what holds a comma in quotes")
    return table


def _text(path: Path) -> str:
    """The text of a table; raises ValueError where it is none."""
    try:
        return read_text(path)
    except ValueError as error:
        raise ValueError(f"{error}: save it as CSV in UTF-8, a spreadsheet by its export") from None


def _object(line: str, number: int) -> Row:
    """The row that a line of JSON is; raises ValueError where it is none."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        where = f"line {number}, column {error.colno}"
        raise ValueError(f"{where}: no JSON: {error.msg}") from None
    if not isinstance(row, dict):
        example = '{"file": "a.mp4", "text": "good day"}'
        raise ValueError(f"line {number}: no object such as {example}")
    return row
