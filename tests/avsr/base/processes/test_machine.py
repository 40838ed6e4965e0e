"""What this process runs on."""

from __future__ import annotations

from avsr.base.processes.machine import cpu_name, peak_memory_mb, release_memory, steady_memory


def test_memory_can_be_given_back_anywhere():
    steady_memory()
    release_memory()
    assert peak_memory_mb() >= 0


def test_the_processor_has_a_name():
    assert cpu_name()
