"""Lombard GRID: 54 speakers, 50 GRID sentences each said plainly and again while they heard noise
(Alghamdi, Maddock, Marxer, Barker, Brown, JASA 143(6), 2018).

Where from: zenodo.org/records/3736465 (lombardgrid_front.zip, lombardgrid_audio.zip), under CC BY
4.0. Nothing of it is part of this package.

Layout, as unpacked from its archives; the files may also lie in folders of their speakers:

    SRC/front/s2_l_bbim3a.mov    speaker s2, l for Lombard or p for plain, GRID's six codes
    SRC/audio/s2_l_bbim3a.wav    the sound, from where the video begins: the videos have none
    SRC/side/s2_l_bbim3a.mov     the same from the side; taken where there is no SRC/front
    SRC/train.txt                optional (also val.txt, test.txt): `s2_l_bbim3a` a line

The transcript is what the file name spells. Of a sentence said wrongly the name tells both:
s46_p_gbszs_WRONG_sgbszs spells what was said at its end, and no sentence in some cases (#sil). One
recording has an older name, with `8_2_14_r` or the like for `p`.

Splits: the makers name none. The field keeps speakers apart; say in the lists which are which.
"""

from __future__ import annotations

import re
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import (
    AUDIO_SUFFIXES,
    Item,
    contents,
    media_below,
    plain,
    source_folder,
)
from avsr.preprocessing.corpora.beside import forget_listings, read_list
from avsr.preprocessing.corpora.grid import transcript

SPLITS = ("train", "val", "test")
_NAME = re.compile(r"(s\d+)_(?:[lp]|\d+_\d+_\d+_r)_([a-z0-9]+)(?:_WRONG_(.+))?", re.IGNORECASE)


def list_items(src: str | Path) -> list[Item]:
    """All recordings of one view, sorted by name; those that cannot be used carry a `problem`.

    Args:
        src: the folder that holds front (or side) and audio.

    Returns:
        Items with the id `s2_l_bbim3a`; recordings in no list have split None.

    Raises:
        AvsrError: no such folder, no recordings in it, or lists that contradict themselves.
    """
    root = source_folder(src)
    forget_listings()
    videos = media_below(root / "front") or media_below(root / "side")
    if not videos:
        raise AvsrError(
            f"{root}: no Lombard GRID in it; looked for videos such as front/s2_l_bbim3a.mov in "
            f"front and side, found {contents(root)}"
        )
    sounds = {path.stem: path for path in media_below(root / "audio", AUDIO_SUFFIXES)}
    listed = _read_lists(root)
    items = [_item(path, sounds.get(path.stem), listed.pop(path.stem, None)) for path in videos]
    for name, split in listed.items():
        problem = f"in {split}.txt, but there is no such video"
        items.append(Item(name, root / name, split=split, problem=problem))
    return items


def _item(path: Path, sound: Path | None, split: str | None) -> Item:
    """One recording with what was said in it, as far as its name tells."""
    id = plain(path.stem)
    found = _NAME.fullmatch(path.stem)
    if found is None:
        problem = "its file name is none of Lombard GRID, such as s2_l_bbim3a"
        return Item(id, path, split=split, problem=problem)
    speaker, asked, said = found.groups()
    text = transcript(said or asked)
    if text is None:
        problem = f"its file name spells no GRID sentence ({plain(said or asked)})"
        return Item(id, path, None, speaker.lower(), split=split, problem=problem)
    notes = []
    if said:
        notes.append(f"said {said}, asked for {asked}")
    if sound is None:
        notes.append(f"no sound: audio/{id}.wav is not there")
    return Item(id, path, text, speaker.lower(), None, split, "; ".join(notes) or None, sound=sound)


def _read_lists(root: Path) -> dict[str, str]:
    """Listed recording -> its split.

    Raises:
        AvsrError: a list that is no text, or a recording in two of them.
    """
    found: dict[str, str] = {}
    for split in SPLITS:
        path = root / f"{split}.txt"
        for name in read_list(path) if path.is_file() else ():
            if name in found:
                raise AvsrError(f"{root}: {name} is in {found[name]}.txt and in {path.name}")
            found[name] = split
    return found
