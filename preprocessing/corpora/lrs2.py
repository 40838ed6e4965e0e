"""LRS2-BBC: sentences of British television (Afouras, Chung, Senior, Vinyals, Zisserman, Deep
Audio-Visual Speech Recognition, IEEE TPAMI, 2018; arXiv:1809.02108).

Where from: www.robots.ox.ac.uk/~vgg/data/lip_reading/lrs2.html, after an agreement with the BBC,
for non-commercial research. Nothing of it is part of this package.

Layout, as unpacked from its archive; main and pretrain may also lie directly in SRC:

    SRC/mvlrs_v1/main/ID/00001.mp4       the folder ID is a number; who speaks is not told
    SRC/mvlrs_v1/main/ID/00001.txt       a line `Text:`
    SRC/mvlrs_v1/pretrain/ID/00001.mp4   longer; same numbers as in main, other clips
    SRC/mvlrs_v1/pretrain/ID/00001.txt   a line `Text:`, and a table `WORD START END ASDSCORE`
    SRC/train.txt, val.txt, test.txt     `ID/00001` a line, clips of main; or beside main
                                         test.txt has a tag behind each: `ID/00011 NF`, or MV

Splits: what the lists say; all of `pretrain` is "train". `main` holds the clips of all three splits
in the same folders, so without the lists nothing is taken of it, and a clip in none of them is left
out and named. The tags are kept as notes.
"""

from __future__ import annotations

from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, contents, source_folder
from avsr.preprocessing.corpora.beside import forget_listings, read_list
from avsr.preprocessing.corpora.lrs import clip_name, lrs_item
from avsr.preprocessing.recordings import media_below

ARCHIVE = "mvlrs_v1"
SPLITS = ("train", "val", "test")


def list_items(src: str | Path) -> list[Item]:
    """All clips of LRS2, those of main first; those that cannot be used carry a `problem`.

    Args:
        src: the folder that holds mvlrs_v1, or main and pretrain.

    Returns:
        Items with the id `main/ID/00001`.

    Raises:
        AvsrError: no such folder, no clips in it, a list that is missing or no text, or a clip in
            two lists.
    """
    root = source_folder(src)
    forget_listings()
    top = root / ARCHIVE if (root / ARCHIVE).is_dir() else root
    main, pretrain = media_below(top / "main"), media_below(top / "pretrain")
    if not main and not pretrain:
        raise AvsrError(
            f"{root}: no LRS2 clips in it; looked for videos such as main/ID/00001.mp4 in main and "
            f"pretrain, there or in {ARCHIVE}, found {contents(root)}"
        )
    items = _main_items(root, top, main) if main else []
    return items + [lrs_item(top, path, "train") for path in pretrain]


def _main_items(root: Path, top: Path, paths: list[Path]) -> list[Item]:
    """The clips of main with the splits of their lists, then the listed clips that are not there.

    Raises:
        AvsrError: see `_read_splits`.
    """
    listed = _read_splits(root, top)
    items = []
    for path in paths:
        split, note = listed.pop(clip_name(top / "main", path), (None, None))
        if split:
            items.append(lrs_item(top, path, split, note=note))
        else:
            problem = "in none of train.txt, val.txt and test.txt"
            items.append(Item(clip_name(top, path), path, problem=problem))
    for name, (split, _) in listed.items():
        problem = f"in {split}.txt, but there is no such video"
        path = top / "main" / f"{name}.mp4"
        items.append(Item(clip_name(top, path), path, split=split, problem=problem))
    return items


def _read_splits(root: Path, top: Path) -> dict[str, tuple[str, str | None]]:
    """Listed clip -> its split and, where its list tags it, a note that says so.

    Raises:
        AvsrError: a list is not there or no text, or a clip is in two of them.
    """
    found: dict[str, tuple[str, str | None]] = {}
    for split in SPLITS:
        path = next(
            (folder / f"{split}.txt" for folder in (root, top) if _has(folder, split)), None
        )
        if path is None:
            raise AvsrError(
                f"{root}: main holds clips of all splits; looked for the lists train.txt, val.txt "
                f"and test.txt, found no {split}.txt but {contents(root)}; put it there"
            )
        for name, tag in read_list(path).items():
            if name in found:
                raise AvsrError(f"{root}: {name} is in {found[name][0]}.txt and in {path.name}")
            found[name] = split, f"tagged {tag} in {path.name}" if tag else None
    return found


def _has(folder: Path, split: str) -> bool:
    return (folder / f"{split}.txt").is_file()
