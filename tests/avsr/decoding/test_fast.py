"""torchaudio in place of our own searches: the same answers, and no harm where it does not load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avsr.base.errors import AvsrError
from avsr.decoding import alignment, fast
from avsr.decoding.ctc import beam_search

FRAMES, TOKENS, LETTERS = 400, 30, 150  # long enough for torchaudio


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    fast._function.cache_clear()
    yield
    fast._function.cache_clear()


@pytest.fixture
def torchaudio() -> None:
    """Skips where it does not load."""
    if fast._function("torchaudio.functional", "forced_align") is None:
        pytest.skip("needs a torchaudio that loads beside this PyTorch, as 2.9 beside 2.9")


def posteriors(frames: int, seed: int = 0) -> Tensor:
    noise = torch.randn(frames, TOKENS, generator=torch.Generator().manual_seed(seed))
    return noise.log_softmax(-1)


def letters(count: int, seed: int = 0) -> list[int]:
    """Some of them twice in a row."""
    return np.random.default_rng(seed).integers(1, TOKENS, count).tolist()


def score(log_probs: Tensor, ids: Sequence[int], outputs: np.ndarray) -> float:
    """Log probability of the path that puts each token there."""
    path = torch.zeros(len(log_probs), dtype=torch.long)
    for token, (first, last) in zip(ids, outputs, strict=True):
        path[first:last] = token
    return float(log_probs.gather(1, path[:, None]).double().sum())


@pytest.mark.usefixtures("torchaudio")
@pytest.mark.parametrize("seed", range(5))
def test_torchaudio_finds_the_path_that_we_find(seed: int) -> None:
    clip, ids = posteriors(FRAMES, seed), letters(LETTERS, seed)
    theirs = fast.forced_align(clip, ids)
    assert theirs is not None
    (ours,) = alignment._aligned([clip], [ids])
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.usefixtures("torchaudio")
def test_where_several_paths_are_best_torchaudio_finds_one_of_them() -> None:
    clip, ids = torch.full((FRAMES, TOKENS), 1 / TOKENS).log(), letters(LETTERS)
    theirs = fast.forced_align(clip, ids)
    assert theirs is not None
    (ours,) = alignment._aligned([clip], [ids])
    assert score(clip, ids, theirs) == pytest.approx(score(clip, ids, ours))


@pytest.mark.usefixtures("torchaudio")
def test_what_cannot_be_said_is_an_error_with_torchaudio_too() -> None:
    clip = posteriors(FRAMES)
    clip[:, 3] = -torch.inf
    with pytest.raises(AvsrError, match="no path through the clip spells the text"):
        alignment.forced_align(clip, [3] * LETTERS)


@pytest.mark.gpu
@pytest.mark.usefixtures("torchaudio")
def test_the_search_on_a_gpu_finds_what_ours_finds() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    clips = torch.stack([3 * posteriors(40, seed) for seed in range(4)]).log_softmax(-1)
    lens = torch.tensor([40, 31, 22, 40])
    found = fast.beam_search(clips.cuda(), lens, 16, [str(i) for i in range(TOKENS)])
    ours = [beam_search(clip[:length], 16) for clip, length in zip(clips, lens, strict=True)]
    assert [tuple(ids) for ids in found or ()] == [beams[0].ids for beams in ours]


@pytest.mark.parametrize("trouble", ["RuntimeError('other CUDA')", "OSError('libc10_cuda.so')"])
def test_a_torchaudio_that_does_not_load_is_done_without(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(f"raise {trouble}", tmp_path, monkeypatch)
    clip, ids = posteriors(FRAMES), letters(LETTERS)
    (ours,) = alignment._aligned([clip], [ids])
    np.testing.assert_array_equal(alignment.forced_align(clip, ids), ours)


def test_long_clips_alone_are_left_to_torchaudio(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that says nothing but blanks, and all letters at the end."""
    stand_in = """
        import torch
        def forced_align(log_probs, targets, blank):
            path = torch.full(log_probs.shape[:2], blank)
            path[0, -targets.shape[1]:] = targets[0]
            return path, torch.zeros(path.shape)
        """
    _install(stand_in, tmp_path, monkeypatch)
    clips, texts = [posteriors(60), posteriors(FRAMES)], [[1, 2], [*range(1, TOKENS)] * 5]
    short, long = alignment.forced_align_batch(clips, texts)
    np.testing.assert_array_equal(short, alignment._aligned(clips[:1], texts[:1])[0])
    first = FRAMES - len(texts[1])
    assert long.tolist() == [[place, place + 1] for place in range(first, FRAMES)]


def _install(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package torchaudio whose `functional` is this."""
    import sys
    import textwrap

    package = folder / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "functional.py").write_text(textwrap.dedent(code))
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(folder)
    for name in ("torchaudio", "torchaudio.functional"):  # and they go again
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, name)
