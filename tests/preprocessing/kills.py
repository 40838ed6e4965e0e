"""Measures what kills at random moments do to a preparation: nothing, it should be.

    python tests/preprocessing/kills.py grid path/to/grid --clips 24 --kills 20 --seed 0

A corpus is prepared once undisturbed. Then it is prepared again by runs whose leading process, or
one of whose workers, is killed at a random moment; after each kill of the leading one the same
command runs again. Both results are compared, byte by byte. Linux only: workers are found by /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = """
import sys
from avsr.preprocessing.prepare import prepare
if __name__ == "__main__":
    corpus, src, dst, engine, workers, clips = sys.argv[1:]
    prepare(corpus, src, dst, engine=engine, workers=int(workers), limit=int(clips), shard_clips=8)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus")
    parser.add_argument("src", type=Path)
    parser.add_argument("--engine", default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest-s", type=float, default=8.0, help="until the next kill")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "run.py")
        script.write_text(RUN)

        def start(dst: str) -> subprocess.Popen[bytes]:
            what = [asked.corpus, str(asked.src), str(Path(folder, dst)), asked.engine]
            counts = [str(asked.workers), str(asked.clips)]
            return subprocess.Popen([sys.executable, str(script), *what, *counts])

        began = time.monotonic()
        if start("whole").wait():
            return 1
        whole_s = time.monotonic() - began
        leading, workers, starts = 0, 0, 1
        run = start("killed")
        while run.poll() is None and leading + workers < asked.kills:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(rng.uniform(0.0, asked.longest_s))
                break
            children = workers_of(run.pid)
            if children and rng.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(children), signal.SIGKILL)
                workers += 1
                continue
            run.kill()
            run.wait()
            leading += 1
            time.sleep(1.0)  # its workers notice
            run, starts = start("killed"), starts + 1
        status = run.wait()
        same = digests(Path(folder, "whole")) == digests(Path(folder, "killed"))
        print(
            f"undisturbed {whole_s:.0f} s; killed {leading} leading processes and {workers} "
            f"workers over {starts} starts; exit status {status}; the same bytes: {same}"
        )
        return 0 if same and not status else 1


def workers_of(pid: int) -> list[int]:
    """The processes of a run that do its work, see test_prepare."""
    found = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def digests(folder: Path) -> dict[str, str]:
    """Name of each file -> hash of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return dict(zip(names, hashes, strict=True))


if __name__ == "__main__":
    sys.exit(main())
