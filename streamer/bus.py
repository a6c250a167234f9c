"""Where the threads that publish meet asyncio: numbers every event and hands it to sinks and subscribers.

Any thread may publish. Sinks run in the publisher's thread, in order of sequence numbers.
Subscribers live on one event loop; this is the only file that calls `call_soon_threadsafe`, once
for a burst of events and not once for each.

A subscription is in one of two modes. *Catching up*, it reads the history in batches from its own
position, so that a long absence needs no queue; once nothing is left it goes *live* under the lock
that numbers events, which leaves neither a hole nor a duplicate between the two. Live, it has a
bounded queue (`history.EventQueue`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from streamer.events import Event
from streamer.history import EventQueue, Filter, History, Item, history_lost

log = logging.getLogger(__name__)

Sink = Callable[[Event], None]

INBOX = 8192
"""Events that may wait for a busy event loop. Beyond that, droppable ones give way (counted) and, when only
others are left, every subscription reads what it missed from the history."""

BATCH = 64
"""Events that one `take` returns at most."""

TOLD = 64
"""Messages to one client alone (errors, replies) that may wait for it."""


class Bus:
    """Numbers, remembers and distributes events.

    `history`: how many events that are not droppable are kept for `since`.
    """

    def __init__(self, history: int) -> None:
        self.instance = uuid.uuid4().hex[:12]
        """Differs after every start: sequence numbers of another instance mean nothing here."""
        self.clients_disconnected = 0
        """Subscribers that were given up for being too slow."""
        self._order = threading.RLock()  # held while sinks run, so that they see events in order
        self._undelivered: deque[Event] = deque()
        self._delivering = False
        self._sinks: tuple[Sink, ...] = ()
        self._lock = threading.Lock()  # guards everything below; held for moments only
        self._last_seq = 0
        self._history = History(history)
        self._inbox = EventQueue(INBOX)
        self._inbox_overrun = False
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._subscriptions: dict[Subscription, None] = {}
        self._dispatched = 0  # loop only: everything up to here has been offered to the subscriptions
        self._dropped = 0  # loop only: of subscriptions that are gone

    # Any thread.

    def publish(self, event: Event) -> Event:
        """Give `event` its number and time, remember it, and hand it on. Returns the numbered event.

        Never waits for a subscriber. A sink may publish in turn: that event follows after this one.
        """
        with self._order:
            with self._lock:
                seq = self._last_seq + 1
                event = event.model_copy(update={"seq": seq, "time": round(time.time(), 3)})
                self._last_seq = seq
                item = Item(event)
                self._history.append(item)
                if self._loop is not None and self._subscriptions:
                    if not self._inbox.offer(item):
                        self._inbox_overrun = True
                    self._wake(self._loop)
            self._undelivered.append(event)
            if not self._delivering:
                self._deliver()
        return event

    def _deliver(self) -> None:
        self._delivering = True
        try:
            while self._undelivered:
                event = self._undelivered.popleft()
                for sink in self._sinks:
                    try:
                        sink(event)
                    except Exception:  # one broken sink must not stop inference or the other sinks
                        log.exception("A sink failed on event %d (%s)", event.seq, event.type)
        finally:
            self._delivering = False

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._woken:
            return
        try:
            loop.call_soon_threadsafe(self._pump)
            self._woken = True
        except RuntimeError:  # the loop was closed without `disconnect`
            self._loop = None
            self._inbox.clear()

    def add_sink(self, sink: Sink) -> None:
        """Call `sink(event)` for every event from now on, in the publisher's thread; it must be quick."""
        with self._order:
            self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: Sink) -> None:
        """Stop calling `sink`; nothing happens if it was not added."""
        with self._order:
            self._sinks = tuple(s for s in self._sinks if s != sink)

    @property
    def last_seq(self) -> int:
        """Number of the newest event, 0 before the first."""
        return self._last_seq

    @property
    def oldest_seq(self) -> int:
        """Events from this number on can still be had with `since` (those that are not droppable)."""
        with self._lock:
            return self._history.oldest_seq

    @property
    def clients(self) -> int:
        """Subscribers now."""
        return len(self._subscriptions)

    @property
    def events_dropped(self) -> int:
        """Droppable events that subscribers missed for being slow, all of them together."""
        with self._lock:
            waiting = sum(subscription.dropped for subscription in self._subscriptions)
            return self._dropped + waiting + self._inbox.dropped

    # The event loop's thread only.

    def connect(self, loop: asyncio.AbstractEventLoop) -> None:
        """Deliver to subscribers on `loop` from now on."""
        with self._lock:
            if self._loop is not None and self._loop is not loop and not self._loop.is_closed():
                raise RuntimeError("the bus is connected to another event loop already")
            self._loop = loop
            self._woken = False
            self._dispatched = self._last_seq

    def disconnect(self) -> None:
        """Close every subscription and let go of the loop; publishing goes on."""
        for subscription in list(self._subscriptions):
            subscription.close()
        with self._lock:
            self._loop = None
            self._inbox.clear()

    def subscribe(self, wanted: Filter, since: int | None = None, queue: int = 256) -> Subscription:
        """A new subscriber with room for `queue` events.

        `since`: begin with the remembered events above this number; None: with the next event.
        """
        subscription = Subscription(self, wanted, queue)
        with self._lock:
            subscription._go_live(self._last_seq)
            subscription._began = self._last_seq
            self._subscriptions[subscription] = None
        if since is not None:
            subscription.select(wanted, since)
        return subscription

    @property
    def idle(self) -> bool:
        """Whether every subscriber has taken everything and asked for more."""
        return not self._woken and all(subscription.idle for subscription in self._subscriptions)

    def _pump(self) -> None:
        """Offer what was published since the last time to every subscription."""
        with self._lock:
            items = self._inbox.take(INBOX)
            overrun, self._inbox_overrun = self._inbox_overrun, False
            upto = self._last_seq
            self._woken = False
            subscriptions = list(self._subscriptions)
        if overrun:
            for subscription in subscriptions:
                subscription._fall_back(self._dispatched)
        else:
            for subscription in subscriptions:
                subscription._offer(items)
        self._dispatched = upto

    def _batch(self, subscription: Subscription, position: int) -> tuple[list[Item], int]:
        """The history's next batch above `position`, and the newest number lost; live if there is none."""
        with self._lock:
            items = self._history.after(position, BATCH)
            if not items:
                subscription._go_live(self._last_seq)
            return items, self._history.lost_upto

    def _remove(self, subscription: Subscription, too_slow: bool) -> None:
        with self._lock:
            if subscription in self._subscriptions:
                del self._subscriptions[subscription]
                self._dropped += subscription.dropped
                self.clients_disconnected += too_slow


