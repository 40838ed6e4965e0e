"""Pieces that come one after the other to clips with the mouth of whoever leads, a moment later.

What `ClipReader` decides once it knows the whole file is decided here with what is known so far,
and never taken back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE, FPS, Clip
from avsr.preprocessing.faces.crop_styles import CropStyle, style_named
from avsr.preprocessing.faces.face_tracks import FaceTracker
from avsr.preprocessing.faces.mouths import Lead

if TYPE_CHECKING:
    from avsr.preprocessing.media.streams import Piece


def live_clips(
    pieces: Iterable[Piece], crops: str, face: str = "main", name: str = "live"
) -> Generator[Clip]:
    """Each piece as a clip.

    A picture is handed out once the landmarks around it are known: about a quarter of a second
    later with our own crops. Sound waits for its picture.

    Args:
        pieces: in order.
        crops: how mouths are cut out, as the recogniser wants them.
        face: "main" or "largest".
        name: of the clips.

    Yields:
        Clips without a gap between them.

    Raises:
        MediaError: the pieces cannot be read.
    """
    style = style_named(crops)
    with FaceTracker() as tracker:
        lead = Lead(face, style)
        waiting: deque[Piece] = deque()
        for piece in pieces:
            for number, picture in enumerate(piece.pictures, piece.first_frame):
                tracker.add(number, picture)
            waiting.append(piece)
            yield from _certain(waiting, tracker, lead, style, name)
        tracker.finish()
        for piece in waiting:
            yield _clip(piece, tracker, lead, name)


def _certain(
    waiting: deque[Piece], tracker: FaceTracker, lead: Lead, style: CropStyle, name: str
) -> Generator[Clip]:
    """The pieces whose landmarks, and those that they are smoothed with, are known."""
    while waiting:
        end = waiting[0].first_frame + len(waiting[0])
        seen = waiting[0].video_present.any()
        if seen and tracker.settled < end + style.smooth + 1:
            return
        yield _clip(waiting.popleft(), tracker, lead, name)


def _clip(piece: Piece, tracker: FaceTracker, lead: Lead, name: str) -> Clip:
    tracks, frames = tracker.tracks, len(piece)
    crops = lead.cut(tracks, tracker.settled, piece)
    lead.clear(tracks, tracker.settled)
    lips = np.zeros((frames, CROP_SIZE, CROP_SIZE), np.uint8)
    present = np.zeros(frames, np.bool_)
    for track in lead.use(crops):
        for here, (crop, _) in crops.mouths.get(track, {}).items():
            lips[here], present[here] = crop, True
    start_s = piece.first_frame / FPS
    return Clip(name, piece.audio, lips, piece.audio_present, present, start_s)
