"""Encodings that rows share change nothing but the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from avsr.eval.conditions.axes import Condition, Missing, Noise
from avsr.eval.conditions.noise import Corpus
from avsr.eval.run.encoders import Listener
from avsr.model.config import ModelConfig
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.recognisers.ours import NetworkRecogniser

torch = pytest.importorskip("torch")


def make_clips(frames: tuple[int, ...] = (12, 16, 9)) -> list[Clip]:
    rng = np.random.default_rng(0)
    return [
        Clip(
            f"clip{number}",
            rng.normal(0, 0.1, count * SAMPLES_PER_FRAME).astype(np.float32),
            rng.integers(0, 255, (count, 96, 96), np.uint8),
            np.ones(count, np.bool_),
            np.ones(count, np.bool_),
            text="a b",
        )
        for number, count in enumerate(frames)
    ]


@pytest.fixture(scope="module", params=["cross", "late"])
def recogniser(request: pytest.FixtureRequest) -> NetworkRecogniser:
    """A small network with random weights, whose greedy output changes with every detail of its
    input."""
    from avsr.model.network import AVSR

    torch.manual_seed(0)
    tokens = ("<blank>", " ", *"abcdefgh")
    config = ModelConfig(
        tokens=tokens,
        dim=16,
        heads=2,
        video_width=4,
        audio_width=4,
        crop=32,
        fusion=request.param,
        conv_kernel=3,
    )
    model = AVSR(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return NetworkRecogniser(model, "small", {}, torch.device("cpu"))


def rows(clips: list[Clip]) -> list[tuple[list[Clip], str]]:
    corpus = Corpus([clip.id for clip in clips], lambda id: np.zeros(640, np.float32))
    conditions = [
        Condition(),
        Condition((Missing("video", "bursts", 0.5),)),
        Condition((Missing("video", "bursts", 0.5, mask_indicated=False),)),
        Condition((Missing("audio", "frame", 0.5),)),
        Condition((Missing("audio", "bursts", 1.0),)),
        Condition((Noise("white", 0.0),)),
        Condition((Noise("white", 0.0), Missing("video", "utterance", 0.5))),
    ]
    altered = [[condition.apply(clip, 17, corpus) for clip in clips] for condition in conditions]
    return [(given, modality) for given in altered for modality in ("av", "audio", "video")]


def calls(
    monkeypatch: pytest.MonkeyPatch, recogniser: NetworkRecogniser
) -> Callable[[], tuple[int, int]]:
    counted = {"audio": 0, "video": 0}
    for stream in counted:
        name = f"encode_{stream}"
        plain = getattr(recogniser.model, name)

        def counting(*arguments: object, stream: str = stream, plain: Callable = plain) -> object:
            counted[stream] += 1
            return plain(*arguments)

        monkeypatch.setattr(recogniser.model, name, counting)
    return lambda: (counted["audio"], counted["video"])


def test_shared_encodings_give_the_very_same_words(recogniser: NetworkRecogniser) -> None:
    shared, plain = Listener(recogniser), Listener(recogniser, share=False)
    texts = set()
    for given, modality in rows(make_clips()):
        found, expected = (listener.recognise(given, modality)[0] for listener in (shared, plain))
        assert found == expected  # texts, times, confidences and weights to the last bit
        texts |= {hypothesis.text for hypothesis in found}
    assert len(texts) > 5


def test_each_sound_and_each_picture_is_encoded_once(
    recogniser: NetworkRecogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = calls(monkeypatch, recogniser)
    listener = Listener(recogniser)
    clips = make_clips()
    for modality in ("av", "audio", "video", "av"):
        listener.recognise(clips, modality)
    assert count() == (2, 2)  # there and absent, of each
    silent = [replace(clip, audio=np.zeros_like(clip.audio)) for clip in clips]
    listener.recognise(silent, "av")
    assert count() == (3, 2)
    absent = [
        replace(clip, lips=clip.lips[::-1], video_present=~clip.video_present) for clip in clips
    ]
    listener.recognise(absent, "av")  # what stands in an absent frame does not count
    assert count() == (3, 2)
    listener.recognise(clips[:2], "av")  # another batch, other padding
    assert count() == (4, 3)


def test_time_saved_counts_as_time_that_recognising_takes(recogniser: NetworkRecogniser) -> None:
    listener = Listener(recogniser)
    _, first = listener.recognise(make_clips(), "av")
    _, again = listener.recognise(make_clips(), "av")
    assert first.alone_s == first.total_s >= first.network_s > 0
    assert again.alone_s > again.total_s >= again.network_s > 0


def test_the_recogniser_given_stays_as_it_was(recogniser: NetworkRecogniser) -> None:
    model = recogniser.model
    Listener(recogniser).recognise(make_clips(), "av")
    assert recogniser.model is model
