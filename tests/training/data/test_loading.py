"""Loader processes."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest
from torch.utils.data import DataLoader

from avsr.training.data.loading import loader, workers_told


def test_more_workers_than_cores_are_one_line_and_not_torchs(monkeypatch: pytest.MonkeyPatch):
    nothing: Any = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(DataLoader, "_get_iterator", lambda self: iter([]))  # starts no process
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not list(loader(nothing, nothing, workers=2))
    assert workers_told(2).startswith("data.workers is 2, and there is 1 core: ")
    assert not workers_told(1)
