"""Calibration: the error of confidences by hand, fits that find a known distortion, a model file
that keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from avsr import load_model
from avsr.base.errors import AvsrError
from avsr.cli import main
from avsr.decoding.alignment import Timing
from avsr.decoding.confidence import FEATURES, Calibration, logit
from avsr.eval.conditions.axes import Condition
from avsr.eval.metrics.trust import calibration
from avsr.eval.metrics.trust.calibration import (
    calibrate,
    fit_confidence,
    fit_timing,
    match,
    observe,
    save_calibrated,
)
from avsr.eval.metrics.trust.reliability import (
    Utterance,
    error_by_chance,
    expected_calibration_error,
    reliability,
    report,
    timing_errors,
    to_markdown,
)
from avsr.model import checkpoint
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.shards import ShardIndex
from avsr.recognisers.ours import NetworkRecogniser

TOKENS = ("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz")
CLEAN_AV = ("clean", "av")


def utterance(features: list[tuple[float, ...]], right: list[bool], **more: Any) -> Utterance:
    n = len(right)
    extents = [(10 * i, 10 * i + 5) for i in range(n)]
    known = {
        "confidences": [0.5] * n,
        "extents": extents,
        "said": [None] * n,
        "frames": 10 * n + 10,
    } | more
    return Utterance(row=CLEAN_AV, features=features, right=right, **known)


# ---- the error of confidences


def test_expected_calibration_error_by_hand():
    confidences, right = np.array([0.9, 0.2, 0.8, 0.4]), np.array([True, False, False, True])
    # two bins of two words: 0.3 sure and half of them right, 0.85 sure and half of them right
    assert reliability(confidences, right, 2) == [
        (pytest.approx(0.3), 0.5, 2),
        (pytest.approx(0.85), 0.5, 2),
    ]
    assert expected_calibration_error(confidences, right, 2) == pytest.approx((0.2 + 0.35) / 2)


@pytest.mark.parametrize(("words", "sizes"), [(0, []), (2, [1, 1]), (31, [3] + [2] * 14)])
def test_bins_have_the_same_size_and_none_is_empty(words: int, sizes: list[int]):
    confidences = np.linspace(0, 1, words)
    assert [count for *_, count in reliability(confidences, confidences > 2)] == sizes
    assert 0 <= expected_calibration_error(confidences, confidences > 2) <= 1


def test_true_confidences_show_no_more_than_chance():
    rng = np.random.default_rng(1)
    confidences = rng.random(3000)
    right = rng.random(3000) < confidences
    chance = error_by_chance(confidences)
    assert 0.01 < chance < 0.04
    assert expected_calibration_error(confidences, right) < 2 * chance
    assert expected_calibration_error(confidences**3, right) > 5 * chance


# ---- fits


def test_the_fit_finds_the_map_that_made_the_words():
    rng = np.random.default_rng(2)
    truth = Calibration((0.7, 0.3, -1.0, -0.5), 0.4)
    features = np.column_stack(
        [rng.normal(1, 3, (8000, 2)), rng.integers(0, 2, 8000), rng.random(8000)]
    )
    right = rng.random(8000) < [truth(word) for word in features]
    found = fit_confidence([utterance([tuple(word) for word in features.tolist()], right.tolist())])
    assert [*found.weights, found.bias] == pytest.approx([*truth.weights, truth.bias], abs=0.2)


@pytest.mark.parametrize("right", [[True, True], [False], []])
def test_nothing_to_fit_is_one_line(right: list[bool]):
    with pytest.raises(
        AvsrError, match=f"of {len(right)} words are right: confidences need both kinds"
    ):
        fit_confidence([utterance([(1.0, 1.0, 0.0, 1.0)] * len(right), right)])


def test_words_that_can_be_told_apart_give_finite_weights():
    found = fit_confidence(
        [utterance([(4.0, 0.0, 0.0, 1.0), (-4.0, 0.0, 0.0, 1.0)] * 20, [True, False] * 20)]
    )
    assert all(np.isfinite([*found.weights, found.bias]))
    assert found((4.0, 0.0, 0.0, 1.0)) > 0.9 > 0.1 > found((-4.0, 0.0, 0.0, 1.0))


def test_timing_is_found_where_times_are_known():
    truth = Timing(lead_frames=3, tail_frames=2)
    extents = [(8, 12), (18, 20), (30, 31)]
    said = [(first / 25, last / 25) for first, last in truth.stretch(extents, 50)]
    known = utterance(
        [(0.0,) * 4] * 3,
        [True, False, True],
        extents=extents,
        said=[said[0], None, said[2]],
        frames=50,
    )
    assert fit_timing([known]) == truth
    assert timing_errors([known], truth) == pytest.approx(np.zeros((2, 2)))
    # that much too late
    assert timing_errors([known], Timing(0, 0))[:, 0] == pytest.approx([0.12, 0.12])
    assert fit_timing([utterance([(0.0,) * 4], [True])]) is None


@pytest.mark.parametrize(
    ("reference", "words", "expected"),
    [
        ("bin blue at f", ["bin", "blue", "at", "f"], [0, 1, 2, 3]),
        ("bin blue at f", ["bin", "at", "t"], [0, 2, None]),
        ("Bin, blue!", ["bin", "red", "blue"], [0, None, 1]),
        ("bin", [], []),
        ("", ["bin"], [None]),
    ],
)
def test_words_are_matched_with_what_was_said(
    reference: str, words: list[str], expected: list[int | None]
):
    assert match(reference, words) == expected


# ---- the whole, on a network that reads what is written into the sound


class Reader(torch.nn.Module):
    """Says what is spelt by the level of each sound frame; the second half of a frame says how
    surely, in percent."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(tokens=TOKENS, piece_scores=(), outputs_per_frame=1)
        self.decoder = None

    def forward(self, audio, lips, audio_present, video_present, lens):
        frames = audio.reshape(len(audio), -1, SAMPLES_PER_FRAME)
        ids = (frames[..., 0] * 100).round().long().clamp(0, len(TOKENS) - 1) * audio_present
        sure = frames[..., -1].clamp(0.1, 0.99)[..., None]
        spread = (1 - sure) / (len(TOKENS) - 1)
        probs = torch.where(torch.nn.functional.one_hot(ids, len(TOKENS)).bool(), sure, spread)
        return SimpleNamespace(log_probs=probs.log(), audio_weight=audio_present.float(), lens=lens)


