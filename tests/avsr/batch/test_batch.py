"""Folders, patterns, and calls that go on where one was stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ended import until_ended

from avsr.base.processes.pool import TRIES


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings and all else that lies about in folders."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "a.mp4",
        "B.WAV",
        "notes.txt",
        "week 2/c.mkv",
        "week 2/._c.mkv",
        "week 2/a.captions.mp4",
        ".trash/gone.mp4",
    ):
        path = tmp_path / "talks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "talks" / "folder.mp4").mkdir()
    os.mkfifo(tmp_path / "talks" / "pipe.mp4")
    (tmp_path / "talks" / "circle").symlink_to(".")
    return Path("talks")


def asked(recogniser) -> list[str]:
    """The files that the recogniser was given."""
    return [Path(path).as_posix() for path, _ in recogniser.calls]


ALL = ["talks/B.WAV", "talks/a.mp4", "talks/week 2/c.mkv"]


@pytest.mark.parametrize("named", ["talks", "talks/", "talks/**/*", "tal[k]s", "talks/../talks"])
def test_a_folder_stands_for_the_recordings_in_it(avsr, recogniser, talks: Path, named: str):
    status, out, err = avsr("transcribe", named)
    assert status == 0
    assert [os.path.normpath(path) for path in asked(recogniser)] == ALL
    assert len(out.splitlines()) == 6
    assert err.startswith("avsr: 3 done; 3.0 s of media in ")


def test_a_file_that_is_named_counts_whatever_it_is_called(avsr, recogniser, talks: Path):
    assert avsr("transcribe", "talks/notes.txt", "talks/.trash/gone.mp4", "talks")[0] == 0
    assert asked(recogniser) == ["talks/notes.txt", "talks/.trash/gone.mp4", *ALL]


def test_a_file_found_twice_is_done_once(avsr, recogniser, talks: Path):
    assert avsr("transcribe", "talks/a.mp4", "talks", "talks/*.mp4", "-o", "out")[0] == 0
    assert sorted(asked(recogniser)) == sorted(ALL)


@pytest.mark.parametrize("named", ["talks/folder.mp4", "talks/*.mov", "talks/**.mp4"])
def test_nothing_found_is_a_failure_and_the_rest_is_done(avsr, recogniser, talks: Path, named):
    status, out, err = avsr("transcribe", named, "talks/a.mp4")
    assert (status, out) == (1, "talks/a.mp4\ta one\ntalks/a.mp4\ta two\n")
    assert err.startswith(f"avsr: {named}: ")
    assert "1 done, 1 failed" in err


def test_a_folder_that_holds_nothing_is_told_once_however_often_it_is_named(
    avsr, recogniser, talks
):
    Path("nothing").mkdir()
    err = avsr("transcribe", "nothing", "nothing", "talks/a.mp4")[2]
    assert err.count("avsr: nothing: ") == 1
    assert "1 done, 1 failed" in err


def test_brackets_in_a_name_are_no_pattern(avsr, recogniser, talks: Path):
    Path("a[1].mp4").write_bytes(b"x")
    assert avsr("transcribe", "a[1].mp4") == (0, "a[1] one\na[1] two\n", "")


def test_keep_tree_writes_into_folders_like_those_of_the_recordings(avsr, recogniser, talks: Path):
    (talks / "week 3").mkdir()
    (talks / "week 3" / "c.mkv").write_bytes(b"x")
    status, _, err = avsr("transcribe", "talks", "-o", "out")
    assert status == 2
    assert "--keep-tree" in err
    assert avsr("transcribe", "talks", "-o", "out", "--keep-tree")[0] == 0
    written = sorted(path.as_posix() for path in Path("out").rglob("*.txt"))
    assert written == ["out/B.txt", "out/a.txt", "out/week 2/c.txt", "out/week 3/c.txt"]


def test_skip_existing_goes_on_where_a_call_was_stopped(avsr, recogniser, talks: Path):
    (talks / "a.mp4").rename(talks / "stop.mp4")  # comes last in its folder
    command = ("transcribe", "talks", "-o", "out", "-f", "all", "--skip-existing")
    assert avsr(*command)[0] == 130
    Path("out/B.srt").unlink()  # killed between two files of one recording
    (talks / "stop.mp4").rename(talks / "start.mp4")
    recogniser.calls.clear()
    assert avsr(*command)[0] == 0
    assert asked(recogniser) == ["talks/B.WAV", "talks/start.mp4", "talks/week 2/c.mkv"]
    recogniser.calls.clear()
    recogniser.loaded.clear()
    Path("out/B.txt").write_text("corrected by hand")
    assert avsr(*command) == (0, "", "avsr: 3 skipped\n")
    assert recogniser.loaded == []
    assert Path("out/B.txt").read_text() == "corrected by hand"


def test_skip_existing_goes_on_with_pages_that_were_not_made(avsr, recogniser, talks: Path):
    assert avsr("transcribe", "talks", "-o", "out")[0] == 0
    recogniser.calls.clear()
    Path("pages/week 2").mkdir(parents=True)
    for made in ("pages/a.html", "pages/week 2/c.html"):
        Path(made).touch()
    command = ("transcribe", "talks", "-o", "out", "--keep-tree", "--skip-existing")
    Path("out/week 2").mkdir()
    Path("out/c.txt").rename("out/week 2/c.txt")
    Path("out/B.txt").write_text("corrected by hand")
    _, _, err = avsr(*command, "--explain", "pages")
    assert asked(recogniser) == ["talks/B.WAV"]
    assert Path("out/B.txt").read_text() == "corrected by hand"
    assert "talks/B.WAV: its transcript was there and stays as it is" in err


@pytest.mark.parametrize("many", [[], ["talks/B.WAV"]])
def test_a_page_that_fails_takes_no_text_along(avsr, recogniser, talks: Path, many: list[str]):
    status, out, err = avsr("transcribe", "talks/a.mp4", *many, "--explain", "pages")
    name = "talks/a.mp4\t" if many else ""
    assert status == 1
    assert out.startswith(f"{name}a one\n{name}a two\n")
    assert err.startswith("avsr: talks/a.mp4: ")


def test_a_place_where_no_page_can_be_written_is_told_before_work(avsr, recogniser, talks: Path):
    Path("pages").touch()
    status, out, err = avsr("transcribe", "talks", "--explain", "pages")
    assert (status, out) == (1, "")
    assert err.startswith("avsr: pages: cannot be written to (")
    assert recogniser.loaded == []


@pytest.mark.parametrize("option", ["--skip-existing", "--keep-tree"])
def test_options_about_outputs_need_a_folder(avsr, recogniser, talks: Path, option: str):
    status, out, err = avsr("transcribe", "talks", option)
    assert (status, out) == (2, "")
    assert f"{option} needs a folder" in err
    assert recogniser.loaded == []


def test_what_avsr_wrote_beside_the_recordings_is_no_recording(avsr, recogniser, talks: Path):
    from avsr.base import outputs

    outputs.write(talks / "page.mp4", [b"made by avsr"])
    assert avsr("transcribe", "talks", "-o", "talks")[0] == 0
    assert asked(recogniser) == ALL


# ---- in processes of their own

ASR = """
import os, time

