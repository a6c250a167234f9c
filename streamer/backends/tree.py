"""Texts that begin alike as one tree, so that a decoder computes what they share once.

Each token sees itself and those before it in its text (the tree attention of Miao et al. 2024, SpecInfer).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamer.backends.base import Floats, Tokens

UNSEEN = -1e9
"""What is added to the score of a token that must not be seen."""


class Tree(NamedTuple):
    """M tokens: given (1, M), places (M,) in their texts, bias (1, 1, M, M) of the scores of attention."""

    given: Tokens
    places: Tokens
    bias: Floats


def tree(texts: Tokens) -> tuple[Tree, Tokens]:
    """The tree of N > 0 texts (N, n), and the number in it of each of their tokens, (N, n)."""
    alike = np.logical_and.accumulate(texts[:, None] == texts, axis=2)
    first = alike.argmax(1)  # of the texts that begin with the same tokens up to there
    own = first == np.arange(len(texts))[:, None]
    counted = np.cumsum(own).reshape(own.shape) - 1
    numbers = np.take_along_axis(counted, first, axis=0)
    rows, places = own.nonzero()
    seeing, place = (np.arange(texts.shape[1]) <= places[:, None]).nonzero()
    bias = np.full((1, 1, len(rows), len(rows)), UNSEEN, np.float32)
    bias[0, 0, seeing, numbers[rows[seeing], place]] = 0
    return Tree(texts[own][None], places, bias), numbers
