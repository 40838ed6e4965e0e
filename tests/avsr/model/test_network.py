"""The promises of the network: masks decide, padding does not matter, absent frames cannot
speak."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from avsr.decoding.ctc import greedy
from avsr.model.config import SIZES, ModelConfig
from avsr.model.layers import frontends
from avsr.model.layers.blocks import attend, rotary, rotate
from avsr.model.layers.frontends import VideoFrontend, even, view_grid, view_lips
from avsr.model.network import AVSR, Output
from avsr.model.resize import with_outputs, with_tokens
from avsr.model.tokenizer import BLANK

TOKENS = (BLANK, " ", *"abcdefgh")
SMALL = {
    "dim": 32,
    "heads": 2,
    "video_width": 4,
    "audio_width": 4,
    "crop": 32,
    "outputs_per_frame": 2,
}
FUSIONS = ("cross", "early", "late")
WHISPER = {"audio_frontend": "whisper", "audio_width": 64, "audio_layers": 2}
VARIANTS = (*FUSIONS, "whisper")


def small_model(variant: str = "cross", seed: int = 0, **changes: int) -> AVSR:
    torch.manual_seed(seed)
    shape = WHISPER if variant == "whisper" else {"fusion": variant}
    model = AVSR(ModelConfig(**{"tokens": TOKENS, **SMALL, **shape, **changes})).eval()
    # open the gates, or cross-modal attention would not be tested
    for name, parameter in model.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.normal_(parameter)
    return model


def inputs(lens: tuple[int, ...], seed: int = 1) -> dict[str, torch.Tensor]:
    """Random clips with random holes in both streams."""
    generator = torch.Generator().manual_seed(seed)
    frames = max(lens)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(len(lens), *shape, generator=generator)

    return {
        "audio": draw(640 * frames) - 0.5,
        "lips": (draw(frames, 96, 96) * 255).to(torch.uint8),
        "audio_present": draw(frames) < 0.7,
        "video_present": draw(frames) < 0.7,
        "lens": torch.tensor(lens),
    }


def run(model: AVSR, batch: dict[str, torch.Tensor]) -> Output:
    with torch.inference_mode():
        return model(**batch)


def tensors(output: Output) -> list[torch.Tensor]:
    return [output.log_probs, output.audio_log_probs, output.video_log_probs, output.audio_weight]


@pytest.mark.parametrize("variant", VARIANTS)
class TestPromises:
    def test_absent_frames_cannot_change_any_output(self, variant: str) -> None:
        model, batch = small_model(variant), inputs((20, 20, 20))
        batch["video_present"][1] = False
        batch["audio_present"][2] = False
        other = dict(batch)
        here = batch["audio_present"].repeat_interleave(640, 1)
        other["audio"] = torch.where(here, batch["audio"], 100 * torch.randn_like(batch["audio"]))
        here = batch["video_present"][:, :, None, None]
        other["lips"] = torch.where(here, batch["lips"], torch.randint_like(batch["lips"], 255))
        for a, b in zip(tensors(run(model, batch)), tensors(run(model, other)), strict=True):
            assert torch.equal(a, b)

    def test_absent_not_a_number_stays_out(self, variant: str) -> None:
        model, batch = small_model(variant), inputs((20,))
        batch["audio"][~batch["audio_present"].repeat_interleave(640, 1)] = torch.nan
        assert all(torch.isfinite(x).all() for x in tensors(run(model, batch)))

    def test_a_clip_alone_and_in_a_padded_batch_agree(self, variant: str) -> None:
        model, batch = small_model(variant), inputs((30, 17, 9))
        together = tensors(run(model, batch))
        for i, frames in enumerate((30, 17, 9)):
            alone = {name: value[i : i + 1] for name, value in batch.items()}
            alone |= {"audio": alone["audio"][:, : 640 * frames], "lips": alone["lips"][:, :frames]}
            alone |= {name: alone[name][:, :frames] for name in ("audio_present", "video_present")}
            for whole, single in zip(together, tensors(run(model, alone)), strict=True):
                torch.testing.assert_close(
                    whole[i, : len(single[0])], single[0], atol=1e-4, rtol=1e-4
                )

    def test_one_pass_serves_every_mix_of_modalities(self, variant: str) -> None:
        model, batch = small_model(variant), inputs((20, 20, 20, 20))
        batch["audio_present"][:], batch["video_present"][:] = True, True
        batch["video_present"][1] = batch["audio_present"][2] = False
        batch["audio_present"][3] = batch["video_present"][3] = False
        output = run(model, batch)
        assert torch.isfinite(output.log_probs).all()
        torch.testing.assert_close(
            output.log_probs.exp().sum(-1), torch.ones(4, 40), atol=1e-4, rtol=0
        )
        assert (output.audio_weight[1] == 1).all()
        assert (output.audio_weight[2] == 0).all()
        assert (output.audio_weight[3] == 0).all()

    def test_dropping_a_modality_late_equals_never_having_had_it(self, variant: str) -> None:
        model, batch = small_model(variant), inputs((20,))
        valid, nothing = torch.ones(1, 20, dtype=torch.bool), torch.zeros(1, 20, dtype=torch.bool)
        with torch.inference_mode():
            audio, audio_head = model.encode_audio(batch["audio"], batch["audio_present"], valid)
            video, video_head = model.encode_video(batch["lips"], batch["video_present"], valid)
            late, _ = model.fuse(
                audio, video, nothing, batch["video_present"], valid, (audio_head, video_head)
            )
        never = run(model, batch | {"audio_present": nothing})
        torch.testing.assert_close(late, never.log_probs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_more_outputs_a_frame_say_the_same_until_they_are_trained(fusion: str) -> None:
    model, batch = small_model(fusion, outputs_per_frame=1), inputs((20, 9))
    wider = with_outputs(model, 3)
    assert not wider.training
    plain, fine = run(model, batch), run(wider, batch)
    torch.testing.assert_close(
        fine.log_probs, plain.log_probs.repeat_interleave(3, 1), atol=1e-5, rtol=1e-5
    )
    assert fine.lens.tolist() == [60, 27]
    assert greedy(fine.log_probs, fine.lens) == greedy(plain.log_probs, plain.lens)
    again = run(with_outputs(with_outputs(model, 2), 4), batch)
    torch.testing.assert_close(
        again.log_probs, plain.log_probs.repeat_interleave(4, 1), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("outputs", [1, 2])
def test_another_vocabulary_keeps_what_is_known_of_its_tokens(outputs: int) -> None:
    model, batch = small_model(outputs_per_frame=outputs, self_conditioning=False), inputs((20, 9))
    wider = with_tokens(model, [*TOKENS, "é", "ß"])
    plain, more = run(model, batch), run(wider, batch)
    known = more.log_probs[..., : len(TOKENS)].log_softmax(-1)  # among the tokens that both have
    torch.testing.assert_close(known, plain.log_probs, atol=1e-5, rtol=1e-5)
    again = run(with_tokens(wider, TOKENS), batch)
    torch.testing.assert_close(again.log_probs, plain.log_probs, atol=1e-5, rtol=1e-5)


def test_each_output_of_a_frame_has_its_own_row_of_the_head() -> None:
    model = small_model()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
        model.head.bias[3] = model.head.bias[len(TOKENS) + 4] = 9.0
    assert run(model, inputs((3,))).log_probs.argmax(-1).tolist() == [[3, 4, 3, 4, 3, 4]]


def test_closed_gates_keep_the_streams_apart() -> None:
    torch.manual_seed(0)
    model = AVSR(ModelConfig(tokens=TOKENS, **SMALL))
    assert all((p == 0).all() for name, p in model.named_parameters() if name.endswith("gate"))


def test_open_gates_let_one_stream_change_the_other() -> None:
    model, batch = small_model("cross"), inputs((20,))
    valid = torch.ones(1, 20, dtype=torch.bool)
    block = model.audio_cross[0]
    x = torch.randn(1, 20, 32)
    with torch.inference_mode():
        seen, _ = model.encode_video(batch["lips"], valid, valid)
        assert not torch.allclose(
            block(x, valid, seen, valid), block(x, valid, 2 * seen + 1, valid)
        )
        assert torch.equal(block(x, valid, seen, ~valid), block(x, valid, 2 * seen + 1, ~valid))


@pytest.mark.parametrize(
    ("size", "low", "high"),
    [("grid-tiny", 2.5e6, 4e6), ("grid-whisper", 10e6, 12e6), ("grid", 10e6, 15e6)],
)
def test_sizes_are_what_they_say(size: str, low: float, high: float) -> None:
    model = AVSR(ModelConfig(tokens=TOKENS, **SIZES[size]))
    assert low <= sum(p.numel() for p in model.parameters()) <= high


def test_at_full_resolution_the_view_is_the_middle_of_the_crop() -> None:
    lips = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    torch.testing.assert_close(
        view_lips(lips, 88), lips[:, :, 4:92, 4:92].float(), atol=1e-2, rtol=0
    )


def test_each_clip_can_have_a_view_of_its_own() -> None:
    lips = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    middle = view_grid(88)
    assert middle.shape == (1, 88, 88, 2)
    right = middle + torch.tensor([2 * 3 / 96, 0.0])  # three pixels
    out = view_lips(lips, 88, torch.cat([middle, right]))
    torch.testing.assert_close(out[0], lips[0, :, 4:92, 4:92].float(), atol=1e-2, rtol=0)
    torch.testing.assert_close(out[1], lips[1, :, 4:92, 7:95].float(), atol=1e-2, rtol=0)
    mirrored = view_grid(88, torch.tensor([[[-88 / 96, 0, 0], [0, 88 / 96, 0]]]))
    torch.testing.assert_close(
        view_lips(lips[:1], 88, mirrored), view_lips(lips[:1], 88).flip(-1), atol=1e-2, rtol=0
    )


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_attention_written_out_is_the_kernels(scale: float) -> None:
    """Values and gradients, also where keys are masked; a masked key has no say whatever stands in
    it."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return scale * torch.randn(2, 3, *shape, generator=generator)

    inputs, weights = [draw(7, 8), draw(10, 8), draw(10, 8)], draw(7, 8)
    mask = torch.rand(2, 1, 1, 10, generator=generator) < 0.6
    # two keys, as where a stream is all but absent
    mask[0], mask[0, ..., 4], mask[..., -1] = False, True, True
    results = []
    for attention in (attend, F.scaled_dot_product_attention):
        query, key, value = (x.clone().requires_grad_() for x in inputs)
        y = attention(query, key, value, mask)
        (y * weights).sum().backward()
        results.append([y, query.grad, key.grad, value.grad])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5 * scale**3, rtol=1e-4)
    hidden = ~mask[:, :, 0, :, None].expand(2, 3, 10, 8)
    assert all(not gradient[hidden].any() for gradient in results[0][2:])
    query, key, value = (x.clone().requires_grad_() for x in inputs)
    with torch.no_grad():
        key[hidden], value[hidden] = 50.0, -50.0
        torch.testing.assert_close(attend(query, key, value, mask), results[0][0])
    torch.testing.assert_close(attend(query, key, value, mask), results[0][0])
    # no gradients
    torch.testing.assert_close(attend(*inputs, mask), results[0][0], atol=1e-5 * scale, rtol=1e-4)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_training_and_recognising_run_the_same_network(fusion: str) -> None:
    model, batch = small_model(fusion), inputs((20, 11))
    batch["video_present"][1] = False
    for learnt, known in zip(tensors(model(**batch)), tensors(run(model, batch)), strict=True):
        torch.testing.assert_close(learnt.detach(), known, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "change",
    [{"heads": 5}, {"conv_kernel": 8}, {"fusion": "middle"}, {"unknown": 1}, {"dropout": 1.5}],
)
def test_impossible_configurations_are_refused(change: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        ModelConfig(tokens=TOKENS, **{**SMALL, **change})


def test_rotary_positions_turn_pairs_and_serve_training_after_recognising():
    x = torch.randn(2, 3, 5, 8, requires_grad=True)
    with torch.inference_mode():
        rotary(5, 8, x.device, x.dtype)
    cos, sin = rotary(5, 8, x.device, x.dtype)  # the same, kept
    turned = rotate(x, cos, sin)
    turned.sum().backward()
    angle = torch.atan2(sin[:, 4:], cos[:, 4:])
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angle), angle)
    torch.testing.assert_close(turned, torch.cat([pairs.real, pairs.imag], -1))


