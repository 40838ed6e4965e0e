"""What the doctor says of a file is what was done to it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import soundfile

from avsr.preprocessing.clip import FPS, SAMPLE_RATE
from avsr.preprocessing.faces.sheet import COLUMNS
from avsr.preprocessing.media.container import StreamInfo
from avsr.preprocessing.media.mp4 import write_video
from avsr.preprocessing.media.streams import open_media
from avsr.preprocessing.synthetic.corpus import make_clip
from avsr.recognisers import ours
from avsr.sync import Offset
from avsr.transcribing.doctor import advice
from avsr.transcribing.doctor.advice import Models, advise, findings
from avsr.transcribing.doctor.examine import (
    Examination,
    Faces,
    Picture,
    Sound,
    Speech,
    examine,
)
from avsr.transcribing.doctor.raw import Blackness, Channels, PictureTimes
from avsr.transcribing.doctor.seen import crop_measures, snr_db
from avsr.transcribing.doctor.sheet import contact_sheet
from avsr.transcribing.doctor.talk import Talk, Talker

BUNDLED = Models("grid-whisper", None, None)


def offset(frames: int, score: float = 0.8) -> Offset:
    lags = np.arange(-30, 31)
    scores = np.where(np.abs(lags - frames) <= 1, score, 0.0)
    return Offset(frames, score, score, lags, scores)


GOOD = Examination(
    file="talk.mp4",
    format="mov",
    size_bytes=1000,
    duration_s=10.0,
    streams=(StreamInfo("video", "h264", ""), StreamInfo("audio", "aac", "en")),
    cut_off=None,
    damaged=0,
    picture=Picture(640, 480, 0, 25.0, 0.0, (40, 40)),
    sound=Sound(48000, ["FL", "FR"], [-20.0, -20.0], -3.0, 0.0, 1.0, 0.0, (0.0, 0.2), -18.0, 25.0),
    faces=Faces(1, "1 face found", 1.0, 1.0, 40.0, 5.0, 2.0, 120.0, 0.0, 0.2),
    speech=Speech(0.7, 0.7, offset(0), None),
)


def problems(of: Examination) -> set[str]:
    return {finding.code for finding in findings(of) if finding.kind != "good"}


def test_nothing_is_wrong_with_a_good_file() -> None:
    assert problems(GOOD) == set()


@pytest.mark.parametrize(
    ("part", "change", "code"),
    [
        ("", {"cut_off": "the file was cut off"}, "cut-off"),
        ("", {"damaged": 3}, "damaged"),
        ("", {"streams": (StreamInfo("audio", "aac", "en"),) * 2}, "sound-tracks"),
        ("", {"picture": None, "faces": None}, "no-picture"),
        ("", {"sound": None}, "no-sound"),
        ("picture", {"fps": 12.5}, "few-pictures"),
        ("faces", {"count": 0, "readable": 0.0}, "no-face"),
        ("faces", {"count": 2}, "several-faces"),
        ("faces", {"mouth_px": 9.0, "readable": 0.0}, "small-mouth"),
        ("faces", {"readable": 0.0}, "unreadable"),
        ("faces", {"readable": 0.5}, "lips"),
        ("faces", {"sharpness": 0.02}, "blurred"),
        ("faces", {"white": 0.6}, "too-bright"),
        ("faces", {"roll_deg": 88.0}, "sideways"),
        ("sound", {"rms_db": [-20.0, -90.0]}, "dead-channel"),
        ("sound", {"correlation": -0.99}, "inverted"),
        ("sound", {"clipped": 0.03}, "clipped"),
        ("sound", {"silent": (3.0, 5.0)}, "silence"),
        ("sound", {"snr_db": 1.0}, "noise"),
        ("speech", {"voice": 0.0}, "no-voice"),
        ("speech", {"lips": 0.0}, "still-lips"),
        ("speech", {"offset": offset(10)}, "out-of-step"),
        ("speech", {"offset": offset(10, 0.3)}, "offset-unsure"),
        ("speech", {"own_language": False}, "other-language"),
    ],
)
def test_each_fault_is_told_alone(part: str, change: dict, code: str) -> None:
    changed = change if not part else {part: replace(getattr(GOOD, part), **change)}
    assert problems(replace(GOOD, **changed)) == {code}


def test_lips_are_named_as_help_only_where_there_are_any() -> None:
    noisy = replace(GOOD, sound=replace(GOOD.sound, snr_db=1.0))
    assert "lips help" in findings(noisy)[2].text
    alone = replace(noisy, picture=None, faces=None)
    assert not any("lips help" in finding.text for finding in findings(alone))


def test_what_does_no_harm_is_no_problem() -> None:
    phone = replace(GOOD.picture, rotation=90, varying=0.3, range_ms=(33, 100))
    told = {finding.code: finding for finding in findings(replace(GOOD, picture=phone))}
    assert told["rotated"].kind == told["varying-rate"].kind == "good"
    assert "from 10 to 30 pictures" in told["varying-rate"].text


@pytest.mark.parametrize(
    ("voice", "lips", "modality"),
    [(0.5, 0.5, "av"), (0.5, 0.0, "audio"), (0.0, 0.5, "video"), (0.0, 0.0, None)],
)
def test_the_modality_is_what_was_found(voice: float, lips: float, modality: str | None) -> None:
    best = advise(replace(GOOD, speech=Speech(voice, lips, None, None)), BUNDLED)
    assert best.modality == modality
    insists = {None: [], "av": [False], "audio": [True], "video": [True]}[modality]
    own = [command for what, command in best.commands if "51 words" in what]
    assert ["--modality" in command for command in own] == insists


def test_commands_name_models_that_are_there_or_can_be_had() -> None:
    get, any_words, own = (command for _, command in advise(GOOD, BUNDLED).commands)
    assert get == "avsr models get whisper-small"
    assert any_words == "avsr transcribe talk.mp4 --model whisper-small"
    assert own == "avsr transcribe talk.mp4"
    there = Models("whisper-base", "whisper-base", "my-lips")
    any_words, own = (command for _, command in advise(GOOD, there).commands)
    assert any_words == "avsr transcribe talk.mp4"
    assert own == "avsr transcribe talk.mp4 --model grid-whisper"
    silent = replace(GOOD, speech=replace(GOOD.speech, voice=0.0))
    assert "--model my-lips --modality video" in advise(silent, there).commands[0][1]


def test_only_the_model_that_knows_the_words_is_advised() -> None:
    own, other = (replace(GOOD.speech, own_language=fits) for fits in (True, False))
    assert len(advise(replace(GOOD, speech=own), BUNDLED).commands) == 1
    assert "whisper" in advise(replace(GOOD, speech=other), BUNDLED).commands[-1][1]


LEFT, RIGHT = Talker(0, "left", 4.0), Talker(1, "right", 6.0)


@pytest.mark.parametrize(
    ("talk", "option", "told"),
    [
        (Talk([RIGHT, LEFT], 0.0, 0.0), " --speakers", "face 1 (right) for 6.0 s, face 0 (left)"),
        (Talk([RIGHT, LEFT], 0.0, 2.0), " --speakers", "for 2.0 s two or more speak at once"),
        (Talk([LEFT], 3.0, 0.0), " --speakers", "a voice that fits none of the lips for 3.0 s"),
        (Talk([RIGHT], 0.0, 0.0), " --face 1", "face 1 (right) for 6.0 s"),
        (Talk([LEFT], 0.0, 0.0), "", "face 0 (left) for 4.0 s"),
        (Talk([], 3.0, 0.0), " --modality audio", "a voice that fits none of the lips for 3.0 s"),
        (Talk([], 0.0, 0.0), " --modality audio", "none of them is seen to speak"),
    ],
)
def test_of_several_people_it_is_told_who_speaks(talk: Talk, option: str, told: str) -> None:
    film = replace(GOOD, faces=replace(GOOD.faces, count=2, who="2 faces found"), talk=talk)
    texts = {finding.code: finding.text for finding in findings(film)}
    assert texts["several-faces"] == "2 faces found; --face N takes a certain one"
    assert told in texts["who-speaks"]
    own = [command for what, command in advise(film, BUNDLED).commands if "51 words" in what]
    assert own == [f"avsr transcribe talk.mp4{option}"]


def test_where_others_speak_no_mouth_is_said_to_be_covered() -> None:
    speech = replace(GOOD.speech, mouthed=0.4, offset=offset(10, 0.3))
    alone = replace(GOOD, speech=speech)
    texts = {finding.code: finding.text for finding in findings(alone)}
    assert "something may cover the mouth" in texts["offset-unsure"]
    assert "covered" in texts
    texts = {
        finding.code: finding.text
        for finding in findings(replace(alone, talk=Talk([RIGHT, LEFT], 0.0, 0.0)))
    }
    assert "cover" not in texts["offset-unsure"]
    assert "covered" not in texts


def test_a_film_without_a_sound_track_is_said_to_have_none() -> None:
    silent = replace(GOOD, streams=(), sound=None, speech=replace(GOOD.speech, voice=0.0))
    texts = {finding.code: finding.text for finding in findings(silent)}
    assert texts["no-sound"] == "no sound track"
    assert advise(silent, BUNDLED).why.startswith("lips alone")


def test_the_language_is_given_to_a_model_that_knows_it() -> None:
    there = Models("grid-whisper", "whisper-tiny.en", None, polyglot="whisper-base")
    speech = replace(GOOD.speech, own_language=False, language=("de", 0.95))
    film = replace(GOOD, speech=speech)
    assert "sounds like de (probability 0.95)" in findings(film)[-1].text
    ((_, command),) = advise(film, there).commands
    assert command == "avsr transcribe talk.mp4 --model whisper-base --language de"
    unsure = replace(film, speech=replace(speech, language=("de", 0.3)))
    ((_, command),) = advise(unsure, there).commands
    assert command == "avsr transcribe talk.mp4 --model whisper-tiny.en"


def test_stretches_without_picture_and_lips_are_told_with_their_times() -> None:
    picture = replace(GOOD.picture, black=((4.0, 8.0),))
    faces = replace(GOOD.faces, readable=0.5, lost=((4.0, 8.0), (9.0, 10.0)))
    texts = {one.code: one.text for one in findings(replace(GOOD, picture=picture, faces=faces))}
    assert texts["black"] == "the picture is black at 4.0-8.0 s"
    assert texts["lost-lips"] == "no lips to read at 4.0-8.0, 9.0-10.0 s"


def test_a_dark_picture_does_no_harm() -> None:
    told = {one.code: one for one in findings(replace(GOOD, faces=replace(GOOD.faces, grey=15.0)))}
    assert told["dark"].kind == "good"
    assert "dark" not in {one.code for one in findings(GOOD)}


def test_a_mouth_that_rests_while_a_voice_is_heard_is_told() -> None:
    hidden = replace(GOOD, speech=replace(GOOD.speech, mouthed=0.1))
    assert "covered" in {finding.code for finding in findings(hidden)}
    seen = replace(GOOD, speech=replace(GOOD.speech, mouthed=0.9))
    assert "covered" not in {finding.code for finding in findings(seen)}


def test_black_pictures_are_found_where_they_are() -> None:
    black = Blackness()
    for number in range(250):
        grey = 16 if 100 <= number < 200 or number < 50 else 120
        picture = np.full((36, 64), grey, np.uint8)
        picture[12:24, 24:40] += 30 * (number < 40)  # a face in the dark
        black(number / FPS, 1 / FPS, av.VideoFrame.from_ndarray(picture, format="gray"))
    ((first_s, end_s),) = black.spans
    assert first_s == pytest.approx(4, abs=0.2)
    assert end_s == pytest.approx(8, abs=0.2)


def test_a_command_can_be_run_whatever_the_name() -> None:
    odd = advise(replace(GOOD, file="-a b.mp4"), BUNDLED).commands[-1][1]
    assert odd == "avsr transcribe './-a b.mp4'"


def channels_of(sound: np.ndarray, folder: Path) -> Channels:
    """Of (N, C) in a file."""
    soundfile.write(folder / "sound.wav", sound, SAMPLE_RATE)
    found = Channels()
    with open_media(folder / "sound.wav") as media:
        media.watch("audio", found)
        for _ in media.pieces():
            pass
    return found


def test_channels_are_measured_before_they_are_mixed(tmp_path: Path) -> None:
    noise = np.clip(0.1 * np.random.default_rng(0).standard_normal((SAMPLE_RATE, 1)), -0.9, 0.9)
    turned = channels_of(np.hstack([noise, -noise]), tmp_path)
    assert turned.correlation == pytest.approx(-1, abs=0.01)
    assert turned.rms_db == pytest.approx([-20, -20], abs=0.2)
    assert turned.clipped < advice.CLIPPED
    dead = channels_of(np.hstack([noise, 0 * noise]), tmp_path)
    assert dead.rms_db[1] < dead.rms_db[0] - advice.DEAD_DB
    assert dead.correlation == 1


@pytest.mark.parametrize("scale", [1.0, 0.05])
def test_clipping_is_found_at_any_level(tmp_path: Path, scale: float) -> None:
    noise = np.random.default_rng(0).standard_normal((SAMPLE_RATE, 1))
    assert channels_of(scale * np.clip(noise, -1, 1), tmp_path).clipped == pytest.approx(0.32, 0.1)
    silence = channels_of(0 * noise, tmp_path)
    assert silence.clipped == 0


def test_samples_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    sound = np.full((SAMPLE_RATE, 1), 0.5, np.float32)
    sound[::2] = -0.5
    sound[100:110], sound[200] = np.nan, np.inf
    soundfile.write(tmp_path / "sound.wav", sound, SAMPLE_RATE, subtype="FLOAT")
    found = Channels()
    with open_media(tmp_path / "sound.wav") as media:
        media.watch("audio", found)
        list(media.pieces())
    assert found.rms_db == pytest.approx([-6.02], abs=0.02)
    assert found.peak_db == pytest.approx(-6.02, abs=0.02)


def test_a_varying_rate_is_told_from_rounded_timestamps() -> None:
    even, uneven = PictureTimes(), PictureTimes()
    for number in range(300):
        even(round(number / 29.97, 3), 0, None)
        uneven(number / 30 + (number // 10) * 0.1, 0, None)
    assert even.fps == pytest.approx(29.97, abs=0.01)
    assert even.varying == 0
    assert uneven.varying > advice.VARIES


def test_the_noise_under_a_voice_is_measured_in_its_pauses() -> None:
    voice = np.arange(100) % 50 < 30
    for truth in (0, 10, 20):
        noise = 0.01
        levels = np.sqrt(noise**2 + voice * noise**2 * 10 ** (truth / 10))
        assert snr_db(levels, voice, ~voice) == pytest.approx(truth, abs=0.1)
    assert snr_db(levels, voice, np.zeros(100, bool)) is None


def test_a_blurred_crop_is_less_sharp_and_a_bright_one_white() -> None:
    crop = np.random.default_rng(0).integers(0, 200, (96, 96)).astype(np.uint8)
    blurred = cv2.GaussianBlur(crop, (0, 0), 5)
    assert crop_measures(blurred)[2] < crop_measures(crop)[2] / 2
    assert crop_measures(np.full_like(crop, 255))[1] == 1


def test_the_contact_sheet_is_a_picture_of_the_crops() -> None:
    crops = [(n / FPS, np.full((96, 96), n, np.uint8)) for n in range(1, 21)]
    sheet = contact_sheet([replace(GOOD, file="ä.mp4", crops=crops), GOOD])
    picture = cv2.imdecode(np.frombuffer(sheet, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture.shape[1] == COLUMNS * 100 + 4  # two rows: 16 of the 20
    assert picture.shape[0] == 18 + 2 * 100


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    make_clip(path, seed=1)
    return path


@pytest.fixture(autouse=True)
def face_model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if {"film", "shared"} & set(request.fixturenames):
        shared = request.getfixturevalue("shared")
        monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))


def test_a_film_is_measured(film: Path) -> None:
    found = examine(film, ours.load("default", "cpu"), lambda done, of: None)
    assert found.picture is not None
    assert found.picture.fps == pytest.approx(25, abs=0.1)
    assert found.faces is not None
    assert found.faces.count == 1
    assert found.faces.readable > 0.9
    assert found.faces.mouth_px > 12
    assert found.speech.voice > 0.2
    assert found.speech.lips > 0.2
    assert found.speech.offset is not None
    assert abs(found.speech.offset.frames) <= 2
    assert 1 <= len(found.crops) <= 32
    assert not problems(found) - {"offset-unsure"}


def test_a_film_without_sound_and_face_is_no_error(tmp_path: Path, film: Path) -> None:
    write_video(tmp_path / "grey.mp4", [np.full((96, 128, 3), 90, np.uint8)] * 30)
    found = examine(tmp_path / "grey.mp4", ours.load("default", "cpu"), lambda done, of: None)
    assert problems(found) == {"no-face", "no-sound"}
    assert advise(found, BUNDLED).commands == []


def test_one_bad_file_stops_no_other(avsr, tmp_path: Path, film: Path, ffmpeg: str) -> None:
    late = tmp_path / "late.mp4"
    delay = ["-af", "adelay=400:all=1", "-c:v", "copy"]
    subprocess.run([ffmpeg, "-v", "error", "-i", film, *delay, late], check=True)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"\0" * 100)
    sheet = tmp_path / "sheet.png"
    status, out, err = avsr("doctor", bad, late, "--json", "--contact-sheet", sheet)
    assert status == 1
    assert "bad.mp4: cannot be read as media" in err
    (found,) = map(json.loads, out.splitlines())
    assert found["file"] == str(late)
    assert found["advice"]["modality"] == "av"
    assert found["speech"]["offset_s"] == pytest.approx(0.4, abs=0.081)
    assert cv2.imread(str(sheet)) is not None
    status, _, err = avsr("doctor", late, "--contact-sheet", late)
    assert status == 2
    assert "would replace the input" in err


def test_where_no_contact_sheet_can_be_written_is_told_before_work(avsr, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sheet = tmp_path / "file" / "sheet.png"
    status, out, err = avsr("doctor", tmp_path / "not-there.mp4", "--contact-sheet", sheet)
    assert (status, out) == (1, "")
    assert f"avsr: {sheet.parent}: cannot be written to" in err
    assert "not-there" not in err


def test_the_report_is_for_people(avsr, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hush.wav", np.zeros(2 * SAMPLE_RATE), SAMPLE_RATE)
    sheet = tmp_path / "sheet.png"
    status, out, err = avsr("doctor", tmp_path / "hush.wav", "--contact-sheet", sheet)
    assert not sheet.exists()
    assert "there are no lips" in err
    assert status == 0
    assert "no sound at all from 0.0 to 2.0 s" in out
    assert "nothing to do" in out


def test_the_one_of_two_who_speaks_is_found(tmp_path: Path, shared: Path, ffmpeg: str) -> None:
    silent, speaks = (
        next(shared.glob(f"data/{name}/*.mp4"), None) for name in ("grid/s1", "grid-others/s31")
    )
    if silent is None or speaks is None:
        pytest.skip("needs the shared GRID clips")
    film = tmp_path / "two.mp4"
    beside = ["-filter_complex", "[0:v][1:v]hstack", "-map", "1:a"]
    inputs = ["-i", silent, "-i", speaks]
    subprocess.run([ffmpeg, "-v", "error", *inputs, *beside, film], check=True)
    found = examine(film, ours.load("default", "cpu"), lambda done, of: None)
    assert found.talk is not None
    assert [talker.side for talker in found.talk.talkers] == ["right"]
    assert found.faces is not None
    assert found.faces.chosen == found.talk.most
