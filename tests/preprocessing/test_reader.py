"""A media file becomes clips: whatever is missing is marked missing, and cutting changes
nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError, MediaError
from avsr.preprocessing import reader
from avsr.preprocessing.faces.face_model import MODEL_NAME
from avsr.preprocessing.media import container, mp4, streams
from avsr.preprocessing.media.streams import Piece
from avsr.preprocessing.reader import ClipReader, OtherFace, load_clip, stream_clips


@pytest.fixture
def grid(shared: Path, monkeypatch) -> Path:
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / MODEL_NAME))
    return shared / "data" / "grid" / "s1"


def _frames(path: Path, count: int) -> list[np.ndarray]:
    return [frame for piece in streams.read(path, audio=False) for frame in piece.frames][:count]


def _tone(frames: int) -> np.ndarray:
    return (0.1 * np.sin(np.arange(frames * 640) * 0.2)).astype(np.float32)


def test_a_clip_has_lips_and_sound(grid):
    clip = load_clip(grid / "bbaf2n.mp4", text="bin blue at f two now", speaker="s1")
    assert (clip.id, clip.text, clip.speaker, clip.start_s) == (
        "bbaf2n",
        "bin blue at f two now",
        "s1",
        0.0,
    )
    assert clip.frames == 75
    assert clip.video_present.all()
    assert clip.audio_present.all()
    assert np.abs(clip.audio).max() > 0.05
    assert clip.lips[:, 40:56, 30:66].std() > 10  # lips, not a grey patch
    assert clip.quality == pytest.approx(np.full(75, 0.84), abs=0.1)


def test_cutting_into_windows_and_pieces_changes_nothing(grid, monkeypatch):
    path = grid / "lwbz4n.mp4"
    whole = load_clip(path)
    monkeypatch.setattr(reader, "PIECE_FRAMES", 7)
    parts = list(stream_clips(path, window_s=0.4))
    assert [part.frames for part in parts] == [10] * 7 + [5]
    assert [part.start_s for part in parts] == pytest.approx([0.4 * i for i in range(8)])
    for name in ("audio", "lips", "audio_present", "video_present", "quality"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_array_equal(joined, getattr(whole, name), err_msg=name)


def test_a_file_that_is_too_long_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "long.wav", np.zeros(3 * 16000, np.float32), 16000)
    monkeypatch.setattr(ClipReader, "__iter__", lambda _: pytest.fail("was read"))
    with pytest.raises(MediaError, match="3 s long, at most 2 s: cut it into utterances"):
        load_clip(tmp_path / "long.wav", longest_s=2)


def test_windows_longer_than_pieces(grid, monkeypatch):
    monkeypatch.setattr(reader, "PIECE_FRAMES", 7)
    done_s: list[float] = []
    parts = list(stream_clips(grid / "lwbz4n.mp4", window_s=1, progress=done_s.append))
    assert [part.frames for part in parts] == [25, 25, 25]
    assert done_s == sorted(done_s)
    assert done_s[-1] == 3.0


def test_the_damaged_beginning_of_a_real_clip_is_absent(grid):
    clip = load_clip(grid / "pbwx1s.mp4")  # grey for its first eleven frames
    assert not clip.video_present[:8].any()
    assert clip.video_present[13:].all()
    assert not clip.lips[~clip.video_present].any()
    assert not clip.quality[~clip.video_present].any()
    assert clip.audio_present.all()


def test_damage_is_told_once_though_the_pictures_are_read_twice(grid, monkeypatch, caplog):
    hand = container.PacketReader.hand

    def lossy(reader: container.PacketReader, packet: object) -> None:
        if reader._handed == 40 and not reader.failures:
            reader.failures += 1
        else:
            hand(reader, packet)

    monkeypatch.setattr(container.PacketReader, "hand", lossy)
    load_clip(grid / "bbaf2n.mp4")
    told = [record.getMessage().partition(": ")[2] for record in caplog.records]
    assert told == ["skipped 1 damaged video packets", "skipped 1 damaged audio packets"]


def test_a_face_that_leaves_is_absent_from_then_on(grid, tmp_path):
    frames = _frames(grid / "bbaf2n.mp4", 12)
    mp4.write_video(tmp_path / "leaves.mp4", frames + [np.full_like(frames[0], 90)] * 12, _tone(24))
    clip = load_clip(tmp_path / "leaves.mp4")
    assert clip.video_present.tolist() == [True] * 12 + [False] * 12
    assert clip.audio_present[:24].all()


def test_sound_alone(tmp_path):
    soundfile.write(tmp_path / "tone.wav", _tone(20), 16_000)
    clip = load_clip(tmp_path / "tone.wav")
    assert clip.frames == 20
    assert clip.audio_present.all()
    assert not clip.video_present.any()
    assert not clip.lips.any()


def test_a_picture_without_a_face_serves_its_sound(grid, tmp_path):
    mp4.write_video(tmp_path / "wall.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 10, _tone(10))
    clip = load_clip(tmp_path / "wall.mp4")
    assert clip.frames >= 10
    assert clip.audio_present[:10].all()
    assert not clip.video_present.any()


def test_a_silent_film_serves_its_lips(grid, tmp_path):
    mp4.write_video(tmp_path / "silent.mp4", _frames(grid / "bbaf2n.mp4", 10))
    clip = load_clip(tmp_path / "silent.mp4")
    assert clip.video_present.all()
    assert not clip.audio_present.any()
    assert not clip.audio.any()


def test_one_modality_on_request(grid):
    heard = load_clip(grid / "bbaf2n.mp4", video=False)
    seen = load_clip(grid / "bbaf2n.mp4", audio=False)
    assert heard.frames == seen.frames == 75
    assert heard.audio_present.all()
    assert not heard.video_present.any()
    assert seen.video_present.all()
    assert not seen.audio_present.any()


def test_neither_face_nor_sound(grid, tmp_path):
    mp4.write_video(tmp_path / "wall.mp4", [np.full((120, 160, 3), 90, np.uint8)] * 10)
    with pytest.raises(MediaError, match=r"wall.mp4: neither face nor sound"):
        load_clip(tmp_path / "wall.mp4")
    with pytest.raises(MediaError, match="neither face nor sound"):
        list(stream_clips(tmp_path / "wall.mp4", window_s=0.2))


def test_mistakes_get_one_line(grid, tmp_path):
    with pytest.raises(MediaError):
        load_clip(tmp_path / "missing.mp4")
    with pytest.raises(AvsrError, match="window 0"):
        list(stream_clips(grid / "bbaf2n.mp4", window_s=0))
    with pytest.raises(AvsrError, match="face 'first'"):
        load_clip(grid / "bbaf2n.mp4", face="first")
    soundfile.write(tmp_path / "tone.wav", _tone(5), 16_000)
    with pytest.raises(MediaError, match="no face that can be read"):
        load_clip(tmp_path / "tone.wav", audio=False)


def _shots(path: Path, *shots: list[np.ndarray]) -> Path:
    """A film of shots of 360 x 288, each a list of frames."""
    frames = [np.ascontiguousarray(frame) for shot in shots for frame in shot]
    mp4.write_video(path, frames, _tone(len(frames)))
    return path


def _closer(frames: list[np.ndarray], times: float) -> list[np.ndarray]:
    large = [
        cv2.resize(frame, None, fx=times, fy=times, interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    top, left = round((times - 1) * 200), round((times - 1) * 160)
    return [frame[top : top + 288, left : left + 360] for frame in large]


def _smaller(frames: list[np.ndarray], times: float) -> list[np.ndarray]:
    found = []
    for frame in frames:
        small = cv2.resize(frame, None, fx=times, fy=times, interpolation=cv2.INTER_AREA)
        found.append(np.full_like(frame, 90))
        found[-1][: small.shape[0], -small.shape[1] :] = small
    return found


def _arrays(clips: list) -> list[np.ndarray]:
    names = ("audio", "lips", "audio_present", "video_present", "quality")
    return [np.concatenate([getattr(clip, name) for clip in clips]) for name in names]


def test_one_person_over_camera_cuts_keeps_her_lips(grid, tmp_path):
    one, two, three = (_frames(grid / f"{name}.mp4", 40) for name in ("bbaf2n", "lwbz4n", "bbaf4p"))
    for middle in (_closer(two, 1.9), _smaller(two, 0.7), [frame[:, ::-1] for frame in two]):
        path = _shots(tmp_path / "cuts.mp4", one, middle, three)
        with ClipReader(path, window_s=1.0) as reader:
            _only_once(reader)
            lips = _arrays(list(reader))[1]
            assert reader.remarks == []
        # a look or two is lost where the camera cuts
        assert (lips.std(axis=(1, 2)) > 5).sum() >= 117


def test_a_stranger_in_another_shot_is_not_taken_for_her(grid, tmp_path):
    her, him = (
        _frames(grid / "bbaf2n.mp4", 60),
        grid.parents[1] / "grid-others" / "s26" / "bwaq8s.mp4",
    )
    path = _shots(tmp_path / "interview.mp4", her, _frames(him, 40), her[:20])
    with ClipReader(path, window_s=1.0) as reader:
        _only_once(reader)
        present = _arrays(list(reader))[3]
        who, lost = reader.remarks
    assert present[:58].all()
    assert not present[62:98].any()
    assert present[104:].all()
    assert who.startswith("2 faces found: 0 (middle")
    assert lost.startswith("no lips to read for 1.6 of 4.8 s: 2.4-4.0 s")
    with ClipReader(path, window_s=1.0, face=1) as reader:
        assert not _arrays(list(reader))[3][:58].any()
    with pytest.raises(AvsrError, match="face 5: there is no such face; 2 faces found: 0 "):
        load_clip(path, face=5)


def _only_once(reader: ClipReader) -> None:
    """A second pass over the file is an error from now on."""
    pieces = iter([reader.media.pieces])
    reader.media.pieces = lambda **options: next(pieces)(**options)  # type: ignore[method-assign]


def test_clips_that_are_handed_out_early_are_those_of_the_whole_file(grid, tmp_path):
    her, him = (
        _frames(grid / "bbaf2n.mp4", 60),
        grid.parents[1] / "grid-others" / "s26" / "bwaq8s.mp4",
    )
    gap = [np.full_like(her[0], 90)] * 30
    for path in (
        grid / "lwbz4n.mp4",
        _shots(tmp_path / "x.mp4", her, gap, her[:20], _frames(him, 50)),
    ):
        certain = _arrays(list(stream_clips(path, window_s=0.4)))
        with ClipReader(path, window_s=0.4) as reader:
            _only_once(reader)
            for ours, reference in zip(_arrays(list(reader)), certain, strict=True):
                np.testing.assert_array_equal(ours, reference)
    path = _shots(tmp_path / "late.mp4", 2 * _smaller(her, 0.6), 2 * _closer(_frames(him, 70), 1.3))
    with ClipReader(path, window_s=0.4) as reader:
        with pytest.raises(OtherFace):
            list(reader)
        again = _arrays(list(reader))
        assert reader.remarks
    for ours, reference in zip(again, _arrays(list(stream_clips(path, window_s=0.4))), strict=True):
        np.testing.assert_array_equal(ours, reference)
    assert not again[3][:118].any()
    for ours, reference in zip(again, _arrays([load_clip(path)]), strict=True):
        np.testing.assert_array_equal(ours, reference)


def test_a_reader_that_is_left_early_ends_its_thread(grid):
    before = set(threading.enumerate())
    with ClipReader(grid / "bbaf2n.mp4", window_s=0.4) as reader:
        clips = iter(reader)
        next(clips)
        clips.close()
    assert set(threading.enumerate()) <= before


def test_a_reader_that_is_left_before_the_first_clip_searches_no_further(grid, monkeypatch):
    searched_to_the_end: list[bool] = []

    def pieces(**_: object) -> Iterator[Piece]:
        for first in range(0, 480_000, 8):  # hours in which nobody leads, a minute to search
            time.sleep(0.001)
            sound = np.zeros(8 * 640, np.float32), np.zeros(8, np.bool_)
            yield Piece(first, [None] * 8, *sound)
        searched_to_the_end.append(True)

    film = ClipReader(grid / "bbaf2n.mp4", guess=False)
    monkeypatch.setattr(film.media, "pieces", pieces)
    film.begin()
    film.close()
    assert not searched_to_the_end


def test_what_began_early_is_the_same_and_is_closed(grid):
    before = set(threading.enumerate())
    with ClipReader(grid / "lwbz4n.mp4") as reader:
        reader.begin()
        reader.set_window(0.4)
        clips = list(reader)
    for ours, reference in zip(
        _arrays(clips), _arrays([load_clip(grid / "lwbz4n.mp4")]), strict=True
    ):
        np.testing.assert_array_equal(ours, reference)
    with ClipReader(grid / "lwbz4n.mp4") as reader:
        reader.begin()
    assert set(threading.enumerate()) <= before


def test_a_film_without_faces_is_not_held_back(grid, tmp_path):
    wall = [np.full((120, 160, 3), 90, np.uint8)] * 300
    mp4.write_video(tmp_path / "wall.mp4", wall, _tone(300))
    with ClipReader(tmp_path / "wall.mp4", window_s=1.0) as reader:
        parts = reader._search()
        assert next(parts).start_s == 0.0
        assert reader._searched < 100
        parts.close()
        assert [clip.frames for clip in reader][:2] == [25, 25]
