"""LRS3-TED: clips of TED and TEDx talks in English (Afouras, Chung, Zisserman, arXiv:1809.00496).

Where from: the Visual Geometry Group in Oxford, later mmai.io/datasets/lip_reading. It is no longer
given out; who has it keeps to the terms it came with. Nothing of it is part of this package.

Layout, as unpacked from its archives:

    SRC/pretrain/ID/00001.mp4    ID is a talk on YouTube, 224 x 224 pixels, 25 frames a second
    SRC/pretrain/ID/00001.txt    a line `Text:`, and a table `WORD START END ASDSCORE`
    SRC/trainval/ID/50001.mp4    the same with its .txt, without the table
    SRC/test/ID/00001.mp4        the same; talks that are in no other folder
    SRC/lrs3-valid.id            optional: `trainval/ID/50001` a line, clips held out of trainval

Splits: `pretrain` and `trainval` are "train", `test` is "test". The corpus names no validation
clips: the field holds out those of AV-HuBERT's list lrs3-valid.id, which are "val" where the list
lies in SRC. A talk of `trainval` may be in `pretrain` too, so "val" tells when to stop and is no
measure of new talks; "test" is.

The parts that are there are taken, so that `test` alone can be prepared. The talk counts as the
speaker.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, contents, source_folder
from avsr.preprocessing.corpora.beside import forget_listings, read_list
from avsr.preprocessing.corpora.lrs import lrs_item
from avsr.preprocessing.recordings import media_below

SPLITS = {"pretrain": "train", "trainval": "train", "test": "test"}
VALIDATION_LIST = "lrs3-valid.id"


def list_items(src: str | Path) -> list[Item]:
    """All clips of the parts of LRS3 that are there; those that cannot be used carry a `problem`.

    Args:
        src: the folder that holds pretrain, trainval and test, or some of them.

    Returns:
        Items with the id `trainval/ID/50001`.

    Raises:
        AvsrError: no such folder, none of the parts in it, or a validation list that is no text.
    """
    root = source_folder(src)
    forget_listings()
    items = {}
    for part, split in SPLITS.items():
        for path in media_below(root / part):
            item = lrs_item(root, path, split, speaker=path.parent.name)
            items[item.id] = item
    if not items:
        raise AvsrError(
            f"{root}: no LRS3 clips in it; looked for videos such as trainval/ID/50001.mp4 in "
            f"pretrain, trainval and test, found {contents(root)}"
        )
    _hold_out(root, items)
    return list(items.values())


def _hold_out(root: Path, items: dict[str, Item]) -> None:
    """Makes the clips of the validation list, where there is one, those of the split "val"."""
    path = root / VALIDATION_LIST
    if not path.is_file():
        return
    for name in read_list(path):
        part = name.partition("/")[0]
        if part == "test":
            raise AvsrError(f"{path}: {name} is a test clip; list clips of trainval")
        if name in items:
            items[name] = replace(items[name], split="val")
        elif (root / part).is_dir():
            problem = f"in {VALIDATION_LIST}, but there is no such video"
            items[name] = Item(name, root / f"{name}.mp4", split="val", problem=problem)
