"""How the project hangs together: what may import what, what an import costs, and what the wheel
holds."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement

from avsr import cli
from avsr.base.inputs import EXTRAS
from avsr.cli import program

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("avsr", "preprocessing", "training", "eval")
# Imports point one way: a room uses itself and the rooms above it in this list. Those of one line
# do not know each other.
DIRECTION = (
    ("avsr.base",),
    ("avsr.preprocessing.clip", "avsr.preprocessing.text", "avsr.preprocessing.recordings"),
    ("avsr.preprocessing.media", "avsr.preprocessing.corpora"),
    ("avsr.preprocessing.faces",),
    ("avsr.preprocessing",),
    ("avsr.preprocessing.synthetic",),
    ("avsr.model",),
    ("avsr.imported",),
    ("avsr.decoding",),
    ("avsr.sync",),
    # the engine knows recognisers by their protocol alone; who speaks it takes files by the engine
    ("avsr.transcribing.voice.silero",),
    ("avsr.transcribing.voice.activity",),
    ("avsr.recognisers.protocol",),
    ("avsr.transcribing",),
    ("avsr.recognisers",),
    ("avsr.transcribing.transcribe",),
    ("avsr.batch",),
    ("avsr", "avsr.live", "avsr.training.sections"),
    ("avsr.training.config", "avsr.eval.conditions"),
    ("avsr.training.data", "avsr.eval.metrics"),
    ("avsr.training", "avsr.eval.report"),
    ("avsr.training.tools", "avsr.eval.run"),
    ("avsr.app",),
    ("avsr.cli",),
    ("avsr.__main__",),
)
HEAVY = (
    "torch",
    "mediapipe",
    "lightning",
    "matplotlib",
    "gradio",
    "librosa",
    "cv2",
    "av",
    "scipy",
    "pydantic",
)


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[tuple[int, str, int]]:
    """(line, what is imported with its dotted name, dots in front) of each import, also those
    inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (
                (node.lineno, f"{node.module or ''}.{alias.name}", node.level)
                for alias in node.names
            )


def module_of(path: Path) -> str:
    """The name by which a source file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    own = parts if parts[0] == "avsr" else ("avsr", *parts)
    return ".".join(own[:-1] if own[-1] == "__init__" else own)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports, wherever in the file it does."""
    files = {module_of(path): path for path in sources(*PACKAGES)}
    found: dict[str, set[str]] = {}
    for module, path in files.items():
        names = [name for _, name, _ in imports(path)]
        # "from a import b" names a module a.b, or something in the module a
        leads_to = {name if name in files else name.rpartition(".")[0] for name in names}
        found[module] = {name for name in leads_to & files.keys() if name != module}
    return found


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first one again at the end; empty where there
    is none."""
    done: set[str] = set()

    def search(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph[module]):
            if circle := search(other, [*way, module]):
                return circle
        done.add(module)
        return []

    for module in sorted(graph):
        if circle := search(module, []):
            return circle
    return []


def level_of(module: str) -> tuple[int, str]:
    """The line of DIRECTION that a module belongs to, and its room there."""
    rooms = [(level, room) for level, line in enumerate(DIRECTION) for room in line]
    fitting = [(level, room) for level, room in rooms if f"{module}.".startswith(f"{room}.")]
    return max(fitting, key=lambda found: len(found[1]))


# ------------------------------------------------------------------------------------------ imports


def test_every_import_of_our_own_code_is_absolute_and_begins_with_avsr():
    wrong = [
        f"{name_of(path)}:{line} {'.' * level}{name}"
        for path in sources(*PACKAGES, "tests")
        for line, name, level in imports(path)
        if level or name.split(".")[0] in {*PACKAGES, "tests"} - {"avsr"}
    ]
    assert not wrong, "write import avsr.…: " + ", ".join(wrong)


def test_no_modules_import_each_other_in_a_circle(graph):
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert not circle_in(graph)


def test_imports_point_one_way(graph):
    wrong = []
    for module, others in graph.items():
        level, room = level_of(module)
        for other in others:
            above, theirs = level_of(other)
            if above >= level and theirs != room:
                wrong.append(f"{module} imports {other}")
    assert not wrong, "see DIRECTION: " + ", ".join(wrong)


def test_importing_avsr_brings_nothing_heavy():
    """Who only asks for the version, or for help, does not wait for torch."""
    code = (
        "import sys, avsr, avsr.cli; avsr.__version__; "
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "avsr" in loaded
    assert not set(HEAVY) & set(loaded)


def test_importing_avsr_configures_nothing_global():
    code = """import logging, os, random, signal, sys
def state():
    log = list(logging.root.handlers), logging.root.level
    return log, sys.excepthook, dict(os.environ), random.getstate(), signal.getsignal(signal.SIGINT)
before = state()
import avsr, avsr.cli
assert state() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", [None, *(typer.main.get_command(program.app).commands)])  # type: ignore[attr-defined]
def test_every_command_explains_itself(command, capsys):
    assert cli.main([*([command] if command else []), "--help"]) == 0
    shown = capsys.readouterr()
    assert "Usage: avsr" in shown.out
    assert not shown.err


