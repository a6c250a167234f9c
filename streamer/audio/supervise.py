"""What keeps a source alive: backoff, breaker, the clock through interruptions, and its states."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamer.audio.failures import StalledSourceError
from streamer.audio.redact import redact
from streamer.audio.ring import Ring
from streamer.audio.source import Report, StateChange
from streamer.config import SourceConfig
from streamer.errors import PermanentSourceError, TransientSourceError
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE

log = logging.getLogger(__name__)

INTERRUPTION = "interruption"
LOG_EVERY = 600.0
"""Seconds between two log lines that say the same of one source."""

_FLAT = 2e-5
"""Peak-to-peak below one step of 16 bit: digital silence, also where a codec's zero is off zero."""


def backoff_delay(attempt: int, config: SourceConfig) -> float:
    """Seconds to wait after failure number `attempt` (from 0) in a row, without jitter."""
    doublings = min(attempt, 64)  # beyond, 2^n only overflows
    return min(config.retry_first * 2.0**doublings, config.retry_longest)


class Backoff:
    """Counts failures in a row and says how long to wait. Time comes in as an argument."""

    def __init__(self, config: SourceConfig, jitter: Callable[[], float] = random.random) -> None:
        self._config = config
        self._jitter = jitter
        self._recent: deque[float] = deque(maxlen=config.breaker_failures)
        self.attempt = 0

    def failed(self, now: float) -> float:
        """Note a failure at `now` (seconds); how long to wait before the next attempt."""
        config = self._config
        self._recent.append(now)
        rapid = (
            len(self._recent) == config.breaker_failures and now - self._recent[0] <= config.breaker_window
        )
        delay = config.retry_longest if rapid else backoff_delay(self.attempt, config)
        self.attempt += 1
        return delay * (1 + config.retry_jitter * (2 * self._jitter() - 1))

    def reset(self) -> None:
        """Good data has flowed for long enough."""
        self.attempt = 0
        self._recent.clear()


class RateLimit:
    """Lets one message of a kind through every `interval` seconds and counts the others."""

    def __init__(self, interval: float = LOG_EVERY) -> None:
        self._interval = interval
        self._last: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def __call__(self, key: str, now: float) -> int | None:
        """How many were held back since the last one that passed, or None to hold this one back."""
        last = self._last.get(key)
        if last is not None and now - last < self._interval:
            self._held[key] = self._held.get(key, 0) + 1
            return None
        if len(self._last) >= 64:  # texts that never repeat must not collect
            self._last.clear()
            self._held.clear()
        self._last[key] = now
        return self._held.pop(key, 0)


