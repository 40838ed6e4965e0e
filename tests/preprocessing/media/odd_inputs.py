"""Recordings that are rare or damaged in ways of their own, and files of other kinds under the name
of a recording; nothing of it is taken from anywhere.

    python tests/preprocessing/media/odd_inputs.py FOLDER
"""

from __future__ import annotations

import io
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

SIDE = (96, 80)  # pixels
RATE = 16000
SPARSE = 100 << 30  # bytes
TRACKS = 60
PACKET = 188  # bytes of MPEG-TS

Contents = Iterator[tuple[str, bytes]]


def film(
    form: str,
    codec: str,
    pix_fmt: str = "yuv420p",
    *,
    size: tuple[int, int] = SIDE,
    times: Sequence[int] = range(30),
    rate: int = RATE,
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
) -> bytes:
    """A film of moving stripes with a tone.

    Args:
        form: the container.
        codec: of the picture.
        pix_fmt: of the picture, as FFmpeg names it.
        size: width and height, pixels.
        times: of the pictures, in 25ths of a second.
        rate: samples a second.
        options: of the codec.
        muxer: of the container.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=muxer or {}) as out:
        video: Any = out.add_stream(codec, rate=25, options=options or {})
        video.width, video.height, video.pix_fmt = *size, pix_fmt
        sound: Any = out.add_stream("pcm_s16le" if form != "mpegts" else "mp2", rate=rate)
        sound.layout = "mono"
        for frame in pictures(size, times):
            out.mux(video.encode(frame.reformat(format=pix_fmt)))
        out.mux(video.encode(None))
        for tone in tones(rate):
            out.mux(sound.encode(tone))
        out.mux(sound.encode(None))
    return file.getvalue()


def pictures(size: tuple[int, int], times: Sequence[int]) -> Iterator[Any]:
    width, height = size
    columns = np.arange(width)
    for n, time in enumerate(times):
        grey = (np.add.outer(np.arange(height), columns) * 3 + 9 * n).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.repeat(grey[:, :, None], 3, 2), format="rgb24")
        frame.pts, frame.time_base = time, Fraction(1, 25)
        yield frame


def tones(rate: int, size: int = 1152) -> Iterator[Any]:
    for first in range(0, rate, size):
        wave = (8000 * np.sin(np.arange(first, first + size) * 0.03)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        yield frame


def shapes() -> Contents:
    """Kinds of pictures that few cameras make."""
    for pix_fmt in ("yuv420p10le", "yuva420p", "yuv444p16le", "gray", "gray16le", "bgra"):
        yield f"{pix_fmt}.mkv", film("matroska", "ffv1", pix_fmt)
    hdr = {"color_primaries": "bt2020", "color_trc": "smpte2084", "colorspace": "bt2020nc"}
    yield "hdr.mkv", film("matroska", "ffv1", "yuv420p10le", options=hdr)
    yield "alpha.mov", film("mov", "png", "rgba")
    for size in ((97, 81), (1, 1), (2, 400), (400, 2), (3, 3)):
        yield "{}x{}.mov".format(*size), film("mov", "png", "rgb24", size=size)
    interlaced = {"flags": "+ilme+ildct"}
    yield "interlaced.ts", film("mpegts", "mpeg2video", options=interlaced)
    yield "8k.avi", film("avi", "mjpeg", "yuvj420p", size=(7680, 4320), times=range(2))
    yield "animated.gif", film_without_sound("gif", "gif", "rgb8")
    yield "animated.png", film_without_sound("apng", "apng", "rgba")


def film_without_sound(form: str, codec: str, pix_fmt: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as out:
        video: Any = out.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = *SIDE, pix_fmt
        for frame in pictures(SIDE, range(10)):
            out.mux(video.encode(frame.reformat(format=pix_fmt)))
        out.mux(video.encode(None))
    return file.getvalue()


def clocks() -> Contents:
    """Times that jump, go back, or begin before zero, and pictures that lack those before them."""
    jumps = {
        "gap of a minute": [*range(10), *range(1500, 1510)],
        "gap of a month": [*range(10), *range(65_000_000, 65_000_010)],
        "starts after a day": range(2_160_000, 2_160_020),
        "one picture": [0],
        "two pictures an hour apart": [0, 90_000],
    }
    for name, times in jumps.items():
        yield f"{name}.mkv", film("matroska", "mjpeg", "yuvj420p", times=times)
    early = {"avoid_negative_ts": "disabled"}
    yield "starts early.mov", film("mov", "png", "rgb24", times=range(-20, 10), muxer=early)
    small, large = (film("mpegts", "mpeg2video", size=size) for size in (SIDE, (176, 144)))
    yield "changes its size.ts", small + large + small
    yield "goes back.ts", large + large[: len(large) // PACKET // 2 * PACKET] + large
    slow, fast = (film("mpegts", "mpeg2video", rate=rate) for rate in (32000, 48000))
    yield "changes its rate.ts", slow + fast + slow
    between = {"bf": "3", "g": "30"}
    whole = film("mpegts", "mpeg2video", options=between)
    packets = [whole[at : at + PACKET] for at in range(0, len(whole), PACKET)]
    yield "begins amid pictures.ts", b"".join([*packets[:3], *packets[len(packets) // 2 :]])
    yield "every second packet.ts", b"".join(packets[::2])
    yield "backwards.ts", b"".join(packets[::-1])


def streams() -> Contents:
    """Streams that nobody reads words from, or far too many of them."""
    yield "subtitles.mkv", subtitles()
    yield "many tracks.mkv", many_tracks()
    yield "odd language.mkv", many_tracks(2, "\x1b[31m\nen")
    picture = _jpeg()
    yield "cover.flac", _flac_with(picture)
    yield "only a cover.mp3", _id3(b"APIC", b"\0image/jpeg\0\3\0" + picture)
    yield "long title.mp3", _id3(b"TIT2", b"\0" + b"a" * 4_000_000)


def subtitles() -> bytes:
    """Words without sound or picture."""
    lines = b"1\n00:00:00,000 --> 00:00:01,000\nhello\n\n2\n00:00:01,000 --> 00:00:02,000\nyou\n"
    file = io.BytesIO()
    with av.open(io.BytesIO(lines), format="srt") as text, av.open(file, "w", "matroska") as out:
        stream = out.add_stream_from_template(text.streams[0])
        for packet in text.demux():
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    return file.getvalue()


def many_tracks(count: int = TRACKS, language: str = "en") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        tracks: list[Any] = [out.add_stream("pcm_s16le", rate=RATE) for _ in range(count)]
        for track in tracks:
            track.layout = "mono"
            track.metadata["language"] = language
        for tone in tones(RATE):
            for track in tracks:
                out.mux(track.encode(tone))
    return file.getvalue()


def _jpeg() -> bytes:
    grey = np.add.outer(np.arange(SIDE[1]), np.arange(SIDE[0])).astype(np.uint8)
    return cv2.imencode(".jpg", grey)[1].tobytes()


def _flac_with(picture: bytes) -> bytes:
    """A FLAC with a picture of its cover, in front of which lies nothing but the header."""
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as out:
        sound: Any = out.add_stream("flac", rate=RATE, layout="mono")
        for tone in tones(RATE, 4096):
            out.mux(sound.encode(tone))
        out.mux(sound.encode(None))
    whole = file.getvalue()
    kind = b"image/jpeg"
    body = struct.pack(">II", 3, len(kind)) + kind + struct.pack(">IIIII", 0, *SIDE, 8, 0)
    body += struct.pack(">I", len(picture)) + picture
    header_end = 4 + 4 + 34  # the mark, and the block that describes the sound
    block = b"\6" + struct.pack(">I", len(body))[1:] + body
    return whole[:4] + bytes([whole[4] & 0x7F]) + whole[5:header_end] + block + whole[header_end:]


def _id3(kind: bytes, body: bytes) -> bytes:
    """An MP3 that has a tag and no sound."""
    frame = kind + struct.pack(">IH", len(body), 0) + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame


def others() -> Contents:
    """Files of other kinds, called recordings."""
    grey = np.add.outer(np.arange(SIDE[1]), np.arange(SIDE[0])).astype(np.uint8)
    for kind in ("jpg", "png", "webp", "bmp", "tiff"):
        picture = cv2.imencode(f".{kind}", grey)[1].tobytes()
        yield f"photo.{kind}", picture
        yield f"photo {kind}.mp4", picture
    yield "photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x0cmeta\0\0\0\0"
    yield "paper.mp4", b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n"
    archive = _zipped()
    yield "archive.zip", archive
    yield "packed.mp4", archive
    locked = archive.replace(b"PK\3\4\x14\0\0", b"PK\3\4\x14\0\1")  # says that it is encrypted
    yield "locked.mp4", locked.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")
    yield "page.mp4", b"<!doctype html><video src='http://127.0.0.1:9/a.mp4'></video>\n" * 20
    yield (
        "drawing.svg",
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
    )
    yield "program.mp4", b"\x7fELF\2\1\1" + bytes(500)
    yield "script.mp4", b"#!/bin/sh\ntouch here\n"
    yield "table.mp4", b"SQLite format 3\0" + bytes(1000)


def _zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("film.mp4", bytes(5000))
    return file.getvalue()


def sparse(folder: Path, whole: bytes) -> Iterator[Path]:
    """Files that say they are far larger than any disk, and hold next to nothing."""
    for name, begin in (("nothing.mp4", b""), ("film and nothing.mkv", whole)):
        path = folder / name
        path.write_bytes(begin)
        os.truncate(path, SPARSE)
        yield path


def make(root: Path) -> list[Path]:
    """Makes all inputs below a folder that is not there yet.

    Returns:
        What somebody may name, group by group.
    """
    groups: dict[str, Callable[[], Contents]] = {
        "shapes": shapes,
        "clocks": clocks,
        "streams": streams,
        "other kinds": others,
    }
    made = []
    for name, contents in groups.items():
        (root / name).mkdir(parents=True)
        for called, body in contents():
            path = root / name / called
            path.write_bytes(body)
            made.append(path)
    (root / "sparse").mkdir()
    return [*made, *sparse(root / "sparse", film("matroska", "mpeg4"))]


if __name__ == "__main__":
    for made in make(Path(sys.argv[1])):
        print(made)
