"""What was heard before a call was stopped is not asked for again, and nothing else is taken for
it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsr.base.partial import LEAST_S, Partial
from avsr.decoding.words import Hypothesis, Word
from avsr.preprocessing.clip import Clip
from avsr.transcribing.kept import remembering

LONG_S = LEAST_S + 1
SAID = [
    Word("你", 0.1, 1 / 3, 0.1 + 0.2, 0.7, letters=((0.1, 1 / 3),), source="x"),
    Word("\udcff\n", 0.5, 0.6, 1.0, 0.0, glued=True),
]


class Asked:
    """Stands for a recogniser; counts."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, clips, modality, closed):
        self.times += 1
        return [Hypothesis(f"{modality} {clip.start_s} {closed}", SAID, 0.5) for clip in clips]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "film.mp4").write_bytes(b"film")
    return tmp_path / "film.mp4"


def partial(film: Path, asked: str = "this model") -> Partial:
    return Partial.beside(film.with_suffix(".txt"), film, lambda: asked)


def clip(start_s: float = 0.0) -> Clip:
    there = np.ones(5, np.bool_)
    return Clip(
        "film", np.zeros(3200, np.float32), np.zeros((5, 96, 96), np.uint8), there, there, start_s
    )


def test_the_same_is_not_asked_twice_and_comes_out_the_same(film: Path, caplog):
    hear = Asked()
    found = remembering(hear, partial(film), LONG_S)([clip(), clip(0.2)], "av", False)
    assert not caplog.records
    again = remembering(hear, partial(film), LONG_S)([clip(), clip(0.2)], "av", False)
    assert again == found == Asked()([clip(), clip(0.2)], "av", False)
    assert again[0].words[0].letters == SAID[0].letters
    assert hear.times == 1
    assert "goes on where an earlier call was stopped" in caplog.text


def _other_lips(one: Clip) -> Clip:
    return replace(one, lips=one.lips + np.uint8(1))


@pytest.mark.parametrize(
    ("clips", "modality", "closed"),
    [
        ([clip(0.04)], "av", False),
        ([_other_lips(clip())], "av", False),
        ([replace(clip(), video_present=np.zeros(5, np.bool_))], "av", False),
        ([replace(clip(), audio=clip().audio + np.float32(0.1))], "av", False),
        ([clip(), clip()], "av", False),
        ([clip()], "audio", False),
        ([clip()], "av", True),
    ],
)
def test_anything_else_is_asked_for(film: Path, clips: list[Clip], modality: str, closed: bool):
    hear = Asked()
    remembering(hear, partial(film), LONG_S)([clip()], "av", False)
    remembering(hear, partial(film), LONG_S)(clips, modality, closed)
    assert hear.times == 2


@pytest.mark.parametrize("asked", ["another model", ""])
def test_another_recogniser_is_asked_itself(film: Path, asked: str):
    hear = Asked()
    remembering(hear, partial(film), LONG_S)([clip()], "av", False)
    remembering(hear, partial(film, asked), LONG_S)([clip()], "av", False)
    assert hear.times == 2


def test_of_a_short_recording_nothing_is_kept(film: Path):
    hear = Asked()
    assert remembering(hear, partial(film), LEAST_S) is hear
    assert remembering(hear, None, LONG_S) is hear
