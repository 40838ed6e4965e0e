"""What a clip must be like to be kept, and what the clips of a corpus are like."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.faces.crop_styles import MOUTH_PX
from avsr.preprocessing.shards import ShardIndex

LOWEST = 12  # clips of the contact sheet that are worst in something, and as many from everywhere
PERCENTILES = (0, 5, 50, 95, 100)


@dataclass(frozen=True)
class Limits:
    """What a clip must be like; each limit is off by default.

    Attributes:
        face_share: of its frames with a readable mouth at least, 0 to 1.
        mouth_px: between the corners of the mouth at least, median over its frames, in pixels of
            the recording.
        least_rate, most_rate: characters of its text a second; a text that says nothing, and one
            that is not known, pass.
        sync: how well sound and lips fit at least, a mean cosine of -1 to 1; None asks nobody.
    """

    face_share: float = 0.0
    mouth_px: float = 0.0
    least_rate: float = 0.0
    most_rate: float = math.inf
    sync: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.face_share <= 1:
            raise AvsrError(f"the least share of faces is {self.face_share}; it is between 0 and 1")
        if self.mouth_px < 0 or self.least_rate < 0:
            raise AvsrError("the least mouth and the least rate of text are 0 or more")
        if not self.least_rate < self.most_rate:
            raise AvsrError(
                f"rates of text from {self.least_rate:g} to {self.most_rate:g} characters a "
                "second: the first must be the lower one"
            )

    @property
    def asked(self) -> dict[str, float]:
        """Those that are on."""
        off = asdict(Limits())
        return {name: value for name, value in asdict(self).items() if value != off[name]}


Fit = Callable[[Clip], float | None]
"""How well the sound and the lips of a clip fit, -1 to 1; None where they cannot be compared."""


def reason_against(clip: Clip, limits: Limits, fit: Fit | None = None) -> str | None:
    """Why a clip is not kept, or None where it is.

    Args:
        clip: with its text and the quality of its crops.
        limits: what it must be like.
        fit: measures what `limits.sync` limits; asked last, for it costs most.
    """
    face = float(clip.video_present.mean())
    if face < limits.face_share:
        return f"a face in {face:.0%} of its frames, at least {limits.face_share:.0%} is asked for"
    mouth = _mouth_px(clip)
    if mouth < limits.mouth_px:
        return f"its mouth is {mouth:.0f} pixels wide, at least {limits.mouth_px:g} is asked for"
    rate = len(clip.text or "") / clip.duration_s
    if clip.text and not limits.least_rate <= rate <= limits.most_rate:
        allowed = f"{limits.least_rate:g} to {limits.most_rate:g}"
        return f"{rate:.1f} characters of text a second, {allowed} are asked for"
    if limits.sync is None or fit is None:
        return None
    found = fit(clip)
    if found is None:
        return "sound and lips cannot be compared: too little speech with both"
    if found < limits.sync:
        return f"sound and lips fit by {found:.2f}, at least {limits.sync:g} is asked for"
    return None


def _mouth_px(clip: Clip) -> float:
    """Median width of the mouth in pixels of the recording; 0 where there is none."""
    if clip.quality is None or not clip.video_present.any():
        return 0.0
    return float(np.median(clip.quality[clip.video_present])) * MOUTH_PX


# ----------------------------------------------------------------------------------- what there is


@dataclass(frozen=True)
class Measures:
    """What a prepared clip is like.

    Attributes:
        id: of the clip.
        seconds: it lasts.
        face_share: of its frames with a readable mouth.
        mouth_px: median width of the mouth in pixels of the recording; None where not known.
        rate: characters of text a second; None where there is no text.
    """

    id: str
    seconds: float
    face_share: float
    mouth_px: float | None
    rate: float | None


def measure(index: ShardIndex) -> list[Measures]:
    """What each clip of prepared shards is like, in their order."""
    found = []
    for number, entry in enumerate(index.entries):
        crop = index.meta(number).get("crop") or {}
        scale = crop.get("scale_median")
        rate = len(entry.text) / entry.duration_s if entry.text else None
        mouth = None if scale is None else scale * MOUTH_PX
        found.append(Measures(entry.id, entry.frames / FPS, entry.video_present, mouth, rate))
    return found


COLUMNS = {
    "seconds": "seconds",
    "face_share": "share of frames with a mouth",
    "mouth_px": "width of the mouth, pixels of the recording",
    "rate": "characters of text a second",
}


def report(index: ShardIndex, measures: Sequence[Measures]) -> str:
    """What the clips of prepared shards are like, and why others were left out; Markdown."""
    counts = Counter(entry.split or "none" for entry in index.entries)
    splits = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    lines = [
        "# Quality of the clips",
        "",
        f"{len(measures)} clips, {index.info.get('hours', 0)} h, splits: {splits}.",
        "",
        "| | least | 5 % | half | 95 % | most | not known |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, told in COLUMNS.items():
        values = [value for clip in measures if (value := getattr(clip, name)) is not None]
        found = np.percentile(values, PERCENTILES) if values else [math.nan] * len(PERCENTILES)
        cells = " | ".join(f"{value:.2f}" for value in found)
        lines.append(f"| {told} | {cells} | {len(measures) - len(values)} |")
    lines += ["", "## Left out", ""]
    skipped = index.info.get("skipped", [])
    kinds = Counter(_kind(row) for row in skipped)
    lines += [f"- {count}: {kind}" for kind, count in kinds.most_common()] or ["Nothing."]
    return "\n".join(lines) + "\n"


def _kind(row: Mapping[str, Any]) -> str:
    """A reason without its numbers, so that those of one kind are counted together."""
    words = str(row["reason"]).split()
    return " ".join("..." if any(char.isdigit() for char in word) else word for word in words)


def sheet_of(index: ShardIndex, measures: Sequence[Measures]) -> bytes:
    """A picture (PNG) of mouths: of the clips with the smallest ones, of those with the fewest, and
    of clips from everywhere."""
    from avsr.preprocessing.faces.sheet import contact_sheet

    seen = [number for number, clip in enumerate(measures) if clip.face_share > 0]
    by_size = sorted(seen, key=lambda number: measures[number].mouth_px or 0.0)
    by_share = sorted(seen, key=lambda number: measures[number].face_share)
    spread = [seen[i * len(seen) // LOWEST] for i in range(LOWEST)] if seen else []
    rows = {
        "smallest mouths": by_size[:LOWEST],
        "fewest frames with a mouth": by_share[:LOWEST],
        "from everywhere": list(dict.fromkeys(spread)),
    }
    parts = []
    for title, numbers in rows.items():
        crops = []
        for number in numbers:
            clip = index.load(number)
            frames = np.flatnonzero(clip.video_present)
            crops.append((clip.id, clip.lips[frames[len(frames) // 2]]))
        parts.append((title, crops))
    return contact_sheet(parts)
