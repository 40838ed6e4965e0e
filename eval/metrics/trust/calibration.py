"""How true are a model's confidences and word times? Measures both, and fits what the model file
says about them.

    avsr calibrate MODEL DATA --out CALIBRATED.safetensors

A model has seen its training clips and is seldom wrong on them as they are. So the map from
posteriors to confidences is fitted on training clips in babble and with one modality alone as well
(FIT_ROWS), where it errs often enough; whether that carries over is measured on clips that it has
not seen (REPORT_ROWS).

A word of the hypothesis is right where jiwer aligns it to the same word of the reference.
`reliability.py` says how the error of confidences is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.decoding.alignment import FRAMES, Timing
from avsr.decoding.confidence import FEATURES, Calibration, word_features
from avsr.eval.conditions.axes import Condition, Noise
from avsr.eval.conditions.noise import Corpus, Draw
from avsr.eval.metrics.normalize import get_normalizer
from avsr.eval.metrics.trust.reliability import CLEAN, Utterance, timing_errors
from avsr.model.batches import mask
from avsr.preprocessing.clip import WordTimes
from avsr.preprocessing.shards import ShardIndex
from avsr.recognisers.ours import NetworkRecogniser

FIT_CLIPS = 40  # of each of FIT_ROWS
BATCH_CLIPS = 16
VOICES = 60  # clips that babble is made of, at least; each is decoded once
RIDGE = 1e-3  # keeps the weights finite where the words can be told apart without an error
FITTED = ("calibration", "word_times", "grammar", "domain")  # in a model's info
BABBLE = tuple(Condition((Noise("babble", snr_db),)) for snr_db in (5.0, 0.0, -5.0))

Row = tuple[Condition, str]
"""What is done to the clips, and the modality that is left: "av", "audio" or "video"."""

FIT_ROWS: tuple[Row, ...] = (
    *((Condition(), modality) for modality in ("av", "audio", "video")),
    *((condition, modality) for condition in BABBLE for modality in ("av", "audio")),
)
REPORT_ROWS: tuple[Row, ...] = (
    *((Condition(), modality) for modality in ("av", "audio", "video")),
    *((BABBLE[1], modality) for modality in ("av", "audio")),
)

Progress = Callable[[int, int], None]
"""Called with the clips done, counted once a row, and how many there are."""


# ---- what a model does


def observe(
    recogniser: NetworkRecogniser,
    index: ShardIndex,
    split: str | None,
    rows: Sequence[Row],
    *,
    clips: int | None = None,
    seed: int = 17,
    progress: Progress | None = None,
) -> list[Utterance]:
    """Recognises clips in each row.

    Args:
        recogniser: what is observed; how it decodes and what it says of its own confidences is its
            own business.
        index: prepared clips.
        split: use only clips of this split of the index; None for all.
        rows: conditions and modalities.
        clips: so many of each row, drawn anew for each; None for all of them in all.
        seed: of that draw and of the noise.
        progress: told how far it is.

    Raises:
        AvsrError: no clip with a text.
    """
    pool = index.select(split, text=True)
    size, done, found = min(clips or len(pool), len(pool)), 0, list[Utterance]()
    lenders = Draw("calibration", "voices", seed).order(len(pool))[: max(VOICES, size)]
    places = {index.entries[pool[n]].id: pool[n] for n in lenders}
    corpus = Corpus(places, lambda id: index.audio(places[id]))
    for condition, modality in rows:
        order = Draw("calibration", condition.label, modality, seed).order(len(pool))[:size]
        for first in range(0, size, BATCH_CLIPS):
            batch = [pool[n] for n in sorted(order[first : first + BATCH_CLIPS])]
            found += _observe_batch(recogniser, index, batch, (condition, modality), corpus, seed)
            done += len(batch)
            if progress is not None:
                progress(done, size * len(rows))
    return found


def _observe_batch(
    recogniser: NetworkRecogniser,
    index: ShardIndex,
    batch: Sequence[int],
    row: Row,
    corpus: Corpus,
    seed: int,
) -> Iterator[Utterance]:
    """One forward pass; clips in which nothing is left are passed over."""
    condition, modality = row
    clips = [mask(condition.apply(index.load(i), seed, corpus), modality) for i in batch]
    usable = [
        n for n, clip in enumerate(clips) if clip.audio_present.any() or clip.video_present.any()
    ]
    found = recogniser.spans([clips[n] for n in usable]) if usable else []
    for n, (spans, heard) in zip(usable, found, strict=True):
        text = index.entries[batch[n]].text or ""
        matched = match(text, [span.word for span in spans])
        times = _times(text, clips[n].words)
        yield Utterance(
            (condition.label, modality),
            [span.confidence for span in spans],
            word_features(spans, heard),
            [place is not None for place in matched],
            [span.letters for span in spans],
            [times[place] if times and place is not None else None for place in matched],
            clips[n].frames,
        )


def match(reference: str, words: Sequence[str]) -> list[int | None]:
    """Which word of the reference each word is, by jiwer's alignment after `normalize.basic`; None
    where wrong."""
    import jiwer

    normalize = get_normalizer("basic")
    said, heard = normalize(reference), [normalize(word).replace(" ", "") or "?" for word in words]
    found: list[int | None] = [None] * len(words)
    if not said or not heard:
        return found
    for chunk in jiwer.process_words(said, " ".join(heard)).alignments[0]:
        if chunk.type == "equal":
            for n in range(chunk.hyp_end_idx - chunk.hyp_start_idx):
                found[chunk.hyp_start_idx + n] = chunk.ref_start_idx + n
    return found


def _times(text: str, words: WordTimes | None) -> list[tuple[float, float]] | None:
    """(start, end) of each word of the normalised text in seconds, where the corpus knows them."""
    if not words or len(words) != len(get_normalizer("basic")(text).split()):
        return None
    return [(start_s, end_s) for _, start_s, end_s in words]


# ---- confidences


def fit_confidence(utterances: Sequence[Utterance]) -> Calibration:
    """Logistic regression of right words on their features.

    Raises:
        AvsrError: no right word, or no wrong one.
    """
    from scipy.optimize import minimize

    features = np.array([word for utterance in utterances for word in utterance.features]).reshape(
        -1, len(FEATURES)
    )
    right = np.array([word for utterance in utterances for word in utterance.right], np.bool_)
    if right.all() or not right.any():
        share = "all" if len(right) and right.all() else "none"
        raise AvsrError(
            f"{share} of {len(right)} words are right: confidences need both kinds; take other "
            "clips"
        )
    inputs = np.column_stack([features, np.ones(len(features))])
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margins = signs * (inputs @ weights)
        slope = -signs / (1 + np.exp(np.clip(margins, -500, 500)))
        ridge = RIDGE * np.append(weights[:-1], 0)
        return float(
            np.logaddexp(0, -margins).mean() + ridge @ weights / 2
        ), inputs.T @ slope / len(right) + ridge

    weights = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="BFGS").x
    return Calibration(
        tuple(round(float(weight), 4) for weight in weights[:-1]), round(float(weights[-1]), 4)
    )


# ---- word times


def fit_timing(utterances: Sequence[Utterance]) -> Timing | None:
    """The timing with the smallest mean absolute error of starts and ends; None where no times are
    known."""
    known = [utterance for utterance in utterances if any(utterance.said)]
    if not known:
        return None
    ways = [Timing(lead, tail) for lead in FRAMES for tail in FRAMES]
    return min(ways, key=lambda timing: float(np.abs(timing_errors(known, timing)).mean()))


# ---- the whole


def calibrate(
    recogniser: NetworkRecogniser,
    index: ShardIndex,
    *,
    split: str | None = "train",
    clips: int = FIT_CLIPS,
    seed: int = 17,
    progress: Progress | None = None,
) -> NetworkRecogniser:
    """The recogniser with confidences and word times fitted to prepared clips.

    Args:
        recogniser: as loaded.
        index: prepared clips.
        split: of the clips.
        clips: how many of each of FIT_ROWS.
        seed: of noise and draws.
        progress: told how far it is.

    Raises:
        AvsrError: no clips with a text, or not a single wrong or right word.
    """
    seen = observe(recogniser, index, split, FIT_ROWS, clips=clips, seed=seed, progress=progress)
    found = fit_confidence(seen)
    timing = fit_timing([utterance for utterance in seen if utterance.row[0] == CLEAN])
    about = {"split": split, "words": sum(len(utterance.right) for utterance in seen), "seed": seed}
    info = recogniser.info | {"calibration": found.to_info() | {"fitted_on": about}}
    if timing is not None:
        info["word_times"] = timing.to_info()
    return NetworkRecogniser(recogniser.model, recogniser.name, info, recogniser.device)


def save_calibrated(source: Path, target: Path, recogniser: NetworkRecogniser) -> None:
    """Writes the model file anew with what the recogniser says of its confidences and word times;
    weights as they are.

    Raises:
        AvsrError: the file cannot be written.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    from avsr.model.checkpoint import KEY, write

    with safe_open(source, framework="np") as file:
        about = json.loads(file.metadata()[KEY])
    about["info"] |= fitted(recogniser)
    write(target, load_file(source), about)


def note_errors(
    recogniser: NetworkRecogniser, results: dict[str, Any], split: str
) -> dict[str, Any]:
    """Adds to a fitted recogniser's info how far its confidences are off on clips not fitted on.

    Args:
        recogniser: of `calibrate`; its info is added to.
        results: of `reliability.report`.
        split: the clips that they were measured on.

    Returns:
        What was fitted, as the model file will say it.
    """
    errors = {}
    for row in results["rows"]:
        errors[f"{row['condition']}, {row['modality']}"] = round(row["ece"], 4)
    recogniser.info["calibration"]["ece"] = {"split": split, **errors}
    return fitted(recogniser)


def fitted(recogniser: NetworkRecogniser) -> dict[str, Any]:
    """What was fitted of a recogniser, and the grammar that it was fitted with."""
    return {name: recogniser.info[name] for name in FITTED if name in recogniser.info}
