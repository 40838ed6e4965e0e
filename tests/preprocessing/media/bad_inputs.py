"""Recordings that are broken or meant to do harm, made from small good ones; nothing of it is taken
from anywhere.

    python tests/preprocessing/media/bad_inputs.py FOLDER

Each input is a path that somebody may name. Beside them lies a folder `elsewhere`, at which
playlists and links point; whoever reads from there was led astray.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SECRET = "elsewhere/secret.mp4"
SIDE = (96, 80)  # pixels of the good recordings
FLIPS = 20  # of one byte in the header, and as many in what follows it
HEADER = 600  # bytes
TINY = 4000  # packets of the recordings made of tiny ones

# container, video codec, audio codec
GOOD = {
    "mp4": ("mp4", "libx264", "aac"),
    "mov": ("mov", "mpeg4", "pcm_s16le"),
    "mkv": ("matroska", "libx264", "libopus"),
    "webm": ("webm", "libvpx", "libopus"),
    "avi": ("avi", "mjpeg", "libmp3lame"),
    "mpg": ("mpeg", "mpeg2video", "mp2"),
    "ts": ("mpegts", "libx264", "aac"),
    "flv": ("flv", "flv", "libmp3lame"),
    "wav": ("wav", None, "pcm_s16le"),
    "flac": ("flac", None, "flac"),
    "ogg": ("ogg", None, "libopus"),
    "mp3": ("mp3", None, "libmp3lame"),
}


def good(kind: str, folder: Path, seconds: float = 1.2) -> bytes:
    """A small recording: moving stripes and a tone. It is written there, and its bytes returned."""
    form, video, audio = GOOD[kind]
    options = {"movflags": "faststart"} if form in ("mp4", "mov") else {}
    path = folder / f"good.{kind}"
    with av.open(str(path), "w", format=form, options=options) as out:
        streams: list[Any] = []
        if video:
            streams.append(out.add_stream(video, rate=25))
            streams[0].width, streams[0].height = SIDE
            streams[0].pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
        rate = 48000 if audio == "libopus" else 44100
        streams.append(out.add_stream(audio, rate=rate, layout="mono"))
        for stream in streams:
            frames = _pictures(seconds) if stream.type == "video" else _sound(stream, seconds)
            for frame in frames:
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path.read_bytes()


def _pictures(seconds: float) -> Iterator[Any]:
    width, height = SIDE
    for n in range(round(25 * seconds)):
        grey = (np.add.outer(np.arange(height), np.arange(width)) * 3 + 9 * n) % 256
        picture = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = n
        yield frame


def _sound(stream: Any, seconds: float) -> Iterator[Any]:
    rate = stream.codec_context.sample_rate
    samples = (8000 * np.sin(np.arange(round(rate * seconds)) * 0.03)).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
    frame.sample_rate, frame.pts = rate, 0
    fit = av.AudioResampler(stream.codec_context.format.name, "mono", rate)
    queue = av.AudioFifo()
    for part in fit.resample(frame):
        queue.write(part)
    size = stream.codec_context.frame_size or 1024
    while (part := queue.read(size, partial=True)) is not None:
        yield part


# ---- what is done to them


def damaged(kind: str, whole: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """A recording cut off at every tenth, with bits turned in its header and in what follows, with
    a stretch of zeros, and with a stretch twice."""
    for tenth in range(10):
        yield f"cut {tenth}.{kind}", whole[: max(1, len(whole) * tenth // 10)]
    for part, begin, end in (("header", 0, HEADER), ("packets", HEADER, len(whole))):
        for n in range(FLIPS):
            changed = bytearray(whole)
            for place in rng.integers(begin, min(end, len(whole)), 1 + n % 4):
                changed[place] ^= 1 << int(rng.integers(8))
            yield f"{part} {n}.{kind}", bytes(changed)
    third = len(whole) // 3
    yield f"hole.{kind}", whole[:third] + bytes(third) + whole[2 * third :]
    yield f"twice.{kind}", whole + whole[third:]


def lying(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Headers that claim what is not there: lengths, sizes of pictures, rates."""
    for box, at in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 24)):
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
            yield (
                f"{box.decode()} lasts {value}.mp4",
                patched(files["mp4"], box, at, struct.pack(">I", value)),
            )
    for value in (1, 7, 0x7FFFFFFF, 0xFFFFFFFF):
        scale = struct.pack(">I", value)
        yield f"clock {value}.mp4", patched(files["mp4"], b"mdhd", 16 - 4, scale)
        yield f"movie clock {value}.mp4", patched(files["mp4"], b"mvhd", 16 - 4, scale)
    for count in (0, 1, 0x7FFFFFFF):
        for box in (b"stts", b"stsz", b"stco", b"stsc"):
            at = 12 if box == b"stsz" else 8
            number = struct.pack(">I", count)
            yield f"{box.decode()} {count}.mp4", patched(files["mp4"], box, at, number)
    for name, duration in (("endless", 1e300), ("negative", -1.0), ("nan", float("nan"))):
        body = struct.pack(">d", duration)
        yield f"lasts {name}.mkv", patched(files["mkv"], b"\x44\x89\x88", 3, body)
    for size in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF):
        yield f"size {size}.wav", patched(files["wav"], b"data", 4, struct.pack("<I", size))
    for rate in (0, 1, 7, 1999, 2_000_000_000, 0xFFFFFFFF):
        yield f"rate {rate}.wav", patched(files["wav"], b"fmt ", 12, struct.pack("<I", rate))
    for channels in (0, 9, 255, 65535):
        number = struct.pack("<H", channels)
        yield f"channels {channels}.wav", patched(files["wav"], b"fmt ", 10, number)
    for rate in (0, 1, 1_000_000):  # microseconds a picture
        yield f"picture {rate}.avi", patched(files["avi"], b"avih", 8, struct.pack("<I", rate))
    for rate, scale in ((1, 0x7FFFFFFF), (0x7FFFFFFF, 1), (0, 0)):
        clock = struct.pack("<II", scale, rate)
        yield f"clock {rate} {scale}.avi", patched(files["avi"], b"strh", 28, clock)