class Subscription:
    """One reader's place in the sequence. Everything here belongs to the event loop's thread."""

    __slots__ = (
        "_began",
        "_bus",
        "_closed",
        "_delivered",
        "_live",
        "_position",
        "_queue",
        "_told",
        "_wake",
        "at_once",
        "filter",
        "idle",
        "overflow",
    )

    def __init__(self, bus: Bus, wanted: Filter, queue: int) -> None:
        self.filter = wanted
        self.overflow = asyncio.Event()
        """Set once the reader was too slow for what may not be dropped; `take` returns nothing more."""
        self.idle = False
        """Whether the reader waits in `take` for something new."""
        self.at_once: Callable[[list[Item]], int] | None = None
        """Where the reader can take events without waking up: says how many of them it took, in order.

        Asked only while nothing else waits for the reader; the rest goes the usual way."""
        self._bus = bus
        self._queue = EventQueue(queue)
        self._told: deque[Item] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._live = False
        self._position = 0  # live: events up to here are not ours; else: the history has been read up to here
        self._began = 0
        self._delivered: deque[tuple[int, int, Filter]] = deque(
            maxlen=8
        )  # (after, up to, what was wanted then)

    @property
    def dropped(self) -> int:
        """Droppable events this reader missed."""
        return self._queue.dropped

    def __len__(self) -> int:
        return len(self._queue) + len(self._told)

    async def take(self) -> list[Item]:
        """Wait for the next events and return up to `BATCH` of them in order; empty once closed."""
        while True:
            if items := self._next():
                return items
            if self._closed:
                return []
            self._wake.clear()
            self.idle = True
            try:
                await self._wake.wait()
            finally:
                self.idle = False

    def tell(self, event: Event) -> bool:
        """Send `event` to this reader alone, ahead of what waits. False when too many such messages wait."""
        if len(self._told) >= TOLD:
            return False
        self._told.append(Item(event))
        self._notify()
        return True

    def select(self, wanted: Filter, since: int | None = None, instance: str = "") -> None:
        """Change what is wanted; with `since`, first everything above that number that was not delivered yet.

        A number of another run of the daemon (`instance` says so, or it has not been reached yet) means
        nothing here: the reader is told (`history_lost`) and gets everything that is remembered.
        """
        upto = self._reached(queue_counts=since is None)
        self._delivered.append((self._began, upto, self.filter))
        self._began = upto
        self.filter = wanted
        if since is None:
            return
        self._queue.clear()
        if since > self._bus.last_seq or instance not in ("", self._bus.instance):
            self.tell(
                history_lost(
                    f"event {since} belongs to an earlier run of the daemon. Everything that this "
                    "one remembers follows."
                )
            )
            since = 0
        self._live = False
        self._position = self._began = since
        self._notify()

    def give_up(self) -> None:
        """The reader is too slow: nothing more for it, and `overflow` tells whoever holds its connection."""
        self._queue.clear()
        self._closed = True
        self.overflow.set()
        self._bus._remove(self, too_slow=True)
        self._notify()

    def close(self) -> None:
        """Take no new events; `take` returns what waits and then nothing."""
        self._closed = True
        self._bus._remove(self, too_slow=False)
        self._notify()

    def _next(self) -> list[Item]:
        if self._told:
            told, self._told = list(self._told), deque()
            return told
        if items := self._queue.take(BATCH):
            return items
        while not self._live and not self.overflow.is_set():
            found = self._catch_up()
            if found:
                return found
        return []

    def _catch_up(self) -> list[Item]:
        """What is wanted of the history's next batch; goes live when there is none."""
        position = self._position
        items, lost_upto = self._bus._batch(self, position)
        found: list[Item] = []
        if lost_upto > position:
            found.append(
                Item(
                    history_lost(
                        f"events {position + 1} to {lost_upto} are no longer remembered; "
                        f"oldest_seq is {lost_upto + 1}. What follows is complete. "
                        "For a longer memory raise server.history."
                    )
                )
            )
        if items:
            self._position = items[-1].seq
        return found + [item for item in items if self.filter.matches(item.event) and not self._has_had(item)]

    def _go_live(self, last_seq: int) -> None:
        """Called with the bus's lock held, so that no event lies between the history and the queue."""
        self._live = True
        self._position = last_seq

    def _fall_back(self, dispatched: int) -> None:
        """Read what the inbox had no room for from the history."""
        if self._live:
            self._live = False
            self._position = max(self._position, dispatched)
            self._notify()

    def _offer(self, items: list[Item]) -> None:
        """Hand on what is wanted of what was published, in order."""
        if self._closed or not self._live:
            return
        position, matches = self._position, self.filter.matches
        wanted = [item for item in items if item.seq > position and matches(item.event)]
        if wanted and self.idle and self.at_once is not None:
            wanted = wanted[self.at_once(wanted) :]
        for item in wanted:
            if not self._queue.offer(item):
                self.give_up()
                return
        if wanted:
            self._notify()

    def _reached(self, queue_counts: bool) -> int:
        """The number up to which this reader has had what it wanted."""
        first = self._queue.first_seq
        if first is not None and not queue_counts:
            return first - 1
        return max(self._position, self._bus._dispatched) if self._live else self._position

    def _has_had(self, item: Item) -> bool:
        return any(
            after < item.seq <= upto and had.matches(item.event) for after, upto, had in self._delivered
        )

    def _notify(self) -> None:
        # `idle` falls at once, not when the reader's task gets its turn: drain looks at it in between.
        self.idle = False
        self._wake.set()
