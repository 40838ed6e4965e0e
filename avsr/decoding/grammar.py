"""Grammars: every sentence that may be said, and the exact search for the one that was.

T  outputs of the model        U  tokens, 0 is the CTC blank        S  characters of the grammar's
graph        E  edges
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch import Tensor

from avsr.base.errors import AvsrError
from avsr.base.inputs import path_of, refuse_endless
from avsr.decoding.ctc import BLANK
from avsr.preprocessing.corpora.grid import SLOTS
from avsr.preprocessing.text import canonical

MOST_MB = 10  # of a grammar's file

# name -> what a file of it would hold, see `Grammar.parse`
GRAMMARS = {"grid": "\n".join(" | ".join(words.values()) for words in SLOTS.values())}


@dataclass(frozen=True)
class Grammar:
    """Sentences as places in a row, each filled by one of its alternatives.

    Attributes:
        name: for people.
        slots: the alternatives of each place, of one or several words; "" among them means that the
            place may stay empty.
    """

    name: str
    slots: tuple[tuple[str, ...], ...]
    beam: int = 0  # the search is exact: there is nothing to keep or drop
    whole_units: bool = True  # it begins with the beginning of a sentence

    @classmethod
    def parse(cls, name: str, text: str) -> Grammar:
        """Reads a grammar: a line for each place, its alternatives parted by "|".

        A line that begins with "|" goes on with the place before it, so a list of sentences is a
        first line and then lines with "|" in front. Nothing between two "|", or after the last one,
        lets the place stay empty. What follows "#" is a comment.

        Raises:
            AvsrError: no sentence in it.
        """
        slots: list[list[str]] = []
        for raw in text.splitlines():
            line = raw.partition("#")[0].strip()
            if not canonical(line):
                continue
            alternatives = [canonical(part) for part in line.split("|")]
            if line.startswith("|") and slots:
                slots[-1] += alternatives[1:]
            else:
                slots.append(alternatives)
        if not any(any(slot) for slot in slots):
            raise AvsrError(
                f"grammar {name}: no sentence in it: write a line for each place, like: bin | lay "
                "| place"
            )
        return cls(name, tuple(tuple(dict.fromkeys(slot)) for slot in slots if any(slot)))

    def check(self, tokens: Sequence[str]) -> None:
        """Raises AvsrError unless all of the grammar can be spelt with these tokens."""
        _compile(self.slots, tuple(tokens), self.name)

    def decode(
        self, log_probs: Tensor, tokens: Sequence[str], beam: int = 0, closed: bool = True
    ) -> list[int]:
        """The ids of the most probable sentence, of several in a row, or of none; see `search`."""
        posteriors = log_probs.double().cpu().numpy()
        return search(posteriors, _compile(self.slots, tuple(tokens), self.name), closed)

    def units(self, words: Sequence[str]) -> list[int]:
        """How many words each sentence has; the last one may be cut short. Only between them may a
        recording be cut."""
        text, lengths = "".join(f" {word}" for word in words), []
        found = self._sentence.match(text)
        while found and found.end():
            lengths.append(len(found[0].split()))
            text = text[found.end() :]
            found = self._sentence.match(text)
        return lengths + [len(text.split())] * bool(text)

    def lexicon(self) -> Grammar:
        """Its words in any order and number: a grammar of one place."""
        words = [word for slot in self.slots for option in slot for word in option.split()]
        slot = tuple(dict.fromkeys(words))
        return Grammar(f"{self.name}, words in any order", (slot,))

    def follows(self) -> frozenset[tuple[str, str]]:
        """Words of which the second may follow the first, in a sentence or in the next one."""
        pairs: set[tuple[str, str]] = set()
        for place, slot in enumerate(self.slots):
            for option in filter(None, slot):
                words = option.split()
                pairs.update(pairwise(words))
                pairs.update((words[-1], word) for word in self._firsts(place + 1))
        return frozenset(pairs)

    def _firsts(self, place: int) -> Iterator[str]:
        """First words of what may come in a place, or after it where it may stay empty."""
        for slot in [*self.slots[place:], *self.slots]:
            yield from (option.split()[0] for option in slot if option)
            if "" not in slot:
                return

    def __str__(self) -> str:
        return f"grammar {self.name}"

    @property
    def _sentence(self) -> re.Pattern[str]:
        """A whole sentence with a space before each word."""
        parts = [
            "(?:"
            + "|".join(" " + re.escape(option) for option in slot if option)
            + (")?" if "" in slot else ")")
            for slot in self.slots
        ]
        return re.compile("".join(parts) + r"(?= |$)")


def load_grammar(name: str | Path) -> Grammar:
    """A grammar by its name, or from a file.

    Raises:
        AvsrError: neither, or no sentence in it.
    """
    path = path_of(name, "grammar")
    known = str(path)
    if known in GRAMMARS:
        return Grammar.parse(known, GRAMMARS[known])
    refuse_endless(path, "grammar", MOST_MB)
    try:
        return Grammar.parse(known, path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(GRAMMARS)
        raise AvsrError(
            f"grammar {known!r}: neither a known name ({names}) nor a text file that can be read"
        ) from error


@dataclass(frozen=True)
class Graph:
    """A grammar spelt out: each node is a character, an edge leads to what may follow. Node 0 is
    the beginning.

    Attributes:
        tokens: (S,) int64, the token of each node; BLANK for node 0.
        ends: (S,) bool, whether a sentence may end there; of node 0 it is true, nothing may be said
            at all.
        sources: (E,) int64, where the edges come from, in the order of where they lead.
        targets: (E,) int64.
    """

    tokens: np.ndarray
    ends: np.ndarray
    sources: np.ndarray
    targets: np.ndarray


@lru_cache(maxsize=8)
def _compile(slots: tuple[tuple[str, ...], ...], tokens: tuple[str, ...], name: str) -> Graph:
    """The graph of sentences one after the other, parted by spaces."""
    ids = {token: i for i, token in enumerate(tokens)}
    nodes, edges, ends = [BLANK], [], {0}
    firsts: list[list[int]] = []
    lasts: list[list[int]] = []
    for slot in slots:
        firsts.append([])
        lasts.append([])
        for option in filter(None, slot):
            if unknown := sorted(set(option + " ") - ids.keys()):
                raise AvsrError(
                    f"grammar {name}: {option[:40]!r} has {unknown[0]!r}, which the recogniser "
                    "cannot spell"
                )
            firsts[-1].append(len(nodes))
            edges += [(i, i + 1) for i in range(len(nodes), len(nodes) + len(option) - 1)]
            nodes += [ids[char] for char in option]
            lasts[-1].append(len(nodes) - 1)

    def following(place: int) -> tuple[list[int], bool]:
        """Nodes that begin the next place, or one after it where it may stay empty; whether all of
        them may."""
        found: list[int] = []
        for slot, first in zip(slots[place:], firsts[place:], strict=True):
            found += first
            if "" not in slot:
                return found, False
        return found, True

    opening, _ = following(0)
    edges += [(0, node) for node in opening]
    for place, last in enumerate(lasts, 1):
        after, over = following(place)
        space = len(nodes)
        nodes.append(ids[" "])
        edges += [(node, space) for node in last]
        edges += [(space, node) for node in dict.fromkeys(after + opening * over)]
        ends.update(last if over else ())
    by_target = np.array(sorted(edges, key=lambda edge: edge[1]), np.int64)
    return Graph(
        np.array(nodes),
        np.isin(np.arange(len(nodes)), list(ends)),
        by_target[:, 0],
        by_target[:, 1],
    )


def search(log_probs: np.ndarray, graph: Graph, closed: bool = True) -> list[int]:
    """The best CTC path through a grammar, without pruning: Viterbi over nodes, each with its token
    and a blank after.

    A prefix beam would have to keep the letters apart that were said long ago; here texts that may
    go on alike share a node, so the search is exact and costs T * E whatever is uncertain.

    Args:
        log_probs: (T, U) float64, of one clip without padding.
        graph: what may be said.
        closed: the last sentence must be complete; otherwise it may go on after the clip.

    Returns:
        The tokens, without blanks; none where the best path is silence.
    """
    frames, nodes = len(log_probs), len(graph.tokens)
    # row t: best path that ends there before frame t
    token, blank = np.full((2, frames + 1, nodes), -np.inf)
    blank[0, 0] = 0.0
    reached, offsets = np.unique(graph.targets, return_index=True)
    # A doubled letter needs a blank between its two spikes.
    repeats = np.where(graph.tokens[graph.sources] == graph.tokens[graph.targets], -np.inf, 0.0)
    for t, frame in enumerate(log_probs):
        ways = np.maximum(blank[t, graph.sources], token[t, graph.sources] + repeats)
        token[t + 1, reached] = np.maximum(token[t, reached], np.maximum.reduceat(ways, offsets))
        token[t + 1] += frame[graph.tokens]
        blank[t + 1] = np.maximum(blank[t], token[t]) + frame[BLANK]
    allowed = graph.ends if closed else np.ones(nodes, np.bool_)
    last = np.where(allowed, np.maximum(token[-1], blank[-1]), -np.inf)
    return _trace(token, blank, graph, int(last.argmax()))


def _trace(token: np.ndarray, blank: np.ndarray, graph: Graph, node: int) -> list[int]:
    """The tokens of the best path that ends in a node, found backwards."""
    spelt: list[int] = []
    frames = len(token) - 1
    silent = bool(blank[frames, node] >= token[frames, node])
    for t in range(frames - 1, -1, -1):
        if silent:
            silent = bool(blank[t, node] >= token[t, node])
            continue
        first, last = np.searchsorted(graph.targets, [node, node + 1])
        sources = graph.sources[first:last]
        parted = np.where(graph.tokens[sources] == graph.tokens[node], -np.inf, token[t, sources])
        ways = np.maximum(blank[t, sources], parted)
        best = int(ways.argmax())
        if ways[best] >= token[t, node]:
            spelt.append(int(graph.tokens[node]))
            silent, node = bool(blank[t, sources[best]] >= parted[best]), int(sources[best])
    return spelt[::-1]