def patched(whole: bytes, mark: bytes, at: int, body: bytes) -> bytes:
    """A recording with other bytes so far behind the beginning of a mark."""
    place = whole.index(mark) + at
    return whole[:place] + body + whole[place + len(body) :]


def huge(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Pictures too large for any memory, and clocks that run absurdly."""
    for width, height in ((16000, 16000), (30000, 30000), (65500, 65500), (65535, 1), (1, 65535)):
        size = struct.pack(">HH", height, width)
        name = f"{width}x{height}"
        yield f"jpeg {name}.avi", _resized_jpegs(files["avi"], size)
        yield f"entry {name}.mp4", patched(files["mp4"], b"avc1", 28, size[2:] + size[:2])
        yield (
            f"y4m {name}.mp4",
            f"YUV4MPEG2 W{width} H{height} F25:1 C420\nFRAME\n".encode() + b"\x80" * 9999,
        )
        yield f"gif {name}.mp4", b"GIF89a" + struct.pack("<HH", width, height) + _GIF
    for rate in ("1000000:1", "1:1000000", "0:0", "2147483647:1", "-25:1"):
        head = f"YUV4MPEG2 W16 H16 F{rate} C420\n".encode()
        yield f"y4m at {rate.replace(':', ' ')}.mp4", head + (b"FRAME\n" + b"\x80" * 384) * 40


_GIF = b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def _resized_jpegs(whole: bytes, size: bytes) -> bytes:
    """An AVI whose JPEGs all claim another size: their start of frame is changed."""
    changed, at = bytearray(whole), 0
    while (at := whole.find(b"\xff\xc0\0\x11\x08", at)) >= 0:
        changed[at + 5 : at + 9] = size
        at += 9
    return bytes(changed)


def tiny(kind: str) -> bytes:
    """A recording of thousands of packets with next to nothing in each."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for n in range(TINY):
            packet = av.Packet(b"\1\0")
            packet.stream, packet.pts, packet.dts, packet.duration = stream, n, n, 1
            packet.time_base = Fraction(1, 8000)
            out.mux(packet)
    return file.getvalue()


def playlists(root: Path, url: str) -> Iterator[tuple[str, bytes]]:
    """Text that names other files and places: what FFmpeg would open by itself."""
    secret = root / SECRET
    goals = (f"{url}/a.mp4", "file:///etc/passwd", str(secret), "../elsewhere/secret.mp4")
    for number, goal in enumerate(goals):
        texts = {
            "m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{goal}\n#EXT-X-ENDLIST\n",
            "m3u": f"#EXTM3U\n#EXTINF:1,a\n{goal}\n",
            "ffconcat": f"ffconcat version 1.0\nfile '{goal}'\n",
            "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
            "m=audio 9 RTP/AVP 0\n",
            "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
            f'type="static"><Period><AdaptationSet mimeType="video/mp4"><BaseURL>{goal}</BaseURL>'
            '<Representation id="1" bandwidth="1"/></AdaptationSet></Period></MPD>',
            "pls": f"[playlist]\nFile1={goal}\nNumberOfEntries=1\n",
            "asx": f'<asx version="3.0"><entry><ref href="{goal}"/></entry></asx>',
            "smil": f'<smil><body><video src="{goal}"/></body></smil>',
            "cue": f'FILE "{goal}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
            "rtsp": f"[Reference]\nRef1={goal}\n",
        }
        for kind, text in texts.items():
            yield f"list {number}.{kind}", text.encode()
            yield f"list {number} {kind}.mp4", text.encode()


def misnamed(files: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """One thing under the name of another."""
    kinds = list(files)
    for kind, other in zip(kinds, [*kinds[1:], kinds[0]], strict=True):
        yield f"really {kind}.{other}", files[kind]
    for kind in ("mp4", "wav", "mkv", "m3u8", "txt"):
        yield f"empty.{kind}", b""
        yield f"one byte.{kind}", b"\0"
        yield f"text.{kind}", b"not a recording, but words\n" * 40
        yield f"noise.{kind}", np.random.default_rng(1).bytes(20000)
        yield f"zeros.{kind}", bytes(20000)
    yield "archive.mp4", b"PK\3\4" + bytes(200)
    yield "no streams.mp4", b"\0\0\0\x14ftypisom\0\0\2\0isom" + b"\0\0\0\x08moov"
    yield "no streams.mkv", files["mkv"][:40]
    yield "no samples.wav", files["wav"][:44]
    yield "boxes in boxes.mp4", b"\0\0\0\x14ftypisom\0\0\2\0isom" + b"\0\0\xff\xffmoov" * 5000


NAMES = (
    "new\nline", "-rf", "--help", "%d", "%s%n%x", "*?", "[a-z]", "$(touch here)", "`id`", "a;b",
    "file:a", "http:a", "concat:a|b", "pipe:0", "data:a", "~", " lead", "trail ", "tab\ta",
    "\x1b[31mred", "\u202ereversed", "\U0001f3a5", "n" * 200, "a'b\"c", "\\back", "{0}",
)  # fmt: skip


def named(whole: bytes, folder: Path) -> Iterator[Path]:
    """A good recording under names that mean something to somebody."""
    for name in NAMES:
        path = folder / f"{name}.mp4"
        path.write_bytes(whole)
        yield path
    odd = os.fsdecode(os.fsencode(folder) + b"/caf\xe9\xff.mp4")
    try:
        Path(odd).write_bytes(whole)
        yield Path(odd)
    except OSError:  # a file system that takes no such name
        pass


def no_files(folder: Path) -> Iterator[Path]:
    """What is no file, or leads to one somewhere else."""
    (folder / "folder.mp4").mkdir()
    os.mkfifo(folder / "pipe.mp4")
    links = {
        "nowhere": folder / "none",
        "circle": folder / "link to circle.mp4",
        "folder": folder / "folder.mp4",
        "passwd": Path("/etc/passwd"),
        "zero": Path("/dev/zero"),
        "random": Path("/dev/urandom"),
        "tty": Path("/dev/tty"),
        "memory": Path("/proc/self/mem"),
        "stdin": Path("/dev/stdin"),
        "pipe": folder / "pipe.mp4",
    }
    for name, goal in links.items():
        (folder / f"link to {name}.mp4").symlink_to(goal)
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path must be short
        try:
            listener.bind("socket.mp4")
        finally:
            os.chdir(here)
    yield from sorted(folder.iterdir())
    yield folder / "none.mp4"
    yield folder / "folder.mp4" / "none.mp4"
    yield Path("/dev/zero")


def make(root: Path, url: str = "http://127.0.0.1:9") -> list[Path]:
    """Makes all inputs below a folder that is new or empty.

    Args:
        root: the folder.
        url: where playlists on the network point to.

    Returns:
        What somebody may name, group by group.
    """
    (root / SECRET).parent.mkdir(parents=True)
    files = {kind: good(kind, root) for kind in GOOD}
    (root / SECRET).write_bytes(files["mp4"])
    groups: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
        "lying": lambda: lying(files),
        "huge": lambda: huge(files),
        "tiny": lambda: (
            (f"tiny.{kind}", tiny(kind)) for kind in ("avi", "matroska", "mov", "wav")
        ),
        "lists": lambda: playlists(root, url),
        "misnamed": lambda: misnamed(files),
    }
    rng = np.random.default_rng(0)
    made: list[Path] = []
    for name, contents in groups.items():
        made += _written(root / name, contents())
    for kind, whole in files.items():
        made += _written(root / kind, damaged(kind, whole, rng))
    for name in ("names", "others"):
        (root / name).mkdir()
    made += named(files["mp4"], root / "names")
    made += no_files(root / "others")
    return made


def _written(folder: Path, contents: Iterator[tuple[str, bytes]]) -> Iterator[Path]:
    folder.mkdir()
    for name, body in contents:
        path = folder / name
        path.write_bytes(body)
        yield path


if __name__ == "__main__":
    for made in make(Path(sys.argv[1])):
        print(os.fsencode(made))
