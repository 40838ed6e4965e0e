"""The strings of a research model's tokens, which its weights do not hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of, refuse_endless
from avsr.model.tokenizer import BEGIN, UNLIKELY, PieceTokenizer

BLANK, END = "<blank>", "<eos>"  # stand before and after the pieces of a list
UNKNOWN = "<unk>"  # stands for a character that has no piece
MOST_MB = 10
FORMAT = "one line a piece: the piece, a space, its number from 1"
SOURCES = {  # size of a vocabulary -> the list that goes with it, and who publishes it
    5049: ("unigram5000_units.txt", "the folder spm/unigram of Auto-AVSR's repository"),
    1049: ("unigram1000_units.txt", "USR 2.0's repository"),
}


def pieces_of(
    checkpoint: Path, vocabulary: int, units: str | Path | None, facts: dict[str, Any]
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """The strings of all tokens: of the list that is named, of model.json, or of the list that lies
    beside the checkpoint.

    Args:
        checkpoint: its path.
        vocabulary: V, how many tokens it has.
        units: a list, or None.
        facts: what model.json says.

    Returns:
        V strings, the blank first, the end last; and V scores or none, see `scores_of`.

    Raises:
        AvsrError: there is no list, it cannot be read, or it is of another model.
    """
    characters = facts.get("char_list")
    name, publisher = SOURCES.get(vocabulary, ("its units list", "whoever trained it"))
    beside = checkpoint.parent / name
    if units is not None:
        source, pieces = path_of(units, "units list"), read_units(units)
    elif isinstance(characters, list):
        source, pieces = checkpoint.with_suffix(".json"), _of_characters(checkpoint, characters)
    elif beside.is_file():
        source, pieces = beside, read_units(beside)
    else:
        raise AvsrError(
            f"{checkpoint}: the strings of its {vocabulary} tokens are in a list of their own: "
            f"give {name} (from {publisher}) with --units, or put it beside the checkpoint"
        )
    if len(pieces) != vocabulary:
        raise AvsrError(
            f"{source}: has {len(pieces) - 2} pieces, this model needs {vocabulary - 2}: give the "
            f"list it was trained with, {name} from {publisher}"
        )
    return pieces, scores_of(source, pieces)


def read_units(path: str | Path) -> tuple[str, ...]:
    """A list of pieces with the blank before and the end after them.

    Raises:
        AvsrError: no such file, or one that is no such list.
    """
    path = path_of(path, "units list")
    refuse_endless(path, "units list", MOST_MB)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AvsrError(f"{path}: cannot be read ({error.strerror}): check the name") from error
    except ValueError as error:
        raise AvsrError(f"{path}: is no text: {FORMAT}") from error
    pieces = []
    for number, line in enumerate(text.rstrip("\r\n").split("\n"), 1):
        fields = line.strip(" \r").split(" ")
        if len(fields) != 2 or fields[1] != str(number):
            raise AvsrError(f"{path}: line {number} is {line[:40]!r}, must be {FORMAT}")
        pieces.append(fields[0])
    _refuse_twins(path, pieces)
    return (BLANK, *pieces, END)


def scores_of(units: Path, pieces: Sequence[str]) -> tuple[float, ...]:
    """How probable each piece is, from the SentencePiece model that lies beside its list.

    A list says what the pieces are and not how a text is cut into them, which training needs. Their
    publishers have both in one folder: unigram5000_units.txt and unigram5000.model.

    Returns:
        V log probabilities; nothing where there is no such file or no SentencePiece.

    Raises:
        AvsrError: the file is no such model, or of other pieces.
    """
    path = units.with_name(f"{units.stem.removesuffix('_units')}.model")
    if not path.is_file():
        return ()
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        return ()
    try:
        model = SentencePieceProcessor(model_proto=path.read_bytes())
    except (OSError, RuntimeError) as error:
        raise AvsrError(f"{path}: no model of SentencePiece: move it away, or copy it again") from (
            error
        )
    known = {model.id_to_piece(id): model.get_score(id) for id in range(model.vocab_size())}
    foreign = [piece for piece in pieces[1:-1] if piece not in known and piece != UNKNOWN]
    if foreign:
        raise AvsrError(
            f"{path}: lacks {foreign[0]!r} of {units.name}: move it away, or copy the one that "
            "goes with it"
        )
    least = min(known.values())
    return tuple(known.get(piece, least) for piece in pieces)


def _of_characters(checkpoint: Path, characters: Sequence[Any]) -> tuple[str, ...]:
    """The char_list of a model.json, which holds blank and end already."""
    path = checkpoint.with_suffix(".json")
    if not all(isinstance(character, str) and character for character in characters):
        raise AvsrError(f"{path}: char_list must hold strings: copy the file again")
    if len(characters) < 3 or characters[-1] != END:
        raise AvsrError(f"{path}: char_list must end in {END}: copy the file again")
    _refuse_twins(path, characters)
    return (BLANK, *characters[1:])


def _refuse_twins(path: Path, pieces: Sequence[str]) -> None:
    seen: set[str] = set()
    for piece in pieces:
        if piece in seen:
            raise AvsrError(f"{path}: has {piece!r} twice: copy the file again")
        seen.add(piece)


class UnitsTokenizer(PieceTokenizer):
    """The tokens of a research network, as texts are written with them in training.

    Texts are put into the letter case of the pieces. A word is parted into the pieces that are
    together the most probable or, where no scores are known, into as few as possible; a character
    that is no piece of its own and fits into none of its word's is the unknown token, as
    SentencePiece has it.

    Args:
        pieces: V strings, the blank first, the end last.
        scores: V log probabilities, or nothing.
    """

    def __init__(self, pieces: Sequence[str], scores: Sequence[float] = ()) -> None:
        super().__init__(pieces, scores or [-1.0] * len(pieces))
        letters = "".join(piece for piece in pieces if not piece.startswith("<"))
        # without an unknown token a character must be a piece of its own
        self._inside = set(letters if UNKNOWN in pieces else pieces) - {BEGIN}
        self._upper, self._lower = letters == letters.upper(), letters == letters.lower()

    def fold(self, text: str) -> str:
        """The text in the letter case that the pieces have."""
        if self._upper == self._lower:
            return text
        return text.upper() if self._upper else text.lower()

    def encode(self, text: str) -> list[int]:
        """See `PieceTokenizer.encode`."""
        return super().encode(self.fold(text))

    def unknown(self, chars: Iterable[str]) -> list[str]:
        """Those of the characters that are in no piece, sorted."""
        return sorted(char for char in set(chars) - {" "} if not self._writes(char))

    def _writes(self, char: str) -> bool:
        return self._inside >= set(self.fold(char))

    def _likely(self, word: str) -> list[int]:
        """See `PieceTokenizer._likely`; unknown tokens are less probable than all pieces."""
        least = min(self.scores) - UNLIKELY
        best: list[tuple[float, list[int]]] = [(0.0, [])]  # up to each letter
        for end in range(1, len(word) + 1):
            ways = []
            for begin in range(max(0, end - self._longest), end):
                score, before = best[begin]
                id = self._ids.get(word[begin:end])
                if id is not None:
                    ways.append((score + self.scores[id], [*before, id]))
                elif end - begin == 1:
                    unknown = [self._ids[UNKNOWN]] if UNKNOWN in self._ids else []
                    ways.append((score + least, [*before, *unknown]))
            best.append(max(ways, key=lambda way: way[0]))
        return best[-1][1]
