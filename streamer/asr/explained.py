"""How much of what a CTC branch heard its text explains: of words nearly all, of noise next to nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLANK = 0

SILENT = math.log(0.999)
"""Where blank is likelier than this, nothing is heard."""


def explained(logprobs: NDArray[np.float32], tokens: Sequence[int]) -> float:
    """By how much log P(text) is above log P(nothing), for each frame in which something is heard.

    logprobs: (T, 1 + pieces), blank first, piece i being token i - 1. P is the sum over all alignments
    (Graves et al. 2006), and the frames heard are the sum of 1 - P(blank). Words reach 2 to 5. It is below 0
    where nothing is likelier than the text, and 0 where nothing is heard or written.
    """
    blank = logprobs[:, BLANK]
    silent = blank > SILENT
    # Of each silence one frame stands for all: what separates two equal letters.
    kept = ~silent | ~np.append(True, silent[:-1])
    heard = float(-np.expm1(blank.astype(np.float64)[~silent]).sum())
    if not tokens or not heard:
        return 0.0
    some = logprobs[kept].astype(np.float64)
    return (_likelihood(some, tokens) - float(some[:, BLANK].sum())) / heard


def _likelihood(logprobs: NDArray[np.float64], tokens: Sequence[int]) -> float:
    """log P(tokens), summed over alignments: CTC's forward recursion."""
    path = np.full(2 * len(tokens) + 1, BLANK)
    path[1::2] = np.asarray(tokens) + 1
    # A piece may follow the one before without a blank unless they are equal.
    apart = np.full(len(path), -np.inf)
    apart[3::2][path[3::2] != path[1:-2:2]] = 0.0
    emitted = logprobs[:, path]
    at = np.full(len(path) + 2, -np.inf)  # two in front that cannot be reached
    at[2:4] = emitted[0, :2]
    for row in emitted[1:]:
        at[2:] = np.logaddexp(np.logaddexp(at[2:], at[1:-1]), at[:-2] + apart) + row
    return float(np.logaddexp(at[-1], at[-2]))
