"""Text to token ids and back, and where words begin: characters, or sub-word pieces.

One id is kept for the CTC blank. Decoding, alignment and training ask a `Tokenizer` and never look
at the strings of tokens themselves.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from avsr.preprocessing.text import SPACELESS, canonical

BLANK = "<blank>"
BEGIN = "\u2581"  # a piece with it in front begins a word, as SentencePiece writes it
SPACE = "<space>"  # how some research models write the token for " "
UNLIKELY = 10.0  # log probability that a character of another corpus is below all pieces

_SPACELESS = re.compile(f"[{SPACELESS}]")


def is_spaceless(text: str) -> bool:
    """Whether it begins with a letter of a script that is written without spaces, Chinese for
    one."""
    return _SPACELESS.match(text) is not None and not _is_mark(text[0])


class Tokenizer:
    """Characters as tokens; id 0 is the CTC blank, the space is a token like any other.

    `PieceTokenizer` is the same for sub-word pieces; `Tokenizer.of` takes the one that fits.

    Args:
        tokens: all token strings in the order of their ids, the blank first.
    """

    blank = 0
    scores: tuple[float, ...] = ()  # see `PieceTokenizer`

    def __init__(self, tokens: Sequence[str]) -> None:
        if not tokens or tokens[0] != BLANK:
            raise ValueError(f"the first token must be {BLANK!r}")
        if len(set(tokens)) != len(tokens):
            raise ValueError("tokens must be distinct")
        self.tokens = tuple(tokens)
        self._ids = {token: i for i, token in enumerate(self.tokens)}

    @staticmethod
    def of(tokens: Sequence[str], scores: Sequence[float] = ()) -> Tokenizer:
        """The tokenizer of a vocabulary: of pieces where some of them say that they begin a word,
        or its space has a name; scores as in `PieceTokenizer`."""
        pieces = SPACE in tokens or any(token.startswith(BEGIN) for token in tokens)
        return PieceTokenizer(tokens, scores) if pieces else Tokenizer(tokens)

    def grown(self, new: Sequence[str]) -> Tokenizer:
        """The same with further characters behind its own tokens."""
        return Tokenizer((*self.tokens, *new))

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Tokenizer:
        """The characters that occur in the canonical form of the texts, sorted."""
        return cls((BLANK, *sorted({char for text in texts for char in canonical(text)})))

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str) -> list[int]:
        """Ids of a text in its canonical form.

        Raises:
            ValueError: a character is not in the vocabulary.
        """
        text = canonical(text)
        unknown = self.unknown(text)
        if unknown:
            raise ValueError(f"{text!r} has {unknown}, which this model's vocabulary lacks")
        return [self._ids[char] for char in "".join(map(self._spell, text))]

    def unknown(self, chars: Iterable[str]) -> list[str]:
        """Those of the characters that cannot be written, sorted."""
        return sorted(char for char in set(chars) if self._spell(char)[0] not in self._ids)

    def _spell(self, char: str) -> str:
        """The character, or its letter and accents where only those are tokens, as in an older
        model's vocabulary."""
        parts = unicodedata.normalize("NFD", char)
        return char if char in self._ids or not self._ids.keys() >= set(parts) else parts

    def decode(self, ids: Iterable[int]) -> str:
        """Text of ids that are already collapsed and hold no blank; outer and repeated spaces are
        dropped."""
        return " ".join("".join(self.written(i) for i in ids).split())

    def written(self, id: int) -> str:
        """What a token adds to a text; it begins with a space where the token begins a word."""
        return self.tokens[id]

    def words(self, ids: Sequence[int]) -> list[list[list[int]]]:
        """Where the words of a text begin: the one answer for windows, times and segments.

        Args:
            ids: a text without blanks.

        Returns:
            For each stretch between two spaces its words, each as positions in `ids`. It is one
            word, but each letter of a script without spaces is a word of its own, with the marks on
            it.
        """
        found: list[list[list[int]]] = []
        inside, before = False, ""
        for position, id in enumerate(ids):
            written = self.written(id)
            inside = inside and not written.startswith(" ")
            text = written.strip()
            if not text:
                continue
            if not inside:
                found.append([[position]])
            elif is_spaceless(text) or (is_spaceless(before) and not _is_mark(text[0])):
                found[-1].append([position])
            else:
                found[-1][-1].append(position)
            inside, before = True, text[-1]
        return found


class PieceTokenizer(Tokenizer):
    """Sub-word pieces as tokens, as SentencePiece makes them: "\u2581" in front begins a word.

    Args:
        tokens: as in `Tokenizer`.
        scores: log probability of each token; with them a word is parted into the pieces that are
            together the most probable, as SentencePiece's unigram models do (Kudo 2018). Without,
            the longest piece that fits comes first, as in WordPiece (Wu et al. 2016).
    """

    def __init__(self, tokens: Sequence[str], scores: Sequence[float] = ()) -> None:
        super().__init__(tokens)
        if scores and len(scores) != len(tokens):
            raise ValueError(f"{len(scores)} scores for {len(tokens)} tokens")
        self.scores = tuple(scores)
        self._longest = max(map(len, self.tokens))
        self._parted: dict[str, list[int]] = {}  # words come again and again

    def grown(self, new: Sequence[str]) -> Tokenizer:
        """See `Tokenizer.grown`; what is new is less probable than every piece there was."""
        scores = (*self.scores, *(min(self.scores) - UNLIKELY for _ in new)) if self.scores else ()
        return PieceTokenizer((*self.tokens, *new), scores)

    def written(self, id: int) -> str:
        """See `Tokenizer.written`."""
        token = self.tokens[id]
        return " " if token == SPACE else token.replace(BEGIN, " ")

    def encode(self, text: str) -> list[int]:
        """Ids of a text in its canonical form, word by word.

        Raises:
            ValueError: a character is not in the vocabulary.
        """
        text = canonical(text)
        unknown = self.unknown(text)
        if unknown:
            raise ValueError(f"{text!r} has {unknown}, which this model's vocabulary lacks")
        if SPACE in self._ids:
            return [self._ids[SPACE if char == " " else char] for char in text]
        ids = []
        for word in text.split():
            if word not in self._parted:
                marked = BEGIN + word
                self._parted[word] = self._likely(marked) if self.scores else self._greedy(marked)
            ids += self._parted[word]
        return ids

    def _greedy(self, word: str) -> list[int]:
        ids = []
        while word:
            end = next(n for n in range(len(word), 0, -1) if word[:n] in self._ids)
            ids.append(self._ids[word[:end]])
            word = word[end:]
        return ids

    def _likely(self, word: str) -> list[int]:
        """The most probable way (Viterbi) from the begin of a word to its end."""
        best: list[tuple[float, list[int]]] = [(0.0, [])]  # up to each letter
        for end in range(1, len(word) + 1):
            ways = []
            for begin in range(max(0, end - self._longest), end):
                id = self._ids.get(word[begin:end])
                if id is not None:
                    score, before = best[begin]
                    ways.append((score + self.scores[id], [*before, id]))
            best.append(max(ways, key=lambda way: way[0]))
        return best[-1][1]

    def unknown(self, chars: Iterable[str]) -> list[str]:
        """Those of the characters that are no piece of their own, sorted."""
        return sorted(char for char in set(chars) - {" "} if char not in self._ids)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char).startswith("M")
