"""Backoff, breaker and rate limit as pure functions; the supervisor's reaction to each kind of end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.audio.failures import StalledSourceError
from streamer.audio.ring import Block, Gap, Ring
from streamer.audio.source import StateChange
from streamer.audio.supervise import Backoff, Feed, RateLimit, backoff_delay, supervise
from streamer.config import SourceConfig
from streamer.errors import PermanentSourceError, TransientSourceError
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE

CONFIG = SourceConfig()
SECOND = np.full(SAMPLE_RATE, 0.1, np.float32) * np.sin(np.arange(SAMPLE_RATE, dtype=np.float32))


def test_delays_double_up_to_the_longest() -> None:
    assert [backoff_delay(n, CONFIG) for n in range(7)] == [5, 10, 20, 40, 80, 120, 120]
    assert backoff_delay(10**9, CONFIG) == 120


@given(st.integers(0, 200), st.floats(0, 1))
def test_jitter_is_bounded(attempt: int, chance: float) -> None:
    backoff = Backoff(CONFIG, lambda: chance)
    backoff.attempt = attempt
    delay = backoff.failed(0.0)
    assert 0.8 * backoff_delay(attempt, CONFIG) <= delay <= 1.2 * backoff_delay(attempt, CONFIG) + 1e-9


def test_breaker_waits_longest_after_rapid_failures() -> None:
    backoff = Backoff(CONFIG.model_copy(update={"retry_first": 0.1}), lambda: 0.5)
    assert [backoff.failed(float(now)) for now in range(4)] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert backoff.failed(4.0) == 120
    assert backoff.failed(200.0) == pytest.approx(3.2)  # no longer rapid
    backoff.reset()
    assert backoff.failed(201.0) == pytest.approx(0.1)


def test_rate_limit_counts_what_it_holds_back() -> None:
    limit = RateLimit(10.0)
    assert limit("a", 0.0) == 0
    assert limit("a", 1.0) is None
    assert limit("b", 1.0) == 0
    assert limit("a", 9.0) is None
    assert limit("a", 10.0) == 2
    assert limit("a", 20.0) == 0


class Setting:
    """A feed with everything it reports."""

    def __init__(self, **settings: float) -> None:
        self.config = SourceConfig(retry_first=0.02, retry_longest=0.1, breaker_failures=50).model_copy(
            update=settings
        )
        self.ring = Ring(10 * SAMPLE_RATE, live=True)
        self.stop = threading.Event()
        self.changes: list[StateChange] = []
        self.feed = Feed("test", self.ring, self.changes.append, self.stop, self.config)

    def run(self, *attempts: Callable[[Feed], None]) -> list[SourceState]:
        waiting = list(attempts)
        supervise(lambda feed: waiting.pop(0)(feed), self.feed)
        assert not waiting
        return [change.state for change in self.changes]


def failing(error: Exception, samples: int = 0) -> Callable[[Feed], None]:
    def connect(feed: Feed) -> None:
        feed.write(SECOND[:samples])
        raise error

    return connect


def ending(feed: Feed) -> None:
    feed.write(SECOND[:320])


S = SourceState


def test_states_of_a_whole_life() -> None:
    setting = Setting()
    states = setting.run(
        failing(TransientSourceError("refused")),
        failing(StalledSourceError("mute"), 320),
        failing(KeyError("bug")),
        ending,
    )
    assert states == [
        *(S.CONNECTING, S.RECONNECTING),
        *(S.CONNECTING, S.LIVE, S.STALLED, S.RECONNECTING),
        *(S.CONNECTING, S.RECONNECTING),
        *(S.CONNECTING, S.LIVE, S.ENDED),
    ]


def test_permanent_errors_end_it() -> None:
    setting = Setting()
    assert setting.run(failing(PermanentSourceError("404"))) == [S.CONNECTING, S.FAILED]
    assert setting.changes[-1].detail == "404"


def test_a_bug_is_logged_with_its_traceback_but_not_its_password(caplog: pytest.LogCaptureFixture) -> None:
    Setting().run(failing(KeyError("rtsp://u:Hunter2@h/")), ending)
    assert "Traceback" in caplog.text
    assert "Hunter2" not in caplog.text


def test_an_outage_is_two_gaps_that_add_up() -> None:
    setting = Setting(retry_first=0.1, retry_jitter=0.0)
    began = time.monotonic()
    setting.run(
        failing(TransientSourceError("gone"), 320),
        failing(TransientSourceError("still gone")),
        failing(TransientSourceError("still gone")),
        ending,
    )
    elapsed = time.monotonic() - began
    items = []
    while (item := setting.ring.read(SAMPLE_RATE)) is not None:
        items.append(item)
    kinds = [type(item) for item in items]
    assert kinds in ([Block, Gap, Block], [Block, Gap, Gap, Block])  # equal neighbours merge while unread
    missing = sum(item.length for item in items if isinstance(item, Gap))
    assert missing == pytest.approx(elapsed * SAMPLE_RATE, abs=0.05 * SAMPLE_RATE)
    assert setting.ring.position == missing + 640


def test_stop_ends_the_wait_at_once() -> None:
    setting = Setting(retry_first=30.0, retry_longest=30.0)
    thread = threading.Thread(
        target=setting.run, args=(failing(TransientSourceError("no")),), name="test-supervise"
    )
    thread.start()
    time.sleep(0.05)
    setting.stop.set()
    thread.join(1)
    assert not thread.is_alive()


def test_good_data_resets_the_backoff() -> None:
    def good(feed: Feed) -> None:
        feed.write(SECOND[:320])
        time.sleep(0.1)
        feed.write(SECOND[:320])
        raise TransientSourceError("gone")

    setting = Setting(retry_reset=0.05, retry_jitter=0.0)
    bad = failing(TransientSourceError("no"))
    setting.run(bad, bad, bad, good, ending)
    waits = [change.retry_in for change in setting.changes if change.retry_in is not None]
    assert waits == [0.0, 0.0, 0.1, 0.0]  # rounded: 0.02, 0.04, 0.08, and 0.02 again


def test_digital_silence_is_reported_once_and_taken_back(caplog: pytest.LogCaptureFixture) -> None:
    setting = Setting(silence_warning=1.5)

    def connect(feed: Feed) -> None:
        for level in (0.0, 0.0001, 0.0, 0.0):  # a constant that is not zero is digital silence too
            feed.write(np.full(SAMPLE_RATE, level, np.float32))
        feed.write(SECOND)

    assert setting.run(connect) == [S.CONNECTING, S.LIVE, S.LIVE, S.LIVE, S.ENDED]
    assert "digital silence for 2 s" in setting.changes[2].detail
    assert setting.changes[3].detail == "sound again"
    assert caplog.text.count("digital silence") == 1


def test_quiet_rooms_are_not_digital_silence() -> None:
    setting = Setting(silence_warning=0.5)
    noise = np.random.default_rng(0).normal(0, 1e-4, SAMPLE_RATE).astype(np.float32)
    assert setting.run(lambda feed: [feed.write(noise) for _ in range(3)] and None) == [
        S.CONNECTING,
        S.LIVE,
        S.ENDED,
    ]


def test_gaps_are_passed_on_and_logged_sparingly(caplog: pytest.LogCaptureFixture) -> None:
    setting = Setting()
    caplog.set_level(logging.WARNING)
    for _ in range(5):
        setting.feed.gap(100, "device_overflow")
    setting.feed.gap(0, "device_overflow")
    gap = setting.ring.read(1)
    assert isinstance(gap, Gap)
    assert gap.length == 500
    assert caplog.text.count("device_overflow") == 1
