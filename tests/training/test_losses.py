"""Losses say what they are for: blanks where nothing is said, sound and lips of one moment drawn
together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from toy import FRAMES, SHAPE, TEXTS, make_clip

from avsr.base.errors import AvsrError
from avsr.model.config import ModelConfig
from avsr.model.network import AVSR
from avsr.model.tokenizer import Tokenizer
from avsr.training.config import AugmentConfig, LossConfig, TrainConfig
from avsr.training.data.batch import FRAMES_PER_TOKEN, Batch, collate
from avsr.training.data.dataset import TrainSet
from avsr.training.data.store import ClipStore
from avsr.training.losses import Objective, blank_loss, contrastive_loss, ctc, distil, frame_loss

TOKENIZER = Tokenizer.from_texts(TEXTS)
MODEL = ModelConfig(tokens=TOKENIZER.tokens, dropout=0, **SHAPE)
CALM = {
    "non_speech": 0,
    "speed": 0,
    "spans": 0,
    "unindicated": 0,
    "video_masks": 0,
    "voice": 0,
    "codec": 0,
}
PLAIN = AugmentConfig(**CALM, wrong_lips=0, out_of_sync=0, borrow=0)


def batch_of(folder: Path, config: AugmentConfig = PLAIN) -> Batch:
    store = ClipStore([folder], "train", TOKENIZER)
    dataset = TrainSet(store, TOKENIZER, MODEL, config, 0)
    return collate([dataset[(0, i)] for i in range(len(store))])


@pytest.fixture
def objective() -> Objective:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Objective(AVSR(MODEL), LossConfig(streams_first=0.25, distil_start=0.2))


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


# ---------------------------------------------------------------------------------------------- CTC


def test_a_clip_without_words_asks_for_blanks_only(corpus: Callable[..., Path]) -> None:
    silent = batch_of(corpus()).take(torch.tensor([0, 1]))
    silent.target_lens[:] = 0
    log_probs = torch.randn(2, FRAMES, len(TOKENIZER)).log_softmax(-1)
    blanks = -log_probs[..., 0].sum() / (2 * FRAMES / FRAMES_PER_TOKEN)
    torch.testing.assert_close(ctc(log_probs, silent), blanks)
    log_probs.requires_grad_()
    ctc(log_probs, silent).backward()
    assert log_probs.grad is not None
    assert torch.isfinite(log_probs.grad).all()
    assert (log_probs.grad[..., 0] < 0).all()  # more of the blank is less loss


def test_ctc_is_per_token_of_the_clips_that_count(corpus: Callable[..., Path]) -> None:
    batch = batch_of(corpus())
    log_probs = torch.randn(len(TEXTS), FRAMES, len(TOKENIZER)).log_softmax(-1)
    keep = torch.tensor([True, False, True, False, False, False])
    alone = ctc(log_probs[keep], batch.take(torch.tensor([0, 2])))
    torch.testing.assert_close(ctc(log_probs, batch, keep), alone)
    reference = F.ctc_loss(
        log_probs[0][:, None],
        batch.targets[:1],
        torch.tensor([FRAMES]),
        batch.target_lens[:1],
        reduction="sum",
    )
    first = ctc(log_probs, batch, torch.arange(6) == 0)
    torch.testing.assert_close(first, reference / len(TOKENIZER.encode(TEXTS[0])))
    assert ctc(log_probs, batch, torch.zeros(6, dtype=torch.bool)) == 0


def test_several_outputs_a_frame_weigh_no_more_than_one(corpus: Callable[..., Path]) -> None:
    batch, targets = batch_of(corpus()), torch.tensor([[0, 0, 0, 0, 5, 0, 0, 0, 0]])
    first, second = (torch.randn(1, 9, 3).log_softmax(-1) for _ in range(2))
    fine = [x.repeat_interleave(2, 1) for x in (first, second)]
    torch.testing.assert_close(blank_loss(fine[0], targets), blank_loss(first, targets))
    counts, tokens = torch.rand(1, 9) < 0.5, torch.tensor(3)
    torch.testing.assert_close(distil(*fine, counts, tokens), distil(first, second, counts, tokens))
    # CTC gets all outputs: a text as long as twice the frames fits, and padding is left out of the
    # sum.
    short = batch.take(torch.tensor([0, 1]))
    short.lens[1] = 4
    short.targets = torch.tensor([[1, 2, 1, 2, 1, 2, 1, 2]] * 2)
    short.target_lens[:] = 8
    log_probs = torch.randn(2, 2 * FRAMES, len(TOKENIZER)).log_softmax(-1)
    # only one path fits into four frames
    exact = -log_probs[1, :8].gather(1, short.targets[1][:, None]).mean()
    torch.testing.assert_close(ctc(log_probs, short, torch.tensor([False, True])), exact)


def test_quiet_frames_two_away_from_a_word_want_the_blank() -> None:
    targets = torch.tensor([[0, 0, 0, 0, 5, 0, 0, 0, 0], [-1] * 9])
    log_probs = torch.full((2, 9, 3), 1 / 3).log()
    torch.testing.assert_close(blank_loss(log_probs, targets), torch.tensor(3.0).log())
    inside = log_probs.clone()
    inside[0, 2:7, 0] = -50.0
    inside[1, :, 0] = -50.0  # where no alignment is known, nothing is quiet
    torch.testing.assert_close(blank_loss(inside, targets), blank_loss(log_probs, targets))
    outside = log_probs.clone()
    outside[0, 1, 0] = -50.0
    assert blank_loss(outside, targets) > 10
    assert blank_loss(log_probs, torch.full((2, 9), -1)) == 0


def test_frame_targets_count_only_where_the_stream_is_there() -> None:
    head = torch.nn.Linear(4, 3)
    stream, targets = torch.randn(1, 5, 4), torch.tensor([[1, 2, -1, 0, 1]])
    present = torch.tensor([[True, True, True, False, False]])
    cut = frame_loss(head, stream[:, :2], targets[:, :2], present[:, :2])
    torch.testing.assert_close(frame_loss(head, stream, targets, present), cut)
    assert frame_loss(head, stream, targets, torch.zeros_like(present)) == 0


# ------------------------------------------------------------------------------------- shared space


def test_sound_and_lips_in_step_lose_less_than_shuffled_ones() -> None:
    there = torch.ones(4, 20, dtype=torch.bool)
    audio = unit(4, 20, 16)
    fits = contrastive_loss(audio, audio, there, there)
    late = contrastive_loss(audio.roll(3, 1), audio, there, there)
    foreign = contrastive_loss(audio.roll(1, 0), audio, there, there)
    assert fits["infonce_frames"] < 0.1
    assert fits["infonce_clips"] < 0.01
    assert late["infonce_frames"] > 3
    assert foreign["infonce_frames"] > 3
    assert foreign["infonce_clips"] > 3
    # a sound that tells nothing
    chance = contrastive_loss(torch.ones(4, 20, 16) / 4, audio, there, there)
    assert chance["infonce_clips"] == pytest.approx(np.log(4), abs=0.5)


def test_a_sound_that_is_alike_at_every_moment_costs_what_guessing_costs() -> None:
    there = torch.ones(3, 20, dtype=torch.bool)
    same = torch.zeros(3, 20, 16)
    same[..., 0] = 1
    losses = contrastive_loss(same, same, there, there)
    assert losses["infonce_frames"] == pytest.approx(np.log(20), abs=1e-4)
    assert losses["infonce_clips"] == pytest.approx(np.log(3), abs=1e-4)


def test_frames_that_are_absent_in_one_stream_play_no_part() -> None:
    audio, video = unit(3, 20, 16), unit(3, 20, 16, seed=1)
    heard, seen = torch.ones(3, 20, dtype=torch.bool), torch.ones(3, 20, dtype=torch.bool)
    heard[0, 12:], seen[1, :5], seen[2] = False, False, False
    losses = contrastive_loss(audio, video, heard, seen)
    other_audio, other_video = audio.clone(), video.clone()
    other_audio[0, 12:], other_video[1, :5], other_audio[2] = 9.0, -9.0, 5.0
    # their partners have nobody to be compared with
    other_video[0, 12:], other_audio[1, :5] = 3.0, -3.0
    changed = contrastive_loss(other_audio, other_video, heard, seen)
    pair = contrastive_loss(audio[:2], video[:2], heard[:2], seen[:2])
    for name in ("infonce_frames", "infonce_clips"):
        torch.testing.assert_close(changed[name], losses[name])
        torch.testing.assert_close(pair[name], losses[name])  # the clip without lips is left out


def test_moments_agree_with_a_plain_sum() -> None:
    audio, video = unit(2, 6, 8), unit(2, 6, 8, seed=1)
    both = torch.tensor([[True] * 6, [True, True, False, True, False, False]])
    terms = []
    for clip in range(2):
        frames = [t for t in range(6) if both[clip, t]]
        for a, b in ((audio[clip], video[clip]), (video[clip], audio[clip])):
            for t in frames:
                scores = torch.stack([a[t] @ b[u] / 0.1 for u in frames])
                terms.append(scores.logsumexp(0) - a[t] @ b[t] / 0.1)
    torch.testing.assert_close(
        contrastive_loss(audio, video, both, both)["infonce_frames"], torch.stack(terms).mean()
    )


# ---------------------------------------------------------------------------------- the whole batch


@pytest.mark.parametrize("progress", [0.0, 1.0])
@pytest.mark.parametrize("video", [True, False])
def test_every_batch_has_finite_losses_and_gradients(
    corpus: Callable[..., Path], objective: Objective, video: bool, progress: float
) -> None:
    """Also one of sound alone, as an epoch with clips without video has."""
    batch = batch_of(corpus([make_clip(i, text, video=video) for i, text in enumerate(TEXTS)]))
    losses = objective(batch, progress)
    assert all(torch.isfinite(value) for value in losses.values())
    assert ("infonce_frames" in losses) == video
    assert ("fused" in losses) == (progress == 1.0)
    assert losses["video_stream"].item() > 0 if video else losses["video_stream"].item() == 0
    losses["total"].backward()
    gradients = {name: p.grad for name, p in objective.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert any("audio_frontend" in name for name in gradients)
    seen = [
        gradient.abs().sum()
        for name, gradient in gradients.items()
        if "video_frontend.stem" in name
    ]
    assert (sum(seen) > 0) == video


def test_a_batch_in_which_nobody_speaks_has_finite_losses(
    corpus: Callable[..., Path], objective: Objective
) -> None:
    batch = batch_of(corpus())
    batch.target_lens[:] = 0
    batch.frame_targets[:] = 0
    losses = objective(batch, 1.0)
    assert all(torch.isfinite(value) for value in losses.values())
    assert "infonce_frames" not in losses  # closed lips look alike at any moment


def test_without_weight_the_space_costs_nothing(corpus: Callable[..., Path]) -> None:
    objective = Objective(AVSR(MODEL), LossConfig(contrastive=0))
    assert not {"infonce_frames", "infonce_clips"} & objective(batch_of(corpus()), 0.0).keys()


def test_word_errors_count_once_the_streams_are_fused_and_only_where_asked_for(
    corpus: Callable[..., Path],
) -> None:
    batch = batch_of(corpus())
    assert "mwer" not in Objective(AVSR(MODEL), LossConfig())(batch, 1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # paths that all have as many errors teach nothing
        objective = Objective(AVSR(MODEL), LossConfig(mwer=1.0))
        assert "mwer" not in objective(batch, 0.0)
        losses = objective(batch, 1.0)
    losses["mwer"].backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in objective.model.parameters())


def test_the_formants_of_a_batch_reach_the_ear_and_not_the_eye(
    corpus: Callable[..., Path], objective: Objective
) -> None:
    batch = batch_of(corpus(), PLAIN.model_copy(update={"formants": 0.0}))
    batch.mel_keep[:] = True
    objective.eval()
    with torch.no_grad():
        plain = objective(batch, 0.0)
        batch.formants[:] = 1.2
        moved = objective(batch, 0.0)
    assert plain["audio_stream"] != moved["audio_stream"]
    assert plain["video_stream"] == moved["video_stream"]


# ----------------------------------------------------------------------------- lips that do not fit


@pytest.mark.parametrize("progress", [0.3, 1.0])
def test_lips_that_do_not_fit_teach_the_eye_nothing(
    corpus: Callable[..., Path], objective: Objective, progress: float
) -> None:
    objective.config = LossConfig(streams_first=0.5, distil_start=0, contrastive=0.2)
    batch = batch_of(corpus())
    fit = objective(batch, progress)
    assert fit["video_stream"] > 0
    assert fit["video_frame"] > 0
    assert {"distil", "infonce_frames", "infonce_clips"} <= fit.keys()
    batch.synchronised[:] = False
    losses = objective(batch, progress)
    assert losses["video_stream"] == 0
    assert losses["video_frame"] == 0
    assert not {"distil", "distil_fused", "infonce_frames", "infonce_clips"} & losses.keys()
    assert all(torch.isfinite(value) for value in losses.values())
    losses["total"].backward()
    touched = {
        name for name, p in objective.named_parameters() if p.grad is not None and p.grad.any()
    }
    assert any(name.startswith("model.audio_stream.head") for name in touched)
    assert not any(
        name.startswith(("video_frames", "model.video_space", "model.audio_space"))
        for name in touched
    )
    if progress < 0.5:  # the streams learn alone: nothing else comes from the eye
        assert not any("video" in name for name in touched)


@pytest.mark.parametrize(
    "name", ["video_stream", "video_frame", "infonce_frames", "infonce_clips", "distil"]
)
def test_lips_that_do_not_fit_are_as_if_they_were_not_in_the_batch(
    corpus: Callable[..., Path], objective: Objective, name: str
) -> None:
    objective.config = LossConfig(streams_first=0.5, distil_start=0)
    objective.eval()  # else batch norm sees all lips, and should
    batch = batch_of(corpus())
    batch.synchronised[torch.tensor([1, 4])] = False
    with torch.no_grad():
        losses = objective(batch, 0.3)
        rest = objective(batch.take(torch.tensor([0, 2, 3, 5])), 0.3)
    torch.testing.assert_close(losses[name], rest[name], atol=1e-5, rtol=1e-4)


def test_where_nothing_is_said_lips_that_do_not_fit_need_not_be_quiet(
    corpus: Callable[..., Path], objective: Objective
) -> None:
    batch = batch_of(corpus())
    objective.config = LossConfig(streams_first=1)
    objective.eval()
    with torch.no_grad():
        objective.model.video_stream.head.bias[0] = -30.0  # an eye that never says blank
        loud = objective(batch, 0.0)["video_blank"]
        batch.synchronised[:] = False
        assert objective(batch, 0.0)["video_blank"] < 5 < loud


@pytest.mark.parametrize("synchronised", [True, False])
def test_lips_that_do_not_fit_are_never_shown_alone(
    corpus: Callable[..., Path], objective: Objective, synchronised: bool
) -> None:
    batch = batch_of(corpus())
    batch.synchronised[:] = synchronised
    objective.config = LossConfig(streams_first=0, lips_only=1, sound_only=0, distil=0)
    assert objective(batch, 1.0).keys() & {"both", "video", "audio"} == (
        {"video"} if synchronised else {"both"}
    )
    objective.config = LossConfig(streams_first=0, lips_only=0, sound_only=1, distil=0)
    assert objective(batch, 1.0).keys() & {"both", "video", "audio"} == {"audio"}


def test_the_ear_is_no_teacher_of_lips_out_of_step_whose_sound_was_taken(
    corpus: Callable[..., Path], objective: Objective
) -> None:
    batch = batch_of(corpus())
    batch.audio_present[:] = False  # by a span over the whole clip; the teacher still hears it
    objective.config = LossConfig(streams_first=0, distil_start=0)
    assert objective(batch, 1.0)["distil_fused"] > 0
    batch.synchronised[1:] = False
    with torch.no_grad():
        objective.eval()
        mixed, first = objective(batch, 1.0), objective(batch.take(torch.tensor([0])), 1.0)
    torch.testing.assert_close(mixed["distil_fused"], first["distil_fused"], atol=1e-5, rtol=1e-4)


def test_the_ear_is_not_asked_for_whom_only_the_lips_can_tell(
    corpus: Callable[..., Path], objective: Objective
) -> None:
    batch = batch_of(corpus())
    objective.config = LossConfig(streams_first=0, lips_only=0, sound_only=1, distil=0)
    assert objective(batch, 1.0).keys() & {"both", "video", "audio"} == {"audio"}
    batch.lips_needed[:] = True
    losses = objective(batch, 1.0)
    assert losses.keys() & {"both", "video", "audio"} == {"both"}
    assert losses["audio_stream"] == losses["audio_frame"] == 0
    assert not {"infonce_frames", "infonce_clips"} & losses.keys()
    assert losses["video_stream"] > 0


# ----------------------------------------------------------------------------- the whole as teacher


@pytest.mark.parametrize(("teacher", "taught"), [("audio", False), ("full", True)])
def test_a_full_teacher_teaches_the_views_with_sound_too(
    corpus: Callable[..., Path], objective: Objective, teacher: str, taught: bool
) -> None:
    batch = batch_of(corpus())
    for shares in ({"lips_only": 0, "sound_only": 0}, {"lips_only": 0, "sound_only": 1}):
        objective.config = LossConfig(streams_first=0, distil_start=0, teacher=teacher, **shares)
        objective.train()
        objective.model.video_frontend.eval()  # as of a frozen part
        before = [module.training for module in objective.modules()]
        losses = objective(batch, 1.0)
        assert (losses["distil_fused"] > 0) == taught
        assert [module.training for module in objective.modules()] == before


def test_a_full_teacher_has_nothing_to_teach_who_gets_all_of_it(
    corpus: Callable[..., Path], objective: Objective
) -> None:
    batch = batch_of(corpus())
    objective.config = LossConfig(
        streams_first=0, distil_start=0, teacher="full", lips_only=0, sound_only=0
    )
    objective.eval()
    batch.clean_audio, batch.clean_present = batch.audio, batch.audio_present
    batch.mel_keep[:] = True
    batch.formants[:] = 1.0
    with torch.no_grad():
        assert objective(batch, 1.0)["distil_fused"] < 1e-5
        assert objective(batch, 1.0)["distil"] > 1e-3


# ------------------------------------------------------------------------------------------ the sum


def test_a_loss_without_a_weight_is_an_error(
    corpus: Callable[..., Path], objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = objective._weights
    monkeypatch.setattr(
        objective, "_weights", lambda now: {k: v for k, v in known(now).items() if k != "distil"}
    )
    with pytest.raises(ValueError, match="no weight for distil: losses are both, "):
        objective(batch_of(corpus()), 1.0)


# ------------------------------------------------------------------------ what the network is shown


class Seen(Exception):
    """Ends a run once the part of the network that is watched has been given its input."""


def input_of(part: torch.nn.Module, run: Callable[..., object], *given: object) -> torch.Tensor:
    """What a part of the network is given while something runs."""

    def stop(_: torch.nn.Module, inputs: tuple) -> None:
        raise Seen(inputs[0].detach().clone())

    with part.register_forward_pre_hook(stop), torch.no_grad(), pytest.raises(Seen) as seen:
        run(*given)
    return seen.value.args[0]


def test_training_view_is_inference_view_for_every_legal_crop(
    corpus: Callable[..., Path],
) -> None:
    store = ClipStore([corpus([make_clip(0, "bin a", 8)])], "train", TOKENIZER)
    still = dict.fromkeys(("picture", "shift_px", "rotate_deg", "scale", "flip", "warp_px"), 0)
    still |= dict.fromkeys(("perspective", "light", "texture"), 0)
    config = PLAIN.model_copy(update=still)
    clip = store.sample(0)
    audio, lips = torch.from_numpy(clip.audio)[None], torch.from_numpy(clip.lips)[None]
    there = torch.ones(1, 8, dtype=torch.bool)
    for crop in range(32, 97):
        network = MODEL.model_copy(update={"crop": crop})
        objective = Objective(AVSR(network), LossConfig()).eval()
        batch = collate([TrainSet(store, TOKENIZER, network, config, 0)[(0, 0)]])
        front = objective.model.video_frontend
        trained = input_of(front, objective, batch, 0.0)
        used = input_of(front, objective.model, audio, lips, there, there, torch.tensor([8]))
        assert trained.shape == used.shape == (1, 8, crop, crop)
        assert (trained - used).abs().max() <= 0.01, crop  # grey levels


@pytest.mark.parametrize("crop", [31, 97, 0, 64.5])
def test_a_crop_beyond_what_is_stored_is_refused_in_one_line(crop: float) -> None:
    with pytest.raises(AvsrError, match="crop") as error:
        TrainConfig(model={"crop": crop}).network(TOKENIZER)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["convolution", "whisper"])
def test_masked_mel_holds_what_absent_sound_holds(corpus: Callable[..., Path], kind: str) -> None:
    network = MODEL.model_copy(
        update={"audio_frontend": kind, "audio_width": 64, "audio_layers": 1}
    )
    objective = Objective(AVSR(network), LossConfig()).eval()
    batch = batch_of(corpus())
    batch.mel_keep[:] = True
    ear = objective.model.audio_frontend
    absent = input_of(
        ear, objective, replace(batch, audio_present=batch.audio_present & False), 0.0
    )
    batch.mel_keep[:, 10:30, 5:20] = False
    masked = input_of(ear, objective, batch, 0.0)
    assert (masked[:, 10:30, 5:20] == absent[:, 10:30, 5:20]).all()
    assert (masked[:, 40:] != absent[:, 40:]).any()


def test_the_losses_ask_the_device_for_nothing(
    corpus: Callable[..., Path], objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensor without memory cannot be read: whatever decides on its values, and so waits for the
    device, fails."""
    batch = batch_of(corpus())
    with torch.device("meta"):
        stream, head = (
            torch.empty(len(TEXTS), FRAMES, MODEL.dim),
            torch.empty(len(TEXTS), FRAMES, len(MODEL.tokens)),
        )
    # The picture network alone picks frames out: it spares itself those that are absent.
    monkeypatch.setattr(objective.model, "encode_video", lambda *_, **__: (stream, head))
    monkeypatch.setattr(objective.model, "encode_audio", lambda *_, **__: (stream, head))

    def ctc_loss(
        log_probs: torch.Tensor,
        _: torch.Tensor,
        lens: torch.Tensor,
        target_lens: torch.Tensor,
        **__: object,
    ):
        # else they are fetched from the device
        assert lens.device.type == target_lens.device.type == "cpu"
        return log_probs.sum((0, 2))

    monkeypatch.setattr(F, "ctc_loss", ctc_loss)
    objective.config = LossConfig(streams_first=0, distil_start=0, teacher="full", contrastive=1)
    losses = objective.to("meta")(batch.to(torch.device("meta")), 1.0)
    assert losses.keys() >= {
        "infonce_frames",
        "infonce_clips",
        "distil",
        "fused",
        "distil_fused",
        "blank_fused",
        "audio_frame",
    }
    assert all(value.is_meta for value in losses.values())
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(losses["total"] > 0)
