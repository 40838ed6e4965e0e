"""TCD-TIMIT: 59 volunteers and three lipspeakers read 98 and 377 sentences of TIMIT each (Harte,
Gillen, TCD-TIMIT: An Audio-Visual Corpus of Continuous Speech, IEEE TMM 17(5), 2015).

Where from: sigmedia.tcd.ie, after registration with Trinity College Dublin, for research. Nothing
of it is part of this package.

Layout, as unpacked from its archives; volunteers, lipspeakers or both:

    SRC/volunteers/01M/Clips/straightcam/sa1.mp4    29.97 frames a second; the folder is the speaker
    SRC/volunteers/01M/Clips/30degcam/sa1.mp4       the same from the side, taken only where the
                                                    speaker has no straightcam
    SRC/lipspeakers/Lipspkr1/Clips/straightcam/sa1.mp4
    .../straightcam/sa1.txt                         the sentence, also as TIMIT writes it (`0 46797
                                                    She had ...`) or a word a line with two numbers
    SRC/prompts.txt                                 where there is no text beside the clips: TIMIT's
                                                    list, `She had your dark suit ... (sa1)` a line

Splits: those that the corpus recommends for speaker-independent work. 17 volunteers are "test" and
39 "train"; 27M, 35M and 53M, who have another accent, are in neither and are left out. Lipspeakers
belong to no split. Everybody says sa1 and sa2, so these two are no test of new sentences.

Word times are not taken: the numbers of its text files are not the clips' own clock, and its label
files time phones, not words.
"""

from __future__ import annotations

import re
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, contents, plain, source_folder
from avsr.preprocessing.corpora.beside import beside, forget_listings, read_text
from avsr.preprocessing.recordings import media_below

PARTS = ("volunteers", "lipspeakers")
CAMERAS = ("straightcam", "30degcam")  # the first one that a speaker has is taken
_TEST_WOMEN = ["08F", "09F", "15F", "33F", "36F", "44F", "45F", "49F", "55F", "58F"]
_TEST_MEN = ["18M", "25M", "28M", "34M", "41M", "54M", "56M"]
TEST = frozenset(_TEST_WOMEN + _TEST_MEN)
IN_NO_SPLIT = frozenset({"27M", "35M", "53M"})
PROMPTS = "prompts.txt"
_PROMPT = re.compile(r"(.+?)\s*\(\s*(s[aix]\d+)\s*\)\s*", re.IGNORECASE)
_TIMED = re.compile(r"\d+\s+\d+\s+(.+)")


def list_items(src: str | Path) -> list[Item]:
    """All clips of one camera of each speaker, sorted; those that cannot be used carry a `problem`.

    Args:
        src: the folder that holds volunteers, lipspeakers or both.

    Returns:
        Items with the id `volunteers/01M/straightcam/sa1`.

    Raises:
        AvsrError: no such folder, no clips in it, or a prompts.txt that is no text.
    """
    root = source_folder(src)
    forget_listings()
    prompts = _read_prompts(root)
    items = []
    for part in PARTS:
        speakers = sorted(root.glob(f"{part}/*/"))
        for speaker in speakers:
            items += [_item(part, path, speaker.name, prompts) for path in _clips(speaker)]
    if not items:
        raise AvsrError(
            f"{root}: no TCD-TIMIT clips in it; looked for videos such as "
            f"volunteers/01M/Clips/straightcam/sa1.mp4, found {contents(root)}"
        )
    return items


def _clips(speaker: Path) -> list[Path]:
    """The clips of the first of CAMERAS that there are any of."""
    clips = media_below(speaker)
    for camera in CAMERAS:
        seen = [path for path in clips if path.parent.name == camera]
        if seen:
            return seen
    return []


def _item(part: str, path: Path, speaker: str, prompts: dict[str, str]) -> Item:
    """One clip with its sentence and the split of its speaker."""
    id = plain(f"{part}/{speaker}/{path.parent.name}/{path.stem.lower()}")
    split = None
    if part == "volunteers":
        split = "test" if speaker in TEST else "train"
    if speaker in IN_NO_SPLIT:
        problem = f"speaker {speaker} is in no split of the corpus (another accent)"
        return Item(id, path, speaker=speaker, problem=problem)
    try:
        text = _sentence(path) or prompts.get(path.stem.lower())
    except (ValueError, OSError) as error:
        return Item(id, path, None, speaker, split=split, problem=str(error))
    if text is None:
        problem = f"no text: no {plain(path.stem)}.txt beside it, and not in SRC/{PROMPTS}"
        return Item(id, path, None, speaker, split=split, problem=problem)
    return Item(id, path, text, speaker, split=split)


def _sentence(path: Path) -> str | None:
    """What the text file beside a clip says, without its numbers; None where there is none.

    Raises:
        ValueError: it is no text.
    """
    text_path = beside(path, ".txt")
    if text_path is None:
        return None
    said = []
    for line in read_text(text_path).splitlines():
        timed = _TIMED.fullmatch(line.strip())
        said.append(timed[1] if timed else line)
    return " ".join(" ".join(said).split()) or None


def _read_prompts(root: Path) -> dict[str, str]:
    """Name of a sentence -> the sentence; empty where there is no list. TIMIT's own is PROMPTS.TXT
    or prompts.txt, depending on the copy.

    Raises:
        AvsrError: it is no text.
    """
    path = beside(root / PROMPTS, ".txt")
    if path is None:
        return {}
    try:
        lines = read_text(path).splitlines()
    except (ValueError, OSError) as error:
        raise AvsrError(f"{path}: {error}; it is TIMIT's list of sentences") from error
    found = [match for line in lines if (match := _PROMPT.fullmatch(line.strip()))]
    return {match[2].lower(): match[1] for match in found}
