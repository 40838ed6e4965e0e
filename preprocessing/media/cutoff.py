"""Whether a recording was cut off: what its header promises against what came, and whether its
bytes end midway.

FFmpeg reads what there is and says nothing. Some formats say at their beginning how long they are;
of the others it can only be seen that the last packet is not whole.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

TOLERANCE_S, TOLERANCE = 0.5, 0.02  # a header may be off by this much, in seconds and as a part
TAIL = 1 << 17  # bytes at the end in which the last packet begins ...
CLUSTER_TAIL = 1 << 24  # ... and the last cluster of Matroska, which FFmpeg ends after 5 MB
CLUSTER = b"\x1f\x43\xb6\x75"  # begins one, and is followed by its size and its time or checksum
CLUSTER_FIRST = (0xE7, 0xBF)
W64_DATA = b"data" + bytes.fromhex("f3acd3118cd100c04f8edb8a")
PACK = b"\0\0\1\xba"  # begins a pack of a program stream
STREAMED = 0x7FFF0000  # 32-bit sizes from here on say that the writer did not know

# FFmpeg's formats whose duration is what the header says; others are estimated from the bytes there
# are
DECLARING = {
    "aiff",
    "au",
    "flac",
    "flv",
    "matroska,webm",
    "mov,mp4,m4a,3gp,3g2,mj2",
    "mxf",
    "tta",
    "wav",
    "wv",
}
# Those whose duration counts from zero, also where the first packet comes later.
FROM_ZERO = {"matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"}


def cut_off(
    path: Path, form: str, declared_s: float, there_s: float, start_s: float = 0.0
) -> str | None:
    """One line about what is missing at the end of a file; None where nothing is known to be, or
    the file is gone.

    Args:
        path: the file.
        form: FFmpeg's name of its format.
        declared_s: its duration as FFmpeg has it; 0 where it has none.
        there_s: seconds from the first packet to the end of the last.
        start_s: time of the first packet.
    """
    if form in FROM_ZERO:
        declared_s -= max(0.0, start_s)
    try:
        with open(path, "rb") as file:
            return _cut_off(file, form, declared_s, there_s)
    # renamed or removed since it was read: what was read of it is not lost for that
    except OSError:
        return None


def _cut_off(file: Any, form: str, declared_s: float, there_s: float) -> str | None:
    promised_s = _promised_s(file, form, there_s)
    if promised_s is None and (form in DECLARING or (form == "mp3" and _has_frame_count(file))):
        promised_s = declared_s
    if promised_s and promised_s - there_s > max(TOLERANCE_S, TOLERANCE * promised_s):
        digits = 0 if promised_s >= 10 else 1
        return f"the file was cut off: {there_s:.{digits}f} of {promised_s:.{digits}f} s were there"
    if ends_midway(file, form):
        return (
            f"the file was cut off after {there_s:.1f} s, in the middle of a packet: "
            "the rest is missing"
        )
    return None


def ends_midway(file: Any, form: str) -> bool:  # whatever can read and seek
    """Whether the bytes end before something that began is whole, for the formats in which that can
    be told."""
    size = file.seek(0, io.SEEK_END)
    if form == "mpegts":
        return all(size % packet for packet in (188, 192, 204))
    if form.startswith("mov"):
        return _boxes_end(file, size) > size
    matroska = form.startswith("matroska")
    file.seek(max(0, size - (CLUSTER_TAIL if matroska else TAIL)))
    tail = file.read()
    if matroska:
        return _last_element_end(tail) > len(tail)
    if form == "mpeg":
        return _last_pes_end(tail) > len(tail)
    if form == "ogg":
        return _last_page_end(tail) > len(tail)
    return False


def _promised_s(file: Any, form: str, there_s: float) -> float | None:
    """What the headers say that FFmpeg corrects by the size of the file, in seconds."""
    file.seek(0)
    head, size = file.read(4096), os.fstat(file.fileno()).st_size
    if form == "wav" and head[:4] == b"RIFF":
        return there_s * _wav_times(head, size)
    if form in ("caf", "w64"):
        return there_s * _long_times(head, size, form)
    if form == "avi":
        return _avi_s(head, size)
    if form == "asf":
        # the file properties object
        at = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
        if 0 <= at <= len(head) - 88:
            play, _, preroll = struct.unpack_from("<QQQ", head, at + 64)
            return play / 1e7 - preroll / 1e3 if play else None
    return None


def _wav_times(head: bytes, size: int) -> float:
    """How many times as long as what there is the data should be; 0 where all is there or nobody
    knows."""
    position = 12
    while position + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, position)
        position += 8
        if name == b"data":
            return (
                length / (size - position)
                if size < position + length < STREAMED and size > position
                else 0.0
            )
        position += length + length % 2
    return 0.0


def _long_times(head: bytes, size: int, form: str) -> float:
    """As _wav_times, for Apple's CAF and Sony's Wave64, whose sizes have 64 bits."""
    caf = form == "caf"
    at = head.find(b"data" if caf else W64_DATA)
    header = 12 if caf else 24
    if not 0 <= at <= len(head) - header:
        return 0.0
    (length,) = struct.unpack_from(">q" if caf else "<q", head, at + header - 8)
    begin = at + header
    length -= 0 if caf else header  # a chunk of Wave64 counts its header
    return length / (size - begin) if begin < size < begin + length < 1 << 62 else 0.0


def _avi_s(head: bytes, size: int) -> float | None:
    """Of the first RIFF chunk, where it is not whole."""
    (riff,) = struct.unpack_from("<I", head, 4)
    at = head.find(b"avih")
    if not size < riff + 8 < STREAMED or not 0 <= at <= len(head) - 28:
        return None
    microseconds, frames = struct.unpack_from("<I12xI", head, at + 8)
    return microseconds * frames / 1e6 or None


def _has_frame_count(file: Any) -> bool:
    """Whether an MP3 begins with a frame that says how many there are."""
    file.seek(0)
    head = file.read(10)
    begin = 0
    if head[:3] == b"ID3":
        begin = 10 + sum(
            (byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True)
        )
    file.seek(begin)
    frame = file.read(2048)
    return any(tag in frame for tag in (b"Xing", b"Info", b"VBRI"))


def _boxes_end(file: Any, size: int) -> int:
    """Where the last box of an MP4 says that it ends."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length, _, longer = struct.unpack(">I4sQ", file.read(16).ljust(16, b"\0"))
        length = {0: size - position, 1: longer}.get(length, length)
        if length < 8:
            return 0  # not boxes
        position += length
    return position if position >= size else size + 1


