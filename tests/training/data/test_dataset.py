"""Batches are a function of the seed and the step, and nothing is dropped in silence."""

from __future__ import annotations

import gc
import itertools
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy import FRAMES, TEXTS, make_clip

from avsr.base.errors import AvsrError
from avsr.model.config import ModelConfig
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardIndex, ShardWriter
from avsr.training.config import AugmentConfig, DataConfig
from avsr.training.data.augmentation.augment import Sample
from avsr.training.data.batch import FRAMES_PER_TOKEN, Batch, collate
from avsr.training.data.dataset import TrainSet, frame_targets
from avsr.training.data.loading import loader
from avsr.training.data.plan import Plan, plan_epoch
from avsr.training.data.selection import outputs_needed
from avsr.training.data.store import ClipStore
from avsr.training.data.vocabulary import vocabulary

TOKENIZER = Tokenizer.from_texts(TEXTS)
MODEL = ModelConfig(tokens=TOKENIZER.tokens, crop=32, dim=32, heads=2)
ARRAYS = ("audio", "lips", "audio_present", "video_present")
NONE = dict.fromkeys(
    ("splice", "non_speech", "noise", "room", "equalise", "codec", "spans", "unindicated"), 0.0
)
NONE |= dict.fromkeys(("voice", "wrong_lips", "out_of_sync", "speed", "formants", "picture"), 0.0)
NONE |= dict.fromkeys(("shift_px", "rotate_deg", "scale", "flip", "warp_px"), 0.0)
NONE |= dict.fromkeys(("perspective", "light", "texture", "borrow"), 0.0)
SILENCE = np.zeros(40 * 640, np.float32)
CALM = AugmentConfig(**NONE, noise_warmup=0, mel_masks=0, video_masks=0)


def clips(frames: int = 40, count: int = 6, step: int = 0) -> list[Clip]:
    return [make_clip(i, TEXTS[i % 6], frames + step * i) for i in range(count)]


def items(dataset: TrainSet, epochs: int = 1, *followers: int) -> Iterator[tuple[int, dict]]:
    """(clip, item) of every clip in every epoch."""
    return (
        (i, dataset[(epoch, i, followers)]) for epoch in range(epochs) for i in range(len(dataset))
    )


def calm(**changes: float) -> AugmentConfig:
    """Nothing is done to a clip but what is named; also shares that a recipe may not ask for."""
    return CALM.model_copy(update=changes)


@pytest.mark.parametrize(
    ("ids", "frames"), [([], 0), ([1], 1), ([1, 2], 2), ([1, 1], 3), ([2, 2, 2], 5)]
)
def test_frames_ctc_needs(ids: list[int], frames: int) -> None:
    assert outputs_needed(ids) == frames
    if frames > 1:  # exactly so many frames have a path, one fewer have none
        for extra, finite in ((0, True), (-1, False)):
            log_probs = torch.zeros(frames + extra, 1, 3).log_softmax(-1)
            loss = torch.nn.functional.ctc_loss(
                log_probs, torch.tensor([ids]), (frames + extra,), (len(ids),)
            )
            assert bool(torch.isfinite(loss)) == finite


def test_unusable_clips_are_dropped_and_named(corpus: Callable[..., Path]) -> None:
    mixed = [
        make_clip(0, "bin a"),
        make_clip(1, "bin a", frames=3),
        make_clip(2, "zzz"),
        make_clip(3, "set b"),
    ]
    store = ClipStore([corpus(mixed)], "train", TOKENIZER)
    assert [store.entry(i).id for i in range(len(store))] == ["clip0", "clip3"]
    reasons = dict(store.dropped)
    assert "3 frames are too few" in reasons["clip1"]
    assert "z" in reasons["clip2"]
    two = ClipStore([corpus(mixed)], "train", TOKENIZER, per_frame=2)
    assert [two.entry(i).id for i in range(len(two))] == ["clip0", "clip1", "clip3"]


def test_an_epoch_shows_every_seen_clip_once_and_a_share_of_the_heard(
    corpus: Callable[..., Path],
) -> None:
    heard = [make_clip(100 + i, TEXTS[i % 6], video=False) for i in range(20)]
    store = ClipStore([corpus(), corpus(heard)], "train", TOKENIZER)
    config = DataConfig(max_frames=75, audio_only_share=0.25, join=0)
    batches = plan_epoch(store, config, 0, 0)
    shown = [i for batch in batches for _, i, *_ in batch]
    assert sorted(i for i in shown if store.seen[i]) == list(range(6))
    assert sum(not store.seen[i] for i in shown) == 2
    assert all(len(batch) * FRAMES <= 75 for batch in batches)
    assert list(plan_epoch(store, config, 0, 0)) == list(batches)
    assert list(plan_epoch(store, config, 0, 1)) != list(batches)


def test_a_plan_goes_on_where_it_was_left(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER)
    config = DataConfig(max_frames=75)
    whole = list(Plan(store, config, 0, 0, 9))
    assert list(Plan(store, config, 0, 4, 9)) == whole[4:]
    ranks = [list(Plan(store, config, 0, 0, 4, rank, 2)) for rank in (0, 1)]
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == whole[:8]


def test_the_same_item_is_the_same_whenever_it_is_asked_for(corpus: Callable[..., Path]) -> None:
    folder = corpus()
    shown = []
    for cache_gb in (0, 1):
        store = ClipStore([folder], "train", TOKENIZER, cache_gb)
        dataset = TrainSet(
            store, TOKENIZER, MODEL, AugmentConfig(splice=1, spans=0.25, unindicated=0.25), 5
        )
        dataset[(0, 1)]
        shown.append([dataset[(3, 2, followers)] for followers in ((), (4,), (4, 1))])
    for first, second in zip(*shown, strict=True):
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name])


