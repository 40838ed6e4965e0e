"""Measures what a training run knows of its clips takes in memory, and how long it takes to read.

    python tests/training/data/measure_memory.py 2000 20000 200000
    python tests/training/data/measure_memory.py 2000 20000 --shards

For each number of clips an index is made up, with texts of four to twelve words and thirty clips a
speaker, as TED talks have them. Each way of reading is measured in a process of its own: clip by
clip with the batches of an epoch, and streamed. With --shards there are shards, too, of clips of
two frames, and the stream is read to the end of its epoch by one loader process, undecoded.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from avsr.model.tokenizer import Tokenizer
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.members import TAR_END, encode_clip, shard_key, tar_fragment
from avsr.preprocessing.shards import INDEX, index_text, make_index, scan_shard, shard_name
from avsr.training.config import DataConfig
from avsr.training.data.plan import plan_epoch
from avsr.training.data.store import ClipStore
from avsr.training.data.stream.catalogue import Catalogue
from avsr.training.data.stream.plan import StreamPlan
from avsr.training.data.stream.pool import Reader

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WAYS = ("clips", "stream")
SHARD_CLIPS, WORDS, OF_A_SPEAKER = 256, 20_000, 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=int, nargs="+")
    parser.add_argument("--shards", action="store_true", help="make shards, too, and read them")
    parser.add_argument("--folder", type=Path, help="measure this one in this process")
    parser.add_argument("--way", choices=WAYS)
    asked = parser.parse_args()
    if asked.folder:
        measure(asked.folder, asked.way, read=asked.shards)
        return
    for count in asked.clips:
        with tempfile.TemporaryDirectory() as folder:
            make_corpus(Path(folder), count, shards=asked.shards)
            for way in WAYS[1:] if asked.shards else WAYS:
                more = ["--shards"] if asked.shards else []
                own = [str(count), "--folder", folder, "--way", way, *more]
                subprocess.run([sys.executable, __file__, *own], check=True)


def make_corpus(folder: Path, count: int, *, shards: bool) -> None:
    """An index of so many clips; with shards that it tells of, if they are wanted."""
    rows: list[dict[str, Any]] = []
    texts = made_up_texts(count)
    members = encode_clip(a_clip())
    for first in range(0, count, SHARD_CLIPS):
        name = shard_name(first // SHARD_CLIPS)
        ids = [clip_id(i) for i in range(first, min(first + SHARD_CLIPS, count))]
        own = [meta(members["json"], id, next(texts)) for id in ids]
        if shards:
            parts = [
                tar_fragment({**members, "json": json.dumps(row).encode()}, shard_key(row["id"]))
                for row in own
            ]
            (folder / name).write_bytes(b"".join([*parts, TAR_END]))
            rows += scan_shard(folder / name)
            continue
        for place, row in enumerate(own):
            at = 80_000 * place
            spans = {"lips.mp4": [at, 50_000], "flac": [at + 51_000, 20_000], "json": [at, 900]}
            taken = {key: row[key] for key in ("id", "frames", "text", "speaker", "split")}
            present = {"audio_present": 1.0, "video_present": 1.0}
            rows.append({**taken, "shard": name, **present, "members": spans, "frames": 150})
    (folder / INDEX).write_text(index_text(make_index(rows, ())))


def a_clip() -> Clip:
    lips = np.zeros((2, CROP_SIZE, CROP_SIZE), np.uint8)
    there = np.ones(2, bool)
    return Clip("", np.zeros(2 * SAMPLES_PER_FRAME, np.float32), lips, there, there, 0.0)


def clip_id(i: int) -> str:
    return f"pretrain/{i // OF_A_SPEAKER:08d}/{i % OF_A_SPEAKER:05d}"


def meta(encoded: bytes, id: str, text: str) -> dict[str, Any]:
    """The json member of a clip."""
    speaker = id.rpartition("/")[0]
    return json.loads(encoded) | {"id": id, "text": text, "speaker": speaker, "split": "train"}


def made_up_texts(count: int) -> Iterator[str]:
    rng = random.Random(0)
    words = ["".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in range(WORDS)]
    for _ in range(count):
        yield " ".join(rng.choices(words, k=rng.randint(4, 12)))


class Nothing:
    """Stands for what makes items of clips."""

    store = None

    def __getitem__(self, key: object) -> dict[str, Any]:
        return {}


def measure(folder: Path, way: str, *, read: bool) -> None:
    """Reads the index once, and with `read` all clips of an epoch; prints what that took."""
    tokenizer = Tokenizer(["<blank>", " ", *LETTERS])
    gc.collect()
    before, began = peak_mb(), time.process_time()
    batches = 0
    made: Any
    clips: ClipStore | Catalogue
    if way == "clips":
        clips = ClipStore([folder], "train", tokenizer)
        made = plan_epoch(clips, DataConfig(), 0, 0)
    else:
        # so many outputs a frame that no clip is too short for its text
        clips = Catalogue([folder], "train", tokenizer, per_frame=100)
        config = DataConfig(workers=1, shuffle_frames=2000, max_frames=100)
        made = StreamPlan(clips, config, 0, 0, len(clips) // 50 - 1)
        if read:
            batches = sum(1 for _ in Reader(Nothing(), made, 0))  # type: ignore[arg-type]
    took_s = time.process_time() - began
    grown = peak_mb() - before
    print(
        f"{len(clips)} clips, {way}: {before:.0f} MB before, {grown:.1f} MB more "
        f"({grown * 2**20 / len(clips):.0f} bytes a clip), {took_s:.1f} s of CPU time, "
        f"{batches} batches read",
        flush=True,
    )


def peak_mb() -> float:
    """The most that this process has taken so far; on Linux."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    main()