class Feed:
    """The one way from a live source into its ring, across all its connections.

    Keeps the stream's clock on real time through interruptions, reports LIVE with the first samples
    of a connection, and notices a source that delivers nothing but digital silence.
    """

    def __init__(
        self,
        name: str,
        ring: Ring,
        report: Report,
        stop: threading.Event,
        config: SourceConfig,
        *,
        keep_clock: bool = True,
    ) -> None:
        self.name = name
        self.ring = ring
        self.report = report
        self.stop = stop
        self.config = config
        self.limit = RateLimit()
        self.keep_clock = keep_clock
        """Off where an interruption loses nothing, because the source goes on where it was."""
        self._opened = time.monotonic()
        self._last: float | None = None  # when samples last arrived, or up to where gaps account
        self._first: float | None = None  # when the first samples of this connection arrived
        self._silent = 0
        self._warned = False

    @property
    def flowed(self) -> bool:
        """Whether any connection has delivered samples."""
        return self._last is not None

    @property
    def quiet_for(self) -> float:
        """Seconds since samples arrived, or since this connection was begun."""
        since = self._opened if self._first is None or self._last is None else self._last
        return time.monotonic() - since

    @property
    def good_for(self) -> float:
        """Seconds from the first to the last samples of this connection."""
        return 0.0 if self._first is None or self._last is None else self._last - self._first

    def connecting(self) -> None:
        """A connection is about to be opened."""
        self._opened = time.monotonic()
        self._first = None
        self.report(StateChange(SourceState.CONNECTING))

    def write(self, samples: NDArray[np.float32]) -> bool:
        """Hand `samples` (16 kHz mono float32) on; False when the source has to stop."""
        if len(samples) == 0:
            return not self.stop.is_set()
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if self._last is not None and self.keep_clock:
                self._account(now, len(samples))
            log.info("%s: live", self.name)
            self.report(StateChange(SourceState.LIVE))
        self._last = now
        if self.keep_clock:
            self._watch_silence(samples, now)
        return self.ring.write(samples) and not self.stop.is_set()

    def gap(self, length: int, reason: str) -> None:
        """`length` samples are missing inside a connection that goes on."""
        if length > 0:
            log_held = self.limit(f"gap {reason}", time.monotonic())
            if log_held is not None:
                log.warning(
                    "%s: %.3f s of audio lost (%s)%s",
                    self.name,
                    length / SAMPLE_RATE,
                    reason,
                    _more(log_held),
                )
            self.ring.gap(length, reason)

    def interrupted(self) -> None:
        """The connection is gone: the missing time so far goes to the ring at once.

        So an open utterance ends now and not after the reconnection, whose first samples account
        for the rest. Attempts that fail in between add nothing: an outage is two gaps, however long.
        """
        if self._first is not None and self._last is not None and self.keep_clock:
            now = time.monotonic()
            self._account(now, 0)
            self._last = now
        self._first = None
        self._silent = 0

    def _account(self, now: float, arrived: int) -> None:
        assert self._last is not None
        missing = round((now - self._last) * SAMPLE_RATE) - arrived
        self.ring.gap(max(missing, 0), INTERRUPTION)

    def _watch_silence(self, samples: NDArray[np.float32], now: float) -> None:
        if float(samples.max() - samples.min()) > _FLAT:
            self._silent = 0
            if self._warned:
                self._warned = False
                self.report(StateChange(SourceState.LIVE, "sound again"))
            return
        self._silent += len(samples)
        if self._warned or self._silent < self.config.silence_warning * SAMPLE_RATE:
            return
        self._warned = True
        seconds = self._silent / SAMPLE_RATE
        held = self.limit("silence", now)
        detail = f"only digital silence for {seconds:g} s: is it muted?"
        if held is not None:
            log.warning("%s: %s%s", self.name, detail, _more(held))
        self.report(StateChange(SourceState.LIVE, detail))


def supervise(connect: Callable[[Feed], None], feed: Feed) -> None:
    """Run `connect` until its source ends, fails for good, or `feed.stop` is set.

    `connect` opens one connection and writes to the feed until the source's end, at which it
    returns. It raises TransientSourceError for another attempt after the backoff, or
    PermanentSourceError. Anything else it raises is a defect of ours: logged with its traceback,
    and tried again, because a mute daemon is worse.
    """
    backoff = Backoff(feed.config)
    while not feed.stop.is_set():
        feed.connecting()
        try:
            connect(feed)
        except PermanentSourceError as error:
            if feed.stop.is_set():
                return
            feed.interrupted()
            log.error("%s: failed for good: %s", feed.name, error)
            feed.report(StateChange(SourceState.FAILED, str(error)))
            return
        except TransientSourceError as error:
            failure: Exception = error
        except Exception as error:  # noqa: BLE001 - the top of the source's thread
            # Not log.exception: the message of another library's error may quote a URL.
            log.error("%s: unexpected error\n%s", feed.name, redact(traceback.format_exc()))
            failure = TransientSourceError(f"unexpected {type(error).__name__}, see the log")
        else:
            if not feed.stop.is_set():
                log.info("%s: ended", feed.name)
                feed.report(StateChange(SourceState.ENDED))
            return
        if not feed.stop.is_set():
            _wait(feed, backoff, failure)


def _wait(feed: Feed, backoff: Backoff, failure: Exception) -> None:
    """Report `failure` and sit out the backoff."""
    if feed.good_for >= feed.config.retry_reset:
        backoff.reset()
    feed.interrupted()
    now = time.monotonic()
    delay = backoff.failed(now)
    detail = str(failure)
    held = feed.limit(detail, now)
    if held is not None:
        log.warning("%s: %s; next attempt in %.1f s%s", feed.name, detail, delay, _more(held))
    if isinstance(failure, StalledSourceError):
        feed.report(StateChange(SourceState.STALLED, detail))
    feed.report(StateChange(SourceState.RECONNECTING, detail, round(delay, 1)))
    feed.stop.wait(delay)


def _more(held: int) -> str:
    return f" ({held} more like this since the last line)" if held else ""
