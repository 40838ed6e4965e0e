"""Suites on a small corpus with recognisers whose behaviour is known: rows, predicates, going on
after a kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jiwer
import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.base.outputs import write_file
from avsr.eval.metrics.hypotheses import Heard
from avsr.eval.metrics.noninferiority import TOLERANCE, clips_needed, decide
from avsr.eval.metrics.results import Measured, Results, read_results, without_times
from avsr.eval.metrics.wer import Difference, compare
from avsr.eval.report.markdown import to_markdown
from avsr.eval.run import evaluate as robustness
from avsr.eval.run import requirements, store
from avsr.eval.run.evaluate import evaluate, fingerprint
from avsr.eval.run.store import HypothesisStore
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.shards import ShardIndex, ShardWriter

WORDS = ("bin", "lay", "place", "set", "blue", "green", "red", "white")
QUICK = [
    ("clean", "av"),
    ("clean", "audio"),
    ("clean", "video"),
    ("video missing 50 % (bursts)", "av"),
    ("video missing 100 % (bursts)", "av"),
    ("audio missing 50 % (bursts)", "av"),
    ("audio missing 100 % (bursts)", "av"),
    ("babble 0 dB", "av"),
    ("babble 0 dB + video missing 50 % (bursts)", "av"),
    ("nothing there (unindicated)", "av"),
]


def make_clip(number: int, frames: int = 30, words: int = 5) -> Clip:
    rng = np.random.default_rng(number)
    audio = np.round(rng.normal(0, 0.05, frames * SAMPLES_PER_FRAME) * 32768) / 32768
    lips = np.full((frames, 96, 96), 40 + number, np.uint8)
    there = np.ones(frames, np.bool_)
    text = " ".join(rng.choice(WORDS, words))
    return Clip(f"clip{number:02d}", audio.astype(np.float32), lips, there, there, 0.0, text, "s1")


def write_corpus(folder: Path, clips: Sequence[Clip]) -> Path:
    with ShardWriter(folder) as writer:
        for number, clip in enumerate(clips):
            writer.add(clip, {"split": "val" if number % 4 else "train"})
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(
        tmp_path_factory.mktemp("corpus") / "shards", [make_clip(n) for n in range(20)]
    )


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many words that no difference at all is shown to be less than half a point."""
    clips = [make_clip(n, words=120) for n in range(20)]
    return write_corpus(tmp_path_factory.mktemp("talkative") / "shards", clips)


class Fake:
    """Knows the text, and gives each word of it that is there to hear or to see.

    Args:
        needs: streams without which, wherever they are missing, everything comes out wrong.
        filler: put out for every clip, whatever is in it.
    """

    def __init__(self, name: str = "fake", needs: Sequence[str] = (), filler: str = "") -> None:
        self.name = name
        self.sha256 = f"{name} {needs} {filler}"
        self.needs = needs
        self.filler = filler
        self.calls = 0
        self.stop_at: int | None = None

    def recognise(self, clips: Sequence[Clip], modality: str = "auto") -> list[SimpleNamespace]:
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        return [SimpleNamespace(text=self._hear(clip, modality)) for clip in clips]

    def _hear(self, clip: Clip, modality: str) -> str:
        assert modality in ("av", "audio", "video")
        heard = clip.audio_present & (np.abs(clip.audio).reshape(clip.frames, -1).max(axis=1) > 0)
        seen = clip.video_present & (clip.lips.reshape(clip.frames, -1).max(axis=1) > 0)
        if modality == "av" and any(
            not {"audio": heard, "video": seen}[stream].all() for stream in self.needs
        ):
            return "nonsense"
        there = {"av": heard | seen, "audio": heard, "video": seen}[modality]
        spoken = (clip.text or "").split()
        frames = np.linspace(0, clip.frames - 1, len(spoken)).astype(int)
        words = [word for word, frame in zip(spoken, frames, strict=True) if there[frame]]
        return " ".join([*words, self.filler]).strip()


def rows_of(results: Results) -> dict[tuple[str, str], Measured]:
    return {(row.label, row.modality): row for row in results.rows}


