"""The relative attention by its definition, element by element."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from avsr.imported.encoder import (
    RelativeAttention,
    legacy_shift,
    legacy_table,
    relative_table,
    shift,
    sinusoids,
)

FRAMES, WIDTH, HEADS = 5, 8, 2


def test_sinusoids():
    found = sinusoids(torch.tensor([3.0]), 4)[0]
    rate = math.exp(-2 * math.log(10000) / 4)
    wanted = [math.sin(3), math.cos(3), math.sin(3 * rate), math.cos(3 * rate)]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_shift_puts_each_distance_where_its_two_frames_meet():
    raw = torch.arange(HEADS * FRAMES * (2 * FRAMES - 1)).reshape(HEADS, FRAMES, -1)
    found = shift(raw)
    for i in range(FRAMES):
        for j in range(FRAMES):
            assert torch.equal(found[:, i, j], raw[:, i, FRAMES - 1 - i + j])


def test_legacy_shift_reads_rows_as_the_older_code_does():
    raw = torch.arange(1, HEADS * FRAMES * FRAMES + 1).reshape(HEADS, FRAMES, FRAMES)
    found = legacy_shift(raw)
    for i in range(FRAMES):
        for j in range(FRAMES):
            row, column = divmod((i + 1) * FRAMES + j, FRAMES + 1)
            wanted = raw[:, row, column - 1] if column else torch.zeros(HEADS)
            assert torch.equal(found[:, i, j], wanted.to(found.dtype))


@pytest.mark.parametrize("legacy", [False, True])
def test_attention(legacy: bool):
    generator = torch.Generator().manual_seed(0)
    attention = RelativeAttention(WIDTH, HEADS, legacy).double().requires_grad_(False)
    for parameter in attention.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(FRAMES, WIDTH, generator=generator, dtype=torch.float64)
    table = (legacy_table if legacy else relative_table)(FRAMES, WIDTH, like=x)
    width = WIDTH // HEADS

    queries, keys = attention.linear_q(x), attention.linear_k(x)
    values, positions = attention.linear_v(x), attention.linear_pos(table)
    heads = []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        content = (queries[:, part] + attention.pos_bias_u[head]) @ keys[:, part].T
        raw = (queries[:, part] + attention.pos_bias_v[head]) @ positions[:, part].T
        moved = (legacy_shift if legacy else shift)(raw[None])[0]
        weights = ((content + moved) / math.sqrt(width)).softmax(dim=-1)
        heads.append(weights @ values[:, part])
    wanted = attention.linear_out(torch.cat(heads, dim=1))

    torch.testing.assert_close(attention(x, table), wanted)
