"""Called by mkdocs: lays the packages out as they install, so that mkdocstrings finds them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "api" / "avsr"  # mkdocs.yml names its parent
BELOW = ("preprocessing", "training", "eval")  # at the top level here, below avsr once installed


def on_config(config: Any) -> Any:
    """Copies the sources: of links mkdocstrings would look at what they point to."""
    shutil.rmtree(TREE, ignore_errors=True)
    leave = shutil.ignore_patterns("weights", "recipes", "__pycache__")
    shutil.copytree(ROOT / "avsr", TREE, ignore=leave)
    for name in BELOW:
        shutil.copytree(ROOT / name, TREE / name, ignore=leave)
    return config
