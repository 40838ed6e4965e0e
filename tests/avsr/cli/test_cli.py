"""The command line as its user meets it: exit statuses, one-line errors, what goes to which
stream."""

from __future__ import annotations

import ast
import inspect
import json
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from avsr import cli
from avsr.base.errors import AvsrError
from avsr.cli.program import app
from avsr.transcribing.transcribe import Segment, Transcript

COMMANDS = (
    "transcribe",
    "prepare",
    "train",
    "adapt",
    "evaluate",
    "report",
    "compare",
    "sync",
    "demo",
    "doctor",
    "live",
    "app",
    "runs",
    "bench",
    "calibrate",
    "embedding",
    "average",
    "export",
    "ngram",
    "synth",
    "models",
)


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("avsr: "), text
    assert "Traceback" not in text
    return text


def without_summary(text: str) -> str:
    """What was said before the summary of several files."""
    lines = text.splitlines(keepends=True)
    last = next(
        n for n, line in enumerate(lines) if re.match(r"avsr: \d+ (done|skipped|failed)", line)
    )
    return "".join(lines[:last])


def test_one_file_prints_its_text(avsr, recogniser):
    assert avsr("transcribe", "a.mp4") == (0, "a one\na two\n", "")
    assert recogniser.loaded == [("default", "auto")]
    assert recogniser.calls == [("a.mp4", {"modality": "auto", "face": "main"})]
    assert recogniser.decodings == []


def test_several_files_are_told_apart_by_a_column(avsr, recogniser):
    status, out, _ = avsr("transcribe", "x/a.mp4", "silent.mp4", "b.mp4")
    assert status == 0
    assert out == "x/a.mp4\ta one\nx/a.mp4\ta two\nsilent.mp4\t\nb.mp4\tb one\nb.mp4\tb two\n"


def test_odd_file_names_keep_one_line_a_result(avsr, recogniser):
    _, out, err = avsr("transcribe", "a\tb\nc.mp4", "silent\nfilm.mp4")
    assert out == "a b c.mp4\ta b c one\na b c.mp4\ta b c two\nsilent film.mp4\t\n"
    assert without_summary(err) == "avsr: silent film.mp4: no words recognised\n"


def test_options_reach_the_recogniser(avsr, recogniser):
    options = (
        "--modality",
        "video",
        "--model",
        "m",
        "--beam",
        "7",
        "--face",
        "left",
        "--device",
        "cpu",
        "-f",
        "json",
    )
    status, out, _ = avsr("transcribe", "a.mp4", *options)
    assert status == 0
    assert json.loads(out)["file"] == "a.mp4"
    assert recogniser.loaded == [("m", "cpu")]
    assert recogniser.calls == [("a.mp4", {"modality": "video", "face": "left"})]
    assert recogniser.decodings == [(7, None)]


def test_speakers_and_their_names_reach_the_recogniser(avsr, recogniser):
    assert avsr("transcribe", "a.mp4", "--speakers", "--speaker-names", "Ann, Bo")[0] == 0
    assert avsr("transcribe", "a.mp4", "--speakers")[0] == 0
    assert avsr("transcribe", "a.mp4", "--face", "speaking")[0] == 0
    assert [asked for _, asked in recogniser.calls] == [
        {"modality": "auto", "face": "main", "speakers": ("Ann", "Bo")},
        {"modality": "auto", "face": "main", "speakers": True},
        {"modality": "auto", "face": "speaking"},
    ]


def test_languages_reach_the_recogniser(avsr, recogniser, tmp_path: Path):
    arpa = tmp_path / "m.arpa"
    arpa.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-1 a\n\\end\\\n")
    assert avsr("transcribe", "a.mp4", "--lm", arpa, "--lm-weight", "0.5", "--beam", "3")[0] == 0
    assert avsr("transcribe", "a.mp4", "--grammar", "grid")[0] == 0
    assert recogniser.decodings == [(3, str(arpa)), (None, "grid")]
    recogniser.decodings.clear()
    assert avsr("transcribe", "a.mp4", "--no-lexicon")[0] == 0
    assert avsr("transcribe", "a.mp4", "--no-lexicon", "--grammar", "grid")[0] == 0
    assert recogniser.decodings == ["no lexicon", "no lexicon", (None, "grid")]
    for options, expected, message in (
        (("--lm", arpa, "--grammar", "grid"), 2, "choose one"),
        (("--lm-weight", "0.5"), 2, "lm weight 0.5 without"),
        (("--lm", tmp_path / "none.arpa"), 1, "cannot be read"),
        (("--grammar", "grit"), 1, "grammar 'grit'"),
    ):
        status, out, err = avsr("transcribe", "a.mp4", *options)
        assert (status, out) == (expected, "")
        assert message in one_line(err)


