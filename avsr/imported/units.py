"""The strings of a research model's tokens, which its weights do not hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of, refuse_endless

BLANK, END = "<blank>", "<eos>"  # stand before and after the pieces of a list
MOST_MB = 10
FORMAT = "one line a piece: the piece, a space, its number from 1"
SOURCES = {  # size of a vocabulary -> the list that goes with it, and who publishes it
    5049: ("unigram5000_units.txt", "the folder spm/unigram of Auto-AVSR's repository"),
    1049: ("unigram1000_units.txt", "USR 2.0's repository"),
}


def pieces_of(
    checkpoint: Path, vocabulary: int, units: str | Path | None, facts: dict[str, Any]
) -> tuple[str, ...]:
    """The strings of all tokens: of the list that is named, of model.json, or of the list that lies
    beside the checkpoint.

    Args:
        checkpoint: its path.
        vocabulary: V, how many tokens it has.
        units: a list, or None.
        facts: what model.json says.

    Returns:
        V strings, the blank first, the end last.

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
    return pieces


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
