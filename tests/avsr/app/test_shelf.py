"""Results and work of the app, without a browser."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from avsr.app import making, work
from avsr.app.making import Makings
from avsr.app.room import NoRoom
from avsr.app.shelf import LEFT_S, LONGEST_WORD, Result, Shelf
from avsr.app.work import Cancelled, Models, Tasks
from avsr.base.errors import AvsrError
from avsr.transcribing.engine import Progress
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
    found.transcript = replace(found.transcript, faces={"A": 3, "B": 1})
    found.name_speaker("A", "Ada")
    assert [part["speaker"] for part in found.fields()["segments"]] == ["Ada", "B"]
    assert found.transcript.faces == {"Ada": 3, "B": 1}  # whose lips a page shows
    found.name_speaker("B", "Ada")
    assert found.transcript.faces == {"Ada": 3}
    with pytest.raises(AvsrError, match="1 to"):
        found.name_speaker("B", "  ")


def test_files_name_the_recording_as_the_user_knows_it():
    assert '"file": "a.mp4"' in result().rendered("json").decode()
    with pytest.raises(AvsrError, match="use one of"):
        result().rendered("exe")


def test_what_nobody_asks_for_is_removed():
    now = [0.0]
    shelf = Shelf(60, 10**9, clock=lambda: now[0])
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


def test_what_a_closed_page_leaves_goes_soon_unless_it_is_asked_for():
    now = [0.0]
    shelf = Shelf(3600, 10**9, clock=lambda: now[0])
    media = [shelf.uploads / name / "sha" / f"{name}.mp4" for name in "abc"]
    for path in media:
        path.parent.mkdir(parents=True)
        path.touch()
    closed, still_open, never_used = media
    for who, path in zip("abc", media, strict=True):
        shelf.choose(path, who)
    names = [shelf.put(result(path)) for path in (closed, still_open)]
    for who in "abc":
        shelf.leave(who)
    os.utime(never_used, (0, 0))
    now[0] = LEFT_S - 1
    shelf.get(names[1])  # its page is there: only the connection that tells so broke
    now[0] = LEFT_S + 1
    shelf.tidy()
    assert shelf.get(names[1]).media == still_open
    with pytest.raises(AvsrError, match="no longer there"):
        shelf.get(names[0])
    assert [path.exists() for path in media] == [True, True, False]
    assert not (shelf.uploads / "c").exists()
    os.utime(closed, (0, 0))
    shelf.tidy()
    assert not closed.exists()
    shelf.close()


def test_a_recording_stays_while_it_is_worked_on_however_long():
    shelf = Shelf(60, 10**9)
    path = shelf.new_file(".webm")
    path.touch()
    with shelf.used(path, "me"):
        os.utime(path, (0, 0))
        shelf.tidy()
        assert path.exists()
    shelf.tidy()
    assert path.exists()  # its time begins anew
    shelf.leave("me")
    os.utime(path, (0, 0))
    shelf.tidy()
    assert not path.exists()
    shelf.close()


def test_a_recording_has_one_result_the_last():
    shelf = Shelf(60, 10**9)
    first, made = result(shelf.new_file(".mp4")), shelf.new_file(".html")
    made.touch()
    first.keep("page", made, first.transcript)
    before = shelf.put(first)
    after = shelf.put(result(first.media))
    assert shelf.get(after)
    assert not made.exists()
    with pytest.raises(AvsrError, match="no longer there"):
        shelf.get(before)
    shelf.close()


def test_pictures_are_files_which_nobody_can_name_a_way_out_with(tmp_path: Path):
    shelf = Shelf(60, 10**9)
    name = shelf.put_picture(b"png")
    assert shelf.picture(name) == b"png"
    for other in ("../x", "x", f"{name}.png"):
        with pytest.raises(AvsrError, match="no longer there"):
            shelf.picture(other)
    os.utime(shelf.folder / f"{name}.png", (0, 0))
    shelf.tidy()
    with pytest.raises(AvsrError, match="no longer there"):
        shelf.picture(name)
    shelf.close()


def test_not_everything_may_wait_to_be_made():
    tasks, go_on = Tasks(1, queue=2), threading.Event()
    begun = [tasks.begin(lambda tell: go_on.wait(10))]
    while begun[0].share is None:
        time.sleep(0.001)
    begun += [tasks.begin(lambda tell: True) for _ in range(2)]
    with pytest.raises(AvsrError, match="2 others wait"):
        tasks.begin(lambda tell: True)
    go_on.set()
    assert all(task.wait(10) for task in begun)
    assert tasks.begin(lambda tell: True).wait(10)


def test_work_that_nobody_waits_for_ends_and_makes_room():
    tasks, began = Tasks(1), threading.Event()

    def endless(tell):
        while True:
            began.set()
            tell(1, 2)
            time.sleep(0.001)

    with tasks.run("me", endless) as task:
        assert began.wait(60)
        assert task.share == 0.5
        tasks.cancel("me")
        assert task.wait(60)
    with pytest.raises(Cancelled):
        _ = task.result
    with tasks.run("you", lambda tell: 7) as task:
        assert task.wait(60)
        assert task.result == 7


def test_the_time_left_is_told_once_it_can_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, told, go_on = [0.0], threading.Event(), threading.Event()
    clock = SimpleNamespace(monotonic=lambda: now_s[0])
    monkeypatch.setattr(work, "time", clock)

    def slow(tell: Progress) -> None:
        now_s[0] = 7.0  # a model was loaded
        tell(0, 100)
        now_s[0] += 10.0
        tell(25, 100)
        told.set()
        go_on.wait(60)

    with Tasks(1).run("ann", slow) as task:
        assert told.wait(60)
        assert task.left_s == pytest.approx(30.0)
        now_s[0] = 8.0
        assert task.left_s is None  # too early to tell
        go_on.set()
        assert task.wait(60)


def test_one_after_the_other():
    tasks, began, release = Tasks(1), threading.Event(), threading.Event()

    def first(tell):
        began.set()
        release.wait(60)

    with tasks.run("me", first) as mine:
        assert began.wait(60)
        with tasks.run("you", lambda tell: 1) as yours:
            assert not yours.wait(0.05)
            assert yours.share is None
            release.set()
            assert mine.wait(60)
            assert yours.wait(60)


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_a_signal_while_the_page_is_put_together_leaves_no_folder(tmp_path: Path):
    code = """
