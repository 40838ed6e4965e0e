"""What a whole call of `avsr transcribe` costs, from the start of the process to the written file,
stage by stage.

Every call runs in a fresh process, as a user's does: what is imported and loaded counts. Stages are
timed by wrapping the functions that do them, so the program itself knows nothing of it. They run in
two threads beside each other, so their sum may be more than the call took.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.processes.machine import peak_memory_mb
from avsr.base.processes.signals import kept_from_children
from avsr.eval.metrics.text import Table

STAGES = (
    "start-up",  # interpreter, imports, the model's weights
    "opening",
    "decoding",
    "landmarks",
    "crops",
    "speech",  # where somebody speaks, and whether lips and sound are synchronised
    "network",
    "decoding to words",  # search and alignment
    "writing",
)
LENGTHS_S = (3, 60)
LONG_S = 600
TIMEOUT_S = 3600
# between two rounds of a clip: coders of sound begin a little before their first sample
PAUSE_S = 0.12
# environment: when the process was asked for, seconds since the epoch
STARTED = "AVSR_BENCH_STARTED"


@dataclass(frozen=True)
class Call:
    """One call of the command.

    Attributes:
        media_s: seconds of media.
        lips: whether lips were read; otherwise sound alone.
        busy: whether another process kept a core busy.
        seconds: from the start of the process to its end.
        cpu_s: seconds of processor time, all threads together.
        peak_mb: largest memory of the process, MB.
        stages: name of STAGES -> seconds.
    """

    media_s: float
    lips: bool
    busy: bool
    seconds: float
    cpu_s: float
    peak_mb: float
    stages: dict[str, float]


def time_calls(
    clip: Path,
    folder: Path,
    *,
    long: bool = False,
    model: str = "default",
    tell: Callable[[str], None] | None = None,
) -> list[Call]:
    """Times calls on a short clip repeated to several lengths, on a free machine and beside one
    busy core.

    Args:
        clip: a video of a few seconds with sound.
        folder: for the files, removed by the caller.
        long: ten minutes too.
        model: name or path.
        tell: told what is timed next.

    Raises:
        AvsrError: a call fails.
    """
    files = {length: repeat(clip, folder / f"{length}s.mp4", length) for length in _lengths(long)}
    calls = []
    for busy in (False, True):
        with one_core_busy() if busy else contextlib.nullcontext():
            for length, file in files.items():
                for lips in (True, False):
                    if tell is not None:
                        beside = ", one core busy" if busy else ""
                        tell(f"call: {length} s, {'with lips' if lips else 'sound only'}{beside}")
                    calls.append(_time_call(file, length, lips, busy, model))
    return calls


def _lengths(long: bool) -> tuple[int, ...]:
    return (*LENGTHS_S, LONG_S) if long else LENGTHS_S


def to_markdown(calls: list[Call]) -> str:
    """A table with a line for each call."""
    head = ["media", "uses", "machine", "seconds", "x real time", "CPU s", "peak MB", *STAGES]
    rows = []
    for call in calls:
        what = [
            f"{call.media_s:.0f} s",
            "lips and sound" if call.lips else "sound",
            "one core busy" if call.busy else "free",
        ]
        cost = [
            f"{call.seconds:.1f}",
            f"{call.media_s / call.seconds:.1f}",
            f"{call.cpu_s:.1f}",
            f"{call.peak_mb:,.0f}",
        ]
        stages = [f"{call.stages.get(stage, 0.0):.2f}" for stage in STAGES]
        rows.append([*what, *cost, *stages])
    return Table(head, rows).to_markdown()


def repeat(clip: Path, target: Path, seconds: float) -> Path:
    """Writes the clip's packets again and again, without coding them anew, until the file is long
    enough.

    Args:
        clip: a media file.
        target: the file to write.
        seconds: how long it shall be at least.
    """
    import av

    with av.open(str(clip)) as source, av.open(str(target), "w") as out:
        length_s = float(source.duration or 0) / av.time_base
        if length_s <= 0:
            raise AvsrError(f"{clip}: says nothing of its duration: give another clip")
        length_s += PAUSE_S
        # All streams come before the first packet, which writes the header.
        streams = [out.add_stream_from_template(stream) for stream in source.streams]
        for turn in range(max(1, round(seconds / length_s))):
            source.seek(0)
            for packet in source.demux():
                if packet.dts is None or packet.pts is None:
                    continue
                shift = round(turn * length_s / packet.time_base)
                packet.dts += shift
                packet.pts += shift
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return target


@contextlib.contextmanager
def one_core_busy() -> Iterator[None]:
    """Keeps one core at work, at most as long as this process lives."""
    works = f"import os\nwhile os.getppid() == {os.getpid()}: pass"
    with kept_from_children():
        worker = subprocess.Popen([sys.executable, "-c", works])
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


def _time_call(file: Path, media_s: float, lips: bool, busy: bool, model: str) -> Call:
    out = file.parent / "out"
    out.mkdir(exist_ok=True)
    modality = "auto" if lips else "audio"
    command = [
        sys.executable,
        "-m",
        "avsr.eval.metrics.cost.calls",
        str(file),
        modality,
        model,
        str(out),
    ]
    begin = time.time()
    done = subprocess.run(
        command,
        env=os.environ | {STARTED: repr(begin)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    seconds = time.time() - begin
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AvsrError(f"{file.name}: the call that was to be timed failed: {last}")
    told = json.loads(done.stdout.splitlines()[-1])
    return Call(media_s, lips, busy, seconds, told["cpu_s"], told["peak_mb"], told["stages"])


# ------------------------------------------------------------------------ the process that is timed


class StageClock:
    """Seconds spent in each stage, over all threads; a stage within a stage counts for itself
    alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._open = threading.local()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the time within it."""
        stack = self._open.__dict__.setdefault("stack", [])
        begin = time.perf_counter()
        stack.append(0.0)
        try:
            yield
        finally:
            taken = time.perf_counter() - begin
            inner = stack.pop()
            with self._lock:
                self.seconds[name] += taken - inner
            if stack:
                stack[-1] += taken

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """Counts every call of a function or method."""
        original = getattr(owner, attribute)

        def timed(*args: Any, **options: Any) -> Any:
            with self.stage(name):
                return original(*args, **options)

        setattr(owner, attribute, timed)

    def wrap_iterator(self, owner: Any, attribute: str, name: str) -> None:
        """Counts the steps of the iterator that a method returns."""
        original = getattr(owner, attribute)

        def timed(*args: Any, **options: Any) -> Iterator[Any]:
            items = original(*args, **options)
            while True:
                with self.stage(name):
                    item = next(items, self)
                if item is self:
                    return
                yield item

        setattr(owner, attribute, timed)


def main(file: str, modality: str, model: str, out: str) -> None:
    """One call as `avsr transcribe FILE -o DIR -f json` makes it, and a line of JSON about its
    stages."""
    clock = StageClock()
    from avsr.recognisers.ours import NetworkRecogniser
    from avsr.transcribing.transcribe import load_model
    from avsr.transcribing.writers import write

    recogniser = load_model(model)
    clock.seconds["start-up"] = time.time() - float(os.environ[STARTED])

    from avsr.decoding import alignment, language
    from avsr.preprocessing.faces import lips
    from avsr.preprocessing.media import streams, ticks
    from avsr.transcribing.synchronising import synchroniser

    clock.wrap(streams, "open_media", "opening")
    clock.wrap_iterator(streams.Media, "pieces", "decoding")
    clock.wrap(ticks.Picture, "rgb", "decoding")
    clock.wrap(lips, "warp_mouth", "crops")
    if isinstance(recogniser, NetworkRecogniser):
        clock.wrap(type(recogniser.model), "forward", "network")
    else:
        clock.wrap(recogniser, "recognise", "network")
    clock.wrap(language.Decoding, "ids", "decoding to words")
    clock.wrap(alignment, "forced_align_batch", "decoding to words")
    clock.wrap(synchroniser.Synchroniser, "_look", "speech")
    clock.wrap(recogniser, "activity", "speech")
    if modality != "audio":
        from avsr.preprocessing.faces import face_tracks

        clock.wrap(face_tracks.FaceTracker, "add", "landmarks")
    transcript = recogniser.transcribe(file, modality=modality)
    with clock.stage("writing"):
        write(transcript, Path(out) / "transcript.json")
    print(
        json.dumps(
            {"stages": clock.seconds, "cpu_s": time.process_time(), "peak_mb": peak_memory_mb()}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
