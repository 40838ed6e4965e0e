"""Preparation elsewhere: object storage, and the actors of a Ray cluster. The same bytes as in a
folder by processes."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError, UsageError
from avsr.preprocessing.prepare import prepare
from avsr.preprocessing.preparing.store import open_store
from avsr.preprocessing.shards import ShardIndex

fsspec = pytest.importorskip("fsspec", reason="object storage needs the extra train")

CLIPS = 7


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short sounds with their texts, one of which is none."""
    src = tmp_path_factory.mktemp("source")
    for number in range(CLIPS):
        sound = np.sin(np.arange(3200 * (number + 1)) / (5 + number)) * 0.3
        soundfile.write(src / f"{number}.wav", sound, 16_000)
        (src / f"{number}.txt").write_text(f"text {number}")
    (src / "3.wav").write_text("no sound")
    return src


@pytest.fixture(scope="module")
def by_processes(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What processes of this machine make of it."""
    dst = tmp_path_factory.mktemp("whole") / "dst"
    prepare("folder", source, dst, workers=0, shard_clips=2)
    return {path.name: path.read_bytes() for path in dst.iterdir()}


@pytest.fixture
def memory() -> Iterator[str]:
    files = fsspec.filesystem("memory")
    yield "memory://bucket/shards"
    files.rm("/bucket", recursive=True)


def objects(url: str) -> dict[str, bytes]:
    store = open_store(url)
    return {name: store.read(name) for name in store.names()}


@pytest.mark.parametrize("workers", [0, 2])
def test_object_storage_gets_the_same_bytes(
    source: Path, by_processes: dict[str, bytes], memory: str, workers: int
) -> None:
    prepare("folder", source, memory, workers=workers, shard_clips=2)
    assert objects(memory) == by_processes
    index = ShardIndex(memory)
    assert [index.load(i).text for i in (0, 5)] == ["text 0", "text 6"]
    assert prepare("folder", source, memory, workers=0, shard_clips=2).already_done


def test_object_storage_goes_on_where_a_run_broke_off(
    source: Path, by_processes: dict[str, bytes], memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, writes = open_store(memory), 0
    first = type(store).write

    def fails(self: object, name: str, chunks: list[bytes]) -> None:
        nonlocal writes
        writes += 1
        if writes % 4 == 0:
            raise OSError(5, "the network is gone")
        first(self, name, chunks)  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "write", fails)
    tries = 0
    while True:
        tries += 1
        try:
            summary = prepare("folder", source, memory, workers=0, shard_clips=2)
            break
        except AvsrError as error:
            assert "the network is gone" in str(error)  # noqa: PT017
    assert 1 < tries < 10
    assert summary.resumed > 0
    assert objects(memory) == by_processes


def test_file_urls_are_folders(
    source: Path, by_processes: dict[str, bytes], tmp_path: Path
) -> None:
    prepare("folder", source, f"file://{tmp_path}/dst", workers=0, shard_clips=2)
    found = {path.name: path.read_bytes() for path in (tmp_path / "dst").iterdir()}
    assert found == by_processes


def test_places_that_cannot_be_written_are_one_line(source: Path) -> None:
    with pytest.raises(AvsrError, match="cannot open such a URL"):
        prepare("folder", source, "nowhere://bucket/a", workers=0)
    with pytest.raises(UsageError, match="engine 'spark': must be one of local, ray"):
        prepare("folder", source, "a", engine="spark")


# --------------------------------------------------------------------------------------------- Ray


@pytest.fixture(scope="module")
def ray(skip_where_ray_did_not_start: Callable[[object], None]) -> Iterator[object]:
    """A cluster of two CPUs on this machine."""
    found = pytest.importorskip("ray", reason="needs the extra cluster")
    try:
        found.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    except Exception as error:  # it raises no other
        skip_where_ray_did_not_start(error)
        raise
    yield found
    found.shutdown()


@pytest.mark.slow
def test_ray_writes_the_same_bytes(
    source: Path,
    by_processes: dict[str, bytes],
    tmp_path: Path,
    memory: str,
    ray: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(source.parent)  # where no actor was started
    source = Path(source.name)
    for dst in (str(tmp_path / "dst"), memory):
        summary = prepare("folder", source, dst, engine="ray", workers=2, shard_clips=2)
        assert (summary.clips, summary.skipped) == (CLIPS - 1, 1)
        assert objects(dst) == by_processes


def kill_once(marker: Path, job: int) -> int:
    """Kills its process at job 3, for the first time, and always at job 5."""
    if job == 5 or (job == 3 and not marker.exists()):
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if job == 7:
        raise AvsrError("something that concerns all jobs")
    return job * job


@pytest.mark.slow
def test_ray_tries_jobs_of_dead_actors_again_and_gives_up_the_deadly(
    tmp_path: Path, ray: object
) -> None:
    from avsr.base.processes.cluster import work_off

    done: dict[int, int] = {}
    crashed: list[int] = []
    task = partial(kill_once, tmp_path / "marker")
    work_off(deque(range(7)), task, 2, done.__setitem__, crashed.append)
    assert done == {job: job * job for job in range(7) if job != 5}
    assert crashed == [5]
    with pytest.raises(AvsrError, match="something that concerns all jobs"):
        work_off(deque([7]), task, 1, done.__setitem__, crashed.append)


class Elsewhere:
    """A task of a module that is on this machine alone."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return __import__, ("on_this_machine_alone",)

    def __call__(self, job: int) -> int:
        return job


@pytest.mark.slow
def test_actors_that_cannot_begin_are_no_fault_of_the_jobs(ray: object) -> None:
    from avsr.base.processes.cluster import work_off

    crashed: list[int] = []
    with pytest.raises(AvsrError, match=r"^actors of Ray cannot begin \(.*on_this_machine_alone"):
        work_off(deque([1]), Elsewhere(), 1, lambda *_: None, crashed.append)
    assert crashed == []
