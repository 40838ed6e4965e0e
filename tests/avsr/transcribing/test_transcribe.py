"""Clips and files to words: masks, batches, windows, word times, and what is said about what is
missing."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import avsr
from avsr.base.device import pick_device
from avsr.base.errors import AvsrError, MediaError
from avsr.decoding.confidence import FEATURES, logit
from avsr.decoding.language import load
from avsr.decoding.words import Word
from avsr.model.batches import batches_by_length, collate
from avsr.preprocessing.clip import CROP_SIZE, FPS, SAMPLES_PER_FRAME, Clip
from avsr.recognisers.ours import NetworkRecogniser
from avsr.transcribing.engine import Listener

TOKENS = ("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz")


class Reader(torch.nn.Module):
    """Stands for a network: what is spelt by the level of each sound frame, or the grey of each lip
    frame, it says."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = None
        self.config = SimpleNamespace(tokens=TOKENS, piece_scores=(), outputs_per_frame=1)
        self.batches: list[int] = []

    def forward(self, audio, lips, audio_present, video_present, lens):
        self.batches.append(len(lens))
        # the faintest sample: noise, which silence is given to recognisers as, has one near zero
        level = audio.unflatten(1, (-1, SAMPLES_PER_FRAME)).abs().amin(-1)
        heard = (level * 100).round().long() * audio_present
        seen = lips[:, :, 0, 0].long() * video_present
        ids = torch.where(audio_present, heard, seen)
        log_probs = torch.nn.functional.one_hot(ids, len(TOKENS)).float().mul(30).log_softmax(-1)
        both = audio_present & video_present
        weight = torch.where(both, 0.5, audio_present.float())
        return SimpleNamespace(log_probs=log_probs, audio_weight=weight, lens=lens)


def spelt(text: str, *, heard: bool = True, seen: bool = True, start_s: float = 0.0) -> Clip:
    """A clip in which each character lasts a frame; "-" is silence."""
    ids = np.array([0 if char == "-" else TOKENS.index(char) for char in text], dtype=np.int64)
    frames = len(ids)
    return Clip(
        id="x",
        audio=np.repeat(ids / 100, SAMPLES_PER_FRAME).astype(np.float32),
        lips=np.broadcast_to(ids[:, None, None], (frames, CROP_SIZE, CROP_SIZE)).astype(np.uint8),
        audio_present=np.full(frames, heard),
        video_present=np.full(frames, seen),
        start_s=start_s,
    )


def listener(recogniser: NetworkRecogniser) -> Listener:
    return Listener(recogniser, "av", recogniser.recognise_part)


@pytest.fixture
def recogniser() -> NetworkRecogniser:
    return NetworkRecogniser(Reader(), "reader", {}, torch.device("cpu"))  # type: ignore[arg-type]


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch):
    """Makes transcribe read a clip as if it were a file of that content."""

    def use(clip: Clip, *, sound: bool = True, picture: bool = True) -> None:
        class Reader:
            """Stands for reader.ClipReader."""

            def __init__(self, path, *, audio, video, **_) -> None:
                self.faces = video and picture
                self.info = SimpleNamespace(
                    has_audio=sound, has_video=picture, duration_s=clip.duration_s
                )
                self.faults: list[str] = []
                self.remarks: list[str] = []

            def set_window(self, window_s: float) -> None:
                self.size = round(window_s * FPS)

            def __enter__(self) -> Reader:
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def __iter__(self) -> Iterator[Clip]:
                if self.faces:
                    self.progress(clip.duration_s)
                return (
                    clip.window(i, min(i + self.size, clip.frames))
                    for i in range(0, clip.frames, self.size)
                )

        monkeypatch.setattr(
            importlib.import_module("avsr.preprocessing.reader"), "ClipReader", Reader
        )

    return use


def test_words_with_times_from_the_start_of_the_source(recogniser: NetworkRecogniser):
    (hypothesis,) = recogniser.recognise([spelt("--bin------ blue--", start_s=10.0)])
    assert hypothesis.text == "bin blue"
    assert [(w.word, w.start_s, w.end_s) for w in hypothesis.words] == [
        ("bin", pytest.approx(10.08), pytest.approx(10.32)),
        ("blue", pytest.approx(10.48), pytest.approx(10.72)),
    ]
    assert hypothesis.confidence > 0.99
    assert all(0 <= word.confidence <= 1 for word in hypothesis.words)


