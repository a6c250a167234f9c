"""A trigram model of words that backs off (Katz 1987), small enough to ship beside a speech model.

Kept as a trie in sorted arrays (Heafield 2011): a word is two bytes, a probability one. Where the
bigrams of a word and the trigrams of a bigram begin is not stored but summed up on loading.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from streamer.errors import CheckpointError

UNKNOWN, START, END = 0, 1, 2
"""Ids of what is no word of the list, the beginning of a text, and its end."""
FIRST_WORD = 3
MOST_WORDS = 65536 - FIRST_WORD
STEP = 1 / 14
"""Natural logarithms are kept in steps of this, from 0 down to -18.2: an error of 3.6 % at most."""

_SHAPES = {
    "words": np.uint8,
    "unigram": np.uint8,
    "backoff": np.uint8,
    "bigrams": np.uint16,
    "bigram_word": np.uint16,
    "bigram": np.uint8,
    "bigram_backoff": np.uint8,
    "trigrams": np.uint16,
    "trigram_word": np.uint16,
    "trigram": np.uint8,
}


@dataclass(frozen=True, slots=True)
class Ngrams:
    """What an estimate gives: keys sorted, natural logarithms float64, ids as in this module.

    words: sorted by their UTF-8, the first having id FIRST_WORD. unigram, backoff (V + FIRST_WORD,).
    bigrams (N, 2) and trigrams (M, 3) of ids, sorted; every trigram's first two words are a bigram.
    """

    words: Sequence[str]
    unigram: NDArray[np.float64]
    backoff: NDArray[np.float64]
    bigrams: NDArray[np.int64]
    bigram: NDArray[np.float64]
    bigram_backoff: NDArray[np.float64]
    trigrams: NDArray[np.int64]
    trigram: NDArray[np.float64]


class Words(Protocol):
    """What a search asks about words, which are bytes of UTF-8 or ids."""

    def id(self, word: bytes) -> int:
        """The id of a word, UNKNOWN for others."""
        ...

    def score(self, before: int, last: int, word: int) -> float:
        """Natural logarithm of the probability of an id after two ids."""
        ...

    def likeliest(self, start: bytes) -> float | None:
        """The largest of a word that begins so; None: there is none."""
        ...


class AnyWords:
    """Takes every word to be as likely as every other."""

    def id(self, word: bytes) -> int:  # noqa: ARG002  what a Words is asked
        """None is known."""
        return UNKNOWN

    def score(self, before: int, last: int, word: int) -> float:  # noqa: ARG002
        """See Words."""
        return 0.0

    def likeliest(self, start: bytes) -> float | None:  # noqa: ARG002
        """See Words."""
        return 0.0


class WordModel:
    """log P(word | the two words before it), and which words there are."""

    def __init__(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        self._arrays = arrays
        self.words: list[bytes] = zlib.decompress(arrays["words"].tobytes()).split(b"\n")
        self._ids = {word: i + FIRST_WORD for i, word in enumerate(self.words)}
        self._bigram_start = _starts(arrays["bigrams"])
        self._trigram_start = _starts(arrays["trigrams"])
        self._known: dict[tuple[int, int, int], float] = {}
        self._likeliest: dict[bytes, float | None] = {}

    def id(self, word: bytes) -> int:
        """The id of a word (UTF-8), UNKNOWN for others."""
        return self._ids.get(word, UNKNOWN)

    def score(self, before: int, last: int, word: int) -> float:
        """Natural logarithm of the probability of an id after two ids (START, START at the beginning)."""
        key = (before, last, word)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            found = self._known[key] = -STEP * self._cost(before, last, word)
        return found

    def likeliest(self, start: bytes) -> float | None:
        """The largest probability (natural logarithm) of a word that begins so; None: there is none."""
        if start not in self._likeliest:
            if len(self._likeliest) >= MOST_REMEMBERED:
                self._likeliest.clear()
            low = bisect_left(self.words, start)
            high = bisect_left(self.words, start + b"\xff", low)
            unigram = self._arrays["unigram"][FIRST_WORD + low : FIRST_WORD + high]
            self._likeliest[start] = -STEP * int(unigram.min()) if high > low else None
        return self._likeliest[start]

    def _cost(self, before: int, last: int, word: int) -> int:
        a = self._arrays
        cost = 0
        history = self._find("bigram_word", self._bigram_start, before, last)
        if history is not None:
            found = self._find("trigram_word", self._trigram_start, history, word)
            if found is not None:
                return int(a["trigram"][found])
            cost = int(a["bigram_backoff"][history])
        found = self._find("bigram_word", self._bigram_start, last, word)
        if found is not None:
            return cost + int(a["bigram"][found])
        return cost + int(a["backoff"][last]) + int(a["unigram"][word])

    def _find(self, column: str, starts: NDArray[np.int64], history: int, word: int) -> int | None:
        first, end = int(starts[history]), int(starts[history + 1])
        rows = self._arrays[column][first:end]
        i = int(rows.searchsorted(np.uint16(word)))
        return first + i if i < len(rows) and rows[i] == word else None

    @classmethod
    def of(cls, ngrams: Ngrams) -> WordModel:
        """From an estimate, rounding its probabilities to STEP."""
        size = len(ngrams.words) + FIRST_WORD
        pairs = ngrams.bigrams[:, 0] * size + ngrams.bigrams[:, 1]
        history = np.searchsorted(pairs, ngrams.trigrams[:, 0] * size + ngrams.trigrams[:, 1])
        return cls(
            {
                "words": np.frombuffer(zlib.compress("\n".join(ngrams.words).encode(), 9), np.uint8),
                "unigram": _rounded(ngrams.unigram),
                "backoff": _rounded(ngrams.backoff),
                "bigrams": np.bincount(ngrams.bigrams[:, 0], minlength=size).astype(np.uint16),
                "bigram_word": ngrams.bigrams[:, 1].astype(np.uint16),
                "bigram": _rounded(ngrams.bigram),
                "bigram_backoff": _rounded(ngrams.bigram_backoff),
                "trigrams": np.bincount(history, minlength=len(pairs)).astype(np.uint16),
                "trigram_word": ngrams.trigrams[:, 2].astype(np.uint16),
                "trigram": _rounded(ngrams.trigram),
            }
        )

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        save_file({name: np.ascontiguousarray(array) for name, array in self._arrays.items()}, path)

    @classmethod
    def load(cls, path: Path) -> WordModel:
        """Read what `save` wrote. Raises CheckpointError for anything else."""
        try:
            arrays = load_file(path)
            for name, kind in _SHAPES.items():
                if arrays[name].dtype != kind or arrays[name].ndim != 1:
                    raise ValueError(f"{name} is no row of {np.dtype(kind)}")
            model = cls(arrays)
            model._check()
        except (OSError, SafetensorError, KeyError, ValueError, zlib.error) as error:
            raise CheckpointError(
                f"cannot read the word model {path}: {error}. "
                "Expected a file that `streamer train words` wrote"
            ) from error
        return model

    def _check(self) -> None:
        a, size = self._arrays, len(self.words) + FIRST_WORD
        lengths = {
            "unigram": size,
            "backoff": size,
            "bigrams": size,
            "bigram_word": self._bigram_start[-1],
            "bigram": self._bigram_start[-1],
            "bigram_backoff": self._bigram_start[-1],
            "trigrams": self._bigram_start[-1],
            "trigram_word": self._trigram_start[-1],
            "trigram": self._trigram_start[-1],
        }
        for name, length in lengths.items():
            if len(a[name]) != length:
                raise ValueError(f"expected {length} numbers in {name}, found {len(a[name])}")


MOST_REMEMBERED = 200_000
"""Answers kept; all are forgotten when there are more."""


def _starts(counts: NDArray[np.generic]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def _rounded(logs: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Back-off weights above 1 (pruning can leave some) are kept as 1."""
    return np.clip(np.round(-logs / STEP), 0, 255).astype(np.uint8)
