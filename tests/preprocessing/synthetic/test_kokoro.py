"""Kokoro's voices: held-out ones stay out of training, also in part; the rest is the engine's own
work."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.preprocessing.synthetic import kokoro
from avsr.preprocessing.synthetic.voice import speak, voices

NAMES = [*kokoro.ENGLISH, *kokoro.HELD_OUT, "jf_alpha"]


class Engine:
    """Stands in for kokoro_onnx.Kokoro: a style is a row of the identity, so a mixture shows who is
    in it."""

    said: list[dict[str, Any]]

    @classmethod
    def from_session(cls, session: object, voices_path: str) -> Engine:
        engine = cls()
        with np.load(voices_path) as styles:
            engine.voices = dict(styles)
        return engine

    def create(
        self, text: str, voice: np.ndarray, speed: float, lang: str
    ) -> tuple[np.ndarray, int]:
        shares = {
            name: float(share)
            for name, share in zip(NAMES, voice.reshape(-1), strict=True)
            if share
        }
        Engine.said.append({"text": text, "shares": shares, "speed": speed, "lang": lang})
        return np.sin(np.arange(24000) / 10).astype(np.float32), 24000


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setenv("AVSR_KOKORO_DIR", str(tmp_path))
    (tmp_path / kokoro.MODEL).touch()
    with open(tmp_path / kokoro.VOICES, "wb") as file:
        np.savez(
            file,
            **{name: row[None, None] for name, row in zip(NAMES, np.eye(len(NAMES)), strict=True)},
        )
    onnxruntime = ModuleType("onnxruntime")
    onnxruntime.SessionOptions = SimpleNamespace  # type: ignore[attr-defined]
    onnxruntime.InferenceSession = lambda *_, **__: None  # type: ignore[attr-defined]
    package = ModuleType("kokoro_onnx")
    package.Kokoro = Engine  # type: ignore[attr-defined]
    for module in (onnxruntime, package):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    kokoro._load.cache_clear()
    Engine.said = []
    return Engine.said


def test_held_out_voices_are_heard_alone_and_never_in_training(said: list[dict[str, Any]]) -> None:
    assert not set(kokoro.ENGLISH) & set(kokoro.HELD_OUT)
    for engine, names in (("kokoro", kokoro.ENGLISH), ("held-out", kokoro.HELD_OUT)):
        said.clear()
        for seed in range(200):
            speak("set white", np.random.default_rng(seed), engine=engine)
        heard = {name for line in said for name in line["shares"]}
        assert all(sum(line["shares"].values()) == pytest.approx(1) for line in said)
        if engine == "held-out":
            assert heard == set(names)
            assert all(len(line["shares"]) == 1 for line in said)
        else:
            assert not heard & set(kokoro.HELD_OUT)
            assert "jf_alpha" in heard  # only ever as a part
            mixed = [line for line in said if len(line["shares"]) == 2]
            assert 70 < len(mixed) < 130
            assert all(
                "jf_alpha" not in line["shares"] for line in said if len(line["shares"]) == 1
            )
        assert 0.8 <= min(line["speed"] for line in said) < 0.9
        assert 1.2 < max(line["speed"] for line in said) <= 1.3


def test_letters_and_accents(said: list[dict[str, Any]]) -> None:
    for voice in ("held-out:bf_lily", "kokoro:am_adam"):
        found = speak("set white by a zero please", np.random.default_rng(0), voice=voice)
        assert (found.words, found.phones, found.voice) == (None, None, voice)
        assert 1.4 <= found.duration_s <= 2.0  # one second and the silence around it
    assert [line["lang"] for line in said] == ["en-gb", "en-us"]
    assert {line["text"] for line in said} == {"set white by eigh zero please"}


@pytest.mark.parametrize("missing", [kokoro.MODEL, kokoro.VOICES])
def test_without_its_files_there_are_no_voices(said: list[dict[str, Any]], missing: str) -> None:
    assert len(voices("kokoro")) == 24
    assert len(voices("held-out")) == 4
    (kokoro.folder() / missing).unlink()
    assert voices("kokoro") == voices("held-out") == []
    with pytest.raises(AvsrError, match="'kokoro' is not on this machine"):
        speak("set white", np.random.default_rng(0), engine="kokoro")


@pytest.mark.parametrize(
    ("content", "message"), [(b"nothing", "cannot be read"), (None, "lacks the voice af_alloy")]
)
def test_files_that_are_not_what_they_should_be_are_one_line(
    said: list[dict[str, Any]], content: bytes | None, message: str
) -> None:
    with open(kokoro.folder() / kokoro.VOICES, "wb") as file:
        if content is None:
            np.savez(file, **dict.fromkeys(NAMES[1:], np.zeros(3)))
        else:
            file.write(content)
    with pytest.raises(AvsrError, match=message):
        speak("set white", np.random.default_rng(0), engine="kokoro")
    assert not said
