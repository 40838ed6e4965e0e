"""results.json: what is written is read again, from this release and those before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from sample_results import full_results, small_results

from avsr.base.errors import AvsrError
from avsr.eval.metrics.results import read_results, to_dict, to_json, without_times


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for results in (full_results(), small_results()):
        (tmp_path / "results.json").write_text(to_json(results))
        assert read_results(tmp_path) == read_results(tmp_path / "results.json") == results


def test_results_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        full_results().rows[0].wer = 0.0


def test_the_words_of_earlier_releases_are_read(tmp_path: Path) -> None:
    """Absence was called silent, masks signalled it, and there was one seed."""
    now = full_results(seeds=(17,))
    text = to_json(now).replace("unindicated)", "silent)").replace("mask_indicated", "signalled")
    before = json.loads(text)
    before["seed"] = before.pop("seeds")[0]
    del before["clips"]
    for name in ("R_V", "R_A"):
        for check in before["predicates"][name]["checks"]:
            assert check.pop("verdict") in ("pass", "fail", "undecided")
    (tmp_path / "results.json").write_text(json.dumps(before))
    assert "silent" in (tmp_path / "results.json").read_text()
    assert read_results(tmp_path) == now


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 1: is not JSON, or cut short"),
        ("[]", "holds no JSON object"),
        ('{"schema": 7, "rows": [], "normalizer": "basic"}', r"not results of avsr evaluate"),
        (
            '{"schema": 1, "rows": [{}], "normalizer": "basic"}',
            "model: field required; evaluate again",
        ),
    ],
)
def test_what_is_no_results_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(AvsrError, match=says) as error:
        read_results(tmp_path)
    assert "\n" not in str(error.value)


def test_what_a_clock_says_can_be_left_out() -> None:
    one = full_results()
    other = full_results(summary=one.summary.model_copy(update={"seconds": 99.0}))
    assert to_dict(one) != to_dict(other)
    assert without_times(one) == without_times(other)
