"""The documentation agrees with the code: commands parse, options and files exist, recipes load."""

from __future__ import annotations

import ast
import itertools
import pydoc
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

import avsr
from avsr import cli
from avsr.cli import options, program
from avsr.decoding.grammar import GRAMMARS
from avsr.model.config import ModelConfig
from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.preprocessing.faces.persons import RULES
from avsr.preprocessing.synthetic.corpus import make_clip
from avsr.preprocessing.synthetic.voice import speak
from avsr.training.config import load_recipe
from avsr.transcribing.speakers.people import SPEAKING

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted((ROOT / "docs").glob("*.md"))  # docs/robustness/ holds a report, made by a command
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
}
DOCUMENTS["avsr/weights/README.md"] = (ROOT / "avsr/weights/README.md").read_text(encoding="utf-8")
EVERYTHING = "\n".join(DOCUMENTS.values())
GROUP = typer.main.get_command(program.app)
COMMANDS = GROUP.commands  # type: ignore[attr-defined]
LARGEST_MB = 30
LONGEST_README = 1200  # words


def shown_commands(program: str) -> list[str]:
    """Command lines in the documents that begin with a program: indented, fenced, or in backquotes
    within the text."""
    found = []
    for text in DOCUMENTS.values():
        text = text.replace("\\\n", " ")  # a backslash at the end of a line goes on with the next
        found += [line.strip() for line in text.splitlines() if line.startswith("    ")]
        for body in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
            found += [line.strip() for line in body.splitlines()]
        found += re.findall(r"`([^`\n]+)`", text)
    shown = {line for line in found if line == program or line.startswith(f"{program} ")}
    return sorted(line for line in shown if "$" not in line)  # a shell's variables are not known


def python_examples() -> list[tuple[str, str]]:
    """(document, code) of each block of Python."""
    return [
        (name, code)
        for name, text in DOCUMENTS.items()
        for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    ]


def settings(line: str) -> list[str]:
    """What a command line sets."""
    words = shlex.split(line, comments=True)
    return [after for word, after in itertools.pairwise(words) if word == "--set"]


def test_a_family_as_the_page_shows_it_works_everywhere(tmp_path, monkeypatch, capsys):
    from avsr.recognisers import registry
    from avsr.transcribing.voice.activity import everything

    (family,) = [code for _, code in python_examples() if "class Constant(Adapter)" in code]
    module = family.splitlines()[0].removeprefix("# ").replace("/", "_").removesuffix(".py")
    line = f'    "{module.replace("_", ".")}",'
    assert line in DOCUMENTS["docs/recognisers.md"].splitlines()
    (tmp_path / f"{module}.py").write_text(family)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "FAMILIES", (module, *registry.FAMILIES))
    monkeypatch.setattr(f"{module}.Constant.activity", staticmethod(everything))
    soundfile.write(tmp_path / "a.wav", np.full(SAMPLE_RATE, 0.1), SAMPLE_RATE)
    command = ["transcribe", str(tmp_path / "a.wav"), "--model", "constant:bin blue"]
    assert cli.main(command) == 0
    assert capsys.readouterr().out == "bin blue\n"
    assert cli.main([*command[:-1], "unknown:bin blue"]) == 2
    assert "constant:TEXT" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- commands


def test_the_documents_show_commands():
    """So that the tests below do not pass because nothing was found."""
    shown = {line.split()[1] for line in shown_commands("avsr") if " " in line}
    assert {
        "transcribe",
        "prepare",
        "train",
        "evaluate",
        "compare",
        "bench",
        "models",
        "demo",
    } <= shown


@pytest.mark.parametrize("line", shown_commands("avsr"))
def test_every_avsr_command_shown_parses(line):
    arguments = shlex.split(line, comments=True)[1:]
    if not arguments:
        return
    name, *rest = arguments
    assert name in COMMANDS, f"there is no command {name}"
    if rest:  # a bare `avsr train` in a sentence only names the command
        # raises a usage error for what does not exist or is out of range
        command = COMMANDS[name]
        if hasattr(command, "commands"):
            name, *rest = rest
            command = command.commands[name]
        if rest:
            command.make_context(name, rest)


@pytest.fixture(scope="module")
def recording(shared, tmp_path_factory) -> Path:
    """A folder with a talking head."""
    folder = tmp_path_factory.mktemp("recording")
    make_clip(folder / "talk.mp4", seed=0)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in shown_commands("avsr transcribe talk.mp4")
        if not {"--model", "-o"} & set(line.split()) and line.count(".") == 1 and "(" not in line
    ],
)
def test_commands_on_one_recording_run(line, shared, recording, monkeypatch, capsys):
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    monkeypatch.chdir(recording)
    assert cli.main(shlex.split(line, comments=True)[1:]) == 0
    # from drawn lips alone, words that look alike are not told apart
    said = "three again" if "video" in line.split() else "set red in g three again"
    assert said in re.sub(r"<.*?>", "", capsys.readouterr().out)  # without the marks of colours


@pytest.mark.slow
def test_the_first_model_of_getting_started_is_trained(shared, tmp_path, monkeypatch, capsys):
    """The commands as they stand, but for fewer clips and steps."""
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    monkeypatch.chdir(tmp_path)
    page = DOCUMENTS["docs/getting-started.md"].partition("## Your first model")[2]
    lines = [line.strip() for line in page.splitlines() if line.startswith("    avsr ")]
    assert len(lines) == 5
    for line in lines:
        fewer = re.sub(r"--clips \d+", "--clips 2", line)
        fewer = re.sub(r"steps=\d+", "steps=2 --set data.workers=0 --set devices=1", fewer)
        assert cli.main(shlex.split(fewer)[1:]) == 0, capsys.readouterr().err
    assert (tmp_path / "results" / "first" / "report.html").is_file()