def test_padding_is_absent_everywhere(corpus: Callable[..., Path]) -> None:
    store = ClipStore(
        [corpus([make_clip(0, "bin a", 16), make_clip(1, "set b", 12)])], "train", TOKENIZER
    )
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
    sample = Sample(
        "a", "bin", None, nothing, np.zeros((20, 1)), nothing, nothing, [("bin", 0.2, 0.44)]
    )
    text = "".join("-" if i == 0 else TOKENIZER.tokens[i] for i in frame_targets(sample, TOKENIZER))
    assert text == "-----bbiinn---------"


@pytest.mark.parametrize("seed", range(2))
def test_items_agree_with_themselves_whatever_is_done_to_them(
    corpus: Callable[..., Path], seed: int
) -> None:
    store = ClipStore([corpus(clips())], "train", TOKENIZER)
    shares = {"voice": 0.3, "wrong_lips": 0.2, "out_of_sync": 0.2}
    config = AugmentConfig(splice=0.3, non_speech=0.2, spans=0.25, unindicated=0.25, **shares)
    dataset = TrainSet(store, TOKENIZER, MODEL, config, seed)
    kinds = set()
    for _, item in itertools.chain(items(dataset, 3), items(dataset, 3, 2)):
        frames = len(item["lips"])
        text = TOKENIZER.decode(item["targets"].tolist())
        kinds.add("nothing" if not text else "join" if item["id"].count("clip") == 2 else "one")
        assert len(item["audio"]) == len(item["clean_audio"]) == 640 * frames
        assert item["audio"].dtype == item["clean_audio"].dtype == np.float32
        assert item["mel_keep"].shape == (4 * frames, MODEL.n_mels)
        assert all(
            len(item[name]) == frames
            for name in ("audio_present", "video_present", "frame_targets")
        )
        assert frames >= outputs_needed(item["targets"].tolist())
        assert len(text.split()) in (0, 2, 4)
        spoken = set(item["frame_targets"][item["frame_targets"] > 0].tolist())
        assert spoken <= set(item["targets"].tolist())
        if not text:
            assert not spoken
            assert (item["frame_targets"] == 0).all()
    assert kinds == {"nothing", "join", "one"}


def test_augmentation_leaves_the_cached_clips_alone(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER, cache_gb=1)
    for i in range(len(store)):
        store.sample(i)
    before = [
        {name: np.copy(getattr(store.sample(i), name)) for name in ARRAYS}
        for i in range(len(store))
    ]
    shares = {"voice": 0.3, "wrong_lips": 0.3, "out_of_sync": 0.3}
    config = AugmentConfig(
        splice=0.3, non_speech=0.2, spans=0.25, unindicated=0.25, picture=1, **shares
    )
    for use in ("both", "audio", "video"):
        dataset = TrainSet(store, TOKENIZER, MODEL, config, 0, use)
        assert len([*items(dataset, 3), *items(dataset, 3, 1)]) == 36
    for i, arrays in enumerate(before):
        for name, value in arrays.items():
            np.testing.assert_array_equal(getattr(store.sample(i), name), value)


def test_clips_without_lips_make_whole_batches(corpus: Callable[..., Path]) -> None:
    heard = [make_clip(i, text, video=False) for i, text in enumerate(TEXTS)]
    store = ClipStore([corpus(heard)], "train", TOKENIZER)
    batches = plan_epoch(store, DataConfig(max_frames=75, audio_only_share=0.25), 0, 0)
    assert sorted(i for batch in batches for _, i, *_ in batch) == list(range(6))
    dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(spans=0.25, unindicated=0.25), 0)
    batch = collate([dataset[key] for key in batches[0]])
    assert batch.lips.shape[2:] == (96, 96)
    assert not batch.video_present.any()
    assert (batch.audio_present == batch.valid).all()  # a clip with one modality keeps it


def test_a_clip_without_words_counts_as_much_as_one_with(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER)
    dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(non_speech=0.5, speed=0), 1)
    batch = collate([item for _, item in items(dataset)])
    empty = batch.target_lens == 0
    assert empty.any()
    assert not empty.all()
    torch.testing.assert_close(batch.tokens[empty], batch.lens[empty] / FRAMES_PER_TOKEN)
    torch.testing.assert_close(batch.tokens[~empty], batch.target_lens[~empty].float())
    one = collate([item for i, item in items(dataset) if empty[i]][:1])
    assert one.targets.shape == (1, 1)  # no target at all still has a column


# ------------------------------------------------------------------------------------ two sentences


def test_several_follow_and_hardly_a_pause_is_left_where_seams_are_tight(
    corpus: Callable[..., Path],
) -> None:
    store = ClipStore([corpus(clips())], "train", TOKENIZER)
    for tight in (0.0, 1.0):
        dataset = TrainSet(store, TOKENIZER, MODEL, calm(tight_joins=tight), 3)
        lengths = []
        for i, item in items(dataset, 3, 4, 1):
            text = f"{TEXTS[i]} {TEXTS[4]} {TEXTS[1]}"
            assert TOKENIZER.decode(item["targets"].tolist()) == text
            lengths.append(len(item["lips"]))
        # each says its words between 0.1 and 0.5 s of 1.6 s
        assert (max(lengths) <= 80) == bool(tight)
    config = DataConfig(max_frames=400, join=1.0, join_most=4)
    found = [key.followers for batch in plan_epoch(store, config, 0, 0) for key in batch]
    assert {len(followers) for followers in found} > {1, 3}
    assert max(len(followers) for followers in found) <= 4


