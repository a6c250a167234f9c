"""The last seconds of a stream, so that a window that ends now can still be cut out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Recent:
    """Keeps at least the newest `capacity` samples by stream index; older ones are overwritten.

    The buffer is twice as long as needed and moves its second half to the front when full: appending
    allocates nothing.
    """

    def __init__(self, capacity: int, position: int = 0) -> None:
        self._capacity = capacity
        self._buffer = np.zeros(2 * capacity, np.float32)
        self.reset(position)

    @property
    def start(self) -> int:
        """Index of the oldest sample kept."""
        return self._position - self._filled

    @property
    def position(self) -> int:
        """Index after the newest sample."""
        return self._position

    def reset(self, position: int) -> None:
        """Forget everything; the next sample has this index."""
        self._position = position
        self._filled = 0

    def append(self, samples: NDArray[np.float32]) -> None:
        """Add samples, at most `capacity` at once."""
        n = len(samples)
        if self._filled + n > len(self._buffer):
            keep = min(self._filled, self._capacity)
            self._buffer[:keep] = self._buffer[self._filled - keep : self._filled]
            self._filled = keep
        self._buffer[self._filled : self._filled + n] = samples
        self._filled += n
        self._position += n

    def cut(self, start: int, end: int) -> NDArray[np.float32]:
        """A copy of samples [start, end). Raises ValueError for what is no longer or not yet there."""
        if not self.start <= start <= end <= self._position:
            raise ValueError(f"samples {start}..{end} are not within {self.start}..{self._position}")
        offset = self.start
        return self._buffer[start - offset : end - offset].copy()
