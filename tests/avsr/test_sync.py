"""Sound against lips: the lag that was put in comes out, and what is missing is not judged."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import avsr
import avsr.cli
from avsr.base.errors import AvsrError
from avsr.model.config import ModelConfig
from avsr.model.network import AVSR
from avsr.preprocessing.clip import CROP_SIZE, SAMPLES_PER_FRAME, Clip
from avsr.recognisers.ours import NetworkRecogniser
from avsr.sync import (
    MIN_FRAMES,
    NO_MATCH,
    compare,
    embed,
    find_offset,
    match,
    offset,
    offset_of,
)
from avsr.transcribing.synchronising.synchroniser import MOST_LOOKS, Synchroniser, moved

WIDTH = 8
CODES = 200


class Reader(torch.nn.Module):
    """Stands for a network: the level of each sound frame and the grey of each lip frame name a
    vector; 0 is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(tokens=("<blank>", "a"), piece_scores=(), space_dim=WIDTH)
        self.audio_space = self.video_space = torch.nn.Linear(1, 1)
        self.vectors = torch.nn.functional.normalize(
            torch.randn(CODES, WIDTH, generator=torch.Generator().manual_seed(0)), dim=-1
        )

    def encode_audio(self, audio, present, valid):
        codes = (audio[:, ::SAMPLES_PER_FRAME] * CODES).round().long()
        return self.vectors[codes], None

    def encode_video(self, lips, present, valid):
        codes = lips[:, :, 0, 0].long()
        letters = torch.stack([codes == 0, codes > 0], -1).float()
        return self.vectors[codes], letters

    encode = AVSR.encode

    def share(self, audio, video):
        return audio, video


def speaking(
    codes: np.ndarray, lag: int = 0, heard: slice = slice(None), seen: slice = slice(None)
) -> Clip:
    """Lips that show the codes, and sound that says them so many frames later; what is outside is
    silence."""
    frames = len(codes)
    sound = np.zeros(frames, int)
    sound[max(lag, 0) : frames + min(lag, 0)] = codes[max(-lag, 0) : frames - max(lag, 0)]
    present = np.zeros((2, frames), bool)
    present[0, heard], present[1, seen] = True, True
    return Clip(
        id="x",
        audio=np.repeat(sound / CODES, SAMPLES_PER_FRAME).astype(np.float32),
        lips=np.broadcast_to(codes[:, None, None], (frames, CROP_SIZE, CROP_SIZE)).astype(np.uint8),
        audio_present=present[0],
        video_present=present[1],
    )


def codes(number: int, frames: int = 75, pause: int = 10) -> np.ndarray:
    """A sentence with a pause before and after."""
    out = np.zeros(frames, int)
    out[pause : frames - pause] = np.random.default_rng(number).integers(
        1, CODES, frames - 2 * pause
    )
    return out


