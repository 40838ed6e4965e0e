"""Word n-gram models: reads them from ARPA files, scores texts for the beam search, makes small
ones from texts.

The reader is our own and short, instead of KenLM behind flashlight-text: that decoder can spell no
word outside the model's list, has no wheels for Python 3.13, and would be a second beam search
beside the one this package has anyway. What it would save is time on models of millions of n-grams;
those are better pruned first.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from avsr.base import outputs
from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of, refuse_endless
from avsr.decoding.ctc import beam_search
from avsr.preprocessing.remote import is_url, local
from avsr.preprocessing.shards import ShardIndex
from avsr.preprocessing.text import canonical

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
BEAM = 16  # prefixes kept, where nobody says how many
LARGEST_BACKOFF = 1000.0  # log10; -99 is usual for never
WEIGHT = 0.3  # of the n-gram's log probability against the recogniser's
# natural log; on top of what the model gives to <unk>, for each word it does not know
OOV_PENALTY = -6.0
UNSEEN_LOG10 = -7.0  # of an unknown word, where a model has no <unk>
ORDERS = range(1, 6)  # of the models made here
MOST_MB = 4000  # of a file; it takes several times that as memory
GZIP = b"\x1f\x8b"  # how such a file begins
NEVER_LOG10 = -99.0  # by custom of the format
LONGEST_LINE = 10_000  # characters; a gigabyte without a line break is no ARPA file


@dataclass(frozen=True)
class Arpa:
    """A backoff n-gram model.

    Attributes:
        order: longest n-gram.
        grams: words -> log10 probability of the last word after the others.
        backoff: words -> log10 weight for going on without the first of them; 0 where not named.
    """

    order: int
    grams: dict[tuple[str, ...], float]
    backoff: dict[tuple[str, ...], float]

    def known(self, word: str) -> str:
        """The word, or <unk> where the model has no such word."""
        return word if (word,) in self.grams else UNKNOWN

    def log10(self, context: Sequence[str], word: str) -> float:
        """Log10 probability of a word after others, the latest last; Katz, IEEE TASSP 35(3), 1987.

        A word outside the model is <unk>, as the word asked for and among those before it, as in
        KenLM.
        """
        word = self.known(word)
        known = tuple(
            self.known(before) for before in context[max(0, len(context) - self.order + 1) :]
        )
        total = 0.0
        while (*known, word) not in self.grams:
            if not known:
                return total + UNSEEN_LOG10
            total += self.backoff.get(known, 0.0)
            known = known[1:]
        return total + self.grams[(*known, word)]


def read_arpa(path: str | Path) -> Arpa:
    """Reads an ARPA file, plain or .gz, into memory (about 200 bytes an n-gram).

    Raises:
        AvsrError: cannot be read, is no ARPA file, or holds another number of n-grams than it says.
    """
    path = path_of(path, "n-gram model")
    refuse_endless(path, "n-gram model", MOST_MB)
    counts: dict[int, int] = {}
    found: Counter[int] = Counter()
    model = Arpa(0, {}, {})
    section = -1  # before \data\
    for number, line in _lines(path):
        if line.startswith("\\"):
            section = _section(line)
        elif section == 0 and line.startswith("ngram "):
            size, _, count = line[6:].partition("=")
            counts[_whole(size, path, number)] = _whole(count, path, number)
        elif section > 0 and line:
            _add_gram(model, line, section, f"{path}, line {number}")
            found[section] += 1
    if not counts:
        raise AvsrError(
            f"{path}: no ARPA file, for it has no \\data\\ part: a text file is needed, no binary "
            "model"
        )
    if missing := [n for n in sorted({*counts, *found}) if counts.get(n, 0) != found[n]]:
        n = missing[0]
        raise AvsrError(
            f"{path}: {found[n]} {n}-grams where it promises {counts.get(n, 0)}: cut short? Make "
            "it again"
        )
    if not counts.get(1):
        raise AvsrError(f"{path}: no 1-grams in it, so no word: give an n-gram model of words")
    return Arpa(max(counts), model.grams, model.backoff)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines without the white space around them, up to the end mark."""
    try:
        with open(path, "rb") as file:
            opened = gzip.open if file.read(len(GZIP)) == GZIP else open
        with opened(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), ""), 1):
                if len(line) == LONGEST_LINE:
                    raise AvsrError(
                        f"{path}, line {number}: longer than {LONGEST_LINE} characters: give an "
                        "ARPA file"
                    )
                if line.strip() == "\\end\\":
                    return
                yield number, line.strip()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise AvsrError(
            f"{path}: cannot be read as an n-gram model ({reason}): give an ARPA file"
        ) from error
    except UnicodeDecodeError as error:
        raise AvsrError(
            f"{path}: no text, perhaps a binary n-gram model: give its ARPA file"
        ) from error


