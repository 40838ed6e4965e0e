"""LRS2 and LRS3 as their makers lay them out, on small trees of the same layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, lrs2, lrs3

TEXT = "Text:  BIN {BLUE}\nConf:  4\n"
TABLE = "\nWORD START END ASDSCORE\nBIN 0.11 0.32 5.2\n{BLUE} 0.32 0.60 6.1\n"


def put(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def clip(stem: Path, content: str = TEXT) -> None:
    put(stem.with_suffix(".mp4"))
    put(stem.with_suffix(".txt"), content)


def by_id(items: list[Item]) -> dict[str, Item]:
    assert len({item.id for item in items}) == len(items)
    return {item.id: item for item in items}


@pytest.fixture
def lrs3_tree(tmp_path: Path) -> Path:
    clip(tmp_path / "pretrain/talkA/00001", TEXT + TABLE)
    clip(tmp_path / "trainval/talkA/50001")
    clip(tmp_path / "trainval/talkB/50001")
    clip(tmp_path / "test/talkC/00001")
    return tmp_path


def test_lrs3_parts_name_the_splits_and_talks_the_speakers(lrs3_tree: Path) -> None:
    items = by_id(lrs3.list_items(lrs3_tree))
    assert {id: (item.split, item.speaker) for id, item in items.items()} == {
        "pretrain/talkA/00001": ("train", "talkA"),
        "trainval/talkA/50001": ("train", "talkA"),
        "trainval/talkB/50001": ("train", "talkB"),
        "test/talkC/00001": ("test", "talkC"),
    }
    assert {item.text for item in items.values()} == {"BIN BLUE"}
    words = items["pretrain/talkA/00001"].words
    assert words == (("BIN", 0.11, 0.32), ("BLUE", 0.32, 0.6))
    assert items["trainval/talkA/50001"].words is None


def test_lrs3_validation_list_holds_clips_out_and_names_those_missing(lrs3_tree: Path) -> None:
    put(lrs3_tree / "lrs3-valid.id", "trainval/talkB/50001\ntrainval/gone/50001\n")
    items = by_id(lrs3.list_items(lrs3_tree))
    assert [id for id, item in items.items() if item.split == "val" and not item.problem] == [
        "trainval/talkB/50001"
    ]
    assert "no such video" in (items["trainval/gone/50001"].problem or "")


def test_lrs3_test_alone_can_be_prepared_beside_the_whole_list(tmp_path: Path) -> None:
    clip(tmp_path / "test/talkC/00001")
    put(tmp_path / "lrs3-valid.id", "trainval/talkB/50001\n")
    (item,) = lrs3.list_items(tmp_path)
    assert (item.id, item.split) == ("test/talkC/00001", "test")


def test_lrs3_refuses_to_validate_on_test_clips(lrs3_tree: Path) -> None:
    put(lrs3_tree / "lrs3-valid.id", "test/talkC/00001\n")
    with pytest.raises(AvsrError, match="is a test clip"):
        lrs3.list_items(lrs3_tree)


def test_lrs3_clip_without_text_is_named(lrs3_tree: Path) -> None:
    (lrs3_tree / "test/talkC/00001.txt").unlink()
    item = by_id(lrs3.list_items(lrs3_tree))["test/talkC/00001"]
    assert "00001.txt is not beside it" in (item.problem or "")


FOUND_LRS3 = (
    r"looked for .*trainval.*"
    r"found lrs3_v0\.4/, readme\.txt, such as lrs3_v0\.4/test/talkC/00001\.mp4$"
)


def test_lrs3_wrong_layout_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    clip(tmp_path / "lrs3_v0.4/test/talkC/00001")
    put(tmp_path / "readme.txt")
    with pytest.raises(AvsrError, match=FOUND_LRS3):
        lrs3.list_items(tmp_path)


@pytest.fixture(params=["mvlrs_v1", "."])
def lrs2_tree(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    top = tmp_path / request.param
    for name in ("1/00001", "1/00002", "2/00001"):
        clip(top / "main" / name)
    clip(top / "pretrain/1/00001", TEXT + TABLE)
    put(tmp_path / "train.txt", "1/00001\n")
    put(tmp_path / "val.txt", "1/00002\n")
    put(tmp_path / "test.txt", "2/00001 NF\n")
    return tmp_path


def test_lrs2_lists_name_the_splits_and_tags_are_kept(lrs2_tree: Path) -> None:
    items = by_id(lrs2.list_items(lrs2_tree))
    assert {id: (item.split, item.note, item.problem) for id, item in items.items()} == {
        "main/1/00001": ("train", None, None),
        "main/1/00002": ("val", None, None),
        "main/2/00001": ("test", "tagged NF in test.txt", None),
        "pretrain/1/00001": ("train", None, None),
    }
    assert {item.text for item in items.values()} == {"BIN BLUE"}
    assert items["pretrain/1/00001"].words == (("BIN", 0.11, 0.32), ("BLUE", 0.32, 0.6))


def test_lrs2_names_clips_in_no_list_and_listed_clips_that_are_missing(lrs2_tree: Path) -> None:
    put(lrs2_tree / "train.txt", "9/00001\n")
    items = by_id(lrs2.list_items(lrs2_tree))
    assert "in none of train.txt" in (items["main/1/00001"].problem or "")
    assert "in train.txt, but there is no such video" in (items["main/9/00001"].problem or "")


def test_lrs2_never_takes_main_without_its_lists(lrs2_tree: Path) -> None:
    (lrs2_tree / "test.txt").unlink()
    with pytest.raises(AvsrError, match=r"looked for the lists .* found no test\.txt but "):
        lrs2.list_items(lrs2_tree)


def test_lrs2_pretrain_alone_needs_no_lists(tmp_path: Path) -> None:
    clip(tmp_path / "pretrain/1/00001", TEXT + TABLE)
    (item,) = lrs2.list_items(tmp_path)
    assert (item.id, item.split) == ("pretrain/1/00001", "train")


def test_lrs2_refuses_a_clip_of_two_splits(lrs2_tree: Path) -> None:
    put(lrs2_tree / "val.txt", "1/00001\n")
    with pytest.raises(AvsrError, match=r"1/00001 is in train\.txt and in val\.txt"):
        lrs2.list_items(lrs2_tree)


def test_lrs2_wrong_layout_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    put(tmp_path / "lrs2_v1/readme.txt")
    with pytest.raises(AvsrError, match=r"looked for .*main/ID/00001\.mp4.*found lrs2_v1/, such"):
        lrs2.list_items(tmp_path)
