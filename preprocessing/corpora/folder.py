"""One's own recordings: any tree of videos (or sound files, which train the audio encoder alone),
each with its text; or a table of clips; or a data set.

    SRC/anna/hello.mp4           any video or sound suffix, at any depth
    SRC/anna/hello.txt           what is said, UTF-8; line breaks count as spaces; also the text
                                 files of LRS2 and LRS3
    SRC/anna/hello.TextGrid      in place of it: Praat's, with a tier of words or of the text
    SRC/anna/hello.srt           in place of it, also .vtt: each cue becomes a clip of its own
    SRC/anna/hello.words.json    optional word times: [["hello", 0.32, 0.71], ...] in seconds

The speaker is the folder that holds the video; videos directly in SRC have none. A folder called
train, val or test (also training, validation, valid, dev, testing, eval, in any case) names the
split and not a speaker. An empty text says that nothing is spoken: evaluation counts every word as
an insertion, training leaves such clips out.

Where SRC is a file, it is a table with a row a clip: see tables.manifest. Where it is what Hugging
Face's `datasets` saved to disk, see tables.arrow.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import (
    Item,
    WordTimes,
    contents,
    plain,
    source_folder,
    word_times_problem,
)
from avsr.preprocessing.corpora.annotations import Cue, read_cues, read_textgrid
from avsr.preprocessing.corpora.beside import (
    beside,
    forget_listings,
    read_text,
    read_transcript,
    resembles_split,
    split_named,
)
from avsr.preprocessing.corpora.tables.arrow import is_dataset, list_dataset
from avsr.preprocessing.corpora.tables.manifest import SUFFIXES, list_table
from avsr.preprocessing.recordings import MEDIA_SUFFIXES, media_below

SUBTITLES = (".srt", ".vtt")
TEXT_SUFFIXES = (".txt", ".TextGrid", *SUBTITLES)  # the first one beside a recording counts


def list_items(src: str | Path) -> list[Item]:
    """All recordings of a folder, sorted by path; those that cannot be used carry a `problem`.

    Args:
        src: top of the tree, a table, or a data set.

    Returns:
        Items whose id is the path below SRC without its suffix (`anna/hello`).

    Raises:
        AvsrError: no such folder, or no video in it.
    """
    table = Path(src)
    if table.is_file() or (table.suffix.lower() in SUFFIXES and not table.exists()):
        return list_table(table)  # which says so, where it is not there
    root = source_folder(src)
    if is_dataset(root):
        return list_dataset(root)
    forget_listings()
    recordings = media_below(root, MEDIA_SUFFIXES)
    if not recordings:
        raise AvsrError(
            f"{root}: no video or sound in it; put files there with a .txt of the same name beside "
            f"each; found {contents(root)}"
        )
    items = []
    seen: dict[str, Path] = {}
    for path in recordings:
        name = path.relative_to(root)
        id = plain(name.with_suffix("").as_posix())
        if id in seen:
            items.append(
                Item(
                    plain(name.as_posix()),
                    path,
                    problem=f"same name as {seen[id].name}, which is used instead",
                )
            )
            continue
        seen[id] = path
        items += _items(id, path, name)
    _tell_doubtful_folders(recordings, root)
    return items


def _tell_doubtful_folders(recordings: list[Path], root: Path) -> None:
    """A line about folders that are taken as speakers and may be meant as splits."""
    names = {
        part
        for path in recordings
        for part in path.relative_to(root).parts[:-1]
        if resembles_split(part)
    }
    if names:
        shown = ", ".join(plain(name) for name in sorted(names)[:4]) + (
            ", ..." if len(names) > 4 else ""
        )
        told = (
            "%s: taken as speakers, not as splits: %s; "
            "a folder of a split is called train, val or test"
        )
        logging.getLogger(__name__).warning(told, root, shown)


def _items(id: str, path: Path, name: Path) -> list[Item]:
    """One recording with what lies beside it; several clips where that is subtitles.

    Args:
        id: its id.
        path: the recording.
        name: its path below the source.
    """
    split, speaker = _folders(name.parts[:-1])
    found = [there for suffix in TEXT_SUFFIXES if (there := beside(path, suffix))]
    if not found:
        names = [plain(path.with_suffix(suffix).name) for suffix in TEXT_SUFFIXES]
        problem = f"no text: {names[0]} is not beside it, nor {', '.join(names[1:])}"
        return [Item(id, path, None, speaker, None, split, problem=problem, untold=True)]
    text_path = found[0]
    kind = text_path.suffix.lower()
    try:
        if kind in SUBTITLES:
            cues = read_cues(text_path)
            stem = f"{id}{kind}"  # a file, so that no recording's id begins so
            return [
                _cue(f"{stem}/{number:04d}", path, cue, speaker, split)
                for number, cue in enumerate(cues, 1)
            ]
        read = read_textgrid if kind == ".textgrid" else read_transcript
        text, times = read(text_path)
    except (ValueError, OSError) as error:
        return [Item(id, path, None, speaker, None, split, problem=str(error))]
    words, note = _word_times(path, text, times)
    if not text:
        note = f"{plain(text_path.name)} is empty: nothing is said"
    return [Item(id, path, text, speaker, words, split, note)]


def _cue(id: str, path: Path, cue: Cue, speaker: str | None, split: str | None) -> Item:
    """The clip of one cue of subtitles."""
    start_s, end_s, text = cue
    problem = None if start_s < end_s else f"its times do not rise ({start_s:g} to {end_s:g} s)"
    span = (start_s, end_s)
    return Item(id, path, text, speaker, split=split, problem=problem, span=span)


def _folders(names: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Split and speaker from the folders between the source and a recording, the topmost split
    first."""
    splits = [split for split in map(split_named, names) if split]
    speakers = [name for name in names if not split_named(name)]
    return splits[0] if splits else None, plain(speakers[-1]) if speakers else None


def _word_times(
    recording: Path, text: str, times: WordTimes | None
) -> tuple[WordTimes | None, str | None]:
    """Word times of a clip and None, or None and what is wrong with them; both None where there are
    none.

    Args:
        recording: the media file; `.words.json` beside it goes before `times`.
        text: what is said in it.
        times: what the text file itself says of them.
    """
    path = beside(recording, ".words.json")
    name = plain(path.name) if path else "word table"
    if path is not None:
        try:
            rows = json.loads(read_text(path))
            times = tuple(
                (str(word), float(start_s), float(end_s)) for word, start_s, end_s in rows
            )
        except (ValueError, TypeError, OSError, RecursionError) as error:
            return None, f"{name} dropped: not [[word, start_s, end_s], ...] ({error})"
    if times is None:
        return None, None
    problem = word_times_problem(times, text)
    return (None, f"{name} dropped: {problem}") if problem else (times, None)