def _section(line: str) -> int:
    r"""0 for \data\, n for \n-grams:, -1 for any other heading."""
    size, _, rest = line[1:].partition("-")
    return 0 if line == "\\data\\" else int(size) if rest == "grams:" and size.isdecimal() else -1


def _spelt(word: str) -> str:
    """A word of a file as models here have it."""
    if word == "<UNK>":  # KenLM reads both
        return UNKNOWN
    return word if word.isascii() else canonical(word) or word


def _whole(text: str, path: Path, number: int) -> int:
    if not text.strip().isdecimal() or len(text) > 20:
        raise AvsrError(
            f"{path}, line {number}: {text.strip()[:60]!r} is no count: this is no ARPA file"
        )
    return int(text)


def _add_gram(model: Arpa, line: str, size: int, where: str) -> None:
    """One line of an n-gram section: log10 probability, n words, and perhaps a log10 backoff
    weight.

    Words are in canonical form, as a recogniser spells them; of one that is there in two forms the
    likelier counts.
    """
    fields = line.split()
    words = tuple(map(_spelt, fields[1 : size + 1]))
    try:
        if len(words) < size or len(fields) > size + 2:
            raise ValueError
        found, backoff = float(fields[0]), float(fields[-1]) if len(fields) == size + 2 else None
        if not (found <= 0 and abs(backoff or 0.0) < LARGEST_BACKOFF):  # no NaN either
            raise ValueError
        if found < model.grams.get(words, -math.inf):
            return
        # never an infinity, which times a weight of 0 is no number
        model.grams[words] = max(found, NEVER_LOG10)
        if backoff is not None:
            model.backoff[words] = backoff
    except ValueError as error:
        raise AvsrError(
            f"{where}: a probability, {size} words and perhaps a backoff weight belong here, not "
            f"{line[:60]!r}"
        ) from error


State = tuple[tuple[str, ...], str, bool]
"""Words before, the letters of the word begun, and whether those are known to begin no word of the
model."""


@dataclass(frozen=True)
class Ngram:
    """A word n-gram model as a language: texts are scored word by word while the beam search spells
    them.

    The score of a text is weight * ln p(words) + word_bonus * words, and OOV_PENALTY for each word
    outside the model. The penalty falls as soon as the letters can no longer become a word, what is
    left when the word ends.

    Attributes:
        name: for people: the file it came from.
        model: the probabilities.
        weight: of the model against the recogniser.
        word_bonus: natural log for each word; makes up for every word costing something.
    """

    name: str
    model: Arpa
    weight: float = WEIGHT
    word_bonus: float = 0.0
    beam: int = BEAM
    whole_units: bool = False  # it can begin with any word
    _prefixes: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words = [gram[0] for gram in self.model.grams if len(gram) == 1]
        prefixes = frozenset(word[:n] for word in words for n in range(1, len(word) + 1))
        object.__setattr__(self, "_prefixes", prefixes)

    def check(self, tokens: Sequence[str]) -> None:
        """Raises AvsrError where no word of the model can be spelt with these tokens: another
        alphabet, or capitals."""
        words = [
            gram[0]
            for gram in self.model.grams
            if len(gram) == 1 and gram[0] not in (BEGIN, END, UNKNOWN)
        ]
        letters = set("".join(tokens))
        if not any(set(word) <= letters for word in words):
            example = words[0] if words else ""
            raise AvsrError(
                f"{self.name}: the recogniser can spell none of its words, for example "
                f"{example!r}: case?"
            )

    def decode(
        self, log_probs: Tensor, tokens: Sequence[str], beam: int, closed: bool = True
    ) -> list[int]:
        """The ids of the best text, see `beam_search`; log_probs (T, U)."""
        return list(beam_search(log_probs, beam, self, tokens=tokens, closed=closed)[0].ids)

    def units(self, words: Sequence[str]) -> list[int]:
        """A long recording may be cut between any two words."""
        return [1] * len(words)

    def __str__(self) -> str:
        return f"n-gram {self.name}, weight {self.weight:g}"

    def start(self) -> State:
        return (BEGIN,), "", False

    def extend(self, state: State, token: str) -> tuple[State, float]:
        """The text goes on with what a token writes: what that adds to its score."""
        score = 0.0
        for letter in token:
            state, more = self._letter(state, letter)
            score += more
        return state, score

    def _letter(self, state: State, letter: str) -> tuple[State, float]:
        context, begun, unknown = state
        if letter == " ":
            return self._word(state) if begun else (state, 0.0)
        begun += letter
        if unknown or begun in self._prefixes:
            return (context, begun, unknown), 0.0
        return (context, begun, True), OOV_PENALTY

    def finish(self, state: State) -> float:
        """The text is over: the word begun, and the end of the sentence."""
        state, score = self._word(state) if state[1] else (state, 0.0)
        return score + self.weight * math.log(10) * self.model.log10(state[0], END)

    def _word(self, state: State) -> tuple[State, float]:
        context, word, unknown = state
        score = self.word_bonus + self.weight * math.log(10) * self.model.log10(context, word)
        if not unknown and (word,) not in self.model.grams:  # the beginning of a word, and no word
            score += OOV_PENALTY
        kept = (*context, self.model.known(word))[-max(1, self.model.order - 1) :]
        return (kept, "", False), score


