"""One stream's parts, its source's thread, and what can be told of it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field

from streamer.audio.ring import Ring
from streamer.audio.source import Source, StateChange
from streamer.bus import Bus
from streamer.ear import Ear
from streamer.events import SourceState, StreamState, StreamStats
from streamer.scheduler import Scheduler
from streamer.timebase import SAMPLE_RATE
from streamer.track import Track

log = logging.getLogger(__name__)

RATE_WINDOW = 10
"""Seconds over which passes per second are counted."""


@dataclass(slots=True)
class Stream:
    """Source, ring, ear and track of one stream. Who writes a field is in its comment."""

    source: Source
    bus: Bus
    ring: Ring
    ear: Ear
    track: Track
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    state: SourceState = SourceState.CONNECTING  # source
    outcome: StateChange | None = None  # source: ENDED or FAILED, told when everything is out
    paused: bool = False  # any, under the pipeline's lock
    heard_paused: bool = False  # listener
    heard_end: bool = False  # listener
    read: int = 0  # listener: position in the ring
    lost: int = 0  # listener: samples of gaps
    passes: int = 0  # inference
    ended: threading.Event = field(default_factory=threading.Event)  # inference
    lately: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=RATE_WINDOW + 1))  # listener

    @property
    def name(self) -> str:
        """Its source's name."""
        return self.source.name

    @property
    def shown_state(self) -> SourceState:
        """The source's state, or PAUSED where a live one is not listened to."""
        return SourceState.PAUSED if self.paused and self.state is SourceState.LIVE else self.state

    def start(self) -> None:
        """Start the source's thread."""
        name = f"source {self.name}"
        self.thread = threading.Thread(target=self._run_source, name=name, daemon=True)
        self.thread.start()

    def halt(self, timeout: float) -> None:
        """Make the source's thread end and close the ring.

        A source that waits for a mute server may outlast `timeout` seconds; its thread is a daemon's.
        """
        self.stop.set()
        self.ring.cancel()
        if self.thread is not None:
            self.thread.join(timeout)
        self.ring.close()

    def publish(self, change: StateChange) -> None:
        """Tell everybody of a state."""
        self.bus.publish(
            StreamState(
                stream=self.name,
                state=change.state,
                source=self.source.address,
                detail=change.detail,
                retry_in=change.retry_in,
            )
        )

    def remember(self) -> None:
        """Note how much was heard at what cost; once a second."""
        self.lately.append((self.track.position, self.passes))

    def stats(self, scheduler: Scheduler) -> StreamStats:
        """Totals and rates."""
        finals_waiting, replaced, stretched = scheduler.counts(self.name)
        position = max(self.ring.position, self.track.position)
        # What arrives while nobody listens is not waited for.
        lag = 0 if self.heard_paused else max(0, position - self.track.position)
        rate = 0.0
        lately = list(self.lately)
        if lately and lately[-1][0] > lately[0][0]:
            (heard, passes), (newest, total) = lately[0], lately[-1]
            rate = (total - passes) / ((newest - heard) / SAMPLE_RATE)
        return StreamStats(
            state=self.shown_state,
            position=round(position / SAMPLE_RATE, 2),
            lag=round(lag / SAMPLE_RATE, 2),
            lost=round(self.lost / SAMPLE_RATE, 3),
            encoder_passes=self.passes,
            passes_per_second=round(rate, 2),
            partials_replaced=replaced,
            ambient_stretched=stretched,
            finals=self.track.finals,
            finals_waiting=finals_waiting,
            suppressed=dict(self.track.suppressed),
        )

    def _run_source(self) -> None:
        """The top of the source's thread."""

        def report(change: StateChange) -> None:
            if change.state in (SourceState.ENDED, SourceState.FAILED):
                self.outcome = change  # told when everything it delivered is out
                return
            self.state = change.state
            self.publish(StateChange(self.shown_state, change.detail, change.retry_in))

        try:
            self.source.run(self.ring, report, self.stop)
        except Exception as error:
            log.exception("The source %s died", self.name)
            self.outcome = StateChange(SourceState.FAILED, f"{type(error).__name__}: {error}")
        finally:
            self.ring.close()
