"""A film of two heads, from its pictures and sound to segments that say who speaks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import avsr
from avsr.base.errors import UsageError
from avsr.decoding.words import Hypothesis, Word, join
from avsr.preprocessing.clip import CROP_SIZE, SAMPLE_RATE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.faces.mouths import Crops
from avsr.preprocessing.media.mp4 import write_video
from avsr.preprocessing.media.streams import read
from avsr.recognisers.base import Recogniser
from avsr.transcribing.explain.gather import whose_lips
from avsr.transcribing.speakers import people
from avsr.transcribing.speakers.people import OFF_SCREEN, names_of, told
from avsr.transcribing.speakers.turns import Turns
from avsr.transcribing.writers import RENDERERS


class Counter(Recogniser):
    """Says for each stretch whether there were lips, and how bright they were."""

    name, sha256, calibrated = "counter", "", False

    def recognise(self, clips, modality):
        return [self._said(clip) for clip in clips]

    def _said(self, clip: Clip) -> Hypothesis:
        text = "seen" if clip.video_present.any() else "heard"
        words = [Word(text, clip.start_s, clip.start_s + clip.duration_s, 0.9, 0.5)]
        return Hypothesis(join(words), words, 0.9)


@pytest.fixture(scope="module")
def film(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people side by side: the left one speaks for 3 s, then the right one, both mouths moving
    all the time, then a third who is not in the picture while both are still."""
    folder = shared / "data" / "grid-others"
    names = ["s33/bbac1s", "s33/bbac2p", "s5/bbaf3a", "s5/bbaf4p", "s31/bbaf1n"]
    paths = [sorted((folder / name.split("/")[0]).glob("*.mp4")) for name in names]
    takes = [takes[n % 2] for n, takes in enumerate(paths)]
    left, right, third = takes[:2], takes[2:4], takes[4]
    shown, heard = {}, {}
    for take in takes:
        pieces = list(read(take))
        shown[take] = np.stack([p.rgb() for piece in pieces for p in piece.pictures if p])[:75]
        sound = np.concatenate([piece.audio for piece in pieces])
        heard[take] = np.pad(sound, (0, SAMPLE_RATE))[: 3 * SAMPLE_RATE]
    pictures = [np.concatenate([shown[a], shown[b]], 2) for a, b in zip(left, right, strict=True)]
    pictures.append(np.repeat(pictures[-1][-1:], 75, 0))
    path = tmp_path_factory.mktemp("film") / "talk.mp4"
    sound = np.concatenate([heard[left[0]], heard[right[1]], heard[third]])
    write_video(path, (frame for part in pictures for frame in part), sound)
    return path


def test_each_segment_says_who_speaks_and_is_read_from_their_lips(film: Path):
    told = []
    found = Counter().transcribe(
        film, speakers=["Ann", "Bo"], progress=lambda done_s, of_s: told.append((done_s, of_s))
    )
    said = [(s.speaker, s.text, int((s.start_s + s.end_s) / 2 // 3)) for s in found.segments]
    assert said == [("Ann", "seen", 0), ("Bo", "seen", 1), (OFF_SCREEN, "heard", 2)]
    assert any("Ann (face 0, left), Bo (face 1, right)" in line for line in found.warnings)
    assert [name for name in RENDERERS if "Ann" not in RENDERERS[name](found)] == []
    done = [seconds for seconds, _ in told]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(9.0, abs=0.1)


def test_the_face_that_speaks_is_read_alone(film: Path):
    found = Counter().transcribe(film, face="speaking")
    assert {segment.speaker for segment in found.segments} == {None}
    assert any("the lips of" in line for line in found.warnings)
    # a page that explains it shows these lips from the beginning to the end
    assert set(whose_lips(found, frames=225)) == set(found.faces.values())
    assert list(found.faces) == [""]


def test_nobody_is_looked_for_where_no_lips_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(people, "Everybody", None)
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE)
    soundfile.write(tmp_path / "talk.wav", noise, SAMPLE_RATE)
    found = Counter().transcribe(tmp_path / "talk.wav", modality="audio", face="speaking")
    assert not any("lips" in line for line in found.warnings)


@pytest.mark.parametrize("asked", [{"speakers": True}, {"face": "speaking"}])
def test_a_reader_is_refused_where_a_film_is_gone_through_twice(asked: dict):
    closed: list[bool] = []
    reader = SimpleNamespace(close=lambda: closed.append(True))
    with pytest.raises(UsageError, match="reader: leave it out"):
        Counter().transcribe("talk.mp4", reader=reader, **asked)
    with pytest.raises(UsageError, match="reader: leave it out"):
        list(Counter().transcribe_many(["talk.mp4"], reader=reader, **asked))
    assert closed == [True, True]


def test_without_a_picture_nobody_can_be_told(tmp_path: Path, film: Path):
    sound = np.concatenate([piece.audio for piece in read(film)])
    soundfile.write(tmp_path / "talk.wav", sound, SAMPLE_RATE)
    found = Counter().transcribe(tmp_path / "talk.wav", speakers=True)
    assert {segment.speaker for segment in found.segments} == {None}
    assert "no picture: who speaks cannot be told" in found.warnings


@pytest.mark.parametrize("names", ["Ann", [""], ["A", "A"], [OFF_SCREEN], [3], 5])
def test_names_that_are_none(names):
    with pytest.raises(UsageError, match="speakers"):
        names_of(names)
    assert names_of([" Ann  B "]) == ["Ann B"]


def test_late_lips_are_moved_onto_what_they_say():
    scenes = []
    for first in (0, 20):
        crops = {at: (np.full((CROP_SIZE, CROP_SIZE), first + at), 1.0) for at in range(20)}
        silence = np.zeros(20 * SAMPLES_PER_FRAME, np.float32)
        scenes.append(Crops(first, silence, np.ones(20, bool), {3: crops}))
    heard = (np.arange(40) >= 12) & (np.arange(40) < 28)
    person = SimpleNamespace(id=3)
    clips = list(people.Speaker("Ann", person, heard, lag=-10).clips(scenes))
    seen = np.concatenate([clip.video_present for clip in clips])
    lips = np.concatenate([clip.lips[:, 0, 0] for clip in clips])
    assert np.array_equal(seen, heard)
    assert np.array_equal(lips[seen], np.arange(12, 28) + 10)


def test_names_that_nobody_bears_are_told():
    nowhere = np.zeros(0, bool)
    turns = Turns(np.zeros((0, 0), bool), nowhere, np.zeros(0, np.int64), nowhere)
    assert told([], turns, ["Ann", "Bo"])[1].endswith("names left over: Ann, Bo")


def test_no_word_is_lost_where_somebody_turns_away_amid_a_sentence(shared: Path, tmp_path: Path):
    """Their head is hidden for more than a second: the voice that runs on is theirs."""
    pieces = list(read(shared / "data" / "grid-others" / "s33" / "bbac1s.mp4"))
    pictures = [p.rgb().copy() for piece in pieces for p in piece.pictures if p]
    for picture in pictures[28:60]:
        picture[20:270, 80:280] = (40, 50, 60)
    sound = np.concatenate([piece.audio for piece in pieces])
    write_video(tmp_path / "away.mp4", iter(pictures), sound)
    found = avsr.load_model().transcribe(tmp_path / "away.mp4", speakers=True)
    assert found.text == "bin blue at c one soon"
    assert {segment.speaker for segment in found.segments} == {"Speaker 1"}
