"""Runs beside each other: what was set, how it went, as a table and as curves.

avsr runs runs/ --plot runs.svg
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.eval.metrics.text import Table
from avsr.training.run.log import BOARD

Curve = list[tuple[int, float]]  # steps and values
CONFIG = "config.json"


@dataclass(frozen=True)
class RunFound:
    """A run as its folder tells it.

    Attributes:
        name: of the folder.
        config: its recipe, ``section.key`` to value.
        curves: by name, as TensorBoard has them.
    """

    name: str
    config: dict[str, Any]
    curves: dict[str, Curve]

    def last(self, name: str) -> float | None:
        """The last value of a curve; None where there is none."""
        return self.curves[name][-1][1] if self.curves.get(name) else None

    def best(self, name: str) -> tuple[int, float] | None:
        """Step and value of the lowest point."""
        return min(self.curves.get(name, ()), key=lambda point: point[1], default=None)

    @property
    def step(self) -> int:
        return max((curve[-1][0] for curve in self.curves.values() if curve), default=0)

    @property
    def seconds(self) -> float:
        """Of training, without pauses between a stop and a resume."""
        return sum(value for _, value in self.curves.get("seconds", ()))


def find_runs(
    folders: Sequence[Path], tell: Callable[[str], object] = lambda _: None
) -> list[RunFound]:
    """The runs in folders: each is one, or holds some.

    Args:
        folders: runs, or folders of runs.
        tell: is told why a folder of a folder of runs is left out.

    Raises:
        AvsrError: a folder is none and holds none, or its recipe cannot be read or is none.
    """
    found = []
    for folder in folders:
        runs = [_read(folder)] if (folder / CONFIG).is_file() else _runs_within(folder, tell)
        if not runs:
            raise AvsrError(f"{folder}: no run and no folder of runs (none has a {CONFIG})")
        found += runs
    return found


def _runs_within(folder: Path, tell: Callable[[str], object]) -> list[RunFound]:
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (path / CONFIG).is_file():
            try:
                found.append(_read(path))
            except AvsrError as error:  # of something else: many things have a config.json
                tell(str(error))
    return found


def table(runs: Sequence[RunFound]) -> str:
    """A line for each run: where it is, what is set otherwise than in others, losses, error
    rates."""
    keys = sorted({key for run in runs for key in run.config})
    differ = [key for key in keys if len({str(run.config.get(key)) for run in runs}) > 1]
    head = ["run", *differ, "step", "loss", "best WER % (step)", "last WER %", "minutes"]
    lines = []
    for run in runs:
        best = run.best("wer/both")
        lines.append(
            [
                run.name,
                *(_shown(run.config.get(key)) for key in differ),
                f"{run.step}/{run.config.get('optim.steps', '?')}",
                _number(run.last("loss/total"), 3),
                f"{100 * best[1]:.1f} ({best[0]})" if best else "",
                _number(run.last("wer/both"), 1, 100),
                _number(run.seconds / 60, 1),
            ]
        )
    return Table(head, lines, texts=1 + len(differ)).to_markdown()


def plot(runs: Sequence[RunFound]) -> str:
    """Losses and word error rates over the steps, as the content of an SVG file."""
    from avsr.eval.report.drawing import svg

    with svg.style():
        figure = svg.figure(720, 300)
        panels = (("loss/total", "loss", 1.0), ("wer/both", "word error rate, %", 100.0))
        for place, (name, label, times) in enumerate(panels):
            axes = figure.add_axes((0.08 + 0.5 * place, 0.16, 0.4, 0.7))
            for run in runs:
                curve = run.curves.get(name, [])
                steps, values = [step for step, _ in curve], [times * value for _, value in curve]
                axes.plot(steps, values, marker="." if len(curve) < 20 else "", label=run.name)
            axes.set_xlabel("step")
            axes.set_title(label)
            if place == 0:
                axes.legend()
        return svg.file_content(figure, "Losses and word error rates of runs", {})


def _read(folder: Path) -> RunFound:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AvsrError(f"{folder / CONFIG}: cannot be read ({error}): leave it out") from None
    if not (isinstance(config, dict) and isinstance(config.get("optim"), dict)):
        raise AvsrError(f"{folder / CONFIG}: is no recipe of a run: leave it out")
    curves: dict[str, Curve] = {}
    if (folder / BOARD).is_dir():
        events = EventAccumulator(str(folder / BOARD), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            curves[name] = [(point.step, point.value) for point in events.Scalars(name)]
    return RunFound(folder.resolve().name, _flat(config), curves)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        deeper = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if deeper else {f"{prefix}{key}": value}
    return flat


def _shown(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 30 else f"{text[:27]}..."


def _number(value: float | None, digits: int, times: float = 1.0) -> str:
    return "" if value is None else f"{times * value:.{digits}f}"