def test_a_recogniser_that_uses_what_is_there_passes(talkative: Path, tmp_path: Path) -> None:
    results = evaluate(Fake(), talkative, "quick", out=tmp_path)
    rows = rows_of(results)
    for label in QUICK[:9]:
        assert rows[label].wer == 0
        assert (rows[label].utterances, rows[label].words) == (20, 2400)
    assert rows["video missing 50 % (bursts)", "av"].video_present == 0.5
    assert rows["video missing 100 % (bursts)", "av"].video_present == 0
    assert rows["audio missing 50 % (bursts)", "av"].audio_present == 0.5
    nothing = rows["nothing there (unindicated)", "av"]
    assert (nothing.wer, nothing.words, nothing.insertions, nothing.delta_wer) == (
        None,
        0,
        0,
        None,
    )
    assert nothing.audio_present == 1  # the masks claim that something is there
    assert rows["babble 0 dB", "av"].snr == "whole clip"
    for name, checks in (("R_V", 5), ("R_A", 3)):
        predicate = results.predicates[name]
        assert (predicate.passed, predicate.worst, len(predicate.checks)) == (
            True,
            0.0,
            checks,
        )
    assert results.summary.hallucination_rate == 0
    assert results.schema_ == 1
    assert read_results(tmp_path) == results
    assert "R_V pass" in (tmp_path / "report.md").read_text()
    assert violated(results, "R_V,R_A") == []


def test_too_few_clips_decide_nothing_and_say_how_many_would(corpus: Path, tmp_path: Path) -> None:
    """The same faultless recogniser on 100 words: an error in a hundred would not be seen."""
    results = evaluate(Fake(), corpus, "quick", out=tmp_path)
    predicate = results.predicates["R_V"]
    assert (predicate.verdict, predicate.passed, predicate.worst) == ("undecided", None, 0.0)
    for check in predicate.checks:
        assert (check.verdict, check.passed) == ("undecided", None)
        assert check.low < 0 < check.high
        needed = check.clips_needed
        nothing = np.tile([0, 0, 0, 5], (needed, 1))
        assert compare(nothing, nothing).high == pytest.approx(TOLERANCE, rel=0.02)
    (line,) = violated(results, "R_V")
    assert "undecided, which is no pass: 5 of 5 conditions" in line
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "5 undecided" in text
        assert "clips would tell" in text


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict"),
    [
        (-0.01, 0.0, 0.005, "pass"),
        (-0.01, 0.0, 0.0051, "undecided"),
        (0.0051, 0.01, 0.02, "fail"),
        (0.005, 0.01, 0.02, "undecided"),
        (-0.03, -0.02, -0.01, "pass"),
    ],
)
def test_verdicts_are_of_the_whole_interval(
    low: float, value: float, high: float, verdict: str
) -> None:
    difference = Difference(value, low, high)
    assert decide(difference) == verdict
    if verdict == "undecided":  # the interval shrinks with the root of the number of clips
        needed = clips_needed(difference, 1000, same=False)
        shrunk = [value + (end - value) * (1000 / (1.01 * needed)) ** 0.5 for end in (low, high)]
        assert decide(Difference(value, shrunk[0], shrunk[1])) != "undecided"


def test_without_a_difference_or_at_the_limit_no_number_of_clips_is_told() -> None:
    assert decide(Difference(None, None, None)) is None
    assert clips_needed(Difference(TOLERANCE, 0.0, 0.01), 100, same=False) is None


class IgnoresMasks(Fake):
    """Goes by the picture, black or not: a word whose frame is black is heard as well as can be,
    and is wrong."""

    def _hear(self, clip: Clip, modality: str) -> str:
        if modality == "audio":
            return super()._hear(clip, modality)
        spoken = (clip.text or "").split()
        frames = np.linspace(0, clip.frames - 1, len(spoken)).astype(int)
        return " ".join(
            word if clip.lips[frame].max() > 0 else "soon"
            for word, frame in zip(spoken, frames, strict=True)
        )


class IgnoresVideo(Fake):
    """Could read lips, and does so where there is no sound at all to listen to; together, it only
    listens."""

    def _hear(self, clip: Clip, modality: str) -> str:
        return super()._hear(clip, "audio" if modality == "av" else modality)


class Constant(Fake):
    def _hear(self, clip: Clip, modality: str) -> str:
        return "bin blue lay white set"


def violated(results: dict, text: str) -> list[str]:
    return requirements.violations(requirements.parse(text), results)


