"""What the beam search asks of an attention decoder and of a language model.

Dimension legend: T frames, D width, H hypotheses, V vocabulary. Tokens are ids of the vocabulary;
0 is the CTC blank, V - 1 stands for both the start and the end of a sentence.
"""

from typing import Protocol, TypeVar

from torch import Tensor

State = TypeVar("State")


class TokenScorer(Protocol[State]):
    """Scores every token that may follow a hypothesis, all hypotheses of an utterance at once.

    A search calls `start` once an utterance, then in turn `step` with the newest token of every
    hypothesis (first [V - 1], the start of the sentence, for the one empty hypothesis) and `select`
    with the hypotheses that survive. The state is the scorer's own (what it has cached); a search
    only hands it back. No method changes the state that it is given.
    """

    @property
    def vocabulary(self) -> int:
        """V, the number of ids."""

    def start(self, memory: Tensor) -> State:
        """The state of one empty hypothesis.

        Args:
            memory: (T, D), the encoder's output; a language model does not look at it.
        """

    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Reads one more token of every hypothesis.

        Args:
            tokens: (H,) int64, in the order of the state's hypotheses.
            state: that of the hypotheses without these tokens.

        Returns:
            Log-probabilities (H, V) of what follows, normalised over V, and the new state.
        """

    def select(self, state: State, indices: Tensor) -> State:
        """The state of hypotheses `indices` (K,) int64, in that order, with repeats as given."""
