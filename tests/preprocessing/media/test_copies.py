"""Copies hold what the film held, and are there whole or not at all."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.preprocessing.media import copies
from avsr.preprocessing.media.mp4 import write_video
from avsr.preprocessing.media.redrawn import redrawn
from avsr.preprocessing.media.streams import probe


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Two seconds of changing pictures with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    rng = np.random.default_rng(0)
    pictures = [np.full((48, 64, 3), 4 * i, np.uint8) for i in range(50)]
    write_video(path, pictures, rng.normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32))
    return path


def packets(path: Path) -> dict[str, list[tuple[float, bytes]]]:
    """Of each kind of stream, the time and content of its packets."""
    found: dict[str, list[tuple[float, bytes]]] = {}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                time_s = float(packet.pts * packet.time_base)
                found.setdefault(packet.stream.type, []).append((time_s, bytes(packet)))
    return found


def gap_s(path: Path) -> float:
    """How much later the sound begins than the picture."""
    found = packets(path)
    return min(found["audio"])[0] - min(found["video"])[0]


Make = Callable[[Path, Path], None]


def shift(source: Path, copy: Path) -> None:
    copies.shifted(source, copy, 0.2)


def burn(source: Path, copy: Path) -> None:
    redrawn(source, copy, lambda time_s, planes: None)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Files can be as large as this: what a full disk does to a process, for anybody who tests."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


KINDS = {
    "turned.mp4": ("-c", "copy", "-metadata:s:v:0", "rotate=90"),
    "rate.mkv": ("-vf", "select=not(eq(mod(n\\,3)\\,1))", "-vsync", "vfr", "-c:a", "copy"),
    "old.avi": ("-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3", "-ac", "2", "-ar", "44100"),
    "air.ts": ("-c", "copy"),
    "web.webm": ("-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"),
}


@pytest.mark.parametrize("sound_s", [0.4, -0.4])
@pytest.mark.parametrize("name", ["film.mp4", *KINDS])
def test_a_shifted_copy_holds_the_same_later(film, ffmpeg, tmp_path, name: str, sound_s: float):
    source = tmp_path / name
    if name in KINDS:
        command = [ffmpeg, "-v", "error", "-i", str(film), *KINDS[name], str(source)]
        subprocess.run(command, check=True)
    else:
        source.write_bytes(film.read_bytes())
    copy = tmp_path / copies.name_of_copy(source, "synced")
    copies.shifted(source, copy, sound_s)
    assert gap_s(copy) - gap_s(source) == pytest.approx(sound_s, abs=0.01)
    before, after = packets(source), packets(copy)
    assert before.keys() == after.keys()
    for kind in before:
        assert len(after[kind]) == len(before[kind])
        steps = [np.diff([time_s for time_s, _ in p[kind]]) for p in (before, after)]
        np.testing.assert_allclose(*steps, atol=0.01)
    old, new = probe(source), probe(copy)
    assert (old.width, old.height, old.rotation) == (new.width, new.height, new.rotation)
    assert sorted(os.listdir(tmp_path)) == sorted({source.name, copy.name})


def test_packets_are_not_encoded_anew(film, tmp_path):
    copies.shifted(film, tmp_path / "copy.mp4", 0.2)
    before, after = packets(film), packets(tmp_path / "copy.mp4")
    assert [data for _, data in before["video"]] == [data for _, data in after["video"]]
    assert [data for _, data in before["audio"]] == [data for _, data in after["audio"]]


def test_what_cannot_be_copied_is_one_line_and_leaves_nothing(film, ffmpeg, tmp_path):
    source = tmp_path / "raw.webm"  # is Matroska, with what no WebM may hold
    subprocess.run(
        [ffmpeg, "-v", "error", "-i", str(film), "-c", "copy", "-f", "matroska", str(source)],
        check=True,
    )
    with pytest.raises(MediaError, match=r"raw.webm: cannot be copied to copy.webm"):
        copies.shifted(source, tmp_path / "copy.webm", 0.2)
    with pytest.raises(MediaError, match="no such file"):
        copies.shifted(tmp_path / "none.mp4", tmp_path / "copy.mp4", 0.2)
    assert os.listdir(tmp_path) == ["raw.webm"]


@pytest.mark.parametrize("make", [shift, burn])
def test_a_full_disk_is_named_once_wherever_it_ends(film, tmp_path, capfd, make: Make):
    copy = tmp_path / "copy.mp4"
    make(film, copy)
    size = copy.stat().st_size
    copy.unlink()
    for room in (0, 100, size // 2, size - 1_000, size - 1):
        with at_most(room), pytest.raises(OSError, match="File too large") as failure:
            make(film, copy)
        assert failure.value.filename == str(copy)
        assert os.listdir(tmp_path) == []
    assert capfd.readouterr().err == ""  # PyAV prints what it does not raise
    make(film, copy)
    assert copy.stat().st_size == size


def test_a_film_that_was_cut_off_is_copied_up_to_there(film, ffmpeg, tmp_path):
    whole = tmp_path / "whole.mkv"
    command = [ffmpeg, "-v", "error", "-i", str(film), "-c", "copy", str(whole)]
    subprocess.run(command, check=True)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    copies.shifted(cut, tmp_path / "copy.mkv", 0.2)
    kept = packets(tmp_path / "copy.mkv")
    assert 10 < len(kept["video"]) < 45


def test_all_tracks_their_languages_and_the_title_are_copied(film, ffmpeg, tmp_path):
    words, source = tmp_path / "words.srt", tmp_path / "film.mkv"
    words.write_text("1\n00:00:00,500 --> 00:00:01,000\nhello\n")
    inputs = ["-i", str(film), "-i", str(words), "-map", "0:v", "-map", "0:a", "-map", "0:a"]
    tags = ["-metadata:s:a:1", "language=deu", "-metadata", "title=Talk"]
    command = [ffmpeg, "-v", "error", *inputs, "-map", "1", "-c", "copy", *tags, str(source)]
    subprocess.run(command, check=True)
    copies.shifted(source, tmp_path / "copy.mkv", -0.2)
    with av.open(str(tmp_path / "copy.mkv")) as copy:
        assert [stream.type for stream in copy.streams] == ["video", "audio", "audio", "subtitle"]
        assert copy.streams[2].language == "deu"
        assert copy.metadata["title"] == "Talk"
