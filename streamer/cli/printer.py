"""Events on standard output from a thread of its own: a slow terminal must not slow inference."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamer.events import Event

log = logging.getLogger(__name__)

ROOM = 4096
"""Events that may wait for standard output."""

PATIENCE = 5.0
"""Seconds that an event which may not be dropped waits for room; then standard output is given up."""


class Printer:
    """A bus sink that hands events to `write` in its own thread.

    Overflow: droppable events are dropped and counted (`dropped`); others wait `patience` seconds for
    room (None: for as long as it takes, which slows files played fast and loses nothing), after which
    printing ends with an error in the log and the daemon goes on without it. `on_closed` is called
    (in the printer's thread) when whoever reads standard output has gone.
    """

    def __init__(
        self,
        write: Callable[[Event], None],
        on_closed: Callable[[], None] = lambda: None,
        patience: float | None = PATIENCE,
    ) -> None:
        self.dropped = 0
        self._patience = patience
        self._write = write
        self._on_closed = on_closed
        self._queue: queue.Queue[Event | None] = queue.Queue(ROOM)
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._run, name="printer", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Take one event; any thread."""
        if self._gone.is_set():
            return
        try:
            self._queue.put(event, block=not event.droppable, timeout=self._patience)
        except queue.Full:
            if event.droppable:
                self.dropped += 1
            elif not self._gone.is_set():
                self._gone.set()
                log.error(
                    "Standard output has taken nothing for %s s: no more events are printed", self._patience
                )

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits and end."""
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            self._gone.set()
        self._thread.join(timeout)
        if self.dropped:
            log.warning("Standard output was too slow for %d events that may be dropped", self.dropped)

    def _run(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._write(event)
            except OSError:  # the reader has gone: `| head`, a closed terminal
                self._gone.set()
                self._on_closed()
                return
            except Exception:
                log.exception("Cannot print %s", event.type)


def print_json(event: Event) -> None:
    """The event as the protocol has it, one line; level is opt-in there and here left out."""
    if event.type != "level":
        sys.stdout.write(event.model_dump_json() + "\n")
        sys.stdout.flush()
