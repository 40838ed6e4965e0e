"""The command line as a program of its own: encodings, closed pipes, full disks, signals at any
moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avsr.base.console import one_line, printable

# A command line that has one more command, quick and without a model.
SHOW = """
import sys
from avsr import cli
from avsr.cli.program import app
from avsr.base.console import failing_alone, one_line, say
from pathlib import Path
@app.command()
def show(files: list[Path]) -> None:
    for file in files:
        with failing_alone(file):
            say(f"{file}: warned")
            print(one_line(str(file)), flush=True)
sys.exit(cli.main(sys.argv[1:]))
"""


def show(*files: str, **environment: str) -> tuple[int, bytes, bytes]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LC_", "LANG"))}
    command = [sys.executable, "-c", SHOW, "show", *files]
    done = subprocess.run(
        command, capture_output=True, timeout=60, check=False, env=plain | environment
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1", "utf-8"])
def test_a_chosen_encoding_loses_no_text(encoding: str):
    status, out, err = show("你好.wav", "für.wav", PYTHONIOENCODING=encoding)
    lines = ("你好.wav", "für.wav")
    expected = [line.encode(encoding, "backslashreplace") for line in lines]
    assert (status, out.splitlines()) == (0, expected)
    assert err.splitlines() == [b"avsr: " + line + b": warned" for line in expected]


@pytest.mark.parametrize("utf8", ["0", "1"])
def test_what_is_redirected_is_utf_8_in_any_locale(utf8: str):
    status, out, err = show("你好.wav", LC_ALL="C", PYTHONCOERCECLOCALE="0", PYTHONUTF8=utf8)
    assert (status, out.decode(), err.decode()) == (0, "你好.wav\n", "avsr: 你好.wav: warned\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("transcribe", "--help"), ("models",), ("--version",)])
def test_a_full_disk_is_one_line(arguments: tuple[str, ...]):
    command = [sys.executable, "-m", "avsr", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False, text=True
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert "No space left" in done.stderr


def test_nobody_to_tell_is_no_error():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", SHOW, "show", "a"],
        stdout=subprocess.PIPE,
        stderr=write,
        timeout=60,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stdout) == (0, b"a\n")


def test_control_characters_of_a_name_are_shown_and_not_obeyed():
    assert one_line("a\x1b[31mb\r\n\tc\x9b\u202e.mp4") == r"a\x1b[31mb c\x9b\u202e.mp4"
    assert (
        printable("a  b\udce4\udcbd\udca0\udcff\ud800")
        == "a  b\udce4\udcbd\udca0\udcff\ud800".encode("unicode_escape").decode()
    )
    assert printable("你好  ä\udce4\udcbd\udca0\udcff") == r"你好  ä你\xff"
    status, out, err = show("e\x1b[2Jx.mp4", PYTHONUTF8="1")
    assert (status, out, err) == (0, b"e\\x1b[2Jx.mp4\n", b"avsr: e\\x1b[2Jx.mp4: warned\n")


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize(
    ("number", "line"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
@pytest.mark.parametrize("wait_s", [0.0, 0.1, 0.2, 0.4, 0.8])
def test_a_signal_at_any_moment_is_one_line(
    number: signal.Signals, line: str, wait_s: float, tmp_path: Path
):
    """From where the program takes signals over: before that it is Python alone that runs."""
    code = """
import signal, sys
from avsr import cli

def told(event, values):
    if event == "import" and values[0] == "avsr.cli.program":
        print("started", flush=True)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.addaudithook(told)
sys.exit(cli.main())
"""
    arguments = ["transcribe", str(tmp_path / "none.mp4"), str(tmp_path / "none.wav")]
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    running.stdout.readline()
    time.sleep(wait_s)
    running.send_signal(number)
    _, err = running.communicate(timeout=60)
    *mistakes, last = err.splitlines()
    if running.returncode == 1:  # it was done before
        mistakes.append(last)
    else:
        assert (running.returncode, last) == (128 + number, f"avsr: {line}")
    assert all("no such file" in mistake for mistake in mistakes)


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize("place", ["set_up_streams", "app", "usage", "drop_unwritten"])
def test_a_signal_before_and_after_the_command_is_one_line(place: str):
    """Where the work has not begun, or is done, nobody waits for an interrupt."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from avsr import cli\nfrom avsr.cli import program\n"
        f"program.{place} = lambda *_, **__: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(cli.main(['no such command']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    *rest, last = done.stderr.splitlines()
    assert (done.returncode, last) == (130, "avsr: interrupted")
    assert all("no such command" in line for line in rest)


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize(
    "swallow",
    [
        "exec('wait()')",
        "try: wait()\n    except BaseException: raise ImportError('libraries do that')",
        "class A:\n        def __del__(self): wait()\n    del_ = A()\n    del del_\n    "
        "time.sleep(600)",
    ],
)
def test_an_interrupt_that_a_library_swallows_ends_all_the_same(swallow: str, tmp_path: Path):
    code = (
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from avsr import cli\nfrom avsr.cli.program import app\nfrom avsr.base.console import "
        "failing_alone\n"
        "def wait() -> None:\n  print('works', flush=True)\n  time.sleep(600)\n"
        "@app.command()\ndef work() -> None:\n"
        f"  with failing_alone('a.mp4'):\n    {swallow}\n"
        "  time.sleep(600)\n"
        "sys.exit(cli.main(['work']))"
    )
    (tmp_path / "working.py").write_text(code)
    running = subprocess.Popen(
        [sys.executable, "-m", "working"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    running.stdout.readline()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert (running.returncode, err) == (130, "avsr: interrupted\n")


def test_a_current_folder_that_was_removed_is_one_line(tmp_path: Path):
    gone = tmp_path / "gone"
    gone.mkdir()
    start = f"cd '{gone}' && rmdir '{gone}' && exec '{sys.executable}' -m avsr transcribe a.mp4"
    done = subprocess.run(["sh", "-c", start], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert done.stderr == "avsr: the current folder is gone: go to another, with cd\n"
