"""The estimate: distributions sum to one, and what was seen is likelier than what was not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.ngram import END, FIRST_WORD, START, Ngrams
from streamer.errors import StreamerError
from streamer.training.ngrams import NgramConfig, estimate

TEXTS = st.lists(
    st.tuples(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=9).map(" ".join), st.integers(1, 4)),
    min_size=1,
    max_size=30,
)


def score(n: Ngrams, before: int, last: int, word: int) -> float:
    """Backing off, straight from the estimate."""
    pairs = {tuple(row): i for i, row in enumerate(n.bigrams.tolist())}
    triples = {tuple(row): i for i, row in enumerate(n.trigrams.tolist())}
    if (before, last, word) in triples:
        return float(n.trigram[triples[before, last, word]])
    total = float(n.bigram_backoff[pairs[before, last]]) if (before, last) in pairs else 0.0
    if (last, word) in pairs:
        return total + float(n.bigram[pairs[last, word]])
    return total + float(n.backoff[last]) + float(n.unigram[word])


@settings(max_examples=25, deadline=None)
@given(TEXTS, st.integers(1, 3), st.integers(1, 3))
def test_every_history_sums_to_one(texts: list[tuple[str, int]], bigram: int, trigram: int) -> None:
    n = estimate(texts, NgramConfig(100, bigram, trigram))
    ids = range(len(n.words) + FIRST_WORD)
    histories = [(START, START), (0, 0), *n.bigrams.tolist()[:12]]
    for before, last in histories:
        if last == END:
            continue
        total = sum(math.exp(score(n, before, last, word)) for word in ids if word != START)
        assert total == pytest.approx(1, abs=1e-5)


def test_what_was_seen_is_likelier() -> None:
    n = estimate([("the dog barks", 5), ("the cat sleeps", 5), ("a dog sleeps", 1)], NgramConfig(100, 1, 1))
    ids = {word: i + FIRST_WORD for i, word in enumerate(n.words)}
    after = {w: score(n, ids["the"], ids["dog"], ids[w]) for w in ("barks", "sleeps", "cat")}
    assert after["barks"] > after["sleeps"] > after["cat"]


def test_a_weight_is_as_many_copies() -> None:
    once = estimate([("a b c", 3), ("b a", 1)], NgramConfig(100, 1, 1))
    copies = estimate([("a b c", 1)] * 3 + [("b a", 1)], NgramConfig(100, 1, 1))
    assert once.trigram.tolist() == pytest.approx(copies.trigram.tolist())


def test_the_rarest_words_and_ngrams_are_left_out() -> None:
    texts = [("a b c d", 4), ("d c b a e", 1)]
    n = estimate(texts, NgramConfig(words=4, least_bigram=2, least_trigram=3))
    assert list(n.words) == ["a", "b", "c", "d"]
    full = estimate(texts, NgramConfig(100, 1, 1))
    assert len(n.trigrams) < len(full.trigrams)
    kept = {tuple(row) for row in n.bigrams.tolist()}
    assert all(tuple(row[:2]) in kept and tuple(row[1:]) in kept for row in n.trigrams.tolist())


def test_no_words_are_refused() -> None:
    with pytest.raises(StreamerError, match="found none with a word"):
        estimate([("", 1)], NgramConfig())
