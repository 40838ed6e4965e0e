"""What may be said, or is likely: n-gram models and grammars, as one kind of thing that a
recogniser decodes with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from avsr.base.errors import UsageError
from avsr.base.inputs import path_of
from avsr.decoding import fast
from avsr.decoding.ctc import beam_search, greedy
from avsr.decoding.grammar import load_grammar
from avsr.decoding.ngram import WEIGHT, Ngram, read_arpa

WEIGHTS = (0.0, 10.0)
BEAMS = (0, 1000)


class Language(Protocol):
    """Turns posteriors into text with knowledge of the language; for any model whose tokens can
    spell it."""

    @property
    def name(self) -> str: ...

    @property
    def beam(self) -> int:
        """Width of the beam where nobody says one; 0: it searches without a beam."""

    def check(self, tokens: Sequence[str]) -> None:
        """Raises AvsrError where a model with these tokens cannot spell it."""

    def decode(
        self, log_probs: Tensor, tokens: Sequence[str], beam: int, closed: bool = True
    ) -> list[int]:
        """Ids of the best text of one clip, (T, U) log posteriors; not closed: more of it follows
        after the clip."""

    def units(self, words: Sequence[str]) -> list[int]:
        """How many words belong together each time, so that a long recording is cut between and not
        within."""

    @property
    def whole_units(self) -> bool:
        """Whether it can only be searched with from the beginning of a unit."""


def load(
    lm: str | Path | None = None,
    *,
    grammar: str | Path | None = None,
    lm_weight: float | None = None,
) -> Language | None:
    """A language from its files.

    Args:
        lm: an ARPA file, plain or .gz.
        grammar: a name from `grammar.GRAMMARS`, or a file (see `Grammar.parse`).
        lm_weight: of the n-gram model against the recogniser, 0 to 10; ngram.WEIGHT by default.

    Returns:
        None where nothing is named.

    Raises:
        UsageError: both are named, or a weight without a model or out of range.
        AvsrError: a file that cannot be used.
    """
    if lm is not None and grammar is not None:
        raise UsageError("an n-gram model and a grammar at once cannot be used: choose one of them")
    if lm_weight is not None and lm is None:
        raise UsageError(
            f"lm weight {lm_weight} without an n-gram model: name one, or leave the weight out"
        )
    if lm_weight is not None and (not isinstance(lm_weight, Real) or isinstance(lm_weight, bool)):
        raise UsageError(
            f"lm weight {lm_weight!r}: must be a number, not {type(lm_weight).__name__}"
        )
    if lm_weight is not None and not WEIGHTS[0] <= lm_weight <= WEIGHTS[1]:
        raise UsageError(
            f"lm weight {lm_weight:g}: must be {WEIGHTS[0]:g} to {WEIGHTS[1]:g}; {WEIGHT:g} is "
            "usual"
        )
    if grammar is not None:
        return load_grammar(grammar)
    if lm is not None:
        return Ngram(str(path_of(lm)), read_arpa(lm), WEIGHT if lm_weight is None else lm_weight)
    return None


def _language(named: Any) -> Language | None:
    """A language, also from the name of a grammar.

    Raises:
        UsageError: anything else.
    """
    if named is None or all(
        hasattr(named, name) for name in ("name", "beam", "check", "decode", "units")
    ):
        return named
    if isinstance(named, str | PathLike):
        return load_grammar(Path(named))
    raise UsageError(
        f"language {named!r}: give what avsr.decoding.language.load returns, or the name of a "
        "grammar"
    )


@dataclass(frozen=True)
class Decoding:
    """How posteriors become text.

    Attributes:
        beam: width of the prefix beam search; 0 is none: greedy, or the exact search of a grammar.
        language: what may be said or is likely; None trusts the recogniser alone.
    """

    beam: int = 0
    language: Language | None = None

    @classmethod
    def choose(
        cls, beam: int | None, language: Language | str | None, tokens: Sequence[str]
    ) -> Decoding:
        """Fills in the beam that a language is used with, and refuses what does not go together.

        Args:
            beam: None for the usual one.
            language: None for none; the name of a grammar is one too.
            tokens: of the model that it is for.

        Raises:
            UsageError: a beam out of range or of no use to the language.
            AvsrError: tokens that cannot spell it.
        """
        language = _language(language)
        usual = language.beam if language is not None else 0
        if beam is None:
            beam = usual
        if not isinstance(beam, Integral) or isinstance(beam, bool):
            raise UsageError(f"beam {beam!r}: must be a whole number, not {type(beam).__name__}")
        if not BEAMS[0] <= beam <= BEAMS[1]:
            raise UsageError(f"beam {beam}: must be 0 (greedy) or a width of 1 to {BEAMS[1]}")
        if language is not None:
            if usual and not beam:
                raise UsageError(
                    f"beam 0 with the n-gram model {language.name}: it needs one of at least 1"
                )
            if beam and not usual:
                raise UsageError(
                    f"beam {beam} with grammar {language.name}: its search is exact, leave the "
                    "beam out"
                )
            language.check(tokens)
        return cls(beam, language)

    def ids(
        self, log_probs: Tensor, lens: Tensor, tokens: Sequence[str], closed: bool = True
    ) -> list[Sequence[int]]:
        """The ids that each clip of a batch spells.

        Args:
            log_probs: (B, T, U) float, T outputs of the model.
            lens: (B,) int64, outputs that count in each clip.
            tokens: the string of each id.
            closed: the text ends with the clip.
        """
        if self.language is None and self.beam == 0:
            return [*greedy(log_probs, lens)]
        if self.language is None:
            found = fast.beam_search(log_probs, lens, self.beam, tokens)
            if found is not None:
                return found
        clips = [clip[:frames] for clip, frames in zip(log_probs.cpu(), lens.tolist(), strict=True)]
        if self.language is None:
            return [beam_search(clip, self.beam)[0].ids for clip in clips]
        return [self.language.decode(clip, tokens, self.beam, closed) for clip in clips]

    def __str__(self) -> str:
        """For people and results: "greedy", "beam 8", "grammar grid", "n-gram words.arpa, beam
        16"."""
        search = [f"beam {self.beam}"] if self.beam else [] if self.language else ["greedy"]
        return ", ".join(([str(self.language)] if self.language else []) + search)
