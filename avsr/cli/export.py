"""avsr export: a model as an ONNX file, checked against the model."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsr.base.console import printable, progress, say
from avsr.base.errors import AvsrError
from avsr.cli.options import ModelArgument, OverwriteOption, SplitOption
from avsr.cli.transcribe import AdapterOption

if TYPE_CHECKING:
    from avsr.eval.metrics.cost.exported import Agreement
    from avsr.model.network import AVSR
    from avsr.preprocessing.clip import Clip

MOST_DIFFERENCE = 0.01  # of log-probabilities, for float weights: one per cent of a probability
MOST_LOST = 0.003  # of word error rate, for int8 weights
CLIPS = 3  # made for the check where no data is given


class Mel(StrEnum):
    inside = "inside"
    beside = "beside"


def onnx_file(path: Path) -> Path:
    """The path of an ONNX file to write."""
    if path.suffix != ".onnx":
        raise typer.BadParameter(f"{path}: must end in .onnx")
    return path


OutOption = Annotated[
    Path, typer.Option(metavar="FILE", callback=onnx_file, help="The .onnx file to write.")
]
MelOption = Annotated[
    Mel,
    typer.Option(help="Whether the graph makes the log-mel of the sound, or is given it."),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        min=2,
        max=3000,
        metavar="N",
        help="One clip of this many frames at a time; any batch and length by default.",
    ),
]
Int8Option = Annotated[
    bool,
    typer.Option("--int8", help="Weights of matrix products as int8: a smaller file."),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        metavar="DIR|URL", help="Shards to check the file on; synthetic talking heads by default."
    ),
]
LimitOption = Annotated[
    int, typer.Option(min=1, metavar="N", help="Of --data, the first so many clips.")
]


def export(
    model: ModelArgument,
    out: OutOption,
    mel: MelOption = Mel.inside,
    frames: FramesOption = None,
    int8: Int8Option = False,
    adapter: AdapterOption = None,
    data: DataOption = None,
    split: SplitOption = None,
    limit: LimitOption = 20,
    overwrite: OverwriteOption = False,
) -> None:
    """Write a model as ONNX, and check that onnxruntime makes of clips what torch does."""
    from tempfile import TemporaryDirectory

    from avsr.base import outputs
    from avsr.eval.metrics.cost.exported import agreement, to_markdown
    from avsr.model import checkpoint
    from avsr.model.adapter import apply
    from avsr.model.export import OnnxNetwork, quantise
    from avsr.model.export import export as write

    source = checkpoint.resolve(model)
    outputs.refuse([out], [source, *([adapter] if adapter else [])], overwrite=overwrite)
    if not out.resolve().parent.is_dir():
        raise AvsrError(f"{out}: its folder does not exist: make it, or name another file")
    outputs.make_folder(out.resolve().parent, "choose another with --out")
    network, info = checkpoint.load(source)
    if adapter is not None:
        info["adapter"] = apply(network, adapter, checkpoint.weights_sha256(source))
    clips = _clips(network, data, split, limit, frames)
    with TemporaryDirectory() as scratch:
        made = Path(scratch) / "float.onnx"
        with progress("exporting", unit="") as tell:
            tell(0, 1)
            write(network, made, info, mel.value, frames)
            if int8:
                quantise(made, made := made.with_name("int8.onnx"))
        exported = OnnxNetwork(made, made_by=network)
        with progress("checking", unit="clips") as tell:
            rows = agreement(network, exported, clips, batched=frames is None, tell=tell)
        _refuse_unlike(rows, int8)
        try:
            outputs.write(out, [made.read_bytes()])
        except OSError as error:
            raise AvsrError(f"{out}: cannot be written ({error.strerror})") from error
    print(to_markdown(rows))
    size, own = out.stat().st_size / 1e6, source.stat().st_size / 1e6
    print(f"{printable(str(out))}: {size:.1f} MB (the model's own file: {own:.1f} MB)")


def _clips(
    network: AVSR, data: str | None, split: str | None, limit: int, frames: int | None
) -> Sequence[Clip]:
    """What the file is checked on, none longer than it takes.

    Raises:
        AvsrError: there are no such clips, or none is short enough.
    """
    from tempfile import TemporaryDirectory

    from avsr.preprocessing.reader import load_clip
    from avsr.preprocessing.shards import ShardIndex
    from avsr.preprocessing.synthetic.corpus import make_clip

    if data is None:
        found = []
        with TemporaryDirectory() as scratch, progress("making clips", unit="clips") as tell:
            for seed in range(CLIPS):
                path = Path(scratch) / f"{seed}.mp4"
                text = make_clip(path, seed=seed)
                found.append(load_clip(path, text=text))
                tell(seed + 1, CLIPS)
    else:
        index = ShardIndex(data)
        found = [index.load(i) for i in index.select(split)[:limit]]
    fitting = [clip for clip in found if frames is None or clip.frames <= frames]
    if not fitting:
        shortest = min(clip.frames for clip in found)
        raise AvsrError(
            f"no clip to check on has at most {frames} frames (the shortest has {shortest}): "
            "set --frames higher, or name other --data"
        )
    return fitting


def _refuse_unlike(rows: Sequence[Agreement], int8: bool) -> None:
    """Raises where the exported network is another recogniser than the model."""
    from avsr.eval.metrics.cost.exported import most_lost

    if not int8:
        worst = max(row.difference for row in rows)
        if worst > MOST_DIFFERENCE:
            raise AvsrError(
                f"the exported network differs from the model by {worst:.2g} in a "
                f"log-probability, more than {MOST_DIFFERENCE:g}: nothing was written; another "
                "version of onnxruntime may help"
            )
        return
    lost = most_lost(rows)
    if lost is None:
        say("--int8: no texts to measure on; --data DIR tells what the smaller weights cost")
    elif lost > MOST_LOST:
        raise AvsrError(
            f"int8 weights cost {100 * lost:.1f} points of word error rate, more than "
            f"{100 * MOST_LOST:g}: nothing was written; leave --int8 out"
        )