import os, signal, sys
from avsr import cli

def told(event, values):
    if event == "import" and values[0] == "gradio":
        os.kill(os.getpid(), signal.SIGTERM)

sys.addaudithook(told)
sys.exit(cli.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "app", "--port", "0"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "avsr: terminated\n")
    assert not list(tmp_path.iterdir())


# ---- what is made when it is asked for


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A shelf with a result, where a page is made as a test says."""
    shelf, go_on = Shelf(60.0, 10**9), threading.Event()
    told: dict[str, Exception] = {}

    def page(result: Result, target: Path, models: Models, tell) -> None:
        while not go_on.wait(0.01):
            tell(1, 2)
        tell(1, 1)
        if "error" in told:
            raise told["error"]
        target.write_text(result.transcript.text)

    monkeypatch.setitem(making.MAKERS, "page", page)
    makings = Makings(Models("cpu", "default"), Tasks(1), shelf)
    yield makings, shelf, shelf.put(result(shelf.new_file(".mp4"))), go_on, told
    go_on.set()
    shelf.close()


def _ended(makings: Makings, name: str, again: bool = False) -> dict:
    if again:
        makings.begin(name, "page")
    while not (news := makings.news(name, "page"))["done"]:
        time.sleep(0.01)
    return news


def test_a_page_is_made_once_and_anew_when_a_word_was_corrected(bench):
    makings, shelf, name, go_on, _ = bench
    assert shelf.get(name).makes == {"page": "a.html", "film": "a.captions.mp4"}
    assert not makings.begin(name, "page")["done"]
    makings.begin(name, "page")  # asked for twice it is made once
    go_on.set()
    _ended(makings, name)
    made = shelf.get(name).made("page")
    assert made.read_text() == "bin blue bin blue"
    assert makings.begin(name, "page")["done"]
    shelf.get(name).correct(0, 0, "set")
    assert shelf.get(name).made("page") is None
    makings.begin(name, "page")
    _ended(makings, name)
    assert shelf.get(name).made("page").read_text() == "set blue bin blue"
    assert not made.exists()


def test_making_can_be_cancelled_and_fails_in_one_line_without_paths(bench):
    makings, shelf, name, go_on, told = bench
    makings.begin(name, "page")
    makings.cancel(name, "page")
    with pytest.raises(AvsrError, match="cancelled"):
        _ended(makings, name)
    go_on.set()
    told["error"] = AvsrError(f"{shelf.get(name).media}: cannot\nbe read")
    with pytest.raises(AvsrError, match=r"^a\.mp4: cannot be read$"):
        _ended(makings, name, again=True)
    told["error"] = RuntimeError("two\nlines")
    with pytest.raises(AvsrError, match="unexpected RuntimeError: two lines"):
        _ended(makings, name, again=True)
    told["error"] = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(NoRoom, match="disk of this machine is full"):
        _ended(makings, name, again=True)
    with pytest.raises(AvsrError, match="cannot be made"):
        makings.begin(name, "sculpture")


def test_what_was_cancelled_is_made_when_it_is_asked_for_again(bench):
    makings, _, name, go_on, _ = bench
    makings.begin(name, "page")
    makings.cancel(name, "page")  # by a browser that was closed then
    go_on.set()
    assert _ended(makings, name, again=True)["done"]


def test_what_gets_ready_while_it_is_asked_for_is_told_next_time(bench):
    makings, shelf, name, go_on, _ = bench
    makings.begin(name, "page")
    task, result = makings._running[name, "page"], shelf.get(name)

    def not_yet(kind: str) -> None:
        del result.made  # type: ignore[method-assign]
        go_on.set()
        assert task.wait(60)

    result.made = not_yet
    assert not makings.news(name, "page")["done"]
    assert makings.news(name, "page")["done"]


def test_what_nobody_waits_for_any_more_is_not_made(bench, monkeypatch: pytest.MonkeyPatch):
    makings, _, name, _, _ = bench
    monkeypatch.setattr(making, "ABANDONED_S", -1.0)
    with pytest.raises(AvsrError, match="cancelled"):
        _ended(makings, name, again=True)


def test_browsers_choose_among_the_models_that_are_there():
    with pytest.raises(AvsrError, match="choose one from the list"):
        Models("cpu", "default").load("command:touch found")


def test_a_model_with_an_adapter_is_listed_by_its_own_name(monkeypatch: pytest.MonkeyPatch):
    from avsr.transcribing import transcribe

    loaded = SimpleNamespace(name="default for ann")
    monkeypatch.setattr(transcribe, "load_model", lambda name, device: loaded)
    models = Models("cpu", "default?adapter=ann.safetensors")
    shown = models.choices
    assert shown[:2] == [
        ("default for ann", "default?adapter=ann.safetensors"),
        ("default", "default"),
    ]
    assert models.load(shown[0][1]) is loaded
