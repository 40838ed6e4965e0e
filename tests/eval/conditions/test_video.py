"""Each corruption of the picture against a re-implementation from its description, in plain numpy
and slow."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.eval.conditions.axes import corrupted_video
from avsr.eval.conditions.hands import hand
from avsr.eval.conditions.noise import Corpus
from avsr.eval.conditions.video import VIDEO_CORRUPTIONS, VideoCorruption
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip

SEED = 17
T = 75
CORPUS = Corpus([], lambda id: np.zeros(0, np.float32))
STEPS = corrupted_video()


def mouth(id: str, frames: int = T) -> Clip:
    """A dark ellipse that opens and closes before a face with some texture; no two pictures are
    equal."""
    rng = np.random.default_rng(list(id.encode()))
    y, x = np.mgrid[:96, :96] - 47.5
    pores = rng.normal(0, 4, (96, 96))
    opening = 3 + 8 * np.abs(np.sin(np.arange(frames) / 3 + rng.random()))
    inside = [(x / 22) ** 2 + (y / tall) ** 2 < 1 for tall in opening]
    lips = np.stack(
        [np.where(dark, 40, 150 + x / 4) + pores + t // 2 for t, dark in enumerate(inside)]
        or [pores]
    )
    audio = rng.normal(0, 0.05, frames * SAMPLES_PER_FRAME).astype(np.float32)
    there = np.ones(frames, np.bool_)
    return Clip(
        id,
        audio,
        np.clip(lips[:frames], 1, 255).astype(np.uint8),
        there,
        there.copy(),
        quality=there * 1.0,
    )


@pytest.fixture(scope="module")
def clip() -> Clip:
    return mouth("k1")


def corrupted(clip: Clip, kind: str, level: str) -> Clip:
    return VideoCorruption(kind, level).apply(clip, SEED, CORPUS)


def changed_frames(before: Clip, after: Clip) -> np.ndarray:
    return (before.lips != after.lips).any(axis=(1, 2))


# ---- what holds for all of them


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.label)
def test_the_picture_alone_is_changed_and_the_clip_given_is_not(step: VideoCorruption) -> None:
    clip = mouth("k2", 30)
    before = [
        part.copy() for part in (clip.audio, clip.lips, clip.audio_present, clip.video_present)
    ]
    after = step.apply(clip, SEED, CORPUS)
    assert after.audio is clip.audio
    assert after.audio_present is clip.audio_present
    assert (after.lips != clip.lips).any()
    assert not after.lips[~after.video_present].any()  # what is marked absent is black
    for old, new in zip(
        before, (clip.audio, clip.lips, clip.audio_present, clip.video_present), strict=True
    ):
        assert (old == new).all()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.label)
def test_the_same_seed_gives_the_same_bits_and_another_one_others_where_it_is_said_to_matter(
    step: VideoCorruption,
) -> None:
    clip = mouth("k3", 30)
    first, again, other = (step.apply(clip, seed, CORPUS).lips for seed in (17, 17, 29))
    assert (first == again).all()
    assert (first != other).any() == step.seeded
    assert ((step.apply(mouth("k4", 30), SEED, CORPUS).lips) != first).any()


@pytest.mark.parametrize("frames", [0, 1, 2])
def test_very_short_clips_pass_through(frames: int) -> None:
    for step in STEPS:
        assert step.apply(mouth("k5", frames), SEED, CORPUS).frames == frames


@pytest.mark.parametrize("kind", VIDEO_CORRUPTIONS)
def test_every_level_changes_more_than_the_one_before(kind: str) -> None:
    """Mean difference of the pictures, the absent ones as black."""
    clips = [mouth(f"k{n}", 40) for n in range(2)]
    change = [
        np.mean(
            [
                np.abs(corrupted(clip, kind, level).lips.astype(int) - clip.lips).mean()
                for clip in clips
            ]
        )
        for level in VIDEO_CORRUPTIONS[kind].levels
    ]
    assert change[0] > 0
    assert all(weaker * 1.2 < stronger for weaker, stronger in itertools.pairwise(change)), change


def test_frames_without_a_picture_stay_without() -> None:
    clip = mouth("k6")
    clip.video_present[20:40] = False
    clip.lips[20:40] = 0
    for step in STEPS:
        after = step.apply(clip, SEED, CORPUS)
        assert not after.lips[~after.video_present].any()
        if step.kind not in ("low frame rate", "too fast", "too slow"):  # these have another clock
            assert not after.video_present[20:40].any()
    slow = corrupted(clip, "too slow", "heavy")
    assert (~slow.video_present).sum() == 24  # 20 frames at 25 of 30


def test_mistakes_are_told_with_what_is_allowed() -> None:
    with pytest.raises(AvsrError, match=r"'fog'.*choose one of occlusion, hand"):
        VideoCorruption("fog", "light")
    with pytest.raises(AvsrError, match=r"blur.*'medium'.*light, heavy"):
        VideoCorruption("blur", "medium")


# ---- things before the mouth


@pytest.mark.parametrize(("level", "side", "share"), [("light", 28, 0.5), ("heavy", 56, 1.0)])
def test_occlusion_is_a_square_near_the_middle_for_its_share_of_the_frames(
    level: str, side: int, share: float, clip: Clip
) -> None:
    after = corrupted(clip, "occlusion", level)
    hit = changed_frames(clip, after)
    assert hit.sum() == int(share * T + 0.5)
    rows, columns = np.nonzero((after.lips != clip.lips).any(axis=0))
    for place in (rows, columns):
        assert place.max() - place.min() + 1 == side
        # the mouth is in the middle of every crop
        assert abs((place.max() + place.min()) / 2 - 47.5) <= 6
    patch = after.lips[hit][:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (patch == patch[0]).all()  # the same patch in every frame


def test_a_larger_patch_has_the_smaller_one_in_it(clip: Clip) -> None:
    light, heavy = (corrupted(clip, "occlusion", level) for level in ("light", "heavy"))
    patch = (light.lips != clip.lips).any(axis=0)
    t = int(np.argmax(changed_frames(clip, light)))
    assert (light.lips[t][patch] == heavy.lips[t][patch]).all()


def test_a_hand_comes_over_the_lips_and_has_the_tone_of_the_face(clip: Clip) -> None:
    for level, share in (("light", 0.5), ("heavy", 0.9)):
        for seed in range(4):
            after = VideoCorruption("hand", level).apply(clip, seed, CORPUS)
            different = after.lips != clip.lips
            assert different.any(axis=(1, 2)).sum() == int(share * T + 0.5)
            lips = different[different.any(axis=(1, 2)), 36:60, 26:70]
            assert lips.mean() > (0.1 if level == "light" else 0.6)
            assert abs(np.median(after.lips[different]) - np.median(clip.lips)) < 40


def test_a_hand_has_four_fingers_and_a_thumb() -> None:
    shape, _ = hand(100, 0, 0)
    y, x = np.mgrid[:192, :192] - 96
    rim = (np.hypot(x, y) > 35.5) & (np.hypot(x, y) < 36.5)
    order = np.argsort(np.arctan2(y[rim], x[rim]))
    crossings = np.diff(shape[rim][order].astype(int), append=shape[rim][order][0].astype(int))
    assert (crossings == 1).sum() == 6  # and a wrist
    assert shape[96:].sum() > shape[:96].sum() / 2  # the arm leads downwards


# ---- cameras and codecs


@pytest.mark.parametrize(("level", "sigma"), [("light", 15), ("heavy", 45)])
def test_gaussian_noise_has_the_stated_deviation(level: str, sigma: int) -> None:
    grey = mouth("k7")
    grey.lips[:] = 128
    noise = corrupted(grey, "gaussian noise", level).lips.astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.1)
    # a little of the wide one is clipped at black and white
    expected = sigma if level == "light" else 44.4
    assert noise.std() == pytest.approx(expected, rel=0.02)
    light = corrupted(grey, "gaussian noise", "light").lips.astype(float) - 128
    assert np.corrcoef(light.ravel(), noise.ravel())[0, 1] > 0.99  # made stronger, not drawn anew
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05  # new in every frame


@pytest.mark.parametrize(("level", "width"), [("light", 5), ("heavy", 11)])
def test_blur_is_three_running_means_each_way(level: str, width: int, clip: Clip) -> None:
    expected = clip.lips[:5].astype(float)
    for axis in (1, 2, 1, 2, 1, 2):
        pad = [(0, 0)] * 3
        pad[axis] = (width // 2, width // 2)
        padded = np.pad(expected, pad, mode="edge")
        expected = np.mean(
            [np.take(padded, range(i, i + 96), axis=axis) for i in range(width)], axis=0
        )
    assert np.abs(corrupted(clip, "blur", level).lips[:5] - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize(("level", "side"), [("light", 4), ("heavy", 12)])
def test_pixelation_shows_means_of_squares(level: str, side: int, clip: Clip) -> None:
    after = corrupted(clip, "pixelation", level).lips[3]
    for row in range(0, 96, side):
        for column in range(0, 96, side):
            here = np.s_[row : row + side, column : column + side]
            assert (after[here] == int(clip.lips[3][here].mean() + 0.5)).all()


@pytest.mark.parametrize(
    ("kind", "level", "factor"),
    [("dark", "light", 0.5), ("dark", "heavy", 0.12), ("bright", "heavy", 3.0)],
)
def test_dark_and_bright_scale_the_light(kind: str, level: str, factor: float, clip: Clip) -> None:
    expected = np.minimum(clip.lips * factor, 255)
    assert np.abs(corrupted(clip, kind, level).lips - expected).max() <= 0.5 + 1e-9


def test_jpeg_keeps_the_picture_and_shows_its_blocks(clip: Clip) -> None:
    for level, blockier in (("light", 1.0), ("heavy", 1.5)):
        lips = corrupted(clip, "jpeg", level).lips.astype(int)
        assert np.corrcoef(lips.ravel(), clip.lips.ravel())[0, 1] > 0.95
        steps = np.abs(np.diff(lips, axis=2)).mean(axis=(0, 1))
        between, within = steps[7::8].mean(), np.delete(steps, np.s_[7::8]).mean()
        assert between > blockier * within


# ---- clocks


@pytest.mark.parametrize(("level", "share"), [("light", 0.25), ("heavy", 0.5)])
def test_freeze_holds_the_last_picture_for_its_share_of_the_frames(
    level: str, share: float, clip: Clip
) -> None:
    after = corrupted(clip, "freeze", level)
    held = changed_frames(clip, after)
    assert held.sum() == int(share * (T - 1) + 0.5)  # the first picture is always shown
    assert all((after.lips[t] == after.lips[t - 1]).all() for t in np.flatnonzero(held))
    assert after.video_present.all()
    assert not VideoCorruption("freeze", level).mask_indicated


@pytest.mark.parametrize(("level", "fps"), [("light", 12.5), ("medium", 8.0), ("heavy", 5.0)])
def test_a_low_frame_rate_shows_so_many_pictures_a_second(
    level: str, fps: float, clip: Clip
) -> None:
    after = corrupted(clip, "low frame rate", level)
    taken = {int(Fraction(25) * k / Fraction(fps)) for k in range(T)}
    latest = [max(frame for frame in taken if frame <= t) for t in range(T)]
    assert (after.lips == clip.lips[latest]).all()
    assert len(set(latest)) == np.ceil(fps * T / 25)


@pytest.mark.parametrize(
    ("kind", "level", "speed"),
    [
        ("too fast", "light", Fraction(25, 24)),
        ("too fast", "heavy", Fraction(30, 25)),
        ("too slow", "light", Fraction(24, 25)),
        ("too slow", "heavy", Fraction(25, 30)),
    ],
)
def test_a_wrong_frame_rate_plays_the_picture_at_another_speed(
    kind: str, level: str, speed: Fraction, clip: Clip
) -> None:
    after = corrupted(clip, kind, level)
    for t in range(T):
        source = int(t * speed)
        assert after.video_present[t] == (source < T)
        assert (after.lips[t] == (clip.lips[source] if source < T else 0)).all()
    assert after.quality is not None
    assert ((after.quality > 0) == after.video_present).all()


# ---- trackers


@pytest.mark.parametrize(("level", "reach"), [("light", 2), ("heavy", 6)])
def test_crop_jitter_moves_each_frame_by_a_few_pixels(level: str, reach: int, clip: Clip) -> None:
    after = corrupted(clip, "crop jitter", level)
    found = []
    for t in range(T):
        padded = np.pad(clip.lips[t], reach, mode="edge")
        places = [(y, x) for y in range(2 * reach + 1) for x in range(2 * reach + 1)]
        found += [
            (y, x) for y, x in places if (padded[y : y + 96, x : x + 96] == after.lips[t]).all()
        ][:1]
    assert len(found) == T
    assert {y for y, _ in found} == {x for _, x in found} == set(range(2 * reach + 1))


@pytest.mark.parametrize(("level", "share"), [("light", 0.25), ("heavy", 0.5)])
def test_a_face_out_of_the_picture_is_absent_or_leaves_its_edge(
    level: str, share: float, clip: Clip
) -> None:
    noticed, unnoticed = (
        corrupted(clip, f"out of picture{name}", level) for name in ("", " unnoticed")
    )
    away = ~noticed.video_present
    assert away.sum() == int(share * T + 0.5)
    assert np.ptp(np.flatnonzero(away)) + 1 == away.sum()  # one stretch
    assert unnoticed.video_present.all()
    assert (changed_frames(clip, unnoticed) == away).all()  # the same stretch
    middle = unnoticed.lips[int(np.flatnonzero(away).mean())]
    # nothing but the edge, repeated
    assert (middle == middle[0]).all() or (middle == middle[:, :1]).all()


def test_the_shorter_stretch_out_of_the_picture_lies_in_the_longer(clip: Clip) -> None:
    for seed in range(20):
        short, long = (
            ~VideoCorruption("out of picture", level).apply(clip, seed, CORPUS).video_present
            for level in ("light", "heavy")
        )
        assert (long | ~short).all()
