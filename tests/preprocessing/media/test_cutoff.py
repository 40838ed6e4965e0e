"""A recording that was cut off gives what it holds and a line that says so; a whole one gives no
line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from avsr.base.errors import MediaError
from avsr.preprocessing.media import streams

X264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", 25]
FILMS = {
    "front.mp4": [*X264, "-c:a", "aac", "-movflags", "faststart"],
    "front.mov": [*X264, "-c:a", "aac", "-movflags", "faststart"],
    "fragments.mp4": [*X264, "-c:a", "aac", "-movflags", "frag_keyframe+empty_moov"],
    "film.mkv": [*X264, "-c:a", "aac"],
    "film.webm": ["-c:v", "libvpx", "-cpu-used", 8, "-c:a", "libopus"],
    "film.avi": ["-c:v", "mpeg4", "-c:a", "libmp3lame"],
    "film.mpg": ["-c:v", "mpeg1video", "-c:a", "mp2"],
    "film.ts": [*X264, "-c:a", "aac"],
    "live.mkv": [*X264, "-c:a", "aac", "-live", 1],
    "live.webm": ["-c:v", "libvpx", "-cpu-used", 8, "-c:a", "libopus", "-live", 1],
    "film.flv": [*X264, "-c:a", "aac"],
    "film.wmv": ["-c:v", "wmv2", "-c:a", "wmav2"],
}
SOUNDS = {
    "sound.wav": [],
    "float.wav": ["-c:a", "pcm_f32le"],
    "adpcm.wav": ["-c:a", "adpcm_ima_wav"],
    "large.wav": ["-rf64", "always"],
    "sound.aiff": [],
    "sound.au": [],
    "sound.mp3": [],
    "varying.mp3": ["-q:a", 5],
    "sound.flac": [],
    "sound.ogg": ["-c:a", "libvorbis"],
    "sound.opus": ["-c:a", "libopus"],
    "sound.m4a": ["-movflags", "faststart"],
    "sound.wma": [],
    "sound.wv": [],
    "sound.caf": [],
    "sound.w64": [],
}
ONLY_WHOLE = {  # nothing in them says how long they were
    "sound.aac": [],
    "sound.mp2": [],
    "plain.mp3": ["-q:a", 5, "-write_xing", 0],
}
UNKNOWN = {"fragments.mp4", "film.mpg", "film.ts", "sound.ogg", "sound.opus"}
UNKNOWN |= {"live.mkv", "live.webm"}  # only that something is missing
SECONDS = 12
PICTURE = ["-f", "lavfi", "-i", f"testsrc=size=96x64:rate=25:duration={SECONDS}"]
SOUND = [
    "-f",
    "lavfi",
    "-i",
    f"aevalsrc=0.3*sin(900*t+20*sin(3*t))*(0.6+0.4*sin(7*t)):s=44100:d={SECONDS}",
]


@pytest.fixture
def make(ffmpeg: str, tmp_path: Path):
    def run(name: str) -> Path:
        sources = (
            [*PICTURE, *SOUND, *FILMS[name]]
            if name in FILMS
            else [*SOUND, *(SOUNDS | ONLY_WHOLE)[name]]
        )
        path = tmp_path / name
        subprocess.run([ffmpeg, "-v", "error", *map(str, sources), path], check=True)
        return path

    return run


def told(path: Path, **wanted: bool) -> tuple[float, list[str]]:
    """Seconds that were delivered, and the lines about the end of the file."""
    with streams.open_media(path) as opened:
        frames = sum(len(piece) for piece in opened.pieces(**wanted))
        return frames / 25, [line for line in opened.warnings if "cut off" in line]


@pytest.mark.parametrize("name", [*FILMS, *SOUNDS])
def test_a_cut_off_recording_says_so(make, name: str) -> None:
    path = make(name)
    assert told(path) == (pytest.approx(SECONDS, abs=0.2), [])  # whole: no line
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3 + 1])
    seconds, lines = told(path)
    assert 0.15 * SECONDS < seconds < 0.6 * SECONDS
    assert len(lines) == 1
    if name not in UNKNOWN:
        assert lines[0].endswith(f" of {SECONDS} s were there")


@pytest.mark.parametrize("name", ONLY_WHOLE)
def test_a_guessed_duration_is_no_promise(make, name: str) -> None:
    assert told(make(name)) == (pytest.approx(SECONDS, abs=0.2), [])


@pytest.mark.parametrize("name", ["short.mkv", "short.mp4"])
def test_a_stream_may_end_before_the_other(ffmpeg: str, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    short = [*SOUND[:3], SOUND[3].replace(f"d={SECONDS}", "d=4")]
    subprocess.run(
        [ffmpeg, "-v", "error", *map(str, [*PICTURE, *short, *X264, "-c:a", "aac"]), path],
        check=True,
    )
    assert told(path) == (pytest.approx(SECONDS, abs=0.1), [])
    assert told(path, video=False) == (pytest.approx(4, abs=0.1), [])
    assert told(path, audio=False) == (pytest.approx(SECONDS, abs=0.1), [])


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4"])
def test_a_recording_that_begins_late_is_whole(
    make, ffmpeg: str, tmp_path: Path, name: str
) -> None:
    whole, late = make("film.mkv"), tmp_path / name
    shifted = ["-itsoffset", "2", "-i", whole, "-c", "copy", "-avoid_negative_ts", "disabled"]
    subprocess.run([ffmpeg, "-v", "error", *map(str, shifted), late], check=True)
    assert told(late) == (pytest.approx(SECONDS, abs=0.2), [])
    data = late.read_bytes()
    late.write_bytes(data[: len(data) // 2])
    if name.endswith("mkv"):  # a cut-off MP4 has lost its index
        assert told(late)[1]


def test_a_recording_written_to_a_pipe_promises_nothing(ffmpeg: str, tmp_path: Path) -> None:
    for form in ("wav", "flac", "matroska", "mp3"):
        path = tmp_path / f"piped.{form}"
        made = subprocess.run(
            [ffmpeg, "-v", "error", *SOUND, "-f", form, "-"], check=True, capture_output=True
        )
        path.write_bytes(made.stdout)
        assert told(path) == (pytest.approx(SECONDS, abs=0.2), [])


def test_an_index_that_is_missing(ffmpeg: str, tmp_path: Path) -> None:
    path = tmp_path / "behind.mp4"
    subprocess.run(
        [ffmpeg, "-v", "error", *map(str, [*PICTURE, *SOUND, *X264, "-c:a", "aac"]), path],
        check=True,
    )
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(MediaError, match="cut off: its index is missing"):
        streams.probe(path)


def test_reading_stopped_early_is_not_missing(make) -> None:
    with streams.open_media(make("film.mkv")) as opened:
        next(opened.pieces())
        assert opened.warnings == []


def test_real_clips_give_no_line(shared: Path) -> None:
    for path in sorted((shared / "data" / "grid" / "s1").glob("*.mp4"))[:40]:
        assert told(path, video=False)[1] == []


def test_a_file_that_is_moved_while_it_is_read_loses_nothing(make) -> None:
    path = make("film.mkv")
    with streams.open_media(path) as opened:
        path.rename(path.with_name("elsewhere.mkv"))
        assert sum(len(piece) for piece in opened.pieces()) / 25 == pytest.approx(SECONDS, abs=0.2)
        assert opened.warnings == []
