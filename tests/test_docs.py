"""The documentation agrees with the code: commands parse, options and files exist, recipes load."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import avsr
from avsr.cli import options, program
from avsr.decoding.grammar import GRAMMARS
from avsr.training.config import load_recipe

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
}
GROUP = typer.main.get_command(program.app)
COMMANDS = GROUP.commands  # type: ignore[attr-defined]
LARGEST_MB = 30


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
    return sorted({line for line in found if line == program or line.startswith(f"{program} ")})


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
        command.make_context(name, rest)


@pytest.mark.parametrize("line", shown_commands("python -m"))
def test_every_module_shown_runs_and_has_the_options_shown(line):
    _, _, module, *arguments = shlex.split(line, comments=True)
    assert importlib.util.find_spec(module), f"there is no module {module}"
    asked = [argument.split("=")[0] for argument in arguments if argument.startswith("-")]
    if asked:
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
        )
        assert not [option for option in asked if option not in done.stdout]


@pytest.mark.parametrize("line", shown_commands("make"))
def test_every_make_target_shown_exists(line):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    assert {word for word in shlex.split(line, comments=True)[1:] if "=" not in word} <= targets


def test_the_table_of_options_is_that_of_transcribe():
    rows = re.findall(r"^\| (`-[^|]*) \| ([^|]*) \|", README, re.M)
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
        "--face": options.FACES,
    }
    choices["--grammar"] = GRAMMARS
    for names, values in table.items():
        assert values == [str(choice) for name in names for choice in choices.get(name, ())]


def test_options_named_in_the_text_exist():
    known = {
        name
        for command in [GROUP, *COMMANDS.values()]
        for option in command.params
        for name in option.opts
    }
    prose = [code for code in re.findall(r"`([^`\n]+)`", README) if code.startswith("--")]
    assert prose
    assert {code.split()[0] for code in prose} <= known


def test_settings_named_in_the_text_exist():
    """`--set key=value`, wherever it is shown, is a value that a recipe takes."""
    pairs = re.findall(r"--set ([\w.]+=[^\s`]+)", "\n".join(DOCUMENTS.values()))
    assert pairs
    load_recipe("grid-tiny", pairs)


def test_python_shown_uses_what_avsr_offers():
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    names = {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)}
    assert names & set(avsr.__all__)
    assert names <= {
        *dir(avsr),
        *dir(avsr.transcribe.__globals__["Recogniser"]),
        *dir(avsr.Transcript),
    }


# -------------------------------------------------------------------------------- files and recipes


@pytest.mark.parametrize(
    "path", sorted((ROOT / "training" / "recipes").glob("*.toml")), ids=lambda path: path.stem
)
def test_every_recipe_loads_and_gives_a_network(path):
    assert load_recipe(path.stem) == load_recipe(str(path))
    assert load_recipe(path.stem).network(("<blank>", " ", "a")).tokens == ("<blank>", " ", "a")


def test_files_named_in_the_text_exist():
    """Paths of the repository in backquotes, such as `training/config.py`; others (`s1/`, `*.json`)
    are the user's."""
    paths = re.findall(
        r"`((?:avsr|preprocessing|training|eval|tests)/[\w./-]+|[A-Za-z]+\.(?:md|txt)|LICENSE)`",
        README,
    )
    named = set(paths) - {"train.txt", "val.txt", "report.md"}
    assert named
    assert not [path for path in named if not (ROOT / path).exists()]


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
