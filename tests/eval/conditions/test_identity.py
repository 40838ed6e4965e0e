"""Whose lips are shown, and when: partners say something else, shifts are exact."""

from __future__ import annotations

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.eval.conditions.identity import IDENTITIES, SHIFTS_MS, Identity, OutOfSync, partner
from avsr.eval.conditions.noise import CannotBuild, Corpus
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip

SEED = 17
TEXTS = {
    "a": "bin blue at f two now",
    "b": "Bin Blue at F two now",  # the same sentence
    "c": "bin blue at f two please",
    "d": "lay red by k nine again",
    "e": "set green in q one soon",
    "f": None,
}
FRAMES = {"d": 40, "e": 90}


def make_clip(id: str, frames: int = 60) -> Clip:
    rng = np.random.default_rng(list(id.encode()))
    audio = rng.normal(0, 0.05, frames * SAMPLES_PER_FRAME).astype(np.float32)
    lips = rng.integers(1, 255, (frames, 96, 96), dtype=np.uint8)
    present = np.ones((2, frames), np.bool_)
    return Clip(id, audio, lips, present[0], present[1], text=TEXTS.get(id), speaker="s1")


CLIPS = {id: make_clip(id, FRAMES.get(id, 60)) for id in TEXTS}


def corpus_of(ids: str = "abcdef", **options) -> Corpus:
    return Corpus(
        ids,
        lambda id: CLIPS[id].audio,
        load_lips=lambda id: (CLIPS[id].lips, CLIPS[id].video_present),
        texts={id: TEXTS[id] for id in ids},
        **options,
    )


# ---- lips of another clip


def test_the_partner_says_something_else_with_the_fewest_words_in_common() -> None:
    partners = {partner(CLIPS["a"], seed, corpus_of()) for seed in range(20)}
    assert partners == {"d", "e"}  # no word in common; drawn anew for each seed
    assert partner(CLIPS["a"], SEED, corpus_of("abcf")) == "c"  # all that is left
    assert partner(CLIPS["d"], SEED, corpus_of()) != "d"


def test_the_partner_is_of_the_same_speaker_where_there_is_a_choice() -> None:
    for speaker in ("d", "e"):
        corpus = corpus_of(speakers={id: "s1" if id == speaker else "s2" for id in TEXTS})
        assert {partner(CLIPS["a"], seed, corpus) for seed in range(10)} == {speaker}


def test_the_partner_does_not_depend_on_the_order_of_the_corpus() -> None:
    assert partner(CLIPS["a"], SEED, corpus_of("fedcba")) == partner(CLIPS["a"], SEED, corpus_of())


def test_the_lips_are_those_of_the_partner_for_as_long_as_they_last() -> None:
    for id in ("d", "e"):
        corpus = corpus_of("a" + id)
        assert partner(CLIPS["a"], SEED, corpus) == id
        after = Identity("other lips").apply(CLIPS["a"], SEED, corpus)
        shared = min(60, FRAMES[id])
        assert after.audio is CLIPS["a"].audio
        assert (after.id, after.text) == ("a", TEXTS["a"])
        assert (after.lips[:shared] == CLIPS[id].lips[:shared]).all()
        assert not after.lips[shared:].any()
        assert (after.video_present == (np.arange(60) < shared)).all()


def test_where_nobody_says_anything_else_there_are_no_other_lips() -> None:
    step = Identity("other lips")
    for ids in ("a", "ab", "af"):
        with pytest.raises(CannotBuild, match="texts that differ"):
            step.apply(CLIPS["a"], SEED, corpus_of(ids))
    with pytest.raises(CannotBuild, match="load_lips"):
        step.apply(CLIPS["a"], SEED, Corpus("ad", lambda id: CLIPS[id].audio, texts=TEXTS))


# ---- still face, no face


def test_a_still_face_is_the_first_picture_that_is_there() -> None:
    clip = make_clip("g")
    clip.video_present[:7] = False
    after = Identity("still face").apply(clip, SEED, corpus_of())
    assert (after.lips == clip.lips[7]).all()
    assert after.video_present.all()
    clip.video_present[:] = False
    assert not Identity("still face").apply(clip, SEED, corpus_of()).video_present.any()


def test_no_face_is_black_and_says_so_or_not() -> None:
    for mask_indicated in (True, False):
        step = Identity("no face", mask_indicated)
        after = step.apply(CLIPS["a"], SEED, corpus_of())
        assert not after.lips.any()
        assert after.video_present.all() == (not mask_indicated)
        assert step.mask_indicated == mask_indicated
    assert not Identity("other lips").mask_indicated
    assert not Identity("still face").mask_indicated


# ---- out of sync


@pytest.mark.parametrize("shift_ms", SHIFTS_MS)
def test_the_sound_moves_by_the_stated_time_and_silence_comes_in(shift_ms: int) -> None:
    clip = CLIPS["a"]
    after = OutOfSync(shift_ms).apply(clip, SEED, corpus_of())
    samples, frames = shift_ms * 16, shift_ms // 40
    for t in range(0, len(clip.audio), 97):
        source = t - samples
        assert after.audio[t] == (clip.audio[source] if 0 <= source < len(clip.audio) else 0)
    for t in range(clip.frames):
        assert after.audio_present[t] == (0 <= t - frames < clip.frames)
    assert after.lips is clip.lips
    assert after.video_present is clip.video_present
    assert (
        OutOfSync(shift_ms).label
        == f"audio {'leads' if shift_ms < 0 else 'lags'} {abs(shift_ms)} ms"
    )


@pytest.mark.parametrize("frames", [0, 1, 5])
def test_very_short_clips_pass_through(frames: int) -> None:
    clip = make_clip("a", frames)
    for shift_ms in SHIFTS_MS:
        after = OutOfSync(shift_ms).apply(clip, SEED, corpus_of())
        assert after.audio_present.sum() == max(frames - abs(shift_ms) // 40, 0)
    for kind in IDENTITIES:
        assert Identity(kind).apply(clip, SEED, corpus_of()).frames == frames


def test_mistakes_are_told_with_what_is_allowed() -> None:
    with pytest.raises(AvsrError, match=r"'twin'.*other lips"):
        Identity("twin")
    with pytest.raises(AvsrError, match=r"50 ms.*multiple of 40"):
        OutOfSync(50)
