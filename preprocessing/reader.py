"""From a media file to clips: sound and lips on one clock, what is missing marked missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avsr.preprocessing.clip import CROP_SIZE, FPS, Clip
from avsr.preprocessing.errors import AvsrError, MediaError

if TYPE_CHECKING:
    from avsr.preprocessing.media import Piece

PIECE_FRAMES = FPS  # frames decoded at a time


def load_clip(
    path: str | Path,
    *,
    id: str | None = None,
    face: str | int = "main",
    video: bool = True,
    audio: bool = True,
    text: str | None = None,
    speaker: str | None = None,
    model_path: str | Path | None = None,
) -> Clip:
    """Reads a short media file as one clip.

    Args:
        path: any container that media.read opens.
        id: name of the clip; the file's stem by default.
        face: which face is meant; see face.choose_track.
        video: look for a mouth; if false, every frame's video is marked absent.
        audio: read the sound; if false, every frame's audio is marked absent.
        text: what is said, where known.
        speaker: who says it, where known.
        model_path: the face landmark model; see face_model.face_model.

    Returns:
        The whole file. Lips are zeros and video_present is false where there is no readable mouth.

    Raises:
        MediaError: not a media file, or neither a readable face nor sound in it.
        AvsrError: an unknown face rule, or no face model.
    """
    options: dict[str, Any] = {"id": id, "face": face, "video": video, "audio": audio, "text": text, "speaker": speaker}
    return next(stream_clips(path, window_s=None, model_path=model_path, **options))


def stream_clips(
    path: str | Path,
    *,
    window_s: float | None = 30.0,
    id: str | None = None,
    face: str | int = "main",
    video: bool = True,
    audio: bool = True,
    text: str | None = None,
    speaker: str | None = None,
    model_path: str | Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Clip]:
    """Reads a media file of any length as successive clips, in memory that does not grow with its length.

    The file is decoded twice: once for the landmarks of all faces (a few hundred bytes per frame are kept), from which
    the face that is meant is chosen over the whole file, and once to cut out its mouth. The crops depend neither on
    the window nor on the size of the pieces in which the file is decoded.

    Args:
        path: any container that media.read opens.
        window_s: seconds per clip, a whole number of frames at least; None for the whole file in one.
        id: name of the clips; the file's stem by default.
        face: which face is meant; see face.choose_track.
        video: look for a mouth; if false, every frame's video is marked absent.
        audio: read the sound; if false, every frame's audio is marked absent.
        text: what is said, where known.
        speaker: who says it, where known.
        model_path: the face landmark model; see face_model.face_model.
        progress: called with the seconds of media searched for faces so far.

    Yields:
        Clips that follow each other without a gap, start_s counted from the beginning of the file; the last one may be
        shorter.

    Raises:
        MediaError: not a media file, or neither a readable face nor sound in it.
        AvsrError: an unknown face rule, a window shorter than a frame, or no face model.
    """
    from avsr.preprocessing import media
    from avsr.preprocessing.face import choose_track

    choose_track([], face)  # a mistyped rule is refused before the work, not after it
    window = None if window_s is None else round(window_s * FPS)
    if window is not None and window < 1:
        raise AvsrError(f"window {window_s} s: must be at least {1 / FPS} s, one frame")
    info = media.probe(path)
    streams = {"video": video and info.has_video, "audio": audio and info.has_audio}
    if not any(streams.values()):
        raise MediaError(f"{path}: {_nothing(video, audio)}")

    mouth = _find_mouth(path, face, model_path, progress) if streams["video"] else _Mouth.nowhere()
    # The picture is decoded even when it shows no mouth: the clock and the length are those of the whole file.
    pieces = media.read(path, piece_frames=PIECE_FRAMES, **streams)
    parts = (_cut(piece, mouth, id or Path(path).stem, text, speaker) for piece in pieces)
    anything = False
    for clip in _regroup(parts, window):
        anything = anything or bool(clip.audio_present.any() or clip.video_present.any())
        # Whether there is neither is only known at the end of the file, but a long one is not held back for that.
        if anything or window is not None:
            yield clip
    if not anything:
        raise MediaError(f"{path}: {_nothing(video, audio)}")


def _nothing(video: bool, audio: bool) -> str:
    if video and audio:
        return "neither face nor sound; name a file with a face that can be read or with a sound track"
    return f"no {'face that can be read' if video else 'sound'}, and the other modality was not asked for"


@dataclass(frozen=True)
class _Mouth:
    """Where the mouth is: see lips.mouth_transforms. Frames beyond the end of the arrays have none."""

    matrices: np.ndarray  # (T, 2, 3)
    present: np.ndarray  # (T,)
    scale: np.ndarray  # (T,)

    @staticmethod
    def nowhere() -> _Mouth:
        return _Mouth(np.zeros((0, 2, 3), np.float32), np.zeros(0, bool), np.zeros(0, np.float32))


def _find_mouth(
    path: str | Path,
    face: str | int,
    model_path: str | Path | None,
    progress: Callable[[float], None] | None,
) -> _Mouth:
    """The first pass over the file: landmarks of all faces, then the mouth of the one that is meant."""
    from avsr.preprocessing import media
    from avsr.preprocessing.face import choose_track, track_faces
    from avsr.preprocessing.lips import mouth_transforms

    total = 0

    def counted() -> Iterator[Piece]:
        nonlocal total
        # On the same clock as with sound.
        for piece in media.read(path, piece_frames=PIECE_FRAMES, audio=False, report=False):
            yield piece
            total = piece.first_frame + len(piece)
            if progress is not None:
                progress(total / FPS)

    track = choose_track(track_faces(counted(), model_path=model_path), face)
    return _Mouth.nowhere() if track is None else _Mouth(*mouth_transforms(track, total))


def _cut(piece: Piece, mouth: _Mouth, clip_id: str, text: str | None, speaker: str | None) -> Clip:
    """One piece as a clip: frames without a readable mouth, and frames the decoder lost, are zeros and absent."""
    from avsr.preprocessing.lips import warp_mouth

    frames = len(piece)
    lips = np.zeros((frames, CROP_SIZE, CROP_SIZE), np.uint8)
    present = np.zeros(frames, bool)
    quality = np.zeros(frames, np.float32)
    for here, picture in enumerate(piece.pictures):
        number = piece.first_frame + here
        if picture is not None and number < len(mouth.present) and mouth.present[number]:
            lips[here] = warp_mouth(picture.rgb(), mouth.matrices[number])
            present[here] = True
            quality[here] = mouth.scale[number]
    return Clip(
        id=clip_id,
        audio=piece.audio,
        lips=lips,
        audio_present=piece.audio_present,
        video_present=present,
        start_s=piece.first_frame / FPS,
        text=text,
        speaker=speaker,
        quality=quality,
    )


def _regroup(parts: Iterable[Clip], window: int | None) -> Iterator[Clip]:
    """Joins successive clips into clips of `window` frames (None: one of all), the last one as it comes."""
    held: list[Clip] = []
    count = 0
    for part in parts:
        done = 0
        while window is not None and count + part.frames - done >= window:
            cut = done + window - count
            yield _join([*held, part.window(done, cut)])
            held, count, done = [], 0, cut
        if done < part.frames:
            held.append(part.window(done, part.frames))
            count += part.frames - done
    if held:
        yield _join(held)


def _join(parts: list[Clip]) -> Clip:
    names = ("audio", "lips", "audio_present", "video_present", "quality")
    joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return replace(parts[0], **joined)