def test_modality_hides_the_other_stream(recogniser: NetworkRecogniser):
    clip = spelt("ab")
    weights = {
        m: recogniser.recognise([clip], m)[0].words[0].audio_weight
        for m in ("auto", "av", "audio", "video")
    }
    assert weights == {"auto": 0.5, "av": 0.5, "audio": 1.0, "video": 0.0}


def test_order_is_kept_across_batches_of_like_length(recogniser: NetworkRecogniser):
    texts = ["ab" + "-" * n for n in (500, 3, 900, 40, 1700)] + ["c", "d-", "e--"]
    found = recogniser.recognise([spelt(text) for text in texts])
    assert [h.text for h in found] == [text.strip("-") for text in texts]
    assert max(recogniser.model.batches) > 1
    assert len(recogniser.model.batches) > 1


def test_batches_hold_clips_of_like_length():
    frames = [75, 2000, 800, 801, 75, 10, 800]
    batches = list(batches_by_length([0, 1, 2, 3, 4, 6], frames))
    # padded frames: 2000 of a clip alone, 801, 1600, 150
    assert batches == [[1], [3], [2, 6], [0, 4]]
    assert list(batches_by_length([], frames)) == []


def test_nothing_present_says_nothing_and_costs_nothing(recogniser: NetworkRecogniser):
    found = recogniser.recognise([spelt("ab", heard=False, seen=False), spelt("c"), spelt("")])
    assert [(h.text, h.confidence > 0) for h in found] == [("", False), ("c", True), ("", False)]
    assert recogniser.model.batches == [1]
    assert recogniser.recognise([]) == []


def test_beam_gives_the_same_words_on_clear_speech(recogniser: NetworkRecogniser):
    clip = spelt("-bin--blue-")
    assert recogniser.recognise([clip], beam=4) == recogniser.recognise([clip])


def test_a_grammar_mends_what_is_misspelt(recogniser: NetworkRecogniser):
    clip = spelt("-bim -blu- -at -f- -tho -no--")
    assert recogniser.recognise([clip])[0].text == "bim blu at f tho no"
    grammar = load(grammar="grid")
    (found,) = recogniser.recognise([clip], language=grammar)
    assert found.text == "bin blue at f two now"
    assert recogniser.with_decoding(language=grammar).recognise([clip]) == [found]
    assert recogniser.decoding.language is None
    (quiet,) = recogniser.recognise([spelt("-" * 40)], language=grammar)
    assert quiet.words == []


class Echo(Reader):
    """Two outputs a frame, which say a letter twice."""

    def __init__(self) -> None:
        super().__init__()
        self.config.outputs_per_frame = 2

    def forward(self, audio, lips, audio_present, video_present, lens):
        out = super().forward(audio, lips, audio_present, video_present, lens)
        ids = torch.tensor(
            [0 if char == "-" else TOKENS.index(char) for char in "-in-- -v v- six-"]
        )
        out.log_probs = (
            torch.nn.functional.one_hot(ids[None], len(TOKENS)).float().mul(30).log_softmax(-1)
        )
        out.lens = 2 * lens
        return out


def test_an_echo_is_not_heard_unless_a_grammar_has_it(tmp_path: Path):
    recogniser = NetworkRecogniser(Echo(), "echo", {}, torch.device("cpu"))  # type: ignore[arg-type]
    clip = spelt("-" * 8)
    (found,) = recogniser.recognise([clip])
    assert [(w.word, round(w.start_s, 2)) for w in found.words] == [
        ("in", 0.02),
        ("v", 0.14),
        ("six", 0.24),
    ]
    assert recogniser.recognise([clip], beam=4) == [found]
    path = tmp_path / "twice.txt"
    path.write_text("in\nv\nv\nsix\n")
    assert recogniser.recognise([clip], language=load(grammar=str(path)))[0].text == "in v v six"


