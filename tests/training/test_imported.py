"""Imported networks are trained on: small ones of every family, on clips of noise."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from toy import TEXTS, make_clip
from typer.testing import CliRunner

from avsr.base.errors import AvsrError
from avsr.cli.prepare import _spelling_of
from avsr.cli.program import app
from avsr.imported import store
from avsr.imported.autoavsr import AutoAVSR, AutoAVSRConfig
from avsr.imported.encoder import EncoderConfig
from avsr.imported.importing import import_checkpoint
from avsr.imported.usr import USR, USRConfig
from avsr.model import checkpoint
from avsr.model.layers.decoder import DecoderConfig
from avsr.preprocessing.clip import SAMPLE_RATE, Clip
from avsr.preprocessing.shards import ShardWriter
from avsr.recognisers.imported import ImportedRecogniser
from avsr.recognisers.registry import load
from avsr.training.tools.estimate import estimate
from avsr.training.train import train
from avsr.transcribing.voice.activity import everything

SIZES = {"width": 32, "heads": 2, "feed_forward": 64, "layers": 1}
CONFORMER = EncoderConfig(**SIZES, kernel=5, macaron=True, channels=4)
TRANSFORMER = EncoderConfig(**SIZES, channels=4)
DECODER = DecoderConfig(**SIZES)
LETTERS = ("<unk>", "'", *"ABCD", "\u2581")
WORDS = ("\u2581BIN", "\u2581LAY", "\u2581PUT", "\u2581SET")
PIECES = ("<blank>", *LETTERS, *WORDS, "<eos>")
PARTS = {
    "audio": {"audio": CONFORMER},
    "video": {"video": CONFORMER},
    "av": {"video": CONFORMER, "audio": CONFORMER, "fusion_width": 16, "fusion_norm": "batch"},
}
CALM = [
    *("data.workers=0", "data.join=0", "log_every=1", "optim.precision=32-true", "val_clips=0"),
    *("augment.noise=0", "augment.speed=0", "augment.voice=0", "augment.equalise=0"),
    *("augment.codec=0", "augment.non_speech=0", "augment.spans=0", "augment.unindicated=0"),
]


CLIPS = [make_clip(i, text) for i, text in enumerate(TEXTS[:4])]


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVSR_MODELS", str(tmp_path / "models"))


def install(kind: str) -> str:
    """Installs a small network with random weights, and returns its name."""
    torch.manual_seed(0)
    sizes = {"vocabulary": len(PIECES), "decoder": DECODER}
    network: AutoAVSR | USR
    if kind == "usr":
        network = USR(USRConfig(**sizes, encoder=TRANSFORMER))
    else:
        network = AutoAVSR(AutoAVSRConfig(**sizes, **PARTS[kind]))
    about = store.Description(network=network.config, pieces=PIECES)
    store.install(f"small-{kind}", about, store.tensors_of(network))
    return f"small-{kind}"


def shards(folder: Path, clips: list[Clip], crops: str = "research", split: str = "train") -> Path:
    writer = ShardWriter(folder)
    for clip in clips:
        writer.add(clip, {"split": split})
    writer.close(crops=crops)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return shards(tmp_path / "data", CLIPS)


def run(name: str, data: Path, out: Path, *settings: str, resume: bool = False) -> list[str]:
    """Trains on from a network, and returns what is said."""
    lines: list[str] = []
    train("finetune", [data], out, resume, [*CALM, f"init={name}", *settings], lines.append)
    return lines


def weights_of(name: str | Path) -> dict[str, torch.Tensor]:
    return store.tensors_of(store.read(str(name))[1])


def test_a_few_clips_are_learnt_and_the_model_reads_them_back(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = install("audio")
    steps = ["optim.steps=70", "optim.lr=5e-3", "optim.warmup=5", "optim.ema=0.8", "freeze=[]"]
    lines = run(name, data, tmp_path / "run", *steps, "save_every=70")
    losses = [float(line.split(" total ")[1].split()[0]) for line in lines if " total " in line]
    assert losses[-1] < losses[0] / 3
    model = tmp_path / "run" / "model.safetensors"
    recogniser = load(model, "cpu")
    assert (recogniser.modalities, recogniser.crops) == (("audio",), "research")
    said = [found.text.lower() for found in recogniser.recognise(CLIPS, "audio")]
    assert said == [clip.text for clip in CLIPS]
    # to the detector of voices this is noise
    monkeypatch.setattr(ImportedRecogniser, "activity", staticmethod(everything))
    soundfile.write(tmp_path / "said.wav", CLIPS[2].audio, SAMPLE_RATE)
    command = ["transcribe", str(tmp_path / "said.wav"), "--model", str(model)]
    told = CliRunner().invoke(app, command)
    assert told.stdout.strip().lower() == CLIPS[2].text


def test_a_network_of_all_modalities_learns_each_and_its_front_ends_stay_as_they_are(
    data: Path, tmp_path: Path
) -> None:
    name = install("usr")
    lines = run(name, data, tmp_path / "run", "optim.steps=3", "save_every=3")
    assert any("non-commercial" in line or "no commercial use" in line for line in lines)
    before, after = weights_of(name), weights_of(tmp_path / "run" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    frozen = {key for key in before if ".frontend_" in key}
    assert frozen
    assert not changed & frozen
    heads = {f"{part}.weight" for part in ("ctc_v.ctc_lo", "ctc_a.ctc_lo", "ctc_av.ctc_lo")}
    assert changed > heads


def test_lips_and_sound_together_keep_the_statistics_of_their_authors(
    data: Path, tmp_path: Path
) -> None:
    """All is trained, in bfloat16; batch norms keep their means and variances."""
    name = install("av")
    settings = ["optim.steps=1", "freeze=[]", "optim.precision=bf16-mixed"]
    assert "nothing is frozen" in run(name, data, tmp_path / "run", *settings)
    before, after = weights_of(name), weights_of(tmp_path / "run" / "model.safetensors")
    same = {key for key in before if torch.equal(before[key], after[key])}
    assert same == {key for key in before if ".running_" in key}


def test_a_dry_run_names_the_network_and_what_it_needs(data: Path) -> None:
    settings = [*CALM, f"init={install('audio')}"]
    lines: list[str] = []
    told = str(estimate("finetune", [data], settings, 1, lines.append))
    assert told.startswith("small-audio (auto-avsr, audio): 0.")
    assert "largest batch: 4 clips, 64 frames" in told
    assert any("M parameters are frozen" in line for line in lines)


def test_a_run_that_was_stopped_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    name, whole, stopped = install("audio"), tmp_path / "whole", tmp_path / "stopped"
    run(name, data, whole, "optim.steps=4", "save_every=2")

    def stop(line: str) -> None:
        if line.startswith("step 3/"):
            raise KeyboardInterrupt

    settings = [*CALM, f"init={name}", "optim.steps=4", "save_every=2"]
    with pytest.raises(KeyboardInterrupt):
        train("finetune", [data], stopped, False, settings, stop)
    train("finetune", [data], stopped, True, settings, lambda _: None)
    with pytest.raises(AvsrError, match="trained with another recipe: freeze = "):
        train("finetune", [data], stopped, True, [*settings, "freeze=[]"], lambda _: None)
    first, second = (load_file(folder / "model.safetensors") for folder in (whole, stopped))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_that_goes_on_from_another_network_is_told_of_it_first(
    data: Path, tmp_path: Path
) -> None:
    """Not of the crops, which that one would not take."""
    run(install("audio"), data, tmp_path / "run", "optim.steps=1", "save_every=1")
    with pytest.raises(AvsrError, match=r"another recipe: .*init = \"default\" \(was \"small-au"):
        run("default", data, tmp_path / "run", "optim.steps=1", "save_every=1", resume=True)


def test_what_was_trained_is_scored_installed_and_trained_on_again(
    data: Path, tmp_path: Path
) -> None:
    """Validation names the modality; the file goes to the user's models, with its tokens."""
    own = shards(tmp_path / "own", CLIPS[:2], "own")
    val = shards(tmp_path / "val", CLIPS[:2], "own", "val")
    first = tmp_path / "first" / "model.safetensors"
    lines: list[str] = []
    few = [*CALM, "optim.steps=1", "val_every=1", "val_clips=2", f"init={install('video')}"]
    train("finetune", [own, val], tmp_path / "first", False, few, lines.append)
    assert any("WER % on 2 validation clips: video" in line for line in lines)
    assert any("the shards have 'own' crops" in line for line in lines)
    assert (tmp_path / "first" / "best.safetensors").is_file()
    name, about = import_checkpoint(first)
    assert (name, about.crops, about.pieces) == ("first", "own", PIECES)
    assert load("first", "cpu").crops == "own"
    run(str(first), own, tmp_path / "second", "optim.steps=1")
    with pytest.raises(AvsrError, match="research network that was trained on"):
        checkpoint.load(first)


