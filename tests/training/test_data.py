"""Batches are a function of the seed and the step, and nothing is dropped in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import FRAMES, TEXTS, make_clip

from avsr.config import ModelConfig
from avsr.tokenizer import Tokenizer
from avsr.training.augment import Sample
from avsr.training.config import AugmentConfig, DataConfig
from avsr.training.data import (
    FRAMES_PER_TOKEN,
    ClipStore,
    Plan,
    TrainSet,
    collate,
    frame_targets,
    frames_needed,
    plan_epoch,
)

TOKENIZER = Tokenizer.from_texts(TEXTS)
MODEL = ModelConfig(tokens=TOKENIZER.tokens, crop=32, dim=32, heads=2)
ARRAYS = ("audio", "lips", "audio_present", "video_present")


@pytest.mark.parametrize(("ids", "frames"), [([], 0), ([1], 1), ([1, 2], 2), ([1, 1], 3), ([2, 2, 2], 5)])
def test_frames_ctc_needs(ids: list[int], frames: int) -> None:
    assert frames_needed(ids) == frames
    if frames > 1:  # exactly so many frames have a path, one fewer have none
        for extra, finite in ((0, True), (-1, False)):
            log_probs = torch.zeros(frames + extra, 1, 3).log_softmax(-1)
            loss = torch.nn.functional.ctc_loss(log_probs, torch.tensor([ids]), (frames + extra,), (len(ids),))
            assert bool(torch.isfinite(loss)) == finite


def test_unusable_clips_are_dropped_and_named(corpus: Callable[..., Path]) -> None:
    clips = [make_clip(0, "bin a"), make_clip(1, "bin a", frames=3), make_clip(2, "zzz"), make_clip(3, "set b")]
    store = ClipStore([corpus(clips)], "train", TOKENIZER)
    assert [entry.id for _, _, entry in store.entries] == ["clip0", "clip3"]
    reasons = dict(store.dropped)
    assert "3 frames are too few" in reasons["clip1"]
    assert "z" in reasons["clip2"]


def test_an_epoch_shows_every_seen_clip_once_and_a_share_of_the_heard(corpus: Callable[..., Path]) -> None:
    heard = [make_clip(100 + i, TEXTS[i % 6], video=False) for i in range(20)]
    store = ClipStore([corpus(), corpus(heard)], "train", TOKENIZER)
    config = DataConfig(max_frames=75, audio_only_share=0.25)
    batches = plan_epoch(store, config, 0, 0)
    shown = [i for batch in batches for _, i in batch]
    assert sorted(i for i in shown if store.has_video(i)) == list(range(6))
    assert sum(not store.has_video(i) for i in shown) == 2
    assert all(len(batch) * FRAMES <= 75 for batch in batches)
    assert plan_epoch(store, config, 0, 0) == batches
    assert plan_epoch(store, config, 0, 1) != batches


def test_a_plan_goes_on_where_it_was_left(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER)
    config = DataConfig(max_frames=75)
    whole = list(Plan(store, config, 0, 0, 9))
    assert list(Plan(store, config, 0, 4, 9)) == whole[4:]
    ranks = [list(Plan(store, config, 0, 0, 4, rank, 2)) for rank in (0, 1)]
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == whole[:8]


def test_the_same_item_is_the_same_whenever_it_is_asked_for(corpus: Callable[..., Path]) -> None:
    folder = corpus()
    items = []
    for cache_gb in (0, 1):
        store = ClipStore([folder], "train", TOKENIZER, cache_gb)
        dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(splice=1, spans=1, silent=1), 5)
        dataset[(0, 1)]
        items.append(dataset[(3, 2)])
    for name, value in items[0].items():
        np.testing.assert_array_equal(value, items[1][name])


def test_padding_is_absent_everywhere(corpus: Callable[..., Path]) -> None:
    clips = [make_clip(0, "bin a", 16), make_clip(1, "set b", 12)]
    store = ClipStore([corpus(clips)], "train", TOKENIZER)
    dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(speed=0, splice=0), 0)
    batch = collate([dataset[(0, 0)], dataset[(0, 1)]])
    assert batch.lens.tolist() == [16, 12]
    assert batch.audio.shape == (2, 16 * 640)
    assert batch.mel_keep.shape == (2, 64, 80)
    assert not batch.audio_present[1, 12:].any()
    assert not batch.video_present[1, 12:].any()
    assert (batch.frame_targets[1, 12:] == -1).all()
    assert batch.take(torch.tensor([1])).ids == ["clip1"]


def test_frame_targets_spread_letters_over_words() -> None:
    nothing = np.zeros(0)
    sample = Sample("a", "bin", None, nothing, np.zeros((20, 1)), nothing, nothing, [("bin", 0.2, 0.44)])
    text = "".join("-" if i == 0 else TOKENIZER.tokens[i] for i in frame_targets(sample, TOKENIZER))
    assert text == "-----bbiinn---------"


@pytest.mark.parametrize("seed", range(2))
def test_items_agree_with_themselves_whatever_is_done_to_them(corpus: Callable[..., Path], seed: int) -> None:
    store = ClipStore([corpus([make_clip(i, text, 40) for i, text in enumerate(TEXTS)])], "train", TOKENIZER)
    config = AugmentConfig(join=0.4, splice=0.3, nothing=0.2, spans=0.5, silent=0.5)
    dataset = TrainSet(store, TOKENIZER, MODEL, config, seed)
    kinds = set()
    for item in (dataset[(epoch, i)] for epoch in range(6) for i in range(len(store))):
        frames = len(item["lips"])
        text = TOKENIZER.decode(item["targets"].tolist())
        kinds.add("nothing" if not text else "join" if item["id"].count("clip") == 2 else "one")
        assert len(item["audio"]) == len(item["clean_audio"]) == 640 * frames
        assert item["audio"].dtype == item["clean_audio"].dtype == np.float32
        assert item["mel_keep"].shape == (4 * frames, MODEL.n_mels)
        assert all(len(item[name]) == frames for name in ("audio_present", "video_present", "frame_targets"))
        assert frames >= frames_needed(item["targets"].tolist())
        assert len(text.split()) in (0, 2)
        spoken = set(item["frame_targets"][item["frame_targets"] > 0].tolist())
        assert spoken <= set(item["targets"].tolist())
        if not text:
            assert not spoken
            assert (item["frame_targets"] == 0).all()
    assert kinds == {"nothing", "join", "one"}


def test_a_joined_clip_begins_in_the_middle_of_one_sentence_and_ends_in_another(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus([make_clip(i, text, 40) for i, text in enumerate(TEXTS)])], "train", TOKENIZER)
    dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(join=1, splice=0, nothing=0, speed=0), 3)
    endings, beginnings = {t.split()[1] for t in TEXTS}, {t.split()[0] for t in TEXTS}
    for i in range(len(store)):
        item = dataset[(0, i)]
        first, second = TOKENIZER.decode(item["targets"].tolist()).split()
        assert first in endings
        assert second in beginnings


def test_augmentation_leaves_the_cached_clips_alone(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER, cache_gb=1)
    store.preload()
    before = [{name: np.copy(getattr(store.sample(i), name)) for name in ARRAYS} for i in range(len(store))]
    config = AugmentConfig(join=0.3, splice=0.3, nothing=0.2, spans=1, silent=1, picture=1)
    dataset = TrainSet(store, TOKENIZER, MODEL, config, 0)
    for epoch in range(8):
        for i in range(len(store)):
            dataset[(epoch, i)]
    for i, arrays in enumerate(before):
        for name, value in arrays.items():
            np.testing.assert_array_equal(getattr(store.sample(i), name), value)


def test_clips_without_lips_make_whole_batches(corpus: Callable[..., Path]) -> None:
    heard = [make_clip(i, text, video=False) for i, text in enumerate(TEXTS)]
    store = ClipStore([corpus(heard)], "train", TOKENIZER)
    batches = plan_epoch(store, DataConfig(max_frames=75, audio_only_share=0.25), 0, 0)
    assert sorted(i for batch in batches for _, i in batch) == list(range(6))
    dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(spans=1, silent=1), 0)
    batch = collate([dataset[key] for key in batches[0]])
    assert batch.lips.shape[2:] == (MODEL.crop, MODEL.crop)
    assert not batch.video_present.any()
    assert (batch.audio_present == batch.valid).all()  # a clip with one modality keeps it


def test_a_clip_without_words_counts_as_much_as_one_with(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER)
    dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(nothing=0.5, join=0, speed=0), 1)
    batch = collate([dataset[(0, i)] for i in range(len(store))])
    empty = batch.target_lens == 0
    assert empty.any()
    assert not empty.all()
    torch.testing.assert_close(batch.tokens[empty], batch.lens[empty] / FRAMES_PER_TOKEN)
    torch.testing.assert_close(batch.tokens[~empty], batch.target_lens[~empty].float())
    one = collate([dataset[(0, i)] for i in range(len(store)) if empty[i]][:1])
    assert one.targets.shape == (1, 1)  # no target at all still has a column
