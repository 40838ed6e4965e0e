"""What a page shows of a recording: its sound, its lips, and what our network made of both.

T  frames, 25 a second
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avsr.model.layers.crossing import Crossing, crosses, crossing
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.media.streams import probe
from avsr.preprocessing.reader import stream_clips

if TYPE_CHECKING:
    import torch

    from avsr.model.network import AVSR
    from avsr.recognisers.protocol import Recogniser

WINDOW_S = 10.0  # of a recording that is looked at, and shown, at once
LONGEST_S = 600.0  # of a recording that a page holds; a browser has to keep all of it


@dataclass(frozen=True)
class Window:
    """A stretch of a recording.

    Attributes:
        clip: its sound and lips, as they went to the recogniser.
        crossing: what our network looked at; None for other recognisers and where nothing is there.
    """

    clip: Clip
    crossing: Crossing | None


@dataclass(frozen=True)
class Material:
    """A recording as a page shows it, up to LONGEST_S.

    Attributes:
        windows: one after the other, without a gap.
        whole: whether the recording ends with them.
        network: whether the recogniser is one of ours with cross-modal attention.
        remarks: what was done to it on the way, in lines for people.
    """

    windows: list[Window]
    whole: bool
    network: bool
    remarks: list[str]

    @property
    def duration_s(self) -> float:
        return sum(window.clip.frames for window in self.windows) / FPS

    @property
    def has_lips(self) -> bool:
        return any(window.clip.video_present.any() for window in self.windows)

    @property
    def has_sound(self) -> bool:
        return any(window.clip.audio_present.any() for window in self.windows)


def gather(path: Path, recogniser: Recogniser, modality: str = "auto", **options: Any) -> Material:
    """Reads a recording once more, as it was read for its transcript.

    Args:
        path: the recording.
        recogniser: who transcribed it.
        modality: as for its transcript.
        options: face and audio_track, as for its transcript.

    Raises:
        MediaError: it cannot be read.
    """
    network, device = _network(recogniser)
    remarks: list[str] = []
    whole = probe(path).duration_s <= LONGEST_S
    streams = {"video": modality != "audio", "audio": modality != "video"}
    clips = stream_clips(
        path,
        window_s=WINDOW_S,
        again=True,
        crops=recogniser.crops,
        span=None if whole else (0.0, LONGEST_S),
        **streams,
        **options,
    )
    windows = []
    for clip in recogniser.synchronised(clips, remarks):
        anything = clip.audio_present.any() or clip.video_present.any()
        found = crossing(network, clip, device) if network is not None and anything else None
        windows.append(Window(clip, found))
    return Material(windows, whole, network is not None, remarks)


def _network(recogniser: Any) -> tuple[AVSR | None, torch.device]:
    """The network of a recogniser of ours that has cross-modal attention, and where it is."""
    from avsr.model.network import AVSR

    model = getattr(recogniser, "model", None)
    crossed = isinstance(model, AVSR) and crosses(model)
    return (model if crossed else None), recogniser.device
