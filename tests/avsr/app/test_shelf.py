"""Results and work of the app, without a browser."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from avsr.app.shelf import LONGEST_WORD, Result, Shelf
from avsr.app.work import Cancelled, Tasks
from avsr.base.errors import AvsrError
from avsr.transcribing.transcript import Segment, Transcript, Word


def result(media: Path = Path("a.mp4")) -> Result:
    words = [Word("bin", 0.0, 0.3, 0.4, 0.2), Word("blue", 0.3, 0.6, 0.9, 1.0)]
    segment = Segment(0.0, 0.6, "bin blue", 0.65, "A", 1.0, 1.0, words)
    other = replace(segment, start_s=2.0, end_s=2.6, speaker="B")
    return Result("a.mp4", media, True, Transcript("/tmp/x", "m", 3.0, [segment, other]))


def test_a_corrected_word_is_sure_and_an_empty_one_is_gone():
    found = result()
    found.correct(0, 0, "  bins   of ")
    (first, _), text = found.transcript.segments[0].words, found.transcript.text
    assert (first.word, first.confidence, text) == ("bins of", 1.0, "bins of blue bin blue")
    found.correct(1, 1, "")
    found.correct(1, 0, "")
    assert found.transcript.text == "bins of blue"
    assert len(found.transcript.segments) == 1


@pytest.mark.parametrize(
    ("segment", "word", "text"),
    [(0, 2, "x"), (2, 0, "x"), (-1, 0, "x"), (0, 0, "x" * (LONGEST_WORD + 1))],
)
def test_a_correction_that_makes_no_sense_changes_nothing(segment: int, word: int, text: str):
    found = result()
    with pytest.raises(AvsrError):
        found.correct(segment, word, text)
    assert found.transcript.text == "bin blue bin blue"


def test_a_speaker_gets_a_name():
    found = result()
    found.name_speaker("A", "Ada")
    assert [part["speaker"] for part in found.fields()["segments"]] == ["Ada", "B"]
    with pytest.raises(AvsrError, match="1 to"):
        found.name_speaker("B", "  ")


def test_files_name_the_recording_as_the_user_knows_it():
    assert '"file": "a.mp4"' in result().rendered("json").decode()
    with pytest.raises(AvsrError, match="use one of"):
        result().rendered("exe")


def test_what_nobody_asks_for_is_removed():
    now = [0.0]
    shelf = Shelf(60, clock=lambda: now[0])
    shared, alone, lost, new = (shelf.new_file(".mp4") for _ in range(4))
    for path in (shared, alone, lost, new):
        path.touch()
        if path != new:
            os.utime(path, (0, 0))
    first, second, third = (shelf.put(result(path)) for path in (shared, shared, alone))
    now[0] = 50
    shelf.get(second)
    now[0] = 100
    shelf.tidy()
    for gone in (first, third):
        with pytest.raises(AvsrError, match="no longer there"):
            shelf.get(gone)
    assert shelf.get(second).media.exists()  # that of the first too
    assert new.exists()
    assert not alone.exists()
    assert not lost.exists()
    shelf.close()
    assert not shelf.folder.exists()


def test_work_that_nobody_waits_for_ends_and_makes_room():
    tasks, began = Tasks(1), threading.Event()

    def endless(tell):
        while True:
            began.set()
            tell(1, 2)
            time.sleep(0.001)

    with tasks.run("me", endless) as task:
        assert began.wait(10)
        assert task.share == 0.5
        tasks.cancel("me")
        assert task.wait(10)
    with pytest.raises(Cancelled):
        _ = task.result
    with tasks.run("you", lambda tell: 7) as task:
        assert task.wait(10)
        assert task.result == 7


def test_one_after_the_other():
    tasks, began, release = Tasks(1), threading.Event(), threading.Event()

    def first(tell):
        began.set()
        release.wait(10)

    with tasks.run("me", first) as mine:
        assert began.wait(10)
        with tasks.run("you", lambda tell: 1) as yours:
            assert not yours.wait(0.05)
            assert yours.share is None
            release.set()
            assert mine.wait(10)
            assert yours.wait(10)
