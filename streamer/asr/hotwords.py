"""Words that are expected get the benefit of the doubt (contextual biasing, Aleksic et al. 2015).

`Hotwords` serves a search through letters: a word of a phrase counts as being as likely as `EXPECTED`, and
every letter of it adds `LETTER`, already while the word is incomplete, so that the search does not drop it
before its end. A phrase that is left before its end gives back what it was given.

`TokenBias` serves a decoder, which takes one token after the other and never looks back: what begins a phrase
is raised a little, what goes on with one more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.asr.tokenizer import Tokenizer

EXPECTED = -7.0
"""Natural logarithm of how likely an expected word is at least, whatever a word model says: 1 in 1100."""

LETTER = 1.0
"""What a search adds to its score for each letter."""

BEGIN, GO_ON = 1.0, 4.0
"""What a decoder's logits are raised by."""


@dataclass(slots=True, eq=False)
class _Node:
    """What of a phrase has been said, and what may come."""

    longer: dict[bytes, _Node] = field(default_factory=dict)
    beginnings: set[bytes] = field(default_factory=set)
    """Of the words that may come."""
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the phrases a text is, and what it has been given for a phrase that is not complete."""

    node: _Node
    owed: float = 0.0


class Hotwords:
    """Phrases as words in UTF-8, for `asr.search`. Scores are natural logarithms."""

    def __init__(self, phrases: Iterable[str], boost: float = 1.0) -> None:
        """`boost`: 1 adds `LETTER` for each letter of a word, 2 twice that."""
        self._boost = boost * LETTER
        self._root = _Node()
        for phrase in phrases:
            for form in spellings(phrase):
                self._add(form.encode().split())
        self.start = Place(self._root)

    def _add(self, words: Sequence[bytes]) -> None:
        node = self._root
        for word in words:
            node.beginnings |= {word[:end] for end in range(1, len(word) + 1)}
            node = node.longer.setdefault(word, _Node())
        node.ends = True

    def outlook(self, place: Place, unfinished: bytes) -> float | None:
        """What a word that begins so adds; None where no expected one does."""
        if unfinished in place.node.beginnings or unfinished in self._root.beginnings:
            return self._boost * len(unfinished)
        return None

    def word(self, place: Place, word: bytes) -> tuple[Place, float, bool]:
        """Where a word leads to, what it adds or gives back, and whether it was expected."""
        change = 0.0
        node = place.node.longer.get(word)
        owed = place.owed
        if node is None:
            change, owed = -owed, 0.0
            node = self._root.longer.get(word)
        if node is None:
            return self.start, change, False
        given = self._boost * len(word)
        return Place(node, 0.0 if node.ends else owed + given), change + given, True


class TokenBias:
    """Raises the logits of tokens that begin or continue a phrase, for `asr.decode`."""

    def __init__(self, phrases: Iterable[str], tokenizer: Tokenizer, boost: float = 1.0) -> None:
        """`boost`: 1 adds `BEGIN` to the logit of what begins a phrase, `GO_ON` to that of what goes on."""
        self._boost = boost
        self._first: set[int] = set()
        self._next: dict[tuple[int, ...], set[int]] = {(): set()}
        for phrase in phrases:
            for form in spellings(phrase):
                # A text may begin without the space that every later word has in front.
                alone, within = tokenizer.encode(form), tokenizer.encode(" " + form)
                self._first.add(alone[0])
                for tokens in (alone[1:] and alone, within):
                    for i in range(0 if tokens is within else 1, len(tokens)):
                        self._next.setdefault(tuple(tokens[:i]), set()).add(tokens[i])
        self._longest = max(map(len, self._next))

    def apply(self, logits: NDArray[np.float32], said: Sequence[int]) -> NDArray[np.float32]:
        """Logits (n_vocab,) of the token after `said`, with what is expected raised."""
        more: dict[int, float] = dict.fromkeys(
            self._next[()] if said else self._first | self._next[()], BEGIN
        )
        for length in range(1, min(self._longest, len(said)) + 1):
            more |= dict.fromkeys(self._next.get(tuple(said[-length:]), ()), GO_ON)
        raised = logits.copy()
        raised[list(more)] += np.float32(self._boost) * np.array(list(more.values()), np.float32)
        return raised


def spellings(phrase: str) -> list[str]:
    """A phrase as written, and as other models may write it; none of nothing."""
    plain = " ".join(phrase.split())
    forms = (plain, plain.lower(), plain.upper(), plain.title())
    return [form for form in dict.fromkeys(forms) if form]
