"""What a page shows of a recording: its sound, its lips, and what our network made of both.

T  frames, 25 a second
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.model.batches import mask
from avsr.model.layers.crossing import Crossing, crosses, crossing
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.everybody import Everybody
from avsr.preprocessing.media.streams import probe
from avsr.preprocessing.reader import stream_clips
from avsr.transcribing.engine import FACE_SHARE, Progress
from avsr.transcribing.voice.gated import ungated

if TYPE_CHECKING:
    import torch

    from avsr.base.partial import Partial
    from avsr.model.network import AVSR
    from avsr.recognisers.protocol import Recogniser
    from avsr.transcribing.transcript import Transcript

WINDOW_S = 10.0  # of a recording that is looked at, and shown, at once
LONGEST_S = 600.0  # of a recording that a page holds; a browser has to keep all of it
NOBODY = -1


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


def gather(
    path: Path,
    transcript: Transcript,
    recogniser: Recogniser,
    modality: str = "auto",
    progress: Progress | None = None,
    **options: Any,
) -> Material:
    """Reads a recording once more, as it was read for its transcript.

    Args:
        path: the recording.
        transcript: what was said in it; where it says who speaks, the lips are those of that
            person.
        recogniser: who transcribed it.
        modality: as for its transcript.
        progress: told how far it is; what it raises ends the call.
        options: face, audio_track and partial, as for its transcript.

    Raises:
        MediaError: it cannot be read.
    """
    network, device = _network(recogniser)
    remarks: list[str] = []
    duration_s = probe(path).duration_s
    whole, shown_s = duration_s <= LONGEST_S, min(duration_s, LONGEST_S)
    tell = partial(_told, progress, shown_s)
    streams = {"video": modality != "audio", "audio": modality != "video"}
    how: dict[str, Any] = {"crops": recogniser.crops, **options}
    how["progress"] = lambda seconds: tell(FACE_SHARE * seconds)
    clips: Iterable[Clip]
    if transcript.faces and modality != "audio":
        of_speakers = _of_speakers(path, transcript, **how)
        clips = (mask(clip, "av" if modality == "auto" else modality) for clip in of_speakers)
    else:
        span = None if whole else (0.0, LONGEST_S)
        clips = stream_clips(path, window_s=WINDOW_S, again=True, span=span, **streams, **how)
    windows = []
    for clip in recogniser.synchronised(clips, remarks):
        anything = clip.audio_present.any() or clip.video_present.any()
        heard = ungated(clip)
        found = crossing(network, heard, device) if network is not None and anything else None
        windows.append(Window(clip, found))
        tell(FACE_SHARE * shown_s + (1 - FACE_SHARE) * clip.start_s)
    return Material(windows, whole, network is not None, remarks)


def _of_speakers(
    path: Path,
    transcript: Transcript,
    crops: str,
    progress: Callable[[float], None],
    audio_track: int | None = None,
    partial: Partial | None = None,
    **_: Any,
) -> Iterator[Clip]:
    """A film with the lips of whoever speaks, in windows up to LONGEST_S."""
    with Everybody(path, audio_track, partial=partial) as film:
        film.search(progress)
        whose = whose_lips(transcript, film.frames)
        for scene in film.scenes(WINDOW_S, crops):
            if scene.first_frame >= LONGEST_S * FPS:
                return
            clip, here = scene.clip([], id=path.stem), whose[scene.first_frame : scene.end]
            for person in set(here.tolist()) - {NOBODY}:
                own, at = scene.clip([person], id=path.stem), here == person
                clip.lips[at], clip.video_present[at] = own.lips[at], own.video_present[at]
            yield clip


def whose_lips(transcript: Transcript, frames: int) -> np.ndarray:
    """(T,) the number of the person who speaks in each frame, or spoke last; NOBODY where the voice
    is off screen."""
    whose = np.full(frames, NOBODY)
    for number, segment in enumerate(transcript.segments):
        first = round(segment.start_s * FPS) if number else 0
        whose[first:] = transcript.faces.get(segment.speaker or "", NOBODY)
    return whose


def _told(progress: Progress | None, of_s: float, done_s: float) -> None:
    if progress is not None:
        progress(min(done_s, of_s), of_s)


def _network(recogniser: Any) -> tuple[AVSR | None, torch.device]:
    """The network of a recogniser of ours that has cross-modal attention, and where it is."""
    from avsr.model.network import AVSR

    model = getattr(recogniser, "model", None)
    crossed = isinstance(model, AVSR) and crosses(model)
    return (model if crossed else None), recogniser.device
