"""What all HTML pages have in common: their templates escape every text, and a page runs no script
but its own, which its content security policy knows by its hash."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

STYLE, SCRIPT = "page.css", "page.js"


def templates(folder: Path) -> Environment:
    """The templates of a folder; one that uses what it is not given is an error."""
    return Environment(
        loader=FileSystemLoader(folder, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def own_parts(folder: Path) -> dict[str, str]:
    """What a page holds of the files beside its template: css, script, and script_sha256 for its
    content security policy."""
    script = (folder / SCRIPT).read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return {
        "css": Markup((folder / STYLE).read_text(encoding="utf-8")),
        "script": Markup(script),
        "script_sha256": base64.b64encode(digest).decode("ascii"),
    }
