"""What single windows tell, and where among the last of them a sound began to be heard."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RISE = 0.3
"""Part of the way from quiet to the first score above, from which on a window has heard the sound.

On mixtures with known onsets the median error is least, and the same, from 0.2 to 0.35.
"""


@dataclass(frozen=True, slots=True)
class View:
    """What one window tells. `seen`: its start, or one window's length before its end where that is later.

    `fresh`: where a sound that only this window hears is taken to begin. short: it is too short for a low
    score to mean that nothing was there.
    """

    seen: int
    fresh: int
    end: int
    short: bool = False


class Past:
    """The last `length` samples' windows with their scores (C,), oldest first."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._kept: deque[tuple[View, NDArray[np.float32]]] = deque()

    def add(self, view: View, scores: NDArray[np.float32]) -> None:
        """Remember a window, and forget those that end before its reach."""
        self._kept.append((view, scores))
        while self._kept[0][0].end <= view.end - self._length:
            self._kept.popleft()

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()

    def onset(self, index: int, view: View, score: float) -> int:
        """Where the sound `index` began, of which `view` (not added yet) is the first to be sure.

        Earlier windows that lead up to it without a break have heard it too if their score had risen by RISE
        of the way from the least one to `score`; a window that is half as long has to rise half as far.
        """
        quiet = min([float(scores[index]) for v, scores in self._kept if not v.short], default=score)
        rise = RISE * (score - quiet)
        start = view.fresh
        for earlier, scores in reversed(self._kept):
            share = min(1.0, (earlier.end - earlier.seen) / self._length)
            if scores[index] > quiet and scores[index] >= quiet + rise * share:
                start = earlier.fresh
            elif not earlier.short:
                break
        return start