def test_confidences_are_calibrated_where_the_model_says_how():
    halved = {"features": list(FEATURES), "weights": [0.0, 0.0, 1.0, 0.0], "bias": logit(0.2)}
    recogniser = NetworkRecogniser(Reader(), "reader", {"calibration": halved}, torch.device("cpu"))  # type: ignore[arg-type]
    (found,) = recogniser.recognise([spelt("ab-")])
    assert found.words[0].confidence == pytest.approx(0.2)
    assert found.confidence == pytest.approx(0.2)


def test_word_times_are_those_the_model_says():
    info = {"word_times": {"lead_frames": 2, "tail_frames": 1}}
    recogniser = NetworkRecogniser(Reader(), "reader", info, torch.device("cpu"))  # type: ignore[arg-type]
    (found,) = recogniser.recognise([spelt("-----ab-----")])
    assert (found.words[0].start_s, found.words[0].end_s) == (
        pytest.approx(3 / FPS),
        pytest.approx(8 / FPS),
    )


@pytest.mark.parametrize("name", ["calibration", "word_times"])
def test_what_a_model_says_of_itself_is_checked(name: str):
    with pytest.raises(AvsrError, match=f"the model's {name} "):
        NetworkRecogniser(Reader(), "reader", {name: "good"}, torch.device("cpu"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "smell"}, "smell"),
        ({"beam": -1}, "beam -1"),
        ({"beam": 4, "language": load(grammar="grid")}, "exact"),
    ],
)
def test_wrong_options_are_one_line(recogniser: NetworkRecogniser, options: dict, message: str):
    with pytest.raises(AvsrError, match=message):
        recogniser.recognise([spelt("a")], **options)


def test_padding_is_absent():
    audio, lips, audio_present, video_present, lens = collate(
        [spelt("abc"), spelt("a", heard=False)]
    )
    assert audio.shape == (2, 3 * SAMPLES_PER_FRAME)
    assert lips.shape == (2, 3, CROP_SIZE, CROP_SIZE)
    assert audio_present.tolist() == [[True] * 3, [False] * 3]
    assert video_present.tolist() == [[True] * 3, [True, False, False]]
    assert lens.tolist() == [3, 1]
    assert not audio[1, SAMPLES_PER_FRAME:].any()


