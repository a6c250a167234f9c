"""Audio that a client sends: raw PCM at a declared rate, over any transport."""

from __future__ import annotations

import threading
from collections import deque
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamer.audio.resample import Resampler
from streamer.audio.ring import OVERRUN, Ring
from streamer.audio.source import Report, StateChange
from streamer.errors import ProtocolError
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE

Encoding = Literal["s16le", "f32le"]
QUEUE_SECONDS = 20.0
"""Audio that may wait for the ring; what comes on top is dropped, as a gap, and counted."""

_WIDTH = {"s16le": 2, "f32le": 4}


def decode_pcm(data: bytes, encoding: Encoding) -> NDArray[np.float32]:
    """Whole samples of little-endian PCM as float32 in [-1, 1]; NaN becomes 0, infinities full scale."""
    if encoding == "s16le":
        return np.frombuffer(data, dtype="<i2").astype(np.float32) * np.float32(1 / 32768)
    samples = np.frombuffer(data, dtype="<f4").astype(np.float32)
    return np.clip(np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)


class PushSource:
    """A stream that somebody else's thread fills with bytes.

    Not live in the ring's sense: a client may send faster than real time, and the ring makes it
    wait. `feed` itself never blocks; a transport that can hold its client back should stop reading
    while `waiting` (seconds) is high, then nothing is ever lost. Silence of the client is no
    failure: the stream's clock stands still.

    Raises ProtocolError for a rate, encoding or channel count that is not supported.
    """

    live = False

    def __init__(self, name: str, rate: int, encoding: Encoding, channels: int = 1) -> None:
        if encoding not in _WIDTH:
            raise ProtocolError(f"expected encoding s16le or f32le, found {encoding!r}")
        if not 8000 <= rate <= 192_000:
            raise ProtocolError(f"expected a rate from 8000 to 192000 Hz, found {rate}")
        if not 1 <= channels <= 8:
            raise ProtocolError(f"expected 1 to 8 channels, found {channels}")
        self.name = name
        self.address = f"push ({encoding}, {rate} Hz, {channels} ch)"
        self._encoding: Encoding = encoding
        self._rate = rate
        self._channels = channels
        self._width = _WIDTH[encoding] * channels
        self._queue: deque[bytes | int] = deque()  # whole sample frames, or how many were dropped
        self._queued = 0  # bytes in the queue
        self._carry = b""
        self._finished = False
        self._more = threading.Condition()
        self.lost = 0
        """Sample frames dropped at the client's rate."""

    @property
    def waiting(self) -> float:
        """Seconds of audio that have been fed but not taken yet."""
        return self._queued / (self._width * self._rate)

    def feed(self, data: bytes) -> None:
        """Append PCM bytes, cut anywhere. Any one thread at a time; never blocks. Ignored after `finish`."""
        with self._more:
            if self._finished:
                return
            data = self._carry + data
            whole = len(data) - len(data) % self._width
            data, self._carry = data[:whole], data[whole:]
            room = int(QUEUE_SECONDS * self._rate) * self._width - self._queued
            kept, dropped = data[:room], data[room:]
            if kept:
                self._queue.append(kept)
                self._queued += len(kept)
            if dropped:
                self._drop(len(dropped) // self._width)
            self._more.notify()

    def finish(self) -> None:
        """No more bytes; the source ends after those it has. An incomplete last sample is discarded."""
        with self._more:
            self._finished = True
            self._more.notify()

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        """See `Source.run`. Reports LIVE with the first bytes."""
        report(StateChange(SourceState.CONNECTING))
        resampler = Resampler(self._rate, self._channels)
        live = False
        while not stop.is_set():
            item = self._take()
            if item is None:
                continue
            if item == b"":
                break
            if not live:
                live = True
                report(StateChange(SourceState.LIVE))
            if isinstance(item, int):
                if not ring.write(resampler.flush()):
                    return
                ring.gap(round(item * SAMPLE_RATE / self._rate), OVERRUN)
            elif not ring.write(resampler.feed(decode_pcm(item, self._encoding).reshape(-1, self._channels))):
                return
        if not stop.is_set():
            ring.write(resampler.flush())
            report(StateChange(SourceState.ENDED))

    def _drop(self, frames: int) -> None:
        """With the lock held: remember a loss at the end of the queue."""
        self.lost += frames
        if self._queue and isinstance(self._queue[-1], int):
            self._queue[-1] += frames
        else:
            self._queue.append(frames)

    def _take(self) -> bytes | int | None:
        """The next item, b"" at the end, None to look at `stop` and come again."""
        with self._more:
            if not self._queue and not self._finished:
                self._more.wait(0.2)
            if not self._queue:
                return b"" if self._finished else None
            item = self._queue.popleft()
            if isinstance(item, bytes):
                self._queued -= len(item)
            return item
