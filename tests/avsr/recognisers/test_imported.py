"""Imported networks as recognisers: which of them reads what, and that absence hides everything."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import networks
import numpy as np
import pytest

from avsr.base.errors import UsageError
from avsr.imported import store
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.recognisers.imported import ImportedRecogniser
from avsr.recognisers.registry import load

FRAMES = 60
PIECES = ("<blank>", *(f"\u2581w{number}" for number in range(1, 119)), "<eos>")


def install(name: str, modality: str, seed_bias: float = 0.0) -> None:
    network = networks.auto_avsr(modality).float()
    networks.add_to_biases(network, seed_bias)
    weights = {
        key: tensor
        for key, tensor in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    store.install(name, store.Description(network=network.config, pieces=PIECES), weights)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AVSR_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportedRecogniser]:
    """An audio-visual network, and one for each stream alone, with the same tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVSR_MODELS", str(tmp_path_factory.mktemp("models")))
        for modality in ("av", "video", "audio"):
            install(f"small-{modality}", modality)
        found = load("small-av?greedy", "cpu")
        assert isinstance(found, ImportedRecogniser)
        yield found


@pytest.fixture(scope="module")
def clip() -> Clip:
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal(FRAMES * SAMPLES_PER_FRAME)).astype(np.float32)
    lips = rng.integers(0, 255, (FRAMES, 96, 96), dtype=np.uint8)
    there = np.ones(FRAMES, np.bool_)
    return Clip("x", audio, lips, there, there, start_s=3.0)


def without(clip: Clip, stream: str, first: int = 0, last: int = FRAMES, trap: int = 0) -> Clip:
    """Frames of a stream marked absent; what stands in them differs with the trap."""
    present = np.ones(FRAMES, np.bool_)
    present[first:last] = False
    if stream == "audio":
        audio = clip.audio.copy()
        audio[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME] = trap
        return replace(clip, audio=audio, audio_present=present)
    lips = clip.lips.copy()
    lips[first:last] = trap
    return replace(clip, lips=lips, video_present=present)


def test_what_is_imported_is_a_recogniser(three: ImportedRecogniser, clip: Clip):
    assert three.modalities == ("av", "audio", "video")
    assert (three.crops, three.longest_s, three.vocabulary) == ("research", 15.0, "open")
    assert three.window_s is None
    (said,) = three.recognise([clip], "av")
    assert said.text == " ".join(word.word for word in said.words)
    assert all(3.0 <= word.start_s <= word.end_s <= 5.4 for word in said.words)
    assert all(0 <= word.confidence <= 1 for word in said.words)


@pytest.mark.parametrize(("hidden", "left"), [("audio", "video"), ("video", "audio")])
@pytest.mark.parametrize("beam", [0, 2])
def test_with_a_stream_away_it_is_no_worse_than_without_it(
    three: ImportedRecogniser, clip: Clip, hidden: str, left: str, beam: int
):
    """R_V and R_A: it is the same network that reads it."""
    recogniser = three.with_decoding(beam)
    both = recogniser.recognise([without(clip, hidden)], "av")
    assert both == recogniser.recognise([clip], left)
    assert both[0].words
    alone = load(f"small-{left}?greedy", "cpu").with_decoding(beam)  # type: ignore[attr-defined]
    assert both == alone.recognise([clip], left)


@pytest.mark.parametrize("stream", ["audio", "video"])
@pytest.mark.parametrize(("first", "last"), [(20, 28), (10, 50), (0, FRAMES)])
def test_what_stands_in_absent_frames_changes_nothing(
    three: ImportedRecogniser, clip: Clip, stream: str, first: int, last: int
):
    one, other = (without(clip, stream, first, last, trap) for trap in (0, 200))
    assert three.recognise([one], "av") == three.recognise([other], "av")


def test_silence_gives_no_trouble(three: ImportedRecogniser, clip: Clip):
    still = replace(clip, audio=np.zeros_like(clip.audio))
    for word in three.recognise([still], "audio")[0].words:
        assert np.isfinite(word.confidence)
    nothing = without(without(clip, "audio"), "video")
    assert three.recognise([nothing], "av")[0].text == ""


def test_without_the_other_networks_a_line_says_so(models: Path, clip: Clip, caplog):
    install("small", "av")
    recogniser = load("small?greedy", "cpu")
    assert recogniser.modalities == ("av",)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert recogniser.recognise([without(clip, "audio")], "av")[0].text == ""
    assert [record.getMessage() for record in caplog.records] == [
        "small?greedy: parts without sound are left out: import a model of the same tokens for "
        "video alone"
    ]


def test_options_and_what_results_depend_on(three: ImportedRecogniser):
    wide, narrow = load("small-av", "cpu"), load("small-av?beam=1", "cpu")
    assert wide.about.startswith("beam 10, ")
    assert len({wide.sha256, narrow.sha256, three.sha256}) == 3
    for wrong in ("beam=0", "beam=wide", "bean=1", "greedy&beam=4", "greedy=yes"):
        with pytest.raises(UsageError, match=r"give \?beam=N|whole number"):
            load(f"small-av?{wrong}", "cpu")


def test_a_recogniser_that_only_hears_is_joined_by_an_installed_lip_reader(
    three: ImportedRecogniser, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    import avsr

    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ear_beside_lips.py").write_text(
        "def hear(audio, **_): return 'heard'\nhear.modalities = ('audio',)\n"
    )
    joined = avsr.load_model("python:ear_beside_lips:hear", "cpu")
    assert joined.name == "python:ear_beside_lips:hear+small-video"
    assert joined.crops == "research"
    assert load("python:ear_beside_lips:hear").modalities == ("audio",)
