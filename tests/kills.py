"""Measures what kills at random moments do to a command: nothing, it should be.

    python tests/kills.py --kills 20 --seed 0 -- prepare grid path/to/grid {out} --workers 2
    python tests/kills.py --compare '*.safetensors' -- train toy.toml --out {out} --resume
    python tests/kills.py --compare '*.jsonl' --ignore '"seconds.*?,' -- evaluate m d --out {out}

The command of avsr runs once undisturbed. Then it runs again, and at random moments it is killed
(SIGKILL), interrupted (SIGINT), terminated (SIGTERM), or one of its processes is killed: workers,
ranks, Ray's actors and Ray's own. A command that ended so is started again at once. In the end the
files of both are compared, byte by byte. Linux only: processes are found by /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

VICTIMS = ("kill", "interrupt", "terminate", "worker")
SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}
UNTOLD = ("Traceback", "Fatal Python error", "core dumped")  # what nobody may get to read
HELPERS = (b"resource_tracker", b"forkserver")  # multiprocessing's own, which do no work


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--victims", default=",".join(VICTIMS), help="some of them, comma between")
    parser.add_argument("--shortest-s", type=float, default=0.0, help="until the next kill")
    parser.add_argument("--longest-s", type=float, default=8.0, help="until the next kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", action="append", help="names of files; all by default")
    parser.add_argument("--ignore", default="", help="what may differ in files, an expression")
    parser.add_argument("--keep", type=Path, help="folder for the outputs, which then stay")
    parser.add_argument("command", nargs="+", help="of avsr; {out} stands for its output")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        whole = Run(asked.command, folder / "whole")
        if whole.process.wait():
            print(f"undisturbed it fails: {whole.last_words()}")
            return 1
        whole_s = time.monotonic() - began
        told = disturb(asked, folder / "killed")
        names = asked.compare or ["*"]
        both = (digests(folder / out, names, asked.ignore) for out in ("whole", "killed"))
        same = same_files(*both)
    print(f"undisturbed {whole_s:.0f} s; {told}; the same bytes: {same}")
    return 0 if same and told.well else 1


class Run:
    """A command that runs, and what it said on standard error."""

    def __init__(self, command: list[str], out: Path) -> None:
        self.words = tempfile.TemporaryFile("w+")  # noqa: SIM115  # as long as the run
        filled = [word.replace("{out}", str(out)) for word in command]
        python = [sys.executable, "-m", "avsr"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": self.words}
        self.process = subprocess.Popen([*python, *filled], start_new_session=True, **quiet)

    def last_words(self) -> str:
        self.words.seek(0)
        said = self.words.read()
        if any(word in said for word in UNTOLD):
            return said
        return said.strip().rpartition("\n")[2]


class Told:
    """What came of the kills."""

    def __init__(self) -> None:
        self.kills: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.starts = 0
        self.well = True

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {name}" for name, count in sorted(self.kills.items()))
        ends = "".join(f"\n    {count} x {end}" for end, count in sorted(self.ends.items()))
        total = sum(self.kills.values())
        return f"{total} kills ({kills}) over {self.starts} starts, which ended{ends}\n"


def disturb(asked: argparse.Namespace, out: Path) -> Told:
    """Runs the command until it ends well, with so many kills before."""
    rng = random.Random(asked.seed)
    told = Told()
    while True:
        run = Run(asked.command, out)
        told.starts += 1
        while sum(told.kills.values()) < asked.kills:
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.process.wait(rng.uniform(asked.shortest_s, asked.longest_s))
                break
            victim = rng.choice(asked.victims.split(","))
            others = list(workers_of(run.process.pid))
            if victim != "worker":
                told.kills[victim] += 1
                run.process.send_signal(SIGNALS[victim])
                run.process.wait(120)
                break
            if others:
                chosen = rng.choice(others)
                told.kills[f"worker {name_of(chosen)}"] += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chosen, signal.SIGKILL)
        status = run.process.wait()
        words = run.last_words()
        told.ends[f"{status}: {words}"] += 1
        told.well &= not any(word in words for word in UNTOLD)
        if status == 0:
            return told
        if sum(told.kills.values()) >= asked.kills and told.starts > asked.kills + 3:
            told.well = False
            return told


def workers_of(pid: int) -> Iterator[int]:
    """The processes of a run that do its work, children of children too."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if not any(name in command for name in HELPERS):
                yield int(child)
            yield from workers_of(int(child))


def name_of(pid: int) -> str:
    """What a process calls itself."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "gone"


def digests(folder: Path, names: list[str], ignored: str = "") -> dict[str, str]:
    """Name of each file -> hash of its content but for what is ignored."""
    found = {}
    for path in sorted({path for name in names for path in folder.rglob(name) if path.is_file()}):
        content = path.read_bytes()
        if ignored:
            content = re.sub(ignored.encode(), b"", content)
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def same_files(whole: dict[str, str], killed: dict[str, str]) -> bool:
    """Whether two outputs are the same; says what differs."""
    for name in sorted(whole.keys() | killed.keys()):
        if name not in killed:
            print(f"{name}: lost")
        elif name not in whole:
            print(f"{name}: too much")
        elif whole[name] != killed[name]:
            print(f"{name}: other bytes")
    return bool(whole) and whole == killed


if __name__ == "__main__":
    sys.exit(main())