def test_a_followed_clip_says_both_sentences(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus(clips())], "train", TOKENIZER)
    dataset = TrainSet(store, TOKENIZER, MODEL, CALM, 3)
    lengths = set()
    for follower in (0, 5):
        for i, item in items(dataset, 2, follower):
            text = f"{TEXTS[i]} {TEXTS[follower]}"
            assert TOKENIZER.decode(item["targets"].tolist()) == text
            letters = [k for k, _ in itertools.groupby(item["frame_targets"].tolist()) if k]
            # in this order, with the pause between them
            assert letters == TOKENIZER.encode(text.replace(" ", ""))
            assert item["synchronised"]
            lengths.add(len(item["lips"]))
    assert max(lengths) <= 80
    # the words of the first clip end at 0.5 s, those of the second start at 0.1 s
    assert min(lengths) >= 13 + 39
    assert len(lengths) > 5


def test_without_word_times_nobody_follows(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "some") as writer:
        for i, clip in enumerate(clips()):
            first, second = TEXTS[i].split()
            times = [] if i in (1, 2) else [[first, 0.1, 0.3], [second, 0.3, 0.5]]
            writer.add(clip, {"split": "train", "words": times})
    store = ClipStore([tmp_path / "some"], "train", TOKENIZER, cache_gb=1)
    dataset = TrainSet(store, TOKENIZER, MODEL, CALM, 0)
    for i, follower in ((0, 1), (1, 0), (1, 2)):
        item = dataset[(0, i, (follower,))]
        assert TOKENIZER.decode(item["targets"].tolist()) == TEXTS[i]
        assert len(item["lips"]) == 40


def test_two_sentences_that_have_no_room_for_each_other_stay_apart(
    corpus: Callable[..., Path],
) -> None:
    """Five frames are enough for "bin a", ten are too few for it and another one and the space
    between them."""
    store = ClipStore([corpus(clips(5))], "train", TOKENIZER)
    assert len(store) == 6
    for config in (CALM, calm(speed=0.1)):
        for i, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 2, 3):
            assert TOKENIZER.decode(item["targets"].tolist()) == TEXTS[i]
            assert len(item["lips"]) >= outputs_needed(item["targets"].tolist())


def test_where_nobody_speaks_nobody_follows_and_nothing_is_out_of_step(
    corpus: Callable[..., Path],
) -> None:
    store = ClipStore([corpus(clips())], "train", TOKENIZER)
    config = calm(non_speech=1.0, wrong_lips=0.5, out_of_sync=0.5, voice=1.0)
    for _, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 2, 4):
        assert len(item["targets"]) == 0
        assert (item["frame_targets"] == 0).all()
        assert len(item["lips"]) > 50  # as long as two sentences
        assert item["synchronised"]
        np.testing.assert_array_equal(item["audio"], item["clean_audio"])


@pytest.mark.parametrize("join", [0.0, 0.4, 1.0])
def test_a_plan_says_who_follows_and_keeps_to_the_size_of_a_batch(
    corpus: Callable[..., Path], join: float
) -> None:
    heard = [make_clip(100 + i, TEXTS[i % 6], video=False) for i in range(12)]
    store = ClipStore([corpus(clips(16, 24, 2)), corpus(heard)], "train", TOKENIZER, cache_gb=1)
    dataset = TrainSet(store, TOKENIZER, MODEL, CALM, 0)
    config = DataConfig(max_frames=150, join=join)
    shares, sizes = [], []
    for epoch in range(6):
        batches = plan_epoch(store, config, 0, epoch)
        assert list(batches) == list(plan_epoch(store, config, 0, epoch))
        keys = [key for batch in batches for key in batch]
        assert {key[0] for key in keys} == {epoch}
        assert sorted(i for _, i, *_ in keys if store.seen[i]) == list(range(24))
        assert not any(followers for _, i, followers, _ in keys if not store.seen[i])
        found = [followers for _, i, followers, _ in keys if store.seen[i]]
        assert all(store.seen[j] for followers in found for j in followers)
        assert max(map(len, found)) <= 1
        shares.append(np.mean([len(followers) for followers in found]))
        for batch in batches:
            longest = max(len(dataset[key]["lips"]) for key in batch)
            assert len(batch) * longest <= 150 or len(batch) == 1
            sizes.append(len(batch))
    assert np.mean(shares) == pytest.approx(join, abs=0.12)
    assert max(sizes) > 2


@pytest.mark.parametrize(("warmup", "noisy"), [(0, [1, 1, 1]), (2, [0, 0.5, 1])])
def test_noise_comes_in_over_the_first_epochs(
    corpus: Callable[..., Path], warmup: int, noisy: list[float]
) -> None:
    """Without a warm-up it is there from the start."""
    store = ClipStore([corpus(clips(16, 24))], "train", TOKENIZER, cache_gb=1)
    dataset = TrainSet(store, TOKENIZER, MODEL, calm(noise=1.0, noise_warmup=warmup), 0)
    shares = np.reshape(
        [not np.array_equal(it["audio"], it["clean_audio"]) for _, it in items(dataset, 3)], (3, 24)
    )
    assert shares.mean(1).tolist() == pytest.approx(noisy, abs=0.3 if warmup else 0)


