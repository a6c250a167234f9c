"""What the tests of sources share: a source running in its thread, and files made on the spot."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from streamer.audio.ring import Block, End, Gap, Ring
from streamer.audio.source import Source, StateChange
from streamer.config import SourceConfig
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE

QUICK = SourceConfig(
    open_timeout=2.0,
    read_timeout=0.5,
    retry_first=0.1,
    retry_longest=0.4,
    stall=0.5,
    breaker_failures=100,
)


class Running:
    """A source in its thread, its states and everything it has written so far."""

    def __init__(self, source: Source, capacity: int = 60 * SAMPLE_RATE) -> None:
        self.source = source
        self.ring = Ring(capacity, live=source.live)
        self.stop = threading.Event()
        self.changes: list[StateChange] = []
        self.gaps: list[Gap] = []
        self._blocks: list[np.ndarray] = []
        self.thread = threading.Thread(target=self._run, name="test-source", daemon=True)

    def _run(self) -> None:
        self.source.run(self.ring, self.changes.append, self.stop)
        self.ring.close()

    def __enter__(self) -> Running:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self.ring.cancel()
        self.thread.join(5)
        assert not self.thread.is_alive()

    @property
    def states(self) -> list[SourceState]:
        return [change.state for change in self.changes]

    @property
    def samples(self) -> np.ndarray:
        self.read()
        return np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.float32)

    def read(self) -> bool:
        """Read what is there; True at the end."""
        while True:
            item = self.ring.read(SAMPLE_RATE)
            if isinstance(item, Block):
                self._blocks.append(item.samples)
            elif isinstance(item, Gap):
                self.gaps.append(item)
            else:
                return isinstance(item, End)

    def wait(self, condition: Callable[[], bool], timeout: float = 8.0) -> None:
        """Read until `condition` holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, (
                f"states {self.changes}, {len(self.samples)} samples, gaps {self.gaps}"
            )
            self.read()
            time.sleep(0.005)

    def wait_end(self, timeout: float = 8.0) -> None:
        self.wait(self.read, timeout)


def tone(seconds: float, rate: int = SAMPLE_RATE, frequency: float = 440.0, channels: int = 1) -> np.ndarray:
    """(channels, n) float32, a sine that swells, so that places can be told apart."""
    time_axis = np.arange(round(seconds * rate)) / rate
    wave = (0.1 + 0.5 * time_axis / seconds) * np.sin(2 * np.pi * frequency * time_axis)
    return np.tile(wave.astype(np.float32), (channels, 1))


def encode(path: Path, samples: np.ndarray, rate: int, codec: str, form: str = "s16") -> Path:
    """Write (channels, n) samples with PyAV; the container follows from the file's name."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    packed = samples.T.reshape(1, -1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), format="flt", layout=layout)
        frame.sample_rate = rate
        converter = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
        for piece in converter.resample(frame) + converter.resample(None):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of the two at the best shift, which an encoder's delay makes necessary: 1 where they are equal."""
    size = len(a) + len(b)
    cross = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    return float(cross.max() / np.linalg.norm(a) / np.linalg.norm(b))
