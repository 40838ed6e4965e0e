"""The shard format: tar files in WebDataset layout with an index beside them.

A clip is three members of a tar: `{key}.lips.mp4` (grey H.264 crops that any player shows),
`{key}.flac` (16 kHz mono, 16 bit) and `{key}.json` (text, speaker, presence as runs of frames,
source, crop quality, word times). `index.json` holds the byte offset of each member, so one clip is
one seek and one read on a disk; behind a URL its shard is fetched first, see `remote`. `tar` and
the webdataset package read the same files front to back.
"""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from avsr.base.errors import AvsrError
from avsr.base.outputs import write_file
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.faces.crop_styles import OWN
from avsr.preprocessing.index import MEMBERS, SCHEMA, Entries, ShardEntry, in_one_line, parse_lines
from avsr.preprocessing.members import (
    TAR_END,
    decode_audio,
    decode_clip,
    encode_clip,
    shard_key,
    tar_fragment,
)
from avsr.preprocessing.remote import FetchedFolder, is_url, local, no_index

INDEX = "index.json"
SHARD_CLIPS = 256  # clips a shard: about 25 MB of three-second clips

# What a damaged shard does to tar, JSON, libsndfile (RuntimeError) and FFmpeg; an AvsrError has its
# own line already.
SHARD_TROUBLE = (
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
)


# ------------------------------------------------------------------------------------------ writing


def scan_shard(path: Path) -> list[dict[str, Any]]:
    """The index entries of a shard's clips, see scan_tar."""
    with open(path, "rb") as file:
        return scan_tar(file, path.name)


def scan_tar(file: BinaryIO, name: str) -> list[dict[str, Any]]:
    """The index entries of a shard's clips, from its tar headers and json members, in order.

    Args:
        file: the shard.
        name: its file's name.

    Raises:
        tarfile.TarError: not a tar.
        ValueError: members are missing or out of order.
    """
    entries: list[dict[str, Any]] = []
    members: dict[str, list[int]] = {}
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            key, _, extension = info.name.partition(".")
            members[extension] = [info.offset_data, info.size]
            if extension == "json":
                member = tar.extractfile(info)
                meta = json.loads(member.read()) if member else {}
                if tuple(members) != MEMBERS or shard_key(meta["id"]) != key:
                    raise ValueError(
                        f"{name}: {key} has the members {list(members)}, expected {list(MEMBERS)}"
                    )
                entries.append(_entry(meta, name, members))
                members = {}
    if members:
        raise ValueError(f"{name}: ends within a clip")
    return entries


def _entry(meta: Mapping[str, Any], shard: str, members: dict[str, list[int]]) -> dict[str, Any]:
    """One clip of index.json; audio_present and video_present are fractions of its frames."""
    frames = meta["frames"]
    entry = {
        "id": meta["id"],
        "shard": shard,
        "frames": frames,
        "text": meta["text"],
        "speaker": meta["speaker"],
        "split": meta.get("split"),
        "audio_present": round(
            sum(last - first for first, last in meta["audio_present"]) / frames, 4
        ),
        "video_present": round(
            sum(last - first for first, last in meta["video_present"]) / frames, 4
        ),
        "members": members,
    }
    return entry | ({"note": meta["note"]} if meta.get("note") else {})


def write_index(
    folder: Path, shards: Sequence[Path], skipped: Sequence[Mapping[str, str]] = (), **more: Any
) -> dict[str, Any]:
    """Writes index.json over finished shards.

    Args:
        folder: where the shards are.
        shards: their paths, in order.
        skipped: {"source", "reason"} of each clip left out.
        more: further entries, kept as they are.

    Returns:
        What was written.
    """
    clips = [entry for shard in shards for entry in scan_shard(shard)]
    index = make_index(clips, skipped, **more)
    write_file(folder / INDEX, [index_text(index).encode()])
    return index


def make_index(
    clips: Sequence[Mapping[str, Any]], skipped: Sequence[Mapping[str, str]], **more: Any
) -> dict[str, Any]:
    """An index over the entries of its clips; see write_index."""
    return {
        "schema": SCHEMA,
        "hours": round(sum(clip["frames"] for clip in clips) / FPS / 3600, 4),
        "counts": {
            "clips": len(clips),
            "skipped": len(skipped),
            "without_video": sum(clip["video_present"] == 0 for clip in clips),
            "without_audio": sum(clip["audio_present"] == 0 for clip in clips),
        },
        "versions": versions(),
        "crops": OWN.name,
        **more,
        "skipped": list(skipped),
        "clips": list(clips),
    }


