"""Reports as files. Pictures and the page need the extra `report`; without it the rest is written,
and a warning says how to get them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.eval.metrics.compare import Comparison
from avsr.eval.metrics.results import Results
from avsr.eval.report import comparison as compared
from avsr.eval.report.markdown import to_markdown

EXTRA = {"matplotlib"}  # what the extra brings


@contextmanager
def if_installed(what: str) -> Iterator[None]:
    """For what needs the extra: where it is not installed, a warning says so and all goes on.

    Args:
        what: is not drawn then.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        told = "%s: not written, because %s is not installed: %s, and call this again"
        logging.getLogger(__name__).warning(told, what, error.name, install("matplotlib"))


def save_report(results: Results, folder: str | Path, overwrite: bool = False) -> list[Path]:
    """Writes report.md, report.html and an SVG file for each axis that has curves.

    Args:
        results: what to report.
        folder, overwrite: as in `write_all`.

    Returns:
        The files.

    Raises:
        AvsrError: see `write_all`.
    """
    files = {"report.md": to_markdown(results)}
    with if_installed("report.html and plots"):
        from avsr.eval.report.drawing.plots import plots
        from avsr.eval.report.page import to_html

        files |= {"report.html": to_html(results), **plots(results)}
    return write_all(files, folder, overwrite)


def save_comparison(
    comparison: Comparison, folder: str | Path, overwrite: bool = False
) -> list[Path]:
    """Writes compare.json, compare.md and, where any condition has a rate, compare.svg.

    Args:
        comparison: what to write.
        folder, overwrite: as in `write_all`.

    Returns:
        The files.

    Raises:
        AvsrError: see `write_all`.
    """
    files = {"compare.json": comparison.to_json(), "compare.md": compared.to_markdown(comparison)}
    if comparison.rated:
        with if_installed("compare.svg"):
            from avsr.eval.report.drawing.forest import draw

            files["compare.svg"] = draw(comparison)
    return write_all(files, folder, overwrite)


def write_all(files: Mapping[str, str], folder: str | Path, overwrite: bool) -> list[Path]:
    """Writes files into a folder.

    Args:
        files: name -> content.
        folder: made where it is not there.
        overwrite: replace files of these names that were not written here.

    Returns:
        The files.

    Raises:
        AvsrError: the folder cannot be written, or holds other people's files of these names.
    """
    folder = Path(folder)
    outputs.refuse([folder / name for name in files], overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            outputs.write(folder / name, [text.encode()])
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot be written ({error.strerror}); free space or name another folder"
        ) from error
    return [folder / name for name in files]
