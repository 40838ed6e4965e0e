"""A prepared corpus of a few seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy import TEXTS, make_clip

from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardWriter


@pytest.fixture
def corpus(tmp_path: Path) -> Callable[..., Path]:
    """Writes a corpus of clips with two words each, and returns its folder."""

    def write(clips: list[Clip] | None = None, split: str | None = "train") -> Path:
        folder = tmp_path / f"corpus{len(list(tmp_path.iterdir()))}"
        with ShardWriter(folder) as writer:
            for clip in clips or [make_clip(i, text) for i, text in enumerate(TEXTS)]:
                first, *rest = (clip.text or "").split()
                words = [[first, 0.1, 0.3], *[[word, 0.3, 0.5] for word in rest]]
                writer.add(clip, {"split": split, "words": words})
        return folder

    return write
