"""Lombard GRID: 54 speakers, 50 GRID sentences each said plainly and again while they heard noise
(Alghamdi, Maddock, Marxer, Barker, Brown, JASA 143(6), 2018).

Where from: zenodo.org/records/3736465 (lombardgrid_front.zip, lombardgrid_audio.zip and others),
under CC BY 4.0. Nothing of it is part of this package.

Layout, as unpacked from its archives, which make a folder lombardgrid: SRC is that or holds it. The
files may also lie in folders of their speakers:

    SRC/front/s2_l_bbim3a.mov    speaker s2, l for Lombard or p for plain, GRID's six codes
    SRC/audio/s2_l_bbim3a.wav    the sound, from where the video begins: the videos have none
    SRC/side/s2_l_bbim3a.mov     the same from the side; taken where there is no SRC/front
    SRC/alignment/s2_l_bbim3a.json
                                 optional: {"s2_l_bbim3a": [{"phone": "b_B", "offset": 0.5,
                                 "duration": 0.1}, ...]}, seconds on the clock of the sound
    SRC/train.txt                optional (also val.txt, test.txt): `s2_l_bbim3a` a line

The transcript is what the file name spells. Of a sentence said wrongly the name tells both:
s46_p_gbszs_WRONG_sgbszs spells what was said at its end, and no sentence in some cases (#sil). One
recording has an older name, with `8_2_14_r` or the like for `p`.

Word times come from the alignment: a phone marked _B or _S begins a word. They are used where that
makes six words, and not where another sentence was said than the one asked for.

Splits: the makers name none. The field keeps speakers apart; say in the lists which are which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import WordTimes
from avsr.preprocessing.corpora import Item, contents, plain, source_folder, word_times_problem
from avsr.preprocessing.corpora.beside import forget_listings, read_list, read_text
from avsr.preprocessing.corpora.grid import transcript
from avsr.preprocessing.recordings import AUDIO_SUFFIXES, media_below

ARCHIVE = "lombardgrid"
SPLITS = ("train", "val", "test")
_NAME = re.compile(r"(s\d+)_(?:[lp]|\d+_\d+_\d+_r)_([a-z0-9]+)(?:_WRONG_(.+))?", re.IGNORECASE)


def list_items(src: str | Path) -> list[Item]:
    """All recordings of one view, sorted by name; those that cannot be used carry a `problem`.

    Args:
        src: the folder that holds front (or side) and audio, or lombardgrid.

    Returns:
        Items with the id `s2_l_bbim3a`; recordings in no list have split None.

    Raises:
        AvsrError: no such folder, no recordings in it, or lists that contradict themselves.
    """
    root = source_folder(src)
    top = root / ARCHIVE if (root / ARCHIVE).is_dir() else root
    forget_listings()
    videos = media_below(top / "front") or media_below(top / "side")
    if not videos:
        raise AvsrError(
            f"{root}: no Lombard GRID in it; looked for videos such as front/s2_l_bbim3a.mov in "
            f"front and side, found {contents(root)}"
        )
    sounds = {path.stem: path for path in media_below(top / "audio", AUDIO_SUFFIXES)}
    listed = _read_lists([root] if top == root else [root, top])
    items = []
    for path in videos:
        sound, split = sounds.get(path.stem), listed.pop(path.stem, None)
        items.append(_item(top, path, sound, split))
    for name, split in listed.items():
        problem = f"in {split}.txt, but there is no such video"
        items.append(Item(name, top / name, split=split, problem=problem))
    return items


def _item(root: Path, path: Path, sound: Path | None, split: str | None) -> Item:
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
        notes.append(f"audio/{id}.wav is not there")
    words = None
    alignment = root / "alignment" / f"{path.stem}.json"
    if alignment.is_file() and not said:
        try:
            words = read_alignment(alignment, text)
        except ValueError as error:
            notes.append(f"alignment dropped: {error}")
    note = "; ".join(notes) or None
    return Item(id, path, text, speaker.lower(), words, split, note, sound=sound)


def read_alignment(path: Path, text: str) -> WordTimes:
    """When each word of a text is said, from its phones.

    Args:
        path: the JSON file of the recording.
        text: what is said.

    Raises:
        ValueError: the file is none of phones, or its words are not as many as the text has.
    """
    try:
        phones = json.loads(read_text(path))[path.stem]
        rows = [(str(row["phone"]), float(row["offset"]), float(row["duration"])) for row in phones]
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise ValueError(f"{path.name} is no list of phones ({error!r})") from error
    spans: list[tuple[float, float]] = []
    for phone, start_s, duration_s in rows:
        if phone.lower().startswith("sil"):
            continue
        if phone.endswith(("_B", "_S")) or not spans:
            spans.append((start_s, start_s))
        spans[-1] = spans[-1][0], round(start_s + duration_s, 3)
    said = text.split()
    if len(spans) != len(said):
        raise ValueError(f"{path.name} has {len(spans)} words, the text {len(said)}")
    words = tuple((word, *span) for word, span in zip(said, spans, strict=True))
    problem = word_times_problem(words, text)
    if problem:
        raise ValueError(problem)
    return words


def _read_lists(folders: Sequence[Path]) -> dict[str, str]:
    """Listed recording -> its split.

    Raises:
        AvsrError: a list that is no text, or a recording in two of them.
    """
    found: dict[str, str] = {}
    for path in (folder / f"{split}.txt" for folder in folders for split in SPLITS):
        for name in read_list(path) if path.is_file() else ():
            if name in found:
                raise AvsrError(f"{path.parent}: {name} is in {found[name]}.txt and in {path.name}")
            found[name] = path.stem
    return found
