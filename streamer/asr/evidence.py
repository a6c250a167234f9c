"""How much of what a CTC branch heard its text explains: of words nearly all, of noise next to nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLANK = 0

SILENT = math.log(0.999)
"""Where blank is likelier than this, nothing is heard."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks for a text.

    gain: log P(text) - log P(nothing); below 0 where nothing is likelier. heard: in how many frames something
    was heard, the sum of 1 - P(blank).
    """

    gain: float
    heard: float

    @property
    def explained(self) -> float:
        """Gain for each frame in which something was heard: 2 to 5 for words; 0 where nothing was heard."""
        return self.gain / self.heard if self.heard else 0.0


def weigh(logprobs: NDArray[np.float32], tokens: Sequence[int]) -> Evidence:
    """What log-probabilities (T, 1 + pieces), blank first, piece i being token i - 1, say for a text.

    Probabilities of texts are summed over all alignments (Graves et al. 2006).
    """
    blank = logprobs[:, BLANK]
    silent = blank > SILENT
    # Of each silence one frame stands for all: what separates two equal letters.
    kept = ~silent | ~np.append(True, silent[:-1])
    heard = float(-np.expm1(blank[~silent].astype(np.float64)).sum())
    if not tokens or not heard:
        return Evidence(0.0, heard)
    some = logprobs[kept].astype(np.float64)
    return Evidence(_likelihood(some, tokens) - float(some[:, BLANK].sum()), heard)


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
