"""N-gram models: probabilities against sums done by hand, files read and refused, texts that win or
lose by them."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from avsr.base.errors import AvsrError
from avsr.cli import main
from avsr.decoding.ngram import (
    END,
    OOV_PENALTY,
    UNKNOWN,
    UNSEEN_LOG10,
    Arpa,
    Ngram,
    estimate,
    read_arpa,
    write_arpa,
)
from avsr.preprocessing.clip import Clip
from avsr.preprocessing.shards import ShardWriter, write_index

ARPA = """some header

\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-2.0 <unk>
-99 <s> -0.5
-1.0 a -0.25
-1.5 ab -0.125
-0.75 </s>

\\2-grams:
-0.5 <s> a -0.0625
-0.3 a ab
-0.2 ab </s>

\\3-grams:
-0.1 <s> a ab

\\end\\
what follows does not count
"""
TOKENS = ("<blank>", " ", "a", "b", "c")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "m.arpa"
    path.write_text(ARPA)
    return path


@pytest.mark.parametrize(
    ("context", "word", "expected"),
    [
        (("<s>",), "a", -0.5),
        (("<s>", "a"), "ab", -0.1),
        (("x", "y", "<s>", "a"), "ab", -0.1),  # only the last two words count
        (("ab", "a"), "ab", -0.3),  # backoff of "ab a" is not named: 0
        # from the trigram over the bigram to the unigram
        (("<s>", "a"), "a", -0.0625 - 0.25 - 1.0),
        (("a", "ab"), "ab", -0.125 - 1.5),
        ((), "ab", -1.5),
        (("ab",), "zebra", -0.125 - 2.0),
        (("<s>",), END, -0.5 - 0.75),
    ],
)
def test_probabilities_with_backoff(
    file: Path, context: tuple[str, ...], word: str, expected: float
):
    assert read_arpa(file).log10(context, word) == pytest.approx(expected)


def test_a_model_without_unknown_words_still_scores_them(file: Path):
    file.write_text(ARPA.replace("-2.0 <unk>\n", "").replace("ngram 1=5", "ngram 1=4"))
    assert read_arpa(file).log10(("a",), "zebra") == pytest.approx(-0.25 + UNSEEN_LOG10)


UNKNOWN_BEFORE = """\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-2.0 <unk> -0.3
-99 <s> -0.5
-1.0 a -0.25
-1.5 b
-0.75 </s>

\\2-grams:
-0.7 <s> <unk> -0.2
-0.4 <unk> a -0.1
-0.6 a <unk>
-0.2 a b

\\3-grams:
-0.05 <s> <unk> a
-0.15 <unk> a b

