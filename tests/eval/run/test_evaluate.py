"""Whole runs: several processes, a real kill, the full suite, recognisers that can do less, clips
that hold less."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from avsr import cli
from avsr.base.errors import AvsrError
from avsr.decoding.ngram import Ngram, estimate
from avsr.eval.conditions.axes import Missing
from avsr.eval.conditions.noise import Corpus
from avsr.eval.conditions.suites import suite_rows
from avsr.eval.metrics.hypotheses import Heard
from avsr.eval.metrics.results import read_results, without_times
from avsr.eval.run import provenance
from avsr.eval.run.evaluate import evaluate
from avsr.eval.run.store import HypothesisStore
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip, from_runs
from avsr.preprocessing.shards import ShardWriter
from avsr.transcribing.transcribe import load_model

RECOGNISER = """
import os, time
import numpy as np

def listen(audio, lips, audio_present, video_present):
    if os.environ.get("CALLS"):
        with open(os.environ["CALLS"], "a") as file:
            file.write(".")
            is_enough = file.tell() > int(os.environ.get("MOST_CALLS", "1000000"))
        time.sleep(600 if is_enough else 0.02)
    heard, seen = np.abs(audio).sum() * 1000, lips.astype(np.int64).sum()
    sums = int(heard) + int(seen) + int(video_present.sum())
    return " ".join(("bin", "lay", "place", "set")[sums // 4**place % 4] for place in range(4))
"""


def make_clip(number: int, frames: int = 12, speaker: str = "s1", text: str | None = None) -> Clip:
    rng = np.random.default_rng(number)
    audio = np.round(rng.normal(0, 0.05, frames * SAMPLES_PER_FRAME) * 32768) / 32768
    lips = rng.integers(0, 255, (frames, 96, 96), np.uint8)
    there = np.ones(frames, np.bool_)
    said = " ".join(rng.choice(["bin", "lay", "place", "set"], 4)) if text is None else text
    return Clip(
        f"clip{number:02d}", audio.astype(np.float32), lips, there, there, 0.0, said, speaker
    )


def write_corpus(folder: Path, clips: Sequence[Clip]) -> Path:
    with ShardWriter(folder) as writer:
        for clip in clips:
            writer.add(clip)
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = [make_clip(number, speaker=f"s{number % 2}") for number in range(18)]
    return write_corpus(tmp_path_factory.mktemp("corpus") / "shards", clips)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recogniser that can be named, and so loaded by every process."""
    (tmp_path / "listening.py").write_text(RECOGNISER)
    monkeypatch.chdir(tmp_path)
    return "python:listening:listen"


class Says:
    """Says the same words, one after the other, of whatever it is given; keeps what it was
    asked."""

    name = sha256 = "says"

    def __init__(
        self, *texts: str, modalities: Sequence[str] = ("av", "audio", "video"), **more: Any
    ) -> None:
        self.texts, self.modalities, self.more = texts or ("bin lay",), tuple(modalities), more
        self.asked: Counter[str] = Counter()

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[SimpleNamespace]:
        self.asked[modality] += len(clips)
        return [
            SimpleNamespace(text=self.texts[i % len(self.texts)], **self.more)
            for i in range(len(clips))
        ]


def test_shards_behind_a_url_give_what_they_give_on_a_disk_and_are_fetched_once(
    serve: Callable[..., str], spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, in babble, which takes clips from anywhere."""
    monkeypatch.setenv("AVSR_SHARDS", str(tmp_path / "cache"))
    fetched: list[str] = []

    class Counting(SimpleHTTPRequestHandler):
        def copyfile(self, source: Any, outputfile: Any) -> None:
            fetched.append(self.path)
            super().copyfile(source, outputfile)

    with ShardWriter(tmp_path / "shards", 3) as writer:
        for number in range(18):
            writer.add(make_clip(number, speaker=f"s{number % 6}"))
    told = []
    for place in (str(tmp_path / "shards"), serve(tmp_path / "shards", Counting)):
        out = tmp_path / f"out{len(told)}"
        options = ["--conditions", "babble 0 dB", "--suite", "quick", "--workers", "2"]
        assert cli.main(["evaluate", spec, place, *options, "--out", str(out)]) == 0
        told.append(without_times(read_results(out / "results.json")))
        told[-1].pop("data")
    assert told[0] == told[1]
    shards = [f"/shard-{number:05d}.tar" for number in range(6)]
    assert sorted(set(fetched) - {"/index.json"}) == shards
    assert all(fetched.count(shard) == 1 for shard in shards)


def test_a_recogniser_that_sees_gets_the_crops_it_takes(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "research")
    writer.add(make_clip(0))
    writer.close(crops="research")
    with pytest.raises(AvsrError, match="'research' crops, and says takes 'own'"):
        evaluate(Says(), tmp_path / "research", suite="clean")
    reads = Says()
    reads.crops = "research"
    for recogniser in (reads, Says(modalities=["audio"])):
        evaluate(recogniser, tmp_path / "research", suite="clean")


def lines_of(folder: Path) -> list[dict]:
    """What is written so far; a last line may be in the making."""
    *whole, _ = (folder / "hypotheses.jsonl").read_text().split("\n")
    return [json.loads(line) for line in whole]


def test_numbers_do_not_depend_on_processes_or_the_day(
    corpus: Path, spec: str, tmp_path: Path
) -> None:
    options = {"seeds": [17, 29], "conditions": "babble*,video missing*"}
    found = [
        evaluate(spec, corpus, "quick", out=tmp_path / str(n), workers=n, **options) for n in (1, 2)
    ]
    found.append(evaluate(spec, corpus, "quick", **options))
    assert without_times(found[0]) == without_times(found[1]) == without_times(found[2])
    assert [without_times(line) for line in lines_of(tmp_path / "1")] == [
        without_times(line) for line in lines_of(tmp_path / "2")
    ]
    # Half of a picture is drawn for both seeds; a whole one and the clean clip are the same for
    # both.
    counted = Counter((row.label, row.modality) for row in found[0].rows)
    assert counted["video missing 50 % (bursts)", "av"] == counted["babble 0 dB", "audio"] == 2
    assert counted["video missing 100 % (bursts)", "av"] == counted["clean", "av"] == 1
    pair = [row for row in found[0].rows if row.label == "babble 0 dB" and row.modality == "av"]
    check = next(
        check for check in found[0].predicates["R_V"].checks if check.label == "babble 0 dB"
    )
    assert check.wer == pytest.approx(sum(row.wer for row in pair) / 2)
    assert check.row == pair[0].key


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_engine(
    corpus: Path,
    spec: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    skip_where_ray_did_not_start: Callable[[object], None],
) -> None:
    pytest.importorskip("ray", reason="needs the extra cluster")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    options = {"seeds": [17], "conditions": "video missing*", "limit": 4}
    here = evaluate(spec, corpus, "quick", **options)
    try:
        there = evaluate(spec, corpus, "quick", workers=2, engine="ray", **options)
    except AvsrError as error:
        skip_where_ray_did_not_start(error)
        raise
    assert without_times(here) == without_times(there)
    with pytest.raises(AvsrError, match="need a recogniser by its name"):
        evaluate(Says(), corpus, "quick", engine="ray")


def test_a_killed_run_computes_nothing_twice(
    corpus: Path, spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "out", tmp_path / "calls"
    monkeypatch.setenv("CALLS", str(calls))
    command = [
        sys.executable,
        "-m",
        "avsr",
        "evaluate",
        spec,
        str(corpus),
        "--suite",
        "quick",
        "--out",
        str(out),
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    run = subprocess.Popen(command, env=os.environ | {"MOST_CALLS": "100"}, **quiet)
    hypotheses = out / "hypotheses.jsonl"
    job = 16 * 3  # the clips of a batch, as three modalities
    while run.poll() is None and not (hypotheses.exists() and len(lines_of(out)) >= job):
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL  # it was killed in the middle, and had not ended by itself
    asked = len(calls.read_text())
    assert job <= len(lines_of(out)) < 11 * 18
    results = evaluate(spec, corpus, "quick", out=out)
    assert len(calls.read_text()) - asked <= 11 * 18 - job
    monkeypatch.delenv("CALLS")
    assert without_times(results) == without_times(evaluate(spec, corpus, "quick"))
    assert (out / "results.json").exists()


class Counted:
    """Says a word, and counts how often it was asked."""

    name = sha256 = "counted"

    def __init__(self) -> None:
        self.clips = 0

    def recognise(self, clips: Sequence[Clip], modality: str) -> list[SimpleNamespace]:
        self.clips += len(clips)
        return [SimpleNamespace(text="bin") for _ in clips]


NOISES = {"noise_dir": "hum.wav", "rir_dir": "room.wav"}


@pytest.fixture
def noises(tmp_path: Path) -> dict[str, Path]:
    for option, name in NOISES.items():
        (tmp_path / option).mkdir()
        soundfile.write(
            tmp_path / option / name, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000
        )
    return {option: tmp_path / option for option in NOISES}


@pytest.mark.parametrize("changed", [*NOISES, "torch", "libavcodec", "mediapipe", None])
def test_hypotheses_are_of_one_noise_and_one_set_of_libraries(
    corpus: Path,
    tmp_path: Path,
    noises: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    changed: str | None,
) -> None:
    def run() -> tuple[int, list[str]]:
        recogniser = Counted()
        caplog.clear()
        evaluate(
            recogniser,
            corpus,
            "full",
            conditions="recorded 0 dB",
            limit=2,
            out=tmp_path / "out",
            **noises,
        )
        return recogniser.clips, caplog.messages[:]

    asked, told = run()
    assert (asked > 0, told) == (True, [])
    assert run() == (0, [])
    if changed in NOISES:
        file = noises[changed] / NOISES[changed]
        size = file.stat().st_size
        soundfile.write(file, np.random.default_rng(1).normal(0, 0.1, 16_000), 16_000)
        assert file.stat().st_size == size  # neither name nor size tells
    elif changed:
        there = provenance.compute_versions()
        monkeypatch.setattr(provenance, "compute_versions", lambda: {**there, changed: "0.0"})
    again, told = run()
    assert again == (asked if changed else 0)
    assert len(told) == bool(changed)
    assert all(NOISES.get(changed, changed) in line and "anew" in line for line in told)
    assert run() == (0, [])  # and these are used from now on


def test_libraries_of_a_run_are_those_that_decide() -> None:
    assert {
        "torch",
        "av",
        "libavcodec",
        "mediapipe",
        "numpy",
        "avsr",
        "opencv",
    } <= provenance.compute_versions().keys()


def test_kept_hypotheses_are_of_the_clips_as_they_are(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    whole = evaluate(Counted(), corpus, "quick", out=out)
    kept = lines_of(out)
    spoilt = next(line for line in kept if line["row"].startswith("clean | audio"))
    spoilt["clip_sha256"] = "0" * 16
    (out / "hypotheses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in kept))
    again = Counted()
    assert without_times(evaluate(again, corpus, "quick", out=out)) == without_times(whole)
    assert again.clips == 11 * 16  # every row of the batch of that clip, and no other batch
    (told,) = caplog.messages
    assert "176 hypotheses are of clips that have changed" in told


def test_the_content_of_an_n_gram_model_is_part_of_a_model_given_as_an_object() -> None:
    plain = load_model(device="cpu")
    languages = [Ngram("words.arpa", estimate(texts)) for texts in (["bin"], ["bin"], ["bin blue"])]
    found = [
        provenance.fingerprint(plain.with_decoding(language=language)) for language in languages
    ]
    assert found[0] == found[1] != found[2]


def test_the_real_time_factor_is_of_the_clip_that_was_given(corpus: Path) -> None:
    results = evaluate(Counted(), corpus, "speakers", limit=3, conditions="slower*,higher*")
    rows = {row.label: row for row in results.rows if row.modality == "audio"}
    assert rows["clean"].media_s == pytest.approx(3 * 0.48)
    assert rows["higher voice heavy (pitch and formants x 1.2)"].media_s == pytest.approx(3 * 0.48)
    slower = rows["slower heavy (rate x 0.7)"]
    assert slower.media_s == pytest.approx(3 * 0.48 / 0.7, abs=3 * 0.04)
    assert slower.real_time_factor == pytest.approx(
        slower.seconds / slower.media_s, rel=0.2, abs=1e-4
    )


@pytest.mark.parametrize(
    ("said", "tells"),
    [
        (lambda clips: [None] * len(clips), "clip 'clip00': NoneType is no hypothesis"),
        (lambda clips: ["bin"] * len(clips), "clip 'clip00': str is no hypothesis"),
        (lambda clips: [SimpleNamespace(text=None)] * len(clips), "it needs a `text`"),
        (lambda clips: [SimpleNamespace(text="bin")], "one hypothesis for each"),
        (lambda clips: None, "one hypothesis for each"),
        (lambda clips: 1 / 0, "failed on clips 'clip00' to 'clip02': ZeroDivisionError"),
        (
            lambda clips: [said_at(start_s=float("nan"))] * len(clips),
            "start_s of the word 'bin' is nan",
        ),
        (
            lambda clips: [said_at(end_s=float("inf"))] * len(clips),
            "end_s of the word 'bin' is inf",
        ),
        (
            lambda clips: [said_at(audio_weight=float("nan"))] * len(clips),
            "audio_weight of the word",
        ),
        (lambda clips: [said_at(audio_weight="much")] * len(clips), "is 'much'; give a number"),
    ],
)
def test_what_is_no_hypothesis_is_one_line(corpus: Path, said: Any, tells: str) -> None:
    recogniser = SimpleNamespace(
        name="theirs", sha256="1", recognise=lambda clips, modality: said(clips)
    )
    with pytest.raises(AvsrError) as error:
        evaluate(recogniser, corpus, "clean", limit=3)
    assert str(error.value).startswith("theirs: ")
    assert tells in str(error.value)
    assert "\n" not in str(error.value)


def said_at(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(text="bin", words=[SimpleNamespace(word="bin", **changes)])


def test_text_that_cannot_be_written_is_made_so(corpus: Path, tmp_path: Path) -> None:
    evaluate(Says("bin \ud800 lay", ""), corpus, "clean", limit=2, out=tmp_path)
    assert {line["hypothesis"] for line in lines_of(tmp_path)} == {"bin ? lay", ""}


def test_a_specification_that_makes_no_sense_is_wrong_usage(
    corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["evaluate", "default?beam=x", str(corpus)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert (
        shown.err
        == "avsr: recogniser default?beam=x: give beam as a whole number and lm_weight as a "
        "number\n"
    )


def test_what_is_missing_is_kept_beside_each_hypothesis(corpus: Path, tmp_path: Path) -> None:
    """Masks that nobody was told of, packets of half a frame and both streams at once among
    them."""
    conditions = "*missing 50 %*,clean,babble 0 dB"
    evaluate(Says(), corpus, "full", limit=3, conditions=conditions, out=tmp_path)
    voices = Corpus(
        [f"clip{number:02d}" for number in range(18)], lambda id: np.zeros(1, np.float32)
    )
    rows = {row.key(17): row.condition for row in suite_rows("full", conditions)}
    for line in lines_of(tmp_path):
        clip = make_clip(int(line["id"][4:]))
        steps = [step for step in rows[line["row"]].steps if isinstance(step, Missing)]
        assert ("missing_ms" in line) == bool(steps)
        for step in steps:
            for stream, mask in step.masks(clip, 17, voices).items():
                ms = np.repeat(mask, 480 // len(mask))  # a clip is 480 ms long
                np.testing.assert_array_equal(from_runs(line["missing_ms"][stream], 480), ms)


def test_results_name_their_decoding(corpus: Path) -> None:
    beam = load_model(device="cpu").with_decoding(beam=2)
    for recogniser, told in (
        ("default", "greedy"),
        ("default?grammar=grid", "grammar grid"),
        (beam, "beam 2"),
    ):
        assert evaluate(recogniser, corpus, "clean", limit=1, device="cpu").decoding == told
    assert evaluate(Says(), corpus, "clean", limit=1).decoding is None  # a system of others


def test_every_row_of_the_full_suite_can_be_had(corpus: Path, tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.mkdir()
    soundfile.write(noise / "hum.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    results = evaluate(
        Says(), corpus, "full", limit=2, noise_dir=noise, rir_dir=noise, out=tmp_path / "out"
    )
    assert [row.label for row in results.rows if not row.available] == []
    assert len(results.rows) == len(suite_rows("full"))
    for axis, condition in (("video missing", "frame"), ("audio missing", "utterance")):
        curve = next(c for c in results.curves if (c.axis, c.condition) == (axis, condition))
        assert curve.levels == (0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0)
        # it says the same whatever it is given
        assert curve.area == pytest.approx(curve.wer[0])
        assert curve.rows[-1] == (f"{axis} 100 % (bursts) | av | seed 17",)
    assert set(results.summary.effective_snr_gain_db) == {
        "babble",
        "white",
        "pink",
        "recorded",
        "talker",
    }
    assert results.summary.harm["bad picture"].worst == 0
    assert read_results(tmp_path / "out") == results
    assert "<html" in (tmp_path / "out" / "report.html").read_text()


def test_recorded_noise_needs_a_folder_and_says_so(corpus: Path) -> None:
    results = evaluate(Says(), corpus, "full", limit=1, conditions="recorded 0 dB")
    told = [row.not_available for row in results.rows if row.label == "recorded 0 dB"]
    assert len(told) == 2
    assert all("needs a folder" in reason for reason in told)


def test_a_recogniser_of_sound_gets_its_rows_and_no_others(corpus: Path, tmp_path: Path) -> None:
    ear = Says("bin lay place", modalities=["audio"])
    results = evaluate(ear, corpus, "quick", limit=3, out=tmp_path)
    assert set(ear.asked) == {"audio"}
    had = {row.label: row for row in results.rows if row.available}
    assert set(had) == {
        "clean",
        "audio missing 50 % (bursts)",
        "audio missing 100 % (bursts)",
        "babble 0 dB",
    }
    assert all(row.modality == "audio" and row.delta_wer == 0 for row in had.values())
    others = [row for row in results.rows if not row.available]
    assert {row.wer for row in others} == {None}
    assert {row.not_available for row in others} == {"says takes audio only"}
    assert results.predicates["R_V"].passed is None
    assert "n/a" in (tmp_path / "report.md").read_text()


def test_without_word_times_there_is_no_audio_weight(corpus: Path) -> None:
    plain = evaluate(Says(), corpus, "quick", limit=2)
    assert {row.audio_weight for row in plain.rows} == {None}
    assert plain.summary.trust_curve == ()
    words = [SimpleNamespace(audio_weight=weight) for weight in (0.25, 0.75)]
    told = evaluate(Says(words=words), corpus, "quick", limit=2)
    assert {row.audio_weight for row in told.rows} == {0.5}
    # clean, half and all of the sound missing: bins at the ends and in the middle
    curve = {point.audio_present: point.words for point in told.summary.trust_curve}
    assert curve == {0.05: 4, 0.55: 4, 0.95: 4}


def test_empty_texts_and_silent_and_faceless_clips_have_stated_answers(tmp_path: Path) -> None:
    first, second, third = make_clip(1), make_clip(2), make_clip(3, text="")
    absent = np.zeros(first.frames, np.bool_)
    clips = [
        replace(first, lips=np.zeros_like(first.lips), video_present=absent),  # no face was found
        replace(second, audio=np.zeros_like(second.audio)),  # a sound track without sound
        third,  # nothing is said
    ]
    results = evaluate(Says(""), write_corpus(tmp_path / "shards", clips), "quick")
    rows = {(row.label, row.modality): row for row in results.rows}
    clean = rows["clean", "av"]
    assert (clean.wer, clean.deletions, clean.words, clean.utterances) == (1.0, 8, 8, 3)
    assert clean.video_present == pytest.approx(2 / 3, abs=1e-3)
    assert not [row.label for row in results.rows if not row.available]
    wordy = evaluate(Says("bin"), tmp_path / "shards", "clean").rows[0]
    assert wordy.hallucinating_utterances == 1
    assert wordy.insertions == 1


def test_clips_that_all_say_the_same_have_no_other_lips(tmp_path: Path) -> None:
    clips = [make_clip(number, text="bin lay") for number in range(3)]
    results = evaluate(
        Says(), write_corpus(tmp_path / "shards", clips), "full", conditions="identity"
    )
    rows = {row.label: row for row in results.rows}
    assert "texts that differ" in rows["other lips"].not_available
    assert rows["still face"].wer == 0
    assert results.summary.visual_reliance is None


@pytest.mark.parametrize(
    "damage", [{"row": ["x"]}, {"hypothesis": 5}, {"reference": None}, {"seconds": "x"}]
)
def test_damaged_lines_of_a_store_are_forgotten(tmp_path: Path, damage: dict) -> None:
    lines = [Heard(row="clean", id=id, reference="b", hypothesis="b", seconds=1.0) for id in "ab"]
    HypothesisStore(tmp_path, {"model": "x"}).add(lines)
    path = tmp_path / "hypotheses.jsonl"
    first, second = path.read_text().splitlines()
    path.write_text(
        json.dumps(json.loads(first) | damage) + "\n" + second + "\n" + "[" * 100_000 + "\n"
    )
    assert list(HypothesisStore(tmp_path, {"model": "x"}).lines) == [("clean", "b")]
