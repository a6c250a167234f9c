"""Estimates a trigram model of words from text: interpolated Kneser-Ney with three discounts.

Chen & Goodman, An Empirical Study of Smoothing Techniques for Language Modeling (1998), section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.asr.ngram import END, FIRST_WORD, MOST_WORDS, START, UNKNOWN, Ngrams
from streamer.errors import StreamerError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NEVER = 1e-8
"""Probability of what never is: a text's beginning as a word, a history's leftover where none is left."""


@dataclass(frozen=True, slots=True)
class NgramConfig:
    """What is kept: the most frequent words, and n-grams seen at least so often."""

    words: int = 40000
    least_bigram: int = 2
    least_trigram: int = 3


def estimate(sentences: Iterable[tuple[str, int]], config: NgramConfig) -> Ngrams:
    """A model of normalised sentences, each counted as often as its weight (≥ 1) says.

    An n-gram that is kept has Kneser-Ney's probability over all counts; histories of what was left out back
    off with the weight that makes their probabilities sum to one. Raises StreamerError without any words.
    """
    texts = [(text.split(), weight) for text, weight in sentences]
    words = _vocabulary(texts, min(config.words, MOST_WORDS))
    size = len(words) + FIRST_WORD
    keys, counts = _trigrams(texts, words, size)

    pairs, pair = np.unique(keys % size**2, return_inverse=True)
    raw = np.bincount(pair, counts).astype(np.int64)
    # How many words a bigram was seen after; at a text's beginning there is only one, so there its count.
    different = np.where(pairs // size == START, raw, np.bincount(pair))
    single = np.bincount(pairs % size, minlength=size)

    unigram = _interpolated(single, np.zeros(size, np.int64), np.full(size, 1 / (size - 1)))
    bigram = _interpolated(different, pairs // size, unigram[pairs % size])
    trigram = _interpolated(counts, np.unique(keys // size, return_inverse=True)[1], bigram[pair])

    kept = (counts >= config.least_trigram) & (keys // size != START * size + START)
    stay = raw >= config.least_bigram
    stay[pair[kept]] = True
    stay[np.searchsorted(pairs, keys[kept] // size)] = True
    return _pruned(words, size, unigram, (pairs[stay], bigram[stay]), (keys[kept], trigram[kept]))


def _vocabulary(texts: Iterable[tuple[Sequence[str], int]], most: int) -> list[str]:
    count: Counter[str] = Counter()
    for words, weight in texts:
        for word in words:
            count[word] += weight
    if not count:
        raise StreamerError("expected texts to learn words from, found none with a word in them")
    return sorted((word for word, _ in count.most_common(most)), key=str.encode)


def _trigrams(
    texts: Sequence[tuple[Sequence[str], int]], words: Sequence[str], size: int
) -> tuple[Ints, Ints]:
    """Every trigram of words as one number in base `size`, sorted, and how often it was seen."""
    ids = {word: i + FIRST_WORD for i, word in enumerate(words)}
    rows = [[START, START, *(ids.get(word, UNKNOWN) for word in text), END] for text, _ in texts]
    lengths = [len(row) for row in rows]
    flat = np.fromiter((i for row in rows for i in row), np.int64, sum(lengths))
    text = np.repeat(np.arange(len(rows)), lengths)
    weight = np.repeat([weight for _, weight in texts], lengths)
    inside = text[:-2] == text[2:]
    keys = ((flat[:-2] * size + flat[1:-1]) * size + flat[2:])[inside]
    unique, which = np.unique(keys, return_inverse=True)
    return unique, np.bincount(which, weight[:-2][inside]).astype(np.int64)


def _interpolated(counts: Ints, history: Ints, lower: Floats) -> Floats:
    """Probability of every n-gram: discounted, with what that frees shared out by the lower order."""
    discount = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(history, counts)[history]
    freed = np.bincount(history, discount)[history]
    probability: Floats = (counts - discount) / total + freed / total * lower
    return probability


def _discounts(counts: Ints) -> Floats:
    """D1, D2 and D3+ behind a 0, from how many n-grams were seen one to four times (equation 26)."""
    once, twice, thrice, four = (max(1, int((counts == k).sum())) for k in (1, 2, 3, 4))
    y = once / (once + 2 * twice)
    found = [0.0, 1 - 2 * y * twice / once, 2 - 3 * y * thrice / twice, 3 - 4 * y * four / thrice]
    return np.array([min(max(d, 0.0), k - 0.05) if k else 0.0 for k, d in enumerate(found)])


def _pruned(
    words: Sequence[str],
    size: int,
    unigram: Floats,
    bigrams: tuple[Ints, Floats],
    trigrams: tuple[Ints, Floats],
) -> Ngrams:
    pairs, bigram = bigrams
    keys, trigram = trigrams
    backoff = _leftover(pairs // size, bigram, unigram[pairs % size], size)
    history = np.searchsorted(pairs, keys // size)
    shorter = bigram[np.searchsorted(pairs, keys % size**2)]
    return Ngrams(
        words=words,
        unigram=np.log(np.maximum(unigram, NEVER)),
        backoff=backoff,
        bigrams=np.stack([pairs // size, pairs % size], 1),
        bigram=np.log(bigram),
        bigram_backoff=_leftover(history, trigram, shorter, len(pairs)),
        trigrams=np.stack([keys // size**2, keys // size % size, keys % size], 1),
        trigram=np.log(trigram),
    )


def _leftover(history: Ints, kept: Floats, shorter: Floats, size: int) -> Floats:
    """Logarithm of the back-off weight of each history (Katz 1987)."""
    mass = np.maximum(1 - np.bincount(history, kept, size), NEVER)
    leftover: Floats = np.log(mass / np.maximum(1 - np.bincount(history, shorter, size), NEVER))
    return leftover