\\end\\
"""


@pytest.mark.parametrize("spelling", ["<unk>", "<UNK>"])
@pytest.mark.parametrize(
    ("text", "log10"),
    [
        (("zebra",), [-0.7]),
        (("zebra", "a"), [-0.7, -0.05]),  # the trigram with <unk> in the middle
        (("zebra", "a", "b"), [-0.7, -0.05, -0.15]),  # and the one that begins with it
        # no "<unk> <unk>": backoffs of "<s> <unk>" and "<unk>"
        (("zebra", "yak"), [-0.7, -0.2 - 0.3 - 2.0]),
        (("a", "yak", "a"), [-0.5 - 1.0, -0.6, -0.4]),
        (("b", "yak", "b"), [-0.5 - 1.5, -2.0, -0.3 - 1.5]),
    ],
)
def test_unknown_words_are_unk_before_others_too(
    tmp_path: Path, spelling: str, text: tuple[str, ...], log10: list[float]
):
    """By hand, as KenLM scores it: every word outside the model has the index of <unk>, also in the
    context."""
    (tmp_path / "m.arpa").write_text(UNKNOWN_BEFORE.replace("<unk>", spelling))
    model = read_arpa(tmp_path / "m.arpa")
    context = ["<s>"]
    for word, expected in zip(text, log10, strict=True):
        assert model.log10(context, word) == pytest.approx(expected)
        context.append(word)
    spelt = total(Ngram("m", model, weight=1.0), " ".join(text)) - math.log(10) * model.log10(
        context, END
    )
    unknown = sum((word,) not in model.grams for word in text)
    assert spelt == pytest.approx(math.log(10) * sum(log10) + OOV_PENALTY * unknown)


def test_a_model_without_unk_backs_off_past_unknown_words(tmp_path: Path):
    model = estimate(["a b", "a b a"], order=3)
    grams = {gram: value for gram, value in model.grams.items() if UNKNOWN not in gram}
    without = Arpa(3, grams, model.backoff)
    assert without.log10(("a", "zebra"), "b") == pytest.approx(model.grams[("b",)])
    expected = model.backoff[("a", "b")] + model.backoff[("b",)] + UNSEEN_LOG10
    assert without.log10(("a", "b"), "zebra") == pytest.approx(expected)


def test_unk_written_in_the_texts_is_counted_as_a_word():
    model = estimate(["a <unk> b", "<unk> a"], order=2)
    for context in [(), ("a",), (UNKNOWN,), ("zebra",)]:
        assert sum(
            10 ** model.log10(context, word) for word in ("a", "b", END, UNKNOWN)
        ) == pytest.approx(1.0)
    assert model.log10(("a",), "zebra") > model.log10(("a",), "a")


def test_gzipped(file: Path):
    packed = file.with_suffix(".arpa.gz")
    packed.write_bytes(gzip.compress(ARPA.encode()))
    assert read_arpa(packed) == read_arpa(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no model\n", "no ARPA file, for it has no .data. part"),
        (
            b"mmap lm http://kheafield.com/code format version 5\n\x00\xff\xfe",
            "perhaps a binary n-gram model",
        ),
        (ARPA.replace("ngram 2=3", "ngram 2=4"), "3 2-grams where it promises 4"),
        (ARPA.partition("\\3-grams")[0], "0 3-grams where it promises 1"),
        (ARPA.replace("-0.3 a ab", "-0.3 a"), "line 17: a probability, 2 words"),
        (ARPA.replace("-0.3 a ab", "often a ab"), "line 17: .* not 'often a ab'"),
        (ARPA.replace("ngram 1=5", "ngram 1=five"), "line 4: 'five' is no count"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, content: str | bytes, message: str):
    path = tmp_path / "x.arpa"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(AvsrError, match=message) as caught:
        read_arpa(path)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_broken_gzip(tmp_path: Path):
    with pytest.raises(AvsrError, match="cannot be read"):
        read_arpa(tmp_path / "none.arpa")
    (tmp_path / "x.arpa.gz").write_bytes(gzip.compress(ARPA.encode())[:40])
    with pytest.raises(AvsrError, match="cannot be read"):
        read_arpa(tmp_path / "x.arpa.gz")


def total(language: Ngram, text: str) -> float:
    """The score of a whole text, spelt letter by letter."""
    state, score = language.start(), 0.0
    for char in text:
        state, more = language.extend(state, char)
        score += more
    return score + language.finish(state)


@pytest.mark.parametrize(
    ("text", "log10", "words", "unknown"),
    [
        ("", -1.25, 0, 0),
        ("a ab", -0.5 - 0.1 - 0.2, 2, 0),
        (" a  ab ", -0.8, 2, 0),  # spaces around and between make no words
        ("a c", -0.5 - 0.0625 - 0.25 - 2.0 - 0.75, 2, 1),
        ("abc", -0.5 - 2.0 - 0.75, 1, 1),  # begins like a word, and is none
    ],
)
def test_texts_are_scored_word_by_word(
    file: Path, text: str, log10: float, words: int, unknown: int
):
    language = Ngram("m", read_arpa(file), weight=2.0, word_bonus=0.5)
    assert total(language, text) == pytest.approx(
        2 * math.log(10) * log10 + 0.5 * words + OOV_PENALTY * unknown
    )


def test_a_beginning_that_is_no_word_is_unknown_too(tmp_path: Path):
    model = estimate(["abc abc"], order=2)
    language = Ngram("m", model, weight=1.0)
    expected = model.log10(("<s>",), UNKNOWN) + model.log10((UNKNOWN,), END)
    assert total(language, "ab") == pytest.approx(math.log(10) * expected + OOV_PENALTY)


def test_likely_words_win_where_the_ear_is_in_doubt():
    def spelt(path: str) -> torch.Tensor:
        ids = torch.tensor([0 if char == "-" else TOKENS.index(char) for char in path])
        return torch.nn.functional.one_hot(ids, len(TOKENS)).float().mul(20)

    # "c" almost as good as "a"
    logits = torch.maximum(spelt("-a-- -ab-"), 19.5 * (spelt("-c-- -cb-") > 0))
    # and better in the first word
    logits = torch.maximum(logits, 20.5 * (spelt("-c-- -----") > 0)[:9])
    log_probs = logits.log_softmax(-1)
    blind = Ngram("m", estimate(["a ab", "a ab b"]), weight=0.0)
    told = Ngram("m", estimate(["a ab", "a ab b"]), weight=1.0)
    text = {
        name: "".join(TOKENS[i] for i in one.decode(log_probs, TOKENS, 16))
        for name, one in (("blind", blind), ("told", told))
    }
    assert text["told"] == "a ab"
    clear = spelt("-c-- -cb-").log_softmax(-1)  # and lose where it is not
    assert "".join(TOKENS[i] for i in told.decode(clear, TOKENS, 16)) == "c cb"


def test_a_model_made_of_texts_is_a_distribution(tmp_path: Path):
    model = estimate(["a b a", "b b c", "a"], order=3)
    words = ("a", "b", "c", END, UNKNOWN)
    for context in [(), ("a",), ("<s>", "a"), ("b", "b"), ("c", "c"), (UNKNOWN,)]:
        assert sum(10 ** model.log10(context, word) for word in words) == pytest.approx(1.0)
    assert model.log10(("<s>",), "a") > model.log10(("<s>",), "c")
    write_arpa(tmp_path / "m.arpa", model)
    again = read_arpa(tmp_path / "m.arpa")
    assert again.grams == pytest.approx(model.grams, abs=1e-5)
    assert again.backoff == pytest.approx(model.backoff, abs=1e-5)


def test_witten_bell_by_hand():
    """Two words seen three times: c(a) = 2, c(</s>) = 1, so 2 kinds; below lies 1/3 for a, </s> and
    <unk>."""
    model = estimate(["a a"], order=1)
    assert 10 ** model.log10((), "a") == pytest.approx((2 + 2 / 3) / 5)
    assert 10 ** model.log10((), UNKNOWN) == pytest.approx((2 / 3) / 5)


def test_command_makes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.txt").write_text("bin blue\nbin red\n\n")
    assert main(["ngram", str(tmp_path / "t.txt"), str(tmp_path / "o.arpa"), "--order", "2"]) == 0
    assert read_arpa(tmp_path / "o.arpa").order == 2
    capsys.readouterr()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "bare").mkdir()
    write_index(tmp_path / "bare", [])
    for source, out, message in (
        ("none.txt", "p.arpa", "none.txt: cannot be read: give"),
        ("empty.txt", "p.arpa", "no text"),
        (".", "p.arpa", "no index.json"),
        ("bare", "p.arpa", "no clip with a text in it"),
        ("t.txt", "nowhere/o.arpa", "o.arpa: cannot be written"),
    ):
        assert main(["ngram", str(tmp_path / source), str(tmp_path / out)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("avsr: ")
        assert message in captured.err
        assert captured.err.count("\n") == 1


def test_texts_of_shards_behind_a_url(tmp_path: Path, serve, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("fsspec")
    monkeypatch.setattr("avsr.preprocessing.remote.WAIT_S", 0.0)
    there = np.ones(2, bool)
    with ShardWriter(tmp_path / "mine") as writer:
        sound, lips = np.zeros(1280, np.float32), np.zeros((2, 96, 96), np.uint8)
        writer.add(Clip("a", sound, lips, there, there, text="hi"))
    out = tmp_path / "o.arpa"
    for shards in (serve(tmp_path / "mine"), f"file://{tmp_path / 'mine'}"):
        assert main(["ngram", shards, str(out)]) == 0
        assert ("hi",) in read_arpa(out).grams
        out.unlink()


def test_a_model_of_another_alphabet_is_one_line():
    with pytest.raises(AvsrError, match="can spell none of its words, for example 'HELLO'"):
        Ngram("m.arpa", estimate(["HELLO WORLD"])).check(TOKENS)


@pytest.mark.parametrize("number", ["99999", "nan", "0.1"])
def test_what_is_no_probability_is_refused(tmp_path: Path, number: str):
    path = tmp_path / "bad.arpa"
    path.write_text(f"\\data\\\nngram 1=1\n\n\\1-grams:\n{number} bin\n\n\\end\\\n")
    with pytest.raises(AvsrError, match="a probability"):
        read_arpa(path)


@pytest.mark.parametrize(
    ("name", "packed"), [("m.arpa", True), ("M.ARPA.GZ", True), ("m.gz", False)]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_packed_or_marked_files_are_known_by_their_content(
    tmp_path: Path, name: str, packed: bool, encoding: str
):
    content = ARPA.replace("\n", "\r\n").encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    assert read_arpa(tmp_path / name).log10(("<s>", "a"), "ab") == -0.1


def test_words_of_a_model_and_of_texts_are_in_canonical_form(tmp_path: Path):
    path = tmp_path / "m.arpa"
    path.write_text(ARPA.replace("ab", "e\u0301").replace("-1.0 a -0.25", "-1.0 a\u200b -0.25"))
    assert read_arpa(path).log10(("<s>", "a"), "\u00e9") == -0.1
    path.write_text(
        ARPA.replace("-1.5 ab -0.125", "-1.5 e\u0301\n-1.2 \u00e9").replace("1=5", "1=6")
    )
    assert read_arpa(path).log10((), "\u00e9") == -1.2  # the likelier of two spellings
    made = estimate(["e\u0301 a", "<s> \u00e9 \u200ba </s>"], 2)
    assert sorted(gram for (gram, *more) in made.grams if not more) == [
        "</s>",
        "<s>",
        UNKNOWN,
        "a",
        "\u00e9",
    ]


def test_a_count_of_thousands_of_digits_and_a_word_that_never_comes(tmp_path: Path):
    path = tmp_path / "m.arpa"
    path.write_text(ARPA.replace("ngram 2=3", f"ngram 2={'9' * 5000}"))
    with pytest.raises(AvsrError, match=r"m.arpa, line \d+: '9+' is no count"):
        read_arpa(path)
    path.write_text(ARPA.replace("-1.5 ab", "-inf ab"))
    assert read_arpa(path).log10((), "ab") == -99.0  # so that a weight of 0 gives no NaN


@pytest.mark.parametrize("order", [0, 6, -1])
def test_an_order_out_of_range_is_one_line(order: int):
    with pytest.raises(AvsrError, match=f"order {order}: .* of 1 to 5"):
        estimate(["a b"], order)
