"""A pass: one run of the encoder that somebody asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

SHORTEST_VIEW = 2
"""Pooled tokens a tag window must have: the head cannot judge less, the next window will."""


class Kind(IntEnum):
    """Why a pass is wanted; the order in which they matter."""

    FINAL = 0
    """An utterance has ended: its text and its sounds. Never dropped."""
    PARTIAL = 1
    """An utterance goes on: what can be said of it so far."""
    AMBIENT = 2
    """Nobody speaks: sounds only."""
    SILENT = 3
    """Nothing was audible, or sounds are off: no encoder run, but the clock moves on."""
    STEADY = 4
    """It has sounded the same for a while: sounds only, for several hops; without samples, for none yet."""
    END = 5
    """The stream is over: whatever is open is closed after everything else of that stream."""


@dataclass(frozen=True, slots=True)
class Pass:
    """Samples [start, start + len(samples)) of a stream, float32 (n,); SILENT and END carry none.

    end: sample index after the last one that the pass speaks for.
    decided: `time.monotonic()` when it was asked for.
    utterance: its number for speech passes, else 0.
    """

    stream: str
    kind: Kind
    start: int
    end: int
    samples: NDArray[np.float32]
    decided: float
    utterance: int = 0

    @property
    def has_text(self) -> bool:
        """Whether words are wanted of it."""
        return self.kind in (Kind.FINAL, Kind.PARTIAL)

    @property
    def needs_encoder(self) -> bool:
        """Whether it costs an encoder pass."""
        return len(self.samples) > 0