def test_a_beam_that_is_of_no_use_is_wrong_usage(
    avsr, recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from avsr.decoding.language import Decoding

    arpa = tmp_path / "m.arpa"
    arpa.write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-1 a\n\\end\\\n")
    tokens = ("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz")
    choose = lambda beam, language: Decoding.choose(beam, language, tokens)  # noqa: E731
    monkeypatch.setattr(recogniser, "with_decoding", choose)
    for options, message in (
        (("--beam", "4", "--grammar", "grid"), "its search is exact, leave the beam out"),
        (("--beam", "0", "--lm", arpa), "it needs one of at least 1"),
    ):
        status, out, err = avsr("transcribe", "a.mp4", *options)
        assert (status, out) == (2, "")
        assert message in one_line(err)


@pytest.mark.parametrize("closed", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_closed_streams_are_no_error(
    recogniser, monkeypatch: pytest.MonkeyPatch, closed: tuple[str, ...]
):
    for name in closed:
        monkeypatch.setattr(sys, name, None)  # what Python makes of >&- and 2>&-
    assert cli.main(["transcribe", "faceless.mp4"]) == 0


def test_what_the_library_warns_of_looks_like_every_line(
    avsr, recogniser, monkeypatch: pytest.MonkeyPatch
):
    def transcribe(path: Path, **_: object) -> Transcript:
        logging.getLogger("avsr.preprocessing.media.streams").warning(
            "%s: skipped 2 damaged packets", path
        )
        return Transcript(str(path), "fake", 1.0, [Segment(0.0, 1.0, "a", 0.9, None, 1.0, 1.0, [])])

    monkeypatch.setattr(recogniser, "transcribe", transcribe)
    for _ in range(2):
        assert avsr("transcribe", "x.mp4") == (0, "a\n", "avsr: x.mp4: skipped 2 damaged packets\n")


def test_folder_gets_every_format_named_by_stem(avsr, recogniser, tmp_path: Path):
    status, out, _ = avsr(
        "transcribe", "a.mp4", "b.c.mkv", "-o", tmp_path / "new" / "deep", "-f", "all"
    )
    assert (status, out) == (0, "")
    names = sorted(os.listdir(tmp_path / "new" / "deep"))
    assert names == sorted(
        f"{stem}.{ext}"
        for stem in ("a", "b.c")
        for ext in ("txt", "srt", "vtt", "ass", "tsv", "json")
    )


def test_what_fails_is_named_and_the_rest_is_done(avsr, recogniser, tmp_path: Path):
    status, out, err = avsr(
        "transcribe", "a.mp4", "missing.mp4", "bug.mp4", "b.mp4", "-o", tmp_path
    )
    assert (status, out) == (1, "")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b.txt"]
    bug = "bug.mp4: unexpected RuntimeError: two lines (set AVSR_DEBUG=1 for the traceback)"
    *told, summary = err.splitlines()
    assert told == ["avsr: missing.mp4: no such file", f"avsr: {bug}"]
    assert summary.startswith("avsr: 2 done, 2 failed; 2.0 s of media in ")


def test_what_failed_among_many_is_named_once_more_at_the_end(avsr, recogniser, tmp_path: Path):
    files = [f"{number}.mp4" for number in range(9)]
    err = avsr("transcribe", "missing.mp4", *files, "bug.mp4", "-o", tmp_path)[2]
    *_, summary, first, second = err.splitlines()
    assert summary.startswith("avsr: 9 done, 2 failed; ")
    assert first == "avsr: failed: missing.mp4: no such file"
    assert second.startswith("avsr: failed: bug.mp4: ")


def test_a_first_file_that_cannot_be_opened_does_not_stop_the_rest(avsr, recogniser):
    too_long = f"missing{'a' * 300}.mp4"  # opening it is another error than "no such file"
    status, out, err = avsr("transcribe", too_long, "b.mp4")
    assert status == 1
    assert out.splitlines() == ["b.mp4\tb one", "b.mp4\tb two"]
    assert without_summary(err) == f"avsr: {too_long}: no such file\n"


def test_traceback_on_request(avsr, recogniser, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AVSR_DEBUG", "1")
    _, _, err = avsr("transcribe", "bug.mp4")
    assert "Traceback" in err


def test_warnings_go_to_standard_error(avsr, recogniser):
    status, out, err = avsr("transcribe", "faceless.mp4")
    assert (status, out) == (0, "faceless one\nfaceless two\n")
    assert err == "avsr: faceless.mp4: no face found: audio only\n"


@pytest.mark.parametrize("pair", [("a/x.mp4", "b/x.mkv"), ("x.mp4", "x.mp4")])
def test_colliding_names_are_refused_before_any_work(avsr, recogniser, tmp_path: Path, pair):
    status, out, err = avsr("transcribe", *pair, "-o", tmp_path / "out")
    assert (status, out) == (2, "")
    assert pair[0] in one_line(err)
    assert recogniser.loaded == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("transcribe",), "FILE"),
        (("transcribe", "a.mp4", "--colour"), "--colour"),
        (("transcribe", "a.mp4", "-f", "doc"), "'vtt'"),
        (("transcribe", "a.mp4", "--highlight"), "txt has no colours: use -f vtt"),
        (("transcribe", "a.mp4", "-f", "vtt", "--layout", "lines=9"), "must be 1 to 3"),
        (("transcribe", "a.mp4", "-f", "all"), "-o DIR"),
        (("transcribe", "a.mp4", "b.mp4", "-f", "srt"), "-o DIR"),
        (("transcribe", "a.mp4", "--modality", "smell"), "'video'"),
        (("transcribe", "a.mp4", "--device", "tpu"), "'mps'"),
        (("transcribe", "a.mp4", "--beam", "-1"), "--beam"),
        (("transcribe", "a.mp4", "--beam", "wide"), "--beam"),
        (("transcribe", "a.mp4", "--lm-weight", "11"), "--lm-weight"),
        (("transcribe", "a.mp4", "--face", "middle"), "x,y, or speaking"),
        (("transcribe", "a.mp4", "--speaker-names", "Ann"), "--speaker-names"),
        (("transcribe", "a.mp4", "--speakers", "--speaker-names", "Ann,"), "--speaker-names"),
        (("transcribe", "a.mp4", "--speakers", "--speaker-names", "A,A"), "--speaker-names"),
        (("transcribe", "a.mp4", "--speakers", "--face", "left"), "--speakers"),
        (("prepare", "lrs9", "a", "b"), "'grid'"),
        (("prepare", "grid", "a"), "DST"),
        (("train", "grid-tiny", "--set", "steps"), "KEY=VALUE"),
        (("train", "grid-tiny", "--set", "=5"), "KEY=VALUE"),
        (("evaluate", "m", "d", "--suite", "huge"), "'quick'"),
        (("evaluate", "m", "d", "--limit", "0"), "--limit"),
        (("evaluate", "m", "d", "--workers", "0"), "--workers"),
        (("evaluate", "m", "d", "--seeds", "17,x"), "17,29,43"),
        (("evaluate", "m", "d", "--seeds", "17,17"), "different"),
        (("evaluate", "m", "d", "--conditions", "rain"), "fit none of the suite"),
        (("evaluate", "m", "d", "--require", "R_X"), "R_V, R_A or wer:"),
        (("evaluate", "m", "d", "--require", "wer:clean<2"), "wer:clean<=2"),
        (("evaluate", "m", "d", "--require", "wer:claen<=2"), "like it are clean"),
        (("compare", "a"), "B"),
        (("compare", "a", "b", "--plot"), "--plot"),
        (("bench", "a", "b"), "b"),
        (("demo", "--seed", "-1"), "--seed"),
        (("sing",), "sing"),
        (("--colour",), "--colour"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(avsr, recogniser, arguments, says):
    status, out, err = avsr(*arguments)
    assert (status, out) == (2, "")
    assert says in one_line(err)
    assert recogniser.loaded == []


def test_folder_that_cannot_be_made_is_one_line(avsr, recogniser, tmp_path: Path):
    (tmp_path / "file").write_text("")
    status, _, err = avsr("transcribe", "a.mp4", "-o", tmp_path / "file")
    assert status == 1
    assert str(tmp_path / "file") in one_line(err)


def test_no_command_shows_help_and_is_wrong_usage(avsr):
    status, out, err = avsr()
    assert (status, out) == (2, "")
    assert "transcribe" in err


def test_version(avsr):
    from importlib.metadata import version

    assert avsr("--version") == (0, version("avsr") + "\n", "")


def test_unknown_model_is_one_line(avsr):
    status, out, err = avsr("transcribe", "a.mp4", "--model", "no-such-model")
    assert (status, out) == (1, "")
    assert "no-such-model" in one_line(err)


def test_interrupt_is_130(avsr, recogniser):
    status, _, err = avsr("transcribe", "stop.mp4", "a.mp4")
    assert status == 130
    assert one_line(err) == "avsr: interrupted\n"
    assert len(recogniser.calls) == 1


def stub(monkeypatch: pytest.MonkeyPatch, module: str, **attributes: object) -> None:
    """Puts a module of that name in place, whether or not the real one can be imported."""
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**attributes))


def test_prepare_passes_everything_on(avsr, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def prepare(corpus, src, dst, *, progress, **options):
        progress(1, 2, 3.0)
        told = {name: value for name, value in options.items() if name != "load_fit"}
        calls.append((corpus, str(src), str(dst), told | {"limits": told["limits"].asked}))
        return "2 clips"

    stub(monkeypatch, "avsr.preprocessing.prepare", prepare=prepare, LostTooMuch=AvsrError)
    assert avsr("prepare", "grid", "a", "b") == (0, "2 clips\n", "")
    limits = {"face_share": 0.5, "mouth_px": 20, "least_rate": 2, "most_rate": 30, "sync": 0.3}
    changed = {"workers": 3, "crops": "research", "splits": "unseen", "max_loss": 0.5}
    changed |= {"limits": limits, "clip_limit_s": 90, "engine": "ray", "untold": False}
    words = "--workers 3 --crops research --splits unseen --max-skipped 0.5 --clip-limit 90 "
    words += "--engine ray --min-face 0.5 --min-mouth 20 --rate 2 30 --min-sync 0.3"
    assert avsr("prepare", "grid", "a", "b", *words.split())[0] == 0
    usual = {"workers": None, "crops": "own", "splits": None, "max_loss": 0.2}
    usual |= {"limits": {}, "clip_limit_s": 600, "engine": "local", "untold": False}
    assert calls == [("grid", "a", "b", usual), ("grid", "a", "b", changed)]


def test_train_passes_everything_on(avsr, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def train(*arguments, say):
        say("step 1")
        calls.append(arguments)
        return "o/model.safetensors"

    stub(monkeypatch, "avsr.training.train", train=train)
    assert avsr("train", "grid-tiny") == (0, "o/model.safetensors\n", "step 1\n")
    options = (
        "--data",
        "d",
        "--data",
        "e",
        "--out",
        "o",
        "--resume",
        "--set",
        "optim.steps=5",
        "--set",
        "size=grid",
    )
    assert avsr("train", "my.toml", *options)[0] == 0
    assert calls == [
        ("grid-tiny", [], Path("runs/grid-tiny"), False, []),
        ("my.toml", ["d", "e"], Path("o"), True, ["optim.steps=5", "size=grid"]),
    ]


@pytest.mark.parametrize(
    ("module", "extra"),
    [("lightning.fabric", "train"), ("matplotlib", "report"), ("ray", "cluster")],
)
def test_missing_extra_says_what_to_install(
    avsr, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
):
    def train(*_: object, say: object) -> None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    stub(monkeypatch, "avsr.training.train", train=train)
    status, _, err = avsr("train", "grid-tiny")
    assert status == 1
    assert f"{module} is not installed: " in one_line(err)
    assert f"[{extra}]'" in err


def test_evaluate_passes_everything_on(avsr, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def evaluate(model, data, suite, *, progress, **options):
        progress(1, 1)
        calls.append((model, str(data), suite, options))
        return {"wer": 0}

    stub(monkeypatch, "avsr.eval.run.evaluate", evaluate=evaluate)
    stub(
        monkeypatch,
        "avsr.eval.report.markdown",
        to_markdown=lambda results: f"table of {results}\n",
    )
    assert avsr("evaluate", "m", "d") == (0, "table of {'wer': 0}\n", "")
    options = (
        "--suite",
        "masked",
        "--out",
        "o",
        "--split",
        "val",
        "--limit",
        "3",
        "--seeds",
        "29, 43",
    )
    options += ("--device", "cpu", "--normalizer", "grid")
    options += (
        "--conditions",
        "video missing",
        "--workers",
        "2",
        "--engine",
        "ray",
        "--noise-dir",
        "n",
        "--rir-dir",
        "r",
    )
    assert avsr("evaluate", "python:m:f", "d", *options)[0] == 0
    plain = {
        "split": None,
        "limit": None,
        "seeds": [17],
        "conditions": None,
        "out": None,
        "noise_dir": None,
    }
    plain |= {
        "engine": "local",
        "rir_dir": None,
        "workers": 1,
        "device": "auto",
        "normalizer": "basic",
    }
    given = {
        "split": "val",
        "limit": 3,
        "seeds": [29, 43],
        "conditions": "video missing",
        "out": Path("o"),
    }
    given |= {
        "noise_dir": Path("n"),
        "rir_dir": Path("r"),
        "workers": 2,
        "engine": "ray",
        "device": "cpu",
        "normalizer": "grid",
    }
    assert calls == [("m", "d", "clean", plain), ("python:m:f", "d", "masked", given)]


def test_requirements_are_a_gate(avsr, monkeypatch: pytest.MonkeyPatch):
    from avsr.eval.metrics.results import Measured, Predicate, Results

    what = {"key": "c", "label": "clean", "axis": "clean", "condition": "clean", "level": None}
    row = Measured(**what, seed=17, modality="av", mask_indicated=True, substitutions=3, words=100)
    passed, unchecked = (Predicate(passed=one, tolerance=0.005) for one in (True, None))
    results = Results(
        model="m",
        data="d",
        suite="clean",
        seeds=(17,),
        normalizer="basic",
        rows=(row,),
        predicates={"R_V": passed, "R_A": unchecked},
    )
    stub(monkeypatch, "avsr.eval.run.evaluate", evaluate=lambda *_, **options: results)
    stub(monkeypatch, "avsr.eval.report.markdown", to_markdown=lambda _: "report\n")
    assert avsr("evaluate", "m", "d", "--require", "R_V,wer:clean<=3") == (0, "report\n", "")
    status, out, err = avsr("evaluate", "m", "d", "--require", "R_V,R_A,wer:clean<=2.9")
    assert (status, out) == (1, "report\n")
    lines = err.splitlines()
    assert lines[0].startswith("avsr: R_A: could not be checked")
    assert lines[1] == "avsr: wer:clean<=2.9: WER is 3.00 % (3 errors in 100 words)"
    assert len(lines) == 2


def test_bench_prints_its_table(avsr, monkeypatch: pytest.MonkeyPatch):
    def bench(file, *, calls, progress):
        progress("decoding")
        return SimpleNamespace(to_markdown=lambda: f"speed of {file}, calls {calls}\n")

    stub(monkeypatch, "avsr.eval.metrics.cost.speed", bench=bench)
    assert avsr("bench") == (0, "speed of None, calls short\n", "")
    assert avsr("bench", "a.mp4", "--calls", "long") == (0, "speed of a.mp4, calls long\n", "")


def test_models_lists_name_size_and_hash(avsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from avsr.model import checkpoint

    entry = checkpoint.ModelFile(
        "mine", tmp_path, "cached", 2_000_000, "ab" * 32, 28, 1234, {"knows": "51 [GRID] words"}
    )
    broken = checkpoint.ModelFile(
        "sad", tmp_path, "cached", 5, "cd" * 32, problem="not a model file"
    )
    monkeypatch.setattr(checkpoint, "list_models", lambda: [entry, broken])
    status, out, _ = avsr("models")
    assert status == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[1] == ["mine", "cached", "2.0", "1,234", "28", "51", "[GRID]", "words", "ab" * 8]
    assert "not a model file" in out


def test_demo_shows_all_three_ways(
    avsr, recogniser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made = []

    def make_clip(path, *, seed):
        made.append((path, seed))
        return "bin blue"

    stub(monkeypatch, "avsr.preprocessing.synthetic.corpus", make_clip=make_clip)
    status, out, err = avsr("demo", "--seed", "4", "--keep", tmp_path / "kept")
    assert (status, err) == (0, "")
    assert made == [(tmp_path / "kept" / "demo-4.mp4", 4)]
    assert [call[1]["modality"] for call in recogniser.calls] == ["av", "audio", "video"]
    assert [line.split("  ")[0] for line in out.splitlines()[:4]] == [
        "spoken",
        "heard and seen",
        "heard only",
        "lips only",
    ]
    assert "51 words of the GRID corpus" in out


def test_every_option_is_read():
    """Each parameter of each command is used in its body: an option that does nothing is a lie."""
    command = typer.main.get_command(app)
    assert set(command.commands) == set(COMMANDS)
    models = command.commands["models"]
    for name, found in [
        ("avsr", command),
        *command.commands.items(),
        *models.commands.items(),
    ]:
        tree = ast.parse(inspect.getsource(found.callback))
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for parameter in found.params:
            if parameter.name != "help":
                assert parameter.name in read, f"{name}: {parameter.opts} is never read"


def test_every_option_is_in_the_help():
    command = typer.main.get_command(app)
    for name, found in command.commands.items():
        result = CliRunner().invoke(
            app, [name, "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
        )
        assert result.exit_code == 0
        for parameter in found.params:
            for option in parameter.opts:
                if option.startswith("-"):
                    assert option in result.output, f"{name} {option}"
                    assert parameter.help or option == "--help", f"{name} {option} is not explained"


def test_errors_through_the_runner(recogniser):
    assert CliRunner().invoke(app, ["transcribe", "a.mp4"]).exit_code == 0
    assert CliRunner().invoke(app, ["transcribe", "missing.mp4"]).exit_code == 1
    assert CliRunner().invoke(app, ["transcribe", "--colour"]).exit_code == 2


def test_unexpected_errors_name_their_type(avsr, monkeypatch: pytest.MonkeyPatch):
    def bench(file: Path | None, **_: object) -> str:
        raise ZeroDivisionError("by zero")

    stub(monkeypatch, "avsr.eval.metrics.cost.speed", bench=bench)
    status, _, err = avsr("bench")
    assert status == 1
    assert "unexpected ZeroDivisionError: by zero" in one_line(err)
    monkeypatch.setattr(
        sys.modules["avsr.eval.metrics.cost.speed"],
        "bench",
        lambda *_, **__: (_ for _ in ()).throw(AvsrError("no")),
    )
    assert avsr("bench")[2] == "avsr: no\n"


def test_trouble_with_a_disk_is_one_line_without_a_type(
    avsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "file").touch()

    def train(*_: object, **__: object) -> None:
        (tmp_path / "file").mkdir()

    stub(monkeypatch, "avsr.training.train", train=train)
    status, out, err = avsr("train", "grid-tiny")
    assert (status, out) == (1, "")
    assert one_line(err).startswith(f"avsr: {tmp_path / 'file'}: File exists: ")


# ---- as a program of its own ----


def program(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "avsr", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def test_help_imports_nothing_heavy():
    code = (
        "import sys, avsr.cli; avsr.cli.main(['--help']); "
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = done.stderr
    for heavy in ("torch", "mediapipe", "cv2", "librosa", "lightning", "matplotlib", "pydantic"):
        assert f"'{heavy}'" not in loaded, heavy
    assert "transcribe" in done.stdout


def test_exit_statuses_of_the_program(tmp_path: Path):
    wrong = program("transcribe", "--colour")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    missing = program("transcribe", "a.mp4", "--model", str(tmp_path / "none"))
    assert (missing.returncode, missing.stdout) == (1, "")
    one_line(missing.stderr)


def test_closed_pipe_is_quiet():
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"set -o pipefail; PYTHONUNBUFFERED=1 {sys.executable} -m avsr transcribe --help | "
            "true",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    code = (
        "import avsr.cli.program, typer\n"
        "@avsr.cli.program.app.command()\n"
        "def chatter() -> None:\n"
        "    for _ in range(100000): print('x' * 100)\n"
        "raise SystemExit(avsr.cli.main(['chatter']))"
    )
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "$0" | head -n 1', code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_control_c_is_one_line():
    code = (
        "import avsr.cli.program, signal, sys, time\n"
        # a shell's background jobs ignore it
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@avsr.cli.program.app.command()\n"
        "def wait() -> None:\n"
        "    print('waiting', flush=True)\n"
        "    time.sleep(600)\n"
        "sys.exit(avsr.cli.main(['wait']))"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "waiting\n"
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert err == "avsr: interrupted\n"


def test_real_clip_puts_only_the_transcript_on_standard_output(
    shared: Path, tmp_path: Path, tiny_network
):
    """mediapipe and its libraries log from C++; none of it may land among the results, nor a
    progress bar in a log."""
    from avsr.model import checkpoint

    checkpoint.save(tmp_path / "tiny.safetensors", tiny_network(), {})
    clips = sorted((shared / "data" / "grid" / "s1").glob("*.mp4"))[:1]
    environment = {**os.environ, "AVSR_FACE_MODEL": str(shared / "models" / "face_landmarker.task")}
    arguments = (
        "-f",
        "json",
        "--model",
        str(tmp_path / "tiny.safetensors"),
        "--device",
        "cpu",
        "--modality",
        "av",
    )
    done = program("transcribe", *map(str, clips), *arguments, env=environment)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert body["file"] == str(clips[0])
    assert [line for line in done.stderr.splitlines() if not line.startswith("avsr: ")] == []


def test_many_files_one_of_them_broken(
    avsr, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from avsr.model.network import AVSR

    clips = sorted((shared / "data" / "grid" / "s1").glob("*.mp4"))[:6]
    bad = tmp_path / "broken.mp4"
    bad.write_bytes(clips[0].read_bytes()[:300])
    files = [*clips[:3], bad, *clips[3:]]
    options = ("--modality", "audio", "--device", "cpu", "-o")
    alone = [avsr("transcribe", file, *options, tmp_path / "alone")[0] for file in files]
    assert alone == [0, 0, 0, 1, 0, 0, 0]
    passes: list[int] = []
    forward = AVSR.forward
    monkeypatch.setattr(
        AVSR, "forward", lambda self, *x: passes.append(len(x[0])) or forward(self, *x)
    )
    status, out, err = avsr("transcribe", *files, *options, tmp_path / "many")
    assert (status, out) == (1, "")
    assert one_line(without_summary(err)).startswith(f"avsr: {bad}: ")
    assert sum(passes) == len(clips)
    assert len(passes) < len(clips)  # some shared a forward pass
    folders = [
        {path.name: path.read_text() for path in (tmp_path / name).iterdir()}
        for name in ("alone", "many")
    ]
    assert folders[0] == folders[1]
    assert sorted(folders[1]) == [f"{clip.stem}.txt" for clip in clips]


def test_many_files_are_written_as_they_are_ready_and_stay(avsr, recogniser, tmp_path: Path):
    status, _, err = avsr(
        "transcribe", "a.mp4", "missing.mp4", "faceless.mp4", "stop.mp4", "b.mp4", "-o", tmp_path
    )
    assert status == 130
    assert err.splitlines() == [
        "avsr: missing.mp4: no such file",
        "avsr: faceless.mp4: no face found: audio only",
        "avsr: interrupted",
    ]
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "faceless.txt"]
