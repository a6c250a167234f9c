"""Where in expected phrases a text is, what it gets for that, and what a decoder's logits become."""

from __future__ import annotations

import numpy as np
import pytest

from streamer.asr.hotwords import BEGIN, GO_ON, LETTER, Hotwords, TokenBias, spellings
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def given_to(phrases: list[str], text: str) -> tuple[float, float]:
    """What a text has been given for phrases in letters, and what of that it owes."""
    hotwords, total = Hotwords(phrases), 0.0
    place = hotwords.start
    for word in text.encode().split():
        place, change, _ = hotwords.word(place, word)
        total += change
    return total / LETTER, place.owed / LETTER


@pytest.mark.parametrize(
    ("text", "letters", "owed"),
    [
        ("a new york b", 7, 0),
        ("a new", 3, 3),
        ("a new b", 0, 0),
        ("new new york", 7, 0),
        ("new boston", 6, 0),
        ("new york new", 10, 3),
        ("york", 0, 0),
        ("NEW YORK", 7, 0),
    ],
)
def test_complete_phrases_count_and_half_ones_are_owed(text: str, letters: int, owed: int) -> None:
    assert given_to(["new york", "Boston"], text) == pytest.approx((letters, owed))


def test_the_beginning_of_a_word_counts_where_it_may_come() -> None:
    hotwords = Hotwords(["new york"], boost=2.0)
    assert hotwords.outlook(hotwords.start, b"ne") == pytest.approx(2 * 2 * LETTER)
    assert hotwords.outlook(hotwords.start, b"yo") is None
    after, _, expected = hotwords.word(hotwords.start, b"new")
    assert expected
    assert hotwords.outlook(after, b"yo") == pytest.approx(2 * 2 * LETTER)
    assert hotwords.outlook(after, b"x") is None


def raised(said: str, phrases: list[str]) -> dict[str, float]:
    logits = np.zeros(TOKENIZER.n_vocab, np.float32)
    more = TokenBias(phrases, TOKENIZER).apply(logits, TOKENIZER.encode(said)) - logits
    return {TOKENIZER.decode([int(i)]): float(more[i]) for i in np.flatnonzero(more)}


def test_what_begins_a_phrase_is_raised_a_little_and_what_goes_on_more() -> None:
    assert raised("", ["kite"]) == {" ": BEGIN, "k": BEGIN, "K": BEGIN}
    assert raised("a", ["kite"]) == {" ": BEGIN}
    assert raised("a k", ["kite"]) == {" ": BEGIN, "i": GO_ON}
    assert raised("a kit", ["kite"]) == {" ": BEGIN, "e": GO_ON}
    assert raised("a kite", ["kite"]) == {" ": BEGIN}
    assert raised("a kix", ["kite"]) == {" ": BEGIN}


def test_what_no_rule_allows_stays_forbidden() -> None:
    logits = np.full(TOKENIZER.n_vocab, -np.inf, np.float32)
    assert bool((TokenBias(["kite"], TOKENIZER).apply(logits, ()) == -np.inf).all())


def test_phrases_are_looked_for_as_other_models_write_them() -> None:
    assert spellings("  new  York ") == ["new York", "new york", "NEW YORK", "New York"]
    assert spellings(" ") == []