# ---------------------------------------------------------------------------------------- packaging


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_setup_cfg_names_every_package():
    """A folder it forgets works in a clone and is missing from the wheel."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    options = setup["options"]
    places = dict(re.split(r"\s*=\s*", line) for line in options["package_dir"].split("\n") if line)
    there = {path.parent.relative_to(ROOT).as_posix() for path in sources(*PACKAGES)}
    assert set(places.values()) == there
    assert set(options["packages"].split()) == set(places)


def test_links_in_avsr_lead_to_the_folders_that_setup_cfg_names():
    """Editors and type checkers follow them; what is built does not need them."""
    for folder in PACKAGES[1:]:
        link = ROOT / "avsr" / folder
        if not link.is_symlink():
            pytest.skip("this clone has no symbolic links")
        assert link.resolve() == ROOT / folder


def test_constraints_pin_every_direct_dependency_within_its_range():
    extras = project()["optional-dependencies"].values()
    wanted = [Requirement(line) for lines in [project()["dependencies"], *extras] for line in lines]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {
        pin.name: pin
        for pin in (Requirement(line) for line in lines if line and not line.startswith("#"))
    }
    for requirement in wanted:
        # itself; and a tool that builds take newest anyway
        if requirement.name in ("avsr", "setuptools"):
            continue
        assert requirement.name in pins, f"constraints.txt does not pin {requirement.name}"
        (pin,) = pins[requirement.name].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), f"{requirement} does not allow {pin}"


def test_every_library_of_an_extra_says_which_extra_brings_it():
    """Who lacks one is told what to install."""
    for extra, lines in project()["optional-dependencies"].items():
        if extra in ("dev", "docs", "peers"):  # not for users; and another name of an extra
            continue
        for line in lines:
            assert EXTRAS[Requirement(line).name.replace("-", "_")] == extra


def copy_of_sources(folder: Path) -> Path:
    """The files that a wheel is made of; building in the repository itself would reuse what older
    builds left there."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*PACKAGES, "pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of the code as it stands, built without a package index."""
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs setuptools 77 or newer, which make test installs")
    source = copy_of_sources(tmp_path_factory.mktemp("source"))
    target = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(target),
        str(source),
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = target.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_avsr_alone_and_all_of_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    info = f"avsr-{project()['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {"avsr", info}
    expected = {
        path.relative_to(ROOT / "avsr").as_posix() if folder == "avsr" else name_of(path)
        for folder in PACKAGES
        for pattern in (
            "recipes/*.toml",
            "weights/*",
            "*.safetensors",
            "*.schema.json",
            "*.html",
            "*.css",
            "*.js",
            "*.j2",
            "*.png",
            None,
        )
        for path in (sources(folder) if pattern is None else (ROOT / folder).rglob(pattern))
    }
    held = {name.removeprefix("avsr/") for name in names if name.startswith("avsr/")}
    assert held == expected | {"py.typed"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_wheel_runs_where_the_repository_is_not(wheel, tmp_path):
    """Installed into a fresh environment that borrows the libraries of this one and nothing else of
    it."""
    home, elsewhere = tmp_path / "venv", tmp_path / "empty"
    elsewhere.mkdir()
    venv.create(home, with_pip=False, symlinks=os.name != "nt")
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    install = [
        "install",
        "--no-deps",
        "--no-index",
        "--no-warn-script-location",
        "--quiet",
        str(wheel),
    ]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), *install], check=True)
    # A path file only adds a folder: the editable install of the repository, itself a path file
    # there, is not followed.
    (own / "borrowed.pth").write_text(
        "\n".join([path for path in sys.path if path.endswith("site-packages")]) + "\n"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=elsewhere, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    assert "transcribe" in run(scripts / "avsr", "--help")
    assert "transcribe" in run(python, "-m", "avsr", "--help")
    modules = "avsr, avsr.preprocessing.corpora, avsr.training.config, avsr.eval.metrics.wer"
    places = run(
        python, "-c", f"import {modules}\nfor module in ({modules}): print(module.__file__)"
    ).splitlines()
    assert len(places) == 4
    assert all(Path(place).is_relative_to(own) for place in places)
    shipped = "from avsr.training.config import load_recipe; print(load_recipe('grid-tiny').size)"
    assert run(python, "-c", shipped).strip() == "grid-tiny"


@pytest.mark.slow
def test_a_users_own_files_cannot_shadow_ours(wheel, tmp_path):
    """The reason for the package mapping: a training/ folder or an eval.py beside one's script."""
    for name in ("training", "preprocessing", "eval"):
        (tmp_path / f"{name}.py").write_text(
            "raise RuntimeError('the user's own file was imported')\n"
        )
    code = "import avsr.preprocessing.clip, avsr.training.config, avsr.eval.metrics.wer"
    # a wheel of pure Python can be imported from as it is
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
