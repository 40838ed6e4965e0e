"""Preparation: nothing lost, nothing done twice, the same bytes however it was run, every skipped
clip named."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ended import until_ended

from avsr.base.errors import AvsrError, MediaError
from avsr.preprocessing import reader
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip
from avsr.preprocessing.prepare import Summary, prepare
from avsr.preprocessing.shards import ShardIndex

# A stand-in for reading real media: what the "video" says decides what comes of it. It is also run
# as a script, whose worker processes import it again and so read the same way. More than MOST clips
# are not read before the test says GO_ON: who watches the run is never too late.
STAND_IN = """
import os, sys, time
import numpy as np
from avsr.preprocessing import reader
from avsr.preprocessing.clip import Clip
from avsr.base.errors import AvsrError
from avsr.preprocessing.prepare import prepare

def load_clip(path, *, id, face, text, speaker, crops, longest_s):
    what = path.read_text()
    with open(os.environ["LOADS"], "a+") as log:
        log.write(f"{id}\\n")
        log.seek(0)
        count = len(log.read().split())
    while count > int(os.environ["MOST"]) and not os.path.exists(os.environ["GO_ON"]):
        time.sleep(0.01)
    if what == "crash":
        os._exit(9)
    time.sleep(0.03)
    lips = np.full((3, 96, 96), sum(id.encode()) % 256, np.uint8)
    sound, present = np.zeros(3 * 640, np.float32), np.ones(3, bool)
    return Clip(id, sound, lips, present, present, text=text, speaker=speaker)

reader.load_clip = load_clip

if __name__ == "__main__":
    try:
        print(prepare("folder", sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), shard_clips=5))
    except AvsrError as error:
        sys.exit(f"error: {error}")
"""


def stand_in(
    path: str | Path,
    *,
    id: str,
    face: str | int,
    text: str | None,
    speaker: str | None,
    crops: str,
    longest_s: float,
) -> Clip:
    """Reads a text file such as `frames 5` as a clip, or fails as it says."""
    what, _, value = Path(path).read_text().partition(" ")
    if what == "broken":
        raise MediaError(f"{path}: not a media file")
    if what == "long":
        raise MediaError(f"4000 s long, at most {longest_s:.0f} s")
    if what == "decoder":
        raise RuntimeError("decoder lost its way")
    if what == "model":
        raise AvsrError("no face model: set AVSR_FACE_MODEL")
    if what == "bug":
        raise NameError("name 'dataclass' is not defined")
    frames = int(value) if what == "frames" else 4
    share = {"faceless": (1.0, 0.0), "silent": (0.0, 1.0), "hardly": (0.25, 0.25)}.get(
        what, (1.0, 1.0)
    )
    heard, seen = (np.arange(frames) < frames * part for part in share)
    lips = np.full((frames, CROP_SIZE, CROP_SIZE), sum(id.encode()) % 256, np.uint8)
    return Clip(
        id,
        np.zeros(frames * SAMPLES_PER_FRAME, np.float32),
        lips,
        heard,
        seen,
        text=text,
        speaker=speaker,
    )


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Puts the stand-in in place of real media; the list fills with the ids that were read."""
    ids: list[str] = []

    def load(path: str | Path, *, id: str, **more: object) -> Clip:
        ids.append(id)
        return stand_in(path, id=id, **more)

    monkeypatch.setattr(reader, "load_clip", load)
    return ids


