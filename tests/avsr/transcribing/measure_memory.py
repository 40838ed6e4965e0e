"""How much memory a film takes that lasts longer: clips joined one after the other.

    python tests/avsr/transcribing/measure_memory.py CLIP... --minutes 5 120 --call 'transcribe'

Prints the peak of each call of avsr, which runs in a process of its own. With --once the landmarks
of each different picture are found once and then remembered, in every call alike: a busy machine is
done sooner, and all that is kept of a film stays as it is.
"""

from __future__ import annotations

import argparse
import pickle
import shlex
import sqlite3
import subprocess
import sys
import tempfile
import time
import zlib
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

CLIP_S = 3.0  # seconds of a clip of GRID


def join(clips: list[Path], minutes: float, film: Path) -> None:
    """One film of clips of one kind, as often as needed, without encoding anything anew."""
    count = round(60 * minutes / CLIP_S)
    listing = film.with_suffix(".txt")
    listing.write_text(
        "".join(f"file '{clip.resolve()}'\n" for clip in islice(cycle(clips), count))
    )
    options = ["-v", "error", "-f", "concat", "-safe", "0", "-i", listing, "-c", "copy"]
    subprocess.run(["ffmpeg", *options, film], check=True)


def remember_faces() -> None:
    """Finds the landmarks of each different picture once; they are kept in a file, so that what is
    remembered takes no memory."""
    from avsr.preprocessing.faces import face

    find = face.Landmarker.__call__
    known = sqlite3.connect("", check_same_thread=False)
    known.execute("create table known (picture integer primary key, faces blob)")

    def remembered(self: Any, frame: Any) -> list[face.Face]:
        key = (zlib.crc32(frame[::3, ::3].tobytes()),)
        row = known.execute("select faces from known where picture = ?", key).fetchone()
        if row is not None:
            return pickle.loads(row[0])  # type: ignore[no-any-return]
        faces = find(self, frame)
        known.execute("insert into known values (?, ?)", (*key, pickle.dumps(faces)))
        known.commit()
        return faces

    face.Landmarker.__call__ = remembered  # type: ignore[method-assign]


def called(words: list[str], once: bool, told: Any) -> None:
    """In a process: calls avsr; tells its exit status, the peak in MB, and how long that took."""
    from avsr.base.processes.machine import peak_memory_mb
    from avsr.cli import main

    if once:
        remember_faces()
    began_s = time.monotonic()
    status = main(words)
    told.put((status, peak_memory_mb(), time.monotonic() - began_s))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("clips", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 120.0])
    parser.add_argument("--call", type=shlex.split, default=["transcribe"])
    parser.add_argument("--once", action="store_true")
    asked = parser.parse_args(sys.argv[1:])
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for minutes in asked.minutes:
            film, told = Path(folder) / f"{minutes:g}.mp4", context.Queue()
            join(asked.clips, minutes, film)
            words = [*asked.call, str(film)]
            process = context.Process(target=called, args=(words, asked.once, told))
            process.start()
            status, peak_mb, took_s = told.get()
            process.join()
            print(f"{minutes:g} min: {peak_mb:.0f} MB, {took_s:.0f} s, status {status}", flush=True)
