"""A small real evaluation for all tests of what reports show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from real_run import RealRun


@pytest.fixture(scope="session")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    from real_run import evaluated  # loads a network, which most tests of this folder do not

    return evaluated(tmp_path_factory.mktemp("real"))