def make_source(folder: Path, clips: dict[str, str]) -> Path:
    for name, content in clips.items():
        path = folder / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.with_suffix(".txt").write_text(f"text of {name}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_clips_arrive_whole_and_in_order(tmp_path: Path, reading: list[str]) -> None:
    src = make_source(tmp_path / "src", {f"anna/{i}": f"frames {i + 1}" for i in range(7)})
    seen: list[tuple[int, int, float]] = []
    summary = prepare(
        "folder",
        src,
        tmp_path / "dst",
        workers=0,
        shard_clips=3,
        progress=lambda *now: seen.append(now),
    )
    index = ShardIndex(tmp_path / "dst")
    assert [entry.id for entry in index.entries] == [f"anna/{i}" for i in range(7)]
    assert [entry.frames for entry in index.entries] == list(range(1, 8))
    clip = index.load(4)
    assert (clip.text, clip.speaker, clip.frames) == ("text of anna/4", "anna", 5)
    assert index.meta(4)["source"] == "anna/4.mp4"
    assert (summary.clips, summary.skipped, summary.resumed) == (7, 0, 0)
    assert seen[0] == (0, 7, 0.0)
    assert seen[-1] == (7, 7, pytest.approx(28 / 25))
    assert sorted(path.name for path in (tmp_path / "dst").iterdir()) == [
        "index.json", "shard-00000.tar", "shard-00001.tar", "shard-00002.tar",
    ]  # fmt: skip


def test_shards_say_which_crops_they_hold(tmp_path: Path, reading: list[str]) -> None:
    src = make_source(tmp_path / "src", {"anna/0": "frames 3"})
    prepare("folder", src, tmp_path / "research", workers=0, crops="research")
    prepare("folder", src, tmp_path / "own", workers=0)
    research, own = ShardIndex(tmp_path / "research"), ShardIndex(tmp_path / "own")
    assert (research.crops, own.crops) == ("research", "own")
    own.require_crops("own", "this model")
    with pytest.raises(AvsrError, match=r"'research' crops, and this model takes 'own'.*crops own"):
        research.require_crops("own", "this model")
    with pytest.raises(AvsrError, match=r"other settings .crops."):
        prepare("folder", src, tmp_path / "research", workers=0)
    with pytest.raises(AvsrError, match="'fan': must be one of own, research"):
        prepare("folder", src, tmp_path / "fan", workers=0, crops="fan")


def test_shards_of_versions_that_knew_no_other_crops_are_complete(
    tmp_path: Path, reading: list[str]
) -> None:
    src = make_source(tmp_path / "src", {"anna/0": "frames 3"})
    prepare("folder", src, tmp_path / "dst", workers=0)
    path = tmp_path / "dst" / "index.json"
    index = json.loads(path.read_text())
    del index["crops"], index["made_from"]["crops"]
    path.write_text(json.dumps(index))
    assert ShardIndex(tmp_path / "dst").crops == "own"
    assert prepare("folder", src, tmp_path / "dst", workers=0).already_done
    with pytest.raises(AvsrError, match=r"other settings .crops."):
        prepare("folder", src, tmp_path / "dst", workers=0, crops="research")


def test_every_skipped_clip_is_named_with_its_reason(tmp_path: Path, reading: list[str]) -> None:
    bad = {
        "broken": "not a media file",
        "decoder": "RuntimeError: decoder lost its way",
        "frames 0": "too short",
        "hardly": "a face in 25% of the frames and sound in 25%",
        "long": "4000 s long, at most 300 s",
    }
    src = make_source(
        tmp_path / "src",
        {what.split()[0]: what for what in bad} | {"faceless": "faceless", "z": "silent"},
    )
    (src / "textless.mp4").write_text("frames 3")
    summary = prepare("folder", src, tmp_path / "dst", workers=0, max_loss=0.9)
    index = ShardIndex(tmp_path / "dst")
    reasons = {row["source"]: row["reason"] for row in index.info["skipped"]}
    assert len(reasons) == len(bad) + 1
    for what, reason in bad.items():
        assert reason in reasons[f"{what.split()[0]}.mp4"]
    assert "textless.txt is not beside it" in reasons["textless.mp4"]
    assert not any(str(tmp_path) in reason for reason in reasons.values())
    # One modality is enough; the other is marked absent.
    assert [(entry.id, entry.audio_present, entry.video_present) for entry in index.entries] == [
        ("faceless", 1.0, 0.0),
        ("z", 0.0, 1.0),
    ]
    assert (summary.clips, summary.skipped, summary.without_video, summary.without_audio) == (
        2,
        6,
        1,
        1,
    )


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode here")
def test_word_times_that_go_on_after_the_recording_are_dropped(
    tmp_path: Path, reading: list[str]
) -> None:
    src = tmp_path / "src" / "anna"
    src.mkdir(parents=True)
    for name, end_s in (("early", 0.5), ("late", 90.0)):
        (src / f"{name}.mp4").write_text("frames 10")
        (src / f"{name}.txt").write_text("hello you")
        (src / f"{name}.words.json").write_text(
            json.dumps([["hello", 0.1, 0.2], ["you", 0.3, end_s]])
        )
    prepare("folder", tmp_path / "src", tmp_path / "dst", workers=0)
    index = ShardIndex(tmp_path / "dst")
    early, late = json.loads((tmp_path / "dst" / "index.json").read_text())["clips"]
    assert "note" not in early
    assert "end at 90 s, after the recording (0.40 s)" in late["note"]
    assert index.meta(0)["words"]
    assert index.meta(1)["words"] is None


def test_file_names_that_are_no_utf8_stop_nothing(tmp_path: Path, reading: list[str]) -> None:
    names = {
        os.fsdecode(b"caf\xe9"): "frames 2",
        os.fsdecode(b"th\xe9"): "broken",
        **dict.fromkeys("abcd", "frames 1"),
    }
    src = make_source(tmp_path / "src", {})
    for name, content in names.items():
        src.mkdir(exist_ok=True)
        (src / f"{name}.mp4").write_text(content)
        (src / f"{name}.txt").write_text("text")
    prepare("folder", src, tmp_path / "dst", workers=0)
    index = ShardIndex(tmp_path / "dst")
    assert [entry.id for entry in index.entries] == ["a", "b", "c", r"caf\udce9", "d"]
    assert index.load(3).frames == 2
    assert [row["source"] for row in index.info["skipped"]] == [r"th\udce9.mp4"]


def test_losing_too_much_fails_at_the_end_and_keeps_the_rest(
    tmp_path: Path, reading: list[str]
) -> None:
    src = make_source(
        tmp_path / "src", {"a": "frames 2", "b": "broken", "c": "broken", "d": "frames 2"}
    )
    for _ in range(2):  # the second time it is complete, and still not good
        with pytest.raises(
            AvsrError, match=r"2 of 4 clips were skipped \(50%; at most 20%"
        ) as caught:
            prepare("folder", src, tmp_path / "dst", workers=0)
        assert "\n" not in str(caught.value)
    assert [entry.id for entry in ShardIndex(tmp_path / "dst").entries] == ["a", "d"]
    assert prepare("folder", src, tmp_path / "dst", workers=0, max_loss=0.5).already_done


@pytest.mark.parametrize(("what", "kind"), [("model", AvsrError), ("bug", NameError)])
def test_trouble_that_would_hit_every_clip_stops_the_run(
    tmp_path: Path, reading: list[str], what: str, kind: type[Exception]
) -> None:
    src = make_source(tmp_path / "src", {"a": "frames 2", "b": what, "c": "frames 2"})
    with pytest.raises(kind):
        prepare("folder", src, tmp_path / "dst", workers=0)
    assert not (tmp_path / "dst" / "index.json").exists()
    src.joinpath("b.mp4").write_text("x" * len(what))  # mended, without changing its size
    summary = prepare("folder", src, tmp_path / "dst", workers=0)
    assert (summary.clips, summary.resumed) == (3, 1)
    assert reading == ["a", "b", "b", "c"]


def test_a_second_run_on_complete_shards_does_nothing(tmp_path: Path, reading: list[str]) -> None:
    src = make_source(tmp_path / "src", {"a": "frames 2", "b": "frames 3"})
    first = prepare("folder", src, tmp_path / "dst", workers=0)
    before, count = contents(tmp_path / "dst"), len(reading)
    (tmp_path / "dst" / "parts").mkdir()  # as after a kill between the index and the tidying up
    src.rename(tmp_path / "moved")  # where the corpus lies does not matter
    again = prepare("folder", tmp_path / "moved", tmp_path / "dst", workers=0)
    assert again.already_done
    assert "nothing to do" in str(again)
    assert (again.clips, again.hours) == (first.clips, first.hours)
    assert len(reading) == count
    assert contents(tmp_path / "dst") == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"counts": None}, "index.json: counts is missing"),
        ({"hours": None}, "index.json: hours is null"),
        ({"made_from": "x"}, "made from another source"),
        ({"schema": 5}, "index.json: schema 5"),
    ],
)
def test_a_damaged_index_in_the_destination_is_one_line(
    tmp_path: Path, reading: list[str], damage: dict, message: str
) -> None:
    src = make_source(tmp_path / "src", {"a": "frames 3"})
    prepare("folder", src, tmp_path / "dst", workers=0)
    path = tmp_path / "dst/index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(AvsrError, match=f"{message}.*; choose a new folder, or remove th"):
        prepare("folder", src, tmp_path / "dst", workers=0)


