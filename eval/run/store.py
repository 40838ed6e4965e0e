"""Hypotheses on disk, written as they come: a run that is killed goes on from them and computes
nothing twice."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.base.outputs import write_file
from avsr.eval.metrics.hypotheses import FILE, Heard, heard
from avsr.eval.run.provenance import run_key, told_changes

RUNS = "runs.json"
REPORTS = ("results.json", "report.md", "report.html")  # what is written there in the end


class HypothesisStore:
    """Hypotheses by (row key, clip id); on disk as lines of hypotheses.jsonl, added as they come.

    Args:
        folder: where the file is kept; None keeps everything in memory.
        parts: what the lines depend on, see `provenance.run_parts`; a file of another run is kept
            under another name, hypotheses.jsonl.RUN, and comes back when that run does; a warning
            says what has changed, runs.json knows. A last line cut short by a kill is dropped.
    """

    def __init__(self, folder: Path | None, parts: Mapping[str, str]) -> None:
        self.path = folder / FILE if folder else None
        self.parts, self.run = dict(parts), run_key(parts)
        self.lines: dict[tuple[str, str], Heard] = {}
        if self.path is None:
            return
        _refuse_foreign(self.path.parent)
        with writing(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not any(self.path.parent.glob(f"{FILE}*")):  # first: it says whose folder this is
                write_file(self.path, [])
            self._make_way()
            if self.path.exists():
                with open(self.path, encoding="utf-8", errors="replace") as file:
                    self._keep(_parsed(file))
        self.finish()

    def _make_way(self) -> None:
        """Puts the file of another run aside, and that of this run back in its place."""
        assert self.path is not None
        runs, aside = self._runs(), self.path.with_name(f"{FILE}.{self.run}")
        if self.path.exists():
            with open(self.path, encoding="utf-8", errors="replace") as file:
                other = next((str(line.run) for line in _parsed(file)), self.run)
            if other != self.run:
                self.path.rename(self.path.with_name(f"{FILE}.{other}"))
                changed = (
                    told_changes(runs[other], self.parts)
                    if other in runs
                    else "something that they depend on"
                )
                now = (
                    "those kept of the present state are used"
                    if aside.exists()
                    else "everything is recognised anew"
                )
                told = "%s: of another run (%s differs): kept as %s.%s and not used, %s"
                logging.getLogger(__name__).warning(told, self.path, changed, FILE, other, now)
        write_file(
            self.path.with_name(RUNS),
            [json.dumps({**runs, self.run: self.parts}, indent=1).encode(), b"\n"],
        )
        if aside.exists() and not self.path.exists():
            aside.rename(self.path)

    def _runs(self) -> dict[str, dict[str, str]]:
        """Key -> parts of every run that has written here; what cannot be read is none."""
        assert self.path is not None
        try:
            found = json.loads(self.path.with_name(RUNS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        runs = found.items() if isinstance(found, dict) else ()
        return {key: parts for key, parts in runs if isinstance(parts, dict)}

    def _keep(self, lines: Iterable[Heard]) -> None:
        for line in lines:
            if line.run == self.run:
                self.lines[line.row, line.id] = line

    def has(self, keys: Sequence[str], ids: Sequence[str]) -> bool:
        """Whether every one of these rows is there for every one of these clips."""
        return all((key, id) in self.lines for key in keys for id in ids)

    def drop(self, keys: Sequence[str], ids: Sequence[str]) -> None:
        """Forgets these rows of these clips; the file forgets them with `finish`, or when they come
        again."""
        for key in keys:
            for id in ids:
                self.lines.pop((key, id), None)

    def add(self, lines: Sequence[Heard]) -> None:
        """Keeps the lines, and appends them to the file in one write."""
        stamped = [line.model_copy(update={"run": self.run}) for line in lines]
        self._keep(stamped)
        if self.path is not None:
            text = "".join(f"{line.to_json()}\n" for line in stamped).encode()
            whole = len(text) + 1  # so large a buffer that a kill hardly finds half of it written
            with writing(self.path.parent), open(self.path, "ab", buffering=whole) as file:
                file.write(text)

    def finish(self) -> None:
        """Writes the file anew in an order that does not depend on when a line came."""
        if self.path is not None:
            with writing(self.path.parent):
                lines = (self.lines[key].to_json() for key in sorted(self.lines))
                write_file(self.path, (f"{line}\n".encode() for line in lines))


def _refuse_foreign(folder: Path) -> None:
    """Refuses a folder with files of the names that are written there, unless an evaluation's
    hypotheses are there too.

    Raises:
        AvsrError: names the file.
    """
    for path in folder.glob(f"{FILE}*"):
        with open(path, encoding="utf-8", errors="replace") as file:
            if path.stat().st_size == 0 or next(_parsed(file), None) is not None:
                return
    found = next((name for name in (FILE, RUNS, *REPORTS) if os.path.lexists(folder / name)), None)
    if found is not None:
        raise AvsrError(
            f"{folder / found} is there already and not of an evaluation: choose another folder"
        )


def _parsed(lines: Iterable[str]) -> Iterator[Heard]:
    """The lines that are whole."""
    for line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue  # cut short; its clips are recognised again
        if (found := heard(value)) is not None:
            yield found


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns a full disk or a folder that cannot be written into one line."""
    try:
        yield
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot write results ({error.strerror or error}); free space or name "
            "another"
        ) from error
