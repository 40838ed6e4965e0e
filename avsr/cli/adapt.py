"""avsr adapt: a model to one person, from a few of their videos."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsr.base.console import log, printable, progress
from avsr.base.errors import AvsrError
from avsr.cli.options import (
    DeviceOption,
    KeepOption,
    ModelArgument,
    OverwriteOption,
    SeedOption,
    least_of,
)

if TYPE_CHECKING:
    from avsr.recognisers.base import Recogniser
    from avsr.training.data.material import Material

LEAST = 0.8  # confidence of a text that is used
ADAPTER, LABELS = "adapter.safetensors", "labels.tsv"
ELSEWHERE = "choose another with --out"

VideosArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="VIDEO...",
        help="Clean videos of one person, folders of them, or shards; .txt beside where known.",
    ),
]
OutOption = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the adapter.")]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The recogniser that writes the texts, as whisper-small; by default MODEL, where "
        "none are beside the videos.",
    ),
]
ConfidenceOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help=f"Where texts are recognised: what is less sure is left out; {LEAST} by default.",
    ),
]
StepsOption = Annotated[int, typer.Option(min=1, metavar="N", help="Of training.")]
RankOption = Annotated[int, typer.Option(min=1, max=256, metavar="R", help="Size of the changes.")]
RateOption = Annotated[float, typer.Option(min=0, max=1, metavar="X", help="Learning rate.")]


def adapt(
    model: ModelArgument,
    videos: VideosArgument,
    out: OutOption,
    labels: LabelsOption = None,
    min_confidence: ConfidenceOption = None,
    keep: KeepOption = None,
    steps: StepsOption = 60,
    rank: RankOption = 4,
    lr: RateOption = 2e-3,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    overwrite: OverwriteOption = False,
) -> None:
    """Adapt a model to one person, in a small file beside it: `avsr transcribe --adapter`."""
    from tempfile import TemporaryDirectory

    from avsr.base import outputs
    from avsr.model import adapter, checkpoint
    from avsr.recognisers import ours, registry
    from avsr.training.adapt import Settings
    from avsr.training.adapt import adapt as run
    from avsr.training.data.material import collect
    from avsr.training.data.spelling import speller

    target, least = out / ADAPTER, least_of(min_confidence, keep, LEAST)
    outputs.refuse([target, out / LABELS], [checkpoint.resolve(model)], overwrite=overwrite)
    outputs.check_place(out, ELSEWHERE)
    base = ours.load(model, device)

    @cache
    def labeller() -> Recogniser:
        return base if labels is None else registry.load(labels, device)

    with TemporaryDirectory() as scratch:
        shards = Path(scratch) / "clips"
        with progress("reading", unit="files") as tell:
            material = collect(
                videos,
                shards,
                labeller,
                least,
                speller(base.config),
                relabel=labels is not None,
                share=keep,
                tell=tell,
            )
        log(f"{material.clips} clips, {material.seconds:.0f} s{_told(material)}")
        outputs.make_folder(out, ELSEWHERE)
        settings = Settings(steps=steps, rank=rank, lr=lr, seed=seed)
        with progress("adapting", unit="steps") as tell:
            changes = run(base.model, [shards], settings, tell, log)
    about = {
        "base": model,
        "base_sha256": checkpoint.weights_sha256(checkpoint.resolve(model)),
        "clips": material.clips,
        "seconds": round(material.seconds, 1),
        "labels": labeller().name if material.labels else "texts",
        "settings": vars(settings),
    }
    _write_labels(out, material)
    adapter.write(target, changes, about)
    print(printable(str(target)))


def _told(material: Material) -> str:
    """How many of the texts that were recognised are used."""
    if not material.labels:
        return ""
    count = f"{len(material.kept)} of {len(material.labels)}"
    return f"; {count} recognised texts are sure enough ({LABELS})"


def _write_labels(out: Path, material: Material) -> None:
    """Lists what was recognised beside the adapter, if anything was.

    Raises:
        AvsrError: it cannot be written.
    """
    from avsr.base import outputs

    try:
        if material.labels:
            outputs.write(out / LABELS, [_table(material).encode()])
    except OSError as error:
        raise AvsrError(f"{out}: cannot be written ({error.strerror}): choose another") from error


def _table(material: Material) -> str:
    """What was recognised, a line each."""
    from avsr.training.data.labels import is_sure

    lines = ["clip\tconfidence\tkept\ttext"]
    for label in material.labels:
        kept = "yes" if is_sure(label.confidence, material.least) else "no"
        lines.append(f"{label.clip.id}\t{label.confidence:.3f}\t{kept}\t{label.clip.text}")
    return "\n".join(lines) + "\n"
