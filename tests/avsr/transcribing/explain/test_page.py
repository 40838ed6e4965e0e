"""The page holds everything, says what cannot be shown, and runs nothing that stands in a text."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.decoding.words import Word, join
from avsr.model.layers.crossing import Crossing
from avsr.preprocessing.clip import CROP_SIZE, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.faces.mouths import Crops
from avsr.preprocessing.media.mp4 import write_video
from avsr.preprocessing.media.streams import probe
from avsr.recognisers.base import Recogniser
from avsr.transcribing.captions.colours import ramp
from avsr.transcribing.explain import gather as gathering
from avsr.transcribing.explain import page, pictures
from avsr.transcribing.explain.film import film
from avsr.transcribing.explain.gather import Material, Window, gather
from avsr.transcribing.transcript import Segment, Transcript

FRAMES = 75
WORDS = [
    Word("set", 0.2, 0.6, 0.99, 0.9),
    Word("</script><b>", 0.7, 1.2, 0.3, 0.1, source="lips"),
    Word("now", 1.4, 2.0, 0.7, 0.5),
]
SAID = Transcript(
    "talks/<i>a</i>.mp4",
    "fake",
    3.0,
    [Segment(0.2, 2.0, join(WORDS), 0.66, "Ann", 1.0, 1.0, WORDS)],
    ["no face found: audio only"],
)


def clip(seen: bool = True) -> Clip:
    rng = np.random.default_rng(0)
    present = np.ones(FRAMES, bool)
    return Clip(
        "a",
        rng.normal(0, 0.1, FRAMES * SAMPLES_PER_FRAME).astype(np.float32),
        rng.integers(0, 255, (FRAMES, CROP_SIZE, CROP_SIZE)).astype(np.uint8),
        present,
        present & seen,
    )


def material(crossed: bool = True, seen: bool = True) -> Material:
    looks = np.zeros((FRAMES, FRAMES + 1), np.float32)
    looks[np.arange(FRAMES), np.arange(FRAMES)] = 1
    found = Crossing(looks, looks, np.linspace(0, 1, FRAMES, dtype=np.float32))
    return Material([Window(clip(seen), found if crossed else None)], True, crossed, [])


def decoded(uri: str) -> np.ndarray:
    """A picture, (height, width, 3) RGB."""
    import cv2

    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def shown(written: str) -> str:
    """The text of a page, without what is not shown."""
    body = re.sub(r"<(style|script).*?</\1>", "", written, flags=re.S)
    return html.unescape(re.sub(r"<[^>]*>", "", body))


def test_the_page_needs_nothing_else_and_runs_no_text():
    written = page.to_html(SAID, material(), "data:video/mp4;base64,AAAA")
    assert not re.search(r"(src|href)=\"(?!data:|#)", written)
    assert "http://" not in written
    assert "https://" not in written
    assert "<i>a</i>" not in written
    assert "<b>" not in re.sub(r" <b>Ann:</b>", "", written)
    assert written.count("<script") == 2
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', written)
    assert [word["word"] for word in json.loads(data)["words"]] == [word.word for word in WORDS]
    for text in ("Ann:", "no face found: audio only", "fake", "</script><b>"):
        assert text in shown(written)


def test_what_each_family_can_show_is_said():
    video = "data:video/mp4;base64,AAAA"
    assert "sound looks at lips" in shown(page.to_html(SAID, material(), video))
    other = shown(page.to_html(SAID, material(crossed=False), video))
    assert "fake does not show what it looks at" in other
    assert "sound looks at lips" not in other
    alone = Material([Window(clip(seen=False), None)], False, True, ["lips moved"])
    told = shown(page.to_html(SAID, alone, "data:audio/flac;base64,AAAA"))
    assert "it needs sound and lips" in told
    assert "lips moved" in told
    assert "the first 10 minutes only" in told


def test_nothing_said_is_a_page_too():
    empty = Transcript("a.mp4", "fake", 3.0, [])
    written = shown(page.to_html(empty, material(), "data:video/mp4;base64,AAAA"))
    assert "No words were recognised" in written


def test_each_word_has_the_colour_of_its_audio_weight():
    written = page.to_html(SAID, material(), "data:video/mp4;base64,AAAA")
    for word in WORDS:
        assert f"--mix:{ramp(word.audio_weight)};--c:{word.confidence:.3f}" in written
    assert ramp(0) == "#e0861a"
    assert ramp(1) == "#3d8fd6"


def test_the_same_moment_is_in_the_middle_of_a_band():
    (drawn,) = pictures.draw(material(), every=5)
    band = decoded(drawn.of_audio).astype(int).sum(-1)
    assert band.shape == (2 * pictures.REACH + 1, FRAMES)
    assert (band.argmax(0) == pictures.REACH).all()
    later = material()
    moved = np.roll(later.windows[0].crossing.of_audio, 10, axis=1)
    crossed = replace(later.windows[0].crossing, of_audio=moved)
    later = replace(later, windows=[replace(later.windows[0], crossing=crossed)])
    (drawn,) = pictures.draw(later, every=5)
    band = decoded(drawn.of_audio).astype(int).sum(-1)
    assert (band[:, :60].argmax(0) == pictures.REACH - 10).all()  # what comes later is above


def test_crops_lie_where_the_script_looks_for_them():
    (drawn,) = pictures.draw(material(), every=5)
    sheet, strip = decoded(drawn.sheet), decoded(drawn.strip)
    assert sheet.shape[:2] == (3 * pictures.CROP, 25 * pictures.CROP)
    assert strip.shape[:2] == (pictures.CROP, 15 * pictures.CROP)
    lips = np.zeros((FRAMES, CROP_SIZE, CROP_SIZE), np.uint8)
    lips[30] = 255
    bright = Material([Window(replace(clip(), lips=lips), None)], True, False, [])
    (drawn,) = pictures.draw(bright, every=5)
    sheet = decoded(drawn.sheet)[..., 0]
    top, left = pictures.CROP, 5 * pictures.CROP
    assert sheet[top + 8 : top + 40, left + 8 : left + 40].min() > 240
    assert sheet[: pictures.CROP - 8].max() < 30


class Fake(Recogniser):
    name, sha256 = "fake", ""


def test_a_film_is_read_as_it_was_for_its_transcript(tmp_path: Path):
    sound = np.random.default_rng(0).normal(0, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
    path = tmp_path / "film.mp4"
    write_video(path, [np.full((480, 1000, 3), 4 * i, np.uint8) for i in range(60)], sound, fps=30)
    found = gather(path, SAID, Fake(), "audio")
    assert not found.network
    assert found.duration_s == pytest.approx(2.0, abs=0.1)
    uri = film(path, 60.0)
    small = tmp_path / "small.mp4"
    small.write_bytes(base64.b64decode(uri.partition(",")[2]))
    told = probe(small)
    assert (told.width, told.fps, told.has_audio) == (640, 25, True)
    assert told.duration_s == pytest.approx(2.0, abs=0.1)


def test_the_lips_are_those_of_who_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Crowd:
        """Stands for a film of two people, each with lips of one grey."""

        frames = 50

        def __init__(self, path, audio_track, partial) -> None:
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def search(self, tell) -> None:
            tell(2.0)

        def scenes(self, window_s, crops):
            mouths = {
                person: {
                    here: (np.full((96, 96), 50 * person, np.uint8), 1.0) for here in range(25)
                }
                for person in (1, 2)
            }
            for first in (0, 25):
                yield Crops(first, np.zeros(25 * 640, np.float32), np.ones(25, bool), mouths)

    path = tmp_path / "film.mp4"
    write_video(path, [np.zeros((64, 64, 3), np.uint8)] * 50, np.zeros(2 * SAMPLE_RATE, np.float32))
    monkeypatch.setattr(gathering, "Everybody", Crowd)
    turns = [(0.2, "Ann"), (0.8, "Bo"), (1.2, "off-screen"), (1.6, "Ann")]
    parts = [replace(SAID.segments[0], start_s=at, speaker=name) for at, name in turns]
    said = replace(SAID, segments=parts, faces={"Ann": 1, "Bo": 2})
    found = gather(path, said, Fake())
    lips = np.concatenate([window.clip.lips[:, 0, 0] for window in found.windows])
    assert lips.tolist() == [50] * 20 + [100] * 10 + [0] * 10 + [50] * 10
    seen = np.concatenate([window.clip.video_present for window in found.windows])
    assert (seen == (lips > 0)).all()
    html = page.to_html(said, found, "data:video/mp4;base64,")
    assert "lips of who speaks" in html
    assert re.findall(r'<span style="left:[^"]*">(\S+)</span>', html)[-4:] == [
        "Ann",
        "Bo",
        "off-screen",
        "Ann",
    ]


def test_sound_alone_is_played(tmp_path: Path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(SAMPLE_RATE, 0.1), SAMPLE_RATE)
    page.explain(path, replace(SAID, file=str(path)), Fake(), tmp_path / "a.html")
    written = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert '<audio id="player" src="data:audio/flac' in written
    assert '<canvas id="lips"' not in written
