"""Hypotheses on disk, written as they come: a run that is killed goes on from them and computes nothing twice."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from avsr.preprocessing.errors import AvsrError
from avsr.preprocessing.shards import write_file

FILE = "hypotheses.jsonl"
_NEEDED = {"row", "id", "reference", "hypothesis", "seconds"}


class HypothesisStore:
    """Hypotheses by (row key, clip id); on disk as lines of hypotheses.jsonl, added as they come.

    Args:
        folder: where the file is kept; None keeps everything in memory.
        run: what the lines depend on; a file of another run is kept under another name, hypotheses.jsonl.RUN, and comes
            back when that run does. A last line cut short by a kill is dropped.
    """

    def __init__(self, folder: Path | None, run: str) -> None:
        self.path = folder / FILE if folder else None
        self.run = run
        self.lines: dict[tuple[str, str], dict[str, Any]] = {}
        if self.path is None:
            return
        with writing(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._make_way()
            if self.path.exists():
                with open(self.path, encoding="utf-8", errors="replace") as file:
                    self._keep(_parsed(file))
        self.finish()

    def _make_way(self) -> None:
        """Puts the file of another run aside, and that of this run back in its place."""
        assert self.path is not None
        if self.path.exists():
            with open(self.path, encoding="utf-8", errors="replace") as file:
                other = next((str(line.get("run")) for line in _parsed(file)), self.run)
            if other != self.run:
                self.path.rename(self.path.with_name(f"{FILE}.{other}"))
        aside = self.path.with_name(f"{FILE}.{self.run}")
        if aside.exists() and not self.path.exists():
            aside.rename(self.path)

    def _keep(self, lines: Iterable[dict[str, Any]]) -> None:
        self.lines.update({(line["row"], line["id"]): line for line in lines if line.get("run") == self.run})

    def has(self, keys: Sequence[str], ids: Sequence[str]) -> bool:
        """Whether every one of these rows is there for every one of these clips."""
        return all((key, id) in self.lines for key in keys for id in ids)

    def add(self, lines: Sequence[dict[str, Any]]) -> None:
        """Keeps the lines, and appends them to the file in one write."""
        stamped = [{"run": self.run, **line} for line in lines]
        self._keep(stamped)
        if self.path is not None:
            with writing(self.path.parent), open(self.path, "a", encoding="utf-8") as file:
                file.write("".join(_jsonl(line) for line in stamped))

    def finish(self) -> None:
        """Writes the file anew in an order that does not depend on when a line came."""
        if self.path is not None:
            with writing(self.path.parent):
                write_file(self.path, (_jsonl(self.lines[key]).encode() for key in sorted(self.lines)))


def _parsed(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The lines that are whole."""
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue  # cut short; its clips are recognised again
        if isinstance(value, dict) and value.keys() >= _NEEDED:
            yield value


def _jsonl(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot write results ({error.strerror or error}); free space or name another"
        ) from error
