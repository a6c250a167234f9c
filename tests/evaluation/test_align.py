from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.evaluation.align import align, bare

texts = st.lists(st.sampled_from("abc"), max_size=8)


def errors(a: list[str], b: list[str], pairs: list[tuple[int, int]]) -> int:
    """Of the alignment that has these matches: between two of them, the longer side is all wrong."""
    total, i, j = 0, 0, 0
    for x, y in [*pairs, (len(a), len(b))]:
        total += max(x - i, y - j)
        i, j = x + 1, y + 1
    return total


def distance(a: list[str], b: list[str]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
    return row[-1]


@settings(max_examples=60, deadline=None)
@given(texts, texts)
def test_pairs_are_equal_words_in_order_with_the_fewest_errors(a: list[str], b: list[str]) -> None:
    pairs = align(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    assert pairs == sorted(pairs)
    assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
    assert errors(a, b, pairs) == distance(a, b)


@settings(max_examples=60, deadline=None)
@given(texts, texts)
def test_what_begins_a_text_is_found_at_its_beginning(a: list[str], more: list[str]) -> None:
    assert align(a, [*a, *more], beginning=True) == [(i, i) for i in range(len(a))]


@settings(max_examples=60, deadline=None)
@given(texts, texts)
def test_the_best_beginning_is_no_worse_than_the_whole(a: list[str], b: list[str]) -> None:
    best = min(distance(a, b[:end]) for end in range(len(b) + 1))
    pairs = align(a, b, beginning=True)
    ends = [end for end in range(len(b) + 1) if distance(a, b[:end]) == best]
    assert errors(a, b[: ends[0]], pairs) == best


def test_a_word_that_comes_again_is_the_first_one() -> None:
    final = list("the old the new")  # letters do for words
    assert align(list("the ole"), final, beginning=True) == [(i, i) for i in range(6)]
    assert align(list("the"), final, beginning=True) == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("Hello,", "hello"),
        ("don’t", "don't"),
        ("'tis'", "tis"),
        ("—", ""),
        ("Äpfel!", "äpfel"),
        ("3.5", "35"),
    ],
)
def test_bare(word: str, key: str) -> None:
    assert bare(word) == key