def test_one_other_talker_is_often_the_same_speaker_and_louder_only_where_lips_tell(
    corpus: Callable[..., Path],
) -> None:
    heard = [make_clip(100 + i, TEXTS[i % 6], 40, video=False) for i in range(30)]
    store = ClipStore([corpus(clips()), corpus(heard)], "train", TOKENIZER, cache_gb=1)
    config = calm(noise=1.0, talker=1.0, snr_low_db=-10, snr_high_db=5, out_of_sync=0.5)
    voices = np.stack([store.sample(j).audio for j in range(len(store))])
    seen, unseen, own = [], [], []
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 8):
        noise = item["audio"] - item["clean_audio"]
        alike = voices @ noise / np.linalg.norm(voices, axis=1) / np.linalg.norm(noise)
        talker = int(np.argmax(alike))
        assert alike[talker] > 0.99  # one voice and nothing else
        snr_db = 10 * np.log10(np.mean(item["clean_audio"] ** 2) / np.mean(noise**2))
        (seen if store.seen[i] and item["synchronised"] else unseen).append(snr_db)
        if store.seen[i]:
            own.append(store.seen[talker] and talker != i)
    assert -10.1 < min(seen) < -5
    assert -0.1 < min(unseen) < 2
    assert np.mean(own) == pytest.approx(0.5 + 0.5 * 5 / 36, abs=0.2)


def test_babble_is_of_many_or_in_the_speakers_own_voice(corpus: Callable[..., Path]) -> None:
    heard = [make_clip(100 + i, TEXTS[i % 6], 40, video=False) for i in range(30)]
    store = ClipStore([corpus(clips()), corpus(heard)], "train", TOKENIZER, cache_gb=1)
    voices = np.stack([store.sample(j).audio for j in range(len(store))])
    foreign: dict[float, list[float]] = {}
    for share in (0.0, 1.0):
        config = calm(
            noise=1.0, talker=0.0, babble=1.0, own_babble=share, snr_low_db=0, snr_high_db=0
        )
        for i, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 4):
            parts = np.linalg.lstsq(voices.T, item["audio"] - item["clean_audio"], rcond=None)[0]
            loud = np.flatnonzero(np.abs(parts) > 0.1 * np.abs(parts).max())
            assert 2 <= len(loud) <= 7  # a voice may be drawn twice
            if store.seen[i]:
                assert share == 0 or i not in loud
                foreign.setdefault(share, []).append(
                    np.mean([not store.seen[int(j)] for j in loud])
                )
    assert np.mean(foreign[0.0]) > 0.6
    assert np.mean(foreign[1.0]) == 0


def test_lips_that_tell_who_is_meant_are_never_taken_away(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus(clips(30, step=4))], "train", TOKENIZER, cache_gb=1)
    config = calm(
        noise=1.0,
        talker=1.0,
        snr_low_db=-10.0,
        snr_high_db=10.0,
        spans=0.3,
        unindicated=0.2,
        video_masks=2,
    )
    hidden = {True: 0, False: 0}
    views = [store.sample(i).lips for i in range(len(store))]
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 8):
        needed = item["lips_needed"]
        if item["audio"].reshape(-1, 640).any(1).all():  # not silenced
            noise = item["audio"] - item["clean_audio"]
            assert needed == (np.mean(noise**2) > np.mean(item["clean_audio"] ** 2))
        hidden[needed] += not (
            item["video_present"].all() and np.array_equal(item["lips"], views[i])
        )
    assert hidden[True] == 0
    assert hidden[False] > 10


@pytest.mark.parametrize("seen", [40, 3])
def test_lips_are_needed_only_where_they_are_seen_and_somebody_else_is_heard(
    corpus: Callable[..., Path], seen: int
) -> None:
    """A clip of lips alone lends no voice, and a glimpse of lips tells nobody from anybody."""
    paired = [
        replace(
            make_clip(100 + i, TEXTS[i % 6], 40),
            video_present=np.arange(40) < seen,
            speaker=f"p{i}",
        )
        for i in range(12)
    ]
    mute = [
        replace(make_clip(200 + i, TEXTS[i % 6], 40, audio=False), audio=SILENCE) for i in range(12)
    ]
    store = ClipStore([corpus([*paired, *mute])], "train", TOKENIZER, cache_gb=1)
    config = calm(noise=1.0, talker=1.0, snr_low_db=-10.0, snr_high_db=-1.0)
    needed = changed = 0
    for _, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 12):
        other = not np.array_equal(item["audio"], item["clean_audio"])
        assert other or not item["lips_needed"]
        needed += item["lips_needed"]
        changed += other
    assert changed > 20
    assert (needed > 20) == (seen == 40)
    assert needed == 0 or seen == 40


# ----------------------------------------------------------------------------- lips that do not fit


def test_the_lips_of_another_clip_come_with_a_sound_that_can_be_heard(
    corpus: Callable[..., Path],
) -> None:
    """Also where the recipe asks for much noise, for spans and for silence."""
    store = ClipStore([corpus(clips(30, step=4))], "train", TOKENIZER, cache_gb=1)
    loud = {
        "noise": 1.0,
        "snr_low_db": -10.0,
        "snr_high_db": -10.0,
        "spans": 0.3,
        "unindicated": 0.2,
    }
    views = [store.sample(i).lips for i in range(len(store))]
    whose = set()
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, calm(wrong_lips=1.0, **loud), 0), 3):
        frames = store.frames[i]
        # cut to length, or the last frame held
        held = [v[np.arange(frames).clip(0, len(v) - 1)] for v in views]
        shown = [j for j, lips in enumerate(held) if np.array_equal(item["lips"], lips)]
        assert len(shown) == 1
        assert shown != [i]
        whose.add((i, *shown))
        assert item["synchronised"] is False
        assert TOKENIZER.decode(item["targets"].tolist()) == TEXTS[i]
        assert item["audio_present"].all()
        assert item["video_present"].all()
        np.testing.assert_array_equal(item["clean_audio"], store.sample(i).audio)
        assert item["audio"].reshape(frames, 640).any(1).all()  # no frame is silent
        noise = item["audio"] - item["clean_audio"]
        assert 10 * np.log10(
            np.mean(item["clean_audio"] ** 2) / np.mean(noise**2)
        ) == pytest.approx(5, abs=0.1)
    assert len(whose) > 8  # not the same one each time
    drowned = [item for _, item in items(TrainSet(store, TOKENIZER, MODEL, calm(**loud), 0), 3)]
    assert all(item["synchronised"] is True for item in drowned)
    # -10 dB is 0.1
    assert any(np.mean((item["audio"] - item["clean_audio"]) ** 2) > 0.05 for item in drowned)
    assert any(
        not (item["audio_present"].all() and item["video_present"].all()) for item in drowned
    )


