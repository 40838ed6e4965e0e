"""Synthetic clips: the same for a seed, seen as a face, and with sound and lips that carry the
words."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from avsr.base.errors import AvsrError
from avsr.base.inputs import install
from avsr.cli import main
from avsr.preprocessing.clip import SAMPLE_RATE
from avsr.preprocessing.corpora.folder import list_items
from avsr.preprocessing.synthetic import corpus as synthetic
from avsr.preprocessing.synthetic import formant
from avsr.preprocessing.synthetic.corpus import (
    GRAMMAR,
    WORDS,
    Utterance,
    make_clip,
    make_corpus,
    make_voices,
    render,
    sentence,
    speak,
    voices,
)
from avsr.preprocessing.synthetic.puppet import JAW, OPEN, WIDTH, mouth_shapes

ENGINES = ["formant", "espeak", "flite"]


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    if not voices(request.param):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(scope="module")
def landmarks():
    """A function from frames to (T, 478, 2) landmarks in pixels; a frame without a face gives
    NaN."""
    import mediapipe as mp
    from mediapipe.tasks.python import BaseOptions, vision

    from avsr.preprocessing.faces.face_model import MODEL_NAME, face_model

    beside = (
        Path(os.environ.get("AVSR_SHARED", Path(__file__).parents[4] / "shared"))
        / "models"
        / MODEL_NAME
    )
    try:
        model = face_model(beside if beside.is_file() else None)
    except AvsrError as error:
        pytest.skip(f"needs the face model: {error}")
    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.VIDEO
    )

    def find(frames: list[np.ndarray]) -> np.ndarray:
        points = np.full((len(frames), 478, 2), np.nan)
        with vision.FaceLandmarker.create_from_options(options) as landmarker:
            for index, frame in enumerate(frames):
                image = mp.Image(image_format=mp.ImageFormat.SRGB, data=frame)
                faces = landmarker.detect_for_video(image, index * 40).face_landmarks
                if faces:
                    points[index] = [(p.x * frame.shape[1], p.y * frame.shape[0]) for p in faces[0]]
        return points

    return find


def test_the_grammar_is_grids():
    assert [len(slot) for slot in GRAMMAR.values()] == [4, 4, 4, 25, 10, 4]
    assert len(set(WORDS)) == 51
    assert "w" not in GRAMMAR["letter"]
    for seed in range(50):
        words = sentence(_rng(seed)).split()
        assert all(word in slot for word, slot in zip(words, GRAMMAR.values(), strict=True))


def test_every_word_has_a_pronunciation_of_its_own():
    said = [formant.PRONUNCIATIONS[word] for word in WORDS]
    assert len(set(said)) == len(WORDS)
    assert {phone for phones in said for phone in phones.split()} <= formant.PHONES


def test_the_same_seed_speaks_the_same(engine: str):
    text = "set white by a zero please"
    first = speak(text, _rng(3), engine=engine)
    speak("bin blue at f two now", _rng(4), engine=engine)  # what was said before must not matter
    again, other = speak(text, _rng(3), engine=engine), speak(text, _rng(5), engine=engine)
    np.testing.assert_array_equal(first.audio, again.audio)
    assert (first.words, first.phones, first.voice) == (again.words, again.phones, again.voice)
    assert len(other.audio) != len(first.audio) or not np.array_equal(other.audio, first.audio)


def test_sound_is_where_the_words_are_and_not_around_them(engine: str):
    for seed in range(4):
        said = speak(sentence(_rng(seed)), _rng(seed), engine=engine)
        assert said.audio.dtype == np.float32
        assert np.abs(said.audio).max() < 1
        assert [word for word, *_ in said.words] == said.text.split()

        def level_db(start_s: float, end_s: float, audio=said.audio) -> float:
            piece = audio[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)].astype(np.float64)
            return 10 * np.log10(np.mean(piece**2))

        starts, ends = zip(*((a, b) for _, a, b in said.words), strict=True)
        assert all(a < b for a, b in zip(starts, ends, strict=True))
        assert all(b <= a + 0.02 for b, a in zip(ends, starts[1:], strict=False))
        assert 0.2 <= starts[0] < 0.56
        assert 0.19 < said.duration_s - ends[-1] < 0.6
        assert all(level_db(a, b) > -40 for a, b in zip(starts, ends, strict=True))
        assert level_db(0, starts[0] - 0.02) < -55
        assert level_db(ends[-1] + 0.1, said.duration_s) < -55


def test_letters_are_read_as_letters(engine: str):
    said = speak("bin blue at a two now", _rng(1), voice=voices(engine)[-1])
    _, start, end = said.words[3]
    assert end - start > 0.07  # not the article's fleeting vowel
    if engine != "espeak":  # its accents differ
        assert "EY" in [
            phone for phone, a, b in said.phones if start - 0.01 <= a and b <= end + 0.01
        ]


def test_formant_words_sound_different_and_speakers_too():
    """Mean spectra by thirds of the word: the same word by another seed is nearer than any other
    vowel."""
    import librosa

    def print_of(word: str, seed: int) -> np.ndarray:
        sound, _, _ = formant.synthesise([word], formant.Speaker(115, 1.0), _rng(seed))
        mel = librosa.power_to_db(
            librosa.feature.melspectrogram(y=sound, sr=SAMPLE_RATE, n_mels=40), top_db=60
        )
        return np.concatenate([part.mean(axis=1) for part in np.array_split(mel, 4, axis=1)])

    table = np.stack([print_of(word, 1) for word in WORDS])
    nearest = [
        WORDS[int(np.argmin(np.linalg.norm(table - print_of(word, 2), axis=1)))] == word
        for word in WORDS
    ]
    assert np.mean(nearest) > 0.9
    said = {
        voice: speak("lay red in k six soon", _rng(1), voice=voice) for voice in voices("formant")
    }
    pitch = {
        voice: librosa.yin(u.audio, fmin=60, fmax=350, sr=SAMPLE_RATE) for voice, u in said.items()
    }
    assert np.median(pitch["formant:f2"]) > 1.3 * np.median(pitch["formant:m1"])


def test_without_other_engines_ours_is_used(monkeypatch: pytest.MonkeyPatch):
    from avsr.preprocessing.synthetic import voice

    monkeypatch.setattr(voice, "_has_espeak", lambda: False)
    assert speak("bin blue at f two now", _rng()).voice.startswith("formant:")
    with pytest.raises(AvsrError, match="cannot say 'hello'"):
        speak("hello", _rng())
    with pytest.raises(AvsrError, match="not on this machine"):
        speak("bin", _rng(), engine="espeak")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"engine": "gramophone"}, "choose one of auto"),
        ({"voice": "formant:caruso"}, "available: formant:m1"),
        ({"voice": "caruso"}, "unknown speech engine"),
        ({"text": "  "}, "nothing to say"),
    ],
)
def test_a_wrong_request_is_explained(kwargs: dict, message: str):
    with pytest.raises(AvsrError, match=message):
        speak(kwargs.pop("text", "bin"), _rng(), **kwargs)


def test_lips_close_for_b_and_round_for_oo():
    phones = [("AA", 0.4, 0.6), ("B", 0.6, 0.68), ("AA", 0.68, 0.9), ("UW", 0.9, 1.2)]
    shapes = mouth_shapes(phones, 40)
    assert shapes.shape == (40, 5)
    assert shapes[15:17, OPEN].min() < 0.1 < 0.6 < shapes[12, OPEN]
    assert shapes[26, WIDTH] < -0.7
    assert shapes[:2, OPEN].max() < 0.05
    assert shapes[-2:, OPEN].max() < 0.05
    assert np.abs(np.diff(shapes[:, JAW])).max() < 0.5  # a jaw is heavy


def test_frames_are_the_same_for_a_seed_and_differ_between_seeds():
    said = speak("bin blue at f two now", _rng(), engine="formant")
    first, again, other = (list(render(said, _rng(seed))) for seed in (1, 1, 2))
    assert len(first) == -(-len(said.audio) // 640)
    assert first[0].shape == (288, 360, 3)
    assert first[0].dtype == np.uint8
    np.testing.assert_array_equal(np.stack(first), np.stack(again))
    assert np.abs(np.stack(first).astype(int) - np.stack(other)).mean() > 5
    assert next(render(said, _rng(), 480, 480)).shape == (480, 480, 3)


def test_a_face_is_seen_in_every_frame_and_its_mouth_follows_the_sounds(landmarks):
    for seed in range(3):
        rng = _rng(seed)
        said = speak(sentence(rng), rng, engine="formant")
        frames = list(render(said, rng))
        points = landmarks(frames)
        assert np.isfinite(points).all(), "a frame without a face"

        def span(a: int, b: int, points=points) -> np.ndarray:
            return np.linalg.norm(points[:, a] - points[:, b], axis=1)

        eyes = span(33, 263)
        shapes = mouth_shapes(said.phones, len(frames))
        assert np.median(span(61, 291)) > 40  # pixels: enough for a crop with a mouth of 45
        assert np.corrcoef(span(13, 14) / eyes, shapes[:, OPEN])[0, 1] > 0.7
        assert np.corrcoef(span(168, 152) / eyes, shapes[:, JAW])[0, 1] > 0.7
        assert np.corrcoef(span(61, 291) / eyes, shapes[:, WIDTH])[0, 1] > 0.6


def test_clip_is_a_film_with_sound(tmp_path: Path):
    from avsr.preprocessing.media.streams import probe

    text = make_clip(tmp_path / "one.mp4", seed=7, engine="formant")
    info = probe(tmp_path / "one.mp4")
    assert (info.width, info.height, info.has_audio, info.has_video) == (360, 288, True, True)
    assert make_clip(tmp_path / "two.mp4", seed=7, engine="formant") == text
    assert (
        make_clip(tmp_path / "two.mp4", "lay red in k six soon", engine="formant")
        == "lay red in k six soon"
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def check_folder_corpus(folder: Path, texts: list[str]) -> None:
    """The folder corpus takes every recording, with its text and word times."""
    items = list_items(folder)
    assert sorted(item.text for item in items) == sorted(texts)
    for item in items:
        assert item.problem is None
        assert item.note is None
        assert [word for word, *_ in item.words] == item.text.split()


def test_talking_heads_are_what_the_folder_corpus_reads(tmp_path: Path):
    texts = make_corpus(tmp_path / "two", 2, seed=1, engine="formant")
    names = {f"clip000{i}.{kind}" for i in range(2) for kind in ("mp4", "txt", "words.json")}
    assert contents(tmp_path / "two").keys() == names
    check_folder_corpus(tmp_path / "two", texts)
    assert make_corpus(tmp_path / "one", 1, seed=1, engine="formant") == texts[:1]


def test_voices_are_what_the_folder_corpus_reads_and_come_again_after_an_interruption(
    tmp_path: Path,
):
    texts = make_voices(tmp_path, 4, seed=1, engines=["formant"])
    whole = contents(tmp_path)
    assert whole.keys() == {
        f"formant/0000{i}.{kind}" for i in range(4) for kind in ("wav", "txt", "words.json")
    }
    check_folder_corpus(tmp_path, texts)
    (tmp_path / "formant" / "00001.wav").unlink()
    kept = (tmp_path / "formant" / "00002.wav").stat().st_mtime_ns
    assert make_voices(tmp_path, 4, seed=1, engines=["formant"]) == texts
    assert contents(tmp_path) == whole
    assert (tmp_path / "formant" / "00002.wav").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("engines", "heard"),
    [
        ((), "fes fes esp fes esp fes fes fli for"),
        (["formant", "festival", "flite", "espeak"], "fes fes esp fes esp fes fes fli for"),
        ([*synthetic.DEFAULT_ENGINES, "pico"], "for for esp fes esp fes for fli pic"),
    ],
)
def test_engines_and_sentences_are_those_that_models_were_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engines: Sequence[str], heard: str
):
    said = []

    def note(text: str, rng: np.random.Generator, engine: str) -> Utterance:
        said.append((engine, text))
        return Utterance(text, np.zeros(640, np.float32), None, None, engine)

    monkeypatch.setattr(synthetic, "voices", lambda engine: [engine])
    monkeypatch.setattr(synthetic, "speak", note)
    make_voices(tmp_path, 9, seed=5, **({"engines": engines} if engines else {}))
    assert " ".join(engine[:3] for engine, _ in said) == heard
    assert said[0][1] == "bin white by m six now"
    assert said[2] == ("espeak", "place green at o five please")


def test_an_engine_that_is_not_there_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(
        AvsrError, match="festival is not on this machine: apt-get install festival festvox"
    ):
        make_voices(tmp_path / "new", 1, engines=["formant", "festival"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        AvsrError, match=re.escape(f"pico is not on this machine: {install('ttspico')}")
    ):
        make_voices(tmp_path / "new", 1, engines=["formant", "pico"])
    with pytest.raises(
        AvsrError,
        match=r"kokoro is not on this machine: pip install .* into AVSR_KOKORO_DIR, or name",
    ):
        make_voices(tmp_path / "new", 1, engines=["kokoro"])
    with pytest.raises(AvsrError, match="'gramophone': choose among espeak"):
        make_voices(tmp_path / "new", 1, engines=["gramophone"])
    assert not (tmp_path / "new").exists()


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    out = str(tmp_path / "out")
    assert (
        main(["synth", out, "--clips", "2", "--seed", "3", "--voices", "--engines", "formant"]) == 0
    )
    assert len(list_items(out)) == 2
    monkeypatch.setattr(synthetic, "voices", lambda engine: [] if engine == "pico" else [engine])
    monkeypatch.setattr(
        synthetic, "speak", lambda text, *_, **__: Utterance(text, np.zeros(640), None, None, "any")
    )
    # without the one engine that is not a Debian package
    assert main(["synth", f"{out}2", "--clips", "20", "--voices"]) == 0
    assert main(["synth", out, "--seed", "-1"]) == 2
    assert "--seed" in capsys.readouterr().err
    assert (
        main(["synth", out, "--clips", "2", "--seed", "4", "--voices", "--engines", "formant"]) == 1
    )
    assert "00000.wav was made with another seed" in capsys.readouterr().err
    assert main(["synth", out, "--clips", "0"]) == 2
    assert main(["synth", out, "--engines", "formant"]) == 2
    assert "needs --voices" in capsys.readouterr().err
    assert main(["synth", out, "--voices", "--engines", "formant,gramophone"]) == 2
    assert "use some of espeak" in capsys.readouterr().err


def test_a_voice_without_times_cannot_move_lips():
    if not shutil.which("text2wave") or "festival:kal_diphone" not in voices("festival"):
        pytest.skip("festival with festvox-kallpc16k is not installed")
    said = speak("bin blue at f two now", _rng(), voice="festival:kal_diphone")
    assert said.words is None
    assert said.duration_s > 1
    with pytest.raises(AvsrError, match="no phone times"):
        render(said, _rng())


@pytest.fixture
def pico() -> str:
    if not voices("pico"):
        pytest.skip("the Python package ttspico is not installed")
    return "pico"


def test_pico_speaks_between_two_silences_and_without_times(pico: str):
    spoken = {
        voice: speak("set white by a zero please", _rng(3), voice=voice) for voice in voices(pico)
    }
    assert len(spoken) == 2
    for said in spoken.values():
        assert (said.words, said.phones) == (None, None)
        assert said.audio.dtype == np.float32
        assert 1.2 < said.duration_s < 4
        ends = np.concatenate([said.audio[:3000], said.audio[-3000:]])
        middle = said.audio[len(said.audio) // 4 : -len(said.audio) // 4]
        assert 20 * np.log10(ends.std()) < -55
        assert 20 * np.log10(middle.std()) > -35
        assert np.abs(said.audio).max() < 1
    first, second = (said.audio for said in spoken.values())
    assert len(first) != len(second) or not np.array_equal(first, second)
    short = speak("set white", _rng(3), voice="pico:en-GB")
    assert short.duration_s < spoken["pico:en-GB"].duration_s - 0.5


def test_pico_says_the_same_whatever_it_said_before(pico: str):
    text = "set white by a zero please"
    first = speak(text, _rng(3), engine=pico)
    speak("bin blue at f two now", _rng(4), engine=pico)
    np.testing.assert_array_equal(first.audio, speak(text, _rng(3), engine=pico).audio)
