"""What the bus remembers and what waits for one reader: plain data structures without threads or asyncio.

Two rules live here. The history keeps only events that are not droppable: partials, tag windows,
levels and statistics describe a moment that has passed, and keeping them would push out what a
client may not miss. A queue that is full gives up its oldest droppable event first, and refuses
rather than lose one that is not droppable.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from itertools import islice

from streamer.events import ErrorEvent, Event

OPT_IN = frozenset({"level"})
"""Types that a client gets only by naming them."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a reader wants. None means every stream, or every type but those of `OPT_IN`."""

    streams: frozenset[str] | None = None
    types: frozenset[str] | None = None

    def matches(self, event: Event) -> bool:
        """Whether `event` is wanted. Events of the daemon itself (no stream) pass every choice of streams."""
        if self.streams is not None and event.stream is not None and event.stream not in self.streams:
            return False
        return event.type in self.types if self.types is not None else event.type not in OPT_IN


class Item:
    """A published event, shared by the history and every queue, with its JSON made once."""

    __slots__ = ("_text", "droppable", "event", "seq")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.seq = event.seq
        self.droppable = event.droppable
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The event as one JSON object."""
        if self._text is None:
            self._text = self.event.model_dump_json()
        return self._text


class History:
    """The newest `limit` events that are not droppable, in order of their sequence numbers."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.lost_upto = 0
        """Sequence number of the newest event that is no longer kept; 0 while everything is."""
        self._items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def oldest_seq(self) -> int:
        """Everything from this number on is still here."""
        return self.lost_upto + 1

    def append(self, item: Item) -> None:
        """Keep `item` unless it is droppable; forgets the oldest beyond the limit."""
        if item.droppable:
            return
        self._items.append(item)
        while len(self._items) > self.limit:
            self.lost_upto = self._items.popleft().seq

    def after(self, seq: int, limit: int) -> list[Item]:
        """Up to `limit` events with a number above `seq`, oldest first."""
        at = bisect_right(self._items, seq, key=lambda item: item.seq)
        return list(islice(self._items, at, at + limit))


class EventQueue:
    """At most `limit` events on their way to one reader; see the module's rule for what gives way."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.dropped = 0
        """Droppable events that gave way."""
        self._firm: deque[Item] = deque()
        self._loose: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._firm) + len(self._loose)

    @property
    def first_seq(self) -> int | None:
        """Number of the event that comes out next."""
        firsts = [queue[0].seq for queue in (self._firm, self._loose) if queue]
        return min(firsts) if firsts else None

    def offer(self, item: Item) -> bool:
        """Take `item` (numbers only grow). False: not taken, full of events that must not be dropped."""
        if len(self) >= self.limit:
            if self._loose:
                self._loose.popleft()
                self.dropped += 1
            elif item.droppable:
                self.dropped += 1
                return True
            else:
                return False
        (self._loose if item.droppable else self._firm).append(item)
        return True

    def take(self, limit: int) -> list[Item]:
        """Remove and return up to `limit` events, oldest first."""
        taken: list[Item] = []
        firm, loose = self._firm, self._loose
        while len(taken) < limit and (firm or loose):
            first = loose if loose and (not firm or loose[0].seq < firm[0].seq) else firm
            taken.append(first.popleft())
        return taken

    def clear(self) -> None:
        """Forget everything, without counting it."""
        self._firm.clear()
        self._loose.clear()


def history_lost(why: str) -> ErrorEvent:
    """The error that says which events a reader asked for cannot be had any more."""
    return ErrorEvent(
        code="history_lost",
        message=f"Not everything since then can be had: {why}",
        time=round(time.time(), 3),
    )