def test_lips_come_too_early_or_too_late_and_sound_and_words_stay(
    corpus: Callable[..., Path],
) -> None:
    store = ClipStore([corpus(clips())], "train", TOKENIZER, cache_gb=1)
    late = []
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, calm(out_of_sync=1.0), 0), 6):
        plain = store.sample(i).lips
        moves = [
            m
            for m in range(-15, 16)
            if np.array_equal(item["lips"], plain[(np.arange(40) - m).clip(0, 39)])
        ]
        assert len(moves) == 1
        late += moves
        assert item["synchronised"] is False
        np.testing.assert_array_equal(item["audio"], store.sample(i).audio)
        np.testing.assert_array_equal(
            item["frame_targets"], frame_targets(store.sample(i), TOKENIZER)
        )
    assert {abs(move) for move in late} <= set(range(2, 11))
    assert min(late) < -5
    assert max(late) > 5


def test_lips_fit_but_for_the_shares_asked_for(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER, cache_gb=1)
    dataset = TrainSet(store, TOKENIZER, MODEL, calm(wrong_lips=0.2, out_of_sync=0.3), 0)
    fit = [item["synchronised"] for _, item in items(dataset, 50)]
    assert np.mean(fit) == pytest.approx(0.5, abs=0.08)
    batch = collate([dataset[(epoch, 0)] for epoch in range(8)])
    assert batch.synchronised.dtype == torch.bool
    assert batch.synchronised.tolist() == fit[:48:6]
    assert batch.take(torch.tensor([3, 1])).synchronised.tolist() == [fit[18], fit[6]]
    assert all(
        item["synchronised"] for _, item in items(TrainSet(store, TOKENIZER, MODEL, CALM, 0), 5)
    )


def test_a_words_lips_may_be_those_of_a_lookalike_where_it_can_be_heard(
    corpus: Callable[..., Path],
) -> None:
    """Words at 0.1 to 0.3 and 0.3 to 0.5 s; only "a" and "b" look alike."""
    store = ClipStore([corpus()], "train", TOKENIZER, cache_gb=1)
    assert [j for i in range(6) for j in store.saying(i, 1, {"a"})]
    config = calm(
        homophenes=0.5, homophene_groups=("a b",), spans=0.25, unindicated=0.25, noise=1.0
    )
    swapped = []
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 20):
        if item["synchronised"]:
            continue
        plain = store.sample(i)
        assert {word for word, _, _ in plain.words or ()} & {"a", "b"}
        swapped.append(i)
        assert item["audio_present"].all()
        noise = item["audio"] - plain.audio
        assert np.mean(noise**2) <= 1.001 * np.mean(plain.audio**2)  # 0 dB at worst
        np.testing.assert_array_equal(item["frame_targets"], frame_targets(plain, TOKENIZER))
        changed = np.flatnonzero((item["lips"] != plain.lips).any((1, 2)))
        donors = [
            store.sample(j).lips for j in store.saying(i, 1, {"a", "b"} - {plain.text.split()[1]})
        ]
        assert any(np.array_equal(item["lips"][changed], lips[changed]) for lips in donors)
        assert changed.min() >= 7
        assert changed.max() < 13
    assert len(swapped) > 10


@pytest.mark.parametrize("missing", ["audio_present", "video_present"])
def test_a_word_that_is_not_all_there_keeps_its_lips(
    corpus: Callable[..., Path], missing: str
) -> None:
    """So do clips in which another sentence follows; the second word lies at 0.3 to 0.5 s, frames 7
    to 12."""
    config = calm(homophenes=1.0, homophene_groups=("a b",))
    gap = (np.arange(40) != 9) if missing == "audio_present" else (np.arange(40) != 10)
    store = ClipStore(
        [corpus([replace(clip, **{missing: gap}) for clip in clips()])],
        "train",
        TOKENIZER,
        cache_gb=1,
    )
    assert all(
        item["synchronised"] for _, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 5)
    )
    store = ClipStore([corpus()], "train", TOKENIZER, cache_gb=1)
    assert not all(
        item["synchronised"] for _, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 5)
    )
    assert all(
        item["synchronised"]
        for _, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 5, 2)
    )


def test_lookalikes_that_nobody_says_are_an_error(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER, cache_gb=1)
    with pytest.raises(AvsrError, match="no clip with lips says any of"):
        TrainSet(store, TOKENIZER, MODEL, calm(homophenes=0.2, homophene_groups=("A B",)), 0)


@pytest.mark.parametrize("missing", ["audio_present", "video_present"])
@pytest.mark.parametrize("share", ["wrong_lips", "out_of_sync"])
def test_what_is_alone_has_nothing_to_disagree_with(
    corpus: Callable[..., Path], missing: str, share: str
) -> None:
    """Lips without sound must stay the lips that said the words."""
    alone = [replace(clip, **{missing: np.zeros(40, bool)}) for clip in clips()]
    store = ClipStore([corpus(alone)], "train", TOKENIZER, cache_gb=1)
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, calm(**{share: 1.0}), 0)):
        assert item["synchronised"] is True
        assert not item[missing].any()
        if missing == "audio_present":
            np.testing.assert_array_equal(item["lips"], store.sample(i).lips)


# -------------------------------------------------------------------------------------- specialists


