"""Shards front to back: each clip once, the same order for the same seed, from anywhere."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import fsspec
import numpy as np
import pytest
from torch.utils.data import DataLoader

from avsr.base.errors import AvsrError
from avsr.preprocessing import remote
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardIndex, ShardWriter
from avsr.preprocessing.streaming import ShardDataset, ShardFolder

CLIPS, SHARD_CLIPS = 22, 3
PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-api.md"


def make_clip(number: int) -> Clip:
    rng = np.random.default_rng(number)
    frames = 2 + number % 4
    return Clip(
        id=f"anna/{number}",
        audio=(rng.integers(-9999, 9999, 640 * frames) / 32768).astype(np.float32),
        lips=np.full((frames, 96, 96), 10 * number, np.uint8),
        audio_present=np.ones(frames, bool),
        video_present=np.ones(frames, bool),
        text=f"text {number}",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight shards; every fifth clip is of the split val."""
    dst = tmp_path_factory.mktemp("shards") / "mine"
    with ShardWriter(dst, SHARD_CLIPS) as writer:
        for i in range(CLIPS):
            writer.add(make_clip(i), {"split": "train" if i % 5 else "val"})
    return dst


class _Breaking(SimpleHTTPRequestHandler):
    """Ends the first answer for each shard in the middle."""

    answers: ClassVar[Counter[str]] = Counter()

    def copyfile(self, source, outputfile) -> None:
        self.answers[self.path] += 1
        content = source.read()
        cut = self.path.endswith(".tar") and self.answers[self.path] == 1
        outputfile.write(content[: len(content) // 2] if cut else content)


def ids(clips) -> list[str]:
    return [clip.id for clip in clips]


def test_the_clips_are_those_of_the_index(folder):
    index = ShardIndex(folder)
    for i, clip in enumerate(ShardDataset(folder)):
        alone = index.load(i)
        assert (clip.id, clip.text) == (alone.id, alone.text)
        np.testing.assert_array_equal(clip.audio, alone.audio)
        np.testing.assert_array_equal(clip.lips, alone.lips)
    assert i == CLIPS - 1


def test_a_split_holds_its_clips_alone(folder):
    val = ShardDataset(folder, "val")
    assert val.clips == 5
    assert val.frames == sum(clip.frames for clip in val)
    assert ids(val) == [f"anna/{i}" for i in range(0, CLIPS, 5)]
    with pytest.raises(AvsrError, match="no clip of split 'test'"):
        ShardDataset(folder, "test")


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_each_clip_comes_once_an_epoch_over_ranks_and_workers(folder, workers):
    seen: list[str] = []
    for rank in range(2):
        part = ShardDataset(
            folder, shuffle_clips=4, rank=rank, world=2, transform=lambda clip: clip.id
        )
        seen += DataLoader(part, batch_size=None, num_workers=workers)
    assert sorted(seen) == sorted(f"anna/{i}" for i in range(CLIPS))


def test_the_order_is_a_function_of_seed_and_epoch(folder):
    def order(seed: int, epoch: int) -> list[str]:
        clips = ShardDataset([folder], shuffle_clips=6, seed=seed)
        clips.set_epoch(epoch)
        return ids(clips)

    first = order(1, 0)
    assert first == order(1, 0)
    assert len({tuple(first), tuple(order(2, 0)), tuple(order(1, 1))}) == 3
    assert sorted(first) == sorted(order(1, 1))


def test_a_web_server_and_object_storage_serve_as_well_as_a_disk(folder, serve):
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/bucket/mine", recursive=True)
    for url in (serve(folder), "memory://bucket/mine"):
        clips = ShardDataset(url, "train", shuffle_clips=6)
        assert ids(clips) == ids(ShardDataset(folder, "train", shuffle_clips=6))
    # connections do not survive a fork
    clips = ShardDataset(serve(folder), transform=lambda clip: clip.id)
    assert len(list(DataLoader(clips, batch_size=None, num_workers=2))) == CLIPS
    memory.rm("/bucket", recursive=True)


def test_a_connection_that_breaks_is_taken_up_again(folder, serve, monkeypatch):
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    _Breaking.answers.clear()
    assert ids(ShardDataset(serve(folder, _Breaking))) == [f"anna/{i}" for i in range(CLIPS)]
    assert _Breaking.answers["/shard-00000.tar"] == 2


def test_a_web_server_need_not_serve_parts_of_a_file(serve, tmp_path):
    """fsspec would ask for the second block of 5 MB and be refused."""
    content = np.random.default_rng(0).bytes(12_000_000)
    (tmp_path / "large.tar").write_bytes(content)
    read = b""
    with ShardFolder(serve(tmp_path)).open("large.tar") as file:
        while chunk := file.read(1 << 20):
            read += chunk
    assert read == content


def test_a_damaged_shard_is_one_line_that_names_it(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    shard = copy / "shard-00001.tar"
    whole = shard.read_bytes()
    second = ShardIndex(copy).entries[4].span[0] - 512  # of its clips, and its header
    for content, what in (
        (whole[: second + 700], r"behind its clip 0 \(unexpected end of data\)"),
        (whole[:second], "it holds 1 clips, and index.json says 3"),
        (whole[: second - 1024], "clip 'anna_3-.*lacks its json"),
        (b"\xff" * len(whole), "behind its clip 0"),
        (whole.replace(b"fLaC", b"FlAc"), "cannot read clip 'anna_3-"),
    ):
        shard.write_bytes(content)
        with pytest.raises(AvsrError, match=rf"shard-00001\.tar: .*{what}") as caught:
            list(ShardDataset(copy))
        assert "\n" not in str(caught.value)
    shard.unlink()
    with pytest.raises(AvsrError, match=r"shard-00001\.tar: .*No such file"):
        list(ShardDataset(copy))


def test_an_index_is_read_line_by_line_or_whole(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    path = copy / "index.json"
    text = path.read_text()
    path.write_text(text.replace("\n", " "))
    assert ShardDataset(copy).clips == CLIPS
    lines = text.splitlines(keepends=True)
    first = lines.index('"clips": [\n') + 1
    for wrong, what in (
        (lines[:-2], "cut short"),
        ([*lines[:first], lines[first], *lines[first:]], "not in the order of the shards"),
        (
            [
                *lines[:first],
                lines[first].replace('"frames": 2', '"frames": 0'),
                *lines[first + 1 :],
            ],
            r"clips\.0: frames is 0",
        ),
        (
            [*lines[:first], *[line.replace("anna/1", "anna/0") for line in lines[first:]]],
            "an id comes twice",
        ),
    ):
        path.write_text("".join(wrong))
        with pytest.raises(AvsrError, match=what):
            ShardDataset(copy)
    path.unlink()
    with pytest.raises(AvsrError, match=r"no index\.json to read"):
        ShardDataset(copy)


def test_a_server_that_is_not_there_is_one_line():
    with pytest.raises(AvsrError, match=r"no index\.json to read") as caught:
        ShardDataset("http://127.0.0.1:9/mine")
    assert "\n" not in str(caught.value)


def test_skipped_clips_are_not_kept(tmp_path):
    writer = ShardWriter(tmp_path / "mine")
    writer.add(make_clip(0))
    writer.close(
        skipped=[{"source": f"{i}.mp4", "reason": "broken"} for i in range(3)], face="main"
    )
    info, entries = ShardFolder.of(tmp_path / "mine").index()
    assert info["counts"]["skipped"] == 3
    assert info["face"] == "main"
    assert not info.get("skipped")
    assert [entry.id for entry in entries] == ["anna/0"]


@pytest.mark.parametrize(
    "wanted", ["set_epoch", "datasets", pytest.param("lightning", marks=pytest.mark.slow)]
)
def test_the_examples_of_the_page_run(wanted, folder, tmp_path, monkeypatch):
    if wanted != "set_epoch":
        pytest.importorskip(wanted, reason=f"the example needs {wanted}")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    (code,) = [block for block in blocks if "ShardDataset" in block and wanted in block]
    names: dict = {}
    exec(compile(code, "page", "exec"), names)
    if wanted == "datasets":
        assert names["row"]["id"] == "anna/0"
        assert names["row"]["lips"].shape == (2, 96, 96)
