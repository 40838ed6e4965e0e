"""Sound and pictures that come by themselves: one clock, whatever lags behind."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from avsr.base.errors import MediaError
from avsr.preprocessing.clip import FPS, SAMPLE_RATE
from avsr.preprocessing.media.arriving import (
    MOST_AT_ONCE,
    Arriving,
    Inbox,
    _Event,
    _Streams,
    open_device,
    stream,
)
from avsr.preprocessing.media.streams import Piece
from avsr.preprocessing.media.ticks import Picture


def sound(start_s: float, seconds: float) -> _Event:
    return _Event("audio", start_s, np.full(round(seconds * SAMPLE_RATE), 0.5, np.float32))


def picture(start_s: float, grey: int = 0) -> _Event:
    return _Event("video", start_s, Picture.of_rgb(np.full((4, 4, 3), grey, np.uint8)))


def given(kinds: list[str], events: list[_Event]) -> list[Piece]:
    streams, pieces = _Streams(kinds), []
    for event in events:
        streams.add(event)
        pieces += streams.ready()
    return pieces


def test_sound_waits_for_its_picture():
    pieces = given(["video", "audio"], [picture(0.0, 7), sound(0.0, 0.4), picture(0.2, 9)])
    assert [len(piece) for piece in pieces] == [1, 5]
    shown = [p.rgb()[0, 0, 0] for piece in pieces for p in piece.pictures if p is not None]
    assert shown == [7, 7, 7, 7, 7, 9]
    assert all(piece.audio_present.all() for piece in pieces)


def test_a_camera_that_stops_does_not_stop_the_captions():
    events = [picture(0.0), *(sound(0.2 * n, 0.2) for n in range(20))]
    pieces = given(["video", "audio"], events)
    assert sum(map(len, pieces)) >= 3.4 * FPS
    seen = [p is not None for piece in pieces for p in piece.pictures]
    assert not any(seen[-5:])  # a picture of two seconds ago is none


def test_lost_sound_is_absent_and_what_follows_is_in_its_place():
    pieces = given(["audio"], [sound(10.0, 0.4), sound(11.0, 0.4)])
    present = np.concatenate([piece.audio_present for piece in pieces])
    assert len(present) == 35
    assert present[:10].all()
    assert not present[10:25].any()
    assert present[25:].all()


def test_a_stream_that_has_ended_holds_nobody_up():
    pieces = given(["video", "audio"], [_Event("video", 0.0, None), sound(0.0, 1.0)])
    assert sum(map(len, pieces)) == 25


@pytest.mark.parametrize("chunk", [700, 50_000])
def test_webm_is_decoded_while_it_is_written(chunk: int, tmp_path: Path, ffmpeg: str):
    path = tmp_path / "a.webm"
    picture = ["-f", "lavfi", "-i", "testsrc=size=160x120:rate=30:duration=2"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=300:duration=2"]
    coded = ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libopus"]
    subprocess.run([ffmpeg, "-v", "error", *picture, *tone, *coded, str(path)], check=True)
    inbox, data = Inbox(), path.read_bytes()

    def write() -> None:
        for begin in range(0, len(data), chunk):
            inbox.write(data[begin : begin + chunk])
        inbox.finish()

    threading.Thread(target=write).start()
    with stream(inbox) as source:
        pieces = list(source)
    frames = sum(map(len, pieces))
    assert abs(frames - 2 * FPS) <= 1
    assert sum(piece.audio_present.sum() for piece in pieces) >= frames - 2
    assert sum(p is not None for piece in pieces for p in piece.pictures) >= frames - 1


def test_bytes_that_are_no_media_end_in_one_line():
    inbox = Inbox()
    inbox.write(b"nothing of the kind" * 100)
    inbox.finish()
    with stream(inbox) as source, pytest.raises(MediaError, match="cannot be read as media"):
        list(source)


def test_a_device_that_is_not_there_ends_in_one_line():
    with pytest.raises(MediaError, match="camera /dev/none-such: cannot be opened"):
        open_device("video", "/dev/none-such")


def test_what_is_written_waits_as_bytes_until_somebody_looks(tmp_path: Path, ffmpeg: str):
    path, frames = tmp_path / "a.mkv", 4000
    made = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", "testsrc=size=64x48:rate=25"]
    subprocess.run([*made, "-frames:v", str(frames), "-c:v", "mpeg4", str(path)], check=True)
    inbox = Inbox()
    inbox.write(path.read_bytes())
    inbox.finish()
    with stream(inbox) as arriving:
        pieces = iter(arriving)
        assert next(pieces).first_frame == 0
        time.sleep(0.3)  # nobody looks meanwhile
        assert inbox.waiting > 0
    assert not any(thread.is_alive() for thread in _ended(arriving))


def _ended(arriving: Arriving) -> list[threading.Thread]:
    for thread in arriving._threads:
        thread.join(10)
    return arriving._threads


def test_a_clock_that_stands_still_ends_in_one_line():
    events = [picture(0.0)] * (MOST_AT_ONCE + 2)
    with pytest.raises(MediaError, match="clock stands still"):
        given(["video"], events)
