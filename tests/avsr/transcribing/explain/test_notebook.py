"""What a notebook shows of a transcript."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.decoding.words import Word, join
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.transcribing.captions.colours import ramp
from avsr.transcribing.transcript import Segment, Transcript

WORDS = [Word("bin", 0.1, 0.4, 0.99, 1.0), Word("<blue>", 0.5, 0.8, 0.3, 0.0)]
SAID = Transcript(
    "no such film.mp4",
    "fake",
    1.0,
    [
        Segment(0.1, 0.8, join(WORDS), 0.6, None, 1.0, 1.0, WORDS),
        Segment(0.8, 0.9, "without times", 0.5, None, 1.0, 1.0, []),
    ],
    ["no picture: audio only"],
)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(SAMPLE_RATE, 0.1), SAMPLE_RATE)
    return path


def test_each_segment_is_a_row_and_each_word_has_its_colour():
    shown = SAID._repr_html_()
    assert shown.count("<tr>") == 3
    assert "0.10 to 0.80" in shown
    assert "without times" in shown
    assert "no picture: audio only" in shown
    assert f"solid {ramp(1)}" in shown
    assert f"dashed {ramp(0)}" in shown
    assert "&lt;blue&gt;" in shown
    assert "<blue>" not in shown


def test_words_are_played_where_there_is_a_recording(recording: Path):
    shown = replace(SAID, file=str(recording))._repr_html_()
    assert '<audio controls playsinline preload="metadata" src="data:audio/flac;base64,' in shown
    assert "p.currentTime = 0.500" in shown
    assert "onclick" not in SAID._repr_html_()


def test_a_long_recording_is_not_put_into_the_notebook(recording: Path, monkeypatch):
    monkeypatch.chdir(recording.parent)
    shown = replace(SAID, file="a.wav", duration_s=7200.0)._repr_html_()
    assert 'src="a.wav"' in shown
    assert "data:" not in shown


def test_a_file_that_cannot_be_read_has_no_player(tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing that plays")
    assert "<video" not in replace(SAID, file=str(broken))._repr_html_()


def test_speakers_have_a_column_where_they_are_known():
    assert "speaker" not in SAID._repr_html_()
    named = replace(SAID, segments=[replace(SAID.segments[0], speaker="Ann")])
    assert '<td style="text-align: left">Ann</td>' in named._repr_html_()


def test_no_words_are_said_to_be_none():
    assert "no words" in Transcript("a.wav", "fake", 1.0, [])._repr_html_()
