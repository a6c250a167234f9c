"""The bounded, sample-indexed buffer between one source thread and one reader.

Overflow policy: a live source overwrites the oldest samples and the reader gets a `Gap` of exactly
the samples it lost; a source that is not live waits for room. Positions count every sample of the
stream's clock, gaps included.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples, float32 in [-1, 1], the first at index `start` of the stream's clock."""

    start: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Gap:
    """`length` samples from index `start` on that never arrived or were overwritten."""

    start: int
    length: int
    reason: str


class End:
    """The source has ended and everything it wrote has been read."""


class Ring:
    """See the module's docstring. One writer thread, one reader thread.

    `capacity` is in samples. `wake`, when given, is called (from the writer) after every write,
    gap and close, so that one reader thread can serve several rings.
    """