def _last_pes_end(tail: bytes) -> int:
    """Where the last packet of a program stream says that it ends; codes from 0xBB on stand nowhere
    else."""
    at = len(tail)
    while (at := tail.rfind(b"\0\0\1", 0, at)) >= 0:
        if at + 6 <= len(tail) and tail[at + 3] >= 0xBB:
            end = at + 6 + int.from_bytes(tail[at + 4 : at + 6], "big")
            # nothing, or the header of a pack that should be followed by a packet
            rest = tail[end:]
            return len(tail) + 1 if rest and PACK.startswith(rest[:4]) else end
    return 0


def _last_element_end(tail: bytes) -> int:
    """Where the last element of a Matroska stream says that it ends, of those that follow the last
    cluster's begin."""
    at = len(tail)
    while (at := tail.rfind(CLUSTER, 0, at)) >= 0:
        size, position = _number(tail, at + 4)
        if size is not None and tail[position : position + 1] and tail[position] in CLUSTER_FIRST:
            break
    else:
        return 0
    position += size if size >= 0 else 0  # a live writer leaves it open: its elements follow
    while position < len(tail):
        # behind the element's name
        begin = position + next((n for n in range(1, 5) if tail[position] >> (8 - n)), 5)
        if begin > position + 4:
            return 0  # no elements
        size, position = _number(tail, begin)
        if size is None:
            return len(tail) + 1
        if size < 0:
            return 0
        position += size
    return position


def _number(data: bytes, at: int) -> tuple[int | None, int]:
    """A number of EBML and where it ends: -1 stands for one that is left open, None for one that is
    cut off."""
    length = 9 - data[at].bit_length() if at < len(data) else 9
    if at + length > len(data):
        return None, len(data)
    bits = 7 * length
    value = int.from_bytes(data[at : at + length], "big") & (1 << bits) - 1
    return (-1 if value == (1 << bits) - 1 else value), at + length


def _last_page_end(tail: bytes) -> int:
    """Where the last page of an Ogg stream says that it ends."""
    at = tail.rfind(b"OggS")
    if at < 0:
        return 0
    if at + 27 > len(tail) or at + 27 + tail[at + 26] > len(tail):
        return len(tail) + 1
    return at + 27 + tail[at + 26] + sum(tail[at + 27 : at + 27 + tail[at + 26]])