class Index:
    """Clips that say "ab cd", and are surer of it than they should be; words begin a frame before
    their letters."""

    location = "shards"
    select = ShardIndex.select

    def __init__(self, clips: int) -> None:
        rng = np.random.default_rng(3)
        self.clips, self.texts = [], []
        for n in range(clips):
            sure = rng.choice([0.6, 0.9, 0.99])
            spelt = "--ab- cd----"
            ids = np.array([0 if char == "-" else TOKENS.index(char) for char in spelt])
            audio = np.repeat(ids / 100, SAMPLES_PER_FRAME).reshape(len(spelt), -1)
            audio[:, SAMPLES_PER_FRAME // 2 :] = sure
            shown = np.ones(len(spelt), np.bool_)
            lips = np.zeros((len(spelt), CROP_SIZE, CROP_SIZE), np.uint8)
            self.texts.append("ab cd" if rng.random() < sure**3 else "ax ce")
            self.clips.append(
                Clip(
                    f"c{n}",
                    audio.astype(np.float32).ravel(),
                    lips,
                    shown,
                    shown,
                    text=self.texts[-1],
                    words=((self.texts[-1][:2], 0.04, 0.16), (self.texts[-1][3:], 0.20, 0.32)),
                )
            )
        self.entries = [
            SimpleNamespace(id=clip.id, text=clip.text, split="train" if n % 2 else "val")
            for n, clip in enumerate(self.clips)
        ]

    def load(self, i: int) -> Clip:
        return self.clips[i]

    def audio(self, i: int) -> np.ndarray:
        return self.clips[i].audio


@pytest.fixture
def reader() -> NetworkRecogniser:
    return NetworkRecogniser(Reader(), "reader", {"knows": "two words"}, torch.device("cpu"))  # type: ignore[arg-type]


def test_a_model_is_calibrated_and_reported(
    reader: NetworkRecogniser, monkeypatch: pytest.MonkeyPatch
):
    rows = ((Condition(), "av"), (Condition(), "audio"))
    monkeypatch.setattr(calibration, "FIT_ROWS", rows)
    index: Any = Index(400)
    told: list[tuple[int, int]] = []
    after = calibrate(reader, index, clips=150, progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (300, 300)
    assert after.calibration is not None
    assert after.info["knows"] == "two words"
    assert after.timing.lead_frames == 1
    results = report(reader, after, observe(reader, index, "val", rows))
    for row in [*results["rows"], results["all"]]:
        assert row["ece"] < 0.1 < row["ece_before"]
        assert sum(count for *_, count in row["reliability"]) == row["words"]
    assert results["word_times"]["after"]["start_s"] < results["word_times"]["before"]["start_s"]
    text = to_markdown(results)
    assert "| clean " in text
    assert "all of them" in text


def test_the_same_clips_and_noise_for_the_same_seed(reader: NetworkRecogniser):
    index: Any = Index(30)
    first, again, other = (
        observe(reader, index, "train", calibration.FIT_ROWS, clips=4, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len({found.row for found in first}) == len(calibration.FIT_ROWS)


def test_a_split_without_texts_is_one_line(reader: NetworkRecogniser):
    index: Any = Index(3)
    with pytest.raises(
        AvsrError,
        match=r"no clip with a text in split 'test'; its splits are train \(\d+\), val \(\d+\)",
    ):
        observe(reader, index, "test", calibration.REPORT_ROWS)


def test_the_file_keeps_its_weights_and_gains_the_map(tmp_path: Path, tiny_network):
    source, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    checkpoint.save(source, tiny_network(TOKENS), {"knows": "nothing"}, dtype=torch.float16)
    before = load_model(source, "cpu")
    fitted = Calibration((1.0, 0.5, -0.5, 0.25), logit(0.3))
    info = {"calibration": fitted.to_info(), "word_times": Timing(4, 0).to_info(), "window_s": 7}
    save_calibrated(source, target, NetworkRecogniser(before.model, "x", info, before.device))
    after = load_model(target, "cpu")
    assert after.calibration == fitted
    assert after.timing == Timing(4, 0)
    assert set(after.info) == {"knows", "calibration", "word_times"}
    assert after.info["calibration"]["features"] == list(FEATURES)
    assert abs(source.stat().st_size - target.stat().st_size) < 1000  # still in half precision
    for name, tensor in before.model.state_dict().items():
        assert torch.equal(tensor, after.model.state_dict()[name])


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("none.safetensors", "d"), 1, "no such file"),
        (("default", "nowhere"), 1, "index.json"),
    ],
)
def test_mistakes_are_one_line(arguments, status, message, capsys: pytest.CaptureFixture[str]):
    assert main(["calibrate", *arguments]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("avsr: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err


@pytest.mark.parametrize("option", ["--clips", "--limit"])
def test_wrong_numbers_are_wrong_usage(option: str, capsys: pytest.CaptureFixture[str]):
    assert main(["calibrate", "m", "d", option, "0"]) == 2
    captured = capsys.readouterr()
    assert f"Invalid value for '{option}'" in captured.err
    assert captured.err.count("\n") == 1


def test_json_of_a_report_is_plain(reader: NetworkRecogniser):
    index: Any = Index(6)
    json.dumps(
        report(reader, reader, observe(reader, index, "val", ((Condition(), "video"),))),
        allow_nan=False,
    )
