"""A command line whose recogniser is made up, and what it wrote."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from avsr import cli
from avsr.base.errors import MediaError
from avsr.transcribing.transcribe import Segment, Transcript, Word


def transcript(file: Path, text: str, warnings: list[str] | None = None) -> Transcript:
    segments = [
        Segment(0.0, 1.0, t, 0.9, None, 1.0, 1.0, [Word(t, 0.0, 1.0, 0.9, 0.5)])
        for t in text.split("|")
        if t
    ]
    return Transcript(str(file), "fake", 1.0, segments, warnings or [])


class FakeRecogniser:
    """Says the file's stem; names with meaning fail or warn."""

    name, device = "fake", "cpu"

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict]] = []
        self.decodings: list[tuple[int | None, str | None] | str] = []

    def without_lexicon(self):
        self.decodings.append("no lexicon")
        return self

    def with_decoding(self, beam=None, language=None):
        self.decodings.append((beam, language and language.name))
        return self

    def transcribe(
        self,
        path,
        modality="auto",
        face="main",
        progress=None,
        reader=None,
        audio_track=None,
        speakers=False,
        partial=None,
    ):
        asked = {"modality": modality, "face": face} | ({"speakers": speakers} if speakers else {})
        self.calls.append((str(path), asked))
        progress(0.5, 1.0)
        stem = Path(path).stem
        if stem.startswith("missing"):
            raise MediaError(f"{path}: no such file")
        if stem.startswith("bug"):
            raise RuntimeError("two\nlines")
        if stem.startswith("stop"):
            raise KeyboardInterrupt
        if stem.startswith("silent"):
            return transcript(path, "", ["no words recognised"])
        return transcript(
            path,
            f"{stem} one|{stem} two",
            ["no face found: audio only"] if stem == "faceless" else None,
        )

    def transcribe_many(self, paths, progress=None, reader=None, **options):
        for path in paths:
            try:
                yield self.transcribe(path, progress=progress, reader=reader, **options)
            except Exception as error:
                yield error
            reader = None


@pytest.fixture
def recogniser(monkeypatch: pytest.MonkeyPatch) -> FakeRecogniser:
    fake = FakeRecogniser()
    fake.loaded = []

    def load_model(name="default", device="auto"):
        fake.loaded.append((str(name), device))
        return fake

    monkeypatch.setattr(
        importlib.import_module("avsr.transcribing.transcribe"), "load_model", load_model
    )
    return fake


@pytest.fixture
def avsr(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run
