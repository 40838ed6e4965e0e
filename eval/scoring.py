"""From hypotheses to results: rates with intervals for every row, the predicates R_V and R_A, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from avsr.eval.conditions import Nothing
from avsr.eval.noise import SNR_DEFINITION
from avsr.eval.suites import AGAINST, Row
from avsr.eval.wer import INSERTIONS, UNITS, compare, count_errors, pool
from avsr.preprocessing.clip import FPS

TOLERANCE = 0.005  # of R_V and R_A, half a point of WER


def score(
    rows: Sequence[Row],
    entries: Sequence[Any],
    lines: dict[tuple[str, str], dict[str, Any]],
    failed: dict[str, str],
    *,
    seed: int,
    normalizer: str = "basic",
) -> dict[str, Any]:
    """Turns hypotheses into the rows, predicates and summary of results.json.

    Args:
        rows: of the suite; the first is the full input that `delta_wer` compares with.
        entries: the clips scored, each with `id` and `frames`.
        lines: (row key, clip id) -> line of the hypothesis store.
        failed: row key -> why the corpus cannot give that row; its rates are None.
        seed: of the rows' keys and the bootstrap.
        normalizer: applied to both sides.

    Returns:
        {"rows", "predicates", "summary"}. Rates are fractions; a row in which nothing is said has none (None), its
        insertions are what was hallucinated.
    """
    counts: dict[Row, np.ndarray] = {}
    table = []
    for row in rows:
        key = row.key(seed)
        if key in failed:
            table.append({**_described(row, seed), "not_available": failed[key], "wer": None})
            continue
        mine = [lines[key, entry.id] for entry in entries]
        spoken, heard = [line["reference"] for line in mine], [line["hypothesis"] for line in mine]
        counts[row] = count_errors(spoken, heard, normalizer=normalizer)
        characters = count_errors(spoken, heard, unit="character", normalizer=normalizer)
        table.append(
            {
                **_described(row, seed),
                **_rates(counts[row], characters, None if row.condition.empty else counts.get(rows[0]), seed),
                **_extent(mine, entries),
            }
        )
    return {
        "rows": table,
        "predicates": {name: _predicate(against, counts, seed) for name, against in AGAINST.items()},
        "summary": _summary(table),
    }


def _described(row: Row, seed: int) -> dict[str, Any]:
    """What a row is."""
    condition = row.condition
    return {
        "key": row.key(seed),
        "label": condition.label,
        "axis": condition.axis,
        "condition": condition.name,
        "level": condition.level,
        "seed": seed,
        "modality": row.modality,
        "signalled": condition.signalled,
        "role": row.role,
        **({"snr": SNR_DEFINITION} if condition.noisy else {}),
    }


def _rates(words: np.ndarray, characters: np.ndarray, full: np.ndarray | None, seed: int) -> dict[str, Any]:
    """The figures of a row.

    Args:
        words, characters: (n, 4) int64 counts.
        full: (n, 4) int64 word counts of the full-input row; None where a difference makes no sense.
        seed: of the bootstrap.
    """
    word, character = pool(words, seed=seed), pool(characters, seed=seed)
    delta = compare(words, full, seed=seed) if full is not None else None
    return {
        "utterances": word.utterances,
        "words": word.units,
        "wer": word.rate,
        "wer_low": word.low,
        "wer_high": word.high,
        "substitutions": word.substitutions,
        "deletions": word.deletions,
        "insertions": word.insertions,
        "hallucinating_utterances": int(((words[:, UNITS] == 0) & (words[:, INSERTIONS] > 0)).sum()),
        "characters": character.units,
        "cer": character.rate,
        "cer_low": character.low,
        "cer_high": character.high,
        "character_substitutions": character.substitutions,
        "character_deletions": character.deletions,
        "character_insertions": character.insertions,
        "delta_wer": delta.value if delta else None,
        "delta_low": delta.low if delta else None,
        "delta_high": delta.high if delta else None,
    }


def _extent(lines: Sequence[dict[str, Any]], entries: Sequence[Any]) -> dict[str, Any]:
    """What the masks said, as fractions of the frames, and what the row cost."""
    frames = np.array([entry.frames for entry in entries], np.float64)
    media_s, seconds = frames.sum() / FPS, sum(line["seconds"] for line in lines)
    shares = {
        name: round(float(np.array([line[name] for line in lines]) @ frames / max(frames.sum(), 1)), 4)
        for name in ("audio_present", "video_present")
    }
    return {
        **shares,
        "media_s": round(float(media_s), 3),
        "seconds": round(seconds, 3),
        "real_time_factor": round(seconds / media_s, 5) if media_s else None,
    }


def _predicate(against: Callable[[Row], Row | None], counts: dict[Row, np.ndarray], seed: int) -> dict[str, Any]:
    """Whether the audio-visual rows are at most TOLERANCE worse than the rows that have one modality alone.

    Returns:
        {"pass", "worst", "worst_row", "tolerance", "checks"}; `worst` is the largest WER(AV) - WER(one modality). Where
        no row could be checked, pass and worst are None.
    """
    checks: list[dict[str, Any]] = []
    for row in counts:
        other = against(row) if row.modality == "av" else None
        if other is None or other not in counts:
            continue
        mine, theirs = pool(counts[row], seed=seed), pool(counts[other], seed=seed)
        difference = compare(counts[row], counts[other], seed=seed)
        if difference.value is None:
            continue
        checks.append(
            {
                "row": row.key(seed),
                "against": other.key(seed),
                "label": row.condition.label,
                "wer": mine.rate,
                "against_wer": theirs.rate,
                "difference": difference.value,
                "low": difference.low,
                "high": difference.high,
                "pass": difference.value <= TOLERANCE + 1e-9,
            }
        )
    worst = max(checks, key=lambda check: check["difference"], default=None)
    return {
        "pass": all(check["pass"] for check in checks) if checks else None,
        "worst": worst["difference"] if worst else None,
        "worst_row": worst["row"] if worst else None,
        "tolerance": TOLERANCE,
        "checks": checks,
    }


def _summary(table: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Figures over the rows: what was hallucinated where nothing was there, and the cost of recognising."""
    scored = [row for row in table if "not_available" not in row]
    nothing = [row for row in scored if row["axis"] == Nothing.axis]
    utterances, media_s = sum(row["utterances"] for row in nothing), sum(row["media_s"] for row in nothing)
    words = sum(row["insertions"] for row in nothing)
    seconds, recognised_s = sum(row["seconds"] for row in scored), sum(row["media_s"] for row in scored)
    return {
        # Share of the utterances with nothing in them for which any word was put out.
        "hallucination_rate": sum(row["hallucinating_utterances"] for row in nothing) / utterances
        if utterances
        else None,
        "hallucinated_words": words if nothing else None,
        "hallucinated_words_per_minute": round(60 * words / media_s, 3) if media_s else None,
        "real_time_factor": round(seconds / recognised_s, 5) if recognised_s else None,
        "seconds": round(seconds, 3),
    }
