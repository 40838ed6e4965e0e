"""A clip as the members of a shard, and back: crops as video, sound as FLAC, the rest as JSON."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import (
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    Clip,
    WordTimes,
    from_runs,
    to_runs,
)
from avsr.preprocessing.index import MEMBERS, SCHEMA

MAX_KEY = 80  # characters; with the extension safely below the 100 of a plain tar name
INT16_STEP = 1 / 32768
TAR_END = bytes(2 * tarfile.BLOCKSIZE)  # set behind the last clip, it makes pieces a tar


def shard_key(id: str) -> str:
    """A clip's name inside a tar: without dots and slashes, which WebDataset reads as extensions
    and folders.

    Where anything had to be replaced, a hash of the id keeps different ids apart.
    """
    key = re.sub(r"[^A-Za-z0-9_-]", "_", id)[:MAX_KEY]
    return (
        key
        if key == id and key
        else f"{key[: MAX_KEY - 9]}-{hashlib.sha256(id.encode()).hexdigest()[:8]}"
    )


def encode_clip(clip: Clip, extra: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """A clip as the members of a shard.

    Args:
        clip: at least one frame. Its audio is rounded to 16 bit and clipped to [-1, 1).
        extra: more entries of the json member, such as split and source.

    Returns:
        Contents by extension, see MEMBERS.

    Raises:
        AvsrError: the clip has no frames.
    """
    import soundfile

    from avsr.preprocessing.media.mp4 import write_lips

    if clip.frames == 0:
        raise AvsrError(
            f"clip {clip.id!r} has no frames; a shard holds clips of at least one frame (40 ms)"
        )
    meta = {
        "schema": SCHEMA,
        "id": clip.id,
        "text": clip.text,
        "speaker": clip.speaker,
        "start_s": clip.start_s,
        "frames": clip.frames,
        "audio_present": to_runs(clip.audio_present),
        "video_present": to_runs(clip.video_present),
        "crop": _crop_quality(clip),
        "words": clip.words and [list(word) for word in clip.words],
        **(extra or {}),
    }
    lips, flac = io.BytesIO(), io.BytesIO()
    write_lips(lips, clip.lips)
    samples = np.clip(np.rint(clip.audio / INT16_STEP), -32768, 32767).astype(np.int16)
    soundfile.write(flac, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return {"lips.mp4": lips.getvalue(), "flac": flac.getvalue(), "json": _json(meta)}


def decode_clip(members: Mapping[str, bytes]) -> Clip:
    """The clip that `encode_clip` made members of: audio and presence exact, lips within the error
    of the codec.

    Raises:
        AvsrError: the members do not fit each other or cannot be read.
    """
    from avsr.preprocessing.media.streams import read_lips

    meta = json.loads(members["json"])
    frames = meta["frames"]
    if not isinstance(meta["id"], str) or not all(
        meta[name] is None or isinstance(meta[name], str) for name in ("text", "speaker")
    ):
        raise ValueError("its id, text or speaker is no text")
    audio, lips = decode_audio(members["flac"], frames), read_lips(members["lips.mp4"])
    if lips.shape[0] != frames:
        raise ValueError(f"it has {frames} frames, and its lips are {lips.shape}")
    return Clip(
        id=meta["id"],
        audio=audio,
        lips=lips,
        audio_present=from_runs(meta["audio_present"], frames),
        video_present=from_runs(meta["video_present"], frames),
        start_s=meta["start_s"],
        text=meta["text"],
        speaker=meta["speaker"],
        words=_word_times(meta.get("words")),
    )


def decode_audio(flac: bytes, frames: int) -> np.ndarray:
    """The sound of a clip of so many frames, (N,) float32.

    Raises:
        ValueError: it is of another length or rate.
    """
    import soundfile

    audio, rate = soundfile.read(io.BytesIO(flac), dtype="int16")
    if rate != SAMPLE_RATE or audio.shape != (frames * SAMPLES_PER_FRAME,):
        raise ValueError(f"it has {frames} frames, and its sound is {audio.shape} at {rate} Hz")
    return audio.astype(np.float32) * np.float32(INT16_STEP)


def _word_times(words: Any) -> WordTimes | None:
    """The word times of a json member; raises ValueError where they are none."""
    try:
        found = tuple((word, float(start_s), float(end_s)) for word, start_s, end_s in words or ())
        if not all(isinstance(word, str) for word, _, _ in found):
            raise TypeError
    except (TypeError, ValueError) as error:
        raise ValueError("its words are not [[word, start_s, end_s], ...]") from error
    return found or None


def _crop_quality(clip: Clip) -> dict[str, float] | None:
    """Source pixels of mouth for each pixel of the crop: below 1 the crop was enlarged. None where
    not known."""
    if clip.quality is None or not clip.video_present.any():
        return None
    scale = clip.quality[clip.video_present]
    return {
        "scale_median": round(float(np.median(scale)), 3),
        "scale_min": round(float(scale.min()), 3),
    }


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def tar_fragment(members: Mapping[str, bytes], key: str) -> bytes:
    """A clip's members as a piece of a tar; pieces set one after another, and TAR_END, are a tar.

    Header fields that would tell who wrote it and when are zero: the same clips give the same
    bytes.
    """
    pieces = []
    for extension in MEMBERS:
        info = tarfile.TarInfo(f"{key}.{extension}")
        info.size = len(members[extension])
        padding = bytes(-info.size % tarfile.BLOCKSIZE)
        pieces += [info.tobuf(tarfile.USTAR_FORMAT), members[extension], padding]
    return b"".join(pieces)