@pytest.mark.parametrize("use", ["audio", "video"])
def test_a_specialist_sees_one_modality_only(corpus: Callable[..., Path], use: str) -> None:
    store = ClipStore([corpus(clips())], "train", TOKENIZER, cache_gb=1)
    config = calm(wrong_lips=0.5, out_of_sync=0.5, spans=0.25, unindicated=0.25)
    other = "video" if use == "audio" else "audio"
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0, use), 2):
        assert item[f"{use}_present"].all()
        assert not item[f"{other}_present"].any()
        assert item["clean_present"].all() == (use == "audio")
        assert item["synchronised"] is True
        assert TOKENIZER.decode(item["targets"].tolist()) == TEXTS[i]
        if use == "audio":
            np.testing.assert_array_equal(item["audio"], store.sample(i).audio)
        else:
            np.testing.assert_array_equal(item["lips"], store.sample(i).lips)
    assert store.sample(0).audio_present.all()  # the cache is as it was
    assert store.sample(0).video_present.all()


@pytest.mark.parametrize(("use", "heard"), [("both", 2), ("audio", 2), ("video", 0)])
def test_clips_without_lips_teach_no_eye(corpus: Callable[..., Path], use: str, heard: int) -> None:
    voices = [make_clip(100 + i, TEXTS[i % 6], video=False) for i in range(20)]
    store = ClipStore([corpus(), corpus(voices)], "train", TOKENIZER, use=use)
    config = DataConfig(max_frames=75, audio_only_share=0.25, use=use)
    shown = [i for batch in plan_epoch(store, config, 0, 0) for _, i, *_ in batch]
    assert sorted(shown)[:6] == list(range(6))
    assert sum(not store.seen[i] for i in shown) == heard == len(shown) - 6


@pytest.mark.parametrize(("use", "count"), [("both", 10), ("audio", 6), ("video", 10)])
def test_clips_without_sound_teach_no_ear(
    corpus: Callable[..., Path], use: str, count: int
) -> None:
    """They cannot follow a clip that has sound, either."""
    mute = [make_clip(100 + i, TEXTS[i % 6], audio=False) for i in range(4)]
    store = ClipStore([corpus([*clips(), *mute])], "train", TOKENIZER, use=use)
    shown = [
        key
        for batch in plan_epoch(store, DataConfig(max_frames=80, join=1, use=use), 0, 0)
        for key in batch
    ]
    assert len(shown) == len(store) == count
    assert len(store.dropped) == 10 - count
    assert {j for _, i, followers, _ in shown for j in (i, *followers)} == set(range(count))


# -------------------------------------------------------------------------------------- odd corpora


def test_word_times_in_another_letter_case_are_spelt_as_the_text(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "shouted") as writer:
        for i, text in enumerate(TEXTS):
            first, second = text.upper().split()
            writer.add(
                make_clip(i, text),
                {"split": "train", "words": [[first, 0.1, 0.3], [second, 0.3, 0.5]]},
            )
    store = ClipStore([tmp_path / "shouted"], "train", TOKENIZER)
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, calm(splice=1.0), 0)):
        assert " ".join(word for word, _, _ in store.sample(i).words or ()) == TEXTS[i]
        letters = [TOKENIZER.tokens[k] for k in item["frame_targets"] if k > 0]
        assert set(letters) == set(TOKENIZER.decode(item["targets"].tolist()).replace(" ", ""))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_that_cannot_be_read_is_one_line_from_any_process(
    corpus: Callable[..., Path], workers: int
) -> None:
    folder = corpus()
    store = ClipStore([folder], "train", TOKENIZER)  # no cache: it is read while training
    shard = next(folder.glob("*.tar"))
    shard.write_bytes(shard.read_bytes()[:2000])
    plan = Plan(store, DataConfig(max_frames=75), 0, 0, 4)
    with pytest.raises(AvsrError, match="shard") as error:
        list(loader(TrainSet(store, TOKENIZER, MODEL, CALM, 0), plan, workers))
    assert "\n" not in str(error.value)


def test_one_clip_has_no_other_lips(corpus: Callable[..., Path]) -> None:
    store = ClipStore([corpus(clips(count=1))], "train", TOKENIZER)
    (_, item), *_ = items(TrainSet(store, TOKENIZER, MODEL, calm(wrong_lips=1.0), 0))
    assert not np.array_equal(item["lips"], store.sample(0).lips)  # out of step instead
    assert item["synchronised"] is False


def test_texts_are_learnt_in_canonical_form_and_word_times_go_with_them(
    tmp_path: Path,
) -> None:
    """Typed with an accent of its own, odd spaces, and a word of which nothing can be seen."""
    with ShardWriter(tmp_path / "typed") as writer:
        words = [["e\u0301te\u0301", 0.1, 0.3], ["\u200b", 0.3, 0.3], ["a\u00adb", 0.3, 0.5]]
        clip = replace(make_clip(0, "x"), text="e\u0301te\u0301\u00a0\u200b a\u00adb")
        writer.add(clip, {"split": "train", "words": words})
    tokenizer = vocabulary([tmp_path / "typed"], "train")
    assert tokenizer.tokens[1:] == (" ", *"abté")
    store = ClipStore([tmp_path / "typed"], "train", tokenizer)
    (_, item), *_ = items(TrainSet(store, tokenizer, MODEL, CALM, 0))
    assert store.sample(0).words == [("été", 0.1, 0.3), ("ab", 0.3, 0.5)]
    assert tokenizer.decode(item["targets"].tolist()) == "été ab"


# ---------------------------------------------------------------------------------------- processes