def test_shards_that_got_lost_are_not_complete(tmp_path: Path, reading: list[str]) -> None:
    src = make_source(tmp_path / "src", {f"{i}": "frames 3" for i in range(4)})
    prepare("folder", src, tmp_path / "dst", workers=0, shard_clips=2)
    shard = tmp_path / "dst/shard-00001.tar"
    shard.write_bytes(shard.read_bytes()[:2000])
    with pytest.raises(AvsrError, match=r"shard-00001\.tar: cut short; choose a new folder"):
        prepare("folder", src, tmp_path / "dst", workers=0, shard_clips=2)
    shard.unlink()
    with pytest.raises(AvsrError, match=r"shard-00001\.tar: missing; choose a new folder"):
        prepare("folder", src, tmp_path / "dst", workers=0, shard_clips=2)


def test_a_destination_of_something_else_is_refused(tmp_path: Path, reading: list[str]) -> None:
    src = make_source(tmp_path / "src", {"a": "frames 2", "b": "frames 3"})
    prepare("folder", src, tmp_path / "dst", workers=0)
    before = contents(tmp_path / "dst")
    with pytest.raises(AvsrError, match="shard_clips"):
        prepare("folder", src, tmp_path / "dst", workers=0, shard_clips=1)
    with pytest.raises(AvsrError, match="items, fingerprint"):
        prepare("folder", src, tmp_path / "dst", workers=0, limit=1)
    (src / "a.txt").write_text("another text")
    with pytest.raises(AvsrError, match=r"\(fingerprint\); choose a new folder"):
        prepare("folder", src, tmp_path / "dst", workers=0)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.json").write_text("[1, 2]")
    with pytest.raises(AvsrError, match="choose a new folder"):
        prepare("folder", src, tmp_path / "site", workers=0)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("meow")
    with pytest.raises(AvsrError, match=r"not empty \(cat\.jpg\)"):
        prepare("folder", src, tmp_path / "photos", workers=0)
    assert contents(tmp_path / "photos") == {"cat.jpg": b"meow"}
    assert contents(tmp_path / "dst") == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"workers": -1}, "workers is -1"),
        ({"limit": 0}, "limit is 0"),
        ({"shard_clips": 0}, "shard_clips is 0"),
        ({"max_loss": 2.0}, "max_loss is 2.0"),
    ],
)
def test_values_out_of_range_are_refused_before_any_work(
    tmp_path: Path, more: dict, message: str
) -> None:
    src = make_source(tmp_path / "src", {"a": "frames 2"})
    with pytest.raises(AvsrError, match=message):
        prepare("folder", src, tmp_path / "dst", **more)
    assert not (tmp_path / "dst").exists()


