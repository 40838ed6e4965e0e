"""What is made beside a transcript: each by itself, whatever becomes of the others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError, UsageError
from avsr.cli.extras import Extras
from avsr.decoding.words import Word
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.recognisers.base import Recogniser
from avsr.transcribing.captions.formats import PLAIN
from avsr.transcribing.transcript import Segment, Transcript


class Fake(Recogniser):
    name, sha256 = "fake", ""


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(SAMPLE_RATE, 0.1), SAMPLE_RATE)
    return path


def said(file: Path) -> Transcript:
    words = [Word("a", 0.2, 0.8, 0.9, 1.0)]
    return Transcript(str(file), "fake", 1.0, [Segment(0.2, 0.8, "a", 0.9, None, 1.0, 0, words)])


def extras(folder: Path, **folders: Path) -> Extras:
    return Extras(
        out=folder,
        fix_sync=False,
        burn=True,
        explain=folder / "pages",
        style=PLAIN,
        modality="audio",
        device="cpu",
        options={},
        folders={Path(name): place for name, place in folders.items()},
    )


def test_a_page_is_made_though_there_is_no_picture_for_captions(sound, tmp_path, capsys):
    extras(tmp_path / "out").make(sound, said(sound), Fake())
    assert "a.wav: no film with captions: there is no picture" in capsys.readouterr().err
    assert (tmp_path / "out" / "pages" / "a.html").is_file()


def test_one_that_fails_does_not_stop_the_others(sound, tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise AvsrError("the disk is full")

    monkeypatch.setattr(Extras, "_burn", fails)
    with pytest.raises(AvsrError, match="the disk is full"):
        extras(tmp_path / "out").make(sound, said(sound), Fake())
    assert (tmp_path / "out" / "pages" / "a.html").is_file()


def test_no_copy_is_made_that_puts_one_person_right_and_another_wrong(sound, tmp_path, capsys):
    apart = replace(said(sound), lags={"Ann": 0, "Bo": -10})
    only_sync = replace(extras(tmp_path / "out"), fix_sync=True, burn=False, explain=None)
    only_sync.make(sound, apart, Fake())
    assert "the offset differs from person to person" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_pages_lie_in_folders_as_the_other_outputs_do(tmp_path):
    out = tmp_path / "out"
    found = extras(out, **{"x/a.mp4": out / "x", "y/a.mp4": out / "y"})
    found.check([Path("x/a.mp4"), Path("y/a.mp4")])
    pages = [found.targets(Path(name))[-1] for name in ("x/a.mp4", "y/a.mp4")]
    assert pages == [out / "pages" / "x" / "a.html", out / "pages" / "y" / "a.html"]


def test_recordings_that_would_share_a_page_are_refused(tmp_path):
    with pytest.raises(UsageError, match="would both be written"):
        extras(tmp_path).check([Path("x/a.mp4"), Path("y/a.mp4")])


def test_what_is_always_made_and_is_not_there_is_lacking(sound, tmp_path):
    found = extras(tmp_path / "out")
    page = tmp_path / "out" / "pages" / "a.html"
    assert found.lacking(sound)
    page.parent.mkdir(parents=True)
    page.touch()
    assert not found.lacking(sound)  # no film is made of sound alone
    assert found.lacking(tmp_path / "not there.mp4")
