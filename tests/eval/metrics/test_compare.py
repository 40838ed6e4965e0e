"""Two evaluations compared: which differences are real, what may not be paired, table, plot and
command."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from avsr import cli
from avsr.base.errors import AvsrError
from avsr.eval.metrics.compare import Comparison, compare_runs, sign_flip_p
from avsr.eval.metrics.results import Measured, Results, to_dict
from avsr.eval.metrics.wer import count_errors
from avsr.eval.report.comparison import to_markdown
from avsr.eval.report.files import save_comparison

CLIPS = 40
SPOKEN = "bin blue at f two now"

Said = Mapping[str, Sequence[str] | None]
"""Label of a row -> what was said for clip 0, 1, ...; None for a row that could not be had."""


def write_run(
    folder: Path, said: Said, *, model: str = "m", first_clip: int = 0, **changes: object
) -> Path:
    """A run as evaluate leaves it: rows with counts, and a line for each hypothesis."""
    folder.mkdir(parents=True)
    rows, lines = [], []
    for label, hypotheses in said.items():
        empty = label.startswith("nothing")
        row = Measured(
            key=f"{label} | av | seed 17",
            label=label,
            axis=label.split()[0],
            condition=label,
            level=None,
            seed=17,
            modality="av",
            mask_indicated=True,
        )
        if hypotheses is None:
            rows.append(row.model_copy(update={"not_available": "m takes audio only"}))
            continue
        references = ["" if empty else SPOKEN] * len(hypotheses)
        totals = count_errors(references, hypotheses).sum(axis=0)
        names = ("substitutions", "deletions", "insertions", "words")
        counted = {name: int(total) for name, total in zip(names, totals, strict=True)}
        rows.append(row.model_copy(update={**counted, "utterances": len(hypotheses)}))
        for number, (reference, hypothesis) in enumerate(
            zip(references, hypotheses, strict=True), first_clip
        ):
            line = {
                "run": "r",
                "row": row.key,
                "id": f"clip{number:03d}",
                "reference": reference,
            }
            given = {"audio_present": 1.0, "video_present": 1.0, "clip_sha256": "0123456789abcdef"}
            lines.append({**line, "hypothesis": hypothesis, **given})
    results = Results(
        schema_=1,
        model=model,
        model_sha256=model,
        data="d",
        split="val",
        suite="quick",
        seeds=(17,),
        normalizer="basic",
        versions={"conditions": "2", "normalizer": "2"},
        rows=tuple(rows),
    )
    (folder / "results.json").write_text(json.dumps({**to_dict(results), **changes}))
    (folder / "hypotheses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def with_errors(counts: Sequence[int]) -> list[str]:
    """A hypothesis with so many words wrong for each clip."""
    words = SPOKEN.split()
    return [" ".join(["wrong"] * errors + words[errors:]) for errors in counts]


def random_errors(seed: int, rate: float = 0.2) -> list[str]:
    return with_errors(np.random.default_rng(seed).binomial(6, rate, CLIPS).tolist())


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """B is much better in one row, as good as A in another, and each has a row of its own."""
    a: Said = {
        "clean": random_errors(1),
        "noise": with_errors([3] * CLIPS),
        "nothing there": ["so many words"] * CLIPS,
        "only here": random_errors(3),
    }
    b: Said = {
        "clean": random_errors(2),
        "noise": with_errors([1, 2] * (CLIPS // 2)),
        "nothing there": [""] * CLIPS,
        "only here": None,
        "only there": random_errors(4),
    }
    return write_run(tmp_path / "a", a, model="old"), write_run(tmp_path / "b", b, model="new")


# ------------------------------------------------------------------------------------------ numbers


def test_differences_and_which_are_real(runs):
    found = compare_runs(*runs)
    rows = {row.label: row for row in found.rows}
    assert list(rows) == ["clean", "noise", "nothing there"]
    noise = rows["noise"]
    assert (noise.wer_a, noise.wer_b, noise.words) == (0.5, 0.25, 6 * CLIPS)
    assert noise.difference == pytest.approx(-0.25)
    assert noise.low < -0.25 < noise.high < 0
    assert (noise.better, noise.real, noise.real_after_holm) == ("b", True, True)
    # of all signs, two give a sum as far from zero
    assert noise.p == pytest.approx(2 * 0.5**CLIPS)
    assert noise.p_holm == pytest.approx(2 * noise.p)  # two rows have a rate
    clean = rows["clean"]
    assert clean.difference == pytest.approx(clean.wer_b - clean.wer_a)
    assert (clean.better, clean.real, clean.real_after_holm) == (None, False, False)
    nothing = rows["nothing there"]
    assert (nothing.wer_a, nothing.difference, nothing.p, nothing.better) == (
        None,
        None,
        None,
        None,
    )
    assert (nothing.insertions_a, nothing.insertions_b) == (3 * CLIPS, 0)
    assert found.rows_compared == 2
    assert found.only_a == ("only here | av | seed 17",)
    assert found.only_b == ("only there | av | seed 17",)


def test_the_other_way_round_is_the_mirror_image(runs):
    there, back = compare_runs(*runs), compare_runs(*reversed(runs))
    for one, other in zip(there.rows, back.rows, strict=True):
        if one.p is None:
            continue
        assert other.difference == pytest.approx(-one.difference)
        assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-3)
        assert other.p == pytest.approx(one.p)
        assert other.better == {"a": "b", "b": "a", None: None}[one.better]


def test_a_run_and_itself_do_not_differ(runs):
    found = compare_runs(runs[0], runs[0])
    assert {(row.difference, row.p) for row in found.rows} == {(0.0, 1.0), (None, None)}
    assert "same model" in to_markdown(found)


@pytest.mark.parametrize("seed", range(12))
def test_p_is_the_share_of_all_signs(seed):
    """Against all 2^n signs, one after the other."""
    rng = np.random.default_rng(seed)
    differences = rng.integers(-4, 5, rng.integers(1, 10))
    sums = [
        abs(np.dot(signs, differences))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    assert sign_flip_p(differences) == pytest.approx(
        np.mean(np.array(sums) >= abs(differences.sum()))
    )


def test_p_of_no_difference_and_of_many_utterances():
    assert sign_flip_p(np.zeros(5, np.int64)) == 1.0
    assert sign_flip_p(np.array([], np.int64)) == 1.0
    differences = np.random.default_rng(0).integers(-3, 5, 3000)
    z = abs(differences.sum()) / np.sqrt((differences**2).sum())
    from scipy.stats import norm

    assert np.log10(sign_flip_p(differences)) == pytest.approx(np.log10(2 * norm.sf(z)), rel=0.05)


def test_many_rows_do_not_fake_a_win(tmp_path: Path):
    """Two systems equally good in a hundred rows: some intervals leave out zero by chance, none
    stands after Holm."""
    a = write_run(tmp_path / "a", {f"row {n}": random_errors(n) for n in range(100)})
    b = write_run(
        tmp_path / "b", {f"row {n}": random_errors(1000 + n) for n in range(100)}, model="n"
    )
    found = compare_runs(a, b)
    assert found.rows_compared == 100
    assert 0 < sum(row.real for row in found.rows) < 15
    assert not any(row.real_after_holm for row in found.rows)


def test_holm_as_in_a_textbook(tmp_path: Path):
    """p in rising order times 5, 4, 3, 2, 1, and never below the one before; computed here once
    more."""
    rates = (0.2, 0.25, 0.3, 0.35, 0.5)
    a = write_run(tmp_path / "a", {f"row {n}": random_errors(n) for n in range(5)})
    b = write_run(
        tmp_path / "b", {f"row {n}": random_errors(50 + n, rate) for n, rate in enumerate(rates)}
    )
    rows = sorted(compare_runs(a, b).rows, key=lambda row: row.p)
    adjusted = np.minimum(
        1, np.maximum.accumulate([row.p * (5 - rank) for rank, row in enumerate(rows)])
    )
    assert [row.p_holm for row in rows] == pytest.approx(adjusted)
    assert [row.real_after_holm for row in rows] == [
        row.real and row.p_holm <= 0.05 for row in rows
    ]
    assert any(row.real_after_holm for row in rows)


# ------------------------------------------------------------------------- what may not be compared


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"normalizer": "none"}, r"text normaliser \(basic and none\)"),
        ({"split": "train"}, r"split \(val and train\)"),
        (
            {"versions": {"conditions": "3", "normalizer": "2"}},
            r"version of the conditions \(2 and 3\)",
        ),
        # as before it had one
        ({"versions": {"conditions": "2"}}, r"version of the text normaliser \(2 and None\)"),
        ({"first_clip": 1}, "clip000 only in one"),
        ({"schema": 7}, "not results of avsr evaluate"),
        ({"rows": [{"key": "x"}]}, r"rows\.0\.label: field required; evaluate again"),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_line(tmp_path: Path, changes, says):
    said = {"clean": random_errors(1)}
    a, b = write_run(tmp_path / "a", said), write_run(tmp_path / "b", said, **changes)
    with pytest.raises(AvsrError, match=says) as error:
        compare_runs(a, b)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            '"reference": "bin blue',
            '"reference": "lay blue',
            "clip clip000: reference is 'bin blue",
        ),
        ('"video_present": 1.0', '"video_present": 0.5', "video_present is 1.0 in .* and 0.5 in"),
        # row 25: other noise
        ("0123456789abcdef", "fedcba9876543210", "clip_sha256 is '0123456789abcdef' in"),
        ('"hypothesis": "', '"hypothesis": "x y ', "does not follow from hypotheses.jsonl"),
        ('"id": "clip003"', '"id": "clip004"', "does not belong to results.json"),
        ('"id": "clip003", ', "", "line 4: is no hypothesis"),
        ("}", "", "line 1: is not JSON, or cut short"),
    ],
)
def test_hypotheses_that_do_not_fit_are_refused(tmp_path: Path, old, new, says):
    said = {"clean": with_errors([0] * CLIPS)}
    a, b = write_run(tmp_path / "a", said), write_run(tmp_path / "b", said)
    text = (b / "hypotheses.jsonl").read_text()
    assert old in text
    (b / "hypotheses.jsonl").write_text(text.replace(old, new, 1))
    with pytest.raises(AvsrError, match=says):
        compare_runs(a, b)


def test_no_common_row_and_missing_files(tmp_path: Path):
    a, b = (
        write_run(tmp_path / "a", {"x": random_errors(1)}),
        write_run(tmp_path / "b", {"y": random_errors(1)}),
    )
    with pytest.raises(AvsrError, match="no test condition in common"):
        compare_runs(a, b)
    with pytest.raises(AvsrError, match=r"c: cannot be read .*avsr evaluate --out"):
        compare_runs(a, tmp_path / "c")
    (b / "hypotheses.jsonl").unlink()
    with pytest.raises(AvsrError, match=r"hypotheses\.jsonl: cannot be read"):
        compare_runs(a, b / "results.json")
    (b / "results.json").write_text("[]")
    with pytest.raises(AvsrError, match="holds no JSON object"):
        compare_runs(a, b)


def test_other_paths_to_the_data_are_told(tmp_path: Path):
    said = {"clean": random_errors(1)}
    found = compare_runs(
        write_run(tmp_path / "a", said),
        write_run(tmp_path / "b", said, data="elsewhere", model="n"),
    )
    assert "called d in A and elsewhere in B" in to_markdown(found)


# -------------------------------------------------------------------------------- table and picture


def test_the_table_says_who_is_better_and_how_many_rows(runs):
    text = to_markdown(compare_runs(*runs))
    assert text.startswith("# old (A) and new (B)\n")
    assert "2 conditions compared." in text
    assert (
        "B is better in 1 and A in 0; after Holm's adjustment for 2 comparisons, 1 and 0 of these "
        "stand" in text
    )
    (noise,) = [line for line in text.splitlines() if line.startswith("| noise")]
    cells = [cell.strip() for cell in noise.strip("|").split("|")]
    assert cells[:5] == ["noise", "audio + video", "240", "50.0", "25.0"]
    assert re.fullmatch(r"-25\.0 \[-\d+\.\d, -\d+\.\d\]", cells[5])
    assert cells[6:] == ["B", "yes"]
    assert "nothing there, audio + video: nothing is said; A put out 120 words and B 0." in text
    assert "Only in A, 1 conditions: only here | av | seed 17." in text
    assert "Only in B, 1 conditions: only there | av | seed 17." in text


def test_titles_name_the_decoding_where_it_is_not_greedy(tmp_path: Path):
    said = {"clean": random_errors(1)}
    a = write_run(tmp_path / "a", said, decoding="greedy")
    b = write_run(tmp_path / "b", said, decoding="n-gram <x>.arpa, weight 0.3, beam 16")
    comparison = compare_runs(a, b)
    assert to_markdown(comparison).startswith(
        "# m (A) and m, n-gram <x>.arpa, weight 0.3, beam 16 (B)\n"
    )
    picture = ElementTree.parse(save_comparison(comparison, tmp_path)[2]).getroot()
    assert picture.attrib["aria-label"].startswith(
        "m, n-gram <x>.arpa, weight 0.3, beam 16 minus m:"
    )
    assert "A: m, B: m, n-gram <x>.arpa, weight 0.3, beam 16" in [
        text.text for text in picture.iter() if text.text
    ]


def test_files_and_a_plot_with_every_row_in_it(runs, tmp_path: Path):
    found = compare_runs(*runs)
    paths = save_comparison(found, tmp_path / "deep" / "out")
    assert [path.name for path in paths] == ["compare.json", "compare.md", "compare.svg"]
    assert Comparison.model_validate_json(paths[0].read_text()) == found
    assert paths[1].read_text() == to_markdown(found)
    picture = ElementTree.parse(paths[2]).getroot()
    told = [title.text or "" for title in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(told) == 2
    assert told[1].startswith("noise, audio + video: -25.0 [")
    groups = [group.get("id", "") for group in picture.iter("{http://www.w3.org/2000/svg}g")]
    rows = [id for id in groups if id.startswith("row")]
    assert rows == ["row0-none", "row1-b-firm"]  # nothing is real in one, the other stands
    width, height = map(float, picture.attrib["viewBox"].split()[2:])
    for mark in picture.iter("{http://www.w3.org/2000/svg}use"):
        assert 0 < float(mark.attrib["x"]) < width
        assert 0 < float(mark.attrib["y"]) < height


def test_names_cannot_break_the_plot(tmp_path: Path):
    said = {"a <b> & 'c'": random_errors(1)}
    a, b = (
        write_run(tmp_path / "a", said, model="<&>"),
        write_run(tmp_path / "b", said, model='"x"'),
    )
    ElementTree.parse(save_comparison(compare_runs(a, b), tmp_path)[2])


# ------------------------------------------------------------------------------------- command line


def test_the_command(runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    a, b = map(str, runs)
    assert cli.main(["compare", a, f"{b}/results.json", "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert shown.out == (tmp_path / "out" / "compare.md").read_text()
    assert shown.err == ""
    assert (tmp_path / "out" / "compare.svg").exists()
    assert cli.main(["compare", a, str(tmp_path / "none")]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"avsr: {tmp_path / 'none'}: cannot be read")
    assert shown.err.count("\n") == 1
    assert cli.main(["compare", a]) == 2
    (tmp_path / "file").touch()
    assert cli.main(["compare", a, b, "--out", str(tmp_path / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err
