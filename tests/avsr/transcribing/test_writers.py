"""Writers against golden text."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from avsr.base.errors import AvsrError
from avsr.transcribing.captions.formats import ASS_HEAD
from avsr.transcribing.transcribe import Segment, Transcript, Word
from avsr.transcribing.writers import RENDERERS, formats, write

TRANSCRIPT = Transcript(
    file="talks/a.mp4",
    model="grid-tiny",
    duration_s=3725.5,
    segments=[
        Segment(
            start_s=0.04,
            end_s=1.2,
            text="bin --> blue",
            confidence=0.87654321,
            speaker=None,
            audio_present=1.0,
            video_present=0.5,
            words=[
                Word("bin", 0.04, 0.44, 0.9, 0.25),
                Word("-->", 0.5, 0.6, 1.0, 1 / 3),
                Word("blue", 0.6, 1.2, 0, 0),
            ],
        ),
        Segment(3661.0004, 3725.4996, "a < b &\tü\n\nnow", 1.0, "s1", 0.0, 1.0, []),
    ],
    warnings=["no face found: audio only"],
)
EMPTY = Transcript("b.wav", "grid-tiny", 0.0, [])

GOLDEN = {
    "txt": "bin --> blue\ns1: a < b & ü now\n",
    "srt": (
        "1\n00:00:00,040 --> 00:00:01,200\nbin -> blue\n\n2\n01:01:01,000 --> 01:02:05,500\ns1: a "
        "< b & ü now\n"
    ),
    "vtt": (
        "WEBVTT\n\n00:00:00.040 --> 00:00:01.200\nbin --&gt; blue\n\n"
        "01:01:01.000 --> 01:02:05.500\n<v s1>a &lt; b &amp; ü now\n"
    ),
    "ass": ASS_HEAD.format(title="a.mp4")
    + "Dialogue: 0,0:00:00.04,0:00:01.20,Default,,0,0,0,,bin --> blue\n"
    + "Dialogue: 0,1:01:01.00,1:02:05.50,Default,s1,0,0,0,,s1: a < b & ü now\n",
    "tsv": (
        "start\tend\ttext\tspeaker\n40\t1200\tbin --> blue\t\n3661000\t3725500\ta < b & ü now\ts1\n"
    ),
    "json": """{
  "schema": 1,
  "file": "talks/a.mp4",
  "model": "grid-tiny",
  "duration_s": 3725.5,
  "in_domain": null,
  "segments": [
    {
      "start_s": 0.04,
      "end_s": 1.2,
      "text": "bin --> blue",
      "confidence": 0.8765,
      "speaker": null,
      "audio_present": 1.0,
      "video_present": 0.5,
      "words": [
        {
          "word": "bin",
          "start_s": 0.04,
          "end_s": 0.44,
          "confidence": 0.9,
          "audio_weight": 0.25
        },
        {
          "word": "-->",
          "start_s": 0.5,
          "end_s": 0.6,
          "confidence": 1.0,
          "audio_weight": 0.3333
        },
        {
          "word": "blue",
          "start_s": 0.6,
          "end_s": 1.2,
          "confidence": 0,
          "audio_weight": 0
        }
      ],
      "in_domain": null,
      "together": null
    },
    {
      "start_s": 3661.0,
      "end_s": 3725.5,
      "text": "a < b &\\tü\\n\\nnow",
      "confidence": 1.0,
      "speaker": "s1",
      "audio_present": 0.0,
      "video_present": 1.0,
      "words": [],
      "in_domain": null,
      "together": null
    }
  ]
}
""",
}


@pytest.mark.parametrize("name", RENDERERS)
def test_golden(name):
    assert RENDERERS[name](TRANSCRIPT) == GOLDEN[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n"), ("tsv", "start\tend\ttext\n")],
)
def test_nothing_said_is_still_a_valid_file(name, expected):
    assert RENDERERS[name](EMPTY) == expected


def test_json_of_nothing_said():
    assert json.loads(RENDERERS["json"](EMPTY))["segments"] == []


def test_file_is_utf8_with_plain_newlines_and_leaves_nothing_beside(tmp_path: Path):
    path = write(TRANSCRIPT, tmp_path / "a.srt")
    assert path.read_bytes() == GOLDEN["srt"].encode()
    assert os.listdir(tmp_path) == ["a.srt"]


def test_format_is_the_extension_unless_told(tmp_path: Path):
    assert (
        write(TRANSCRIPT, tmp_path / "a.out", "vtt")
        .read_text(encoding="utf-8")
        .startswith("WEBVTT")
    )
    with pytest.raises(
        AvsrError, match="format 'doc' is unknown: use one of txt, srt, vtt, ass, tsv, json or all"
    ):
        write(TRANSCRIPT, tmp_path / "a.doc")


def test_all_is_every_format():
    assert formats("all") == ["txt", "srt", "vtt", "ass", "tsv", "json"]


def test_full_disk_is_one_line_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(AvsrError, match="No space left on device"):
        write(TRANSCRIPT, path)
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_missing_folder_is_one_line(tmp_path: Path):
    with pytest.raises(AvsrError, match="cannot be written"):
        write(TRANSCRIPT, tmp_path / "none" / "a.txt")


def test_a_file_name_that_is_no_utf8_comes_back_from_the_json(tmp_path: Path):
    name = os.fsdecode(b"caf\xe9.wav")
    path = write(Transcript(name, "grid-tiny", 0.0, []), tmp_path / "a.json")
    assert json.loads(path.read_text(encoding="utf-8"))["file"] == name
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_interrupt_while_writing_leaves_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(TRANSCRIPT, tmp_path / "a.txt")
    assert os.listdir(tmp_path) == []