def test_numbers_of_frames_that_a_gpu_meets_are_few():
    counts = {even(count) for count in range(4097, 8193)}
    assert len(counts) == 16
    assert all(count <= even(count) < count * 17 / 16 for count in range(1, 9000))


def test_frames_are_seen_the_same_however_many_at_a_time(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    frontend = VideoFrontend(4, 8).eval()
    lips, present = torch.rand(2, 40, 32, 32), torch.rand(2, 40) < 0.8
    seen: list[int] = []
    frontend.stem.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with torch.inference_mode():
        whole = frontend(lips, present)
        assert seen == [int(present.sum())]
        monkeypatch.setattr(frontends, "FEW_FRAMES", 7)
        torch.testing.assert_close(frontend(lips, present), whole)
    assert max(seen[1:]) == 7


def test_frames_shown_once_more_change_nothing(monkeypatch):
    """As on a GPU: 35 frames are there, 36 are computed."""
    frontend = VideoFrontend(4, 8).eval()
    lips, present = torch.rand(2, 20, 32, 32) * 255, torch.ones(2, 20, dtype=torch.bool)
    present[0, 3:8] = False
    plain = frontend(lips, present)
    monkeypatch.setattr(frontends, "PLANS", ("cpu",))
    torch.testing.assert_close(frontend(lips, present), plain)