@pytest.mark.parametrize("line", shown_commands("make"))
def test_every_make_target_shown_exists(line):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {word for word in shlex.split(line, comments=True)[1:] if "=" not in word} <= targets


def test_the_table_of_options_is_that_of_transcribe():
    page = DOCUMENTS["docs/transcribing.md"]
    rows = re.findall(r"^\| (`-[^|]*) \| ([^|]*) \|", page, re.M)
    table = {
        frozenset(re.findall(r"--?[a-z][a-z-]*", cell)): re.findall(r"`(\w+)`", values)
        for cell, values in rows
    }
    named = {frozenset(p.opts) for p in COMMANDS["transcribe"].params if p.opts[0].startswith("-")}
    assert set(table) == named - {frozenset({"--help"})}
    choices = {
        "--format": options.Format,
        "--modality": options.Modality,
        "--device": options.DEVICES,
        "--engine": options.Engine,
        "--face": (*RULES, SPEAKING),
    }
    choices["--grammar"] = GRAMMARS
    for names, values in table.items():
        assert values == [str(choice) for name in names for choice in choices.get(name, ())]


def test_options_named_in_the_text_exist():
    below = [sub for c in COMMANDS.values() for sub in getattr(c, "commands", {}).values()]
    known = {
        name
        for command in [GROUP, *COMMANDS.values(), *below]
        for option in command.params
        for name in option.opts
    }
    prose = {
        code.split()[0].partition("=")[0]
        for code in re.findall(r"`([^`\n]+)`", EVERYTHING)
        if code.startswith("--")
    }
    assert prose
    assert prose <= known


@pytest.mark.parametrize("line", [line for line in shown_commands("avsr train") if settings(line)])
def test_settings_shown_are_those_of_the_recipe(line):
    load_recipe(shlex.split(line)[2], settings(line))


def test_settings_named_in_the_text_exist():
    """`section.key` in backquotes, where the section is one of a recipe."""
    sections = "|".join(name for name, _ in load_recipe("grid-tiny") if name != "model")
    named = set(re.findall(rf"`((?:{sections})\.\w+)", EVERYTHING))
    assert named
    recipe = load_recipe("grid-tiny")
    missing = [
        key for key in named if not hasattr(getattr(recipe, key.split(".")[0]), key.split(".")[1])
    ]
    assert not missing


# ------------------------------------------------------------------------------------------ Python


@pytest.mark.parametrize(
    ("name", "code"), [(n, c) for n, c in python_examples() if "talk.mp4" in c and "sync" not in c]
)
def test_python_examples_on_a_recording_run(name, code, tmp_path, monkeypatch, capsys):
    """The recording has sound alone, so that no face model is needed."""
    said = speak("bin blue at f two now", np.random.default_rng(0))
    soundfile.write(tmp_path / "talk.mp4", said.audio, SAMPLE_RATE, format="WAV")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, name, "exec"), {})
    assert "blue" in capsys.readouterr().out


def test_the_example_of_synchronisation_runs(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    make_clip(tmp_path / "talk.mp4", seed=0)
    monkeypatch.chdir(tmp_path)
    (code,) = {code for _, code in python_examples() if "talk.mp4" in code and "sync" in code}
    exec(compile(code, "docs", "exec"), {})
    assert "frames=" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "code"), python_examples())
def test_python_examples_import_what_exists(name, code):
    """What an example needs besides, such as prepared data, is not made here."""
    tree = ast.parse(code)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    exec(compile(ast.Module(imports, []), name, "exec"), {})


def test_the_python_api_page_names_what_exists():
    named = re.findall(r"^::: (\S+)$", DOCUMENTS["docs/python-api.md"], re.M)
    assert {f"avsr.{name}" for name in avsr.__all__} - {"avsr.__version__"} <= set(named)
    assert not [name for name in named if pydoc.locate(name) is None]


# -------------------------------------------------------------------------------- files and recipes


@pytest.mark.parametrize(
    "path", sorted((ROOT / "training" / "recipes").glob("*.toml")), ids=lambda path: path.stem
)
def test_every_recipe_loads_and_gives_a_network(path):
    assert load_recipe(path.stem) == load_recipe(str(path))
    tokenizer = Tokenizer(("<blank>", " ", "a"))
    init = ModelConfig(tokens=("<blank>", "b"))
    network = load_recipe(path.stem).network(tokenizer, init=init)
    assert network.tokens == tokenizer.tokens


def test_files_named_in_the_text_exist():
    """Paths of the repository in backquotes, such as `training/config.py`."""
    folders = "avsr|preprocessing|training|eval|tests|docs"
    named = re.findall(rf"`((?:{folders})/[\w./-]*|[A-Z]+\.md|LICENSE)`", EVERYTHING)
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(name):
    """Those of docs/ are followed by `make docs`, which is strict."""
    links = re.findall(r"\]\(([^)\s]+)\)", DOCUMENTS[name])
    here = [link.split("#")[0] for link in links if "://" not in link]
    assert not [link for link in here if not (ROOT / link).exists()]


def test_every_page_is_in_the_navigation():
    shown = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    assert {path.name for path in PAGES} <= set(re.findall(r": (\S+\.md)$", shown, re.M))


def test_the_readme_is_short():
    assert len(README.split()) <= LONGEST_README


def test_no_file_is_too_large_for_a_clone():
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("needs git and its repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name]
    assert not [
        f"{path}" for path in files if path.is_file() and path.stat().st_size > LARGEST_MB * 1e6
    ]


def test_the_version_is_in_the_changelog():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(avsr.__version__)}\b", changelog, re.M)
