"""Two voices at once are told from one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

import avsr
from avsr.model import checkpoint
from avsr.preprocessing.clip import FPS, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.media.streams import read
from avsr.transcribing.voice.overlap import FILE, several
from avsr.transcribing.voice.silero import voice

LIKELY = 0.5


def heard(sound: np.ndarray) -> Clip:
    frames = len(sound) // SAMPLES_PER_FRAME
    lips, nowhere = np.zeros((frames, 96, 96), np.uint8), np.zeros(frames, np.bool_)
    sound = sound[: frames * SAMPLES_PER_FRAME].astype(np.float32)
    return Clip("", sound, lips, ~nowhere, nowhere, 0.0)


@pytest.fixture(scope="module")
def voices(shared: Path) -> list[np.ndarray]:
    """A man and a woman whom nothing here learnt from, 3 s each, as loud as each other."""
    folders = [shared / "data" / "grid-others" / name for name in ("s26", "s33")]
    paths = [sorted(folder.glob("*.mp4"))[0] for folder in folders]
    sounds = [np.concatenate([p.audio for p in read(path, video=False)]) for path in paths]
    shortest = min(map(len, sounds))
    return [sound[:shortest] / np.sqrt(np.square(sound).mean()) / 20 for sound in sounds]


def test_two_voices_are_told_and_one_is_not(voices: list[np.ndarray]):
    man, woman = voices
    both = several(heard(man + woman))
    speak = (voice(man) > LIKELY) & (voice(woman) > LIKELY)
    assert (both[speak] > LIKELY).mean() > 0.6
    for one in (man, woman, np.concatenate([man, woman])):
        assert (several(heard(one)) > LIKELY).mean() < 0.05


def test_the_level_does_not_matter(voices: list[np.ndarray]):
    both = sum(voices)
    np.testing.assert_allclose(several(heard(both)), several(heard(both / 30)), atol=0.02)


def test_where_there_is_no_sound_nobody_speaks():
    nothing = np.zeros(SAMPLES_PER_FRAME * FPS, np.float32)
    assert several(heard(nothing)).max() < LIKELY
    absent = heard(nothing)
    absent.audio_present[:] = False
    assert not several(absent).any()
    assert several(heard(nothing[:0])).shape == (0,)


def test_it_was_made_for_the_model_that_is_bundled():
    with safe_open(FILE, framework="np") as file:
        about = file.metadata()
    assert checkpoint.weights_sha256(checkpoint.resolve(checkpoint.DEFAULT, list)) in str(about)


def test_all_weights_that_ship_stay_small():
    folder = Path(avsr.__file__).parent
    assert FILE.stat().st_size < 1.5e6
    assert sum(path.stat().st_size for path in folder.rglob("*.safetensors")) < 25e6
