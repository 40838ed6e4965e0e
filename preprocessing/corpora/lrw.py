"""LRW, Lip Reading in the Wild: 500 words on British television, about 1000 clips of each (Chung,
Zisserman, Lip Reading in the Wild, ACCV 2016).

Where from: www.robots.ox.ac.uk/~vgg/data/lip_reading/lrw1.html, after an agreement with the BBC,
for non-commercial research. Nothing of it is part of this package.

Layout, as unpacked from its archive; the words may also lie directly in SRC:

    SRC/lipread_mp4/ABOUT/train/ABOUT_00001.mp4    29 frames, 25 a second; also val and test
    SRC/lipread_mp4/ABOUT/train/ABOUT_00001.txt    has a line `Duration: 0.27 seconds`

The transcript is the word that the file name spells; the folders name the splits. The word is in
the middle of its clip and lasts as long as `Duration` says, which gives its times. What is said
before and after it is on the clip too and in no transcript: a recogniser of sentences hears and
reads more than the one word, so LRW is for training and scoring on the word alone. Who speaks is
not told.
"""

from __future__ import annotations

import re
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import FPS, WordTimes
from avsr.preprocessing.corpora import Item, contents, plain, source_folder
from avsr.preprocessing.corpora.beside import beside, forget_listings, read_text
from avsr.preprocessing.recordings import media_below

ARCHIVE = "lipread_mp4"
SPLITS = ("train", "val", "test")
CLIP_S = 29 / FPS
_DURATION = re.compile(r"^\s*Duration:\s*(\d*\.?\d+)", re.MULTILINE)


def list_items(src: str | Path) -> list[Item]:
    """All clips of LRW, sorted by word and split; those that cannot be used carry a `problem`.

    Args:
        src: the folder that holds lipread_mp4, or the folders of the words.

    Returns:
        Items with the id `ABOUT/train/ABOUT_00001`.

    Raises:
        AvsrError: no such folder, or no clips in it.
    """
    root = source_folder(src)
    forget_listings()
    top = root / ARCHIVE if (root / ARCHIVE).is_dir() else root
    items = []
    for path in media_below(top):
        parts = path.relative_to(top).parts
        if len(parts) == 3 and parts[1] in SPLITS:
            items.append(_item(top, path))
    if not items:
        raise AvsrError(
            f"{root}: no LRW clips in it; looked for videos such as ABOUT/train/ABOUT_00001.mp4, "
            f"there or in {ARCHIVE}, found {contents(root)}"
        )
    return items


def _item(top: Path, path: Path) -> Item:
    """One clip: the word of its name, and when it is said."""
    id = plain(path.relative_to(top).with_suffix("").as_posix())
    word, _, number = path.stem.rpartition("_")
    split = path.parent.name
    if word != path.parent.parent.name or not number.isdigit():
        problem = f"its file name is not that of a clip of {plain(path.parent.parent.name)}"
        return Item(id, path, split=split, problem=problem)
    try:
        words = _word_times(word, path)
    except (ValueError, OSError) as error:
        return Item(id, path, word, split=split, note=f"no word times: {error}")
    return Item(id, path, word, words=words, split=split)


def _word_times(word: str, path: Path) -> WordTimes:
    """When the word is said: as long as the text file says, around the middle of the clip.

    Raises:
        ValueError: no text file, no duration in it, or one that is longer than the clip.
    """
    text_path = beside(path, ".txt")
    if text_path is None:
        raise ValueError(f"{path.with_suffix('.txt').name} is not beside it")
    found = _DURATION.search(read_text(text_path))
    if found is None:
        raise ValueError(f"{text_path.name} has no line such as `Duration: 0.27 seconds`")
    duration_s = float(found[1])
    if not 0 < duration_s <= CLIP_S:
        raise ValueError(f"{duration_s:g} s for a word in a clip of {CLIP_S:g} s")
    start_s = (CLIP_S - duration_s) / 2
    return ((word, round(start_s, 3), round(start_s + duration_s, 3)),)
