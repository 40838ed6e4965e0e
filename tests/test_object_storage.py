"""The three commands with shards in object storage: a server of this machine that speaks S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy import SHAPE

from avsr import cli
from avsr.preprocessing.remote import open_filesystem

CLIPS = 12

RECIPE = """
size = "grid-tiny"
log_every = 1
val_every = 2
save_every = 1
val_clips = 2
[data]
use = "audio"
max_frames = 200
shuffle_frames = 200
workers = 0
[optim]
steps = 3
warmup = 1
precision = "32-true"
[model]
"""
RECIPE += "".join(f"{name} = {value}\n" for name, value in SHAPE.items())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty bucket."""
    why = "needs an S3 server and its client: pip install 'moto[server]' s3fs"
    pytest.importorskip("s3fs", reason=why)
    moto = pytest.importorskip("moto.server", reason=why)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AVSR_SHARDS", str(tmp_path / "cache"))
    files, _ = open_filesystem("s3://corpora")
    files.mkdir("corpora")
    yield "s3://corpora"
    server.stop()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sounds and what they say, two of them held out."""
    for number in range(CLIPS):
        folder = tmp_path / "source" / ("train" if number < CLIPS - 2 else "val") / "anna"
        folder.mkdir(parents=True, exist_ok=True)
        sound = np.random.default_rng(number).normal(0, 0.1, 640 * (20 + number))
        soundfile.write(folder / f"{number}.wav", sound, 16_000)
        (folder / f"{number}.txt").write_text(f"bin {'abcd'[number % 4]}")
    return tmp_path / "source"


def test_prepare_train_and_evaluate_in_a_bucket(
    bucket: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, run, out = f"{bucket}/mine", tmp_path / "run", tmp_path / "out"
    assert cli.main(["prepare", "folder", str(source), url]) == 0, capsys.readouterr().err
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train = ["train", str(tmp_path / "tiny.toml"), "--data", url, "--out", str(run)]
    assert cli.main([*train, "--set", "optim.steps=2"]) == 0, capsys.readouterr().err
    assert cli.main([*train, "--resume"]) == 0, capsys.readouterr().err
    model = str(run / "model.safetensors")
    evaluate = ["evaluate", model, url, "--split", "val", "--suite", "clean", "--out", str(out)]
    assert cli.main(evaluate) == 0, capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert (results["data"], results["clips"]) == (url, 2)
    files, _ = open_filesystem(url)
    assert "corpora/mine/index.json" in files.ls("corpora/mine")
    kept = [path.name for path in (tmp_path / "cache").glob("*/*.tar")]
    assert len(kept) == len(set(kept)) > 0
