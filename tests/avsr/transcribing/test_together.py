"""Several files at once: the words of each alone, in order, whatever becomes of the others."""

from __future__ import annotations

import threading
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

import avsr
from avsr.base.errors import AvsrError, MediaError
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.reader import ClipReader
from avsr.recognisers.ours import NetworkRecogniser
from avsr.transcribing.transcript import Transcript
from avsr.transcribing.voice.activity import everything


def words(transcript: Transcript | Exception) -> list[tuple[str, float, float]]:
    assert isinstance(transcript, Transcript)
    return [
        (w.word, round(w.start_s, 2), round(w.end_s, 2))
        for s in transcript.segments
        for w in s.words
    ]


@pytest.fixture(scope="module")
def recogniser() -> NetworkRecogniser:
    return avsr.load_model(device="cpu")


def test_real_files_together_say_what_each_says_alone(
    recogniser: NetworkRecogniser, shared: Path, tmp_path: Path
):
    clips = sorted((shared / "data" / "grid" / "s1").glob("*.mp4"))[:8]
    bad = tmp_path / "text.wav"
    bad.write_text("no sound")
    paths = [*clips[:3], bad, *clips[3:], tmp_path / "missing.wav"]
    batches: list[int] = []
    hook = recogniser.model.register_forward_pre_hook(
        lambda _, inputs: batches.append(len(inputs[0]))
    )
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


def test_what_another_thread_does_to_torch_in_the_meantime_is_not_taken_over(
    recogniser: NetworkRecogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    counts: list[int] = []

    def activity(clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        counts.append(torch.get_num_threads())
        return everything(clip)

    monkeypatch.setattr(recogniser, "activity", activity)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    other = threading.Thread(target=torch.set_num_threads, args=(1,))
    other.start()
    other.join()
    list(recogniser.transcribe_many([noise(tmp_path / "noise.wav")] * 3))
    torch.set_num_threads(before)
    assert counts == [2, 2, 2]


def test_mistaken_options_are_one_error_and_not_one_a_file(recogniser: NetworkRecogniser):
    for mistake in ({"modality": "smell"}, {"face": "smell"}):
        with pytest.raises(AvsrError, match="'smell'"):
            list(recogniser.transcribe_many(["a.wav", "b.wav"], **mistake))
    with pytest.raises(TypeError, match="smell"):
        recogniser.transcribe_many(["a.wav", "b.wav"], smell=True)


def noise(path: Path, seconds: float = 2.0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        samples = np.random.default_rng(0).integers(-3000, 3000, int(seconds * 16_000))
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_many_files_of_which_long_ones_are_read_one_at_a_time(
    recogniser: NetworkRecogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    long = [noise(tmp_path / f"long{i}.wav", recogniser.window_s + 1) for i in range(3)]
    short = [noise(tmp_path / f"short{i}.wav") for i in range(3)]
    paths = [path for pair in zip(long, short, strict=True) for path in pair]
    opened: list[str] = []
    read: list[tuple[str, bool]] = []  # the file, and whether in the thread that asks
    begin, init = ClipReader.begin, ClipReader.__init__

    def counted(self: ClipReader, path: Path, **options: object) -> None:
        opened.append(Path(path).stem)
        init(self, path, **options)  # type: ignore[arg-type]

    def begun(self: ClipReader) -> None:
        read.append(
            (Path(self.info.path).stem, threading.current_thread() is threading.main_thread())
        )
        begin(self)

    monkeypatch.setattr(ClipReader, "__init__", counted)
    monkeypatch.setattr(ClipReader, "begin", begun)
    reader = ClipReader(paths[0])
    reader.begin()
    told: list[tuple[float, float]] = []
    found = list(
        recogniser.transcribe_many(
            paths, reader=reader, progress=lambda done, of: told.append((done, of))
        )
    )
    assert [round(transcript.duration_s) for transcript in found] == [21, 2] * 3  # type: ignore[union-attr]
    assert {name for name, here in read if here} == {path.stem for path in long}
    assert {name for name, here in read if not here} == {path.stem for path in short}
    assert {name: opened.count(name) for name in opened} == {
        **{path.stem: 1 for path in short},
        "long0": 1,
        "long1": 2,
        "long2": 2,
    }
    assert told.count((21.0, 21.0)) >= 3


def test_who_stops_early_leaves_no_thread_behind(recogniser: NetworkRecogniser, tmp_path: Path):
    path = noise(tmp_path / "noise.wav")
    found = recogniser.transcribe_many([path] * 40)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("avsr-file")]