class Asr:
    def recognise(self, clips, modality):
        for clip in clips:
            if clip.id == "crash":
                os.abort()
            if clip.id == "hang":
                time.sleep(600)
            if clip.id == "bug":
                raise RuntimeError("two\\nlines")
        return [f"{clip.id} said" for clip in clips]
"""


@pytest.fixture
def tones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings of a voice, and a recogniser that some of them are too much for."""
    import numpy as np
    import soundfile

    from avsr.preprocessing.synthetic.voice import speak

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "some_asr.py").write_text(ASR)
    (tmp_path / "tones").mkdir()
    sound = speak("set red at b two now", np.random.default_rng(0), engine="formant").audio
    for name in ("a", "bug", "crash", "z"):
        soundfile.write(tmp_path / "tones" / f"{name}.wav", sound, 16000)
    return Path("tones")


def test_in_processes_no_file_stops_the_rest(avsr, tones: Path):
    options = ("--model", "python:some_asr:Asr", "--jobs", "2", "--modality", "audio")
    status, out, err = avsr("transcribe", tones, *options)
    assert status == 1
    assert out == "tones/a.wav\ta said\ntones/z.wav\tz said\n"  # in the order of the files
    told = err.splitlines()
    assert told[0].startswith("avsr: tones/bug.wav: ")
    assert told[1].startswith("avsr: tones/crash.wav: its process ended (SIGABRT")
    assert told[2].startswith("avsr: 2 done, 2 failed; ")
    assert "Traceback" not in err


