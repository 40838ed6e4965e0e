"""Media: the right picture and the right sound at the right time, whatever the file; clear errors
for what is none.

Films carry their own frame number as eight black or white blocks, and sound that beeps at a known
instant.
"""

from __future__ import annotations

import os
import subprocess
import threading
import tracemalloc
import wave
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest

from avsr.base.errors import AvsrError, MediaError
from avsr.preprocessing.clip import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from avsr.preprocessing.media import container, streams, ticks

BLOCK = 16
WIDTH, HEIGHT = 8 * BLOCK, 48


# ------------------------------------------------------------------------------------------ helpers


def counter(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(H, W, 3) uint8 picture that shows `number` (0 to 255) as eight blocks, most significant
    first."""
    bits = [(number >> (7 - i)) & 1 for i in range(8)]
    row = np.repeat(np.array(bits, np.uint8) * 235 + 10, width // 8)
    row = np.pad(row, (0, width - len(row)), mode="edge")
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def number(picture: np.ndarray) -> int:
    """The number that a `counter` picture shows."""
    block = picture.shape[1] // 8
    row = picture[picture.shape[0] // 2, block // 2 : 8 * block : block, 1]
    return int("".join("1" if value > 127 else "0" for value in row), 2)


def numbers(pieces: list[streams.Piece]) -> list[int | None]:
    return [None if frame is None else number(frame) for piece in pieces for frame in piece.frames]


def beeps(seconds: float, at: list[float], rate: int = 48_000, channels: int = 1) -> np.ndarray:
    """(N, channels) int16: silence with 0.1 s of a 1 kHz cosine, full on at once, from each instant
    on."""
    time = np.arange(round(seconds * rate)) / rate
    sound = sum(
        np.where((time >= t - 1e-9) & (time < t + 0.1), np.cos(2e3 * np.pi * (time - t)), 0)
        for t in at
    )
    return np.repeat((sound * 16_000).astype(np.int16)[:, None], channels, axis=1)


def wav(path: Path, samples: np.ndarray, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def onsets(audio: np.ndarray) -> list[float]:
    """Seconds at which sound begins after at least 0.1 s of quiet."""
    loud = np.flatnonzero(np.abs(audio) > 0.12)
    first = np.concatenate([[True], np.diff(loud) > SAMPLE_RATE // 10]) if len(loud) else []
    return list(loud[first] / SAMPLE_RATE)


class Film:
    """Makes test films with the ffmpeg program."""

    def __init__(self, ffmpeg: str, folder: Path) -> None:
        self.ffmpeg, self.folder = ffmpeg, folder

    def run(self, *arguments: object, data: bytes | None = None) -> None:
        command = [
            self.ffmpeg,
            "-v",
            "error",
            "-nostdin",
            "-y",
            "-threads",
            "1",
            *map(str, arguments),
        ]
        if data is not None:
            command.remove("-nostdin")
        subprocess.run(command, input=data, check=True, capture_output=True)

    def make(
        self,
        name: str,
        *options: object,
        rate: str = "25",
        frames: int = 50,
        size: tuple[int, int] = (WIDTH, HEIGHT),
        sound: np.ndarray | None = None,
        sound_rate: int = 48_000,
        before: tuple[object, ...] = (),
        before_sound: tuple[object, ...] = (),
    ) -> Path:
        """A film of counters at `rate`, with a sound track where one is given.

        `options` go before the output; `before`, `before_sound` before the pictures, the sound.
        """
        path = self.folder / name
        inputs = [
            *before,
            "-f",
            "rawvideo",
            "-pix_fmt",
            "rgb24",
            "-s",
            f"{size[0]}x{size[1]}",
            "-framerate",
            rate,
            "-i",
            "-",
        ]
        if sound is not None:
            inputs += [*before_sound, "-i", wav(self.folder / f"{name}.wav", sound, sound_rate)]
        data = b"".join(counter(i % 256, *size).tobytes() for i in range(frames))
        self.run(*inputs, "-pix_fmt", "yuv420p", *options, path, data=data)
        return path


@pytest.fixture
def film(ffmpeg: str, tmp_path: Path) -> Film:
    return Film(ffmpeg, tmp_path)


def load(path: Path, **options) -> list[streams.Piece]:
    """All pieces, with what every reader relies on checked."""
    pieces = list(streams.read(path, **options))
    frames = 0
    for piece in pieces:
        n = len(piece.frames)
        assert piece.first_frame == frames
        assert piece.audio.shape == (n * SAMPLES_PER_FRAME,)
        assert piece.audio.dtype == np.float32
        assert piece.audio_present.shape == piece.video_present.shape == (n,)
        absent = np.repeat(~piece.audio_present, SAMPLES_PER_FRAME)
        assert not piece.audio[absent].any()
        for frame in piece.frames:
            assert frame is None or (
                frame.dtype == np.uint8 and frame.ndim == 3 and frame.flags.c_contiguous
            )
        frames += n
    return pieces


def sound_of(pieces: list[streams.Piece]) -> np.ndarray:
    return np.concatenate([piece.audio for piece in pieces])


def heard(pieces: list[streams.Piece]) -> np.ndarray:
    return np.concatenate([piece.audio_present for piece in pieces])


# -------------------------------------------------------------------------------- containers, rates


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mpg", ["-c:v", "mpeg1video", "-q:v", 3, "-c:a", "mp2"]),
        ("film.mp4", ["-c:v", "libx264", "-c:a", "aac"]),
        ("film.mkv", ["-c:v", "libx264", "-c:a", "flac"]),
        ("film.webm", ["-c:v", "libvpx", "-cpu-used", 8, "-c:a", "libopus"]),
        ("film.mov", ["-c:v", "mpeg4", "-q:v", 3, "-c:a", "pcm_s16le"]),
        ("film.avi", ["-c:v", "mpeg4", "-q:v", 3, "-bf", 2, "-c:a", "libmp3lame"]),
        ("film.ts", ["-c:v", "libx264", "-c:a", "aac"]),
    ],
)
def test_every_container_shows_frame_t_and_beeps_on_time(
    film: Film, name: str, options: list
) -> None:
    path = film.make(name, *options, sound=beeps(2, [0.48, 1.48]))
    info = streams.probe(path)
    assert (info.has_audio, info.has_video, info.width, info.height) == (True, True, WIDTH, HEIGHT)
    assert info.fps == pytest.approx(25)
    assert info.duration_s == pytest.approx(2, abs=0.1)
    pieces = load(path)
    seen, sound = numbers(pieces), onsets(sound_of(pieces))
    # Sound and picture need not begin together in an MPEG stream: compare with the picture that is
    # shown at the beep.
    shown = [seen[round(t * FPS)] for t in sound]
    assert len(sound) == 2
    assert np.abs(np.array(shown) - [12, 37]).max() <= 1
    present = [n for n in seen if n is not None]
    assert present == list(range(50))  # each picture once: none doubled, none lost


@pytest.mark.parametrize("rate", ["24", "30000/1001", "30", "50", "60"])
def test_frame_shows_what_is_on_screen_at_its_time(film: Film, rate: str) -> None:
    per_second = eval(rate)
    frames = round(4 * per_second)
    path = film.make(
        "film.mp4",
        "-c:v",
        "libx264",
        "-c:a",
        "flac",
        "-strict",
        -2,
        rate=rate,
        frames=frames,
        sound=beeps(4, [2.0]),
    )
    pieces = load(path)
    expected = [int((t / FPS + ticks.ROUNDING_S) * per_second) for t in range(100)]
    assert numbers(pieces)[:100] == expected
    assert onsets(sound_of(pieces)) == [pytest.approx(2.0, abs=1e-3)]
    assert streams.probe(path).fps == pytest.approx(per_second, rel=1e-3)


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_variable_frame_rate(film: Film, name: str) -> None:
    """Of 60 pictures a second some are dropped at random; what remains stays up until the next."""
    keep = np.random.default_rng(1).random(180) < 0.4
    keep[[0, 60]] = True
    keep[90:132] = False  # 0.7 s without a new picture
    chosen = "+".join(f"eq(n\\,{n})" for n in np.flatnonzero(keep))
    path = film.make(
        name, "-vf", f"select='{chosen}'", "-vsync", "vfr", "-c:v", "libx264", "-c:a", "flac",
        "-strict", -2,
        rate="60", frames=180, sound=beeps(3, [1.0]),
    )  # fmt: skip
    pieces = load(path)
    last = np.flatnonzero(keep)[-1]
    for t, shown in enumerate(numbers(pieces)[: int(last / 60 * FPS)]):
        assert shown == np.flatnonzero(keep)[np.flatnonzero(keep) <= t / FPS * 60 + 0.06][-1], t
    beep_frame = round(onsets(sound_of(pieces))[0] * FPS)
    assert numbers(pieces)[beep_frame] == 60


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.ts"])
def test_late_video_is_absent_until_it_starts(film: Film, name: str) -> None:
    path = film.make(
        name, "-c:v", "libx264", "-vsync", "passthrough", "-strict", -2,
        "-c:a", "mp2" if name.endswith("ts") else "flac",
        before=("-itsoffset", 0.8), sound=beeps(3, [0.4, 1.6]),
    )  # fmt: skip
    pieces = load(path)
    seen = numbers(pieces)
    first = next(t for t, shown in enumerate(seen) if shown is not None)
    assert abs(first - 20) <= 1
    assert seen[first : first + 50] == list(range(50))
    assert not pieces[0].video_present[:first].any()
    assert np.array(onsets(sound_of(pieces))) - first / FPS == pytest.approx([-0.4, 0.8], abs=0.04)


def test_late_sound_is_absent_until_it_starts(film: Film) -> None:
    path = film.make(
        "film.mkv", "-c:v", "libx264", "-c:a", "pcm_s16le",
        before_sound=("-itsoffset", 0.5), sound=beeps(1.5, [0.0, 0.9]),
    )  # fmt: skip
    pieces = load(path)
    present = heard(pieces)
    assert not present[:12].any()
    assert present[12:50].all()
    assert onsets(sound_of(pieces)) == pytest.approx([0.5, 1.4], abs=2e-4)
    assert numbers(pieces)[:50] == list(range(50))
    # The clock is the file's, whichever stream is asked for.
    assert onsets(sound_of(load(path, video=False))) == pytest.approx([0.5, 1.4], abs=2e-4)


def test_25_fps_video_out_of_phase_is_neither_doubled_nor_dropped(film: Film) -> None:
    path = film.make(
        "film.mp4", "-c:v", "libx264", "-vsync", "passthrough", "-c:a", "flac", "-strict", -2,
        before=("-itsoffset", 0.013), sound=beeps(2, [1.0]),
    )  # fmt: skip
    pieces = load(path)
    assert numbers(pieces) == list(range(50))
    assert onsets(sound_of(pieces)) == pytest.approx([1.0], abs=2e-4)


def test_hole_in_the_sound_is_absent_and_what_follows_is_on_time(film: Film) -> None:
    path = film.make(
        "whole.mkv", "-c:v", "libx264", "-c:a", "pcm_s16le", sound=beeps(2, [0.2, 1.6])
    )
    holed = film.folder / "holed.mkv"
    film.run("-i", path, "-c", "copy", "-bsf:a", "noise=drop='between(pts,600,1199)'", holed)
    pieces = load(holed)
    present = heard(pieces)
    assert present[:14].all()
    assert not present[16:29].any()
    assert present[31:].all()
    assert onsets(sound_of(pieces)) == pytest.approx([0.2, 1.6], abs=2e-3)


def test_recordings_joined_end_to_end_play_one_after_the_other(film: Film) -> None:
    """`cat a.ts a.ts`: the timestamps begin again in the middle."""
    path = film.make("film.ts", "-c:v", "libx264", "-c:a", "mp2", sound=beeps(2, [1.0]))
    path.write_bytes(path.read_bytes() * 2)
    pieces = load(path)
    assert [n for n in numbers(pieces) if n is not None] == [*range(50), *range(50)]
    assert np.diff(onsets(sound_of(pieces))) == pytest.approx([2.0], abs=0.04)


# -------------------------------------------------------------------------------------------- sound


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_placed_to_the_sample_at_any_rate(
    tmp_path: Path, rate: int, channels: int
) -> None:
    path = wav(tmp_path / "beep.wav", beeps(1.3, [0.5], rate, channels), rate)
    pieces = load(path)
    audio = sound_of(pieces)
    assert len(audio) == -(-1.3 * SAMPLE_RATE // SAMPLES_PER_FRAME) * SAMPLES_PER_FRAME
    assert heard(pieces).all()
    assert all(frame is None for piece in pieces for frame in piece.frames)
    # well inside the beep: phase tells the offset
    time = np.arange(SAMPLE_RATE * 0.04) / SAMPLE_RATE
    wanted = np.cos(2e3 * np.pi * (0.03 + time)) * 16_000 / 32_768
    inside = audio[round(0.53 * SAMPLE_RATE) :][: len(time)]
    assert np.abs(inside - wanted).max() < 0.01  # a shift of one sample would be 0.19
    info = streams.probe(path)
    assert (info.has_video, info.has_audio, info.sample_rate, info.channels) == (
        False,
        True,
        rate,
        channels,
    )
    assert info.duration_s == pytest.approx(1.3, abs=1e-3)


@pytest.mark.parametrize("codec", ["mp3", "flac", "ogg", "m4a", "opus"])
def test_encoded_sound_is_on_time(film: Film, codec: str) -> None:
    source = wav(film.folder / "in.wav", beeps(2, [0.5, 1.5]), 48_000)
    path = film.folder / f"sound.{codec}"
    film.run("-i", source, *(["-c:a", "libvorbis"] if codec == "ogg" else []), path)
    pieces = load(path)
    assert onsets(sound_of(pieces)) == pytest.approx([0.5, 1.5], abs=0.004)
    assert heard(pieces)[:50].all()


@pytest.mark.parametrize("layout", ["5.1", "7.1", "quad", "2.1"])
def test_surround_is_mixed_without_clipping(film: Film, layout: str) -> None:
    source = wav(film.folder / "in.wav", beeps(1, [0.5], 48_000, 1), 48_000)
    path = film.folder / "surround.mkv"
    film.run(
        "-i",
        source,
        "-af",
        f"pan={layout}|" + "|".join(f"c{i}=2*c0" for i in range(channels_of(layout))),
        path,
    )
    audio = sound_of(load(path))
    assert 0.4 < np.abs(audio).max() <= 1
    assert onsets(audio) == pytest.approx([0.5], abs=0.004)


def channels_of(layout: str) -> int:
    return {"5.1": 6, "7.1": 8, "quad": 4, "2.1": 3}[layout]


def test_unnamed_channels_are_mixed(tmp_path: Path) -> None:
    pieces = load(wav(tmp_path / "many.wav", beeps(1, [0.5], 16_000, 10), 16_000))
    assert onsets(sound_of(pieces)) == pytest.approx([0.5], abs=1e-3)


def test_one_of_several_sound_tracks(film: Film) -> None:
    """The file's default is taken, all are named, and any can be chosen by its number."""
    first, second = (
        wav(film.folder / f"{at}.wav", beeps(2, [at], channels=n), 48_000)
        for at, n in ((0.4, 1), (1.2, 2))
    )
    path = film.folder / "film.mkv"
    film.run(
        "-i", first, "-i", second, "-map", 0, "-map", 1, "-metadata:s:a:0", "language=eng",
        "-metadata:s:a:1",
        "language=fra", "-metadata:s:a:1", "title=Comments", "-disposition:a:1", 0, path,
    )  # fmt: skip
    for number, at in ((None, 0.4), (1, 0.4), (2, 1.2)):
        with streams.open_media(path, audio_track=number) as opened:
            assert onsets(sound_of(list(opened.pieces()))) == pytest.approx([at], abs=0.005)
            assert len(opened.warnings) == (number is None)  # who chose knows
            line = "".join(opened.warnings)
        assert number or all(
            word in line for word in ("1 (eng", '2 (fra, "Comments", stereo)', "1 was used")
        )
    for number in (0, 3, -1):
        with pytest.raises(MediaError, match=f"no audio track {number}: use 1"):
            streams.open_media(path, audio_track=number)
    with pytest.raises(AvsrError, match="must be a number"):
        streams.open_media(path, audio_track="2")
    with pytest.raises(MediaError, match="it has no sound"):
        streams.open_media(film.make("silent.mp4", "-c:v", "libx264"), audio_track=1)
    assert streams.probe(wav(film.folder / "one.wav", beeps(1, [0.5]), 16_000)).has_audio


def test_cover_art_is_not_video(film: Film) -> None:
    source = wav(film.folder / "in.wav", beeps(1, [0.5]), 48_000)
    cover = film.make("cover.png", frames=1)
    for name in ("song.mp3", "song.m4a", "song.flac"):
        path = film.folder / name
        film.run(
            "-i",
            source,
            "-i",
            cover,
            "-map",
            0,
            "-map",
            1,
            "-c:v",
            "mjpeg",
            "-disposition:v",
            "attached_pic",
            path,
        )
        assert not streams.probe(path).has_video
        assert not any(piece.video_present.any() for piece in load(path))


# ----------------------------------------------------------------------------------------- pictures


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied(film: Film, degrees: int) -> None:
    upright = film.make("upright.mp4", "-c:v", "libx264", frames=5)
    turned = film.folder / "turned.mp4"
    film.run("-i", upright, "-c", "copy", "-metadata:s:v:0", f"rotate={degrees}", turned)
    shown = film.folder / "shown.png"
    # ffmpeg turns it upright: the reference
    film.run("-i", turned, "-vf", "select=eq(n\\,3)", "-frames:v", 1, shown)
    import cv2

    reference = cv2.imread(str(shown))[..., ::-1]
    picture = load(turned)[0].frames[3]
    assert picture.shape == reference.shape
    assert np.abs(picture.astype(int) - reference).mean() < 3
    info = streams.probe(turned)
    assert (info.height, info.width) == picture.shape[:2]
    # ffmpeg versions differ in the sense of the tag
    assert info.rotation in (degrees, 360 - degrees)


def test_non_square_pixels_odd_and_large_sizes(film: Film) -> None:
    wide = film.make("wide.mp4", "-c:v", "libx264", "-vf", "setsar=4/3", frames=3)
    assert load(wide)[0].frames[0].shape == (48, 171, 3)
    odd = film.make("odd.mkv", "-pix_fmt", "yuv444p", "-c:v", "libx264", frames=3, size=(131, 47))
    assert load(odd)[0].frames[0].shape == (47, 131, 3)
    assert numbers(load(odd))[:3] == [0, 1, 2]
    large = film.make(
        "large.mp4", "-c:v", "libx264", "-preset", "ultrafast", frames=2, size=(3840, 2160)
    )
    assert load(large)[0].frames[0].shape == (1080, 1920, 3)
    assert (streams.probe(large).width, streams.probe(large).height) == (1920, 1080)
    assert streams.probe(large).stored == (3840, 2160)


# -------------------------------------------------------------------------------- streaming, damage


def test_pieces_join_to_the_same_whatever_their_size(film: Film) -> None:
    path = film.make("film.mp4", "-c:v", "libx264", "-c:a", "aac", sound=beeps(2, [0.7]))
    small, large = load(path, piece_frames=7), load(path, piece_frames=1000)
    assert [len(piece.frames) for piece in small[:-1]] == [7] * (len(small) - 1)
    assert len(large) == 1
    assert numbers(small) == numbers(large)
    assert np.array_equal(sound_of(small), sound_of(large))
    assert all(frame is None for frame in load(path, video=False)[0].frames)
    silent = load(path, audio=False)
    assert numbers(silent) == list(range(50))
    assert not heard(silent).any()
    with pytest.raises(ValueError, match="piece_frames"):
        streams.read(path, piece_frames=0)


def sound_behind_pictures(source: Path, target: Path) -> None:
    """The same film with every packet of sound behind the last picture."""
    import av

    with (
        av.open(str(source)) as film,
        av.open(str(target), "w", options={"max_interleave_delta": "1"}) as out,
    ):
        copies = {stream.index: out.add_stream_from_template(stream) for stream in film.streams}
        packets = [packet for packet in film.demux() if packet.size]
        for packet in sorted(packets, key=lambda packet: packet.stream.type == "audio"):
            packet.stream = copies[packet.stream_index]
            out.mux(packet)


def test_memory_does_not_grow_with_length_even_when_badly_interleaved(film: Film) -> None:
    """Two minutes with all sound behind all pictures pass in the memory of a few pieces."""
    made = film.make(
        "made.mov", "-vf", "loop=-1:50,trim=duration=120,scale=160:120", "-c:v", "libx264",
        "-preset", "ultrafast",
        "-bf", 0, "-c:a", "pcm_s16le", "-af", "apad=whole_dur=120", sound=beeps(2, [1.0]),
    )  # fmt: skip
    path = film.folder / "film.mov"
    sound_behind_pictures(made, path)
    statm = Path("/proc/self/statm")
    resident, frames = [], 0
    tracemalloc.start()
    for piece in streams.read(path):
        frames += len(piece.frames)
        resident.append(int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames == pytest.approx(120 * FPS, abs=2)
    assert peak < 4 * FPS * 160 * 120 * 3
    # FFmpeg's own memory; the sound alone has 8.6 MB to go
    assert resident[-1] - resident[len(resident) // 4] < 5e6


@pytest.mark.parametrize("waiting", [None, 100_000])
def test_a_film_is_opened_once_unless_its_streams_lie_far_apart(
    film: Film, monkeypatch: pytest.MonkeyPatch, waiting: int | None
) -> None:
    codecs = ["-c:v", "libx264", "-c:a", "pcm_s16le"]
    path = film.make("film.mkv", *codecs, frames=250, sound=beeps(10, [1.0, 8.0]))
    apart = film.folder / "apart.mkv"  # FFmpeg itself reads MP4 in the order of time
    sound_behind_pictures(path, apart)
    opened: list[Path] = []
    real = container.open_container
    monkeypatch.setattr(
        container, "open_container", lambda path, file: opened.append(path) or real(path, file)
    )
    if waiting is not None:
        monkeypatch.setattr(container, "MOST_WAITING", waiting)
    expected = load(path)
    assert len(opened) == 1
    opened.clear()
    found = load(apart)
    assert len(opened) == (1 if waiting is None else 2)
    assert numbers(found) == numbers(expected)
    assert np.array_equal(sound_of(found), sound_of(expected))


def test_first_piece_of_a_long_file_comes_at_once(film: Film) -> None:
    path = film.make("film.mp4", "-c:v", "libx264", sound=beeps(2, [1.0]))
    pieces = streams.read(path)
    assert [piece.first_frame for piece in islice(pieces, 1)] == [0]
    pieces.close()  # an early stop leaves nothing open


def test_silent_film_and_short_sound(film: Film) -> None:
    silent = load(film.make("silent.mp4", "-c:v", "libx264"))
    assert numbers(silent) == list(range(50))
    assert not heard(silent).any()
    short = load(film.make("short.mkv", "-c:v", "libx264", "-c:a", "flac", sound=beeps(1, [0.5])))
    assert numbers(short) == list(range(50))
    assert heard(short)[:25].all()
    assert not heard(short)[26:].any()


@pytest.mark.parametrize("name", ["film.mkv", "film.mpg", "film.ts", "film.mp4"])
def test_cut_off_file_gives_what_it_holds(film: Film, name: str) -> None:
    codec = "mpeg1video" if name.endswith("mpg") else "libx264"
    path = film.make(
        name,
        "-c:v",
        codec,
        "-g",
        12,
        "-c:a",
        "mp2",
        "-movflags",
        "faststart",
        sound=beeps(4, [0.5]),
        frames=100,
    )
    data = path.read_bytes()
    # mpg: pictures come long before
    path.write_bytes(data[: len(data) * (3 if name.endswith("mpg") else 6) // 10])
    seen = [n for n in numbers(load(path)) if n is not None]
    assert 20 < len(seen) < 95
    assert seen[:20] == list(range(20))


def damage(path: Path, begin_s: float, end_s: float) -> None:
    """Overwrites all packets between two instants with noise; the container stays as it is."""
    import av

    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size and begin_s <= packet.pts * packet.time_base < end_s:
                data[packet.pos : packet.pos + packet.size] = np.random.default_rng(0).bytes(
                    packet.size
                )
    path.write_bytes(data)


def test_damage_in_the_middle_is_skipped_and_counted(
    film: Film, capfd: pytest.CaptureFixture
) -> None:
    path = film.make(
        "film.mp4", "-c:v", "libx264", "-g", 10, "-c:a", "flac", "-strict", -2,
        sound=beeps(8, [0.5, 7.5]), frames=200,
    )  # fmt: skip
    damage(path, 2.0, 6.0)
    pieces = load(path)
    assert onsets(sound_of(pieces)) == pytest.approx([0.5, 7.5], abs=2e-3)
    assert heard(pieces)[:49].all()
    assert not heard(pieces)[53:148].any()
    assert heard(pieces)[153:200].all()
    seen = numbers(pieces)
    assert seen[:45] == list(range(45))
    assert seen[155:200] == list(range(155, 200))
    assert None in seen[100:150]  # a picture is not held for ever when its successors are lost
    assert pieces[-1].damaged > 90
    assert capfd.readouterr().err == ""  # FFmpeg keeps its remarks to itself


@pytest.mark.parametrize("name", ["film.flv", "film.ts", "film.mpg", "film.mkv"])
def test_noise_anywhere_in_a_file_is_never_a_traceback(film: Film, name: str) -> None:
    codec = {"film.flv": "flv", "film.mpg": "mpeg1video"}.get(name, "libx264")
    sound_codec = "pcm_s16le" if name == "film.flv" else "mp2"
    path = film.make(name, "-c:v", codec, "-c:a", sound_codec, "-ar", 44_100, sound=beeps(2, [1]))
    whole, rng = path.read_bytes(), np.random.default_rng(5)
    for _ in range(25):
        data = bytearray(whole)
        for position in rng.integers(len(data), size=rng.integers(1, 100)):
            data[position] = rng.integers(256)
        path.write_bytes(data[: rng.integers(len(data) // 2, len(data))])
        try:
            pieces = load(path)
        except MediaError:
            continue
        assert sum(len(piece.frames) for piece in pieces) < 100_000
        assert all(np.abs(piece.audio).max() <= 1 for piece in pieces)


def test_real_clips(shared: Path) -> None:
    path = shared / "data" / "grid" / "s1" / "bbaf2n.mp4"
    pieces = load(path)
    assert sum(len(piece.frames) for piece in pieces) == 75
    assert all(piece.video_present.all() and piece.audio_present.all() for piece in pieces)
    assert pieces[0].frames[0].shape == (288, 360, 3)
    # damaged original
    assert sum(len(p.frames) for p in load(shared / "data" / "grid" / "s1" / "lrarzn.mp4")) > 0


# ------------------------------------------------------------------------------------------- errors


def refused(path: Path) -> str:
    """The one line that both entries give for a file."""
    with pytest.raises(MediaError) as probed:
        streams.probe(path)
    with pytest.raises(MediaError) as opened:
        streams.read(path)  # at once, not at the first piece
    message = str(probed.value)
    assert message == str(opened.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_missing_folder_empty_and_text(tmp_path: Path) -> None:
    assert "no such file; check the name" in refused(tmp_path / "none.mp4")
    assert "no such file; a URL is not read: fetch it" in refused(Path("http://x.org/none.mp4"))
    assert "folder" in refused(tmp_path)
    assert "cannot be opened" in refused(tmp_path / f"{'long' * 100}.mp4")
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refused(tmp_path / "empty.mp4")
    for name in ("text.mp4", "text.txt", "text.srt", "text.mpg", "text.mp3", "text.m3u8"):
        (tmp_path / name).write_text("1\n00:00:01,000 --> 00:00:02,000\nThis is not a film.\n" * 40)
        refused(tmp_path / name)
    (tmp_path / "list.m3u8").write_text(
        "#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"
    )
    refused(tmp_path / "list.m3u8")
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    refused(tmp_path / "random.mp4")


# no end: a player would wait for more
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1000\n#EXTINF:2,\n{name}\n"
CONCAT = "ffconcat version 1.0\nfile {name}\n"
SESSION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" minBufferTime="PT1S"><Period>
<AdaptationSet mimeType="video/mp2t"><Representation id="1" bandwidth="9">
<BaseURL>{name}</BaseURL><SegmentBase/>
</Representation></AdaptationSet></Period></MPD>"""


@pytest.mark.parametrize(
    "text", [PLAYLIST, PLAYLIST + "#EXT-X-ENDLIST\n", CONCAT, SESSION, DASH, "{name}\n"]
)
def test_only_the_named_file_is_read(film: Film, text: str) -> None:
    """Playlists, under whatever name, are refused in one line, and nothing that they name plays."""
    film.make("film.ts", "-c:v", "mpeg2video", "-c:a", "mp2", sound=beeps(2, [0.5]))
    (film.folder / "below").mkdir()
    for name in (
        "film.ts",
        "../film.ts",
        f"file:{film.folder}/film.ts",
        str(film.folder / "film.ts"),
    ):
        for given in ("list.m3u8", "list.ffconcat", "film.mp4", "film.wav", "below/film.ts.m3u8"):
            path = film.folder / given
            path.write_text(text.format(name=name))
            assert "is text" in refused(path)
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\0")
            refused(path)
    for kept in ("i001.png", "i002.png"):
        film.make(kept, frames=1)
    pattern = film.folder / "i%03d.png"
    pattern.write_bytes((film.folder / "i001.png").read_bytes())
    assert "picture" in refused(pattern)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_nothing_waits_for_a_fifo(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.ts")
    (tmp_path / "list.m3u8").write_text(PLAYLIST.format(name="fifo.ts"))
    for name in ("fifo.ts", "list.m3u8"):
        run = threading.Thread(target=refused, args=[tmp_path / name], daemon=True)
        run.start()
        run.join(120)
        assert not run.is_alive(), name


def test_lips_of_a_shard_are_their_bytes_alone(film: Film) -> None:
    path = film.make("film.ts", "-c:v", "mpeg2video")
    with pytest.raises(MediaError):
        streams.read_lips(PLAYLIST.format(name=f"file:{path}").encode() + b"#EXT-X-ENDLIST\n")


def test_photograph_and_odd_names(film: Film) -> None:
    assert "picture" in refused(film.make("photo.png", frames=1))
    path = film.make("film.mp4", "-c:v", "libx264", frames=3)
    odd = path.rename(path.with_name("a:b %03d 'ü.mp4"))
    assert numbers(load(odd)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.mpg", "film.avi"])
def test_cut_before_the_first_frame(film: Film, name: str) -> None:
    path = film.make(
        name, *([] if name.endswith("mpg") else ["-c:v", "mpeg4"]), sound=beeps(1, [0.5])
    )
    path.write_bytes(path.read_bytes()[: 60 if name.endswith("mpg") else 200])
    refused(path)


def test_zero_length_streams(film: Film) -> None:
    source = film.make("source.mp4", "-c:v", "libx264", "-c:a", "aac", sound=beeps(2, [0.5]))
    path = film.folder / "none.mp4"
    film.run("-ss", 100, "-i", source, "-c", "copy", path)
    assert path.stat().st_size > 0
    refused(path)
    refused(wav(film.folder / "none.wav", np.zeros((0, 1), np.int16), 16_000))
    subtitles = film.folder / "words.mkv"
    (film.folder / "words.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    film.run("-i", film.folder / "words.srt", subtitles)
    refused(subtitles)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mpg"])  # with an index and without
def test_a_stretch_of_a_file_is_what_the_whole_file_has_there(
    tmp_path: Path, ffmpeg: str, suffix: str
) -> None:
    from avsr.preprocessing.media.mp4 import write_video

    film = tmp_path / "film.mp4"
    sound = np.sin(np.cumsum(np.linspace(0.05, 0.6, 250 * SAMPLES_PER_FRAME))) * 0.3
    write_video(film, (counter(i) for i in range(250)), sound.astype(np.float32))
    path = tmp_path / f"copy{suffix}"
    codecs = ["-c", "copy"] if suffix == ".mkv" else ["-q:v", "2"]
    subprocess.run([ffmpeg, "-v", "error", "-i", film, *codecs, path], check=True)
    whole = list(streams.read(path))
    pictures = numbers(whole)
    heard = np.concatenate([piece.audio for piece in whole])
    for start_s, end_s in [(0.0, 1.0), (4.0, 6.5), (8.52, None)]:
        with streams.open_media(path, span=(start_s, end_s)) as media:
            part = list(media.pieces())
        first, last = round(start_s * FPS), len(pictures) if end_s is None else round(end_s * FPS)
        assert part[0].first_frame == 0
        assert numbers(part) == pictures[first:last]
        found = np.concatenate([piece.audio for piece in part])
        there = heard[first * SAMPLES_PER_FRAME : last * SAMPLES_PER_FRAME]
        assert np.abs(found - there).max() < 1e-3
        assert media.info.duration_s == pytest.approx((last - first) / FPS, abs=0.1)


def test_pictures_too_large_for_memory_are_not_decoded(tmp_path: Path):
    path = tmp_path / "huge.gif"
    head = b"GIF89a" + (16000).to_bytes(2, "little") * 2
    path.write_bytes(head + b"\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;")
    with pytest.raises(MediaError, match=r"cannot be decoded: .* too large"):
        streams.open_media(path)


def test_a_clock_that_runs_absurdly_does_not_make_a_film_of_years(tmp_path: Path):
    path = tmp_path / "slow.y4m"
    path.write_bytes(b"YUV4MPEG2 W16 H16 F1:1000000 C420\n" + (b"FRAME\n" + b"\x80" * 384) * 40)
    with streams.open_media(path) as media:
        assert sum(len(piece) for piece in media.pieces()) < 25 * 60


def test_a_film_before_endless_nothing_ends_where_it_ends(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(container, "MOST_IDLE", 1 << 20)
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, 16000), 99, np.int16), layout="mono")
        frame.sample_rate, frame.pts = 16000, 0
        out.mux(stream.encode(frame))
    os.truncate(path, 100 << 30)  # read to its end it would take minutes
    assert sum(len(piece) for piece in streams.read(path)) == 25
