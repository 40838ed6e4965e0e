"""How well a model's audio-visual contrastive embedding works: whose lips go with a sound, and are
the two synchronised.

    avsr embedding MODEL DATA --split val

Retrieval: each clip's sound looks for its lips among those of all clips, and each clip's lips for
their sound. Offset: a clip is cut as from a recording whose sound comes early or late by a number
of frames drawn for it, encoded anew, and asked for that number. The picture is clean throughout;
what is noisy is the sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base.errors import AvsrError
from avsr.eval.conditions.axes import Condition, Noise
from avsr.eval.conditions.noise import Corpus, Draw
from avsr.eval.metrics.text import Table, percent
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardEntry, ShardIndex
from avsr.recognisers.ours import NetworkRecogniser
from avsr.sync import MAX_FRAMES, Embedding, compare, embed, find_offset

SCHEMA = 1
LARGEST = 10  # frames by which the sound is moved, either way
TOLERANCE = 1  # frames: 40 ms, about what viewers begin to notice
BATCH_CLIPS = 16  # decoded and held at once
CONDITIONS = (Condition(), Condition((Noise("babble", 0.0),)))

Progress = Callable[[int, int], None]
"""Called with the clips done, counted once a condition, and how many there are."""


def measure(
    recogniser: NetworkRecogniser,
    data_dir: str | Path,
    *,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 17,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measures the embedding on prepared clips that have both sound and lips.

    Args:
        recogniser: of `avsr.load_model`, with a trained embedding.
        data_dir: shards with their index.json.
        split: use only clips of this split of the index.
        limit: use only so many clips, the first of the index; babble is still made of all.
        seed: of the offsets and the noise.
        progress: told how far it is.

    Returns:
        "clips" (how many were used), "left_out" (ids of those without both streams, or too short),
        and "rows", one for each condition and question: "condition", "question", "found" of
        "clips", "share" with its 95 % Wilson interval "low" and "high", "chance", the share that
        guessing would find, and "missed", the ids not found: a clip whose sound is out of sync in
        the corpus itself is among them.

    Raises:
        AvsrError: no embedding in the model, no such shards, or no clip that can be used.
    """
    index = ShardIndex(data_dir)
    places = {index.entries[i].id: i for i in index.select(split)}
    usable = [id for id, i in places.items() if _usable(index.entries[i])]
    chosen = _chosen(usable, limit, f"{data_dir}, split {split!r}")
    corpus = Corpus(places, lambda id: index.audio(places[id]))
    rows: list[dict[str, Any]] = []
    for number, condition in enumerate(CONDITIONS):
        given = (condition.apply(index.load(places[id]), seed, corpus) for id in chosen)
        done_before = number * len(chosen)

        def tell(done: int, before: int = done_before) -> None:
            if progress is not None:
                progress(before + done, len(CONDITIONS) * len(chosen))

        for row in _asked(recogniser, given, seed, tell):
            missed = [id for id, hit in zip(chosen, row.pop("hits"), strict=True) if not hit]
            rows.append({"condition": condition.label, **row, "missed": missed})
    return {
        "schema": SCHEMA,
        "model": recogniser.name,
        "data": str(data_dir),
        "split": split,
        "seed": seed,
        "clips": len(chosen),
        "left_out": sorted(places.keys() - set(usable)),
        "rows": rows,
    }


def _chosen(usable: Sequence[str], limit: int | None, where: str) -> Sequence[str]:
    if limit is not None and limit < 1:
        raise AvsrError(f"limit {limit} is too small; give 1 or more clips, or none for all")
    if len(usable[:limit]) < 2:
        raise AvsrError(
            f"{where}: {len(usable[:limit])} clips with sound and lips; give two or more"
        )
    return usable[:limit]


def _asked(
    recogniser: NetworkRecogniser, clips: Iterable[Clip], seed: int, tell: Callable[[int], None]
) -> list[dict[str, Any]]:
    """One row for each question about clips, which are read a batch at a time."""
    inside: list[Embedding] = []
    errors: dict[str, list[int | None]] = {"synchronised": [], "moved": []}
    clips = iter(clips)
    while batch := list(islice(clips, BATCH_CLIPS)):
        found = embed(recogniser, batch)
        errors["synchronised"] += [_error(one, 0) for one in found]
        lags = [drawn_lag(clip.id, seed) for clip in batch]
        late = [out_of_sync(clip, lag) for clip, lag in zip(batch, lags, strict=True)]
        moved = embed(recogniser, late)
        errors["moved"] += [_error(one, lag) for one, lag in zip(moved, lags, strict=True)]
        inside += found
        tell(len(inside))
    return [*_retrieval(inside), *_offsets(errors)]


