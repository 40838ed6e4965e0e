"""Clips of shards behind a URL, in any order: each shard is fetched once, and little is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.preprocessing import remote
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardIndex, ShardWriter

CLIPS, SHARD_CLIPS = 6, 2
SHARDS = [f"/shard-{number:05d}.tar" for number in range(CLIPS // SHARD_CLIPS)]


class _Counting(SimpleHTTPRequestHandler):
    """Counts the answers with a content, and cuts off those of `broken` that are the first."""

    answers: ClassVar[Counter[str]] = Counter()
    broken: ClassVar[set[str]] = set()

    def copyfile(self, source, outputfile) -> None:
        self.answers[self.path] += 1
        content = source.read()
        cut = self.path in self.broken and self.answers[self.path] == 1
        outputfile.write(content[: len(content) // 2] if cut else content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with ShardWriter(tmp_path / "mine", SHARD_CLIPS) as writer:
        for number in range(CLIPS):
            frames = 2 + number
            lips = np.full((frames, 96, 96), 40 * number, np.uint8)
            there = np.ones(frames, bool)
            sound = np.zeros(640 * frames, np.float32)
            writer.add(Clip(f"anna/{number}", sound, lips, there, there, text="hello"))
    return tmp_path / "mine"


@pytest.fixture
def url(
    folder: Path, serve: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("AVSR_SHARDS", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    _Counting.answers.clear()
    _Counting.broken.clear()
    return serve(folder, _Counting)


def kept(folder: Path) -> list[str]:
    """The shards that are on this machine."""
    return sorted(f"/{path.name}" for path in (folder.parent / "cache").glob("*/*"))


def test_clips_in_any_order_and_whoever_reads_them_take_each_shard_over_the_network_once(
    folder: Path, url: str
) -> None:
    index, alone = ShardIndex(url), ShardIndex(folder)
    assert kept(folder) == []
    for number in (5, 0, 3, 1, 4, 2):
        np.testing.assert_array_equal(index.load(number).lips, alone.load(number).lips)
        assert index.meta(number) == alone.meta(number)
        assert len(index.audio(number)) == alone.entries[number].frames * 640
    again = ShardIndex(url)
    with ThreadPoolExecutor(4) as hands:
        assert len(list(hands.map(again.load, range(CLIPS)))) == CLIPS
    assert [_Counting.answers[shard] for shard in SHARDS] == [1, 1, 1]


def test_several_who_want_a_shard_at_once_wait_for_one_to_fetch_it(url: str) -> None:
    places = [ShardIndex(url) for _ in range(4)]
    with ThreadPoolExecutor(4) as hands:
        assert {clip.id for clip in hands.map(lambda index: index.load(0), places)} == {"anna/0"}
    assert _Counting.answers[SHARDS[0]] == 1


def test_no_more_is_kept_than_there_is_room_for(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = max(path.stat().st_size for path in folder.glob("*.tar"))
    monkeypatch.setenv("AVSR_SHARDS_GB", str(2.2 * most / 1e9))
    index = ShardIndex(url)
    for number in (0, 2, 0, 4):  # the second shard was not used for longest
        index.load(number)
    assert kept(folder) == [SHARDS[0], SHARDS[2]]
    monkeypatch.setenv("AVSR_SHARDS_GB", "0")
    assert index.load(3).id == "anna/3"
    assert kept(folder) == [SHARDS[1]]
    monkeypatch.setenv("AVSR_SHARDS_GB", "much")
    with pytest.raises(AvsrError, match="AVSR_SHARDS_GB='much': must be a number of GB"):
        index.load(5)


def test_what_another_process_is_fetching_stays_and_what_a_killed_one_left_goes(
    folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filelock = pytest.importorskip("filelock")
    monkeypatch.setenv("AVSR_SHARDS_GB", "0")
    cache = folder.parent / "cache"
    fetching, left = (cache / name / "shard-00000.tar.123.tmp" for name in ("other", "dead"))
    for part in (fetching, left):
        part.parent.mkdir(parents=True)
        part.write_bytes(b"half")
    with filelock.FileLock(cache / "other.lock"):
        assert ShardIndex(url).load(0).id == "anna/0"
        assert (fetching.exists(), left.exists()) == (True, False)
    assert ShardIndex(url).load(2).id == "anna/2"
    assert not fetching.exists()


def test_shards_that_changed_are_fetched_anew(folder: Path, url: str) -> None:
    assert ShardIndex(url).load(0).text == "hello"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with ShardWriter(folder) as writer:
        there = np.ones(2, bool)
        lips = np.zeros((2, 96, 96), np.uint8)
        writer.add(Clip("anna/0", np.zeros(1280, np.float32), lips, there, there, text="other"))
    assert ShardIndex(url).load(0).text == "other"


def test_a_connection_that_breaks_is_taken_up_again(url: str) -> None:
    _Counting.broken.update(SHARDS)
    assert ShardIndex(url).load(5).id == "anna/5"
    assert _Counting.answers[SHARDS[2]] == 2


def test_a_shard_that_is_not_there_is_one_line_that_names_it(folder: Path, url: str) -> None:
    index = ShardIndex(url)
    (folder / "shard-00001.tar").unlink()
    with pytest.raises(AvsrError, match=r"shard-00001\.tar: cannot read clip 'anna/2' .*not there"):
        index.load(2)


def test_a_server_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT_S", 0.0)
    with pytest.raises(AvsrError, match=r"no index\.json to read .*Cannot connect") as caught:
        ShardIndex("http://127.0.0.1:9/mine")
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("see that the place is right and can be read from here")
