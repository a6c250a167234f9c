"""Loudness and a coarse spectrum ten times a second, cheap enough for every stream at all times."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE, exact_div

LEVEL = exact_div(SAMPLE_RATE, 10)
"""Samples of one level (100 ms), on the stream's grid."""
BANDS = 32
FLOOR_DB = -120.0
"""What digital silence measures."""


@dataclass(frozen=True, slots=True)
class Level100ms:
    """`start` and `end` are sample indices; dB relative to full scale; `bands` from low to high."""

    start: int
    end: int
    rms_db: float
    peak_db: float
    bands: list[int]


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The window, (1600,), and the mel bands, (801, 32).

    Scaled so that a full-scale sine reads about 0 dB in its band.
    """
    window = np.hanning(LEVEL).astype(np.float32)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), BANDS + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(LEVEL, 1 / SAMPLE_RATE)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bands = np.clip(np.minimum(rising, falling), 0, 1)
    # A sine of amplitude 1 puts sum(window²)·N/4 into the power spectrum around it (Parseval).
    bands /= float((window.astype(np.float64) ** 2).sum()) * LEVEL / 4
    return window, bands.astype(np.float32)


class LevelMeter:
    """Collects frames into 100 ms on the stream's grid."""

    def __init__(self, position: int = 0) -> None:
        self._samples = np.zeros(LEVEL, dtype=np.float32)
        self.reset(position)

    def reset(self, position: int) -> None:
        """Continue at sample index `position` (after a gap), forgetting an unfinished 100 ms."""
        self._start = self._position = position

    def feed(self, frame: NDArray[np.float32]) -> Level100ms | None:
        """Add a frame of float32 samples that ends at or before the next multiple of 1600 samples.

        Frames of 320 samples from a multiple of 320 do. Returns the level when 100 ms are complete;
        after a reset off the grid the first one is shorter. ValueError for a frame across the grid.
        """
        offset = self._position % LEVEL
        end = offset + len(frame)
        if end > LEVEL:
            raise ValueError(f"a frame of {len(frame)} samples at {self._position} crosses the 100 ms grid")
        self._samples[offset:end] = frame
        self._position += len(frame)
        if end < LEVEL:
            return None
        start, self._start = self._start, self._position
        return _measure(start, self._position, self._samples[LEVEL - (self._position - start) :])


def _measure(start: int, end: int, samples: NDArray[np.float32]) -> Level100ms:
    peak = float(max(samples.max(), -samples.min()))
    if peak == 0.0:
        return Level100ms(start, end, FLOOR_DB, FLOOR_DB, [int(FLOOR_DB)] * BANDS)
    rms = float(np.dot(samples, samples)) / len(samples)
    window, bands = _tables()
    if len(samples) < LEVEL:  # only after a gap: too rare to matter that the window is cut
        samples = np.concatenate((np.zeros(LEVEL - len(samples), np.float32), samples))
    spectrum = np.fft.rfft(samples * window)
    power = (spectrum.real**2 + spectrum.imag**2) @ bands
    decibels = np.log10(np.maximum(power, 1e-12)) * 10
    return Level100ms(
        start,
        end,
        _db(rms, 10.0),
        _db(peak, 20.0),
        np.rint(decibels).astype(np.int64).tolist(),
    )


def _db(value: float, factor: float) -> float:
    return max(round(factor * float(np.log10(max(value, 1e-30))), 1), FLOOR_DB)
