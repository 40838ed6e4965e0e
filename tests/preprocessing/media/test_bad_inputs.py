"""What broken and hostile recordings may not do: no traceback, no hang, no memory without end, no
network, no file read or written elsewhere. One in fifteen is tried always, all of them with

    AVSR_BAD_INPUTS=all pytest -m slow tests/preprocessing/media/test_bad_inputs.py
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import av
import pytest

from avsr.base.errors import MediaError
from avsr.preprocessing.media import streams

ASR = """
class Asr:
    def recognise(self, clips, modality):
        return ["words" for _ in clips]
"""
# generous: the machine may be busy
LIMITS = ("--jobs", "2", "--timeout", "600", "--max-memory", "1500")
UNEXPECTED = re.compile(
    rb"Traceback|unexpected|took longer than|took more than|process ended|ended before"
)
EVERY = 15
PARTS = 10  # that all of them are tried in
whole = pytest.mark.skipif(
    os.environ.get("AVSR_BAD_INPUTS") != "all", reason="takes minutes: set AVSR_BAD_INPUTS=all"
)


def generator(name: str) -> ModuleType:
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    """Where playlists point to; who connects has used the network."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture(scope="module")
def inputs(listener, tmp_path_factory) -> tuple[Path, list[Path]]:
    """The folder, and what can be named."""
    root = tmp_path_factory.mktemp("bad")
    made = generator("bad_inputs").make(root, f"http://127.0.0.1:{listener.getsockname()[1]}")
    return root, made + generator("odd_inputs").make(root / "odd")


def state(root: Path) -> dict[str, tuple[int, int]]:
    """What lies in a folder, with size and time of the last change."""
    found = {}
    for below, folders, names in os.walk(root):
        for name in (*folders, *names):
            status = os.lstat(os.path.join(below, name))
            found[os.path.join(below, name)] = status.st_size, status.st_mtime_ns
    return found


def run(
    command: str, options: tuple[str, ...], paths: list[Path], here: Path
) -> tuple[int, bytes, bytes]:
    """A command in an empty folder: exit status, standard output, standard error."""
    asr = here.with_name(f"{here.name} asr")
    for folder in (here, asr):
        folder.mkdir()
    (asr / "some_asr.py").write_text(ASR)
    arguments = [sys.executable, "-m", "avsr", command, *options, "--", *map(os.fsencode, paths)]
    environment = os.environ | {"PYTHONPATH": str(asr)}
    done = subprocess.run(
        arguments, cwd=here, env=environment, stdin=subprocess.DEVNULL, capture_output=True
    )
    return done.returncode, done.stdout, done.stderr


def refuse_harm(root: Path, before: dict, here: Path, listener: socket.socket, err: bytes) -> None:
    """What holds whatever was read."""
    assert not UNEXPECTED.search(err), UNEXPECTED.findall(err)
    assert state(root) == before
    assert not list(here.iterdir())
    with pytest.raises(BlockingIOError):
        listener.accept()


def transcribed(paths: list[Path], root: Path, here: Path, listener: socket.socket) -> None:
    """Transcribes inputs."""
    before = state(root)
    options = (*LIMITS, "--model", "python:some_asr:Asr")
    status, out, err = run("transcribe", options, paths, here)
    assert status in (0, 1), err[-2000:]
    refuse_harm(root, before, here, listener, err)
    counts = re.search(rb"avsr: (\d+) done, (\d+) failed", err)
    assert counts is not None
    assert sum(map(int, counts.groups())) == len(paths)
    read = {line.split(b"\t")[0] for line in out.splitlines()}
    for group in ("lists", "others"):
        led_astray = [name for name in read if f"/{group}/".encode() in name]
        assert not led_astray


def examined(paths: list[Path], root: Path, here: Path, listener: socket.socket) -> None:
    """Lets the doctor look at inputs."""
    before = state(root)
    status, out, err = run("doctor", (*LIMITS, "--json"), paths, here)
    assert status == 1, err[-2000:]
    refuse_harm(root, before, here, listener, err)
    reports = [json.loads(line) for line in out.splitlines()]
    assert all(report["schema"] == 1 for report in reports)
    failed = [line for line in err.splitlines() if line.startswith(b"avsr: ")]
    assert len(reports) + len(failed) >= len(paths)


@pytest.mark.parametrize("look", [transcribed, examined])
def test_some_bad_inputs_do_no_harm(inputs, listener, tmp_path: Path, look):
    root, paths = inputs
    assert len(paths) >= 500
    look(paths[::EVERY], root, tmp_path / "here", listener)


@pytest.mark.slow
@whole
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("look", [transcribed, examined])
def test_all_bad_inputs_do_no_harm(inputs, listener, tmp_path: Path, look, part: int):
    root, paths = inputs
    look(paths[part::PARTS], root, tmp_path / "here", listener)


def test_a_stream_that_cannot_be_decoded_is_told_though_the_other_can(tmp_path: Path):
    whole = io.BytesIO(generator("odd_inputs").film("matroska", "mpeg4"))
    path = tmp_path / "locked.mkv"
    with av.open(whole) as found, av.open(str(path), "w") as out:
        kept = {stream.index: out.add_stream_from_template(stream) for stream in found.streams}
        for packet in found.demux():
            if packet.dts is None:
                continue
            locked = packet
            if packet.stream.type == "video":
                locked = av.Packet(bytes(byte ^ 0x5A for byte in bytes(packet)))
                locked.pts, locked.dts, locked.time_base = packet.pts, packet.dts, packet.time_base
            locked.stream = kept[packet.stream_index]
            out.mux(locked)
    with streams.open_media(path) as media:
        assert (media.info.has_video, media.info.has_audio) == (False, True)
        list(media.pieces())
        assert "cannot be decoded: it is damaged, encrypted or too large" in media.warnings[0]
        list(media.pieces(video=False))
        assert not media.warnings  # nobody asked for it


def test_a_file_of_other_streams_alone_says_so(tmp_path: Path):
    path = tmp_path / "words.mkv"
    path.write_bytes(generator("odd_inputs").subtitles())
    with pytest.raises(MediaError, match="there is only: subtitle"):
        streams.open_media(path)
