"""Two evaluations row by row: paired differences, and which of them are real.

Each difference comes with a paired bootstrap interval over utterances (`wer.compare`). With many
rows some intervals leave out zero by chance, so each row also has an exact paired randomisation
test: if it did not matter which system said what, every utterance's difference could as well have
had the other sign (Noreen, "Computer-intensive methods for testing hypotheses", 1989; Yeh, "More
accurate tests for the statistical significance of result differences", COLING 2000). Its p values
are adjusted for the number of rows (Holm, "A simple sequentially rejective multiple test
procedure", Scandinavian Journal of Statistics, 1979).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.eval.metrics.wer import CONFIDENCE, INSERTIONS, UNITS, compare, count_errors, pool
from avsr.eval.report.markdown import MODALITIES, percent, recogniser_name, table

SCHEMA = 1
RESULTS, HYPOTHESES = "results.json", "hypotheses.jsonl"
ALPHA = 1 - CONFIDENCE  # of the test after Holm's adjustment
# what a row is, as given
DESCRIBED = ("key", "label", "axis", "condition", "level", "seed", "modality", "signalled")


@dataclass(frozen=True)
class Run:
    """One evaluation as it lies on disk.

    Attributes:
        path: of results.json.
        results: its content.
        rows: row key -> row, those that were scored.
        lines: row key -> clip id -> line of hypotheses.jsonl.
    """

    path: Path
    results: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    lines: dict[str, dict[str, dict[str, Any]]]


def compare_runs(a: str | Path, b: str | Path) -> dict[str, Any]:
    """Compares two runs of `avsr evaluate` in every row that both have.

    Args:
        a, b: folders that evaluate wrote, or the results.json in them; hypotheses.jsonl lies
            beside.

    Returns:
        {"schema", "a", "b", "normalizer", "confidence", "rows_compared", "rows", "only_a",
        "only_b", "notes"}. `a` and `b` say what was compared. Each of `rows` says which row it is,
        and holds wer_a, wer_b, difference (B - A: below zero B has fewer errors), low and high (95
        %), p, p_holm, real (the interval leaves out zero), real_after_holm and better ("a", "b", or
        None where it is not real). Rates are fractions; where nothing is said in a row they are
        None, and insertions_a and insertions_b tell what was put out. `only_*` lists rows scored in
        one alone.

    Raises:
        AvsrError: a file is missing or damaged, or the two cannot be paired: not the same clips,
            references, masks, split, normaliser or version of the conditions.
    """
    first, second = _load(a), _load(b)
    _pairable(first, second)
    common = [key for key in first.rows if key in second.rows]
    if not common:
        raise AvsrError(
            f"{first.path} and {second.path} have no scored row in common: evaluate both with the "
            "same --suite, seeds "
            "and modalities"
        )
    rows = [_row(first, second, key) for key in common]
    _adjust([row for row in rows if row["p"] is not None])
    return {
        "schema": SCHEMA,
        "a": _about(first),
        "b": _about(second),
        "normalizer": first.results["normalizer"],
        "confidence": CONFIDENCE,
        "rows_compared": sum(row["p"] is not None for row in rows),
        "rows": rows,
        "only_a": [key for key in first.rows if key not in second.rows],
        "only_b": [key for key in second.rows if key not in first.rows],
        "notes": _notes(first, second),
    }


# ---- reading


def _load(path: str | Path) -> Run:
    """Reads results.json and hypotheses.jsonl of one run, and checks that they belong together."""
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    results = _parsed(_text(path), path, 1)
    rows = results.get("rows")
    if results.get("schema") != SCHEMA or not isinstance(rows, list) or "normalizer" not in results:
        raise AvsrError(
            f"{path}: not results of avsr evaluate (schema {SCHEMA}); name its {RESULTS} or its "
            "folder"
        )
    if not all(isinstance(row, dict) and row.keys() >= {*DESCRIBED} for row in rows):
        raise AvsrError(
            f"{path}: a row lacks some of {', '.join(DESCRIBED)}; evaluate again with this version"
        )
    beside = path.with_name(HYPOTHESES)
    lines: dict[str, dict[str, dict[str, Any]]] = {}
    for number, text in enumerate(_text(beside).splitlines(), 1):
        line = _parsed(text, beside, number)
        if not line.keys() >= {"row", "id", "reference", "hypothesis"}:
            raise AvsrError(
                f"{beside}, line {number}: is no hypothesis of avsr evaluate; evaluate again"
            )
        lines.setdefault(line["row"], {})[line["id"]] = line
    scored = {row["key"]: row for row in rows if "not_available" not in row}
    for key, row in scored.items():
        if len(lines.get(key, {})) != row["utterances"]:
            raise AvsrError(
                f"{beside}: does not belong to {path.name} (row {key!r} differs); evaluate again"
            )
    return Run(path, results, scored, lines)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text"
        raise AvsrError(
            f"{path}: cannot be read ({reason}); name a folder that avsr evaluate --out wrote"
        ) from error


def _parsed(text: str, path: Path, line: int) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AvsrError(
            f"{path}, line {line}: is not JSON, or cut short; evaluate again"
        ) from error
    if not isinstance(value, dict):
        raise AvsrError(
            f"{path}, line {line}: holds no JSON object; name a folder that avsr evaluate --out "
            "wrote"
        )
    return value


# ---- what must agree, so that utterance by utterance the same thing was asked


def _pairable(first: Run, second: Run) -> None:
    """Refuses two runs whose rows of one name are not the same task."""
    for what, of in (
        ("text normaliser", lambda run: run.results["normalizer"]),
        (
            "version of the text normaliser",
            lambda run: run.results.get("versions", {}).get("normalizer"),
        ),
        ("split", lambda run: run.results.get("split")),
        (
            "version of the conditions",
            lambda run: run.results.get("versions", {}).get("conditions"),
        ),
    ):
        if of(first) != of(second):
            raise AvsrError(
                f"{first.path} and {second.path} differ in their {what} ({of(first)} and "
                f"{of(second)}): evaluate both "
                "alike"
            )
    for key in filter(second.rows.__contains__, first.rows):
        mine, theirs = first.lines[key], second.lines[key]
        if mine.keys() != theirs.keys():
            odd = min(mine.keys() ^ theirs.keys())
            raise AvsrError(
                f"row {key!r} has {len(mine)} clips in {first.path} and {len(theirs)} in "
                f"{second.path} ({odd} only in "
                "one): evaluate both on the same clips"
            )
        for id, line in mine.items():
            for what in ("reference", "audio_present", "video_present", "clip_sha256"):
                if line.get(what) != theirs[id].get(what):
                    raise AvsrError(
                        f"row {key!r}, clip {id}: {what} is {line.get(what)!r} in {first.path} and "
                        f"{theirs[id].get(what)!r} in {second.path}: evaluate both on the same "
                        "clips, noises and "
                        "libraries"
                    )


def _notes(first: Run, second: Run) -> list[str]:
    """What does not forbid the comparison, and should be known."""
    notes = []
    if first.results.get("model_sha256") == second.results.get("model_sha256"):
        notes.append("A and B are the same model.")
    if first.results.get("data") != second.results.get("data"):
        notes.append(
            f"The data are called {first.results.get('data')} in A and "
            f"{second.results.get('data')} in B; references "
            "and clips, as they were given with all that was done to them, agree."
        )
    return notes


# ---- comparing


def _row(first: Run, second: Run, key: str) -> dict[str, Any]:
    """One row of both runs."""
    counts_a, counts_b = (_counts(run, key) for run in (first, second))
    a, b, difference = pool(counts_a), pool(counts_b), compare(counts_b, counts_a)
    errors = (counts_b - counts_a)[:, :UNITS].sum(axis=1)
    return {
        **{name: first.rows[key][name] for name in DESCRIBED},
        "utterances": a.utterances,
        "words": a.units,
        "wer_a": a.rate,
        "wer_b": b.rate,
        "insertions_a": int(counts_a[:, INSERTIONS].sum()),
        "insertions_b": int(counts_b[:, INSERTIONS].sum()),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p": sign_flip_p(errors) if difference.value is not None else None,
        "p_holm": None,
        "real": difference.real,
        "real_after_holm": False,
        "better": ("a" if errors.sum() > 0 else "b") if difference.real else None,
    }


def _counts(run: Run, key: str) -> np.ndarray:
    """(n, 4) int64 word errors of a row, clips in the order of their ids."""
    lines = [line for _, line in sorted(run.lines[key].items())]
    counts = count_errors(
        [line["reference"] for line in lines],
        [line["hypothesis"] for line in lines],
        normalizer=run.results["normalizer"],
    )
    row = run.rows[key]
    if counts[:, :UNITS].sum() != row["substitutions"] + row["deletions"] + row["insertions"]:
        raise AvsrError(
            f"{run.path}: row {key!r} does not follow from {HYPOTHESES} beside it; evaluate again"
        )
    return counts


def sign_flip_p(differences: np.ndarray) -> float:
    """Two-sided exact p value of a paired randomisation test: how often random signs give a sum as
    far from zero.

    The differences are whole numbers, so the distribution of the sum is a product of polynomials,
    and no random sample of the 2^n signs is needed.

    Args:
        differences: (n,) int64, errors of one system minus errors of the other, utterance by
            utterance.
    """
    chances = np.ones(1)  # of the sums -reach ... reach
    for step in np.abs(differences[differences != 0]):
        chances = (np.pad(chances, (0, 2 * step)) + np.pad(chances, (2 * step, 0))) / 2
    reach, seen = len(chances) // 2, abs(int(differences.sum()))
    return min(1.0, float(2 * chances[reach + seen :].sum())) if seen else 1.0


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Adds p_holm and real_after_holm."""
    least = 0.0
    for rank, row in enumerate(sorted(rows, key=lambda row: row["p"])):
        least = max(least, min(1.0, (len(rows) - rank) * row["p"]))
        row["p_holm"] = least
        row["real_after_holm"] = row["real"] and least <= ALPHA + 1e-12


