"""TCD-TIMIT and MuAViC as their makers lay them out, on small trees of the same layout."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsr.base.errors import AvsrError
from avsr.preprocessing.corpora import Item, muavic, tcdtimit
from avsr.preprocessing.prepare import prepare
from avsr.preprocessing.preparing.quality import Limits
from avsr.preprocessing.shards import ShardIndex
from avsr.preprocessing.synthetic.corpus import make_clip

SEGMENTS = "t_0 t 0.2 0.8\nt_1 t 0.8 1.4\n"


def put(path: Path, content: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def by_id(items: list[Item]) -> dict[str, Item]:
    assert len({item.id for item in items}) == len(items)
    return {item.id: item for item in items}


def timit_clip(root: Path, speaker: str, name: str, camera: str = "straightcam") -> Path:
    return put(root / speaker / "Clips" / camera / f"{name}.mp4")


def test_tcdtimit_speakers_name_the_split_and_one_camera_is_taken(tmp_path: Path) -> None:
    timit_clip(tmp_path, "volunteers/01M", "sa1")
    timit_clip(tmp_path, "volunteers/01M", "sa1", "30degcam")
    timit_clip(tmp_path, "volunteers/55F", "SX12")
    timit_clip(tmp_path, "volunteers/09F", "si4", "30degcam")
    timit_clip(tmp_path, "volunteers/35M", "sa1")
    timit_clip(tmp_path, "lipspeakers/Lipspkr1", "sa1")
    put(tmp_path / "PROMPTS.TXT", "; a comment\nShe had. (sa1)\nHe ran, too. (sx12)\nYes? (SI4)\n")
    items = by_id(tcdtimit.list_items(tmp_path))
    assert {id: (item.speaker, item.split, item.text) for id, item in items.items()} == {
        "volunteers/01M/straightcam/sa1": ("01M", "train", "She had."),
        "volunteers/09F/30degcam/si4": ("09F", "test", "Yes?"),
        "volunteers/35M/straightcam/sa1": ("35M", None, None),
        "volunteers/55F/straightcam/sx12": ("55F", "test", "He ran, too."),
        "lipspeakers/Lipspkr1/straightcam/sa1": ("Lipspkr1", None, "She had."),
    }
    assert "in no split" in (items["volunteers/35M/straightcam/sa1"].problem or "")


@pytest.mark.parametrize(
    "content",
    ["0 46797 She had your suit.\n", "0 900 She\n900 1700 had\n1700 2500 your\n2500 3600 suit.\n"],
)
def test_tcdtimit_text_beside_a_clip_is_taken_without_its_numbers(
    tmp_path: Path, content: str
) -> None:
    clip = timit_clip(tmp_path, "volunteers/01M", "sa1")
    put(clip.with_name("SA1.txt"), content)
    put(tmp_path / "prompts.txt", "Another one. (sa1)\n")
    (item,) = tcdtimit.list_items(tmp_path)
    assert (item.text, item.words, item.problem) == ("She had your suit.", None, None)


def test_tcdtimit_clip_without_text_is_named(tmp_path: Path) -> None:
    timit_clip(tmp_path, "volunteers/01M", "sa1")
    (item,) = tcdtimit.list_items(tmp_path)
    assert item.problem == "no text: no sa1.txt beside it, and not in SRC/prompts.txt"


def test_tcdtimit_wrong_layout_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    timit_clip(tmp_path, "TCD/volunteers/01M", "sa1")
    with pytest.raises(AvsrError, match=r"volunteers/01M/Clips/straightcam/sa1\.mp4, found TCD/"):
        tcdtimit.list_items(tmp_path)


def talks(root: Path, language: str, part: str, segments: str, texts: str) -> Path:
    folder = root / "mtedx" / f"{language}-{language}" / "data" / part / "txt"
    put(folder / "segments", segments)
    put(folder / f"{part}.{language}", texts)
    return folder


def test_muavic_segments_are_clips_of_their_talks(tmp_path: Path) -> None:
    talks(tmp_path, "fr", "train", "aB_0000 aB 1.5 3\naB_0001 aB 3 4.25\n", "Oui.\n(Rires) Né\n")
    talks(tmp_path, "fr", "valid", "gone_0000 gone 0 1\n", "Non\n")
    talks(tmp_path, "it", "test", "c_0000 c 0 1\n", "Sì\n")
    for name in ("fr/train/aB", "it/test/c"):
        put(tmp_path / "mtedx" / "video" / f"{name}.mp4")
    items = by_id(muavic.list_items(tmp_path))
    assert {id: (item.split, item.text, item.span) for id, item in items.items()} == {
        "fr/train/aB_0000": ("train", "Oui.", (1.5, 3.0)),
        "fr/train/aB_0001": ("train", "(Rires) Né", (3.0, 4.25)),
        "fr/valid/gone_0000": ("val", "Non", (0.0, 1.0)),
        "it/test/c_0000": ("test", "Sì", (0.0, 1.0)),
    }
    problem = items["fr/valid/gone_0000"].problem or ""
    looked = "looked for video/fr/valid/gone.mp4 and wav/gone.flac"
    assert problem == f"its talk is not there: {looked}"
    alone = muavic.list_items(tmp_path / "mtedx" / "fr-fr")
    assert [item.id for item in alone] == list(items)[:3]


def test_muavic_talks_without_their_video_are_heard_alone(tmp_path: Path) -> None:
    folder = talks(tmp_path / "ted", "fr", "train", SEGMENTS, "un\ndeux\n")
    sound = np.random.default_rng(0).normal(0, 0.1, 2 * 16_000)
    (folder.parent / "wav").mkdir()
    soundfile.write(folder.parent / "wav" / "t.flac", sound, 16_000)
    prepare("muavic", tmp_path / "ted", tmp_path / "all", workers=0)
    index = ShardIndex(tmp_path / "all")
    assert [entry.text for entry in index.entries] == ["un", "deux"]
    clip = index.load(1)
    assert clip.audio_present.all()
    assert not clip.video_present.any()
    np.testing.assert_allclose(clip.audio, sound[20 * 640 : 35 * 640], atol=1e-4)
    assert index.meta(1)["note"] == "its talk has no video: sound alone"
    limits = Limits(face_share=0.5)
    prepare("muavic", tmp_path / "ted", tmp_path / "seen", workers=0, limits=limits, max_loss=1)
    assert not list(ShardIndex(tmp_path / "seen").entries)


def test_muavic_lists_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = talks(tmp_path, "fr", "train", "a_0 a 0 1\na_1 a 1 2\n", "Oui\n")
    with pytest.raises(AvsrError, match=r"segments has 2 lines and train\.fr 1"):
        muavic.list_items(tmp_path)
    put(folder / "train.fr", "Oui\nNon\n")
    put(folder / "segments", "a_0 a 0 1\na_1 a one 2\n")
    with pytest.raises(AvsrError, match="'a_1 a one 2' is not `SEGMENT TALK START END`"):
        muavic.list_items(tmp_path)
    put(folder / "segments")
    with pytest.raises(AvsrError, match="names no segment; fetch it again"):
        muavic.list_items(tmp_path)


def test_muavic_wrong_layout_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    put(tmp_path / "muavic" / "fr" / "train.tsv")
    with pytest.raises(AvsrError, match=r"mtedx/fr-fr/data/train/txt/segments, found muavic/"):
        muavic.list_items(tmp_path)


def test_both_are_prepared_from_a_synthetic_head(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVSR_FACE_MODEL", str(shared / "models" / "face_landmarker.task"))
    head = tmp_path / "head.mp4"
    text = make_clip(head, engine="formant")
    clip = timit_clip(tmp_path / "tcd", "volunteers/55F", "sa1")
    shutil.copy(head, clip)
    put(clip.with_suffix(".txt"), text)
    talks(tmp_path / "ted", "fr", "train", SEGMENTS, "un\ndeux\n")
    talk = put(tmp_path / "ted" / "mtedx" / "video" / "fr" / "train" / "t.mp4")
    shutil.copy(head, talk)
    prepare("tcdtimit", tmp_path / "tcd", tmp_path / "a", workers=0)
    prepare("muavic", tmp_path / "ted", tmp_path / "b", workers=0)
    whole, parts = ShardIndex(tmp_path / "a"), ShardIndex(tmp_path / "b")
    assert (whole.entries[0].text, whole.entries[0].split) == (text, "test")
    assert [entry.frames for entry in parts.entries] == [15, 15]
    heard, part = whole.load(0), parts.load(1)
    assert part.video_present.all()
    assert part.start_s == 0.8
    assert part.audio.tolist() == heard.audio[20 * 640 : 35 * 640].tolist()
    assert parts.meta(1)["source"] == "mtedx/video/fr/train/t.mp4#t=0.8,1.4"
