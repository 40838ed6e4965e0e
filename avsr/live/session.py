"""From a source to captions, with the time that they take."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median, quantiles
from typing import Protocol

from avsr.base.ahead import Ahead
from avsr.base.errors import AvsrError
from avsr.live.captions import STEP_S, Caption, Captioner
from avsr.live.mouths import live_clips
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.media.streams import Piece, open_media
from avsr.recognisers.base import Recogniser
from avsr.recognisers.protocol import stream_for
from avsr.transcribing.engine import insist

PIECE_FRAMES = 4  # of a file that is played
# that pictures may come late before no more of them are looked at, until all is caught up: a slow
# machine then hears, and reads lips where it can
LATE_S, CAUGHT_UP_S = 1.0, 0.3
MOST_WAITING = 10 * FPS  # clips that wait for a recogniser that is busy: then the source waits


class Source(Protocol):
    """Pieces as they come.

    Attributes:
        began_s: by `time.monotonic`, when its clock was at 0.
    """

    began_s: float

    def __iter__(self) -> Iterator[Piece]: ...

    def close(self) -> None: ...


class Played:
    """A media file at the speed at which it was recorded, as a device would give it.

    Args:
        path: any container that FFmpeg reads.
        modality: what is not asked for is not decoded.

    Raises:
        MediaError: the file cannot be read.
        AvsrError: what the modality insists on is not there.
    """

    def __init__(self, path: Path, modality: str = "auto") -> None:
        self.began_s = time.monotonic()
        self._media, self._closed = open_media(path), False
        info = self._media.info
        try:
            insist(path, modality, sound=info.has_audio, picture=info.has_video)
        except AvsrError:
            self._media.close()
            raise
        self._wanted = {"video": modality != "audio", "audio": modality != "video"}

    def __iter__(self) -> Iterator[Piece]:
        self.began_s = time.monotonic()
        for piece in self._media.pieces(piece_frames=PIECE_FRAMES, **self._wanted):
            ends_s = (piece.first_frame + len(piece)) / FPS
            time.sleep(max(0.0, self.began_s + ends_s - time.monotonic()))
            if self._closed:
                break
            yield piece
        self._media.close()

    def close(self) -> None:
        self._closed = True


@dataclass
class Latency:
    """How long words take, from their end in the recording on.

    Attributes:
        shown_s: until a word is first shown where it stands.
        final_s: until it is certain.
        unseen_s: seconds of pictures that nobody looked at, to keep up.
    """

    shown_s: list[float] = field(default_factory=list)
    final_s: list[float] = field(default_factory=list)
    unseen_s: float = 0.0
    _furthest_s: float = 0.0

    def add(self, caption: Caption, now_s: float) -> None:
        """Takes what was shown at a time on the clock of the source."""
        self.final_s += [now_s - word.end_s for word in caption.final]
        for word in (*caption.final, *caption.partial):
            if word.start_s >= self._furthest_s:
                self.shown_s.append(now_s - word.end_s)
                self._furthest_s = word.end_s

    def __str__(self) -> str:
        if not self.final_s:
            return "no words"
        shown, final = map(_spread, (self.shown_s, self.final_s))
        told = f"words shown {shown} after they were said, final {final}"
        if not self.unseen_s:
            return told
        return f"{told}; lips left out for {self.unseen_s:.0f} s: this machine is too slow for them"


def _spread(values: list[float]) -> str:
    high = quantiles(values, n=20)[-1] if len(values) > 1 else values[0]
    return f"{median(values):.1f} s (95 %: {high:.1f} s)"


def live(
    source: Source,
    recogniser: Recogniser,
    modality: str = "auto",
    latency: Latency | None = None,
    step_s: float = STEP_S,
) -> Generator[Caption]:
    """Captions of what a source gives, until it ends; it is closed in any case.

    Args:
        source: a file that is played, or `arriving.devices`, or `arriving.stream`.
        recogniser: of any family, as `avsr.load_model` gives it.
        modality: "auto" uses what is there.
        latency: is told how long the words took.
        step_s: seconds of media between two passes of the recogniser, at least.

    Raises:
        AvsrError: a modality that the recogniser does not have.
        MediaError: the source cannot be read.
    """
    latency = latency or Latency()
    pieces: Iterator[Piece]
    if stream_for(recogniser, modality) == "audio":
        pieces = map(_unseen, source)
    else:
        pieces = _in_time(source, latency)
    clips = live_clips(pieces, recogniser.crops)
    captioner = Captioner(recogniser.asked(modality), modality, step_s)
    ahead = Ahead(clips, MOST_WAITING)
    try:
        for caption in captioner(ahead, ahead.is_ready):
            latency.add(caption, time.monotonic() - source.began_s)
            yield caption
    finally:
        source.close()
        ahead.close()


def _unseen(piece: Piece) -> Piece:
    """A piece without its pictures: nobody looks for faces that are not read."""
    return replace(piece, pictures=[None] * len(piece))


def _in_time(source: Source, latency: Latency) -> Iterator[Piece]:
    """The pieces of a source; where they are looked at too slowly, some without their pictures."""
    catching_up = False
    for piece in source:
        ends_s = source.began_s + (piece.first_frame + len(piece)) / FPS
        late_s = time.monotonic() - ends_s
        catching_up = late_s > (CAUGHT_UP_S if catching_up else LATE_S)
        if catching_up and piece.audio_present.any():
            latency.unseen_s += len(piece) / FPS
            piece = _unseen(piece)
        yield piece
