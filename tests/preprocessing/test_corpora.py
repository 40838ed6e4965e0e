"""Corpora: texts from the right place, word times only where they belong, every unusable clip
named."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError, UsageError
from avsr.cli.options import Corpus
from avsr.preprocessing.corpora import CORPORA, Item, corpus, grid, list_corpus
from avsr.preprocessing.corpora import folder as folder_corpus

ALIGN = (
    "0 23750 sil\n23750 29500 bin\n29500 34000 blue\n34000 35500 at\n35500 41000 f\n41000 41500 "
    "sp\n" + ("41500 47250 two\n47250 53000 now\n53000 74500 sil\n")
)


def put(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def by_id(items: list[Item]) -> dict[str, Item]:
    assert len({item.id for item in items}) == len(items)
    return {item.id: item for item in items}


@pytest.mark.parametrize(
    ("stem", "text"),
    [
        ("bbaf2n", "bin blue at f two now"),
        ("lrarzn", "lay red at r zero now"),
        ("sgwx1s", "set green with x one soon"),
        ("pwij9p", "place white in j nine please"),
        ("PWBA4A", "place white by a four again"),
        ("bbaw2n", None),  # GRID has no letter w
        ("bbaf0n", None),
        ("bbaf2", None),
        ("bbaf2n2", None),
        ("readme", None),
    ],
)
def test_grid_file_names_spell_sentences(stem: str, text: str | None) -> None:
    assert grid.transcript(stem) == text


def test_grid_layouts_splits_and_word_times(tmp_path: Path) -> None:
    put(tmp_path / "s10/video/mpg_6000/bbaf2n.mpg")
    put(tmp_path / "s10/align/bbaf2n.align", ALIGN)
    put(tmp_path / "s2/bbaf2n.mp4")
    put(tmp_path / "s2/lrarzn.mp4")
    put(tmp_path / "align/s2/lrarzn.align", ALIGN)  # another sentence's alignment
    put(tmp_path / "notes/bbaf2n.mp4")  # not a speaker
    put(tmp_path / "train.txt", "s10/bbaf2n\n")
    put(tmp_path / "val.txt", "lrarzn\n")
    items = by_id(grid.list_items(tmp_path))
    assert list(items) == ["s2_bbaf2n", "s2_lrarzn", "s10_bbaf2n"]
    good = items["s10_bbaf2n"]
    assert (good.speaker, good.split, good.text, good.problem) == (
        "s10",
        "train",
        "bin blue at f two now",
        None,
    )
    assert good.words is not None
    assert good.words[0] == ("bin", 0.95, 1.18)
    assert [word for word, _, _ in good.words] == good.text.split()
    shuffled = items["s2_lrarzn"]
    assert (shuffled.text, shuffled.words, shuffled.split) == ("lay red at r zero now", None, "val")
    assert "alignment dropped" in (shuffled.note or "")
    assert items["s2_bbaf2n"].split is None
    assert items["s2_bbaf2n"].note == "no alignment file"


@pytest.mark.parametrize(
    "text", ["nonsense\n", "0 x bin\n", ALIGN.replace("29500 34000", "34000 29500")]
)
def test_grid_damaged_alignments_are_dropped_and_noted(tmp_path: Path, text: str) -> None:
    put(tmp_path / "s1/bbaf2n.mp4")
    put(tmp_path / "align/s1/bbaf2n.align", text)
    (item,) = grid.list_items(tmp_path)
    assert item.words is None
    assert item.problem is None
    assert item.text == "bin blue at f two now"
    assert (item.note or "").startswith("alignment dropped")


def test_grid_names_what_it_cannot_use(tmp_path: Path) -> None:
    put(tmp_path / "s1/bbaf2n.mp4")
    put(tmp_path / "s1/bbaf2n.mpg")
    put(tmp_path / "s1/holiday.mp4")
    put(tmp_path / "val.txt", "bbaf3s\n")
    problems = {item.id: item.problem for item in grid.list_items(tmp_path) if item.problem}
    assert "same clip" in problems["s1/bbaf2n.mpg"]
    assert "spells no GRID sentence" in problems["s1_holiday"]
    assert "no such video" in problems["bbaf3s"]


def test_grid_lists_that_contradict_themselves_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "s1/bbaf2n.mp4")
    put(tmp_path / "s2/bbaf2n.mp4")
    put(tmp_path / "train.txt", "bbaf2n\n")
    with pytest.raises(AvsrError, match="2 speakers; write it as s1/bbaf2n"):
        grid.list_items(tmp_path)
    put(tmp_path / "train.txt", "s1/bbaf2n\n")
    put(tmp_path / "val.txt", "s1/bbaf2n\n")
    with pytest.raises(AvsrError, match=r"in train\.txt and in val\.txt"):
        grid.list_items(tmp_path)


def test_folder_takes_the_text_beside_the_video(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.txt", "\ufeffhello\n there ")
    put(tmp_path / "train/anna/day.1.MOV")
    put(tmp_path / "train/anna/day.1.txt", "good day")
    put(
        tmp_path / "train/anna/day.1.words.json",
        json.dumps([["Good", 0.1, 0.4], ["day", 0.4, 0.8]]),
    )
    put(tmp_path / "train/anna/._day.1.MOV")
    put(tmp_path / "val/b.mkv")
    put(tmp_path / "val/b.txt", "bye")
    items = by_id(folder_corpus.list_items(tmp_path))
    assert list(items) == ["a", "train/anna/day.1", "val/b"]
    assert (items["a"].text, items["a"].speaker, items["a"].split, items["a"].words) == (
        "hello there",
        None,
        None,
        None,
    )
    nested = items["train/anna/day.1"]
    assert (nested.text, nested.speaker, nested.split) == ("good day", "anna", "train")
    assert nested.words == (("Good", 0.1, 0.4), ("day", 0.4, 0.8))
    assert (items["val/b"].speaker, items["val/b"].split) == (None, "val")


def test_folder_takes_sound_alone_as_clips_without_a_picture(tmp_path: Path) -> None:
    from avsr.preprocessing.reader import load_clip

    sound = (np.sin(np.arange(16_000) / 5) * 10_000).astype(np.int16)
    (tmp_path / "anna").mkdir()
    soundfile.write(tmp_path / "anna" / "day.wav", sound, 16_000)
    put(tmp_path / "anna" / "day.txt", "good day")
    put(tmp_path / "notes.FLAC")
    put(tmp_path / "b.mp4")
    put(tmp_path / "b.txt", "bye")
    items = by_id(folder_corpus.list_items(tmp_path))
    assert list(items) == ["anna/day", "b", "notes"]
    assert "notes.txt is not beside it" in (items["notes"].problem or "")
    item = items["anna/day"]
    assert (item.text, item.speaker, item.problem) == ("good day", "anna", None)
    clip = load_clip(item.path, id=item.id, text=item.text)
    assert clip.frames == 25
    assert clip.audio_present.all()
    assert not clip.video_present.any()


@pytest.mark.parametrize(
    "words",
    [
        "{",
        "3",
        "[[1]]",
        '[["bye", 0, 1]]',
        '[["good", 0.5, 0.4], ["day", 0.6, 0.7]]',
        '[["good", null, 1]]',
    ],
)
def test_folder_word_times_that_do_not_fit_are_dropped_and_noted(
    tmp_path: Path, words: str
) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.txt", "good day")
    put(tmp_path / "a.words.json", words)
    (item,) = folder_corpus.list_items(tmp_path)
    assert item.problem is None
    assert item.words is None
    assert "a.words.json dropped" in (item.note or "")


def test_folder_names_what_it_cannot_use(tmp_path: Path) -> None:
    for name in ("silent.mp4", "latin.mp4", "twice.avi", "twice.mp4"):
        put(tmp_path / name)
    put(tmp_path / "twice.txt", "again")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    problems = {item.path.name: item.problem for item in folder_corpus.list_items(tmp_path)}
    assert problems["twice.avi"] is None
    assert "silent.txt is not beside it" in (problems["silent.mp4"] or "")
    assert "not UTF-8" in (problems["latin.mp4"] or "")
    assert "same name as twice.avi" in (problems["twice.mp4"] or "")


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode here")
def test_folder_names_that_are_no_utf8_are_spelt_out(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"ren\xe9")
    put(folder / os.fsdecode(b"caf\xe9.mp4"))
    put(folder / os.fsdecode(b"caf\xe9.txt"), "good day")
    put(folder / os.fsdecode(b"caf\xe9.words.json"), "{")
    (item,) = folder_corpus.list_items(tmp_path)
    assert (item.id, item.speaker, item.text) == (r"ren\udce9/caf\udce9", r"ren\udce9", "good day")
    assert (item.note or "").startswith(r"caf\udce9.words.json dropped")
    assert item.path.is_file()


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_a_source_without_clips_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(AvsrError, match="no such folder"):
        corpus(name).list_items(tmp_path / "nowhere")
    with pytest.raises(AvsrError, match=r"expected folders s1|no video or sound in it|looked for"):
        corpus(name).list_items(tmp_path)


def test_the_command_line_offers_every_corpus() -> None:
    assert {choice.value for choice in Corpus} == set(CORPORA)


def test_an_unknown_corpus_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AvsrError, match="'lrs9'; choose one of folder, grid, "):
        corpus("lrs9")


def test_real_grid_has_texts_splits_and_word_times_throughout(shared: Path) -> None:
    items = grid.list_items(shared / "data" / "grid")
    assert len(items) == 745
    assert sum(item.split == "train" for item in items) == 645
    assert sum(item.split == "val" for item in items) == 100
    assert all(item.problem is None and item.words and item.speaker == "s1" for item in items)
    assert len({item.text for item in items}) == 745


LRS_TEXT = "Text:  BIN BLUE\nConf:  4\nRef:   abc\n\nFRAME \tX \tY\n000000 \t0.1 \t0.2\n\n"
LRS_WORDS = "WORD START END ASDSCORE\nBIN 0.11 0.32 5.2\nBLUE 0.32 0.60 6.1\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LRS_TEXT + LRS_WORDS, (("BIN", 0.11, 0.32), ("BLUE", 0.32, 0.6))),
        (LRS_TEXT, None),
        ("\ufefftext: BIN BLUE\r\nconf: 3\r\n", None),
        (LRS_TEXT + "WORD START END\nBIN x 1\n", None),
        ("Conf:  4\nRef:   abc\nText:  BIN BLUE\n", None),
        ("Text :  BIN\n  BLUE\nConf : 4\n", None),
        ("Text\uff1a BIN\u2028BLUE\n\nFRAME X Y\n000000 0.1 0.2\n", None),
        (LRS_TEXT + "WORD START END\nBIN 0.1 0.3\nBLUE 0.3 inf\n", None),
    ],
)
def test_lrs_text_files_give_their_text_line_and_word_times(
    tmp_path: Path, content: str, words: object
) -> None:
    put(tmp_path / "00001.mp4")
    put(tmp_path / "00001.txt", content)
    (item,) = folder_corpus.list_items(tmp_path)
    assert (item.text, item.words, item.problem) == ("BIN BLUE", words, None)


def test_a_sentence_that_begins_like_a_field_is_a_sentence(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.txt", "confidence: I have it\nin the text: here")
    (item,) = folder_corpus.list_items(tmp_path)
    assert item.text == "confidence: I have it in the text: here"


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ("1\n00:00:01,000 --> 00:00:02,000\nhello\n", "subtitles"),
        ('{"text": "hello"}', "JSON"),
        ('[{"text": "hello"}]', "JSON"),
        ('File type = "ooTextFile"\nObject class = "TextGrid"', "TextGrid"),
        ("<?xml version='1.0'?><a/>", "XML"),
        ("<p>hello</p>", "page"),
        ("{\\rtf1 hello}", "RTF"),
        ("%PDF-1.4", "PDF"),
        ('"ooTextFile"\n"TextGrid"', "TextGrid"),
        ("WEBVTT\n\nhello", "subtitles"),
        ("[00:12.00]hello", "subtitles"),
        ("0.10\t0.32\thello\n", "table of times"),
        ("clip 1 0.10 0.32 hello\n", "table of times"),
    ],
)
def test_other_formats_do_not_become_the_transcript(
    tmp_path: Path, content: str, kind: str
) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.txt", content)
    (item,) = folder_corpus.list_items(tmp_path)
    assert item.text is None
    assert kind in (item.problem or "")


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        *(
            (name, "train")
            for name in ("train", "Training", "pretrain", "trainval", "train-clean-100")
        ),
        *(
            (name, "val")
            for name in ("val", "Val", "valid", "validation", "VALIDATION", "dev", "val_set")
        ),
        *((name, "test") for name in ("test", "Testing", "eval", "test-other", "test_unseen")),
        *(
            (name, "train")
            for name in ("Train ", "pre-train", "entra\u00eenement", "\u8bad\u7ec3\u96c6")
        ),
        *(
            (name, "val")
            for name in ("VAL\u0130DATION", "\uff56\uff41\uff4c", "validaci\u00f3n", "01_dev")
        ),
        *((name, "test") for name in ("Tests", "held-out", "\u0442\u0435\u0441\u0442")),
        *(
            (name, None)
            for name in ("anna", "devon", "valentina", "testament", "test-anna", "traine")
        ),
    ],
)
def test_folders_named_as_splits_are_splits(tmp_path: Path, folder: str, split: str | None) -> None:
    put(tmp_path / folder / "bert" / "a.mp4")
    put(tmp_path / "clips" / folder / "b.mp4")
    (first, second) = folder_corpus.list_items(tmp_path)
    found = {item.path.stem: (item.split, item.speaker) for item in (first, second)}
    assert found == {"a": (split, "bert"), "b": (split, "clips" if split else folder)}


def test_folders_that_may_be_meant_as_splits_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("lrs3_val/a.mp4", "my-train/b.mp4", "anna/c.mp4", "val/bert/d.mp4"):
        put(tmp_path / name)
    folder_corpus.list_items(tmp_path)
    (record,) = caplog.records
    assert "taken as speakers, not as splits: lrs3_val, my-train;" in record.getMessage()


def test_grid_lists_may_have_other_names_and_suffixes(tmp_path: Path) -> None:
    put(tmp_path / "S1/BBAF2N.MPG")
    put(tmp_path / "S1/align/bbaf2n.align", ALIGN)
    put(tmp_path / "s2/lrarzn.mpg")
    put(tmp_path / "Validation.TXT", "s1/bbaf2n.mpg\r\n")
    put(tmp_path / "dev.txt", "s2/lrarzn\r\n")
    items = by_id(grid.list_items(tmp_path))
    assert {id: item.split for id, item in items.items()} == {
        "s1_bbaf2n": "val",
        "s2_lrarzn": "val",
    }
    assert items["s1_bbaf2n"].words is not None


def test_names_are_the_same_however_they_are_spelt(tmp_path: Path) -> None:
    put(tmp_path / "cafe\u0301.wav")
    put(tmp_path / "caf\u00e9.txt", "one")
    put(tmp_path / "UPPER.WAV")
    put(tmp_path / "UPPER.TXT", "two")
    put(tmp_path / "Mixed.Mp4")
    put(tmp_path / "mixed.txt", "three")
    put(tmp_path / "MIXED.WORDS.JSON", '[["three", 0, 1]]')
    items = folder_corpus.list_items(tmp_path)
    assert sorted(item.text or "" for item in items) == ["one", "three", "two"]
    assert all(item.problem is None for item in items)
    assert [item.words for item in items if item.text == "three"] == [(("three", 0.0, 1.0),)]


def test_a_text_that_two_recordings_could_have_is_taken_by_neither(tmp_path: Path) -> None:
    for name in ("Day.mp4", "DAY.mp4"):
        put(tmp_path / name)
    if len(list(tmp_path.iterdir())) < 2:
        pytest.skip("the file system does not tell upper from lower case")
    put(tmp_path / "day.txt", "hello")
    assert all(
        "is not beside it" in (item.problem or "") for item in folder_corpus.list_items(tmp_path)
    )


def test_marked_utf16_is_read(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_bytes("h\u00e9llo".encode("utf-16"))
    (item,) = folder_corpus.list_items(tmp_path)
    assert item.text == "h\u00e9llo"


@pytest.mark.parametrize(
    "content", [" \n", "", "\ufeff\u200b", "Text:\nConf: 4\n", "\u00a0\r\n\u2060"]
)
def test_an_empty_text_says_that_nothing_is_spoken(tmp_path: Path, content: str) -> None:
    put(tmp_path / "test/a.mp4")
    put(tmp_path / "test/a.txt", content)
    (item,) = folder_corpus.list_items(tmp_path)
    assert (item.text, item.split, item.problem) == ("", "test", None)
    assert "empty" in (item.note or "")


def test_grid_splits_of_lipnet_go_by_their_names(tmp_path: Path) -> None:
    for number in range(300):
        code = f"{'blps'[number % 4]}b{'abiw'[number // 75]}{'abcdefghij'[number % 10]}"
        put(tmp_path / f"s1/{code}{number // 10 % 10 or 'z'}n.mp4")
    for speaker in ("s2", "s3"):
        put(tmp_path / speaker / "bbaf2n.mp4")
    put(tmp_path / "val.txt", "s3/bbaf2n\n")
    listed = {item.id: item.split for item in list_corpus("grid", tmp_path)}
    unseen = {item.id: item.split for item in list_corpus("grid", tmp_path, "unseen")}
    overlapped = {item.id: item.split for item in list_corpus("grid", tmp_path, "overlapped")}
    assert (listed["s3_bbaf2n"], listed["s2_bbaf2n"]) == ("val", None)
    assert (unseen["s3_bbaf2n"], unseen["s2_bbaf2n"]) == ("train", "test")
    of_first = [split for id, split in overlapped.items() if id.startswith("s1_")]
    assert of_first.count("test") == 255
    assert of_first.count("train") == len(of_first) - 255 > 0
    with pytest.raises(UsageError, match="knows no splits 'seen': use one of unseen, overlapped"):
        list_corpus("grid", tmp_path, "seen")
    with pytest.raises(UsageError, match="lrw knows no splits 'unseen': it has one way"):
        list_corpus("lrw", tmp_path, "unseen")


def test_grid_lists_of_others_may_name_the_folders_of_the_archive(tmp_path: Path) -> None:
    put(tmp_path / "s14/video/mpg_6000/bgbg2s.mpg")
    put(tmp_path / "test.txt", "s14/video/mpg_6000/bgbg2s\n")
    (item,) = grid.list_items(tmp_path)
    assert (item.id, item.split) == ("s14_bgbg2s", "test")


def test_grid_alignments_in_the_folder_of_another_speaker_are_found(tmp_path: Path) -> None:
    codes = [f"bbaf{digit}{adverb}" for digit in "123456789" for adverb in "anps"]
    for code in codes:
        put(tmp_path / f"s5/{code}.mpg")
        words = grid.transcript(code) or ""
        rows = [f"{n * 1000} {n * 1000 + 900} {word}" for n, word in enumerate(words.split())]
        put(tmp_path / f"alignments/s6/{code}.align", "\n".join(rows))
    put(tmp_path / "alignments/s5/lrarzn.align", ALIGN)
    put(tmp_path / "s7/bbaf1a.mpg")  # one sentence in common says nothing
    items = by_id(grid.list_items(tmp_path))
    assert all(items[f"s5_{code}"].words for code in codes)
    assert items["s7_bbaf1a"].note == "no alignment file"
