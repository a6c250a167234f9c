"""The bounded, sample-indexed buffer between one source thread and one reader.

Overflow policy: a live source overwrites the oldest samples and the reader gets a `Gap` of exactly
the samples it lost; a source that is not live waits for room. Positions count every sample of the
stream's clock, gaps included.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_RUNS = 4096
"""Most alternations of samples and gaps that one ring remembers; beyond it the oldest are merged."""

OVERRUN = "overrun"
"""Reason of a gap whose samples the reader was too slow for."""


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


@dataclass(slots=True)
class _Run:
    """Consecutive samples (`reason` is None) or consecutive missing ones, not read yet."""

    start: int
    length: int
    reason: str | None


class Ring:
    """See the module's docstring. One writer thread, one reader thread.

    `capacity` is in samples. `wake`, when given, is called (from the writer) after every write, gap
    and close, so that one reader thread can serve several rings; while the reader rests, only after
    the writes that bring what it rests for. It is called without the ring's lock held, and before a
    writer waits for room.
    """

    def __init__(self, capacity: int, *, live: bool, wake: Callable[[], None] | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least one sample, found {capacity}")
        self._capacity = capacity
        self._live = live
        self._wake = wake or (lambda: None)
        self._grid = 1
        self._due = False
        self._roused = threading.Event()
        self._roused.set()
        self._buffer = np.zeros(capacity, dtype=np.float32)
        self._head = 0  # where in the buffer the next sample is written
        self._stored = 0  # samples in the buffer that nobody has read
        self._runs: deque[_Run] = deque()
        self._position = 0
        self._lost = 0
        self._closed = False
        self._cancelled = False
        self._room = threading.Condition()

    @property
    def position(self) -> int:
        """Index of the next sample to be written; gaps count."""
        return self._position

    @property
    def lost(self) -> int:
        """Samples overwritten before they were read."""
        return self._lost

    @property
    def available(self) -> int:
        """Samples that can be read now; gaps do not count."""
        return self._stored

    @property
    def due(self) -> bool:
        """Whether the reader was woken, or would have been, since it last found nothing."""
        return self._due

    def rest(self, samples: int) -> None:
        """Called by the reader: from now on it need only be woken at multiples of so many sample indices.

        1: after every write, as in the beginning. Waking threads costs more than what they do with 20 ms
        of silence. The reader must go on reading until nothing is left before it relies on that.
        """
        if samples == self._grid:
            return
        self._grid = samples
        if samples == 1:
            self._roused.set()
        else:
            self._roused.clear()

    def pace(self, block: int) -> int:
        """Samples that the writer may collect, `block` else, without the reader hearing them any later."""
        return block if self._grid == 1 else self._grid - self._position % self._grid

    def wait_roused(self, timeout: float) -> bool:
        """Wait for up to `timeout` seconds until the reader rests no more, or for a cancel; whether so."""
        return self._roused.wait(timeout)

    def write(self, samples: NDArray[np.float32]) -> bool:
        """Append a copy of `samples` (float32, any length); False once cancelled or closed.

        Live: never blocks, overwrites the oldest. Not live: blocks until everything has room.
        """
        rest = np.asarray(samples, dtype=np.float32).reshape(-1)
        while True:
            with self._room:
                if self._cancelled or self._closed:
                    return False
                if len(rest) == 0:
                    return True
                grid = self._grid
                before = self._position // grid
                if self._live:
                    taken = self._overwrite(rest)
                else:
                    taken = min(len(rest), self._capacity - self._stored)
                    self._append(rest[:taken])
                rest = rest[taken:]
                due = len(rest) > 0 or self._position // grid > before
                self._due |= due
            if due:
                self._wake()
            if len(rest):
                with self._room:
                    self._room.wait_for(
                        lambda: self._cancelled or self._closed or self._stored < self._capacity
                    )

    def gap(self, length: int, reason: str) -> None:
        """Advance the stream's clock by `length` samples that do not exist."""
        if length < 0:
            raise ValueError(f"a gap cannot be negative, found {length}")
        with self._room:
            if length == 0 or self._cancelled or self._closed:
                return
            self._push(length, reason)
            self._due = True
        self._wake()

    def close(self) -> None:
        """No more writes; the reader gets `End` after the rest."""
        with self._room:
            self._closed = self._due = True
            self._room.notify_all()
        self._wake()

    def cancel(self) -> None:
        """Unblock a waiting writer for good: this and every later write returns False."""
        with self._room:
            self._cancelled = True
            self._room.notify_all()
        self._roused.set()

    def read(self, limit: int) -> Block | Gap | End | None:
        """The next at most `limit` samples in a fresh array, a whole gap, `End`, or None for nothing yet."""
        if limit < 1:
            raise ValueError(f"limit must be at least one sample, found {limit}")
        with self._room:
            if not self._runs:
                self._due = self._closed
                return End() if self._closed else None
            run = self._runs[0]
            if run.reason is not None:
                self._runs.popleft()
                return Gap(run.start, run.length, run.reason)
            block = Block(run.start, self._take(min(limit, run.length)))
            self._shorten(run, len(block.samples))
            self._room.notify_all()
            return block

    # Everything below is called with the lock held.

    def _overwrite(self, samples: NDArray[np.float32]) -> int:
        """Store the newest of `samples`, dropping what has no room; returns how many were dealt with."""
        excess = len(samples) - self._capacity
        if excess > 0:  # these would be overwritten by the rest of the very same write
            self._drop(self._stored)
            self._push(excess, OVERRUN)
            self._lost += excess
            samples = samples[excess:]
        self._drop(self._stored + len(samples) - self._capacity)
        self._append(samples)
        return max(excess, 0) + len(samples)

    def _append(self, samples: NDArray[np.float32]) -> None:
        count = len(samples)
        if count == 0:
            return
        first = min(count, self._capacity - self._head)
        self._buffer[self._head : self._head + first] = samples[:first]
        self._buffer[: count - first] = samples[first:]
        self._head = (self._head + count) % self._capacity
        self._stored += count
        self._push(count, None)

    def _take(self, count: int) -> NDArray[np.float32]:
        tail = (self._head - self._stored) % self._capacity
        first = min(count, self._capacity - tail)
        samples = np.empty(count, np.float32)
        samples[:first] = self._buffer[tail : tail + first]
        samples[first:] = self._buffer[: count - first]
        self._stored -= count
        return samples

    def _push(self, length: int, reason: str | None) -> None:
        """Account for `length` samples at the end of the clock."""
        last = self._runs[-1] if self._runs else None
        if last is not None and last.reason == reason:
            last.length += length
        else:
            self._runs.append(_Run(self._position, length, reason))
        self._position += length
        while len(self._runs) > MAX_RUNS:
            self._merge_oldest()

    def _merge_oldest(self) -> None:
        """Bound the bookkeeping: the oldest samples are given up (counted) and the oldest gaps become one."""
        if self._runs[0].reason is None:
            self._drop(self._runs[0].length)
        elif self._runs[1].reason is None:
            self._drop(self._runs[1].length)
        else:
            first = self._runs.popleft()
            self._runs[0] = _Run(first.start, first.length + self._runs[0].length, OVERRUN)

    def _drop(self, count: int) -> None:
        """Give up the `count` oldest samples; a gap of their length stands where they stood."""
        gaps: list[_Run] = []
        while count > 0:
            run = self._runs[0]
            if run.reason is not None:
                gaps.append(self._runs.popleft())
                continue
            length = min(count, run.length)
            if gaps and gaps[-1].reason == OVERRUN:
                gaps[-1].length += length
            else:
                gaps.append(_Run(run.start, length, OVERRUN))
            self._shorten(run, length)
            self._stored -= length
            self._lost += length
            count -= length
        if gaps and self._runs and self._runs[0].reason == gaps[-1].reason:
            following = self._runs.popleft()
            gaps[-1].length += following.length
        self._runs.extendleft(reversed(gaps))

    def _shorten(self, run: _Run, count: int) -> None:
        """Remove the first `count` samples of the oldest run."""
        run.start += count
        run.length -= count
        if run.length == 0:
            self._runs.popleft()
