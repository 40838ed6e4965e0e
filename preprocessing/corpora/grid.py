"""GRID: 33 speakers, 1000 six-word sentences each (Cooke, Barker, Cunningham, Shao, JASA 120(5),
2006).

Where from: zenodo.org/records/3625687, under CC BY 4.0; `fetch` gets it from there. There is no
video of speaker s21.

Layout, as unpacked from its usual archives:

    SRC/s1/**/bbaf2n.mpg         any video suffix, at any depth below the speaker's folder
    SRC/align/s1/bbaf2n.align    or SRC/alignments/s1/, or SRC/s1/align/: start end word, 25000
                                 units a second
    SRC/train.txt, SRC/val.txt   optional (also test.txt): one `bbaf2n` or `s1/bbaf2n` a line; other
                                 names of a split (validation.txt, Dev.txt) and suffixes of clips
                                 (bbaf2n.mpg) are understood

Splits: what the lists say, or those of Assael et al., LipNet (arXiv:1611.01599), by their names:

    unseen        the speakers s1, s2, s20 and s22 are "test", the others "train"
    overlapped    255 random sentences of each speaker are "test", the others "train"; LipNet does
                  not say which. Here they are the first 255 in the order of their hashes, the same
                  everywhere. To compare with others, write the list that they used into test.txt.

The transcript is what the file name spells. Alignment files of public copies lie in the folders of
other speakers, so those of a speaker are sought where most of its file names are. They only give
word times, and only where their words agree with the file name.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from avsr.base.errors import AvsrError, UsageError
from avsr.preprocessing.corpora import (
    Item,
    WordTimes,
    archive,
    contents,
    source_folder,
    word_times_problem,
)
from avsr.preprocessing.corpora.archive import Progress
from avsr.preprocessing.corpora.beside import beside, forget_listings, read_text, split_named
from avsr.preprocessing.recordings import media_below
from avsr.preprocessing.text import NUMBERS

ALIGN_UNITS_PER_S = 25_000  # frames of 40 ms times 1000
SILENCES = frozenset({"sil", "sp"})
COMMANDS = {"b": "bin", "l": "lay", "p": "place", "s": "set"}
COLOURS = {"b": "blue", "g": "green", "r": "red", "w": "white"}
PREPOSITIONS = {"a": "at", "b": "by", "i": "in", "w": "with"}
# no w: its name is three syllables long
LETTERS = {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"}
DIGITS = dict(zip("z123456789", NUMBERS, strict=True))
ADVERBS = {"a": "again", "n": "now", "p": "please", "s": "soon"}
SLOTS = {
    "command": COMMANDS,
    "colour": COLOURS,
    "preposition": PREPOSITIONS,
    "letter": LETTERS,
    "digit": DIGITS,
    "adverb": ADVERBS,
}
"""The six slots of a sentence, each with its codes in file names and its words. Cooke, Barker,
Cunningham, Shao, JASA 120(5), 2006."""


NAMED_SPLITS = ("unseen", "overlapped")
RECORD = "https://zenodo.org/api/records/3625687"  # or what AVSR_GRID_RECORD says
SPEAKERS = tuple(f"s{number}" for number in range(1, 35) if number != 21)
# Alignments in the folder of another speaker have at least so many of the clips' names, and this
# share of them; few sentences are said by two speakers.
MOVED_LEAST, MOVED_SHARE = 20, 0.9
UNSEEN_SPEAKERS = frozenset({"s1", "s2", "s20", "s22"})
OVERLAPPED_TEST = 255  # sentences of each speaker


def transcript(stem: str) -> str | None:
    """The sentence that a GRID file name spells (`bbaf2n`: "bin blue at f two now"), or None where
    it spells none."""
    if len(stem) != len(SLOTS):
        return None
    words = [slot.get(code) for slot, code in zip(SLOTS.values(), stem.lower(), strict=True)]
    return None if None in words else " ".join(word for word in words if word)


def read_alignment(path: Path) -> WordTimes:
    """(word, start_s, end_s) of an .align file, silences left out.

    Raises:
        ValueError: a line that is not `start end word`.
    """
    words = []
    for line in read_text(path).splitlines():
        if line.strip():
            start, end, word = line.split()
            if word not in SILENCES:
                words.append((word, int(start) / ALIGN_UNITS_PER_S, int(end) / ALIGN_UNITS_PER_S))
    return tuple(words)


def fetch(src: str | Path, speakers: Sequence[str], progress: Progress | None = None) -> list[str]:
    """Fetches the videos of some speakers and the alignments, as far as they are not there.

    Args:
        src: the folder of the corpus.
        speakers: some of SPEAKERS; `all` stands for all of them.
        progress: see archive.Progress.

    Returns:
        What was fetched.

    Raises:
        UsageError: no such speaker.
        AvsrError: see archive.fetch.
    """
    wanted = list(SPEAKERS) if list(speakers) == ["all"] else list(dict.fromkeys(speakers))
    unknown = [name for name in wanted if name not in SPEAKERS]
    if unknown or not wanted:
        raise UsageError(
            f"GRID has no videos of {unknown[0] if unknown else 'nobody'!r}; name some of "
            f"{SPEAKERS[0]} to {SPEAKERS[-1]} (without s21), as in s1,s2, or all"
        )
    record = os.environ.get("AVSR_GRID_RECORD", RECORD)
    return archive.fetch(record, [*wanted, "alignments"], Path(src), progress)


def list_items(src: str | Path, splits: str | None = None) -> list[Item]:
    """All clips of a GRID folder, sorted by speaker and name; those that cannot be used carry a
    `problem`.

    Args:
        src: the folder that holds s1, s2, ...
        splits: one of NAMED_SPLITS in place of the lists; what the lists say where None.

    Returns:
        Items with the id `s1_bbaf2n`; clips in no list have split None.

    Raises:
        AvsrError: no such folder, no speaker in it, or lists that contradict themselves.
    """
    root = source_folder(src)
    forget_listings()
    speakers = sorted(
        (
            folder
            for folder in root.iterdir()
            if folder.is_dir() and re.fullmatch(r"[sS]\d+", folder.name)
        ),
        key=lambda folder: int(folder.name[1:]),
    )
    clips = [(speaker, path) for speaker in speakers for path in media_below(speaker)]
    if not clips:
        raise AvsrError(
            f"{root}: no GRID clips in it; expected folders s1, s2, ... with videos such as "
            f"s1/bbaf2n.mpg, found {contents(root)}"
        )
    listed = _read_lists(root) if splits is None else {}
    items: dict[str, Item] = {}
    extra = []
    aligned = _alignment_folders(root, clips)
    for speaker, path in clips:
        item = _item(aligned[speaker], speaker, path)
        if item.id in items:
            first = items[item.id].path.relative_to(root).as_posix()
            extra.append(
                Item(path.relative_to(root).as_posix(), path, problem=f"the same clip as {first}")
            )
        else:
            items[item.id] = item
    if splits is None:
        return _with_splits(root, items, listed) + extra
    test = _unseen(items) if splits == "unseen" else _overlapped(items)
    kept = [replace(item, split="test" if id in test else "train") for id, item in items.items()]
    return kept + extra


def _unseen(items: dict[str, Item]) -> set[str]:
    """The ids of the clips of UNSEEN_SPEAKERS."""
    return {id for id, item in items.items() if item.speaker in UNSEEN_SPEAKERS}


def _overlapped(items: dict[str, Item]) -> set[str]:
    """The ids of OVERLAPPED_TEST clips of each speaker, by the order of their hashes."""
    of_speaker: dict[str | None, list[str]] = defaultdict(list)
    for id, item in items.items():
        if item.problem is None:
            of_speaker[item.speaker].append(id)
    test: set[str] = set()
    for ids in of_speaker.values():
        ids.sort(key=lambda id: hashlib.sha256(id.encode()).digest())
        test.update(ids[:OVERLAPPED_TEST])
    return test


def _alignment_folders(root: Path, clips: list[tuple[Path, Path]]) -> dict[Path, Path | None]:
    """Speaker's folder -> the folder of its alignments, None where there is none.

    It is the speaker's own, unless that of another has nearly all of its file names.
    """
    tops = [top for top in (root / "align", root / "alignments") if top.is_dir()]
    others = [folder for top in tops for folder in sorted(top.iterdir()) if folder.is_dir()]
    stems: dict[Path, set[str]] = defaultdict(set)
    for speaker, path in clips:
        stems[speaker].add(path.stem.lower())
    names = {folder: {path.stem.lower() for path in folder.iterdir()} for folder in others}
    found: dict[Path, Path | None] = {}
    for speaker, said in stems.items():
        usual = [*(top / speaker.name for top in tops), speaker / "align"]
        own = next((folder for folder in usual if folder.is_dir()), None)
        found[speaker] = own
        for folder in others if own is None or own in names else ():
            same = len(names[folder] & said)
            if same >= MOVED_LEAST and same > MOVED_SHARE * len(said):
                found[speaker] = folder
                break
    return found


def _item(aligned: Path | None, speaker: Path, path: Path) -> Item:
    """One clip with its text and, where they can be trusted, its word times."""
    name, text = speaker.name.lower(), transcript(path.stem)
    id = f"{name}_{path.stem.lower()}"
    if text is None:
        return Item(
            id, path, problem="its file name spells no GRID sentence (six codes such as bbaf2n)"
        )
    align = beside(aligned / path.name, ".align") if aligned is not None else None
    if align is None:
        return Item(id, path, text, name, note="no alignment file")
    try:
        words = read_alignment(align)
        problem = word_times_problem(words, text)
    except ValueError as error:  # also bytes that are no text
        problem = f"unreadable ({error})"
    if problem:
        return Item(id, path, text, name, note=f"alignment dropped: {problem}")
    return Item(id, path, text, name, words)


def _read_lists(root: Path) -> dict[str, tuple[str, str]]:
    """Listed name -> its split and the file that says so, from train.txt, val.txt and the like.

    Raises:
        AvsrError: a list that is not text, or a name in the lists of two splits.
    """
    listed: dict[str, tuple[str, str]] = {}
    for path in sorted(root.glob("*.[tT][xX][tT]")):
        split = split_named(path.stem)
        if split is None:
            continue
        try:
            names = read_text(path).split()
        except (ValueError, OSError) as error:
            raise AvsrError(f"{path}: {error}; list one clip a line, such as s1/bbaf2n") from error
        for name in names:
            bare = _without_suffix(name)
            first_split, first_file = listed.setdefault(bare, (split, path.name))
            if first_split != split:
                raise AvsrError(
                    f"{root}: {bare} is in {first_file} and in {path.name}; leave it in one of them"
                )
    return listed


def _without_suffix(name: str) -> str:
    """`s1/bbaf2n` for `s1/bbaf2n.mpg`, in lower case as ids are."""
    return re.sub(r"\.[a-z0-9]+$", "", name.lower())


def _with_splits(
    root: Path, items: dict[str, Item], listed: dict[str, tuple[str, str]]
) -> list[Item]:
    """Items with the split of their list, and a problem item for each listed clip that is not
    there.

    Raises:
        AvsrError: a bare name that several speakers have, or a clip listed under both of its names.
    """
    by_stem: dict[str, list[str]] = {}
    for id, item in items.items():
        by_stem.setdefault(item.path.stem.lower(), []).append(id)
    chosen: dict[str, tuple[str, str]] = {}
    missing = []
    for name, (split, file) in listed.items():
        folders, _, stem = name.rpartition("/")
        speaker = folders.partition("/")[0]  # of s1/video/mpg_6000/bbaf2n, as some lists have it
        ids = [f"{speaker}_{stem}"] if speaker else by_stem.get(stem, [])
        if len(ids) > 1:
            raise AvsrError(
                f"{root / file}: {name} is a clip of {len(ids)} speakers; write it as s1/{name}"
            )
        if not ids or ids[0] not in items:
            problem = f"in {file}, but there is no such video"
            missing.append(Item(name, root / name, split=split, problem=problem))
            continue
        first_split, first_file = chosen.setdefault(ids[0], (split, file))
        if first_split != split:
            raise AvsrError(
                f"{root}: {name} is in {first_file} and in {file}; leave it in one of them"
            )
    splits = {id: split for id, (split, _) in chosen.items()}
    return [replace(item, split=splits.get(id)) for id, item in items.items()] + missing
