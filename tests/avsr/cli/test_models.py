"""avsr models: importing, choosing and removing models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from avsr.imported import importing, store
from avsr.imported.store import Description
from avsr.model import checkpoint

NETWORK = {
    "family": "usr",
    "vocabulary": 3,
    "encoder": {"width": 8, "heads": 2, "feed_forward": 8, "layers": 1},
    "decoder": {"width": 8, "heads": 2, "feed_forward": 8, "layers": 1},
}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of models, with one imported model and choices of its own."""
    folder = tmp_path / "models"
    monkeypatch.setenv("AVSR_MODELS", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return folder


@pytest.fixture
def small(models: Path) -> Description:
    """An imported model called small; its weights are not looked at."""
    found = Description.model_validate({"network": NETWORK, "pieces": ["<blank>", "a", "<eos>"]})
    store.install("small", found, {})
    return found


def test_import_passes_all_on_and_prints_the_name_and_the_licence(
    avsr, small: Description, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def import_checkpoint(*arguments):
        calls.append(arguments)
        return "usr-small", small

    monkeypatch.setattr(importing, "import_checkpoint", import_checkpoint)
    options = ("--units", "u.txt", "--lm", "lm.pth", "--name", "usr-small")
    status, out, err = avsr("models", "import", "x.pth", *options)
    assert (status, out) == (0, "usr-small\n")
    assert "no commercial use" in err
    ((*given, taken),) = calls
    assert given == [Path("x.pth"), Path("u.txt"), Path("lm.pth"), "usr-small"]
    assert {*checkpoint.names(), "small", "whisper-small"} <= set(taken)


def test_a_file_that_cannot_be_read_is_one_line(avsr, models: Path):
    status, out, err = avsr("models", "import", "none.pth")
    assert (status, out) == (1, "")
    assert err == "avsr: none.pth: cannot be read (No such file or directory): check the name\n"


def test_models_lists_imported_ones_and_marks_the_default(avsr, small: Description):
    _, out, _ = avsr("models")
    lines = [line.split() for line in out.splitlines()]
    assert ["grid-whisper", "(default)", "bundled"] in [line[:3] for line in lines]
    assert [line[1] for line in lines if line[0] == "small"] == ["imported"]
    assert "usr: av, audio, video" in out


def test_folders_of_others_are_neither_listed_nor_removed(avsr, small: Description, models: Path):
    (models / "photos").mkdir()
    (models / "photos" / "one.jpg").write_bytes(b"")
    (models / "small" / "notes.txt").write_text("mine")
    assert "photos" not in avsr("models")[1]
    assert avsr("models", "remove", "photos")[0] == 1
    status, _, err = avsr("models", "remove", "small")
    assert status == 1
    assert "holds 'notes.txt', which avsr did not write: remove it yourself" in err
    assert (models / "photos" / "one.jpg").exists()
    (models / "small" / "notes.txt").unlink()
    assert avsr("models", "remove", "small")[0] == 0


def test_a_default_that_went_away_is_told(avsr, small: Description, models: Path):
    assert avsr("models", "default", "grid-whisper+small?greedy")[0] == 0
    shutil.rmtree(models / "small")
    status, _, err = avsr("transcribe", "none.mp4")
    assert status == 1
    assert "which was chosen with avsr models default, is no longer there" in err
    assert err.endswith("choose another: avsr models default grid-whisper\n")
    assert avsr("models", "default", "grid-whisper+none")[0] == 2


def test_what_is_not_known_names_what_is_of_every_family(avsr, small: Description):
    status, _, err = avsr("transcribe", "none.mp4", "--model", "smal")
    assert status == 1
    assert "(there are grid-whisper, small" in err
    assert avsr("transcribe", "none.mp4", "--model", "")[0] == 2


def test_the_default_is_remembered_until_it_is_removed(avsr, small: Description, models: Path):
    assert avsr("models", "default")[1] == "grid-whisper\n"
    assert avsr("models", "default", "small")[0] == 0
    assert avsr("models", "default")[1] == "small\n"
    assert "small (default)" in avsr("models")[1]
    status, out, err = avsr("models", "remove", "small")
    assert (status, out) == (0, "")
    assert "was the default model" in err
    assert not (models / "small").exists()
    assert avsr("models", "default")[1] == "grid-whisper\n"


def test_a_default_that_is_not_installed_is_refused(avsr, models: Path):
    status, _, err = avsr("models", "default", "none")
    assert status == 2
    assert "model 'none': not installed (there are" in err


def test_a_model_of_ours_can_be_the_default(avsr, models: Path):
    models.mkdir()
    mine = models / "mine.safetensors"
    mine.write_bytes(checkpoint.resolve("default").read_bytes())
    assert avsr("models", "default", "mine")[0] == 0
    assert checkpoint.resolve("default") == mine
    avsr("models", "default", "grid-whisper")
    assert checkpoint.resolve("default").stem == "grid-whisper"
