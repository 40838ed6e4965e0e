"""Pictures are changed on the model's device, each by what was drawn for its clip alone."""

from __future__ import annotations

import numpy as np
import torch

from avsr.model.layers.frontends import view_lips
from avsr.training.config import AugmentConfig
from avsr.training.data.augmentation.pictures import LOOK, change_pictures, draw_look, plain_look

CHANGES = ("scale", "rotate_deg", "shift_px", "flip", "warp_px", "perspective")
CHANGES += ("picture", "light", "texture", "borrow")
STRAIGHT = dict.fromkeys(CHANGES, 0.0)


def straight(**changes: float) -> AugmentConfig:
    """Nothing is done but what is named."""
    return AugmentConfig(**STRAIGHT | changes)


def pictures(clips: int, frames: int = 6, seed: int = 0) -> torch.Tensor:
    """(B, T, 96, 96) uint8, smooth, each of another person."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(30, 220, (clips, frames, 12, 12))).float()
    return torch.nn.functional.interpolate(coarse, (96, 96), mode="bilinear").to(torch.uint8)


def shown(lips: torch.Tensor, config: AugmentConfig, seed: int = 0, size: int = 64) -> torch.Tensor:
    """(B, T, size, size), each clip's look drawn by a generator of its own."""
    looks = [draw_look(config, np.random.default_rng([seed, i])) for i in range(len(lips))]
    present = torch.ones(lips.shape[:2], dtype=torch.bool)
    return change_pictures(lips, present, torch.from_numpy(np.stack(looks)), size)


def test_the_plain_look_is_what_the_network_sees_when_it_is_used() -> None:
    lips = pictures(2)
    plain = torch.from_numpy(plain_look()).expand(2, -1)
    out = change_pictures(lips, torch.ones(2, 6, dtype=torch.bool), plain, 64)
    torch.testing.assert_close(out, view_lips(lips, 64), atol=1e-2, rtol=0)
    torch.testing.assert_close(shown(lips, straight()), view_lips(lips, 64), atol=1e-2, rtol=0)


def test_a_look_is_a_function_of_its_generator() -> None:
    first, again = (draw_look(AugmentConfig(), np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (LOOK,)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)


def test_frames_of_a_clip_are_changed_alike_and_clips_are_not() -> None:
    still = pictures(1).expand(3, 6, -1, -1)[:, :1].expand(-1, 6, -1, -1).contiguous()
    # sensor noise alone moves
    for changes in ({"texture": 1.0}, {"light": 1.0}, {"perspective": 0.3}, {"warp_px": 4.0}):
        out = shown(still, straight(**changes))
        torch.testing.assert_close(out, out[:, :1].expand_as(out))
        assert (out[0] - out[1]).abs().mean() > 0.5, changes


def test_noise_of_a_camera_moves_from_frame_to_frame() -> None:
    grey = torch.full((40, 4, 96, 96), 128, dtype=torch.uint8)
    noisy = shown(grey, straight(picture=1.0)).std((2, 3)) > 1  # (B, T)
    assert 8 < noisy.all(1).sum() < 32  # half of those
    out = shown(grey, straight(picture=1.0))[noisy.all(1)]
    assert (out[:, 0] - out[:, 1]).abs().mean() > 1


def test_a_mirrored_mouth_is_the_other_way_round() -> None:
    lips = pictures(1)
    plain, mirrored = shown(lips, straight()), shown(lips, straight(flip=1.0))
    torch.testing.assert_close(plain.flip(-1), mirrored, atol=0.05, rtol=0)


def test_a_warp_gives_the_mouth_another_shape() -> None:
    """Two ramps tell where in the crop each pixel was read."""
    ramp = torch.arange(96, dtype=torch.uint8).mul(2).expand(96, 96)
    inner = slice(8, 80)  # at the rim the crop ends
    lips = torch.stack([ramp, ramp.T])[:, None]
    bent = []
    for seed in range(12):
        look = draw_look(straight(warp_px=4.0), np.random.default_rng(seed))
        looks = torch.from_numpy(np.stack([look, look]))
        out = change_pictures(lips, torch.ones(2, 1, dtype=torch.bool), looks, 88)
        moved = (out - view_lips(lips, 88))[:, 0, inner, inner] / 2  # pixels of the crop
        assert moved.diff(dim=1).abs().max() < 2  # smooth
        assert moved.diff(dim=2).abs().max() < 2
        assert moved.abs().max() < 20
        bent.append(float(moved.std()))
    assert 0.5 < np.mean(bent) < 5


def test_a_still_picture_is_borrowed_and_what_moves_is_kept() -> None:
    lips = pictures(2)
    lips[1] = lips[1, :1]  # does not move
    look = draw_look(straight(), np.random.default_rng(0))
    looks = np.stack([look, look])
    place = 9 + 32  # behind homography and bend
    looks[0, place : place + 2] = 0.9, 0.5  # the second of two, half of it
    there = torch.ones(2, 6, dtype=torch.bool)
    plain = view_lips(lips, 64)
    out = change_pictures(lips, there, torch.from_numpy(looks), 64)
    torch.testing.assert_close(out[1], plain[1], atol=0.05, rtol=0)
    still, theirs = plain[0].mean(0), plain[1].mean(0)
    standard = (theirs - theirs.mean()) / theirs.std() * still.std() + still.mean()
    torch.testing.assert_close(out[0].mean(0), (still + standard) / 2, atol=0.5, rtol=0)
    moves = out[0] - out[0].mean(0)
    torch.testing.assert_close(moves, plain[0] - still, atol=0.5, rtol=0)


def test_black_frames_stay_black_and_grey_levels_are_grey_levels() -> None:
    lips = pictures(8)
    lips[:, 2] = 0
    for seed in range(4):
        out = shown(lips, AugmentConfig(picture=1, light=1, texture=0.5, borrow=1), seed)
        assert out.isfinite().all()
        assert (out[:, 2] == 0).all()
        assert out.min() >= 0
        assert out.max() <= 255
