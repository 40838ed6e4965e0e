"""What a caller names, before it is opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from avsr.base import inputs
from avsr.base.errors import AvsrError
from avsr.decoding.grammar import load_grammar
from avsr.decoding.ngram import read_arpa
from avsr.model.checkpoint import load

READERS = (load_grammar, read_arpa, load)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", ["/dev/zero", "/dev/stdin", "pipe", "folder", "huge"])
def test_what_has_no_end_is_refused_at_once(read, kind: str, tmp_path: Path):
    path = Path(kind)
    if kind == "pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
    elif kind == "folder":
        path = tmp_path
    elif kind == "huge":
        path = tmp_path / "huge"
        with open(path, "wb") as file:
            file.truncate(200 * 10**9)  # holes alone
    elif not path.exists() or path.is_file():
        pytest.skip(f"{path} is no device here")
    with pytest.raises(AvsrError) as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_gigabyte_without_a_line_break_is_no_ngram_model(tmp_path: Path):
    with open(tmp_path / "zeros.arpa", "wb") as file:
        file.truncate(10**9)
    with pytest.raises(AvsrError, match="line 1: longer"):
        read_arpa(tmp_path / "zeros.arpa")


def test_install_commands_work_from_a_clone_and_from_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert inputs.install("lightning.fabric") == f"pip install '{inputs.ROOT}[train]'"
    assert (inputs.ROOT / "pyproject.toml").is_file()
    monkeypatch.setattr(inputs, "ROOT", tmp_path)  # as site-packages: no sources of ours there
    assert inputs.install("ray") == "pip install 'avsr[cluster]'"
    assert inputs.install("of_no_extra") == "pip install of_no_extra"
