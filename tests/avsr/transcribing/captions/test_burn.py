"""Captions in the picture: there while they are shown, in their colours, and the film is else as it
was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from avsr.base.errors import MediaError
from avsr.decoding.words import Word, join
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.preprocessing.media.copies import name_of_copy
from avsr.preprocessing.media.mp4 import write_video
from avsr.transcribing.captions import burn as burning
from avsr.transcribing.captions.formats import PLAIN
from avsr.transcribing.captions.layout import Cue, Piece
from avsr.transcribing.transcript import Segment, Transcript

SURE, READ = Word("heard", 0.4, 0.9, 0.99, 1.0), Word("seen", 0.9, 1.4, 0.99, 0.0)
SIZE = (144, 192)


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Three seconds of grey with sound."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    sound = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    write_video(path, [np.full((*SIZE, 3), 90, np.uint8)] * 75, sound)
    return path


def said(words: list[Word]) -> Transcript:
    segment = Segment(words[0].start_s, words[-1].end_s, join(words), 0.9, None, 1.0, 1.0, words)
    return Transcript("film.mp4", "fake", 3.0, [segment])


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    """The time of each picture, and the picture as RGB, upright."""
    found = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            upright = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
            found.append((float(frame.pts * frame.time_base), upright.astype(int)))
    return found


def sound(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def is_written(picture: np.ndarray) -> bool:
    """Whether there is something bright in the lower half, and nothing in the upper one."""
    middle = len(picture) // 2
    assert picture[:middle].max() < 120
    return bool(picture[middle:].max() > 200)


def test_the_words_are_in_the_picture_while_their_cue_is_shown(film, tmp_path):
    target = tmp_path / "out.mp4"
    burning.burn(film, said([SURE, READ]), target, PLAIN)
    found = pictures(target)
    assert [time for time, _ in found] == [time for time, _ in pictures(film)]
    for time_s, picture in found:
        assert is_written(picture) == (0.4 <= time_s < 1.4)
    assert sound(target) == sound(film)


def test_words_have_the_colours_of_what_they_come_from():
    from PIL import ImageFont

    row = [Piece(w.word, w.start_s, w.end_s, True, w) for w in (SURE, READ)]
    drawn = burning.picture_of(Cue(0, 1, [row]), (144, 640), ImageFont.load_default(30))
    solid = drawn[drawn[..., 3] == 255][:, :3]
    assert {(255, 255, 255), (0xFF, 0xE8, 0x73)} <= set(map(tuple, solid.tolist()))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("turned.mp4", ("-c", "copy", "-metadata:s:v:0", "rotate=90")),
        ("rate.mkv", ("-vf", "select=not(eq(mod(n\\,3)\\,1))", "-vsync", "vfr", "-c:a", "copy")),
        ("odd.mkv", ("-vf", "scale=191:143", "-pix_fmt", "yuv444p", "-c:a", "copy")),
        ("old.avi", ("-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3", "-ar", "44100")),
    ],
)
def test_films_of_all_kinds_keep_their_shape_and_times(film, ffmpeg, tmp_path, name, options):
    source = tmp_path / name
    target = tmp_path / name_of_copy(source, "captions", encoded=True)
    subprocess.run([ffmpeg, "-v", "error", "-i", str(film), *options, str(source)], check=True)
    burning.burn(source, said([SURE, READ]), target, PLAIN)
    before, after = pictures(source), pictures(target)
    np.testing.assert_allclose([t for t, _ in after], [t for t, _ in before], atol=0.002)
    (old,), (new,) = ({picture.shape for _, picture in found} for found in (before, after))
    assert np.abs(np.subtract(old, new)).max() <= 1  # odd sizes lose a row
    first_s = before[0][0]
    shown = [time_s - first_s for time_s, picture in after if is_written(picture)]
    assert 0.3 < shown[0] < 0.5
    assert 1.3 < shown[-1] < 1.45


def test_a_caption_larger_than_the_picture_is_cut_and_nothing_breaks():
    row = [Piece("unbelievably long", 0, 1, True, None)]
    caption = burning.Captions([Cue(0.0, 1.0, [row, row, row])])
    planes = (
        np.zeros((32, 40), np.uint8),
        np.zeros((16, 20), np.uint8),
        np.zeros((16, 20), np.uint8),
    )
    caption(0.5, planes)
    assert planes[0].max() > 100
    caption(1.0, planes)


@pytest.mark.parametrize(
    ("text", "first"), [("ab cd", "ab"), ("\u05d0\u05d1 \u05d2\u05d3", "\u05d2\u05d3")]
)
def test_lines_of_scripts_from_right_to_left_run_so(text: str, first: str):
    row = [Piece(word, 0, 1, True, None) for word in text.split()]
    assert burning._in_order(row)[0][1].strip() == first


def test_sound_alone_has_no_picture_to_draw_into(tmp_path):
    import soundfile

    source = tmp_path / "a.wav"
    soundfile.write(source, np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    with pytest.raises(MediaError, match=r"a.wav: has no picture to draw into"):
        burning.burn(source, said([SURE]), tmp_path / "a.mkv", PLAIN)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
