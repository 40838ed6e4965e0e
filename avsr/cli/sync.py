"""avsr sync: is the sound of a video in time with its lips?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsr.base.console import failing_alone, printable, progress
from avsr.base.errors import AvsrError
from avsr.cli.options import DeviceOption

if TYPE_CHECKING:
    from avsr.sync import Offset


def sync(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Videos with sound.")],
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="One with a trained embedding.")
    ] = "default",
    audio_track: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Which of several sound tracks.")
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """Tell by how much the sound of each video comes before or after its lips.

    Lags of up to 1.2 s either way are found; somebody must speak and be seen to.
    """
    from avsr.preprocessing.reader import stream_clips
    from avsr.recognisers import ours
    from avsr.sync import offset_of
    from avsr.transcribing.engine import size_s

    recogniser = ours.load(model, device)
    failed = False
    with progress("looking", unit="files") as tell:
        for number, file in enumerate(files):
            tell(number, len(files), str(file))
            with tell.aside(), failing_alone(file) as outcome:
                clips = stream_clips(file, window_s=size_s(recogniser), audio_track=audio_track)
                found = offset_of(recogniser, clips)
                if found is None:
                    raise AvsrError(
                        f"{file}: sound and speaking lips are there together for less than half a "
                        "second: nothing to compare"
                    )
                print(f"{printable(str(file))}: {_told(found)}", flush=True)
            failed |= outcome.failed
    raise typer.Exit(int(failed))


def _told(offset: Offset) -> str:
    """An offset in words."""
    from avsr.sync import is_certain

    sure = "certain" if is_certain(offset) else "uncertain"
    fit = f"cosine {offset.score:.2f}, {sure}"
    if abs(offset.frames) <= 1:
        return f"synchronised to within 0.04 s ({fit})"
    way = "after" if offset.frames > 0 else "before"
    return f"the sound comes {abs(offset.seconds):.2f} s {way} the lips ({fit})"
