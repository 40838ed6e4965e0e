"""What LRS2 and LRS3 have in common: a text file beside each clip."""

from __future__ import annotations

from pathlib import Path

from avsr.preprocessing.corpora import Item, plain, word_times_problem
from avsr.preprocessing.corpora.beside import beside, read_transcript


def lrs_item(
    root: Path, path: Path, split: str | None, speaker: str | None = None, note: str | None = None
) -> Item:
    """One clip with the text, and the word times where there are some, of the file beside it.

    Args:
        root: the corpus; the path below it, without its suffix, is the id.
        path: the video.
        split: "train", "val", "test" or None.
        speaker: who says it, where the layout tells.
        note: what its list says of it.
    """
    id = clip_name(root, path)
    text_path = beside(path, ".txt")
    if text_path is None:
        problem = f"no text: {plain(path.with_suffix('.txt').name)} is not beside it"
        return Item(id, path, None, speaker, None, split, note, problem)
    try:
        text, words = read_transcript(text_path)
    except (ValueError, OSError) as error:
        return Item(id, path, None, speaker, None, split, note, str(error))
    text = _without_braces(text)
    if words:
        words = tuple((_without_braces(word), start, end) for word, start, end in words)
    wrong = word_times_problem(words, text) if words else None
    if wrong:
        words = None
        note = "; ".join(filter(None, (note, f"word times dropped: {wrong}")))
    return Item(id, path, text, speaker, words, split, note)


def _without_braces(text: str) -> str:
    """A text whose braces are gone and what is inside them is kept, as Auto-AVSR scores it (Ma et
    al., arXiv:2303.14307): a few transcripts have some."""
    return " ".join(text.replace("{", "").replace("}", "").split())


def clip_name(root: Path, path: Path) -> str:
    """The path of a clip below its corpus, without its suffix (`test/0Fi83BHQsMA/00002`)."""
    return plain(path.relative_to(root).with_suffix("").as_posix())
