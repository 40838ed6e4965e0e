"""Several files at once: the words of each alone, in order, whatever becomes of the others."""

from __future__ import annotations

import threading
import wave
from pathlib import Path

import numpy as np
import pytest

import avsr
from avsr.preprocessing.errors import AvsrError, MediaError
from avsr.recogniser import Recogniser
from avsr.transcript import Transcript


def words(transcript: Transcript | Exception) -> list[tuple[str, float, float]]:
    assert isinstance(transcript, Transcript)
    return [(w.word, round(w.start_s, 2), round(w.end_s, 2)) for s in transcript.segments for w in s.words]


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return avsr.load_model(device="cpu")


def test_real_files_together_say_what_each_says_alone(recogniser: Recogniser, shared: Path, tmp_path: Path):
    clips = sorted((shared / "data" / "grid" / "s1").glob("*.mp4"))[:8]
    bad = tmp_path / "text.wav"
    bad.write_text("no sound")
    paths = [*clips[:3], bad, *clips[3:], tmp_path / "missing.wav"]
    batches: list[int] = []
    hook = recogniser.model.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    found = list(recogniser.transcribe_many(paths, modality="audio"))
    hook.remove()
    assert sum(batches) == len(clips)
    assert len(batches) < len(clips)  # some shared a forward pass
    assert len(found) == len(paths)
    for path, transcript in zip(paths, found, strict=True):
        if path in clips:
            alone = recogniser.transcribe(path, modality="audio")
            assert words(transcript) == words(alone)
        else:
            assert isinstance(transcript, MediaError)


def test_mistaken_options_are_one_error_and_not_one_a_file(recogniser: Recogniser):
    with pytest.raises(AvsrError, match="smell"):
        list(recogniser.transcribe_many(["a.wav", "b.wav"], modality="smell"))


def test_who_stops_early_leaves_no_thread_behind(recogniser: Recogniser, tmp_path: Path):
    path = tmp_path / "noise.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(-3000, 3000, 32_000).astype("<i2").tobytes())
    found = recogniser.transcribe_many([path] * 40)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("avsr-file")]
