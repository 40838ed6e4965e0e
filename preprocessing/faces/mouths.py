"""Mouths of everybody while a file is searched for faces: where they are, their crops, and whose
are handed out.

Internal to reader.py and everybody.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE, FPS, Clip

if TYPE_CHECKING:
    from avsr.preprocessing.faces.crop_styles import CropStyle
    from avsr.preprocessing.faces.face_tracks import FaceTrack
    from avsr.preprocessing.faces.persons import Person
    from avsr.preprocessing.media.streams import Piece

# that are held while nobody leads, 55 MB at most; beyond it the file is decoded again
MOST_CROPS = 6000
# times the weight of anybody else that makes a person the one that is meant, as far as one can tell
LEADS = 2.0
LEAD_EVERY = 2 * FPS  # frames after which the leading person is looked for again, at least


@dataclass(frozen=True)
class Mouth:
    """Where the mouth is: see lips.mouth_transforms. Frames beyond the end of the arrays have
    none."""

    matrices: np.ndarray  # (T, 2, 3)
    present: np.ndarray  # (T,)
    scale: np.ndarray  # (T,)

    @classmethod
    def nowhere(cls) -> Mouth:
        return cls(np.zeros((0, 2, 3), np.float32), np.zeros(0, bool), np.zeros(0, np.float32))

    @classmethod
    def of(cls, person: Person | None, total: int, style: CropStyle) -> Mouth:
        """That of a person in a file of `total` frames; where two tracks overlap, the later one
        counts."""
        if person is None:
            return cls.nowhere()
        from avsr.preprocessing.faces.lips import mouth_transforms

        whole = cls(
            np.zeros((total, 2, 3), np.float32), np.zeros(total, bool), np.zeros(total, np.float32)
        )
        for track in person.tracks:
            matrices, present, scale = mouth_transforms(track, total, style)
            whole.matrices[present] = matrices[present]
            whole.scale[present] = scale[present]
            whole.present[present] = True
        return whole

    def at(self, frame: int) -> tuple[np.ndarray, float] | None:
        if frame >= len(self.present) or not self.present[frame]:
            return None
        return self.matrices[frame], float(self.scale[frame])


class TrackMouth:
    """The mouth of one track while it is followed: what is certain and not cut out yet, by
    frame."""

    def __init__(self, track: FaceTrack, style: CropStyle) -> None:
        from avsr.preprocessing.faces.lips import MouthPath

        self._path, self._looks = MouthPath(track.picture, style), 0
        self.known: dict[int, tuple[np.ndarray, float]] = {}

    def advance(self, track: FaceTrack, settled: int, first: int) -> None:
        """Takes what is new in the track; what lies before frame `first` is forgotten."""
        new = slice(self._looks, len(track.frames))
        self._looks = len(track.frames)
        for frame in [frame for frame in self.known if frame < first]:
            del self.known[frame]
        for start, matrices, present, scale in self._path.advance(
            track.frames[new], track.points[new], track.yaw_deg[new], settled
        ):
            for here in np.flatnonzero(present):
                self.known[start + int(here)] = matrices[here], float(scale[here])


@dataclass(frozen=True)
class Crops:
    """A piece without its pictures: the sound, and every mouth that can be read, by track and frame
    of the piece."""

    first_frame: int
    audio: np.ndarray
    audio_present: np.ndarray
    mouths: dict[int, dict[int, tuple[np.ndarray, float]]]  # crop (96, 96) uint8 and scale

    @classmethod
    def of(
        cls, piece: Piece, mouths: Mapping[int, Callable[[int], tuple[np.ndarray, float] | None]]
    ) -> Crops:
        from avsr.preprocessing.faces.lips import warp_mouth

        found: dict[int, dict[int, tuple[np.ndarray, float]]] = {}
        for here, picture in enumerate(piece.pictures):
            for track, mouth in mouths.items():
                at = mouth(piece.first_frame + here)
                if picture is not None and at is not None:
                    found.setdefault(track, {})[here] = warp_mouth(picture.rgb(), at[0]), at[1]
        return cls(piece.first_frame, piece.audio, piece.audio_present, found)

    @classmethod
    def joined(cls, parts: Sequence[Crops]) -> Crops:
        """Several that follow each other as one."""
        first_frame = parts[0].first_frame
        mouths: dict[int, dict[int, tuple[np.ndarray, float]]] = {}
        for part in parts:
            before = part.first_frame - first_frame
            for track, crops in part.mouths.items():
                there = mouths.setdefault(track, {})
                there.update({before + here: crop for here, crop in crops.items()})
        audio = np.concatenate([part.audio for part in parts])
        present = np.concatenate([part.audio_present for part in parts])
        return cls(first_frame, audio, present, mouths)

    @property
    def end(self) -> int:
        return self.first_frame + len(self.audio_present)

    def clip(self, tracks: Sequence[int], **labels: Any) -> Clip:
        """One clip, with the mouth of these tracks; where two overlap, the later in the list
        counts.

        Frames without a readable mouth, and frames the decoder lost, are zeros and absent.

        Args:
            tracks: as they are named in `mouths`.
            labels: fields of the clip.
        """
        frames = len(self.audio_present)
        lips = np.zeros((frames, CROP_SIZE, CROP_SIZE), np.uint8)
        present, quality = np.zeros(frames, bool), np.zeros(frames, np.float32)
        for track in tracks:
            for here, (crop, scale) in self.mouths.get(track, {}).items():
                lips[here], present[here], quality[here] = crop, True, scale
        return Clip(
            audio=self.audio,
            lips=lips,
            audio_present=self.audio_present,
            video_present=present,
            start_s=self.first_frame / FPS,
            quality=quality,
            **labels,
        )


class Lead:
    """The person who leads while the file is still being searched, and what was handed out as
    theirs."""

    def __init__(self, rule: str | int, style: CropStyle) -> None:
        self._rule, self._style = rule, style
        self._mouths: dict[int, TrackMouth] = {}
        self._tracks: list[int] = []  # of the leading person, by id, in order of time
        # how many tracks and frames there were when the leader was last looked for ...
        self._asked = (-1, 0)
        self._clear = False  # ... and whether there was one
        # tracks with a mouth, and the leader's of them
        self._used: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def cut(self, tracks: Sequence[FaceTrack], settled: int, piece: Piece) -> Crops:
        """Cuts every mouth out of a piece."""
        for track in tracks:
            if track.last < piece.first_frame - 2 * FPS:
                self._mouths.pop(track.id, None)
                continue
            if track.id not in self._mouths:
                self._mouths[track.id] = TrackMouth(track, self._style)
            self._mouths[track.id].advance(track, settled, piece.first_frame)
        return Crops.of(piece, {track: mouth.known.get for track, mouth in self._mouths.items()})

    def clear(self, tracks: Sequence[FaceTrack], settled: int) -> bool:
        """Whether somebody leads clearly, or there is nobody at all."""
        from avsr.preprocessing.faces.persons import CONSIDERABLE, find_persons

        # Comparing everybody takes longer the more tracks there are: a film of many cuts is asked
        # about less often.
        if self._asked[0] >= 0 and settled < self._asked[1] + min(
            LEAD_EVERY * (1 + len(tracks) // 100), MOST_CROPS // 2
        ):
            return self._clear and len(tracks) == self._asked[0]
        self._asked = len(tracks), settled
        persons = sorted(find_persons(tracks), key=lambda person: -person.weight)
        share = 1 / LEADS if self._rule == "main" else CONSIDERABLE
        self._clear = all(other.weight <= share * persons[0].weight for other in persons[1:])
        if persons and isinstance(self._rule, int):
            self._clear &= persons[0].id == self._rule
        self._tracks = [track.id for track in persons[0].tracks] if persons else []
        return self._clear

    def use(self, crops: Crops) -> list[int]:
        """The leader's tracks, for a piece that is handed out."""
        seen = tuple(sorted(crops.mouths))
        used = seen, tuple(track for track in seen if track in self._tracks)
        if not self._used or self._used[-1] != used:
            self._used.append(used)
        return self._tracks

    def was_right(self, chosen: Person | None) -> bool:
        """Whether what was handed out is what would have been, had the person been known from the
        start."""
        ids = {track.id for track in chosen.tracks} if chosen is not None else set()
        return all(
            tuple(track for track in seen if track in ids) == used for seen, used in self._used
        )
