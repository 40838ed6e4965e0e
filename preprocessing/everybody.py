"""A media file with the mouths of everybody in it, for those who ask who speaks.

The file is read more than once, each time in memory that hardly grows with its length: first for
its faces, then, as often as asked, for the mouths of all persons side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np

from avsr.base.partial import Partial, is_long
from avsr.preprocessing.clip import FPS
from avsr.preprocessing.faces.crop_styles import OWN, style_named
from avsr.preprocessing.faces.mouths import Crops, Mouth
from avsr.preprocessing.faces.persons import Person, find_persons

PIECE_FRAMES = 8  # frames decoded at a time
# frames that a face must be seen for to be somebody: less is a picture on a wall, or a mistake
SOMEBODY = FPS


class Everybody:
    """Everybody in a media file.

    Args:
        path: any container that FFmpeg reads.
        audio_track: which of several sound tracks, counted from 1; the file's own default where
            None.
        model_path: the face landmark model; see face_model.face_model.
        partial: keeps the landmarks of a long recording, and gives those of an earlier call.

    Attributes:
        info: what the file holds.
        media: the file itself.
        persons: complete after `search` or `take`: those who are seen for SOMEBODY frames and more,
            with their numbers.
        frames: T of the file; known after `search` or `take`.
        pictured: (T,) bool, where there is a picture; known after `search` or `take`.

    Raises:
        MediaError: not a media file.
    """

    def __init__(
        self,
        path: str | Path,
        audio_track: int | None = None,
        model_path: str | Path | None = None,
        partial: Partial | None = None,
    ) -> None:
        from avsr.preprocessing.media.streams import open_media

        self._id, self._model_path = Path(path).stem, model_path
        self.media = open_media(path, audio_track=audio_track)
        self.info = self.media.info
        self._partial = partial if is_long(self.info.duration_s) else None
        self.persons: list[Person] = []
        self.frames = 0
        self.pictured = np.zeros(0, np.bool_)

    def __enter__(self) -> Everybody:
        return self

    def __exit__(self, *_: object) -> None:
        self.media.close()

    def search(self, tell: Callable[[float], None]) -> None:
        """Finds the faces of the whole file, and who is who.

        Args:
            tell: told the seconds that were searched.

        Raises:
            AvsrError: no face model.
        """
        from avsr.preprocessing.faces.face_tracks import FaceTracker

        pictured = bytearray(self.pictured.tobytes())
        with FaceTracker(model_path=self._model_path, partial=self._partial) as tracker:
            for piece in self.media.pieces(piece_frames=PIECE_FRAMES):
                for number, picture in enumerate(piece.pictures, piece.first_frame):
                    tracker.add(number, picture)
                pictured.extend(piece.video_present.tobytes())
                tell((piece.first_frame + len(piece)) / FPS)
            tracker.finish()
            tracks = tracker.tracks
        self.take(find_persons(tracks), np.frombuffer(pictured, np.bool_))

    def take(self, persons: list[Person], pictured: np.ndarray) -> None:
        """Takes over what was found in the file before, in place of a search.

        Args:
            persons: all of the file.
            pictured: (T,) bool, where there is a picture.
        """
        self.pictured, self.frames = pictured, len(pictured)
        least = min(SOMEBODY, self.frames // 2)
        self.persons = [person for person in persons if person.duration >= least]

    def scenes(self, window_s: float, crops: str = OWN.name) -> Iterator[Crops]:
        """The file in stretches that follow each other, each with the mouths of all persons, by
        their numbers.

        Decoding runs ahead in a thread of its own.

        Args:
            window_s: seconds of a stretch; the last one may be shorter.
            crops: how mouths are cut out; see faces.crop_styles.
        """
        from avsr.base.ahead import Ahead

        ahead = Ahead(self._scenes(round(window_s * FPS), crops), most=1)
        try:
            yield from ahead
        finally:
            ahead.close()

    def _scenes(self, size: int, crops: str) -> Generator[Crops]:
        style = style_named(crops)
        mouths = {person.id: Mouth.of(person, self.frames, style).at for person in self.persons}
        held: list[Crops] = []
        for piece in self.media.pieces(piece_frames=PIECE_FRAMES):
            held.append(Crops.of(piece, mouths))
            if held[-1].end - held[0].first_frame >= size:
                yield Crops.joined(held)
                held = []
        if held:
            yield Crops.joined(held)
