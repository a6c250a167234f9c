"""Letters to words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamer.asr.ngram import WordModel
from streamer.asr.spelling import SpellingTokenizer, as_known
from streamer.training.ngrams import NgramConfig, estimate

PIECES = (" ", "A", "B", "'", "é", "SCH")
TOKENIZER = SpellingTokenizer.of(PIECES)


@given(st.lists(st.integers(0, len(PIECES) - 1)))
def test_words_are_what_stands_between_spaces(tokens: list[int]) -> None:
    words, groups = TOKENIZER.split_to_word_tokens(tokens)
    assert [token for group in groups for token in group] == tokens
    assert [TOKENIZER.decode(group) for group in groups] == words
    assert [word for word in words if word != " "] == TOKENIZER.decode(tokens).split()


def test_a_word_begins_with_its_first_letter() -> None:
    tokens = TOKENIZER.encode("A'B SCHA")
    assert tokens == [1, 3, 2, 0, 5, 1]
    assert TOKENIZER.split_to_word_tokens(tokens) == (["A'B", " ", "SCHA"], [[1, 3, 2], [0], [5, 1]])
    assert TOKENIZER.split_to_word_tokens(tokens, "ja")[0] == ["A", "'", "B", " ", "SCH", "A"]


def test_what_nothing_spells_is_left_out() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("xA é\N{SNOWMAN}B")) == "A éB"


def test_the_case_of_a_word_model() -> None:
    pieces = [piece.encode() for piece in (" ", "A", "B", "T")]
    small = WordModel.of(estimate([("at bat ab", 1)], NgramConfig(100, 1, 1)))
    large = WordModel.of(estimate([("AT BAT AB", 1)], NgramConfig(100, 1, 1)))
    assert as_known(pieces, small) == [b" ", b"a", b"b", b"t"]
    assert as_known(pieces, large) == pieces
