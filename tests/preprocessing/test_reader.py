"""A media file becomes clips: whatever is missing is marked missing, and cutting changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.preprocessing import media, mp4, reader
from avsr.preprocessing.errors import AvsrError, MediaError
from avsr.preprocessing.face_model import MODEL_NAME
from avsr.preprocessing.reader import load_clip, stream_clips


@pytest.fixture
def grid(shared: Path, monkeypatch) -> Path:
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / MODEL_NAME))
    return shared / "data" / "grid" / "s1"


def _frames(path: Path, count: int) -> list[np.ndarray]:
    return [frame for piece in media.read(path, audio=False) for frame in piece.frames][:count]


def _tone(frames: int) -> np.ndarray:
    return (0.1 * np.sin(np.arange(frames * 640) * 0.2)).astype(np.float32)


def test_a_clip_has_lips_and_sound(grid):
    clip = load_clip(grid / "bbaf2n.mp4", text="bin blue at f two now", speaker="s1")
    assert (clip.id, clip.text, clip.speaker, clip.start_s) == ("bbaf2n", "bin blue at f two now", "s1", 0.0)
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
    packets = media.Track._packets

    def lossy(track: media.Track):
        for number, packet in enumerate(packets(track)):
            if number == 40:
                track.damaged += 1
            else:
                yield packet

    monkeypatch.setattr(media.Track, "_packets", lossy)
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
