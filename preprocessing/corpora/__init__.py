"""Corpora: where the clips, texts and splits of each are. One module a corpus, each with
`list_items(src)`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from avsr.base.errors import AvsrError, UsageError
from avsr.preprocessing.clip import WordTimes

CORPORA = {
    "grid": "avsr.preprocessing.corpora.grid",
    "folder": "avsr.preprocessing.corpora.folder",
    "lombardgrid": "avsr.preprocessing.corpora.lombardgrid",
    "lrs2": "avsr.preprocessing.corpora.lrs2",
    "lrs3": "avsr.preprocessing.corpora.lrs3",
    "lrw": "avsr.preprocessing.corpora.lrw",
    "muavic": "avsr.preprocessing.corpora.muavic",
    "tcdtimit": "avsr.preprocessing.corpora.tcdtimit",
}


@dataclass(frozen=True)
class Item:
    """One clip of a corpus before anything of it is read.

    Attributes:
        id: unique within its corpus.
        path: the media file.
        text: what is said, as the corpus writes it; empty where nothing is.
        speaker: who says it, where known.
        words: (word, start_s, end_s) of every word on the clip's clock, where known.
        split: "train", "val", "test", or None where the corpus does not say.
        note: what about the item was mended or left out, for the record.
        problem: why the item cannot be used; it is then skipped under this reason.
        untold: its only problem is that no text is beside it; a recogniser may give it one.
        sound: a file of its own that holds the sound, from where the media file begins; None where
            the media file holds it itself.
        span: where the clip begins and ends in the media file, in seconds; None where it is all of
            it.
        cell: column and row that hold the media where `path` is an Arrow file; None elsewhere.
    """

    id: str
    path: Path
    text: str | None = None
    speaker: str | None = None
    words: WordTimes | None = None
    split: str | None = None
    note: str | None = None
    problem: str | None = None
    untold: bool = False
    sound: Path | None = None
    span: tuple[float, float | None] | None = None
    cell: tuple[str, int] | None = None


def corpus(name: str) -> ModuleType:
    """The module of a corpus by its name.

    Raises:
        AvsrError: there is no such corpus.
    """
    if name not in CORPORA:
        known = ", ".join(sorted(CORPORA))
        raise AvsrError(
            f"no corpus named {name!r}; choose one of {known} (folder: videos with .txt beside "
            "them)"
        )
    return import_module(CORPORA[name])


def list_corpus(name: str, src: str | Path, splits: str | None = None) -> list[Item]:
    """The clips of a corpus.

    Args:
        name: of the corpus.
        src: where it is.
        splits: which of its standard splits, by its name; None for what its own lists say.

    Raises:
        AvsrError: no such corpus, or it is laid out otherwise.
        UsageError: the corpus has no such splits.
    """
    module = corpus(name)
    if splits is None:
        return module.list_items(src)
    known = tuple(getattr(module, "NAMED_SPLITS", ()))
    if splits not in known:
        has = f"use one of {', '.join(known)}" if known else "it has one way to split it: leave out"
        raise UsageError(f"{name} knows no splits {splits!r}: {has}")
    return module.list_items(src, splits)


def below(path: Path, root: Path) -> str:
    """A path as it is seen from the corpus, with slashes: what records say, on any machine."""
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return Path(os.path.relpath(path, root)).as_posix()


def contents(folder: Path, most: int = 6) -> str:
    """What lies in a folder, in a few words (`main/, readme.txt, such as main/1/00001.mp4`), for
    the line about one that is laid out otherwise."""
    visible = _visible(folder)
    names = [plain(path.name) + ("/" if path.is_dir() else "") for path in visible]
    shown = names[:most] + (["..."] if len(names) > most else [])
    deeper = next((file for path in visible if (file := _first_file(path))), None)
    if deeper is not None:
        shown.append(f"such as {plain(below(deeper, folder))}")
    return ", ".join(shown) if shown else "nothing"


def _first_file(folder: Path) -> Path | None:
    """The first file of a tree; None where there is none, and for a file."""
    for top, folders, names in os.walk(folder):
        folders.sort()
        if visible := [name for name in sorted(names) if not name.startswith(".")]:
            return Path(top, visible[0])
    return None


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def plain(name: str) -> str:
    """A file's name with the bytes that are no UTF-8 spelt out (`caf\\udce9`): ids, indexes and
    logs are UTF-8."""
    return name.encode("utf-8", "backslashreplace").decode()


def source_folder(src: str | Path) -> Path:
    """The source as a folder that is there.

    Raises:
        AvsrError: it is missing or not a folder.
    """
    folder = Path(src)
    if not folder.is_dir():
        raise AvsrError(f"{folder}: no such folder; name the folder that holds the corpus")
    return folder


def word_times_problem(words: WordTimes, text: str) -> str | None:
    """Why word times do not belong to a text, or None where they do.

    Args:
        words: (word, start_s, end_s) in spoken order.
        text: the transcript; compared word by word, without regard to case.
    """
    if [word.lower() for word, _, _ in words] != text.lower().split():
        return "its words are not those of the text"
    last_s = 0.0
    for word, start_s, end_s in words:
        if not last_s <= start_s < end_s < math.inf:
            return f"its times do not rise at {word!r} ({start_s:g} to {end_s:g} s)"
        last_s = end_s
    return None