def to_markdown(results: dict[str, Any]) -> str:
    """The table of one measurement, ending in a line break."""
    cells = [
        [
            row["condition"],
            row["question"],
            percent(row["share"], row["low"], row["high"]),
            f"{row['found']} of {row['clips']}",
            percent(row["chance"]),
        ]
        for row in results["rows"]
    ]
    head = (
        f"{results['model']} on {results['clips']} clips of {results['data']}"
        f"{'' if results['split'] is None else ', split ' + results['split']}, seed "
        f"{results['seed']}"
    )
    if results["left_out"]:
        head += f"; {len(results['left_out'])} clips without both streams, or too short, left out"
    columns = ["condition", "question", "found % [95 %]", "clips", "by chance %"]
    return f"{head}\n\n{Table(columns, cells, texts=2).to_markdown()}\n"


def out_of_sync(clip: Clip, lag: int) -> Clip:
    """The clip as if cut from a recording whose sound comes late.

    Both streams are there to the end of it, as in the middle of a recording: no gap tells the lag.

    Args:
        clip: more than |lag| frames long.
        lag: frames by which the sound comes later; negative for earlier.

    Returns:
        |lag| frames less of it.
    """
    frames = clip.frames - abs(lag)
    seen, heard = max(lag, 0), max(-lag, 0)  # where picture and sound begin
    sound = clip.window(heard, heard + frames)
    return replace(
        clip.window(seen, seen + frames), audio=sound.audio, audio_present=sound.audio_present
    )


def drawn_lag(id: str, seed: int) -> int:
    """The lag of a clip, frames: one of -LARGEST to LARGEST but zero, each as likely."""
    number = Draw(id, "out of sync", seed).below(2 * LARGEST)
    return number - LARGEST if number < LARGEST else number - LARGEST + 1


def _usable(entry: ShardEntry) -> bool:
    return entry.audio_present > 0 and entry.video_present > 0 and entry.frames > 2 * LARGEST


def _error(space: Embedding, lag: int) -> int | None:
    """Frames between the lag found and the true one; None where none was found."""
    found = find_offset(space)
    return None if found is None else abs(found.frames - lag)


def _retrieval(spaces: Sequence[Embedding]) -> list[dict[str, Any]]:
    """Recall at 1 and 5 in both directions."""
    scores = compare(spaces, spaces)
    rows = []
    for name, table_of in (("sound finds its lips", scores), ("lips find their sound", scores.T)):
        better = (table_of >= table_of.diagonal()[:, None]).sum(1) - 1  # a tie is no find
        for count in (1, 5):
            if count < len(spaces):
                among = "first" if count == 1 else f"first {count}"
                rows.append(
                    _share(f"{name}, among the {among}", better < count, count / len(spaces))
                )
    return rows


def _offsets(errors: dict[str, list[int | None]]) -> list[dict[str, Any]]:
    """Shares of offsets found within TOLERANCE; a clip without an answer is not found."""
    chance = (2 * TOLERANCE + 1) / (2 * MAX_FRAMES + 1)
    within = f"offset within {1000 * TOLERANCE // 25} ms"
    names = {
        "synchronised": f"{within}, synchronised",
        "moved": f"{within}, moved by up to {LARGEST} frames",
    }
    rows = []
    for name, found in errors.items():
        near = [error is not None and error <= TOLERANCE for error in found]
        rows.append(_share(names[name], np.array(near), chance))
    return rows


def _share(question: str, found: np.ndarray, chance: float) -> dict[str, Any]:
    """One row: how many, and the 95 % Wilson interval of the share; "hits" are the clips one by
    one."""
    from scipy.stats import binomtest

    count = int(found.sum())
    interval = binomtest(count, len(found)).proportion_ci(0.95, method="wilson")
    return {
        "question": question,
        "found": count,
        "clips": len(found),
        "share": count / len(found),
        "low": float(interval.low),
        "high": float(interval.high),
        "chance": chance,
        "hits": found.tolist(),
    }
