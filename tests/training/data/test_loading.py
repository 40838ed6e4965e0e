"""Loader processes."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import failing
import pytest
from ended import until_ended
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


@pytest.mark.skipif(os.name != "posix", reason="who started a process does not change elsewhere")
def test_no_process_outlives_a_run_that_is_killed_while_it_begins():
    code = f"""
import sys
sys.path.insert(0, {str(Path(failing.__file__).parent)!r})
from avsr.training.data.loading import loader
from failing import Late

if __name__ == "__main__":
    list(loader(Late(), [[0]], 1, multiprocessing_context="spawn"))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        begins = int(run.stdout.readline())
        run.kill()
    until_ended([begins])
