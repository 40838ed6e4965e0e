"""Training that streams: the same clips and changes as from a cache, each once an epoch, and where
it goes on nothing is lost."""

from __future__ import annotations

import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from toy import TEXTS, make_clip

from avsr.base.errors import AvsrError
from avsr.model.config import ModelConfig
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.shards import ShardWriter
from avsr.training.config import AugmentConfig, DataConfig, load_recipe
from avsr.training.data.dataset import TrainSet
from avsr.training.data.loading import clips_of, items, loader, open_clips, plan_of
from avsr.training.data.selection import Selection
from avsr.training.data.stream.catalogue import Catalogue
from avsr.training.data.stream.plan import StreamPlan
from avsr.training.data.validation import validation_clips

TOKENIZER = Tokenizer.from_texts(TEXTS)
MODEL = ModelConfig(tokens=TOKENIZER.tokens, crop=32, dim=32, heads=2)
CLIPS = 40


def settings(**more: Any) -> DataConfig:
    few = {"max_frames": 75, "shuffle_frames": 200, "join": 0.0, "stream": "yes"}
    return DataConfig(**(few | more))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight shards of two speakers; each fifth clip has no lips, each eighth is of another
    split."""
    dst = tmp_path_factory.mktemp("stream") / "mine"
    with ShardWriter(dst, 5) as writer:
        for i in range(CLIPS):
            clip = make_clip(i, TEXTS[i % len(TEXTS)], 12 + i % 5, video=i % 5 > 0)
            first, rest = (clip.text or "").split()
            words = [[first, 0.05, 0.2], [rest, 0.2, 0.4]]
            split = "val" if i % 8 == 7 else "train"
            writer.add(clip, {"split": split, "words": words, "speaker": f"s{i % 2}"})
    return dst


def opened(folder: str | Path, config: DataConfig) -> Selection:
    return open_clips([folder], config, TOKENIZER, MODEL)


def dataset(clips: Selection, **augment: float) -> TrainSet:
    return TrainSet(clips_of(clips), TOKENIZER, MODEL, AugmentConfig(**augment), seed=3)


def ids(clips: Selection, config: DataConfig, first: int = 0) -> list[list[str]]:
    """The clips of each batch."""
    plan = plan_of(clips, config, 3, first, 14)
    return [[item["id"] for item in batch] for batch in items(dataset(clips), plan)]


def epoch_zero(clips: Catalogue, config: DataConfig, world: int = 1) -> Counter[int]:
    """How often each clip comes in the first epoch, by all readers of all ranks."""
    found: Counter[int] = Counter()
    for rank in range(world):
        plan = StreamPlan(clips, config, 1, 0, 200, rank, world)
        for worker in range(plan.readers):
            found.update(
                key.clip for draw in plan.draws(worker) for key in draw.keys if key.epoch == 0
            )
    return found


@pytest.mark.parametrize(("workers", "world"), [(0, 1), (1, 1), (2, 1), (1, 2), (2, 2)])
def test_each_clip_comes_once_an_epoch(folder, workers, world):
    config = settings(workers=workers, audio_only_share=0.5)  # all of those without lips
    clips = opened(folder, config)
    assert isinstance(clips, Catalogue)
    assert epoch_zero(clips, config, world) == Counter(range(len(clips)))


def test_a_stream_and_a_cache_give_the_same_clips_changed_alike(folder):
    """What takes nothing of other clips is the same to the bit."""
    alone = {"noise": 0.0, "wrong_lips": 0.0, "splice": 0.0, "voice": 0.4}
    config = settings(audio_only_share=0.5)
    stream, store = opened(folder, config), opened(folder, settings(stream="no"))
    assert len(stream) == len(store) == 35
    assert stream.total_frames == store.total_frames
    assert stream.dropped == store.dropped
    plan = StreamPlan(stream, config, 3, 0, 12)  # type: ignore[arg-type]
    keys = [key for draw in plan.draws(0) for key in draw.keys]
    cached = dataset(store, **alone)
    made = [item for batch in items(dataset(stream, **alone), plan) for item in batch]
    assert len(made) == len(keys) > 30
    for key, item in zip(keys, made, strict=True):
        for name, value in cached[key].items():
            np.testing.assert_array_equal(item[name], value)


def test_what_is_mixed_in_comes_from_the_pool(folder):
    mixed = {"splice": 1.0, "splice_speakers": 0.5, "noise": 1.0, "noise_warmup": 0}
    mixed |= {"wrong_lips": 0.5, "non_speech": 0.0, "own_babble": 0.5, "talker": 0.4}
    config = settings(join=0.5, join_most=2)
    clips = opened(folder, config)
    plan = plan_of(clips, config, 3, 0, 15)
    made = [
        [item for batch in items(dataset(clips, **mixed), plan) for item in batch] for _ in range(2)
    ]
    for one, again in zip(*made, strict=True):  # and is drawn alike each time
        assert one["id"] == again["id"]
        np.testing.assert_array_equal(one["audio"], again["audio"])
    ids = [item["id"] for item in made[0]]
    assert any("+clip" in id for id in ids)
    assert any(id.endswith("+splice") for id in ids)
    assert not all(item["synchronised"] for item in made[0])


def test_homophenes_come_from_the_pool_and_words_must_exist(folder):
    config = settings()
    clips = opened(folder, config)
    some = {"homophenes": 0.5, "homophene_groups": ("bin lay",), "wrong_lips": 0, "out_of_sync": 0}
    made = items(dataset(clips, **some), plan_of(clips, config, 3, 0, 10))
    assert not all(item["synchronised"] for batch in made for item in batch)
    with pytest.raises(AvsrError, match="no clip with lips says any"):
        dataset(clips, homophenes=0.5, homophene_groups=("no such",))


def test_batches_keep_to_their_size_and_go_by_length(folder):
    config = settings(join=0.3)
    clips = opened(folder, config)
    for batch in items(dataset(clips, speed=0.0), plan_of(clips, config, 3, 0, 20)):
        lens = [len(item["lips"]) for item in batch]
        assert len(lens) == 1 or max(lens) * len(lens) <= config.max_frames


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_goes_on_exactly_with_as_many_processes(folder, workers):
    """Without reading what it has done."""
    config = settings(workers=workers, join=0.3)
    clips = opened(folder, config)
    whole = ids(clips, config)
    for first in (1, 6, 11):
        assert ids(clips, config, first) == whole[first:]


def test_loader_processes_give_what_one_process_gives(folder):
    config = settings(workers=2)
    clips = opened(folder, config)
    told = dataset(clips, noise=1.0, noise_warmup=0)
    here = loader(told, plan_of(clips, config, 3, 1, 9), 0)
    # as processes that are spawned are handed them
    handed = pickle.loads(pickle.dumps((told, plan_of(clips, config, 3, 1, 9))))
    there = loader(*handed, 2)
    for one, other in zip(here, there, strict=True):
        assert one.ids == other.ids
        for (_, a), (_, b) in zip(one.tensors(), other.tensors(), strict=True):
            assert torch.equal(a, b)


def test_balance_and_clips_without_lips_hold_on_average(folder):
    config = settings(audio_only_share=0.1, balance=1.0)
    clips = opened(folder, config)
    plan = StreamPlan(clips, config, 1, 0, 3000)  # type: ignore[arg-type]
    keys = [key for draw in plan.draws(0) for key in draw.keys]
    seen = np.array([clips.seen[key.clip] for key in keys])  # type: ignore[attr-defined]
    assert 1 - seen.mean() == pytest.approx(0.1, abs=0.02)
    speakers = Counter(
        int(clips.speakers[key.clip])
        for key, has_lips in zip(keys, seen, strict=True)
        if has_lips  # type: ignore[attr-defined]
    )
    least, most = sorted(speakers.values())
    assert least / most > 0.9


def test_from_object_storage_it_streams_by_itself(folder):
    memory = fsspec.filesystem("memory")
    memory.put(f"{folder}/", "/bucket/mine", recursive=True)
    try:
        clips = opened("memory://bucket/mine", settings(stream="auto"))
        assert isinstance(clips, Catalogue)
        assert len(next(iter(items(dataset(clips), plan_of(clips, settings(), 3, 0, 1)))))
        with pytest.raises(AvsrError, match=r"data\.stream is no, and memory://.* is a URL"):
            opened("memory://bucket/mine", settings(stream="no"))
        recipe = load_recipe("grid-tiny", ["val_clips=3"])
        told = [clip.id for clip in validation_clips(["memory://bucket/mine"], recipe)]
        local = [clip.id for clip in validation_clips([folder], recipe)]
        assert len(told) == 3
        assert set(told) <= {f"clip{i}" for i in range(7, CLIPS, 8)}
        assert set(local) <= {f"clip{i}" for i in range(7, CLIPS, 8)}
    finally:
        memory.rm("/bucket", recursive=True)


def test_too_few_shards_and_damaged_ones_are_one_line(folder, tmp_path):
    config = settings(workers=9)
    clips = opened(folder, config)
    with pytest.raises(AvsrError, match=r"8 shards for 1 x 9 loader processes.*data\.workers"):
        plan_of(clips, config, 3, 0, 1)
    shard = next(iter(clips.shards)).part  # type: ignore[attr-defined]
    content = (folder / shard.name).read_bytes()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes().replace(b"fLaC", b"FlAc"))
    assert content.count(b"fLaC") == 5
    damaged = opened(copy, settings())
    for workers in (0, 1):
        with pytest.raises(AvsrError, match=r"shard-0000\d\.tar: .*clip"):
            list(loader(dataset(damaged), plan_of(damaged, settings(), 3, 0, 2), workers))
