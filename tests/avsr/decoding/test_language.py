"""What a language is made of, and what goes together with a beam."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avsr.base.errors import AvsrError, UsageError
from avsr.decoding.language import Decoding, load
from avsr.decoding.ngram import BEAM, WEIGHT, estimate, write_arpa

TOKENS = ("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz")


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    write_arpa(tmp_path / "m.arpa", estimate(["bin blue at f two now"]))
    return tmp_path / "m.arpa"


def test_loads_what_is_named(arpa: Path):
    assert load() is None
    assert load(grammar="grid").name == "grid"
    assert load(arpa).weight == WEIGHT
    assert load(arpa, lm_weight=0.0).weight == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lm": "m.arpa", "grammar": "grid"}, "choose one"),
        ({"lm_weight": 0.5}, "lm weight 0.5 without"),
        ({"lm": "m.arpa", "lm_weight": 11}, "must be 0 to 10"),
        ({"lm": "m.arpa", "lm_weight": float("nan")}, "must be 0 to 10"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        load(**options)


def test_a_file_that_is_not_there_is_no_wrong_usage():
    with pytest.raises(AvsrError, match=r"none.arpa: cannot be read") as error:
        load("none.arpa")
    assert not isinstance(error.value, UsageError)


def test_usual_beams(arpa: Path):
    assert Decoding.choose(None, None, TOKENS).beam == 0
    assert Decoding.choose(None, load(arpa), TOKENS).beam == BEAM
    assert Decoding.choose(4, load(arpa), TOKENS).beam == 4
    assert Decoding.choose(None, load(grammar="grid"), TOKENS).beam == 0


def test_unusable_beams_and_alphabets_are_one_line(arpa: Path):
    for beam, language, message in (
        (-1, None, "beam -1"),
        (1001, None, "beam 1001"),
        (0, load(arpa), "needs one of at least 1"),
        (8, load(grammar="grid"), "exact, leave the beam out"),
    ):
        with pytest.raises(UsageError, match=message):
            Decoding.choose(beam, language, TOKENS)
    for language in (load(arpa), load(grammar="grid")):
        with pytest.raises(AvsrError, match="spell"):
            Decoding.choose(None, language, ("<blank>", " ", "x"))


def test_every_way_of_decoding_reads_clear_speech(arpa: Path):
    spoken = "-bin- -blue- -at- -f- -two- -now-"
    ids = torch.tensor([0 if char == "-" else TOKENS.index(char) for char in spoken])
    log_probs = torch.nn.functional.one_hot(ids, len(TOKENS)).float().mul(20).log_softmax(-1)[None]
    ways = {str(Decoding()): Decoding()}
    for beam, language in ((4, None), (None, load(arpa)), (None, load(grammar="grid"))):
        ways |= {str(way := Decoding.choose(beam, language, TOKENS)): way}
    assert list(ways) == [
        "greedy",
        "beam 4",
        f"n-gram {arpa}, weight {WEIGHT:g}, beam {BEAM}",
        "grammar grid",
    ]
    for way in ways.values():
        (found,) = way.ids(log_probs, torch.tensor([len(spoken)]), TOKENS)
        assert "".join(TOKENS[i] for i in found) == "bin blue at f two now"
