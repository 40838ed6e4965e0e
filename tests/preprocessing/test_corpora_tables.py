"""One's own recordings by what annotators and tables say of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, folder
from avsr.preprocessing.prepare import prepare
from avsr.preprocessing.shards import ShardIndex

TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "{tier}"
        xmin = 0
        xmax = 2
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "good"
        intervals [2]:
            xmin = 0.5
            xmax = 0.75
            text = "sil"
        intervals [3]:
            xmin = 0.75
            xmax = 2
            text = "day"
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 2
        points: size = 0
"""
SRT = (
    "1\n00:00:01,000 --> 00:00:02,500\n<i>good</i>\nday\n\n2\n00:00:03,000 --> 00:00:04,000\nbye\n"
)


def put(path: Path, content: str = "", encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding=encoding)
    return path


def tone(path: Path, seconds: float = 5.0) -> Path:
    """A sound file in which each second is a step louder than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(int(16_000 * seconds))
    sound = np.sin(time / 5) * (0.1 + 0.1 * (time // 16_000))
    soundfile.write(path, sound, 16_000, format="WAV")
    return path


# ------------------------------------------------------------------------------------ annotations


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrid_beside_a_recording_gives_text_and_word_times(
    tmp_path: Path, encoding: str
) -> None:
    pytest.importorskip("praatio")
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.TextGrid", TEXTGRID.format(tier="words"), encoding)
    put(tmp_path / "b.mp4")
    put(tmp_path / "b.textgrid", TEXTGRID.format(tier="sentence"), encoding)
    first, second = folder.list_items(tmp_path)
    assert (first.text, first.words) == ("good day", (("good", 0.0, 0.5), ("day", 0.75, 2.0)))
    assert (second.text, second.words, second.problem) == ("good day", None, None)


def test_textgrid_that_does_not_say_which_tier_is_named(tmp_path: Path) -> None:
    pytest.importorskip("praatio")
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.TextGrid", TEXTGRID.format(tier="anna"))
    put(tmp_path / "b.mp4")
    put(tmp_path / "b.TextGrid", "no grid")
    first, second = folder.list_items(tmp_path)
    assert "tiers anna, bell; name that of the words 'words'" in (first.problem or "")
    assert second.problem == "b.TextGrid is no TextGrid that can be read"


def test_each_cue_of_subtitles_is_a_clip(tmp_path: Path) -> None:
    pytest.importorskip("pysubs2")
    put(tmp_path / "anna" / "talk.mp4")
    put(tmp_path / "anna" / "talk.srt", SRT)
    put(tmp_path / "b.mp4")
    put(tmp_path / "b.vtt", "WEBVTT\n\n00:01.000 --> 00:02.000\nhello\n")
    put(tmp_path / "c.mp4")
    put(tmp_path / "c.srt", "nothing")
    one, two, three, wrong = folder.list_items(tmp_path)
    assert (one.id, one.text, one.span) == ("anna/talk.srt/0001", "good day", (1.0, 2.5))
    assert (two.id, two.text, two.span) == ("anna/talk.srt/0002", "bye", (3.0, 4.0))
    assert (one.speaker, one.words) == ("anna", None)
    assert (three.id, three.text, three.span) == ("b.vtt/0001", "hello", (1.0, 2.0))
    assert wrong.problem == "c.srt holds no subtitles that can be read"


def test_text_goes_before_other_annotations(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.txt", "good day")
    put(tmp_path / "a.srt", SRT)
    (item,) = folder.list_items(tmp_path)
    assert (item.text, item.span) == ("good day", None)


# ------------------------------------------------------------------------------------------ tables

ROWS: list[dict] = [
    {"file": "v/a.wav", "text": "good  day", "speaker": "anna", "split": "dev"},
    {"file": "v/b.wav", "text": "one", "start_s": 1, "end_s": 2.5, "split": "train"},
    {"file": "v/b.wav", "text": "two", "start_s": 2.5, "split": "train"},
]


def as_csv(path: Path, rows: list[dict]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [",".join(names)]
    lines += [",".join(str(row.get(name, "")) for name in names) for row in rows]
    return put(path.with_suffix(".csv"), "\n".join(lines))


def as_jsonl(path: Path, rows: list[dict]) -> Path:
    return put(path.with_suffix(".jsonl"), "\n".join(map(json.dumps, rows)))


def as_arrow(rows: list[dict]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pyarrow.table({name: [row.get(name) for row in rows] for name in names})


def as_parquet(path: Path, rows: list[dict]) -> Path:
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(as_arrow(rows), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def as_dataset(path: Path, rows: list[dict], media: bool = False) -> Path:
    """As `datasets` 5.2 writes it, so far as it is read."""
    pyarrow, ipc = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.ipc")
    path.mkdir()
    if media:
        cells = [
            {"bytes": (path.parent / row["file"]).read_bytes(), "path": Path(row["file"]).name}
            for row in rows
        ]
        rows = [row | {"file": cell} for row, cell in zip(rows, cells, strict=True)]
    table = as_arrow(rows)
    file = str(path / "data-00000-of-00001.arrow")
    with pyarrow.OSFile(file, "wb") as sink, ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    put(path / "state.json", '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    return path


@pytest.mark.parametrize("write", [as_csv, as_jsonl, as_parquet])
def test_a_table_has_a_row_for_each_clip(
    tmp_path: Path, write: Callable[[Path, list[dict]], Path]
) -> None:
    tone(tmp_path / "v/a.wav")
    tone(tmp_path / "v/b.wav")
    items = folder.list_items(write(tmp_path / "table", ROWS))
    assert [(item.id, item.text, item.span, item.split, item.problem) for item in items] == [
        ("v/a", "good day", None, "val", None),
        ("v/b_1-2.5", "one", (1.0, 2.5), "train", None),
        ("v/b_2.5", "two", (2.5, None), "train", None),
    ]
    assert items[0].speaker == "anna"
    prepare("folder", write(tmp_path / "table", ROWS), tmp_path / "dst", workers=0)
    index = ShardIndex(tmp_path / "dst")
    assert [entry.frames for entry in index.entries] == [125, 37, 63]
    assert index.meta(1)["source"] == "v/b.wav#t=1,2.5"
    whole, part = index.load(0).audio, index.load(2).audio
    assert np.abs(part[:16_000] - whole[62 * 640 : 62 * 640 + 16_000]).max() < 1e-3


def test_rows_that_cannot_be_used_are_named_by_their_number(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    rows: list[dict] = [
        {"file": "a.wav", "text": "one", "words": [["one", 0, 1]]},
        {"file": "a.wav", "text": "again"},
        {"file": "b.wav", "text": "one"},
        {"file": "a.wav", "id": "x", "text": "one", "start": 3, "end": 2},
        {"file": "a.wav", "id": "y", "text": "one", "split": "some"},
        {"file": "a.wav", "id": "z"},
        {"text": "one"},
        {"file": "a.wav", "id": "w", "text": "one", "words": [["two", 0, 1]]},
    ]
    items = folder.list_items(as_jsonl(tmp_path / "table", rows))
    assert [item.problem for item in items] == [
        None,
        "row 2: an earlier row has the id 'a' too; give each its own",
        "row 3: there is no b.wav",
        "row 4: its times do not rise from 0 on (3 to 2 s)",
        "row 5: its split 'some' is none of train, val, test",
        "row 6: no text",
        "row 7: it names no file",
        None,
    ]
    assert items[0].words == (("one", 0.0, 1.0),)
    assert items[-1].note == "words dropped: its words are not those of the text"
    assert len({item.id for item in items}) == len(items)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.csv", "video,said\na.mp4,hi\n", "looked for text, transcript, .*found video, said"),
        ("t.csv", "text\nhi\n", "no column for the file; looked for file, path"),
        ("t.csv", "file,text\na.mp4,one, two\n", "more cells than the head"),
        ("t.csv", "", "no row in it"),
        ("t.csv", "file,text\na.mp4,\0\n", "t.csv is not text: save it as CSV in UTF-8"),
        ("t.jsonl", '{"file": "a.mp4"\n', "line 1, column 17: no JSON: Expecting ',' delimiter"),
        ("t.jsonl", '{}\n["a.mp4", "hi"]\n', "line 2: no object such as"),
        ("t.xlsx", "", r"use one of \.csv, \.jsonl, \.parquet, \.tsv"),
        ("t.parquet", "nothing", "cannot be read as a table .it is no parquet file"),
    ],
)
def test_a_table_that_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, content: str, told: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(AvsrError, match=told):
        folder.list_items(put(tmp_path / name, content))


def test_columns_that_nobody_reads_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tone(tmp_path / "a.wav")
    with caplog.at_level(logging.WARNING):
        folder.list_items(put(tmp_path / "t.tsv", "file\ttext\tmood\na.wav\thi\tgood\n"))
    assert "columns that are not read: mood" in caplog.text


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_table_that_is_not_there_is_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(AvsrError, match="no such table"):
        folder.list_items(tmp_path / name)


def test_a_stretch_after_the_end_of_its_file_is_told(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav", 1)
    table = put(tmp_path / "t.csv", "file,text,start_s,end_s\na.wav,hi,3,4\na.wav,ho,0,1\n")
    prepare("folder", table, tmp_path / "dst", workers=0, max_loss=1.0)
    (row,) = ShardIndex(tmp_path / "dst").info["skipped"]
    assert row["reason"] == "a.wav: ends too early for a stretch from 3 s on"


@pytest.mark.parametrize("media", [False, True])
def test_a_data_set_on_disk_is_read_without_its_library(tmp_path: Path, media: bool) -> None:
    tone(tmp_path / "a.wav", 2)
    rows = [
        {"file": "a.wav", "text": "one", "split": "test"},
        {"file": "a.wav", "text": "two", "start": 0.5, "id": "second"},
    ]
    if not media:
        rows = [row | {"file": "../a.wav"} for row in rows]
    source = as_dataset(tmp_path / "set", rows, media)
    items: list[Item] = folder.list_items(source)
    assert [item.problem for item in items] == [None, None]
    assert [(item.split, item.text) for item in items] == [("test", "one"), (None, "two")]
    prepare("folder", source, tmp_path / "dst", workers=0)
    index = ShardIndex(tmp_path / "dst")
    assert [entry.frames for entry in index.entries] == [50, 38]
    assert index.entries[1].id == "second"
    assert str(tmp_path) not in (tmp_path / "dst" / "index.json").read_text()


def test_splits_of_a_data_set_are_its_folders(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav", 1)
    top = tmp_path / "set"
    top.mkdir()
    for name in ("train", "validation"):
        as_dataset(top / name, [{"file": str(tmp_path / "a.wav"), "text": "one"}])
    put(top / "dataset_dict.json", '{"splits": ["train", "validation"]}')
    items = folder.list_items(top)
    assert [(item.id, item.split) for item in items] == [
        ("train/a", "train"),
        ("validation/a", "val"),
    ]
    put(top / "dataset_dict.json", '{"splits": ["train", "test"]}')
    with pytest.raises(AvsrError, match="no data set as `save_to_disk` writes it"):
        folder.list_items(top)


def test_media_in_a_cell_that_is_none_is_named_without_temporary_names(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", "no media")
    source = as_dataset(tmp_path / "set", [{"file": "a.wav", "text": "one"}], media=True)
    prepare("folder", source, tmp_path / "dst", workers=0, max_loss=1.0)
    (row,) = ShardIndex(tmp_path / "dst").info["skipped"]
    assert row["source"] == "data-00000-of-00001.arrow#row=0"
    assert not row["reason"].startswith("/")