def estimate(texts: Iterable[str], order: int = 3) -> Arpa:
    """A model of the texts' words: Witten-Bell smoothing, interpolated (IEEE Trans. Inf. Theory
    37(4), 1991).

    p(w | h) = (c(h w) + t(h) p(w | shorter h)) / (c(h) + t(h)) with t(h) the number of different
    words seen after h; below the unigrams every word and <unk> is equally likely. Right for the
    small, regular texts of a closed vocabulary; for a large corpus take KenLM's lmplz, whose ARPA
    files are read as well.
    """
    if order not in ORDERS:
        raise AvsrError(
            f"order {order!r}: an n-gram model made here has an order of {ORDERS[0]} to "
            f"{ORDERS[-1]}"
        )
    after: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for text in texts:
        # Some texts have the marks of begin and end already.
        words = [
            BEGIN,
            *(word for word in canonical(text).split() if word not in (BEGIN, END)),
            END,
        ]
        for last in range(1, len(words)):
            for first in range(max(0, last - order + 1), last + 1):
                after[tuple(words[first:last])][words[last]] += 1
    if not after:
        raise AvsrError("no text to make an n-gram model of: give texts with words in them")
    floor = 1 / len({*after[()], UNKNOWN})
    # by custom: it is given, never foretold
    grams: dict[tuple[str, ...], float] = {(BEGIN,): -99.0}
    backoff: dict[tuple[str, ...], float] = {}
    linear: dict[tuple[str, ...], float] = {}
    for context in sorted(after, key=len):
        counts = after[context]
        seen, kinds = counts.total(), len(counts)
        for word, count in counts.items():
            lower = linear[(*context[1:], word)] if context else floor
            linear[(*context, word)] = (count + kinds * lower) / (seen + kinds)
        if context:
            backoff[context] = math.log10(kinds / (seen + kinds))
        else:
            # texts may hold it as a word
            linear.setdefault((UNKNOWN,), kinds * floor / (seen + kinds))
    return Arpa(order, grams | {gram: math.log10(p) for gram, p in linear.items()}, backoff)


def write_arpa(path: str | Path, model: Arpa) -> None:
    """Writes a model as ARPA text, whole or not at all."""
    by_order: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for gram in sorted(model.grams):
        by_order[len(gram)].append(gram)
    lines = ["\\data\\", *(f"ngram {n}={len(by_order[n])}" for n in sorted(by_order))]
    for n in sorted(by_order):
        lines += ["", f"\\{n}-grams:"]
        for gram in by_order[n]:
            weight = f"\t{model.backoff[gram]:.6f}" if gram in model.backoff else ""
            lines.append(f"{model.grams[gram]:.6f}\t{' '.join(gram)}{weight}")
    try:
        outputs.write(path, ["\n".join([*lines, "", "\\end\\", ""]).encode()])
    except OSError as error:
        raise AvsrError(
            f"{path}: cannot be written ({error.strerror}): choose another place"
        ) from error


def texts_of(source: str | Path, split: str | None = "train") -> list[str]:
    """Sentences of a text file (one a line), or those of a split of prepared shards.

    Args:
        source: the file, or the folder or URL of the shards.
        split: None for all of the shards.

    Raises:
        AvsrError: cannot be read, or no text in the split.
    """
    path = Path(local(source))
    if is_url(source) or path.is_dir():
        index = ShardIndex(source)
        found = [index.entries[i].text for i in index.select(split, text=True)]
        return [text for text in found if text]
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise AvsrError(
            f"{path}: cannot be read: give a text file with a sentence a line, or shards"
        ) from error
