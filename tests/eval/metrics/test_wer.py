"""Error rates agree with jiwer, intervals with theory, and empty references with the stated
rule."""

from __future__ import annotations

from collections.abc import Sequence

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.eval.metrics import wer as module
from avsr.eval.metrics.wer import cer, compare, count_errors, pool, wer

SENTENCES = st.lists(
    st.sampled_from(["bin", "blue", "at", "f", "two", "now"]), min_size=1, max_size=7
).map(" ".join)
PAIRS = st.lists(st.tuples(SENTENCES, SENTENCES | st.just("")), min_size=1, max_size=6)


@given(pairs=PAIRS)
@settings(max_examples=60, deadline=None)
def test_pooled_rates_equal_jiwer(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = map(list, zip(*pairs, strict=True))
    words, letters = wer(references, hypotheses), cer(references, hypotheses)
    expected = jiwer.process_words(references, hypotheses)
    assert words.rate == pytest.approx(expected.wer)
    assert (words.substitutions, words.deletions, words.insertions) == (
        expected.substitutions,
        expected.deletions,
        expected.insertions,
    )
    assert words.units == sum(len(reference.split()) for reference in references)
    assert letters.rate == pytest.approx(jiwer.cer(references, hypotheses))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "counts"),
    [
        ("a b c", "a b c", [0, 0, 0, 3]),
        ("a b c", "a x c", [1, 0, 0, 3]),
        ("a b c", "a c", [0, 1, 0, 3]),
        ("a b c", "a b b c", [0, 0, 1, 3]),
        ("a b c", "", [0, 3, 0, 3]),
        ("", "a b", [0, 0, 2, 0]),
        ("", "", [0, 0, 0, 0]),
        ("...", "A, b!", [0, 0, 2, 0]),  # empty once normalised
    ],
)
def test_counts_of_one_utterance(reference: str, hypothesis: str, counts: list[int]) -> None:
    assert count_errors([reference], [hypothesis]).tolist() == [counts]


def test_empty_references_add_insertions_and_no_words() -> None:
    mixed = wer(["a b", ""], ["a b", "x"])
    assert (mixed.rate, mixed.units, mixed.insertions, mixed.utterances) == (0.5, 2, 1, 2)


def test_without_any_reference_there_is_no_rate_but_a_count() -> None:
    empty = wer(["", ""], ["x y", ""])
    assert (empty.rate, empty.low, empty.high) == (None, None, None)
    assert (empty.insertions, empty.units, empty.utterances) == (2, 0, 2)


def test_counts_are_pooled_and_not_averaged() -> None:
    assert wer(["a", "a b c d e f g h i"], ["b", "a b c d e f g h i"]).rate == pytest.approx(0.1)


def test_different_numbers_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="2 references for 1"):
        wer(["a", "b"], ["a"])


def errors_at(rate: float, utterances: int, seed: int) -> np.ndarray:
    """Counts of utterances of six words, each wrong with that probability."""
    wrong = np.random.default_rng(seed).binomial(6, rate, utterances)
    return np.stack([wrong, 0 * wrong, 0 * wrong, 0 * wrong + 6], axis=1)


def test_interval_has_the_width_that_theory_gives() -> None:
    result = pool(errors_at(0.3, 2000, 1))
    expected = 2 * 1.96 * np.sqrt(0.3 * 0.7 / 12_000)
    assert result.low < result.rate < result.high
    assert result.high - result.low == pytest.approx(expected, rel=0.1)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    intervals = [pool(errors_at(0.2, 150, seed), resamples=400) for seed in range(200)]
    covered = np.mean([result.low <= 0.2 <= result.high for result in intervals])
    assert 0.9 <= covered <= 0.99


def test_same_seed_gives_the_same_interval() -> None:
    counts = errors_at(0.2, 50, 3)
    assert pool(counts, seed=5, resamples=20) == pool(counts, seed=5, resamples=20)
    assert pool(counts, seed=5, resamples=20) != pool(counts, seed=6, resamples=20)


def test_interval_equals_a_plain_loop_over_resamples() -> None:
    counts = errors_at(0.2, 40, 3)
    draws = np.random.default_rng(7).integers(40, size=(module.RESAMPLES, 40))
    rates = [counts[draw, :3].sum() / counts[draw, 3].sum() for draw in draws]
    result = pool(counts, seed=7)
    assert [result.low, result.high] == pytest.approx(np.quantile(rates, [0.025, 0.975]).tolist())


