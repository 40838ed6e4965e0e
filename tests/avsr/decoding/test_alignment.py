"""Alignment: the best path against brute force, and word times a listener would accept."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsr.base.errors import AvsrError
from avsr.decoding.alignment import (
    LETTER_GAP,
    Timing,
    forced_align,
    forced_align_batch,
    without_echoes,
    word_times,
)
from avsr.decoding.words import join
from avsr.model.tokenizer import Tokenizer

TAIL_FRAMES = Timing().tail_frames
TOKENS = ("<blank>", " ", "a", "b", "c")
TOKENIZER = Tokenizer(TOKENS)


def sure(path: str) -> torch.Tensor:
    """(T, U) log posteriors, nearly sure of one token a frame; "-" is the blank."""
    ids = torch.tensor([0 if char == "-" else TOKENS.index(char) for char in path])
    return torch.nn.functional.one_hot(ids, len(TOKENS)).float().mul(20).log_softmax(-1)


def ids(text: str) -> list[int]:
    return [TOKENS.index(char) for char in text]


def collapse(path: tuple[int, ...]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token != 0]


def test_each_letter_gets_its_frames():
    assert forced_align(sure("--aa-bb-"), ids("ab")).tolist() == [[2, 4], [5, 7]]


def test_doubled_letters_are_parted_by_their_blank():
    assert forced_align(sure("aa-a"), ids("aa")).tolist() == [[0, 2], [3, 4]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 2), max_size=3), st.integers(0, 2))
def test_path_is_the_best_of_all(seed, text, spare):
    frames = max(1, len(text) + sum(a == b for a, b in itertools.pairwise(text)) + spare)
    log_probs = torch.randn(frames, 3, generator=torch.Generator().manual_seed(seed)).log_softmax(
        -1
    )

    def score(path: tuple[int, ...]) -> float:
        return sum(log_probs[t, token].item() for t, token in enumerate(path))

    best = max(
        (p for p in itertools.product(range(3), repeat=frames) if collapse(p) == text), key=score
    )
    spans = forced_align(log_probs, text)
    found = [0] * frames
    for token, (first, last) in zip(text, spans.tolist(), strict=True):
        found[first:last] = [token] * (last - first)
    assert score(tuple(found)) == pytest.approx(score(best), abs=1e-4)
    assert collapse(tuple(found)) == text


def one_by_one(log_probs: torch.Tensor, ids: list[int]) -> list[list[int]]:
    """The Viterbi search written out, one clip, output and state at a time."""
    states = [0, *itertools.chain.from_iterable((token, 0) for token in ids)]
    score, back = [-torch.inf] * len(states), []
    for t, frame in enumerate(log_probs.float()):
        before, score, moves = score, [], []
        for s, token in enumerate(states):
            ways = [before[s], before[s - 1] if s else -torch.inf, -torch.inf]
            if s > 1 and token != 0 and token != states[s - 2]:
                ways[2] = before[s - 2]
            if t == 0:
                ways = [0.0 if s < 2 else -torch.inf, -torch.inf, -torch.inf]
            moves.append(ways.index(max(ways)))
            score.append(float(torch.tensor(max(ways)) + frame[token]))
        back.append(moves)
    state, path = (
        len(states) - 1 if len(states) == 1 or score[-1] >= score[-2] else len(states) - 2,
        [],
    )
    for moves in reversed(back):
        path.insert(0, state)
        state -= moves[state]
    places = [[t for t, s in enumerate(path) if s == 2 * i + 1] for i in range(len(ids))]
    return [[found[0], found[-1] + 1] for found in places]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(1, 3), max_size=6), st.integers(0, 6)),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_clips_aligned_together_are_aligned_as_one_by_one(texts, seed, coarse):
    """Whatever else is in the batch; coarse: many paths are equally good, and the same one must
    win."""
    generator = torch.Generator().manual_seed(seed)
    clips = []
    for text, spare in texts:
        frames = max(1, len(text) + sum(a == b for a, b in itertools.pairwise(text)) + spare)
        clip = torch.randn(frames, 4, generator=generator).log_softmax(-1)
        clips.append(clip.round() if coarse else clip)
    found = forced_align_batch(clips, [text for text, _ in texts])
    for clip, (text, _), spans in zip(clips, texts, found, strict=True):
        assert spans.tolist() == one_by_one(clip, text)


def test_too_long_a_text_is_refused_with_numbers():
    with pytest.raises(AvsrError, match="3 characters needs 4 outputs, the clip has 3"):
        forced_align(sure("---"), ids("aab"))


def test_impossible_text_is_refused():
    log_probs = torch.full((3, 5), -torch.inf)
    log_probs[:, 0] = 0
    with pytest.raises(AvsrError, match="impossible"):
        forced_align(log_probs, ids("a"))


def test_no_text_has_no_frames():
    assert forced_align(sure("---"), []).shape == (0, 2)
    assert word_times(sure("---"), [], TOKENIZER) == []
    assert word_times(sure("- -"), ids(" "), TOKENIZER) == []


def test_words_start_with_their_first_letter_and_end_shortly_after_their_last():
    words = word_times(sure("--ab----- ---c-b----------"), ids("ab cb"), TOKENIZER)
    assert [word.word for word in words] == ["ab", "cb"]
    assert [(w.first, w.last) for w in words] == [(2, 4 + TAIL_FRAMES), (13, 16 + TAIL_FRAMES)]


def test_several_outputs_a_frame_give_times_in_parts_of_a_frame():
    words = word_times(sure("-ab c-a---"), ids("ab ca"), TOKENIZER, Timing(0, 1), per_frame=2)
    assert [w.letters for w in words] == [(0.5, 1.5), (2, 3.5)]
    assert [(w.first, w.last) for w in words] == [(0.5, 2), (2, 4.5)]
    (drifted,) = word_times(
        sure(f"a{'-' * 20}bc-"), ids("abc"), TOKENIZER, Timing(0, 0), per_frame=2
    )
    assert drifted.letters == (10, 11.5)


@pytest.mark.parametrize(
    ("path", "said", "heard"),
    [
        ("-a a-", "a a", "a"),
        ("-a a a-", "a a a", "a"),
        ("-c b a a bc-", "c b a a bc", "c b a bc"),
        ("-a - a-", "a a", "a a"),  # a frame between: there was time for it
        ("-a b a-", "a b a", "a b a"),
        ("ba ab", "ba ab", "ba ab"),
        ("ab ab-", "ab ab", "ab ab"),  # not impossible, only fast
        ("-----", "", ""),
    ],
)
def test_a_letter_that_comes_again_at_once_is_an_echo(path, said, heard):
    assert join(without_echoes(word_times(sure(path), ids(said), TOKENIZER, per_frame=2))) == heard


def test_letters_that_drift_into_the_silence_around_do_not_stretch_their_word():
    silence = "-" * 20
    words = word_times(sure(f"a{silence}bc a-b-c c{silence}a-b"), ids("abc abc cab"), TOKENIZER)
    assert [(w.word, w.first, w.last) for w in words] == [
        ("abc", 20, 24),
        ("abc", 24, 30),
        ("cab", 30, 33 + TAIL_FRAMES),
    ]
    slow = word_times(sure(f"a{'-' * LETTER_GAP}b"), ids("ab"), TOKENIZER)
    assert [(w.first, w.last) for w in slow] == [(0, LETTER_GAP + 2)]


def test_a_word_ends_before_the_next_one_and_before_the_clip():
    words = word_times(sure("ab c"), ids("ab c"), TOKENIZER)
    assert [(w.first, w.last) for w in words] == [(0, 3), (3, 4)]


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        (Timing(0, 0), [(5, 7), (8, 9), (15, 16)]),
        (Timing(1, 2), [(4, 7), (7, 11), (14, 18)]),
        # up to the neighbours' letters; what is shared is the later one's
        (Timing(10, 10), [(0, 7), (7, 9), (9, 20)]),
    ],
)
def test_words_reach_beyond_their_letters_as_far_as_their_neighbours_let_them(timing, expected):
    assert timing.stretch([(5, 7), (8, 9), (15, 16)], 20) == expected
    words = word_times(sure("-----ab c -----b----"), ids("ab c b"), TOKENIZER, timing)
    assert [(w.first, w.last) for w in words] == expected
    assert [w.letters for w in words] == [(5, 7), (8, 9), (15, 16)]


def test_a_model_brings_its_timing_along():
    assert Timing.from_info({}) == Timing()
    assert Timing.from_info({"word_times": {"lead_frames": 4}}) == Timing(4, Timing().tail_frames)
    assert Timing.from_info({"word_times": Timing(2, 1).to_info()}) == Timing(2, 1)


@pytest.mark.parametrize(
    "entry", [3, None, {"lead": 1}, {"lead_frames": 11}, {"tail_frames": -1}, {"lead_frames": "2"}]
)
def test_a_timing_that_a_model_cannot_mean_is_one_line(entry: object):
    with pytest.raises(AvsrError, match=r"word_times are .*: must be .* of 0 to 10; fit"):
        Timing.from_info({"word_times": entry})


def test_outer_and_doubled_spaces_make_no_words():
    words = word_times(sure("- -a - -b- -"), ids(" a  b "), TOKENIZER)
    assert [word.word for word in words] == ["a", "b"]


def test_confidence_is_the_mean_posterior_of_the_letters():
    log_probs = torch.full((3, 5), 1e-9)
    log_probs[0, 2], log_probs[1, 3], log_probs[2, 0] = 0.8, 0.4, 1.0
    (word,) = word_times(log_probs.log(), ids("ab"), TOKENIZER)
    assert word.weakest == pytest.approx(0.4)
    assert word.confidence == pytest.approx(0.6, abs=1e-3)


def test_long_text_aligns_quickly_and_in_order():
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(1500, 5, generator=generator).log_softmax(-1)
    spans = forced_align(log_probs, torch.randint(1, 5, (400,), generator=generator).tolist())
    assert (spans[:, 1] > spans[:, 0]).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()


def test_agrees_with_torchaudio():
    try:
        from torchaudio.functional import forced_align as reference
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"torchaudio does not load here: {error}")
    log_probs = torch.randn(60, 5, generator=torch.Generator().manual_seed(2)).log_softmax(-1)
    text = [2, 3, 3, 4, 1, 2]
    path, _ = reference(log_probs[None], torch.tensor([text]), blank=0)
    spans = forced_align(log_probs, text).tolist()
    found = torch.zeros(60, dtype=torch.int64)
    for token, (first, last) in zip(text, spans, strict=True):
        found[first:last] = token
    assert torch.equal(found, path[0].long())
