"""avsr demo: no input needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avsr.base.console import printable, progress


def demo(
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another sentence and voice.")] = 0,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the clip here.")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a clip in DIR that avsr did not write.")
    ] = False,
) -> None:
    """Make a talking-head clip and transcribe it three ways: no input needed."""
    from tempfile import TemporaryDirectory

    from avsr.base import outputs
    from avsr.model import checkpoint
    from avsr.preprocessing.synthetic.corpus import make_clip
    from avsr.transcribing.transcribe import load_model

    if keep:
        outputs.refuse([keep / f"demo-{seed}.mp4"], overwrite=overwrite)
    recogniser = load_model(checkpoint.DEFAULT)  # which knows what the clip says
    with TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        clip = folder / f"demo-{seed}.mp4"
        with progress("making the clip", unit="") as tell:
            tell(0, 1)
            spoken = make_clip(clip, seed=seed)
        if keep and clip.is_file():
            outputs.remember(clip)
        print(f"{'spoken':<16}{spoken}")
        for modality, label in (
            ("av", "heard and seen"),
            ("audio", "heard only"),
            ("video", "lips only"),
        ):
            with progress(label) as tell:
                transcript = recogniser.transcribe(clip, modality=modality, progress=tell)
            print(f"{label:<16}{transcript.text or '(nothing)'}", flush=True)
    if keep:
        print(f"{'clip':<16}{printable(str(clip))}")
    print(
        "The bundled model knows the 51 words of the GRID corpus and no others. "
        "For everyday speech: avsr models get whisper-small"
    )