@pytest.mark.parametrize(
    ("kind", "setting", "told"),
    [
        ("audio", "data.use=video", "data.use = video: small-audio takes audio"),
        ("av", "data.use=audio", "data.use = audio: small-av takes av"),
        ("audio", "size=grid", "size = grid: small-audio is an imported network"),
        ("audio", "model.dim=32", "model.dim: small-audio is an imported network"),
        ("audio", "strategy=fsdp", "strategy = fsdp: parts networks of ours alone"),
        ("audio", "optim.compile=on", "optim.compile = on"),
        ("audio", "freeze=['ears']", "no part 'ears' in the network: choose among encoder"),
    ],
)
def test_what_an_imported_network_cannot_do_is_one_line(
    kind: str, setting: str, told: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(AvsrError, match=re.escape(told)):
        run(install(kind), data, tmp_path / "run", setting)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_network_that_is_not_there_or_named_by_its_place_is_told_by_name(
    data: Path, tmp_path: Path
) -> None:
    name = install("audio")
    for init, told in (
        ("small-audoi", f"there are .*{name}"),
        (store.data_folder() / name, "imported model by its name alone"),
        (store.data_folder() / name / store.WEIGHTS, "imported model by its name alone"),
    ):
        with pytest.raises(AvsrError, match=told):
            run(str(init), data, tmp_path / "run")


def test_clips_that_it_cannot_learn_are_named(tmp_path: Path) -> None:
    clips = [make_clip(0, "bin e\u0301te"), make_clip(1, "bin a", frames=400)]
    data = shards(tmp_path / "data", clips)
    with pytest.raises(AvsrError) as caught:
        run(install("audio"), data, tmp_path / "run")
    assert "1 with characters that the model lacks (\u00e9)" in str(caught.value)
    assert "1 too long for this network (such as clip1)" in str(caught.value)
    assert "prepare --label-for MODEL" in str(caught.value)
    assert "init" not in str(caught.value)  # without it there is no network
    assert "16.0 s are too long for this network, which takes 15 s" in (
        tmp_path / "run" / "dropped.txt"
    ).read_text("utf-8")


def test_texts_of_other_recognisers_are_written_as_it_writes() -> None:
    spell = _spelling_of(install("audio"))
    assert [spell(text) for text in ("BIN LAY", "Set 9.")] == ["BIN LAY", "set nine"]


def test_folders_of_two_crop_styles_are_refused(data: Path, tmp_path: Path) -> None:
    other = shards(tmp_path / "other", CLIPS[:1], "own")
    settings = [*CALM, f"init={install('video')}"]
    with pytest.raises(AvsrError, match=r"crops of several styles, 'research' in .* and 'own' in"):
        train("finetune", [data, other], tmp_path / "run", False, settings, lambda _: None)
