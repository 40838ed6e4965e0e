"""Shards: what goes in comes out, any clip alone, with our reader, webdataset and tar alike."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip, from_runs, to_runs
from avsr.preprocessing.index import ShardEntry
from avsr.preprocessing.members import shard_key
from avsr.preprocessing.shards import ShardIndex, ShardWriter


def make_clip(id: str, frames: int = 12, seed: int = 0) -> Clip:
    """A clip with 16-bit sound, soft moving picture and ragged presence."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:CROP_SIZE, :CROP_SIZE]
    lips = [128 + 90 * np.sin((x + 3 * t) / 17 + seed) * np.cos(y / 13) for t in range(frames)]
    return Clip(
        id=id,
        audio=(rng.integers(-32768, 32768, frames * SAMPLES_PER_FRAME) / 32768).astype(np.float32),
        lips=np.array(lips).reshape(frames, CROP_SIZE, CROP_SIZE).astype(np.uint8),
        audio_present=rng.random(frames) < 0.7,
        video_present=rng.random(frames) < 0.7,
        start_s=1.5,
        text=f"say {id}",
        speaker="s1",
        quality=np.full(frames, 0.75, np.float32),
    )


CLIPS = [
    make_clip(id, 5 + i, i)
    for i, id in enumerate(["s1_bbaf2n", "anna/day.1", "anna/day_1", "ü ß/x", "_", "b" * 300])
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips in shards of four."""
    dst = tmp_path_factory.mktemp("shards") / "out"
    writer = ShardWriter(dst, shard_clips=4)
    for i, clip in enumerate(CLIPS):
        writer.add(clip, {"split": "val" if i == 2 else "train", "words": [["say", 0.1, 0.25]]})
    writer.close(skipped=[{"source": "bad.mp4", "reason": "broken"}])
    return dst


def assert_same(got: Clip, given: Clip) -> None:
    for name in ("id", "text", "speaker", "start_s"):
        assert getattr(got, name) == getattr(given, name)
    for name in ("audio", "audio_present", "video_present"):
        np.testing.assert_array_equal(getattr(got, name), getattr(given, name))
    error = np.abs(got.lips.astype(int) - given.lips.astype(int))
    assert got.lips.shape == given.lips.shape
    assert error.mean() < 2
    assert error.max() < 25


def test_every_clip_comes_back_alone_and_in_any_order(folder: Path) -> None:
    index = ShardIndex(folder)
    assert len(index) == len(CLIPS)
    for i in (5, 0, 3, 1, 4, 2):
        clip = index.load(i)
        assert_same(clip, CLIPS[i])
        assert clip.words == (("say", 0.1, 0.25),)


def test_the_sound_of_a_clip_comes_without_its_lips(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "avsr.preprocessing.media.streams.read_lips", lambda _: pytest.fail("decoded lips")
    )
    index = ShardIndex(folder)
    for i in (4, 1):
        np.testing.assert_array_equal(index.audio(i), CLIPS[i].audio)


def test_index_tells_what_is_in_it_without_reading_the_shards(folder: Path) -> None:
    index = ShardIndex(folder / "index.json")
    entry = index.entries[2]
    assert (entry.id, entry.split, entry.speaker, entry.text) == (
        "anna/day_1",
        "val",
        "s1",
        "say anna/day_1",
    )
    assert entry.frames == 7
    assert entry.duration_s == pytest.approx(0.28)
    assert entry.video_present == pytest.approx(CLIPS[2].video_present.mean(), abs=1e-4)
    assert [e.shard for e in index.entries] == ["shard-00000.tar"] * 4 + ["shard-00001.tar"] * 2
    assert index.info["skipped"] == [{"source": "bad.mp4", "reason": "broken"}]
    assert index.info["counts"]["clips"] == 6
    assert index.info["hours"] == pytest.approx(sum(c.duration_s for c in CLIPS) / 3600, abs=1e-4)
    assert "mediapipe" in index.info["versions"]
    meta = index.meta(0)
    assert meta["words"] == [["say", 0.1, 0.25]]
    assert meta["crop"] == {"scale_median": 0.75, "scale_min": 0.75}


def test_webdataset_reads_the_same_clips(folder: Path) -> None:
    wds = pytest.importorskip("webdataset")
    urls = [str(path) for path in sorted(folder.glob("*.tar"))]
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    assert [json.loads(sample["json"])["id"] for sample in samples] == [clip.id for clip in CLIPS]
    for sample in samples:
        assert {"lips.mp4", "flac", "json"} <= set(sample)
        assert sample["flac"][:4] == b"fLaC"


def test_the_tars_are_plain(folder: Path, tmp_path: Path) -> None:
    path = folder / "shard-00000.tar"
    with tarfile.open(path, "r:") as tar:
        assert len(tar.getnames()) == 12
        assert all(info.isreg() and "/" not in info.name and info.mtime == 0 for info in tar)
    if shutil.which("tar"):
        run = subprocess.run(
            ["tar", "-xvf", path, "-C", tmp_path], capture_output=True, text=True, check=True
        )
        assert run.stderr == ""
        assert (tmp_path / "s1_bbaf2n.json").is_file()


def test_reads_from_a_url(folder: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/corpus", recursive=True)
    index = ShardIndex("memory://corpus")
    assert_same(index.load(4), CLIPS[4])
    assert index.meta(1)["id"] == "anna/day.1"


def test_index_travels_to_another_process(folder: Path) -> None:
    assert_same(pickle.loads(pickle.dumps(ShardIndex(folder))).load(1), CLIPS[1])


def test_the_same_clips_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "again", shard_clips=4) as writer:
        for i, clip in enumerate(CLIPS):
            writer.add(clip, {"split": "val" if i == 2 else "train", "words": [["say", 0.1, 0.25]]})
    for path in folder.glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_sound_beyond_full_scale_is_clipped_and_nothing_wraps_around(tmp_path: Path) -> None:
    audio = np.linspace(-1.3, 1.3, SAMPLES_PER_FRAME, dtype=np.float32)
    none = np.zeros(1, bool)
    clip = Clip("loud", audio, np.zeros((1, CROP_SIZE, CROP_SIZE), np.uint8), ~none, none)
    with ShardWriter(tmp_path) as writer:
        writer.add(clip)
    got = ShardIndex(tmp_path).load(0)
    np.testing.assert_allclose(got.audio, np.clip(audio, -1, 1), atol=1.01 / 32768)
    assert not got.video_present.any()
    assert got.text is None


def test_writer_refuses_what_cannot_be_read_back(tmp_path: Path, folder: Path) -> None:
    writer = ShardWriter(tmp_path)
    writer.add(CLIPS[0])
    with pytest.raises(AvsrError, match="comes twice"):
        writer.add(CLIPS[0])
    with pytest.raises(AvsrError, match="no frames"):
        writer.add(make_clip("empty", 0))
    with pytest.raises(AvsrError, match="already holds shards"):
        ShardWriter(folder)


def test_a_writer_that_fails_leaves_no_index(tmp_path: Path) -> None:
    with pytest.raises(AvsrError), ShardWriter(tmp_path) as writer:
        writer.add(make_clip("empty", 0))
    with pytest.raises(AvsrError, match=r"no index\.json"):
        ShardIndex(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 99, "clips": []}', '{"schema": 1, "clips": [3]}', "\x00"]
)
def test_a_bad_index_is_one_clear_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(AvsrError, match=r"prepare|schema 99") as caught:
        ShardIndex(tmp_path)
    assert "\n" not in str(caught.value)


BAD_FIELDS = [
    *(("frames", value) for value in ("x", -3, 0, 10**12, None, 1.5, True, [], {})),
    *(("members", value) for value in (None, [], {}, {"flac": [0, 1]}, 3)),
    *(("audio_present", value) for value in (-0.1, 1.5, "x", None)),
    *(("id", value) for value in (None, 3, "", "s1_bbaf2n")),  # the last one is the first clip's
    *(("shard", value) for value in (None, "", "../shard-00000.tar", "/etc/passwd", "..", 3)),
    *(("text", value) for value in (3, ["a"], {})),
    *(("speaker", value) for value in (3, [])),
    *(("split", value) for value in (False, ["val"])),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_a_bad_field_is_one_line_that_names_file_and_field(
    folder: Path, tmp_path: Path, field: str, value: object
) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["clips"][3][field] = value
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(AvsrError) as caught:
        ShardIndex(tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(tmp_path / "index.json") in message
    assert f"clips.3.{field}" in message or (field == "members" and "clips.3: members" in message)


@pytest.mark.parametrize(
    "place", [[0, 10**13], [-1, 5], [0, 0], [0], [0, 1, 2], ["0", 5], None, [10**300, 1]]
)
def test_no_clip_is_larger_than_it_can_be(folder: Path, tmp_path: Path, place: object) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["clips"][2]["members"]["flac"] = place
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(AvsrError, match=r"index\.json: clips\.2.*members"):
        ShardIndex(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '{"schema": 1, "clips": [' + "[" * 5000]
)
def test_deep_nesting_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(AvsrError, match=r"index\.json: (not JSON|nested too deeply)"):
        ShardIndex(tmp_path)


def test_a_lying_shard_is_one_line(folder: Path, tmp_path: Path) -> None:
    """The json member of a clip is as little to be trusted as the index."""
    shutil.copytree(folder, tmp_path / "copy")
    index = ShardIndex(tmp_path / "copy")
    path = tmp_path / "copy" / index.entries[0].shard
    first, size = index.entries[0].members["json"]
    for meta in (
        "3",
        "null",
        '{"id": 1, "frames": 1000000000000}',
        "[" * size,
        '{"id":"a","frames":5,"text":3}',
    ):
        content = bytearray(path.read_bytes())
        content[first : first + size] = meta.encode().ljust(size)[:size]
        path.write_bytes(content)
        with pytest.raises(AvsrError, match="cannot read clip 's1_bbaf2n'") as caught:
            index.load(0)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "other"),
        ("frames", 1),
        ("text", "x"),
        ("speaker", None),
        ("video_present", 0.25),
        ("audio_present", 0.5),
    ],
)
def test_an_index_of_other_shards_is_one_line(
    folder: Path, tmp_path: Path, field: str, value: object
) -> None:
    shutil.copytree(folder, tmp_path / "shards")
    index = json.loads((folder / "index.json").read_text())
    assert index["clips"][1][field] != value
    index["clips"][1][field] = value
    (tmp_path / "shards/index.json").write_text(json.dumps(index))
    with pytest.raises(
        AvsrError, match=rf"shard-\d+.tar: cannot read clip .* \(its {field} is .* in index.json\)"
    ):
        ShardIndex(tmp_path / "shards").load(1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "shards")
    index = ShardIndex(tmp_path / "shards")
    path = tmp_path / "shards" / index.entries[0].shard
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(AvsrError, match="is no file"):
        index.load(0)


def test_a_wrong_split_is_answered_with_those_that_exist(folder: Path, tmp_path: Path) -> None:
    index = ShardIndex(folder)
    assert index.select("val") == [2]
    assert index.select() == list(range(6))
    with pytest.raises(
        AvsrError, match=r"no clip in split 'vla'; its splits are train \(5\), val \(1\)"
    ):
        index.select("vla")
    with ShardWriter(tmp_path / "plain") as writer:
        writer.add(CLIPS[0])
    with pytest.raises(AvsrError, match="its clips belong to no split"):
        ShardIndex(tmp_path / "plain").select("val")
    assert ShardIndex(tmp_path / "plain").select("train") == [0]


def test_a_shard_cut_short_or_damaged_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    index = ShardIndex(tmp_path / "copy")
    path = tmp_path / "copy" / "shard-00001.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(AvsrError, match="ends before the clip"):
        index.load(4)
    path.write_bytes(bytes(1_000_000))
    with pytest.raises(AvsrError, match="cannot read clip"):
        index.load(5)
    path.unlink()
    with pytest.raises(AvsrError, match="cannot read clip"):
        index.load(5)
    assert_same(index.load(0), CLIPS[0])


@given(st.lists(st.booleans(), max_size=40))
def test_runs_give_the_mask_back(mask: list[bool]) -> None:
    array = np.array(mask, bool)
    np.testing.assert_array_equal(from_runs(to_runs(array), len(array)), array)


@given(st.text(), st.text())
def test_keys_have_no_dots_or_slashes_and_keep_ids_apart(one: str, other: str) -> None:
    key = shard_key(one)
    assert key
    assert len(key) <= 80
    assert not set(key) & set("./\\ \0")
    assert (key == shard_key(other)) == (one == other)


def test_an_index_takes_little_memory(folder: Path, tmp_path: Path) -> None:
    """As objects its clips would take 3 KB each."""
    lines = (folder / "index.json").read_text().splitlines()
    first = lines.index('"clips": [') + 1
    row = json.loads(lines[first].removesuffix(","))
    rows = [json.dumps(row | {"id": f"clip-{i:07d}"}) for i in range(3000)]
    (tmp_path / "index.json").write_text("\n".join([*lines[:first], ",\n".join(rows), "]", "}"]))
    ShardIndex(folder)  # what is imported and made once
    tracemalloc.start()
    index = ShardIndex(tmp_path)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 300 * len(index)
    assert [entry.id for entry in index.entries] == [f"clip-{i:07d}" for i in range(3000)]
    whole = ShardEntry.model_validate(row)
    assert index.entries[-1] == whole.model_copy(update={"id": "clip-0002999"})