def test_clip_alone_and_in_a_batch_give_the_same_words_from_a_real_network(tiny_network):
    model = tiny_network(TOKENS, seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        torch.nn.init.normal_(model.head.weight, std=2.0)
    network = NetworkRecogniser(model, "random", {}, torch.device("cpu"))
    rng = np.random.default_rng(0)
    clips = []
    for frames in (12, 30, 7):
        clip = spelt("a" * frames)
        noise = rng.normal(size=clip.audio.shape).astype(np.float32) * 0.1
        clips.append(Clip("n", noise, clip.lips, clip.audio_present, clip.video_present))
    together = network.recognise(clips)
    for clip, expected in zip(clips, together, strict=True):
        (alone,) = network.recognise([clip])
        assert alone.text == expected.text
        assert alone.confidence == pytest.approx(expected.confidence, abs=1e-4)


def test_segments_part_at_long_pauses(recogniser: NetworkRecogniser, play):
    play(spelt("-ab--- c " + "-" * 29 + "d-"))
    transcript = recogniser.transcribe("film.mp4")
    assert [segment.text for segment in transcript.segments] == ["ab c", "d"]
    assert transcript.text == "ab c d"
    assert transcript.duration_s == pytest.approx(40 / FPS)
    assert transcript.segments[1].start_s == pytest.approx(38 / FPS)
    assert transcript.warnings == []


def test_json_has_the_designed_keys(recogniser: NetworkRecogniser, play):
    play(spelt("-ab-"))
    body = json.loads(json.dumps(recogniser.transcribe("film.mp4").to_dict()))
    assert list(body) == ["schema", "file", "model", "duration_s", "in_domain", "segments"]
    assert (body["schema"], body["file"], body["model"]) == (1, "film.mp4", "reader")
    (segment,) = body["segments"]
    assert list(segment) == [
        *(
            "start_s",
            "end_s",
            "text",
            "confidence",
            "speaker",
            "audio_present",
            "video_present",
            "words",
            "in_domain",
            "together",
        )
    ]
    assert body["in_domain"] is None
    assert list(segment["words"][0]) == ["word", "start_s", "end_s", "confidence", "audio_weight"]


def test_presence_of_a_segment_is_the_fraction_of_its_frames(recogniser: NetworkRecogniser, play):
    clip = spelt("abcd")
    clip.video_present[:] = [True, False, False, False]
    play(clip)
    (segment,) = recogniser.transcribe("film.mp4").segments
    assert (segment.audio_present, segment.video_present) == (1.0, 0.25)


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(
        st.tuples(st.sampled_from(["bin", "at", "f", "nineteen"]), st.integers(1, 40)), max_size=40
    )
)
def test_windows_lose_and_double_no_word(words):
    """However the windows fall, the words and their times are those of the file recognised in one
    piece."""
    clip = spelt("--" + "".join(word + " " + "-" * gap for word, gap in words) + "-")
    whole = NetworkRecogniser(Reader(), "reader", {"window_s": 120}, torch.device("cpu"))  # type: ignore[arg-type]
    parts = NetworkRecogniser(Reader(), "reader", {"window_s": 3}, torch.device("cpu"))  # type: ignore[arg-type]

    def run(recogniser: NetworkRecogniser) -> list[Word]:
        size = round(recogniser.window_s * FPS)
        stream = [clip.window(i, min(i + size, clip.frames)) for i in range(0, clip.frames, size)]
        found = list(listener(recogniser).parts(stream))
        assert sum(part.frames for part, _ in found) == clip.frames
        return [word for _, hypothesis in found for word in hypothesis.words]

    expected, found = run(whole), run(parts)
    assert [word.word for word in found] == [word.word for word in expected]
    assert [word.start_s for word in found] == pytest.approx([word.start_s for word in expected])
    # a cut may end a word's tail early, never the word itself
    assert all(-1e-6 <= a.end_s - b.end_s < 0.13 for a, b in zip(expected, found, strict=True))


@settings(max_examples=8, deadline=None)
@given(gaps=st.lists(st.integers(1, 30), min_size=1, max_size=12), inside=st.integers(1, 25))
# a sentence longer than a window, and no pause before or after it
@example(gaps=[1, 1, 1], inside=22)
def test_windows_cut_no_sentence_of_a_grammar(gaps, inside):
    """Even where the pauses within sentences are longer than those between them, and windows
    shorter than sentences."""
    sentence = (" " + "-" * inside).join(["bin", "blue", "at", "f", "two", "now"])
    clip = spelt("--" + "".join(sentence + " " + "-" * gap for gap in gaps) + "--")
    recogniser = NetworkRecogniser(Reader(), "reader", {"window_s": 5}, torch.device("cpu"))  # type: ignore[arg-type]
    recogniser = recogniser.with_decoding(language=load(grammar="grid"))
    stream = [clip.window(i, min(i + 125, clip.frames)) for i in range(0, clip.frames, 125)]
    found = [word.word for _, part in listener(recogniser).parts(stream) for word in part.words]
    assert found == ["bin", "blue", "at", "f", "two", "now"] * len(gaps)


@pytest.mark.parametrize("window_s", ["20", None, [20], 0.04, 1e9, float("nan")])
def test_a_window_that_a_model_cannot_mean_is_one_line(window_s: object):
    with pytest.raises(AvsrError, match=r"window_s is .*: must be 1 to 120 seconds"):
        NetworkRecogniser(Reader(), "reader", {"window_s": window_s}, torch.device("cpu"))  # type: ignore[arg-type]


def test_a_short_file_is_one_window(recogniser: NetworkRecogniser, play):
    play(spelt("ab-" * 25))
    recogniser.transcribe("grid.mpg")
    assert recogniser.model.batches == [1]