def test_what_hangs_is_stopped(avsr, tones: Path):
    (tones / "a.wav").rename("hang.wav")
    options = ("--model", "python:some_asr:Asr", "-o", "out", "--timeout", "2")
    status, out, err = avsr("transcribe", "hang.wav", *options)
    assert (status, out) == (1, "")
    assert err == "avsr: hang.wav: took longer than 2 s, and was stopped: allow more\n"
    assert not list(Path("out").iterdir())


def test_in_processes_outputs_are_those_of_one(avsr, tones: Path):
    for name in ("bug", "crash"):
        (tones / f"{name}.wav").unlink()
    options = ("--model", "python:some_asr:Asr", "-f", "all", "-o")
    assert avsr("transcribe", tones, *options, "one")[:2] == (0, "")
    assert avsr("transcribe", tones, *options, "two", "--jobs", "2")[:2] == (0, "")
    one, two = (
        {path.name: path.read_text() for path in Path(out).iterdir()} for out in ("one", "two")
    )
    assert one == two
    assert len(one) == 12


def test_a_model_that_is_not_there_is_one_line_in_processes_too(avsr, tones: Path):
    alone = avsr("transcribe", tones, "--model", "none.safetensors")
    assert alone[0] == 1
    assert avsr("transcribe", tones, "--model", "none.safetensors", "--jobs", "2") == alone


@pytest.mark.slow
def test_by_actors_it_is_as_in_processes(
    avsr, tones: Path, monkeypatch: pytest.MonkeyPatch, skip_where_ray_did_not_start
):
    pytest.importorskip("ray", reason="needs the extra cluster")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = ("--model", "python:some_asr:Asr", "-f", "all", "-o")
    status, out, err = avsr("transcribe", tones, *options, "two", "--engine", "ray", "--jobs", "2")
    skip_where_ray_did_not_start(err)
    assert (status, out) == (1, "")
    assert f"avsr: tones/crash.wav: the process died over it {TRIES} times" in err
    assert "avsr: tones/bug.wav: " in err
    assert "avsr: 2 done, 2 failed; " in err
    for name in ("bug", "crash"):
        (tones / f"{name}.wav").unlink()
    assert avsr("transcribe", tones, *options, "one")[0] == 0
    one, two = (
        {path.name: path.read_text() for path in Path(name).iterdir()} for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 12


def test_limits_are_for_processes_alone(avsr, tones: Path):
    status, _, err = avsr("transcribe", tones, "--engine", "ray", "--timeout", "2")
    assert status == 2
    assert "actors of Ray know no limits" in err


@pytest.mark.slow
def test_after_a_kill_the_next_call_goes_on(avsr, tones: Path):
    for name in ("bug", "crash"):
        (tones / f"{name}.wav").unlink()
    command = ("transcribe", str(tones), "--model", "python:some_asr:Asr", "--jobs", "2", "-o")
    assert avsr(*command, "whole")[0] == 0
    whole = {path.name: path.read_text() for path in Path("whole").iterdir()}
    process = subprocess.Popen([sys.executable, "-m", "avsr", *command, "killed"])
    while not list(Path("killed").glob("*.txt")) and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    there = [path.name for path in Path("killed").glob("*.txt")]
    assert there
    status, _, err = avsr(*command, "killed", "--skip-existing")
    assert status == 0
    skipped = re.search(r"(\d+) skipped", err)
    # one may have been written after it was looked for
    assert skipped
    assert int(skipped[1]) >= len(there)
    assert {path.name: path.read_text() for path in Path("killed").glob("*.txt")} == whole


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize("where", [(), ("--jobs", "2")], ids=["threads", "processes"])
def test_ctrl_c_ends_the_programs_that_recognise_too(tones: Path, where: tuple[str, ...]):
    """They work in threads and processes that hear nothing of it."""
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from avsr import cli; sys.exit(cli.main())"
    )
    program = "command:sh -c 'echo $$ > tones/$$.pid; exec sleep 600' sh {wav}"
    command = [sys.executable, "-c", code, "transcribe", str(tones), "--model", program]
    run = subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True)

    def begun() -> list[int]:
        return [int(text) for path in tones.glob("*.pid") if (text := path.read_text())]

    while not begun():
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=120)
    assert (run.returncode, err) == (130, "avsr: interrupted\n")
    until_ended(begun())