def _about(run: Run) -> dict[str, Any]:
    kept = ("model", "model_sha256", "decoding", "data", "split", "suite", "seeds")
    return {"results": str(run.path), **{name: run.results.get(name) for name in kept}}


# ---- telling


def to_markdown(comparison: Mapping[str, Any]) -> str:
    """The comparison as a table.

    Args:
        comparison: from `compare_runs`.

    Returns:
        Markdown that ends in a line break.
    """
    rated = [row for row in comparison["rows"] if row["p"] is not None]
    parts = [
        f"# {recogniser_name(comparison['a'])} (A) and {recogniser_name(comparison['b'])} (B)",
        _verdict(rated),
        table(
            [
                "condition",
                "uses",
                "N",
                "A WER %",
                "B WER %",
                "B - A, points [95 %]",
                "better",
                "after Holm",
            ],
            [_cells(row, several_seeds(rated)) for row in rated],
            text_columns=2,
        )
        if rated
        else "",
        _remarks(comparison),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def several_seeds(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a row's label does not yet say which of several seeds it is."""
    return len({row["seed"] for row in rows}) > 1


def _verdict(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "No row with words in its references is in both."
    better = {side: [row for row in rows if row["better"] == side] for side in "ab"}
    firm = {side: sum(row["real_after_holm"] for row in better[side]) for side in "ab"}
    shown = len(better["a"]) + len(better["b"])
    return (
        f"{len(rows)} rows compared. By the 95 % interval of each row alone, B is better in "
        f"{len(better['b'])} and A "
        f"in {len(better['a'])}; after Holm's adjustment for {len(rows)} comparisons, {firm['b']} "
        f"and {firm['a']} of "
        f"these stand. In the other {len(rows) - shown} no difference is shown."
    )


def _cells(row: Mapping[str, Any], seeds: bool) -> list[str]:
    return [
        f"{row['label']}, seed {row['seed']}" if seeds else row["label"],
        MODALITIES[row["modality"]],
        str(row["words"]),
        percent(row["wer_a"]),
        percent(row["wer_b"]),
        percent(row["difference"], row["low"], row["high"], sign=True),
        (row["better"] or "-").upper(),
        "yes" if row["real_after_holm"] else "no" if row["real"] else "-",
    ]


def _remarks(comparison: Mapping[str, Any]) -> str:
    lines = [
        "- Difference: WER of B minus WER of A in points; below zero B makes fewer errors. "
        "Intervals: paired bootstrap "
        "over utterances.",
        "- After Holm: exact paired randomisation test, p adjusted for all rows compared, at "
        f"{ALPHA:.2f}. Text "
        f"normaliser `{comparison['normalizer']}`.",
    ]
    for row in comparison["rows"]:
        if row["p"] is None:
            lines.append(
                f"- {row['label']}, {MODALITIES[row['modality']]}: nothing is said; A put out "
                f"{row['insertions_a']} "
                f"words and B {row['insertions_b']}."
            )
    for side in "ab":
        only = comparison[f"only_{side}"]
        lines += [f"- Only in {side.upper()}, {len(only)} rows: {'; '.join(only)}."] if only else []
    return "\n".join([*lines, *(f"- {note}" for note in comparison["notes"])])


def save(comparison: Mapping[str, Any], folder: str | Path, overwrite: bool = False) -> list[Path]:
    """Writes compare.json, compare.md and compare.svg.

    Args:
        comparison: from `compare_runs`.
        folder: made where it is not there.
        overwrite: replace files of these names that were not written here.

    Returns:
        The files. A comparison without any rate has no picture.

    Raises:
        AvsrError: the folder cannot be written, or holds other people's files of these names.
    """
    from avsr.eval.report.forest import draw

    folder = Path(folder)
    files = {
        "compare.json": json.dumps(comparison, ensure_ascii=False, indent=1, allow_nan=False)
        + "\n",
        "compare.md": to_markdown(comparison),
    }
    if comparison["rows_compared"]:
        files["compare.svg"] = draw(comparison)
    outputs.refuse([folder / name for name in files], overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            outputs.write(folder / name, [text.encode()])
    except OSError as error:
        raise AvsrError(
            f"{folder}: cannot be written ({error.strerror}); free space or name another folder"
        ) from error
    return [folder / name for name in files]
