"""Who the overlapped speech detector learns from is not who it is checked on."""

from __future__ import annotations

from avsr.training.tools.overlap import READERS, readers


def test_no_reader_is_both_learnt_from_and_held_out():
    names = [f"{reader}-7-{k:04d}.flac" for reader in range(100, 124) for k in range(10)]
    learnt, held_out = readers(names, False), readers(names, True)
    assert not learnt & held_out
    assert len(held_out) == 24 // READERS
    assert len(learnt | held_out) == 24
