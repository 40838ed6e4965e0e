"""Figures of matplotlib as SVG: text stays text, the same figure gives the same bytes, and every
mark can say what it shows.

Colours are Okabe and Ito's (blue, vermilion, green are apart for every kind of colour vision). A
file gets them as they are; in the page they become the variables of its style sheet, so that they
follow its light or dark scheme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

COLOURS = {
    "paper": "#ffffff",
    "ink": "#1b1f24",
    "soft": "#59636e",
    "grid": "#dfe3e8",
    "av": "#0b63a5",
    "audio": "#b54708",
    "video": "#00785a",
}
MARKERS = {"av": "o", "audio": "s", "video": "^"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text as text
    "svg.hashsalt": "avsr",
    "text.parse_math": False,  # a dollar is a dollar
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that places do not depend on fonts
    "font.size": 12,
    "axes.edgecolor": COLOURS["grid"],
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": COLOURS["soft"],
    "axes.labelsize": 12,
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["soft"],
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 1,
    "figure.facecolor": COLOURS["paper"],
    "axes.facecolor": "none",
    "savefig.facecolor": COLOURS["paper"],
}
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
NAMESPACE = "http://www.w3.org/2000/svg"
LINK = "http://www.w3.org/1999/xlink"
_DROPPED = {"xmlns", "xmlns:xlink", "version", "width", "height"}  # of an element within a page

Told = Mapping[str, Sequence[str]]
"""Id of an artist (`set_gid`) -> what each of its marks shows, in the order of the marks; one text
alone is for the artist as a whole."""


def figure(width: float, height: float) -> Figure:
    """An empty figure; sizes in CSS pixels."""
    return Figure(figsize=(width / 72, height / 72))  # a point of matplotlib's SVG is one pixel


def style() -> AbstractContextManager[None]:
    """What figures have to be made, and turned into SVG, within."""
    return matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": "svg"})


def file_content(drawn: Figure, label: str, told: Told) -> str:
    """A figure as the content of an SVG file.

    Args:
        drawn: the figure.
        label: says in words what it shows.
        told: what its marks show.
    """
    root = _root(drawn, label, told)
    ElementTree.register_namespace("", NAMESPACE)
    ElementTree.register_namespace("xlink", LINK)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def element(drawn: Figure, label: str, told: Told, prefix: str) -> str:
    """A figure as an element of a page, in the page's colours.

    Args:
        drawn, label, told: as in `file_content`.
        prefix: of its ids, so that they are its own within the page.
    """
    text = file_content(drawn, label, told)
    head, end, body = text.partition(">")
    kept = re.findall(r'([\w:-]+)=("[^"]*")', head)
    attributes = [f"{name}={value}" for name, value in kept if name not in _DROPPED]
    text = f'<svg class="chart" {" ".join(attributes)}{end}{body}'
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return text


def _root(drawn: Figure, label: str, told: Told) -> ElementTree.Element:
    buffer = io.StringIO()
    drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace("'DejaVu Sans'", FONTS)
    root = ElementTree.fromstring(text)
    for found in list(root):
        # A style sheet for all elements would be one for the whole page.
        if (
            found.tag == f"{{{NAMESPACE}}}metadata"
            or found.find(f"{{{NAMESPACE}}}style") is not None
        ):
            root.remove(found)
    root.set("stroke-linejoin", "round")
    root.set("role", "img")
    root.set("aria-label", label)
    for group in root.iter(f"{{{NAMESPACE}}}g"):
        texts = told.get(group.get("id", ""), ())
        marks = list(group.iter(f"{{{NAMESPACE}}}use")) if len(texts) > 1 else [group]
        for mark, words in zip(marks, texts, strict=bool(texts)):
            title = ElementTree.Element(f"{{{NAMESPACE}}}title")
            title.text = words
            mark.insert(0, title)
    return root
