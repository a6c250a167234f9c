"""Microphones through PortAudio (sounddevice), at the device's own rate.

The callback copies, stores the status and returns; the source's thread resamples and writes. A
device that is unplugged is noticed by the callback's age, because PortAudio reports nothing.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.audio.failures import StalledSourceError
from streamer.audio.resample import Resampler
from streamer.audio.ring import Ring
from streamer.audio.source import Report
from streamer.audio.supervise import Feed, supervise
from streamer.config import SourceConfig
from streamer.errors import PermanentSourceError, SourceError, TransientSourceError
from streamer.timebase import SAMPLE_RATE

log = logging.getLogger(__name__)

DEVICE_OVERFLOW = "device_overflow"
CALLBACK_AGE = 2.0
"""Seconds without a callback after which a device counts as gone."""
QUEUE_BLOCKS = 200
"""Blocks of 20 ms (4 s) that may wait between the callback and the source's thread."""
RETRY_FIRST = 2.0
RETRY_LONGEST = 15.0
"""A device is local: looking for it again is cheap, and somebody may just have plugged it in."""

DEMO_HINT = "Without a microphone, try: bin/streamer demo"


@dataclass(frozen=True, slots=True)
class Device:
    """One input device. `rate` in Hz is its own."""

    index: int
    name: str
    channels: int
    rate: int
    default: bool
    api: str


@dataclass(frozen=True, slots=True)
class Captured:
    """Consecutive audio (n, channels), whose memory is used again after the next `Capture.get`.

    `lost` samples at the device's rate are missing before it.
    """

    samples: NDArray[np.float32]
    lost: int


class Capture:
    """PortAudio's callback: copies into a bounded queue. Overflow drops the newest block and counts it.

    The queue's memory is used again and again. One thread may `get`.
    """

    def __init__(self, rate: int, blocks: int = QUEUE_BLOCKS) -> None:
        self._rate = rate
        self._free: deque[NDArray[np.float32]] = deque()  # the last one returned is used first
        self._most = blocks
        self._ready: deque[Captured] = deque()
        self._in_hand: NDArray[np.float32] | None = None
        self._more = threading.Event()
        self._captured = 0  # frames, callback only
        self._taken = 0  # frames, reader only
        self.wanted: Callable[[], int] = lambda: 1
        """How many of the device's frames `get` shall wait for and return: called by both threads."""
        self._lost = 0
        self._expected = 0.0  # when, on the device's clock, the next block should begin
        self.last = time.monotonic()
        self.overflows = 0

    def __call__(self, indata: NDArray[np.float32], frames: int, when: Any, status: Any) -> None:
        """Called by PortAudio's thread with (frames, channels) float32. Copies and returns."""
        self.last = time.monotonic()
        begin = float(getattr(when, "inputBufferAdcTime", 0.0) or 0.0)
        if status and status.input_overflow:
            self.overflows += 1
            self._lost += self._missing(begin, frames)
        self._expected = begin + frames / self._rate
        if len(self._ready) >= self._most:
            self.overflows += 1
            self._lost += frames
            return
        memory = self._free.pop() if self._free else None
        if memory is None or memory.shape != indata.shape:
            memory = np.empty(indata.shape, np.float32)
        memory[:] = indata
        self._ready.append(Captured(memory, self._lost))
        self._lost = 0
        self._captured += len(memory)
        if not self._is_early():
            self._more.set()

    def get(self, timeout: float) -> Captured | None:
        """The next blocks, once `wanted` frames wait or `timeout` seconds are over; None if there are none.

        As many blocks as make what is wanted, in one piece, unless something is missing between them.
        """
        if self._in_hand is not None:
            self._free.append(self._in_hand)
            self._in_hand = None
        wanted = self.wanted()
        if self._is_early():
            self._more.clear()
            if self._is_early():  # or the callback came in between
                self._more.wait(timeout)
        if not self._ready:
            return None
        lost, count = self._ready[0].lost, 0
        blocks: list[NDArray[np.float32]] = []
        while self._ready and count < wanted and not (blocks and self._ready[0].lost):
            blocks.append(self._ready.popleft().samples)
            count += len(blocks[-1])
        self._taken += count
        if len(blocks) == 1:
            self._in_hand = blocks[0]
            return Captured(blocks[0], lost)
        piece = np.concatenate(blocks)
        self._free.extend(blocks)
        return Captured(piece, lost)

    def _is_early(self) -> bool:
        """Whether the reader need not be woken yet."""
        return self._captured - self._taken < self.wanted()

    def _missing(self, begin: float, frames: int) -> int:
        """Samples that an overflow cost, by the device's clock; one block where that clock does not tell."""
        missing = round((begin - self._expected) * self._rate)
        return missing if begin > 0 and self._expected > 0 and 0 < missing < 60 * self._rate else frames


