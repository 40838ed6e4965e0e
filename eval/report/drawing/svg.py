"""Figures of matplotlib as SVG: text stays text, the same figure gives the same bytes, and every
mark can say what it shows.

Colours are Okabe and Ito's (blue, vermilion, green are apart for every kind of colour vision). A
file gets them as they are; in the page they become the variables of its style sheet, so that they
follow its light or dark scheme.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
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
SVG = f"{{{NAMESPACE}}}"  # in front of the names of elements
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
    root = ElementTree.fromstring(buffer.getvalue())
    _tell(root, told)
    for found in list(root):
        # A style sheet for all elements would be one for the whole page.
        if found.tag == f"{SVG}metadata" or found.find(f"{SVG}style") is not None:
            root.remove(found)
    _thin(root, told.keys())
    root.attrib |= {"role": "img", "aria-label": label}
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib |= {"width": width, "height": height}  # pixels, where matplotlib says points
    root.attrib |= {"font-family": FONTS, "stroke-linejoin": "round"}
    return root


def _tell(root: ElementTree.Element, told: Told) -> None:
    """Gives marks the titles that browsers show to who points at them."""
    for group in root.iter(f"{SVG}g"):
        texts = told.get(group.get("id", ""), ())
        marks = list(group.iter(f"{SVG}use")) if len(texts) > 1 else [group]
        for mark, words in zip(marks, texts, strict=bool(texts)):
            title = ElementTree.Element(f"{SVG}title")
            title.text = words
            mark.insert(0, title)


def _thin(element: ElementTree.Element, ids: Collection[str]) -> None:
    """Takes away what nobody sees: indentation, names of groups and groups without one, digits, and
    fonts, which the whole has."""
    for place, child in reversed(list(enumerate(element))):
        _thin(child, ids)
        child.tail = None
        if child.tag == f"{SVG}g" and not child.attrib:
            element[place : place + 1] = list(child)
    if element.tag not in (f"{SVG}text", f"{SVG}title"):
        element.text = None
    if element.tag == f"{SVG}g" and element.get("id") not in ids:
        element.attrib.pop("id", None)
    for name in ("d", "x", "y", "width", "height"):
        if name in element.attrib:
            rounded = re.sub(r"-?\d+\.\d+", _two_digits, element.attrib[name])
            element.attrib[name] = " ".join(rounded.split())
    if element.tag == f"{SVG}text":
        element.attrib.pop("transform", None)  # nothing is turned
        element.attrib["style"] = re.sub(r"font-family: [^;]*; ?", "", element.attrib["style"])


def _two_digits(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