def equal_batches(first: Batch, second: Batch) -> bool:
    pairs = zip(first.tensors(), second.tensors(), strict=True)
    return first.ids == second.ids and all(torch.equal(a, b) for (_, a), (_, b) in pairs)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_share_one_cache_however_they_are_started(
    corpus: Callable[..., Path], tmp_path: Path, start: str
) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 64000), 16000)
    folder, config = (
        corpus(clips(75)),
        AugmentConfig(noise_dir=tmp_path, noise=1, talker=0, babble=0),
    )
    store = ClipStore([folder], "train", TOKENIZER, cache_gb=1)
    dataset = TrainSet(store, TOKENIZER, MODEL, config, 0)
    plan = Plan(store, DataConfig(max_frames=300), 0, 0, 3)
    made = list(loader(dataset, plan, 1, multiprocessing_context=start))
    # what the worker has read is here, and nothing is read again
    next(folder.glob("*.tar")).unlink()
    used = {i for batch in plan for _, i, *_ in batch}
    for i in used:
        assert store.sample(i).frames == 75
    here = [collate([dataset[key] for key in batch]) for batch in plan]
    assert all(equal_batches(a, b) for a, b in zip(made, here, strict=True))


@pytest.mark.parametrize("cache_gb", [0, 1])
def test_what_a_spawned_worker_is_sent_holds_no_clips_and_no_noise(
    corpus: Callable[..., Path], tmp_path: Path, cache_gb: float
) -> None:
    soundfile.write(tmp_path / "noise.wav", np.random.default_rng(0).normal(0, 0.1, 640000), 16000)
    store = ClipStore([corpus(clips(75))], "train", TOKENIZER, cache_gb)
    dataset = TrainSet(
        store, TOKENIZER, MODEL, AugmentConfig(noise_dir=tmp_path, rir_dir=tmp_path), 0
    )
    for i in range(len(store)):
        store.sample(i)
    item = dataset[(0, 0)]
    sent = pickle.dumps(dataset)
    assert len(sent) < 20_000
    again = pickle.loads(sent)[(0, 0)]
    for name, value in item.items():
        np.testing.assert_array_equal(value, again[name])


@pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="counts what is open as Linux tells it"
)
def test_the_memory_of_clips_goes_with_the_last_who_uses_it(corpus: Callable[..., Path]) -> None:
    folder = corpus()

    def opened() -> int:
        gc.collect()
        return sum(
            "avsr-clips" in os.readlink(f)
            for f in Path("/proc/self/fd").iterdir()
            if f.is_symlink()
        )

    before = opened()
    store = ClipStore([folder], "train", TOKENIZER, cache_gb=1)
    sample = store.sample(0)
    assert opened() > before
    del store
    assert sample.lips.any()  # what was handed out stays good
    del sample
    assert opened() == before


