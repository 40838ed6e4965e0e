"""LRW as its makers lay it out, on a small tree of the same layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, lrw


def put(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def by_id(items: list[Item]) -> dict[str, Item]:
    assert len({item.id for item in items}) == len(items)
    return {item.id: item for item in items}


@pytest.mark.parametrize("top", ["lipread_mp4", "."])
def test_lrw_names_spell_the_word_and_folders_the_split(tmp_path: Path, top: str) -> None:
    for split in ("train", "val", "test"):
        put(tmp_path / top / f"ABOUT/{split}/ABOUT_00001.mp4")
        put(
            tmp_path / top / f"ABOUT/{split}/ABOUT_00001.txt", "Channel: 1\nDuration: 0.4 seconds\n"
        )
    items = by_id(lrw.list_items(tmp_path))
    assert {id: (item.text, item.split, item.speaker) for id, item in items.items()} == {
        f"ABOUT/{split}/ABOUT_00001": ("ABOUT", split, None) for split in ("train", "val", "test")
    }
    # 29 frames at 25 a second; 0.4 s around the middle
    assert all(item.words == (("ABOUT", 0.38, 0.78),) for item in items.values())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "ABOUT_00001.txt is not beside it"),
        ("Channel: 1\n", "no line such as"),
        ("Duration: 1.5 seconds\n", "1.5 s for a word in a clip of 1.16 s"),
        ("Duration: 0 seconds\n", "0 s for a word"),
    ],
)
def test_lrw_word_without_usable_duration_has_no_times(
    tmp_path: Path, content: str | None, why: str
) -> None:
    put(tmp_path / "ABOUT/train/ABOUT_00001.mp4")
    if content is not None:
        put(tmp_path / "ABOUT/train/ABOUT_00001.txt", content)
    (item,) = lrw.list_items(tmp_path)
    assert (item.text, item.words, item.problem) == ("ABOUT", None, None)
    assert why in (item.note or "")


def test_lrw_clip_in_the_folder_of_another_word_is_named(tmp_path: Path) -> None:
    put(tmp_path / "ABOUT/train/AFTER_00001.mp4")
    (item,) = lrw.list_items(tmp_path)
    assert "not that of a clip of ABOUT" in (item.problem or "")


def test_lrw_wrong_layout_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    put(tmp_path / "train/ABOUT/ABOUT_00001.mp4")
    with pytest.raises(
        AvsrError, match=r"looked for .*ABOUT/train/ABOUT_00001\.mp4.*found train/, such"
    ):
        lrw.list_items(tmp_path)