def test_a_disk_that_fills_up_at_any_write_is_one_line_and_loses_nothing(
    tmp_path: Path, reading: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    src = make_source(tmp_path / "src", {name: "frames 2" for name in "abcd"} | {"e": "broken"})
    prepare("folder", src, tmp_path / "whole", workers=0, shard_clips=2)
    reading.clear()
    sync, writes_left = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal writes_left
        if writes_left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        writes_left -= 1
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    lines: list[str] = []
    while True:
        writes_left = 1  # each attempt has room for one more file
        try:
            prepare("folder", src, tmp_path / "dst", workers=0, shard_clips=2)
            break
        except AvsrError as error:
            lines.append(str(error))
        assert not list((tmp_path / "dst").rglob("*.tmp"))
        assert len(lines) < 20
    assert len(lines) > 5
    assert all("No space left on device" in line and "\n" not in line for line in lines)
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole")


# -------------------------------------------------------------------------------- several processes


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "stand_in.py"
    path.write_text(textwrap.dedent(STAND_IN))
    return path


def start(
    script: Path, src: Path, dst: Path, workers: int, log: Path, most: int = 1000
) -> subprocess.Popen[str]:
    """A run that has read `most` clips, by its log, at the most, until `go_on` says otherwise."""
    environment = os.environ | {"LOADS": str(log), "OMP_NUM_THREADS": "1"}
    environment |= {"MOST": str(most), "GO_ON": str(log.with_suffix(".go"))}
    command = [sys.executable, str(script), str(src), str(dst), str(workers)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def go_on(log: Path) -> None:
    log.with_suffix(".go").touch()


def until_it_has_read(count: int, run: subprocess.Popen, log: Path) -> None:
    while len(log.read_text().split()) < count:
        assert run.poll() is None, "the run ended too early"
        time.sleep(0.005)


def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path, script: Path) -> None:
    src = make_source(tmp_path / "src", {f"anna/{i:02}": "x" for i in range(23)})
    whole = start(script, src, tmp_path / "whole", 3, tmp_path / "log_whole")
    assert "23 clips" in whole.communicate(timeout=120)[0]
    log, dst = tmp_path / "log", tmp_path / "dst"
    log.touch()
    kills = 0
    for more in (1, 5, 4, 6):
        goal = len(log.read_text().split()) + more
        run = start(script, src, dst, 1 + kills % 2, log, most=goal)
        until_it_has_read(goal, run, log)
        run.send_signal(signal.SIGKILL)
        run.communicate()  # returns once no process holds its pipes any more
        kills += 1
        assert not (dst / "index.json").exists()
        # what a kill while writing leaves
        (dst / "shard-00000.tar.123.tmp").write_text("half a shard")
    last = start(script, src, dst, 2, log)
    assert "23 clips" in last.communicate(timeout=120)[0]
    assert contents(dst) == contents(tmp_path / "whole")
    loads = Counter(log.read_text().split())
    assert len(loads) == 23
    # no more than what each process was at when it was killed
    assert sum(loads.values()) <= 23 + 2 * kills


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds workers by /proc")
def test_killed_workers_cost_nothing(tmp_path: Path, script: Path) -> None:
    src = make_source(tmp_path / "src", {f"anna/{i:02}": "x" for i in range(23)})
    whole = start(script, src, tmp_path / "whole", 0, tmp_path / "log_whole")
    assert "23 clips" in whole.communicate(timeout=120)[0]
    log = tmp_path / "log"
    log.touch()
    run = start(script, src, tmp_path / "dst", 2, log, most=14)
    for goal in (3, 12):
        until_it_has_read(goal, run, log)
        for worker in workers_of(run.pid)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    go_on(log)
    output, errors = run.communicate(timeout=120)
    assert "23 clips" in output, errors
    assert contents(tmp_path / "dst") == contents(tmp_path / "whole")


def workers_of(pid: int) -> list[int]:
    """The processes that do a run's work; multiprocessing's own helpers are none."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command:
                found.append(int(child))
    return found


def test_no_worker_outlives_a_killed_run(tmp_path: Path, script: Path) -> None:
    src = make_source(tmp_path / "src", {f"{i:03}": "x" for i in range(400)})
    log = tmp_path / "log"
    log.touch()
    run = start(script, src, tmp_path / "dst", 2, log)
    until_it_has_read(1, run, log)
    workers = workers_of(run.pid)
    run.send_signal(signal.SIGKILL)
    until_ended(workers)
    assert len(log.read_text().split()) < 400
    run.communicate()


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path, script: Path) -> None:
    src = make_source(tmp_path / "src", {f"{i:02}": "x" for i in range(6)})
    log = tmp_path / "log"
    log.touch()
    first = start(script, src, tmp_path / "dst", 1, log, most=1)
    until_it_has_read(1, first, log)
    second = start(script, src, tmp_path / "dst", 1, log)
    assert "another run is preparing it" in second.communicate(timeout=120)[1]
    assert second.returncode == 1
    go_on(log)
    assert "6 clips" in first.communicate(timeout=120)[0]


def test_a_file_that_kills_its_process_is_skipped_by_name(tmp_path: Path, script: Path) -> None:
    src = make_source(tmp_path / "src", {f"{i:02}": "crash" if i == 4 else "x" for i in range(12)})
    log = tmp_path / "log"
    output, errors = start(script, src, tmp_path / "dst", 2, log).communicate(timeout=120)
    assert "11 clips" in output, errors
    index = ShardIndex(tmp_path / "dst")
    (skipped,) = index.info["skipped"]
    assert skipped["source"] == "04.mp4"
    assert "killed the process" in skipped["reason"]
    assert len(index) == 11
    assert [index.load(i).id for i in (0, 4, 10)] == ["00", "05", "11"]


def test_without_a_main_guard_it_says_so(tmp_path: Path) -> None:
    src = make_source(tmp_path / "src", {"a": "x"})
    script = tmp_path / "bare.py"
    script.write_text(
        f"from avsr.preprocessing.prepare import prepare\nprepare('folder', {str(src)!r}, "
        f"{str(tmp_path / 'dst')!r})\n"
    )
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert "worker processes do not start" in run.stderr
    assert run.returncode == 1


def test_real_clips_from_grid(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    summary = prepare("grid", shared / "data" / "grid", tmp_path / "dst", workers=2, limit=2)
    assert isinstance(summary, Summary)
    index = ShardIndex(tmp_path / "dst")
    assert [entry.id for entry in index.entries] == ["s1_bbaf2n", "s1_bbaf3s"]
    clip, meta = index.load(0), index.meta(0)
    assert clip.text == "bin blue at f two now"
    assert clip.frames == 75
    assert clip.video_present.mean() > 0.95
    assert clip.audio_present.mean() > 0.95
    assert clip.audio.std() > 0.01
    assert 0.5 < meta["crop"]["scale_median"] < 2
    assert meta["words"][0] == ["bin", 0.95, 1.18]
    assert json.dumps(index.info["skipped"]) == "[]"


def test_damaged_real_clips_are_masked_or_named(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    speaker = tmp_path / "grid" / "s1"
    speaker.mkdir(parents=True)
    speaker.joinpath("lrarzn.mp4").write_bytes((shared / "data/grid/s1/lrarzn.mp4").read_bytes())
    speaker.joinpath("bbaf2n.mp4").write_text("this is no video")
    speaker.joinpath("bbaf3s.mp4").touch()
    summary = prepare("grid", tmp_path / "grid", tmp_path / "dst", workers=0, max_loss=0.7)
    assert (summary.clips, summary.skipped) == (1, 2)
    index = ShardIndex(tmp_path / "dst")
    clip = index.load(0)
    # its first key picture is lost: grey until the next one
    assert not clip.video_present[:8].any()
    assert clip.video_present[12:].all()
    assert clip.audio_present.all()
    reasons = {row["source"]: row["reason"] for row in index.info["skipped"]}
    assert set(reasons) == {"s1/bbaf2n.mp4", "s1/bbaf3s.mp4"}
    assert all(reason and "Error:" not in reason for reason in reasons.values()), reasons