class _PortAudio:
    """The one library instance of the process: its device list is as old as its initialisation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0

    def library(self) -> Any:
        """The sounddevice module; PermanentSourceError where PortAudio is missing."""
        try:
            import sounddevice
        except ImportError:
            raise PermanentSourceError(
                "microphones need the Python package sounddevice: pip install sounddevice"
            ) from None
        except OSError:
            raise PermanentSourceError(
                "microphones need the PortAudio library, which is not installed. "
                f"On Debian or Ubuntu: sudo apt-get install libportaudio2. {DEMO_HINT}"
            ) from None
        return sounddevice

    def refresh(self) -> None:
        """Read the device list anew, unless a stream is open, which that would cut off."""
        library = self.library()
        with self._lock:
            if self._open == 0:
                library._terminate()
                library._initialize()

    def acquire(self, device: Device, channels: int, capture: Capture) -> Any:
        """Open and start an input stream."""
        library = self.library()
        with self._lock:
            stream = library.InputStream(
                device=device.index,
                samplerate=device.rate,
                channels=channels,
                dtype="float32",
                blocksize=device.rate // 50,
                callback=capture,
            )
            try:
                stream.start()
            except BaseException:
                stream.close()
                raise
            self._open += 1
            return stream

    def release(self, stream: Any) -> None:
        """Stop and close a stream from `acquire`."""
        with self._lock:
            self._open -= 1
            try:
                stream.abort()
            finally:
                stream.close()


_portaudio = _PortAudio()


def list_devices() -> list[Device]:
    """Every device that has inputs. PermanentSourceError where the PortAudio library is missing."""
    library = _portaudio.library()
    try:
        devices, apis = library.query_devices(), library.query_hostapis()
        default = library.default.device[0]
    except library.PortAudioError as error:
        raise TransientSourceError(f"PortAudio cannot list the devices: {error}") from error
    if default < 0:  # PortAudio knows no default of all; each host API has its own
        default = next((api["default_input_device"] for api in apis if api["default_input_device"] >= 0), -1)
    return [
        Device(
            index,
            str(entry["name"]),
            int(entry["max_input_channels"]),
            round(entry["default_samplerate"]),
            index == default,
            str(apis[entry["hostapi"]]["name"]),
        )
        for index, entry in enumerate(devices)
        if entry["max_input_channels"] > 0
    ]


def find_device(name: str | None, devices: list[Device] | None = None) -> Device:
    """The device whose name contains `name` in any case, the default one for None.

    Raises TransientSourceError where there is none (it may be plugged in later),
    PermanentSourceError where the name fits several or PortAudio is missing.
    """
    devices = list_devices() if devices is None else devices
    if name is None:
        fitting = [device for device in devices if device.default] or devices[:1]
        if not fitting:
            raise TransientSourceError(f"found no microphone: this machine has no audio input. {DEMO_HINT}")
        return fitting[0]
    fitting = [device for device in devices if name.casefold() in device.name.casefold()]
    exact = [device for device in fitting if name.casefold() == device.name.casefold()]
    if len(exact) == 1 or len(fitting) == 1:
        return (exact or fitting)[0]
    if not fitting:
        raise TransientSourceError(
            f"found no microphone whose name contains {name!r}; there is {_names(devices)}. {DEMO_HINT}"
        )
    raise PermanentSourceError(
        f"expected a name that fits one microphone, {name!r} fits {_names(fitting)}; give more of the name"
    )


def _names(devices: list[Device]) -> str:
    return ", ".join(repr(device.name) for device in devices) or "no audio input at all"


class MicrophoneSource:
    """One microphone; `device` is a part of its name, None for the default one.

    A device that is missing (a USB microphone late at boot), unplugged or silent as a stream is
    looked for again every few seconds. Raises PermanentSourceError where PortAudio is missing.
    """

    live = True

    def __init__(self, device: str | None, name: str, config: SourceConfig) -> None:
        _portaudio.library()
        self.name = name
        self.address = f"mic:{device}" if device else "mic"
        self._device = device
        self._config = config.model_copy(
            update={
                "retry_first": min(config.retry_first, RETRY_FIRST),
                "retry_longest": min(config.retry_longest, RETRY_LONGEST),
            }
        )

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        """See `Source.run`."""
        supervise(self._connect, Feed(self.name, ring, report, stop, self._config))

    def _connect(self, feed: Feed) -> None:
        library = _portaudio.library()
        try:
            _portaudio.refresh()
            device = find_device(self._device)
            channels = min(device.channels, 2)
            capture = Capture(device.rate)
            stream = _portaudio.acquire(device, channels, capture)
        except (library.PortAudioError, ValueError) as error:
            raise TransientSourceError(f"cannot open the microphone: {error}") from error
        log.info("%s: microphone %r, %d Hz, %d channel(s)", self.name, device.name, device.rate, channels)
        try:
            pump(capture, Resampler(device.rate, channels), feed)
        finally:
            try:
                _portaudio.release(stream)
            except library.PortAudioError as error:
                log.debug("%s: closing the microphone: %s", self.name, error)


def pump(capture: Capture, resampler: Resampler, feed: Feed, age: float = CALLBACK_AGE) -> None:
    """Move blocks from `capture` to `feed` until the feed stops, as seldom as whoever hears them allows.

    Raises StalledSourceError when no callback came for `age` seconds.
    """
    capture.wanted = lambda: math.ceil(feed.ring.pace(1) * resampler.rate_in / SAMPLE_RATE)
    while not feed.stop.is_set():
        captured = capture.get(min(age / 4, 0.25))
        if captured is None:
            if time.monotonic() - capture.last > age:
                raise StalledSourceError(f"the microphone has been mute for {age:g} s: unplugged?")
            continue
        if captured.lost:
            feed.write(resampler.flush())
            feed.gap(math.ceil(captured.lost * SAMPLE_RATE / resampler.rate_in), DEVICE_OVERFLOW)
        if not feed.write(resampler.feed(captured.samples)):
            return


def require_device(name: str | None) -> Device:
    """`find_device` for a person who waits for an answer: every failure is final and says what there is."""
    try:
        return find_device(name)
    except SourceError as error:
        raise PermanentSourceError(str(error)) from None
