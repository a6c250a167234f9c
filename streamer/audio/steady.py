"""Since when what a stream sounds like has not changed: from its levels, ten times a second.

Each band's mean and spread in dB since the last change are kept (of the last `MEMORY` levels, exponentially).
A change is a level that is further from them than noise ever is by itself, in one band or on the whole; or
`RUN` levels in a row that are all a little off to the same side, as a quiet sound's are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.audio.level import BANDS, Level100ms

FEWEST = 20
"""Levels (2 s) from which on there are means to compare with."""
MEMORY = 60
"""Levels (6 s) that means are taken over."""
NARROWEST, WIDEST = 0.6, 2.2
"""dB that a band's spread counts as at least, for levels are whole numbers; and at most, for that of noise is
hardly more: what comes and goes is never the same."""
FAR, FAR_BELOW, FAR_ON_THE_WHOLE = 5.5, 9.0, 1.9
"""Spreads by which one band may be above its mean or, for noise has holes, below it, and the root of the mean
square of all bands off, in one level …"""
RUN = 4
RUN_FAR, RUN_FAR_ON_THE_WHOLE = 2.6, 1.1
"""… and in the mean of RUN levels."""

Floats = NDArray[np.float64]


class Steadiness:
    """Feed it every level of a stream."""

    def __init__(self) -> None:
        self._mean: Floats = np.zeros(BANDS)
        self._square: Floats = np.zeros(BANDS)
        self._run: Floats = np.zeros((RUN, BANDS))
        self.reset(0)

    def reset(self, position: int) -> None:
        """What is heard from sample index `position` on has nothing to do with what was before."""
        self.since = position
        """Sample index from which on nothing has changed."""
        self._count = 0

    def feed(self, level: Level100ms) -> None:
        """Take the next 100 ms."""
        bands = np.array(level.bands, np.float64)
        if self._count >= FEWEST and self._is_new(bands):
            self.reset(level.start)
        self._run[self._count % RUN] = bands
        self._count += 1
        share = 1 / min(self._count, MEMORY)
        self._mean += share * (bands - self._mean) if self._count > 1 else bands - self._mean
        self._square += share * (bands**2 - self._square) if self._count > 1 else bands**2 - self._square

    def _is_new(self, bands: Floats) -> bool:
        self._run[self._count % RUN] = bands
        spread = np.sqrt(np.clip(self._square - self._mean**2, NARROWEST**2, WIDEST**2))
        off = (bands - self._mean) / spread
        long_off = np.abs(self._run.mean(0) - self._mean) / spread
        return bool(
            off.max() > FAR
            or off.min() < -FAR_BELOW
            or np.sqrt(np.mean(off**2)) > FAR_ON_THE_WHOLE
            or long_off.max() > RUN_FAR
            or np.sqrt(np.mean(long_off**2)) > RUN_FAR_ON_THE_WHOLE
        )
