"""A tree of texts holds every beginning once, and each token sees its own text up to itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.backends.tree import tree

TEXTS = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.lists(st.integers(0, 2), min_size=n, max_size=n), min_size=1, max_size=6)
)


@given(TEXTS)
def test_every_beginning_is_there_once_and_sees_itself(texts: list[list[int]]) -> None:
    found, numbers = tree(np.array(texts, np.int64))
    beginnings = {tuple(text[: i + 1]) for text in texts for i in range(len(text))}
    assert found.given.shape == (1, len(beginnings))
    assert found.bias.shape == (1, 1, len(beginnings), len(beginnings))
    for text, row in zip(texts, numbers.tolist(), strict=True):
        for i, number in enumerate(row):
            (seen,) = (found.bias[0, 0, number] == 0).nonzero()
            assert set(seen.tolist()) == set(row[: i + 1])
            assert found.given[0, row[: i + 1]].tolist() == text[: i + 1]
            assert found.places[number] == i
