"""One's own recordings: any tree of videos (or sound files, which train the ear alone), each with its text beside it.

    SRC/anna/hello.mp4           any video or sound suffix, at any depth
    SRC/anna/hello.txt           what is said, UTF-8; line breaks count as spaces
    SRC/anna/hello.words.json    optional word times: [["hello", 0.32, 0.71], ...] in seconds

The speaker is the folder that holds the video; videos directly in SRC have none. Where the topmost folder is called
train, val or test, it names the split and not a speaker.
"""

from __future__ import annotations

import json
from pathlib import Path

from avsr.preprocessing.corpora import (
    AUDIO_SUFFIXES,
    VIDEO_SUFFIXES,
    Item,
    WordTimes,
    media_below,
    plain,
    source_folder,
    word_times_problem,
)
from avsr.preprocessing.errors import AvsrError

SPLITS = frozenset({"train", "val", "test"})


def list_items(src: str | Path) -> list[Item]:
    """All recordings of a folder, sorted by path; those that cannot be used carry a `problem`.

    Args:
        src: top of the tree.

    Returns:
        Items whose id is the path below SRC without its suffix (`anna/hello`).

    Raises:
        AvsrError: no such folder, or no video in it.
    """
    root = source_folder(src)
    recordings = media_below(root, VIDEO_SUFFIXES | AUDIO_SUFFIXES)
    if not recordings:
        raise AvsrError(f"{root}: no video or sound in it; put files there with a .txt of the same name beside each")
    items = []
    seen: dict[str, Path] = {}
    for path in recordings:
        name = path.relative_to(root)
        id = plain(name.with_suffix("").as_posix())
        if id in seen:
            items.append(
                Item(plain(name.as_posix()), path, problem=f"same name as {seen[id].name}, which is used instead")
            )
            continue
        seen[id] = path
        items.append(_item(id, path, name))
    return items


def _item(id: str, path: Path, name: Path) -> Item:
    """One video with what lies beside it.

    Args:
        id: its id.
        path: the video.
        name: its path below the source.
    """
    folders = list(name.parts[:-1])
    split = folders.pop(0) if folders and folders[0] in SPLITS else None
    speaker = plain(folders[-1]) if folders else None
    text_path = path.with_suffix(".txt")
    if not text_path.is_file():
        return Item(id, path, None, speaker, None, split, problem=f"no text: {text_path.name} is not beside it")
    try:
        text = " ".join(text_path.read_text(encoding="utf-8-sig").split())
    except UnicodeDecodeError:
        return Item(id, path, None, speaker, None, split, problem=f"{text_path.name} is not UTF-8 text")
    if not text:
        return Item(id, path, None, speaker, None, split, problem=f"{text_path.name} is empty")
    words, note = _word_times(path.with_suffix(".words.json"), text)
    return Item(id, path, text, speaker, words, split, note)


def _word_times(path: Path, text: str) -> tuple[WordTimes | None, str | None]:
    """Word times of a clip and None, or None and what is wrong with them; both None where there are none."""
    if not path.is_file():
        return None, None
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
        words = tuple((str(word), float(start_s), float(end_s)) for word, start_s, end_s in rows)
    except (ValueError, TypeError) as error:
        return None, f"{plain(path.name)} dropped: not [[word, start_s, end_s], ...] ({error})"
    problem = word_times_problem(words, text)
    return (None, f"{plain(path.name)} dropped: {problem}") if problem else (words, None)
