"""GRID: 33 speakers, 1000 six-word sentences each (Cooke, Barker, Cunningham, Shao, JASA 120(5), 2006).

Layout, as unpacked from its usual archives:

    SRC/s1/**/bbaf2n.mpg         any video suffix, at any depth below the speaker's folder
    SRC/align/s1/bbaf2n.align    or SRC/s1/align/bbaf2n.align: start end word, 25000 units a second
    SRC/train.txt, SRC/val.txt   optional (also test.txt): one `bbaf2n` or `s1/bbaf2n` a line

The transcript is what the file name spells. Alignment files of public copies are shuffled between speakers, so they
only give word times, and only where their words agree with the file name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from avsr.preprocessing.corpora import Item, WordTimes, media_below, source_folder, word_times_problem
from avsr.preprocessing.errors import AvsrError

ALIGN_UNITS_PER_S = 25_000  # frames of 40 ms times 1000
SILENCES = frozenset({"sil", "sp"})
SPLITS = ("train", "val", "test")

COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
COLOURS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
LETTERS = {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"}  # no w: its name is three syllables long
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = dict(zip("z123456789", NUMBERS, strict=True))
ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}
SLOTS = (COMMANDS, COLOURS, PREPOSITIONS, LETTERS, DIGITS, ADVERBS)


def transcript(stem: str) -> str | None:
    """The sentence that a GRID file name spells (`bbaf2n`: "bin blue at f two now"), or None where it spells none."""
    if len(stem) != len(SLOTS):
        return None
    words = [slot.get(code) for slot, code in zip(SLOTS, stem.lower(), strict=True)]
    return None if None in words else " ".join(word for word in words if word)


def read_alignment(path: Path) -> WordTimes:
    """(word, start_s, end_s) of an .align file, silences left out.

    Raises:
        ValueError: a line that is not `start end word`.
    """
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            start, end, word = line.split()
            if word not in SILENCES:
                words.append((word, int(start) / ALIGN_UNITS_PER_S, int(end) / ALIGN_UNITS_PER_S))
    return tuple(words)


def list_items(src: str | Path) -> list[Item]:
    """All clips of a GRID folder, sorted by speaker and name; those that cannot be used carry a `problem`.

    Args:
        src: the folder that holds s1, s2, ...

    Returns:
        Items with the id `s1_bbaf2n`; clips in no list have split None.

    Raises:
        AvsrError: no such folder, no speaker in it, or lists that contradict themselves.
    """
    root = source_folder(src)
    speakers = sorted(
        (folder for folder in root.iterdir() if folder.is_dir() and re.fullmatch(r"s\d+", folder.name)),
        key=lambda folder: int(folder.name[1:]),
    )
    clips = [(speaker, path) for speaker in speakers for path in media_below(speaker)]
    if not clips:
        raise AvsrError(f"{root}: no GRID clips in it; expected folders s1, s2, ... with videos such as s1/bbaf2n.mpg")
    splits = _read_lists(root)
    items: dict[str, Item] = {}
    extra = []
    for speaker, path in clips:
        item = _item(root, speaker, path)
        if item.id in items:
            first = items[item.id].path.relative_to(root).as_posix()
            extra.append(Item(path.relative_to(root).as_posix(), path, problem=f"the same clip as {first}"))
        else:
            items[item.id] = item
    return _with_splits(root, items, splits) + extra


def _item(root: Path, speaker: Path, path: Path) -> Item:
    """One clip with its text and, where they can be trusted, its word times."""
    id, text = f"{speaker.name}_{path.stem}", transcript(path.stem)
    if text is None:
        return Item(id, path, problem="its file name spells no GRID sentence (six codes such as bbaf2n)")
    candidates = (root / "align" / speaker.name, speaker / "align")
    align = next((f for f in (folder / f"{path.stem}.align" for folder in candidates) if f.is_file()), None)
    if align is None:
        return Item(id, path, text, speaker.name, note="no alignment file")
    try:
        words = read_alignment(align)
        problem = word_times_problem(words, text)
    except ValueError as error:  # also bytes that are no text
        problem = f"unreadable ({error})"
    if problem:
        return Item(id, path, text, speaker.name, note=f"alignment dropped: {problem}")
    return Item(id, path, text, speaker.name, words)


def _read_lists(root: Path) -> dict[str, str]:
    """Listed name -> split, from train.txt, val.txt and test.txt where they are."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = root / f"{split}.txt"
        for name in path.read_text(encoding="utf-8").split() if path.is_file() else ():
            if splits.setdefault(name, split) != split:
                raise AvsrError(f"{root}: {name} is in {splits[name]}.txt and in {split}.txt; leave it in one of them")
    return splits


def _with_splits(root: Path, items: dict[str, Item], splits: dict[str, str]) -> list[Item]:
    """Items with the split of their list, and a problem item for each listed clip that is not there.

    Raises:
        AvsrError: a bare name that several speakers have, or a clip listed under both of its names.
    """
    by_stem: dict[str, list[str]] = {}
    for id, item in items.items():
        by_stem.setdefault(item.path.stem, []).append(id)
    chosen: dict[str, str] = {}
    missing = []
    for name, split in splits.items():
        speaker, _, stem = name.rpartition("/")
        ids = [f"{speaker}_{stem}"] if speaker else by_stem.get(stem, [])
        if len(ids) > 1:
            raise AvsrError(f"{root / split}.txt: {name} is a clip of {len(ids)} speakers; write it as s1/{name}")
        if not ids or ids[0] not in items:
            missing.append(Item(name, root / name, split=split, problem=f"in {split}.txt, but there is no such video"))
        elif chosen.setdefault(ids[0], split) != split:
            raise AvsrError(f"{root}: {name} is in {chosen[ids[0]]}.txt and in {split}.txt; leave it in one of them")
    return [replace(item, split=chosen.get(id)) for id, item in items.items()] + missing