def test_interval_does_not_depend_on_the_memory_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = errors_at(0.2, 40, 3)
    whole = pool(counts)
    monkeypatch.setattr(module, "_INDEX_BUDGET", 100)
    monkeypatch.setattr(module, "_TIMES_BUDGET", 0)
    assert pool(counts) == whole


def test_pairing_finds_a_difference_that_the_intervals_hide() -> None:
    base = errors_at(0.3, 150, 1)
    worse = base.copy()
    worse[::5, 0] += 1  # the same errors and a few more
    difference = compare(worse, base)
    assert pool(base).high > pool(worse).low
    assert difference.value == pytest.approx(30 / 900)
    assert difference.real
    assert difference.low > 0


def counts_of(utterances: int, words: int, errors: Sequence[int] = ()) -> np.ndarray:
    """Counts where the first utterances have these errors and the others none."""
    counts = np.zeros((utterances, 4), np.int64)
    counts[: len(errors), 0], counts[:, 3] = errors, words
    return counts


def test_no_error_and_nothing_but_errors_have_an_interval() -> None:
    none, all_wrong = pool(counts_of(100, 6)), pool(counts_of(100, 6, [6] * 100))
    assert (none.rate, none.low, all_wrong.rate, all_wrong.high) == (0, 0, 1, 1)
    # errors may come in twos: 300 witnesses
    assert none.high == pytest.approx(3.8415 / (300 + 3.8415), rel=1e-3)
    assert all_wrong.low < 1 - 3.8 / 604  # whole sentences go wrong: fewer witnesses than words
    assert pool(counts_of(1000, 6)).high == pytest.approx(none.high / 10, rel=0.1)
    one = pool(counts_of(1, 6, [3]))
    assert one.high - one.low > 0.5  # a single utterance tells next to nothing


def test_the_same_errors_in_both_have_an_interval_of_the_difference() -> None:
    for counts in (counts_of(100, 6), counts_of(100, 6, [1, 2, 3]), errors_at(0.3, 100, 1)):
        same = compare(counts, counts)
        assert same.value == 0
        assert same.low == -same.high
        assert same.high == pytest.approx(3.8415 / (300 + 3.8415), rel=1e-3)
        assert not same.real


def test_more_errors_never_make_the_upper_end_lower() -> None:
    """Of the rate and of the difference; the bootstrap alone has [0, 0] for none and 0.5 % for one
    in 600."""
    ends = [pool(counts_of(100, 6, [1] * errors)).high for errors in range(9)]
    differences = [
        compare(counts_of(100, 6, [1] * errors), counts_of(100, 6)).high for errors in range(9)
    ]
    assert ends == sorted(ends)
    assert differences == sorted(differences)


def test_a_clip_recognised_three_times_is_one_witness() -> None:
    once, thrice = counts_of(100, 6, [1]), 3 * counts_of(100, 6, [1])
    assert pool(thrice, repeats=3).high == pytest.approx(pool(once).high)
    assert compare(thrice, 3 * counts_of(100, 6), repeats=3).high == pytest.approx(
        compare(once, counts_of(100, 6)).high
    )


@pytest.mark.parametrize(
    ("rate", "burst"),
    [(0.005, 1), (0.005, 2), (0.003, 3), (0.002, 1), (0.02, 2), (0.98, 1), (0.998, 1)],
)
def test_rare_errors_are_covered_about_as_often_as_it_says(rate: float, burst: int) -> None:
    """Utterances of six words, errors in ones, twos and threes; the bootstrap alone covers 45 % of
    the rarest."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        errors = burst * (rng.random(100) < min(rate, 1 - rate) * 6 / burst)
        found = pool(counts_of(100, 6, errors if rate < 0.5 else 6 - errors), resamples=200)
        covered += found.low <= rate <= found.high
    assert covered >= 0.93 * 200


def test_only_the_same_references_can_be_paired() -> None:
    counts = errors_at(0.3, 20, 1)
    with pytest.raises(ValueError, match="same utterances"):
        compare(counts, counts[:10])
