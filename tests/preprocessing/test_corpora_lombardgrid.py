"""Lombard GRID as its makers lay it out, on a small tree of the same layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError
from avsr.preprocessing import reader
from avsr.preprocessing.clip import SAMPLE_RATE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.corpora import Item, lombardgrid
from avsr.preprocessing.prepare import prepare
from avsr.preprocessing.shards import ShardIndex


def put(path: Path, content: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def recording(root: Path, stem: str, view: str = "front") -> None:
    put(root / view / f"{stem}.mov")
    put(root / "audio" / f"{stem}.wav")


def by_id(items: list[Item]) -> dict[str, Item]:
    assert len({item.id for item in items}) == len(items)
    return {item.id: item for item in items}


def test_lombardgrid_names_spell_what_was_said(tmp_path: Path) -> None:
    names = (
        "s2_l_bbim3a",
        "s10_p_swwx9p",
        "s46_p_gbszs_WRONG_sgbszs",
        "s27_l_bah2s_WRONG_#sil",
        "s14_8_2_14_r_prwr3a",
        "notes",
    )
    for name in names:
        recording(tmp_path, name)
    items = by_id(lombardgrid.list_items(tmp_path))
    assert {id: (item.speaker, item.text) for id, item in items.items()} == {
        "s2_l_bbim3a": ("s2", "bin blue in m three again"),
        "s10_p_swwx9p": ("s10", "set white with x nine please"),
        "s46_p_gbszs_WRONG_sgbszs": ("s46", "set green by s zero soon"),
        "s27_l_bah2s_WRONG_#sil": ("s27", None),
        "s14_8_2_14_r_prwr3a": ("s14", "place red with r three again"),
        "notes": (None, None),
    }
    assert items["s46_p_gbszs_WRONG_sgbszs"].note == "said sgbszs, asked for gbszs"
    assert "no GRID sentence (#sil)" in (items["s27_l_bah2s_WRONG_#sil"].problem or "")
    assert "none of Lombard GRID" in (items["notes"].problem or "")


def test_lombardgrid_lists_name_the_splits_and_those_missing(tmp_path: Path) -> None:
    for name in ("s2_l_bbim3a", "s3_l_bbim3a", "s4_l_bbim3a"):
        recording(tmp_path, name)
    put(tmp_path / "train.txt", "s2_l_bbim3a\n")
    put(tmp_path / "test.txt", "s3_l_bbim3a\ns9_l_bbim3a\n")
    items = by_id(lombardgrid.list_items(tmp_path))
    splits = {id: item.split for id, item in items.items() if not item.problem}
    assert splits == {"s2_l_bbim3a": "train", "s3_l_bbim3a": "test", "s4_l_bbim3a": None}
    assert "in test.txt, but there is no such video" in (items["s9_l_bbim3a"].problem or "")
    put(tmp_path / "val.txt", "s2_l_bbim3a\n")
    with pytest.raises(AvsrError, match=r"is in train\.txt and in val\.txt"):
        lombardgrid.list_items(tmp_path)


def test_lombardgrid_side_is_taken_only_where_there_is_no_front(tmp_path: Path) -> None:
    recording(tmp_path, "s2_l_bbim3a", "side")
    assert [item.path.parent.name for item in lombardgrid.list_items(tmp_path)] == ["side"]
    recording(tmp_path, "s2_l_bbim3a", "front")
    assert [item.path.parent.name for item in lombardgrid.list_items(tmp_path)] == ["front"]


def test_lombardgrid_sound_comes_from_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The video has no sound; two frames of sound for its three."""
    put(tmp_path / "src/front/s2_l_bbim3a.mov")
    put(tmp_path / "src/front/s2_p_bbim3a.mov")
    sound = np.full(2 * SAMPLES_PER_FRAME, 0.5, np.float32)
    (tmp_path / "src/audio").mkdir()
    soundfile.write(tmp_path / "src/audio/s2_l_bbim3a.wav", sound, SAMPLE_RATE, subtype="FLOAT")
    real = reader.load_clip

    def load(path: Path, *, id: str, **options: Any) -> Clip:
        if path.suffix == ".wav":
            return real(path, id=id, **options)
        lips, silence = np.zeros((3, 96, 96), np.uint8), np.zeros(3 * SAMPLES_PER_FRAME, np.float32)
        absent, present = np.zeros(3, bool), np.ones(3, bool)
        return Clip(id, silence, lips, absent, present, text=options["text"])

    monkeypatch.setattr(reader, "load_clip", load)
    summary = prepare("lombardgrid", tmp_path / "src", tmp_path / "dst", workers=0)
    assert (summary.clips, summary.without_audio) == (2, 1)
    shards = ShardIndex(tmp_path / "dst")
    clips = {clip.id: clip for clip in map(shards.load, range(len(shards)))}
    heard = clips["s2_l_bbim3a"]
    assert heard.audio_present.tolist() == [True, True, False]
    assert np.abs(heard.audio[:SAMPLES_PER_FRAME]).max() == pytest.approx(0.5, abs=0.01)
    assert not heard.audio[2 * SAMPLES_PER_FRAME :].any()


