"""Row 3: speech that is not of the bundled model's language is told, and GRID's is not."""

from __future__ import annotations

from pathlib import Path

import pytest

import avsr
from avsr.decoding.grammar import load_grammar
from avsr.recognisers.ours import NetworkRecogniser
from avsr.transcribing.transcript import Transcript

MOST_MISSED = 1  # of ten utterances: all of a hundred held out are measured with the weights


@pytest.fixture(scope="module")
def model() -> NetworkRecogniser:
    loaded = avsr.load_model(device="cpu")
    assert isinstance(loaded, NetworkRecogniser)
    if loaded.domain is None:
        pytest.skip("the bundled model cannot tell its language from other speech")
    return loaded


def transcripts(model: NetworkRecogniser, files: list[Path]) -> list[Transcript]:
    found = list(model.transcribe_many(files))
    assert all(isinstance(one, Transcript) for one in found)
    return [one for one in found if isinstance(one, Transcript)]


def test_free_speech_is_told(model: NetworkRecogniser, shared: Path) -> None:
    speakers: dict[str, list[Path]] = {}
    for file in sorted((shared / "data" / "speech" / "librispeech").glob("*.opus")):
        speakers.setdefault(file.name.split("-")[0], []).append(file)
    # those with several utterances were kept out of training and fitting
    held_out = [files[0] for files in speakers.values() if len(files) > 1]
    found = transcripts(model, held_out)
    told = [one for one in found if one.in_domain is False]
    assert len(told) >= len(found) - MOST_MISSED
    for one in told:
        assert any("not of the language of the model" in line for line in one.warnings)


def test_grid_is_not_told(model: NetworkRecogniser, shared: Path) -> None:
    root = shared / "data" / "grid-others"
    names = (root / "val.txt").read_text().split()
    found = transcripts(model, [root / f"{name}.mp4" for name in names[::2]])
    words = set(load_grammar("grid").lexicon().slots[0])
    for one in found:
        assert one.in_domain is True
        assert all(segment.in_domain for segment in one.segments)
        assert set(one.text.split()) <= words