def test_a_recogniser_that_ignores_masks_fails_for_missing_lips(corpus: Path) -> None:
    results = evaluate(
        IgnoresMasks(), corpus, "masked", limit=6, conditions="video missing*,audio missing*"
    )
    lines = violated(results, "R_V,R_A")
    assert lines[0].startswith("R_V: ")
    assert "conditions fail; worst video missing" in lines[0]
    assert all("undecided" in line for line in lines[1:])  # six clips tell nothing of R_A
    checks = results.predicates["R_V"].checks
    assert {check.label: check.passed for check in checks}["video missing 100 % (end)"] is False
    assert all(check.difference == 0 for check in checks if check.axis == "clean")


def test_a_recogniser_that_ignores_video_fails_for_missing_sound(corpus: Path) -> None:
    results = evaluate(
        IgnoresVideo(), corpus, "masked", limit=6, conditions="video missing*,audio missing*"
    )
    undecided, failed = violated(results, "R_V,R_A,wer:clean<=0")
    assert undecided.startswith("R_V: undecided")
    assert failed.startswith("R_A: ")
    assert "conditions fail" in failed
    assert results.predicates["R_A"].worst == pytest.approx(1.0)
    swapped = evaluate(IgnoresVideo(), corpus, "full", limit=6, conditions="other lips")
    assert swapped.summary.visual_reliance.follows_lips == 0
    assert swapped.summary.visual_reliance.follows_sound == 1


def test_a_recogniser_that_ignores_everything_passes_no_gate(corpus: Path) -> None:
    results = evaluate(Constant(), corpus, "quick")
    assert all(results.predicates[name].vacuous for name in ("R_V", "R_A"))
    lines = violated(results, "R_V,R_A,wer:clean<=50")
    assert [line.partition(":")[0] for line in lines] == ["R_V", "R_A", "wer"]
    assert "tells nothing" in lines[0]
    assert results.summary.hallucination_rate == 1


@pytest.mark.parametrize(
    ("stream", "broken", "sound"), [("video", "R_V", "R_A"), ("audio", "R_A", "R_V")]
)
def test_a_recogniser_that_cannot_do_without_a_stream_fails(
    stream: str, broken: str, sound: str, corpus: Path, talkative: Path
) -> None:
    assert evaluate(Fake(needs=[stream]), talkative, "quick").predicates[sound].passed is True
    results = evaluate(Fake(needs=[stream]), corpus, "quick")
    predicate = results.predicates[broken]
    assert predicate.passed is False
    assert predicate.worst == pytest.approx(1.0)
    assert f"{stream} missing" in predicate.worst_row
    failed = {check.label for check in predicate.checks if check.passed is False}
    assert {f"{stream} missing 50 % (bursts)", f"{stream} missing 100 % (bursts)"} <= failed
    row = rows_of(results)[f"{stream} missing 100 % (bursts)", "av"]
    assert (row.wer, row.substitutions, row.deletions) == (1.0, 20, 80)
    assert (row.delta_wer, row.delta_high) == (1.0, 1.0)
    # twenty clips of five words do not show that every word is lost
    assert 0.5 < row.delta_low < 1


def test_words_put_out_where_nothing_is_there_are_counted(corpus: Path) -> None:
    results = evaluate(Fake(filler="again now"), corpus, "quick")
    summary = results.summary
    assert (summary.hallucination_rate, summary.hallucinated_words) == (1.0, 40)
    assert summary.hallucinated_words_per_minute == pytest.approx(40 / (20 * 1.2 / 60))
    assert rows_of(results)["clean", "av"].wer == pytest.approx(0.4)


def test_rates_are_those_of_jiwer_on_the_hypotheses_beside(corpus: Path, tmp_path: Path) -> None:
    results = evaluate(Fake(needs=["video"], filler="red"), corpus, "quick", out=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "hypotheses.jsonl").read_text().splitlines()]
    assert len(lines) == 11 * 20
    for row in results.rows:
        mine = [line for line in lines if line["row"] == row.key]
        spoken, heard = [line["reference"] for line in mine], [line["hypothesis"] for line in mine]
        assert len(mine) == 20
        if row.wer is not None:
            assert row.wer == pytest.approx(jiwer.wer(spoken, heard))
            assert row.cer == pytest.approx(jiwer.cer(spoken, heard))
            assert row.wer_low <= row.wer <= row.wer_high