def index_text(index: Mapping[str, Any]) -> str:
    """JSON with one clip a line, so that people can read and grep it."""
    lines = []
    for name, value in index.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in value) + "\n]"
        lines.append(f"{json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def versions() -> dict[str, str]:
    """Versions of what decides how a prepared clip looks."""
    found = {}
    for name in ("avsr", "av", "mediapipe", "numpy", "opencv-python-headless", "soundfile"):
        try:
            found[name] = version(name)
        # run from a source tree, or another provider of the same module
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


class ShardWriter:
    """Writes clips into shards one after another; the index comes with `close`.

    Example:
        with ShardWriter("out") as writer:
            writer.add(clip, {"split": "train"})
    """

    def __init__(self, dst: str | Path, shard_clips: int = SHARD_CLIPS) -> None:
        """Makes an empty set of shards.

        Args:
            dst: folder; made where it is not there.
            shard_clips: clips a shard at most.

        Raises:
            AvsrError: the folder already holds shards.
        """
        self.folder = Path(dst)
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / INDEX).exists():
            raise AvsrError(
                f"{self.folder} already holds shards; choose another folder or remove it"
            )
        self.shard_clips = shard_clips
        self._shards: list[Path] = []
        self._pending: list[bytes] = []
        self._keys: set[str] = set()

    def add(self, clip: Clip, extra: Mapping[str, Any] | None = None) -> None:
        """Adds a clip; `extra` joins its json member.

        Raises:
            AvsrError: the id was there before, or the clip has no frames.
        """
        key = shard_key(clip.id)
        if key in self._keys:
            raise AvsrError(f"clip id {clip.id!r} comes twice; ids are unique within a corpus")
        self._pending.append(tar_fragment(encode_clip(clip, extra), key))
        self._keys.add(key)
        if len(self._pending) == self.shard_clips:
            self._flush()

    def _flush(self) -> None:
        path = self.folder / shard_name(len(self._shards))
        write_file(path, [*self._pending, TAR_END])
        self._shards.append(path)
        self._pending = []

    def close(self, skipped: Sequence[Mapping[str, str]] = (), **more: Any) -> dict[str, Any]:
        """Writes the last shard and the index, and returns the index."""
        if self._pending:
            self._flush()
        return write_index(self.folder, self._shards, skipped, **more)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()


def shard_name(number: int) -> str:
    return f"shard-{number:05d}.tar"


# ------------------------------------------------------------------------------------------ reading


