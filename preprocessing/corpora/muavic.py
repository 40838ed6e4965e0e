"""MuAViC: talks in nine languages with their transcripts (Anwar, Shi, Goswami, Hsu, Pino, Wang,
Interspeech 2023; arXiv:2303.00628). Its videos are those of Multilingual TEDx (Salesky et al.,
Interspeech 2021; openslr.org/100).

Where from: github.com/facebookresearch/muavic; its get_data.py fetches the talks from YouTube and
OpenSLR. MuAViC is under CC BY-NC 4.0, Multilingual TEDx under CC BY-NC-ND 4.0. Nothing of it is
part of this package. English is LRS3 there: use the corpus lrs3.

Layout, as get_data.py leaves it below its --root-path; SRC is that folder, or ROOT/mtedx/fr-fr for
one language alone:

    SRC/mtedx/video/fr/train/TALK.mp4                also valid and test
    SRC/mtedx/fr-fr/data/train/txt/segments          `TALK_0000 TALK 14.5 17.1` a line, seconds
    SRC/mtedx/fr-fr/data/train/txt/train.fr          what is said in each, a line a segment
    SRC/mtedx/fr-fr/data/train/wav/TALK.flac         the sound of the talk, for want of its video

Each segment is a clip of its talk, found by its times, with the talk's own sound. The mouth crops
in SRC/muavic are not taken: training and transcribing must cut mouths alike. While slides or the
audience are shown a clip has sound alone.

So have the segments of talks whose video YouTube no longer has: OpenSLR's sound is taken, and the
record notes it. They train the audio encoder; --min-face leaves them out, as error rates of lips
need it. Where the sound is gone as well, each segment is named.

Splits: the folders; valid is "val".

The transcripts keep what their writers noted, such as (Applaudissements). Who speaks is not told;
the talk counts as the speaker.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, contents, plain, source_folder
from avsr.preprocessing.corpora.beside import read_text

SPLITS = {"train": "train", "valid": "val", "test": "test"}
_PAIR = re.compile(r"([a-z]{2})-\1")


def list_items(src: str | Path) -> list[Item]:
    """All segments of the languages that are there, in the order of their lists; those that cannot
    be used carry a `problem`.

    Args:
        src: the folder that holds mtedx, or that of one language in it.

    Returns:
        Items with the id `fr/train/TALK_0000`.

    Raises:
        AvsrError: no such folder, no segments in it, or a list of segments and its text that do not
            fit each other.
    """
    root = source_folder(src)
    top = root / "mtedx" if (root / "mtedx").is_dir() else root
    languages = [root] if _PAIR.fullmatch(root.name) else sorted(top.glob("??-??/"))
    items = []
    for folder in languages:
        pair = _PAIR.fullmatch(folder.name)
        for part in SPLITS if pair else ():
            texts = folder / "data" / part / "txt"
            if pair and (texts / "segments").is_file():
                items += _segments(texts, folder.parent / "video" / pair[1] / part, pair[1])
    if not items:
        raise AvsrError(
            f"{root}: no MuAViC talks in it; looked for lists such as "
            f"mtedx/fr-fr/data/train/txt/segments, found {contents(root)}"
        )
    return items


def _segments(texts: Path, videos: Path, language: str) -> list[Item]:
    """The segments of one split of one language.

    Raises:
        AvsrError: its lists are no text, or do not fit each other.
    """
    part = texts.parent.name
    lines = _lines(texts / "segments")
    if not lines:
        raise AvsrError(f"{texts / 'segments'}: names no segment; fetch it again")
    said = _lines(texts / f"{part}.{language}")
    if len(lines) != len(said):
        raise AvsrError(
            f"{texts}: segments has {len(lines)} lines and {part}.{language} {len(said)}; "
            "they must have a line for each segment: fetch them again"
        )
    items = []
    for line, text in zip(lines, said, strict=True):
        try:
            name, talk, start, end = line.split()
            span = (float(start), float(end))
        except ValueError as error:
            raise AvsrError(
                f"{texts / 'segments'}: {line!r} is not `SEGMENT TALK START END`; fetch it again"
            ) from error
        item = Item(
            id=plain(f"{language}/{part}/{name}"),
            path=videos / f"{talk}.mp4",
            text=text.strip(),
            speaker=talk,
            split=SPLITS[part],
            span=span,
        )
        items.append(_heard_alone(item, texts.parent / "wav"))
    return items


def _heard_alone(item: Item, sounds: Path) -> Item:
    """A segment of a talk whose video is gone, with the talk's sound in its place; others as they
    are.

    Args:
        item: of the video.
        sounds: the folder of the FLAC files of the split.
    """
    if item.path.is_file():
        return item
    sound = sounds / f"{item.path.stem}.flac"
    if sound.is_file():
        return replace(item, path=sound, note="its talk has no video: sound alone")
    looked = f"looked for video/{item.id.rpartition('/')[0]}/{item.path.name} and wav/{sound.name}"
    return replace(item, problem=f"its talk is not there: {looked}")


def _lines(path: Path) -> list[str]:
    """The lines of a list.

    Raises:
        AvsrError: it is not there, or no text.
    """
    try:
        return read_text(path).splitlines()
    except (ValueError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise AvsrError(f"{path}: cannot be read ({why}); fetch it again") from error