@pytest.fixture
def recogniser() -> NetworkRecogniser:
    return NetworkRecogniser(Reader(), "reader", {}, torch.device("cpu"))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def network() -> NetworkRecogniser:
    """A real network with random weights."""
    config = ModelConfig(
        tokens=("<blank>", "a"), dim=16, heads=2, video_width=4, audio_width=4, space_dim=WIDTH
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = AVSR(config).eval()
    return NetworkRecogniser(model, "random", {}, torch.device("cpu"))


def noisy_clip(number: int, frames: int, heard: bool = True, seen: bool = True) -> Clip:
    rng = np.random.default_rng(number)
    return Clip(
        id=str(number),
        audio=rng.normal(0, 0.1, frames * SAMPLES_PER_FRAME).astype(np.float32),
        lips=rng.integers(0, 256, (frames, CROP_SIZE, CROP_SIZE), dtype=np.uint8),
        audio_present=np.full(frames, heard),
        video_present=np.full(frames, seen),
    )


# ------------------------------------------------------------------------------------------- offset


@pytest.mark.parametrize("lag", [-15, -10, -1, 0, 1, 3, 15])
def test_the_lag_of_the_sound_is_found_with_its_sign(
    recogniser: NetworkRecogniser, lag: int
) -> None:
    found = offset(recogniser, speaking(codes(1), lag))
    assert found is not None
    assert found.frames == lag  # the sound comes later: positive
    assert found.seconds == pytest.approx(lag * 0.04)
    assert found.score == pytest.approx(1.0, abs=1e-5)
    assert found.confidence > 0.7
    np.testing.assert_array_equal(found.lags, np.arange(-15, 16))
    assert found.scores.shape == (31,)


def test_a_foreign_voice_gives_less_confidence(recogniser: NetworkRecogniser) -> None:
    own, foreign = speaking(codes(1), 4), speaking(codes(2), 4)
    crossed = replace(own, audio=foreign.audio)
    fits, differs = offset(recogniser, own), offset(recogniser, crossed)
    assert fits is not None
    assert differs is not None
    assert differs.confidence < 0.5 * fits.confidence
    assert differs.score < 0.6


def test_only_lags_in_range_are_answered(recogniser: NetworkRecogniser) -> None:
    found = offset(recogniser, speaking(codes(1), 10), max_frames=4)
    assert found is not None
    np.testing.assert_array_equal(found.lags, np.arange(-4, 5))
    assert found.score < 0.7


@pytest.mark.parametrize(
    ("heard", "seen"),
    [
        (slice(0), slice(None)),
        (slice(None), slice(0)),
        (slice(0, 35), slice(35, 75)),  # never together, though they would meet at some lag
        (slice(0, 45), slice(45 - MIN_FRAMES + 1, 75)),
    ],
)
def test_too_little_of_both_gives_no_answer(
    recogniser: NetworkRecogniser, heard: slice, seen: slice
) -> None:
    assert offset(recogniser, speaking(codes(1), 0, heard, seen)) is None


@pytest.mark.parametrize(
    ("heard", "seen"), [(slice(0, 45), slice(None)), (slice(5, 60), slice(20, 75))]
)
def test_parts_that_are_missing_do_not_hide_the_lag(
    recogniser: NetworkRecogniser, heard: slice, seen: slice
) -> None:
    found = offset(recogniser, speaking(codes(3), -6, heard, seen))
    assert found is not None
    assert found.frames == -6


def test_closed_lips_give_no_answer(recogniser: NetworkRecogniser) -> None:
    clip = speaking(codes(1))
    assert offset(recogniser, replace(clip, lips=np.zeros_like(clip.lips))) is None


@pytest.mark.parametrize("frames", [0, 1, MIN_FRAMES - 1])
def test_short_clips_give_no_answer(recogniser: NetworkRecogniser, frames: int) -> None:
    assert offset(recogniser, speaking(codes(1, frames, 0))) is None


def test_a_clip_just_long_enough_is_judged_where_enough_frames_meet(
    recogniser: NetworkRecogniser,
) -> None:
    found = offset(recogniser, speaking(codes(1, MIN_FRAMES + 3, 0), 2))
    assert found is not None
    assert found.frames == 2
    np.testing.assert_array_equal(found.lags, np.arange(-3, 4))


def test_what_stands_in_absent_frames_does_not_count(network: NetworkRecogniser) -> None:
    clip = replace(
        noisy_clip(1, 60), audio_present=np.arange(60) < 50, video_present=np.arange(60) >= 5
    )
    other = noisy_clip(2, 60)
    changed = replace(
        clip,
        audio=np.where(np.repeat(clip.audio_present, SAMPLES_PER_FRAME), clip.audio, other.audio),
        lips=np.where(clip.video_present[:, None, None], clip.lips, other.lips),
    )
    first, second = embed(network, [clip])[0], embed(network, [changed])[0]
    np.testing.assert_array_equal(first.audio, second.audio)
    np.testing.assert_array_equal(first.video, second.video)
    np.testing.assert_array_equal(first.speaking, second.speaking)


# ------------------------------------------------------------------------------ embedding, matching


def test_vectors_are_of_unit_length_and_zero_where_absent(network: NetworkRecogniser) -> None:
    clips = [
        noisy_clip(0, 20),
        noisy_clip(1, 50, heard=False),
        noisy_clip(2, 9, seen=False),
        noisy_clip(3, 5, False),
    ]
    spaces = embed(network, [*clips, noisy_clip(4, 7, False, False), noisy_clip(5, 0)])
    assert [space.id for space in spaces] == ["0", "1", "2", "3", "4", "5"]
    for space, frames in zip(spaces, (20, 50, 9, 5, 7, 0), strict=True):
        assert space.audio.shape == space.video.shape == (frames, WIDTH)
        assert space.audio.dtype == space.video.dtype == np.float32
        assert space.speaking.shape == (frames,)
        assert not (space.speaking & ~space.video_present).any()
        np.testing.assert_allclose(
            np.linalg.norm(space.audio, axis=1), space.audio_present, atol=1e-5
        )
        np.testing.assert_allclose(
            np.linalg.norm(space.video, axis=1), space.video_present, atol=1e-5
        )
    assert embed(network, []) == []


def test_alone_and_in_a_batch_are_alike(network: NetworkRecogniser) -> None:
    clips = [noisy_clip(0, 20), noisy_clip(1, 50), noisy_clip(2, 33, seen=False)]
    for clip, together in zip(clips, embed(network, clips), strict=True):
        alone = embed(network, [clip])[0]
        np.testing.assert_allclose(alone.audio, together.audio, atol=1e-4)
        np.testing.assert_allclose(alone.video, together.video, atol=1e-4)


def test_a_sound_finds_its_lips(recogniser: NetworkRecogniser) -> None:
    clips = [speaking(codes(number, 60 + number)) for number in range(5)]
    scores = match(recogniser, clips[:3], clips)
    assert scores.shape == (3, 5)
    assert scores.argmax(1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(scores.diagonal(), 1, atol=1e-5)
    assert (scores <= 1 + 1e-5).all()


def test_each_stream_is_taken_from_its_own_side(recogniser: NetworkRecogniser) -> None:
    """The lips of what gives the sound, and the sound of what gives the lips, play no part."""
    clip, other = speaking(codes(1)), speaking(codes(2))
    mixed = replace(clip, lips=other.lips)  # the sound of one and the lips of the other
    np.testing.assert_allclose(
        match(recogniser, [mixed], [clip, other, mixed]),
        match(recogniser, [clip], [clip, other, other]),
    )


def test_pairs_without_enough_in_common_never_win(recogniser: NetworkRecogniser) -> None:
    clip = speaking(codes(1))
    unseen, closed = speaking(codes(1), seen=slice(0)), replace(clip, lips=np.zeros_like(clip.lips))
    scores = match(recogniser, [clip, speaking(codes(1), heard=slice(0))], [unseen, closed, clip])
    assert scores[0].tolist() == [NO_MATCH, NO_MATCH, pytest.approx(1, abs=1e-5)]
    assert (scores[1] == NO_MATCH).all()
    assert match(recogniser, [], [clip]).shape == (0, 1)


def test_a_little_out_of_step_is_still_a_match(recogniser: NetworkRecogniser) -> None:
    late, lips, other = speaking(codes(1), 2), speaking(codes(1)), speaking(codes(2))
    for slack, fits in ((0, False), (1, False), (2, True)):
        own, foreign = match(recogniser, [late], [lips, other], slack)[0]
        assert (own > 0.99) == fits
        assert foreign < 0.6
    with pytest.raises(AvsrError, match="slack -1"):
        match(recogniser, [late], [lips], -1)


def test_embedded_once_and_used_for_both(recogniser: NetworkRecogniser) -> None:
    clips = [speaking(codes(1), 2), speaking(codes(2), -3)]
    spaces = embed(recogniser, clips)
    np.testing.assert_array_equal(compare(spaces, spaces), match(recogniser, clips, clips))
    assert [found.frames for found in map(find_offset, spaces) if found] == [2, -3]


# ----------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("max_frames", [0, -3])
def test_a_range_without_frames_is_refused(recogniser: NetworkRecogniser, max_frames: int) -> None:
    with pytest.raises(AvsrError, match=f"max_frames {max_frames}"):
        offset(recogniser, speaking(codes(1)), max_frames)


def test_a_model_without_a_trained_space_is_refused(recogniser: NetworkRecogniser) -> None:
    clips = [speaking(codes(1))]
    never = NetworkRecogniser(
        recogniser.model, "never", {"recipe": {"loss": {"contrastive": 0.0}}}, recogniser.device
    )
    zeros = NetworkRecogniser(Reader(), "zeros", {}, recogniser.device)  # type: ignore[arg-type]
    torch.nn.init.zeros_(zeros.model.video_space.weight)
    for untrained in (never, zeros):
        for use in (
            lambda r: embed(r, clips),
            lambda r: offset(r, clips[0]),
            lambda r: match(r, clips, clips),
        ):
            with pytest.raises(
                AvsrError, match=f"'{untrained.name}' has no trained embedding"
            ) as error:
                use(untrained)
            assert "\n" not in str(error.value)


# --------------------------------------------------------------------------- recordings out of step


def windows(clip: Clip, frames: int) -> list[Clip]:
    return [clip.window(i, min(i + frames, clip.frames)) for i in range(0, clip.frames, frames)]


@pytest.mark.parametrize("size", [7, 20, 75])
@pytest.mark.parametrize("frames", [-75, -30, -3, 0, 3, 30, 75])
def test_lips_are_moved_across_windows_and_nothing_else_is(size: int, frames: int) -> None:
    clip = noisy_clip(1, 75)
    parts = windows(clip, size)
    result = list(moved(parts, frames))
    assert [(part.frames, part.start_s) for part in result] == [
        (part.frames, part.start_s) for part in parts
    ]
    np.testing.assert_array_equal(np.concatenate([part.audio for part in result]), clip.audio)
    lips = np.concatenate([part.lips for part in result])
    present = np.concatenate([part.video_present for part in result])
    for t in range(75):
        there = 0 <= t - frames < 75
        assert present[t] == there
        np.testing.assert_array_equal(lips[t], clip.lips[t - frames] if there else 0)


@pytest.mark.parametrize("lag", [-25, -10, -3, 3, 10, 25])
def test_a_recording_out_of_step_is_put_right_and_said_to_be(
    recogniser: NetworkRecogniser, lag: int
) -> None:
    clip = speaking(codes(1), lag)
    in_step = Synchroniser(recogniser)
    (result,) = in_step([clip])
    found = offset(recogniser, result)
    assert found is not None
    assert found.frames == 0
    way = "later" if lag < 0 else "earlier"
    assert in_step.remarks == [
        f"the picture comes {abs(lag) / 25:.2f} s {way} than the sound: lips moved onto the sound"
    ]


@pytest.mark.parametrize("lag", [-2, 0, 2])
def test_a_recording_in_step_is_left_as_it_is(recogniser: NetworkRecogniser, lag: int) -> None:
    clips = windows(speaking(codes(1), lag), 40)
    in_step = Synchroniser(recogniser)
    assert all(given is got for given, got in zip(clips, in_step(clips), strict=True))
    assert in_step.remarks == []


def test_lips_of_somebody_else_stay_where_they_are(recogniser: NetworkRecogniser) -> None:
    clip = replace(speaking(codes(1)), audio=speaking(codes(2), 9).audio)
    in_step = Synchroniser(recogniser)
    assert list(in_step([clip])) == [clip]
    assert in_step.remarks == []


def test_no_more_windows_are_looked_at_than_it_takes(
    recogniser: NetworkRecogniser, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def count(space, frames):
        looks.append(space)
        return find_offset(space, frames)

    monkeypatch.setattr("avsr.transcribing.synchronising.synchroniser.find_offset", count)
    certain = speaking(codes(1))
    assert len(list(Synchroniser(recogniser)([certain] * 5))) == 5
    assert len(looks) == 1
    doubtful = replace(certain, audio=speaking(codes(2)).audio)
    looks.clear()
    assert len(list(Synchroniser(recogniser)([doubtful] * 5))) == 5
    assert len(looks) == MOST_LOOKS
    looks.clear()
    silent = replace(certain, audio_present=np.zeros(certain.frames, bool))
    assert len(list(Synchroniser(recogniser)([silent] * 5))) == 5
    assert looks == []


# ---------------------------------------------------------------------------- rows, with real clips


@pytest.fixture(scope="module")
def bundled() -> NetworkRecogniser:
    return avsr.load_model(device="cpu")


def late(ffmpeg: str, clip: Path, stream: str, seconds: float, out: Path) -> Path:
    """The clip with its picture ("v") or sound ("a") so much later by its timestamps."""
    maps = ["-map", "0:a", "-map", "1:v"] if stream == "v" else ["-map", "0:v", "-map", "1:a"]
    command = [
        ffmpeg,
        "-v",
        "error",
        "-i",
        clip,
        "-itsoffset",
        str(seconds),
        "-i",
        clip,
        *maps,
        "-c",
        "copy",
        out,
    ]
    subprocess.run(command, check=True)
    return out


@pytest.mark.parametrize(
    ("stream", "seconds", "row"),
    [("v", 0.4, 11), ("a", 0.4, 11), ("v", 1.0, 33), ("a", 1.0, 33), ("v", 0.0, 0)],
)
def test_rows_11_and_33_a_stream_that_comes_late_gives_the_words_once_and_a_line(
    bundled: NetworkRecogniser,
    shared: Path,
    ffmpeg: str,
    tmp_path: Path,
    stream: str,
    seconds: float,
    row: int,
) -> None:
    clip = shared / "data" / "grid" / "s1" / "bbaf2n.mp4"
    found = bundled.transcribe(late(ffmpeg, clip, stream, seconds, tmp_path / "late.mkv"))
    assert found.text == "bin blue at f two now"
    if row == 0:
        assert found.warnings == []
        return
    (line,) = found.warnings
    assert ("later" if stream == "v" else "earlier") in line
    told_s = float(re.search(r"([\d.]+) s", line)[1])
    assert told_s == pytest.approx(seconds, abs=0.06)


@pytest.mark.parametrize("modality", ["auto", "audio"])
@pytest.mark.parametrize(
    ("name", "said"),
    [("bbwg1s", "bin blue with g one soon"), ("lwir3s", "lay white in r three soon")],
)
def test_what_is_before_both_streams_is_no_letters(
    bundled: NetworkRecogniser,
    shared: Path,
    ffmpeg: str,
    tmp_path: Path,
    name: str,
    said: str,
    modality: str,
) -> None:
    clip = late(
        ffmpeg, shared / "data" / "grid" / "s1" / f"{name}.mp4", "a", 1.0, tmp_path / "late.mkv"
    )
    assert bundled.transcribe(clip, modality=modality).text == said


@pytest.mark.parametrize(("stream", "seconds"), [("v", 0.4), ("v", 1.0), ("a", 1.0)])
def test_rows_11_and_33_somebody_whose_lips_the_model_never_saw(
    bundled: NetworkRecogniser,
    shared: Path,
    ffmpeg: str,
    tmp_path: Path,
    stream: str,
    seconds: float,
) -> None:
    clip = shared / "data" / "grid-others" / "s26" / "pbbg5p.mp4"
    found = bundled.transcribe(late(ffmpeg, clip, stream, seconds, tmp_path / "late.mkv"))
    assert found.text == "place blue by g five please"
    assert any("lips moved onto the sound" in line for line in found.warnings)


def test_a_whole_recording_is_judged_over_all_its_windows(recogniser: NetworkRecogniser):
    whole = speaking(np.concatenate([codes(number) for number in range(3)]), lag=-7)
    silent = replace(speaking(codes(9)), audio_present=np.zeros(75, bool))
    windows = [silent, *(whole.window(first, first + 75) for first in range(0, 225, 75))]
    found = offset_of(recogniser, windows)
    assert found is not None
    assert found.frames == -7
    assert offset_of(recogniser, [silent]) is None
    assert offset_of(recogniser, []) is None


def test_the_command_tells_each_file(recogniser: NetworkRecogniser, monkeypatch, capsys):
    lags = {"even.mp4": 0, "late.mp4": 5, "early.mp4": -10}

    def stream_clips(path: Path, **_: object) -> list[Clip]:
        if path.name == "still.mp4":
            return [speaking(np.zeros(75, int))]
        return [speaking(codes(3), lags[path.name])]

    monkeypatch.setattr("avsr.preprocessing.reader.stream_clips", stream_clips)
    monkeypatch.setattr("avsr.recognisers.ours.load", lambda *_: recogniser)
    assert avsr.cli.main(["sync", *lags]) == 0
    told = [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()]
    assert told == [
        "even.mp4: synchronised to within 0.04 s",
        "late.mp4: the sound comes 0.20 s after the lips",
        "early.mp4: the sound comes 0.40 s before the lips",
    ]
    assert avsr.cli.main(["sync", "still.mp4", "even.mp4"]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("even.mp4: ")
    assert "still.mp4: sound and speaking lips" in shown.err
    assert shown.err.count("\n") == 1
