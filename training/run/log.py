"""What a run tells while it trains: lines for people, curves for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base import outputs

BOARD = "tensorboard"  # folder of the curves

# Losses in the log line; the curves have all of them.
LOSSES = (
    "total",
    "both",
    "audio",
    "video",
    "ctc",
    "attention",
    "audio_stream",
    "video_stream",
    "mwer",
    "distil",
    "infonce_frames",
    "infonce_clips",
)


def tell_dropped(
    dropped: Sequence[tuple[str, str]], path: Path, say: Callable[[str], object]
) -> None:
    """Names the clips that cannot be trained on: some in the log, all of them with their reasons in
    a file."""
    for name, reason in dropped[:10]:
        say(f"dropped {name}: {reason}")
    if len(dropped) > 10:
        say(f"dropped {len(dropped) - 10} more, all in {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}\t{reason}\n" for name, reason in dropped)
    outputs.write(path, [text.encode("utf-8", "backslashreplace")])


class Log:
    """The log of a run's first process.

    Args:
        folder: of TensorBoard's files.
        say: takes a line.
        first: step from which on earlier curves are replaced.
        last: step of the end.
    """

    def __init__(self, folder: Path, say: Callable[[str], object], first: int, last: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board: Any = SummaryWriter(str(folder), purge_step=first or None)
        self.say, self.last = say, last

    def steps(
        self, step: int, values: Sequence[dict[str, float]], rate: float, clips: int, seconds: float
    ) -> None:
        """One line about some steps: mean losses, learning rate, clips a second, time left.

        Args:
            step: how many are done.
            values: losses and the norm of the gradient, of each of these steps.
            rate: learning rate of the last one.
            clips: in these steps.
            seconds: they took.
        """
        names = sorted({name for one in values for name in one})
        means = {
            name: float(np.mean([one[name] for one in values if name in one])) for name in names
        }
        left_min = (self.last - step) * seconds / len(values) / 60
        shown = " ".join(f"{name} {means[name]:.3f}" for name in LOSSES if name in means)
        self.say(
            f"step {step}/{self.last} {shown} lr {rate:.1e} {clips / seconds:.1f} clips/s "
            f"{left_min:.0f} min left"
        )
        self.board.add_scalar("gradient_norm", means.pop("gradient"), step)
        for name, value in means.items():
            self.board.add_scalar(f"loss/{name}", value, step)
        self.board.add_scalar("clips_per_s", clips / seconds, step)
        self.board.add_scalar("learning_rate", rate, step)
        self.board.add_scalar("seconds", seconds, step)

    def error_rates(self, step: int, rates: dict[str, float], clips: int) -> None:
        """One line about word error rates by modality."""
        for name, rate in rates.items():
            self.board.add_scalar(f"wer/{name}", rate, step)
        shown = " ".join(f"{name} {100 * rate:.1f}" for name, rate in rates.items())
        self.say(f"step {step} WER % on {clips} validation clips: {shown}")

    def flush(self) -> None:
        self.board.flush()