class ShardIndex:
    """The clips of a prepared corpus, any of them read alone. Can be pickled into worker
    processes.

    Attributes:
        info: all that its index says but the clips.
        entries: its clips.
    """

    def __init__(self, location: str | Path) -> None:
        """Reads the index.

        Args:
            location: the folder or its index.json: a path, or a URL where fsspec is installed.

        Raises:
            AvsrError: no index there, not one of ours, or a URL without fsspec.
        """
        folder = str(location).removesuffix(INDEX).rstrip("/")
        self.location = folder or ("/" if str(location).startswith("/") else ".")
        self._fetched = FetchedFolder(self.location) if is_url(self.location) else None
        try:
            with self._index() as lines:
                name = f"{self.location}/{INDEX}"
                self.info, entries = parse_lines(lines, name, skipped=True)
                self.entries = Entries(entries)
        except OSError as error:
            raise no_index(self.location, INDEX, error) from error

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def crops(self) -> str:
        """How the mouths in it were cut out; see faces.crop_styles."""
        return str(self.info.get("crops", OWN.name))

    def require_crops(self, crops: str, reader: str) -> None:
        """Refuses shards of other crops than whoever reads them was trained on.

        Args:
            crops: what it takes.
            reader: what it is called.

        Raises:
            AvsrError: the shards have others.
        """
        if self.crops != crops:
            raise AvsrError(
                f"{self.location}: its mouths are cut out as {self.crops!r} crops, and {reader} "
                f"takes {crops!r}: run `avsr prepare` with --crops {crops}"
            )

    def select(self, split: str | None = None, *, text: bool = False) -> list[int]:
        """The clips of a split.

        Args:
            split: its name; None for all clips. Clips of no split count as "train", as in training.
            text: leave out clips whose text is not known.

        Returns:
            Their places in `entries`, at least one.

        Raises:
            AvsrError: there are none; names the splits that there are.
        """
        usable = [i for i, entry in enumerate(self.entries) if entry.text is not None or not text]
        chosen = [i for i in usable if split in (None, self.entries[i].split or "train")]
        if chosen:
            return chosen
        kind = "clip with a text" if text else "clip"
        if not usable:
            raise AvsrError(
                f"{self.location}: no {kind} in it; run `avsr prepare` on a corpus that has some"
            )
        counts = Counter(self.entries[i].split for i in usable)
        known = ", ".join(f"{name} ({counts[name]})" for name in sorted(filter(None, counts)))
        if not known:
            raise AvsrError(
                f"{self.location}: no {kind} in split {split!r}: its clips belong to no split; "
                "they count as train"
            )
        if counts[None]:
            known += f"; {counts[None]} clips belong to none and count as train"
        raise AvsrError(f"{self.location}: no {kind} in split {split!r}; its splits are {known}")

    def meta(self, i: int) -> dict[str, Any]:
        """The json member of clip i: text, speaker, split, presence runs, source, crop, words.

        Raises:
            AvsrError: its shard is missing, cut short or damaged.
        """
        entry = self.entries[i]
        with self._reading(entry):
            found = json.loads(self._read(entry.shard, *entry.members["json"]))
            if not isinstance(found, dict):
                raise ValueError(f"its json is {type(found).__name__}")
            return found

    def load(self, i: int) -> Clip:
        """Clip i, by one seek and one read of its shard.

        Raises:
            AvsrError: its shard is missing, cut short or damaged.
        """
        entry = self.entries[i]
        first, length = entry.span
        with self._reading(entry):
            span = self._read(entry.shard, first, length)
            if len(span) < length:
                raise OSError(errno.EIO, "it ends before the clip")
            places = {
                name: (offset - first, size) for name, (offset, size) in entry.members.items()
            }
            clip = decode_clip(
                {name: span[start : start + size] for name, (start, size) in places.items()}
            )
            _check_same(entry, clip)
            return clip

    def audio(self, i: int) -> np.ndarray:
        """The sound of clip i alone, (N,) float32; its lips are not decoded.

        Raises:
            AvsrError: its shard is missing, cut short or damaged.
        """
        entry = self.entries[i]
        with self._reading(entry):
            return decode_audio(self._read(entry.shard, *entry.members["flac"]), entry.frames)

    @contextmanager
    def _reading(self, entry: ShardEntry) -> Iterator[None]:
        """Whatever a damaged shard does to its readers is one line that names clip and file."""
        try:
            yield
        except SHARD_TROUBLE as error:
            raise AvsrError(
                f"{self.location}/{entry.shard}: cannot read clip {entry.id!r} "
                f"({in_one_line(str(error))}); "
                "copy or prepare the shards again"
            ) from error

    def _index(self) -> IO[bytes]:
        if self._fetched is not None:
            return io.BytesIO(self._fetched.index(INDEX))
        return self._open(INDEX)

    def _read(self, shard: str, first: int, size: int) -> bytes:
        """Bytes of a shard."""
        with self._open(shard) as file:
            # reading more would set memory aside for it
            there = os.fstat(file.fileno()).st_size - first
            file.seek(first)
            return file.read(max(0, min(size, there)))

    def _open(self, name: str) -> IO[bytes]:
        """A file beside the index; a shard from elsewhere is fetched where it is not here yet."""
        if self._fetched is not None:
            return self._fetched.open(name)
        path = Path(local(self.location)) / name
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise OSError(errno.EINVAL, "is no file")
        return open(path, "rb")


def _check_same(entry: ShardEntry, clip: Clip) -> None:
    """Raises ValueError where an index says something else of a clip than its shard, as of shards
    of two corpora."""
    pairs = {
        "id": (entry.id, clip.id),
        "frames": (entry.frames, clip.frames),
        "text": (entry.text, clip.text),
        "speaker": (entry.speaker, clip.speaker),
        "audio_present": (entry.audio_present, round(float(clip.audio_present.mean()), 4)),
        "video_present": (entry.video_present, round(float(clip.video_present.mean()), 4)),
    }
    for name, (told, found) in pairs.items():
        rounded = isinstance(told, float) and isinstance(found, float) and abs(told - found) < 2e-4
        if told != found and not rounded:
            raise ValueError(f"its {name} is {found!r} in the shard and {told!r} in {INDEX}")