class Ranks:
    """What the ranks of one machine tell each other, in one process: the first one's row comes
    first."""

    def __init__(self) -> None:
        self.rows: list[torch.Tensor] = []

    def all_gather(self, row: torch.Tensor) -> torch.Tensor:
        self.rows.append(row)
        return torch.stack(self.rows)

    def barrier(self) -> None: ...


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="ranks share their memory on Linux")
def test_what_one_rank_has_decoded_no_other_decodes(
    corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ranks, read = corpus(), Ranks(), []
    load = ShardIndex.load
    monkeypatch.setattr(ShardIndex, "load", lambda self, i: read.append(i) or load(self, i))
    stores = [ClipStore([folder], "train", TOKENIZER, cache_gb=1) for _ in range(3)]
    for store in stores:
        store.share(ranks)
    assert read == []  # nobody reads what nobody asked for
    for store in (stores[1], stores[0], stores[2]):
        for i in range(6):
            np.testing.assert_array_equal(store.sample(i).lips, stores[0].sample(i).lips)
    assert sorted(read) == list(range(6))


def test_a_rank_that_cannot_open_the_others_memory_keeps_its_own(
    corpus: Callable[..., Path],
) -> None:
    class Elsewhere(Ranks):
        def all_gather(self, row: torch.Tensor) -> torch.Tensor:
            stranger = row.clone()
            # this process's number and a descriptor of its own, and yet not that memory
            stranger[3] += 1
            return torch.stack([stranger, row])

    store = ClipStore([corpus()], "train", TOKENIZER, cache_gb=1)
    store.share(Elsewhere())
    for i in range(len(store)):
        store.sample(i)
    assert store.sample(3).text == TEXTS[3]


def test_pinning_a_batch_pins_all_of_it(
    corpus: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ClipStore([corpus()], "train", TOKENIZER)
    batch = collate([TrainSet(store, TOKENIZER, MODEL, CALM, 0)[(0, 0)]])
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    # as the loader's thread does
    assert equal_batches(torch.utils.data._utils.pin_memory.pin_memory(batch), batch)
    assert len(pinned) == len(list(batch.tensors()))


# ------------------------------------------------------------------------------------------- losses


def test_a_run_that_would_lose_most_of_its_clips_names_why_and_what_to_do(
    corpus: Callable[..., Path],
) -> None:
    texts = ["bin a", "set b", "été", "你好", "SET"]
    mixed = [make_clip(i, text) for i, text in enumerate(texts)] + [
        make_clip(5, "bin a bin b", frames=4)
    ]
    store = ClipStore([corpus(mixed)], "train", TOKENIZER)
    with pytest.raises(AvsrError) as error:
        store.check_losses(0.2)
    told = str(error.value)
    assert told.startswith(
        "4 of 6 clips of split 'train' cannot be trained on: 3 with characters that the model "
        "lacks ("
    )
    assert all(char in told for char in "é你好SET")
    assert "1 too short for their texts (such as clip5)" in told
    assert "data.max_dropped=0.67" in told
    assert "\n" not in told
    store.check_losses(0.67)


@pytest.mark.parametrize(("use", "most"), [("both", 0.0), ("audio", 0.0), ("video", 0.0)])
def test_clips_that_a_specialist_leaves_out_are_no_loss(
    corpus: Callable[..., Path], use: str, most: float
) -> None:
    alone = [make_clip(i, TEXTS[i], video=i < 1, audio=i > 2) for i in range(6)]
    ClipStore([corpus(alone)], "train", TOKENIZER, use=use).check_losses(most)


def test_a_corpus_without_a_clip_to_train_on_is_refused_whatever_share_is_allowed(
    corpus: Callable[..., Path],
) -> None:
    short = [make_clip(i, text, frames=2) for i, text in enumerate(TEXTS)]
    with pytest.raises(AvsrError, match=r"6 of 6 clips .* too short .*outputs_per_frame higher$"):
        ClipStore([corpus(short)], "train", TOKENIZER).check_losses(1.0)
    with pytest.raises(AvsrError, match="no clip of split 'tset'"):
        ClipStore([corpus()], "tset", TOKENIZER).check_losses(1.0)


def test_shards_of_crops_that_our_network_does_not_take_are_refused(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "research")
    writer.add(make_clip(0, TEXTS[0]), {"split": "train"})
    writer.close(crops="research")
    with pytest.raises(AvsrError, match="'research' crops, and training takes 'own'"):
        ClipStore([tmp_path / "research"], "train", TOKENIZER)


def test_a_wrong_split_is_answered_with_those_that_have_texts(
    corpus: Callable[..., Path],
) -> None:
    parts = [corpus(split=split) for split in ("val", None)]
    with pytest.raises(
        AvsrError,
        match=r"no clip of split 'tarin' .*set data\.train_split to one of train \(6\), val",
    ):
        vocabulary(parts, "tarin")
    empty = corpus([make_clip(0, "\u200b")])
    with pytest.raises(
        AvsrError,
        match=r"no clip of split 'train' with a text in .*prepare recordings with their texts",
    ):
        vocabulary([empty], "train")


@pytest.mark.parametrize(
    "words", [[["bin"]], [["bin", "x", 1], ["a", 1, 2]], "bin", [[5, 0, 1]], 7]
)
def test_damaged_word_times_are_one_line(tmp_path: Path, words: object) -> None:
    with ShardWriter(tmp_path / "corpus") as writer:
        writer.add(make_clip(0, "bin a"), {"words": words})
    store = ClipStore([tmp_path / "corpus"], "train", Tokenizer.from_texts(["bin a"]))
    with pytest.raises(
        AvsrError,
        match=r"shard-00000.tar: cannot read clip 'clip0' \(its words are not .*the shards again",
    ):
        store.sample(0)


# ----------------------------------------------------------------------------------------- speakers


def spoken_by(*counts: int) -> list[Clip]:
    """So many clips of each of several speakers."""
    speakers = [f"p{k}" for k, count in enumerate(counts) for _ in range(count)]
    return [
        replace(make_clip(i, TEXTS[i % 6], 40), speaker=speaker)
        for i, speaker in enumerate(speakers)
    ]


@pytest.mark.parametrize(("balance", "share"), [(0.0, 24 / 30), (0.5, 2 / 3), (1.0, 0.5)])
def test_speakers_with_few_clips_come_more_often(
    corpus: Callable[..., Path], balance: float, share: float
) -> None:
    store = ClipStore([corpus(spoken_by(24, 6))], "train", TOKENIZER, cache_gb=1)
    keys = [key for batch in plan_epoch(store, DataConfig(balance=balance), 0, 0) for key in batch]
    assert len(keys) == pytest.approx(30, abs=1)
    assert len({(key.clip, key.turn) for key in keys}) == len(keys)
    assert np.mean([key.clip < 24 for key in keys]) == pytest.approx(share, abs=0.03)
    again = [key for key in keys if key.turn]
    assert bool(again) == bool(balance)
    dataset = TrainSet(store, TOKENIZER, MODEL, AugmentConfig(), 0)
    for key in again[:3]:  # what comes again is changed in another way
        first = dataset[key._replace(turn=0)]
        assert not np.array_equal(first["look"], dataset[key]["look"])


def test_sentences_are_spliced_across_speakers_where_that_is_asked_for(
    corpus: Callable[..., Path],
) -> None:
    store = ClipStore([corpus(spoken_by(6, 6, 6))], "train", TOKENIZER, cache_gb=1)
    rng = np.random.default_rng(0)
    found = [store.speaker(j) for _ in range(60) for j in store.of_other_speakers(0, 2, rng)]
    assert set(found) == {"p1", "p2"}
    assert 40 < found.count("p1") < 80
    alone = ClipStore([corpus(spoken_by(6))], "train", TOKENIZER, cache_gb=1)
    assert alone.of_other_speakers(0, 2, rng) == []


def test_other_speech_has_no_words_of_ours(corpus: Callable[..., Path], tmp_path: Path) -> None:
    voice = np.random.default_rng(0).normal(0, 0.1, 160_000)
    soundfile.write(tmp_path / "someone.wav", voice, 16000)
    store = ClipStore([corpus(clips())], "train", TOKENIZER, cache_gb=1)
    config = calm(other_speech=1.0, voices_dir=tmp_path)
    seen = []
    for i, item in items(TrainSet(store, TOKENIZER, MODEL, config, 0), 8):
        assert len(item["targets"]) == 0
        assert (item["frame_targets"] == 0).all()
        assert item["audio_present"].all()
        assert not item["synchronised"]  # these lips teach the eye nothing
        assert item["audio"].std() == pytest.approx(store.sample(i).audio.std(), rel=0.2)
        seen.append(bool(item["video_present"].any()))
    assert 0.15 < np.mean(seen) < 0.65