def test_progress_rises_to_the_whole_duration(recogniser: NetworkRecogniser, play):
    play(spelt("ab---" * 500))
    told: list[tuple[float, float]] = []
    recogniser.transcribe("film.mp4", progress=lambda done, of: told.append((done, of)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (pytest.approx(100.0), 100.0)


@pytest.mark.parametrize(
    ("heard", "seen", "sound", "picture", "warning"),
    [
        (True, False, True, True, "no face found: audio only"),
        (True, False, True, False, "no picture: audio only"),
        (False, True, False, True, "no sound track: lips only"),
        (False, True, True, True, "no sound could be read: lips only"),
    ],
)
def test_the_other_modality_serves_and_the_output_says_so(
    recogniser: NetworkRecogniser, play, heard, seen, sound, picture, warning
):
    play(spelt("ab", heard=heard, seen=seen), sound=sound, picture=picture)
    transcript = recogniser.transcribe("film.mp4")
    assert transcript.text == "ab"
    assert transcript.warnings == [warning]


def test_silence_is_reported(recogniser: NetworkRecogniser, play):
    play(spelt("----"))
    transcript = recogniser.transcribe("film.mp4")
    assert transcript.segments == []
    assert transcript.warnings == ["no words recognised"]


def test_a_stretch_without_sound_is_told_where_lips_are_read_in_it_or_where_it_is_long(
    recogniser: NetworkRecogniser, play
):
    def told(text: str, first: int, last: int) -> list[str]:
        clip = spelt(text)
        clip.audio_present[first:last] = False
        play(clip)
        return recogniser.transcribe("film.mp4").warnings

    pause = "-" * 25
    middle = "no sound for 2.1 of 2.3 s: 0.1-2.2 s: what is said there is read from the lips alone"
    assert told(f"ab {pause}cd{pause}ef", 3, 55) == [middle]
    assert told(f"ab {pause}-{pause}ef", 3, 54) == []
    assert told(f"ab {11 * pause}ef", 0, 0) == ["no sound for 11.0 of 11.2 s: 0.1-11.1 s"]


@pytest.mark.parametrize(
    ("modality", "heard", "seen", "sound", "picture", "message"),
    [
        (
            "audio",
            False,
            True,
            False,
            True,
            "no sound, which modality 'audio' needs: use video or auto",
        ),
        ("av", False, True, False, True, "no sound, which modality 'av' needs"),
        (
            "video",
            True,
            False,
            True,
            False,
            "no picture, which modality 'video' needs: use audio or auto",
        ),
        ("av", True, False, True, True, "no face found, which modality 'av' needs"),
    ],
)
def test_what_is_insisted_on_and_missing_is_one_line(
    recogniser: NetworkRecogniser, play, modality, heard, seen, sound, picture, message
):
    play(spelt("ab", heard=heard, seen=seen), sound=sound, picture=picture)
    with pytest.raises(AvsrError, match=f"^film.mp4: {message}"):
        recogniser.transcribe("film.mp4", modality=modality)


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type in ("cpu", "cuda", "mps")
    for wrong in ("tpu", "cpu:1", "cuda:x", ""):
        with pytest.raises(AvsrError, match="use auto, cpu, cuda"):
            pick_device(wrong)
    if not torch.cuda.is_available():
        with pytest.raises(AvsrError, match="not available on this machine"):
            pick_device("cuda")


@pytest.fixture
def tiny(tmp_path: Path, tiny_network) -> Path:
    """A model file with random weights."""
    from avsr.model import checkpoint

    checkpoint.save(tmp_path / "tiny.safetensors", tiny_network(TOKENS), {"knows": "nothing"})
    return tmp_path / "tiny.safetensors"


def test_three_lines_of_python_on_a_sound_file(tiny: Path, tmp_path: Path):
    import soundfile

    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.random.default_rng(0).normal(size=24_000) * 0.1, 16_000)
    model = avsr.load_model(tiny, device="cpu")
    transcript = model.transcribe(sound)
    assert isinstance(transcript, avsr.Transcript)
    assert (transcript.model, transcript.duration_s) == ("tiny", pytest.approx(1.5, abs=0.05))
    assert transcript.warnings[0] == "no picture: audio only"
    assert avsr.transcribe(sound, model=tiny, device="cpu").to_dict() == transcript.to_dict()


@pytest.mark.parametrize("content", [None, b"", b"this is a text\n" * 50])
def test_unusable_files_are_one_line(tiny: Path, tmp_path: Path, content: bytes | None):
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        avsr.load_model(tiny, device="cpu").transcribe(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_real_clip_has_both_modalities(shared: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    transcript = avsr.load_model(tiny, device="cpu").transcribe(
        shared / "data" / "grid" / "s1" / "bbaf2n.mp4", modality="av"
    )
    assert transcript.duration_s == pytest.approx(3.0, abs=0.08)
    for segment in transcript.segments:
        assert (segment.audio_present, segment.video_present) == (1.0, 1.0)


def test_rows_8_28_faults_of_the_file_are_warnings(shared: Path, tmp_path: Path):
    """The words of the track that was chosen, of as much as there was, and a line on either."""
    import av
    import soundfile

    from avsr import load_model
    from avsr.preprocessing.media import streams

    clip = shared / "data" / "grid" / "s1" / "bbaf2n.mp4"
    said = np.concatenate([piece.audio for piece in streams.read(clip, video=False)])
    soundfile.write(tmp_path / "long.wav", np.concatenate([said, *[0 * said] * 5]), 16_000)
    whole = (tmp_path / "long.wav").read_bytes()
    (tmp_path / "long.wav").write_bytes(whole[: len(whole) // 3])
    found = load_model().transcribe(tmp_path / "long.wav")
    assert found.text == "bin blue at f two now"
    assert "the file was cut off: 6 of 18 s were there" in found.warnings

    noise = (0.1 * np.random.default_rng(1).standard_normal(len(said)) * 32767).astype(np.int16)
    with av.open(str(tmp_path / "two.mkv"), "w") as container:
        streams = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for stream, sound in zip(streams, (noise, (said * 32767).astype(np.int16)), strict=True):
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
    chosen = load_model().transcribe(tmp_path / "two.mkv", audio_track=2)
    assert chosen.text == "bin blue at f two now"
    assert any(
        "choose with --audio-track" in line
        for line in load_model().transcribe(tmp_path / "two.mkv").warnings
    )


def closed_model(**info: object) -> NetworkRecogniser:
    """A model of GRID's words."""
    return NetworkRecogniser(Reader(), "reader", {"grammar": "grid", **info}, torch.device("cpu"))  # type: ignore[arg-type]


def test_a_model_of_few_words_says_no_others_in_files(play):
    play(spelt("--bin bxue at e now--"))
    model = closed_model()
    assert model.transcribe("film.mp4").text == "bin blue at e now"
    (letters,) = model.recognise([spelt("--bin bxue at e now--")])
    assert letters.text == "bin bxue at e now"  # clips as they are: evaluation is greedy
    assert model.transcribe("film.mp4", beam=0).text == "bin bxue at e now"
    assert model.with_decoding(beam=0).transcribe("film.mp4").text == "bin bxue at e now"
    assert model.with_decoding().transcribe("film.mp4").text == "bin blue at e now"


def test_an_unknown_grammar_of_a_model_is_one_line():
    with pytest.raises(AvsrError, match=r"grammar is 3: must be one of grid"):
        closed_model(grammar=3)


def test_other_speech_is_told_for_the_file_and_its_segments(play):
    domain = {"features": ["sure", "order", "unsaid"], "weights": [0.0, 10.0, -1.0], "bias": -5.5}
    model = closed_model(domain=domain, knows="51 GRID words")
    own, other = "bin blue at e now", "now two e at bin"
    play(spelt(own))
    transcript = model.transcribe("film.mp4")
    assert transcript.in_domain is True
    assert transcript.warnings == []
    pause = "-" * 150
    play(spelt(own + pause + other + pause + other))
    transcript = model.transcribe("film.mp4")
    assert [segment.in_domain for segment in transcript.segments] == [True, False, False]
    assert transcript.in_domain is False
    (told,) = transcript.warnings
    assert "not of the language of the model reader, which knows 51 GRID words" in told
    assert transcript.to_dict()["in_domain"] is False
    play(spelt(other, heard=False), sound=False)
    assert model.transcribe("film.mp4").in_domain is None  # lips alone are too unsure to tell