def test_a_killed_run_goes_on_and_ends_the_same(corpus: Path, tmp_path: Path) -> None:
    whole = evaluate(Fake(needs=["audio"]), corpus, "quick", out=tmp_path / "whole")
    killed = Fake(needs=["audio"])
    killed.stop_at = 15
    with pytest.raises(KeyboardInterrupt):
        evaluate(killed, corpus, "quick", out=tmp_path / "parts")
    assert not (tmp_path / "parts" / "results.json").exists()
    hypotheses = tmp_path / "parts" / "hypotheses.jsonl"
    with open(hypotheses, "a") as file:
        file.write('{"run": "cut sh')  # as a kill in the middle of a write leaves it
    second = Fake(needs=["audio"])
    parts = evaluate(second, corpus, "quick", out=tmp_path / "parts")
    assert second.calls == 22 - 14  # two batches of eleven rows, of which fourteen were done
    assert without_times(parts) == without_times(whole)
    contents = [
        [
            without_times(json.loads(line))
            for line in (tmp_path / name / "hypotheses.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "parts")
    ]
    assert contents[0] == contents[1]
    third = Fake(needs=["audio"])
    assert without_times(evaluate(third, corpus, "quick", out=tmp_path / "parts")) == without_times(
        whole
    )
    assert third.calls == 0


def test_only_rows_of_the_same_model_and_data_are_reused(corpus: Path, tmp_path: Path) -> None:
    evaluate(Fake(), corpus, "clean", out=tmp_path)
    wider = Fake()
    evaluate(wider, corpus, "quick", out=tmp_path)
    assert wider.calls == 2 * 8  # the three clean rows were there
    other = Fake(filler="red")
    assert rows_of(evaluate(other, corpus, "clean", out=tmp_path))["clean", "av"].wer > 0
    assert other.calls == 2 * 3
    part = Fake(filler="red")
    evaluate(part, corpus, "clean", split="val", out=tmp_path)  # other clips, so other babble
    assert part.calls == 3


def test_another_seed_makes_other_masks_and_keeps_the_first(corpus: Path, tmp_path: Path) -> None:
    first = evaluate(Fake(), corpus, "quick", out=tmp_path)
    evaluate(Fake(), corpus, "quick", seeds=[29], out=tmp_path)
    again = Fake()
    assert without_times(evaluate(again, corpus, "quick", out=tmp_path)) == without_times(first)
    assert again.calls == 0


def test_each_clip_is_decoded_once_for_all_rows(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []

    class Counting(ShardIndex):
        def load(self, i: int) -> Clip:
            loaded.append(i)
            return super().load(i)

    monkeypatch.setattr(robustness, "ShardIndex", Counting)
    evaluate(Fake(), corpus, "clean")
    assert sorted(loaded) == list(range(20))
    loaded.clear()
    evaluate(Fake(), corpus, "quick")
    # once more where babble is made of a clip not reached yet
    assert max(loaded.count(i) for i in range(20)) <= 2


def test_limit_and_split_choose_clips_and_leave_their_conditions_alone(
    corpus: Path, tmp_path: Path
) -> None:
    class Listening(Fake):
        def recognise(self, clips: Sequence[Clip], modality: str = "auto") -> list[SimpleNamespace]:
            return [
                SimpleNamespace(text=f"{clip.audio.sum():.6f} {clip.video_present.sum()}")
                for clip in clips
            ]

    texts = []
    for limit in (None, 5):
        out = tmp_path / str(limit)
        results = evaluate(Listening(), corpus, "quick", split="val", limit=limit, out=out)
        lines = [json.loads(line) for line in (out / "hypotheses.jsonl").read_text().splitlines()]
        texts.append({(line["row"], line["id"]): line["hypothesis"] for line in lines})
    assert results.rows[0].utterances == 5
    assert len(texts[0]) == 15 * 11
    assert len(texts[1]) == 5 * 11
    assert texts[1].items() <= texts[0].items()


def test_progress_reaches_its_end(corpus: Path, tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    evaluate(
        Fake(),
        corpus,
        "clean",
        out=tmp_path,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told[-1] == (60, 60)
    assert told == sorted(told)


def test_a_corpus_of_one_clip_has_no_babble_and_says_so(tmp_path: Path) -> None:
    alone = write_corpus(tmp_path / "shards", [make_clip(1)])
    results = evaluate(Fake(), alone, "quick", out=tmp_path / "out")
    rows = rows_of(results)
    assert "two clips" in rows["babble 0 dB", "av"].not_available
    assert rows["babble 0 dB", "av"].wer is None
    assert rows["video missing 50 % (bursts)", "av"].wer == 0
    assert results.predicates["R_V"].worst == 0
    assert "n/a" in (tmp_path / "out" / "report.md").read_text()


def test_clips_without_a_text_are_named_and_empty_texts_scored(tmp_path: Path) -> None:
    clips = [make_clip(1), replace(make_clip(2), text=None), replace(make_clip(3), text="")]
    results = evaluate(Fake(filler="red"), write_corpus(tmp_path / "shards", clips), "clean")
    row = results.rows[0]
    assert results.clips_without_text == ("clip02",)
    assert (row.utterances, row.words, row.insertions) == (2, 5, 2)


def test_mistakes_are_one_line(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(AvsrError, match=r"split 'test'.*train .*, val "):
        evaluate(Fake(), corpus, "clean", split="test")
    with pytest.raises(AvsrError, match=r"limit 0"):
        evaluate(Fake(), corpus, "clean", limit=0)
    with pytest.raises(AvsrError, match=r"'loud'.*none, basic, grid"):
        evaluate(Fake(), corpus, "clean", normalizer="loud")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AvsrError, match=r"cannot write results"):
        evaluate(Fake(), corpus, "clean", out=tmp_path / "file")


def test_models_are_told_apart_by_their_weights() -> None:
    torch = pytest.importorskip("torch")

    def with_weight(value: float) -> SimpleNamespace:
        layer = torch.nn.Linear(2, 2)
        torch.nn.init.constant_(layer.weight, value)
        torch.nn.init.zeros_(layer.bias)
        return SimpleNamespace(name="m", model=layer, config="c")

    assert fingerprint(with_weight(1.0)) == fingerprint(with_weight(1.0))
    assert fingerprint(with_weight(1.0)) != fingerprint(with_weight(2.0))
    with pytest.raises(AvsrError, match="sha256"):
        fingerprint(SimpleNamespace(name="nameless"))


@pytest.mark.parametrize("writing", [1, 2, 3])
def test_a_kill_at_the_first_writing_leaves_a_folder_that_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writing: int
) -> None:
    writings = iter(range(1, 99))

    def killed(path: Path, chunks: object) -> None:
        if next(writings) == writing:
            raise KeyboardInterrupt
        write_file(path, chunks)

    with monkeypatch.context() as before:
        before.setattr(store, "write_file", killed)
        with pytest.raises(KeyboardInterrupt):
            HypothesisStore(tmp_path, {"model": "m"})
    assert not HypothesisStore(tmp_path, {"model": "m"}).lines


def test_hypotheses_of_another_run_are_put_aside_and_come_back(tmp_path: Path):
    def line(text: str) -> Heard:
        return Heard(row="clean", id="a", reference="a", hypothesis=text)

    HypothesisStore(tmp_path, {"model": "first"}).add([line("long work")])
    HypothesisStore(tmp_path, {"model": "second"}).add([line("another")])
    for model, text in (("first", "long work"), ("second", "another")):
        kept = HypothesisStore(tmp_path, {"model": model}).lines["clean", "a"]
        assert kept.hypothesis == text


def test_results_tell_the_rates_of_each_speaker(tmp_path: Path) -> None:
    class Deaf(Fake):
        """Hears nothing of one speaker."""

        def _hear(self, clip: Clip, modality: str) -> str:
            return "" if clip.speaker == "s2" else super()._hear(clip, modality)

    clips = [replace(make_clip(n), speaker=f"s{1 + n % 3}") for n in range(7)]
    results = evaluate(Deaf(), write_corpus(tmp_path / "shards", clips), "clean")
    found = {one.speaker: one for one in results.summary.speakers}
    assert {name: one.utterances for name, one in found.items()} == {"s1": 3, "s2": 2, "s3": 2}
    for name, one in found.items():
        rates = [row.wer for row in one.rows.values()]
        assert rates == [float(name == "s2")] * 3
    table = to_markdown(results).split("## WER in % by speaker")[1].split("##")[0]
    (deaf, *_) = [line for line in table.splitlines() if line.startswith("| s2")]
    cells = [cell.strip() for cell in deaf.split("|")[1:-1]]
    assert cells[:3] == ["s2", "audio + video", "2"]
    assert cells[3].startswith("100.0 [")
    assert cells[4:] == ["0", "10", "0", "10"]  # substitutions, deletions, insertions, words
    alone = evaluate(Deaf(), write_corpus(tmp_path / "alone", clips[::3]), "clean")
    assert alone.summary.speakers == ()
    assert "by speaker" not in to_markdown(alone)