PHONES = "SIL b_B ih_I n_E b_B l_I uw_E ih_B n_E eh_B m_E th_B r_I iy_E SIL ah_B g_I eh_I n_E SIL"


def alignment(name: str, phones: str) -> str:
    rows = [
        {"phone": phone, "offset": number / 10, "duration": 0.1}
        for number, phone in enumerate(phones.split())
    ]
    return json.dumps({name: rows})


def test_lombardgrid_phones_give_the_times_of_the_words(tmp_path: Path) -> None:
    recording(tmp_path, "s2_l_bbim3a")
    recording(tmp_path, "s46_p_gbszs_WRONG_bbim3a")
    for name in ("s2_l_bbim3a", "s46_p_gbszs_WRONG_bbim3a"):
        put(tmp_path / "alignment" / f"{name}.json", alignment(name, PHONES))
    items = by_id(lombardgrid.list_items(tmp_path))
    assert items["s2_l_bbim3a"].words == (
        ("bin", 0.1, 0.4),
        ("blue", 0.4, 0.7),
        ("in", 0.7, 0.9),
        ("m", 0.9, 1.1),
        ("three", 1.1, 1.4),
        ("again", 1.5, 1.9),
    )
    assert items["s46_p_gbszs_WRONG_bbim3a"].words is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (alignment("s2_l_bbim3a", "SIL b_B ih_I n_E"), "has 1 words, the text 6"),
        (alignment("s9_l_bbim3a", PHONES), "no list of phones"),
        ("{", "no list of phones"),
    ],
)
def test_lombardgrid_alignment_of_something_else_is_dropped(
    tmp_path: Path, content: str, why: str
) -> None:
    recording(tmp_path, "s2_l_bbim3a")
    put(tmp_path / "alignment/s2_l_bbim3a.json", content)
    (item,) = lombardgrid.list_items(tmp_path)
    assert (item.text, item.words) == ("bin blue in m three again", None)
    assert why in (item.note or "")


def test_lombardgrid_wrong_layout_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    recording(tmp_path / "corpora", "s2_l_bbim3a")
    with pytest.raises(
        AvsrError, match=r"looked for .*front/s2_l_bbim3a\.mov.*found corpora/, such"
    ):
        lombardgrid.list_items(tmp_path)


def test_lombardgrid_is_found_in_the_folder_that_its_archives_make(tmp_path: Path) -> None:
    recording(tmp_path / "lombardgrid", "s2_l_bbim3a")
    recording(tmp_path / "lombardgrid", "s3_l_bbim3a")
    put(tmp_path / "train.txt", "s2_l_bbim3a\n")
    put(tmp_path / "lombardgrid" / "test.txt", "s3_l_bbim3a\n")
    splits = {item.id: item.split for item in lombardgrid.list_items(tmp_path)}
    assert splits == {"s2_l_bbim3a": "train", "s3_l_bbim3a": "test"}
