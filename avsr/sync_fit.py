"""How well sound and lips fit, as a measure for preparing a corpus."""

from __future__ import annotations

from avsr.preprocessing.clip import FPS, Clip
from avsr.preprocessing.preparing.quality import Fit


def load_fit(model: str = "default") -> Fit:
    """What measures the fit of a clip by a model's audio-visual embedding: the mean cosine where
    the sound lies on the picture as it does in the file, give or take sync.SLACK frames.

    Args:
        model: name or path of one of ours, with a trained embedding.

    Raises:
        AvsrError: no such model. (That its embedding was not trained shows with the first clip.)
    """
    from avsr.recognisers import ours
    from avsr.sync import SLACK, embed, find_offset, joined
    from avsr.transcribing.engine import size_s

    recogniser = ours.load(model, "cpu")
    window = round(size_s(recogniser) * FPS)

    def fit(clip: Clip) -> float | None:
        starts = range(0, clip.frames, window)
        parts = [clip.window(first, min(first + window, clip.frames)) for first in starts]
        found = find_offset(joined(embed(recogniser, parts)))
        if found is None:
            return None
        here = abs(found.lags) <= SLACK
        return float(found.scores[here].max()) if here.any() else -1.0

    return fit
