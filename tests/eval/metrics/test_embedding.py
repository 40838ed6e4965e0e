"""The measurement of the embedding: lags are put in as stated, counts are right, mistakes get
one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from avsr.base.errors import AvsrError
from avsr.cli import main
from avsr.eval.metrics import embedding as module
from avsr.eval.metrics.embedding import LARGEST, drawn_lag, measure, out_of_sync, to_markdown
from avsr.model import checkpoint
from avsr.model.config import ModelConfig
from avsr.model.network import AVSR
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.shards import ShardWriter
from avsr.sync import Embedding

CODES = 15
READER = SimpleNamespace(name="reader")
VECTORS = np.linalg.qr(np.random.default_rng(0).normal(size=(CODES + 1, CODES + 1)))[0].astype(
    np.float32
)


def spelt(number: int, frames: int = 60, video: bool = True) -> Clip:
    """Level of the sound and grey of the lips show the same random codes."""
    codes = np.random.default_rng(number).integers(1, CODES + 1, frames)
    return Clip(
        id=f"clip{number}",
        audio=np.repeat(codes / 20, SAMPLES_PER_FRAME).astype(np.float32),
        lips=np.broadcast_to((codes * 16)[:, None, None], (frames, CROP_SIZE, CROP_SIZE)).astype(
            np.uint8
        ),
        audio_present=np.ones(frames, bool),
        video_present=np.full(frames, video),
    )


def read(_: object, clips: list[Clip]) -> list[Embedding]:
    """Stands for `embed`."""
    spaces = []
    for clip in clips:
        sound = (
            np.rint(clip.audio[SAMPLES_PER_FRAME // 2 :: SAMPLES_PER_FRAME] * 20)
            .astype(int)
            .clip(0, CODES)
        )
        lips = np.rint(clip.lips[:, 48, 48] / 16).astype(int).clip(0, CODES)
        speaking = np.ones(clip.frames, bool)
        spaces.append(
            Embedding(
                clip.id,
                VECTORS[sound],
                VECTORS[lips],
                clip.audio_present,
                clip.video_present,
                speaking,
            )
        )
    return spaces


@pytest.fixture
def shards(tmp_path: Path) -> Callable[..., Path]:
    def write(clips: list[Clip]) -> Path:
        folder = tmp_path / f"shards{len(list(tmp_path.iterdir()))}"
        with ShardWriter(folder) as writer:
            for clip in clips:
                writer.add(clip, {"split": "val"})
        return folder

    return write


@pytest.mark.parametrize("lag", [-7, 0, 4])
def test_the_sound_comes_later_by_the_lag(lag: int) -> None:
    clip = spelt(0)
    moved = out_of_sync(clip, lag)
    assert moved.frames == clip.frames - abs(lag)
    sound = np.rint(moved.audio[::SAMPLES_PER_FRAME] * 20)
    lips = moved.lips[:, 0, 0] / 16
    shown = slice(max(-lag, 0), moved.frames - max(lag, 0))
    heard = slice(max(lag, 0), moved.frames + min(lag, 0))
    np.testing.assert_array_equal(sound[heard], lips[shown])


def test_lags_are_drawn_clip_by_clip_and_never_zero() -> None:
    lags = [drawn_lag(f"clip{number}", 17) for number in range(600)]
    assert set(lags) == set(range(-LARGEST, LARGEST + 1)) - {0}
    assert lags == [drawn_lag(f"clip{number}", 17) for number in range(600)]
    assert lags != [drawn_lag(f"clip{number}", 18) for number in range(600)]


def test_a_perfect_space_finds_everything(
    shards: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "embed", read)
    folder = shards(
        [
            *(spelt(number) for number in range(18)),
            spelt(50, video=False),
            spelt(51, frames=2 * LARGEST),
        ]
    )
    calls: list[tuple[int, int]] = []
    results = measure(READER, folder, split="val", progress=lambda *at: calls.append(at))  # type: ignore[arg-type]
    assert results["clips"] == 18
    assert results["left_out"] == ["clip50", "clip51"]
    clean = [row for row in results["rows"] if row["condition"] == "clean"]
    assert [(row["found"], row["clips"], row["missed"]) for row in clean] == [(18, 18, [])] * 6
    assert [round(row["chance"], 3) for row in clean[:2]] == [round(1 / 18, 3), round(5 / 18, 3)]
    assert len(results["rows"]) == 12
    assert all(0 <= row["low"] <= row["share"] <= row["high"] <= 1 for row in results["rows"])
    assert calls == [(16, 36), (18, 36), (34, 36), (36, 36)]
    assert results == measure(READER, folder, split="val")  # type: ignore[arg-type]
    text = to_markdown(results)
    assert "left out" in text
    assert "18 of 18" in text
    limited = measure(READER, folder, split="val", limit=3)  # type: ignore[arg-type]
    # first five of three clips: no question
    assert [row["clips"] for row in limited["rows"]] == [3] * 8


def test_a_space_in_which_all_is_alike_finds_nothing(
    shards: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ties are no finds."""

    def alike(_: object, clips: list[Clip]) -> list[Embedding]:
        return [
            Embedding(
                s.id,
                np.ones_like(s.audio),
                np.ones_like(s.video),
                *[s.audio_present] * 2,
                s.speaking,
            )
            for s in read(_, clips)
        ]

    monkeypatch.setattr(module, "embed", alike)
    results = measure(READER, shards([spelt(number) for number in range(7)]))  # type: ignore[arg-type]
    retrieval = [row for row in results["rows"] if "offset" not in row["question"]]
    assert [row["found"] for row in retrieval] == [0] * 8
    assert all(row["missed"] == [f"clip{number}" for number in range(7)] for row in retrieval)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"limit": 0}, "limit 0"), ({"split": "nowhere"}, "'nowhere'"), ({"limit": 1}, "two")],
)
def test_mistakes_get_one_line(shards: Callable[..., Path], options: dict, message: str) -> None:
    folder = shards([spelt(0), spelt(1)])
    with pytest.raises(AvsrError, match=message) as error:
        measure(READER, folder, **options)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_from_the_command_line(
    shards: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shards([spelt(0), spelt(1), spelt(2)])
    config = ModelConfig(tokens=("<blank>", "a"), dim=16, heads=2, video_width=4, audio_width=4)
    model = AVSR(config)
    checkpoint.save(tmp_path / "trained.safetensors", model, {})
    torch.nn.init.zeros_(model.audio_space.weight)
    checkpoint.save(tmp_path / "untrained.safetensors", model, {})
    out = tmp_path / "new" / "space.json"
    common = [str(folder), "--split", "val", "--device", "cpu", "--out", str(out)]
    trained = str(tmp_path / "trained.safetensors")
    for arguments, message in (
        ([str(tmp_path / "untrained.safetensors"), *common], "no trained embedding"),
        ([str(tmp_path / "none.safetensors"), *common], "none.safetensors"),
        ([trained, str(tmp_path / "nowhere"), *common[1:]], "nowhere: no index.json"),
        # told before anything is read
        (["none", "nowhere", "--out", f"{trained}/a.json"], "trained.safetensors: cannot be"),
    ):
        assert main(["embedding", *arguments]) == 1
        shown = capsys.readouterr()
        assert not shown.out
        assert shown.err.startswith("avsr: ")
        assert message in shown.err
        assert shown.err.count("\n") == 1
    assert not out.exists()
    assert main(["embedding", trained, *common]) == 0
    shown = capsys.readouterr()
    assert shown.out == to_markdown(json.loads(out.read_text()))
    assert not shown.err


@pytest.mark.parametrize("limit", ["0", "-3", "many"])
def test_a_limit_below_one_is_wrong_usage(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embedding", "no-model", "no-data", f"--limit={limit}"]) == 2
    shown = capsys.readouterr()
    assert "Invalid value for '--limit'" in shown.err
    assert shown.err.count("\n") == 1
