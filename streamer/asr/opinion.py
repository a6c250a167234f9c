"""The decoder's opinion on texts that another part proposes (rescoring, Watanabe et al. 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.asr.tokenizer import Tokenizer

Follow = Callable[[Any, NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]
"""See `streamer.backends.base.Network.follow`."""


def opinions(
    follow: Follow, states: Any, tokenizer: Tokenizer, texts: Sequence[Sequence[int]], ended: bool = True
) -> list[float]:
    """Natural log-probability of each text given an encoding (1, T, D); of its end too, where it has `ended`.

    One batch.
    """
    start = [*tokenizer.sot_sequence(), tokenizer.no_timestamps]
    end = [tokenizer.eot] if ended else []
    rows = [[*start, *text, *end] for text in texts]
    width = max(map(len, rows)) - 1
    given = np.full((len(rows), width), tokenizer.eot, np.int64)
    wanted = np.zeros((len(rows), width), np.int64)
    counts = np.zeros((len(rows), width), np.float32)
    for i, row in enumerate(rows):
        given[i, : len(row) - 1] = row[:-1]
        chosen = slice(len(start) - 1, len(row) - 1)
        wanted[i, chosen] = row[len(start) :]
        counts[i, chosen] = 1
    total: list[float] = (follow(states, given, wanted) * counts).sum(1).tolist()
    return total