# ---- one long recording, stopped in the middle of it

COUNTED = """
import os, signal
from pathlib import Path

class Asr:
    def recognise(self, clips, modality):
        asked = [*Path("asked").read_text().splitlines(), *(f"{c.start_s:.0f}" for c in clips)]
        if len(asked) > int(os.environ["MOST"]):
            if os.environ["HOW"] == "interrupt":
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGKILL)
        Path("asked").write_text("\\n".join(asked))
        return [f"at {clip.start_s:.2f} for {clip.duration_s:.2f}" for clip in clips]

class Other(Asr):
    pass
"""
SAID, SAID_S = 6, 11  # times, and seconds from one time to the next


@pytest.fixture
def lecture(tones: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording of over a minute, and a recogniser that counts, and can be stopped."""
    import numpy as np
    import soundfile

    sound, rate = soundfile.read(tones / "a.wav")
    once = np.pad(sound, (0, SAID_S * rate - len(sound)))
    soundfile.write("lecture.wav", np.tile(once, SAID), rate)
    Path("counted_asr.py").write_text(COUNTED)
    monkeypatch.delitem(sys.modules, "counted_asr", raising=False)
    monkeypatch.setenv("HOW", "interrupt")
    monkeypatch.setenv("MOST", "0")  # _stopped sets it; this takes it away afterwards
    return Path("lecture.wav")


def _stopped(
    avsr, lecture: Path, most: int, out: str, *more: object, asr: str = "Asr"
) -> tuple[int, int]:
    """Transcribes until the recogniser was asked so often; exit status, and how often it was."""
    os.environ["MOST"] = str(most)
    Path("asked").write_text("")
    model = ("--model", f"python:counted_asr:{asr}")
    status = avsr("transcribe", lecture, *model, "-o", out, "-f", "json", *more)[0]
    return status, len(Path("asked").read_text().splitlines())


@pytest.mark.parametrize("stops", [[1], [2, 2], [4, 1, 0]])
def test_within_a_long_recording_it_goes_on_where_it_was_stopped(avsr, lecture: Path, stops):
    assert _stopped(avsr, lecture, 99, "whole") == (0, SAID)
    for stop in stops:
        assert _stopped(avsr, lecture, stop, "out")[0] == 130
        assert [path.name for path in Path("out").iterdir()] == [".lecture.wav.partial.jsonl"]
    assert _stopped(avsr, lecture, 99, "out", "--skip-existing") == (0, SAID - sum(stops))
    assert [path.name for path in Path("out").iterdir()] == ["lecture.json"]
    assert Path("out/lecture.json").read_bytes() == Path("whole/lecture.json").read_bytes()


def test_what_was_kept_serves_the_same_recording_and_recogniser_alone(avsr, lecture: Path):
    assert _stopped(avsr, lecture, 3, "out")[0] == 130
    assert _stopped(avsr, lecture, 1, "out", asr="Other") == (130, 1)
    lecture.write_bytes(lecture.read_bytes() + b"x")
    assert _stopped(avsr, lecture, 99, "out") == (0, SAID)


def test_a_page_that_was_not_made_goes_on_with_what_was_kept_too(avsr, lecture: Path):
    assert _stopped(avsr, lecture, 3, "out")[0] == 130
    Path("out/lecture.json").write_text("corrected by hand")
    more = ("--skip-existing", "--explain", "pages")
    assert _stopped(avsr, lecture, 99, "out", *more) == (0, SAID - 3)
    assert [path.name for path in Path("out").iterdir()] == ["lecture.json"]
    assert Path("out/lecture.json").read_text() == "corrected by hand"
    assert Path("pages/lecture.html").is_file()


def _raises(error: Exception):
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def test_what_was_kept_goes_where_nothing_can_be_used(avsr, lecture: Path, monkeypatch):
    from avsr.base.errors import MediaError

    monkeypatch.setattr("avsr.transcribing.engine.written", _raises(MediaError("no sound")))
    assert _stopped(avsr, lecture, 99, "out") == (1, SAID)
    assert not list(Path("out").iterdir())


def test_so_it_does_in_a_process_of_its_own(avsr, lecture: Path, monkeypatch):
    from avsr.base.errors import MediaError
    from avsr.batch.asked import Asked
    from avsr.batch.children import prepare
    from avsr.batch.delivery import Delivery

    assert _stopped(avsr, lecture, 3, "out")[0] == 130
    monkeypatch.setenv("MOST", "99")
    asked = Asked(model="python:counted_asr:Asr")
    folders = {lecture: Path("out")}
    finish = Delivery([], {}, None, [], False, lambda file: [], lambda *_: None, folders)
    monkeypatch.setattr("avsr.transcribing.engine.written", _raises(MediaError("no sound")))
    with pytest.raises(MediaError):
        prepare(asked, finish)(lecture, lambda at: None)
    assert not list(Path("out").iterdir())


def _full() -> Exception:
    from avsr.base.errors import MediaError

    error = MediaError("cannot be copied")
    error.__cause__ = OSError("disk full")
    return error


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (None, 0),
        (IndexError("a fault of the program"), 0),
        (_full(), 1),
        (RuntimeError("no memory"), 1),
        (OSError("disk full"), 1),
    ],
)
def test_what_was_kept_stays_for_a_page_that_may_be_made_another_time(
    avsr, lecture: Path, monkeypatch, error, left
):
    from avsr.base.errors import MediaError

    failing = _raises(error or MediaError("no picture"))
    monkeypatch.setattr("avsr.transcribing.explain.page.explain", failing)
    assert _stopped(avsr, lecture, 99, "out", "--explain", "pages") == (1, SAID)
    assert len(list(Path("out").glob(".*.partial.jsonl"))) == left
    assert Path("out/lecture.json").is_file()


@pytest.mark.slow
def test_within_a_long_recording_it_goes_on_after_its_process_was_killed(
    avsr, lecture: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOW", "kill")
    assert _stopped(avsr, lecture, 99, "whole") == (0, SAID)
    assert _stopped(avsr, lecture, 2, "out", "--jobs", "1") == (1, 2)
    assert _stopped(avsr, lecture, 99, "out", "--skip-existing") == (0, SAID - 2)
    assert Path("out/lecture.json").read_bytes() == Path("whole/lecture.json").read_bytes()
