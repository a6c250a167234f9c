"""Which passes run next. Pure decisions under a lock: no thread, no clock of its own.

Any number of workers may ask. What one has taken of a stream is out (`done`) before anybody gets more of that
stream, so that its results come in order; passes that could share a batch are shared among the workers first.

Live: finals first, oldest first, never dropped. A stream has at most one waiting partial and one
waiting ambient pass: a newer one replaces it and inherits its deadline, so that under load partials
thin out and ambient passes stretch, yet none starves. What was steady is heard before the ambient
pass behind it. A final shares a batch with finals only: it does not wait for what matters less. A
stream's end comes once nothing else of it waits. A stream whose waiting utterances exceed the
backlog has no room: its listener stops reading, and what its ring loses is reported as a gap.

Lossless (files as fast as possible): every stream's passes run in the order they were asked for,
none is replaced, and a stream has room for a few only.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field

from streamer.passes import Kind, Pass

LOSSLESS_WAITING = 8
"""Passes of one stream that may wait in lossless mode."""


@dataclass(slots=True)
class _Waiting:
    """What one stream waits for. `deadline` belongs to a place in the queue, not to the pass in it."""

    finals: deque[Pass] = field(default_factory=deque)
    partial: Pass | None = None
    partial_deadline: float = 0.0
    ambient: Pass | None = None
    ambient_deadline: float = 0.0
    steady: Pass | None = None
    steady_deadline: float = 0.0
    end: Pass | None = None
    in_order: deque[Pass] = field(default_factory=deque)
    partials_replaced: int = 0
    ambient_stretched: int = 0

    @property
    def backlog(self) -> int:
        """Samples of utterances that wait for their final."""
        return sum(len(p.samples) for p in self.finals)

    @property
    def count(self) -> int:
        return (
            len(self.finals)
            + len(self.in_order)
            + sum(p is not None for p in (self.partial, self.ambient, self.steady, self.end))
        )


class Scheduler:
    """See the module's docstring. Safe to use from the listener's and the workers' threads.

    bucket: maps a pass to its engine and the context it will be padded to; only passes of one share a batch.
    partial_patience, ambient_patience: seconds until a waiting pass of that kind is due.
    backlog: samples of utterances of one stream that may wait. max_batch: passes of a batch at most.
    workers: how many take batches.
    """

    def __init__(
        self,
        bucket: Callable[[Pass], Hashable],
        *,
        partial_patience: float,
        ambient_patience: float,
        backlog: int,
        max_batch: int = 8,
        lossless: bool = False,
        workers: int = 1,
    ) -> None:
        self._bucket = bucket
        self._partial_patience = partial_patience
        self._ambient_patience = ambient_patience
        self._backlog = backlog
        self._max_batch = max_batch
        self._lossless = lossless
        self._workers = workers
        self._streams: dict[str, _Waiting] = {}
        self._running: set[str] = set()
        self._changed = threading.Condition()
        self._closed = False

    def submit(self, p: Pass) -> None:
        """Ask for a pass. Never waits; see `has_room`."""
        with self._changed:
            waiting = self._streams.setdefault(p.stream, _Waiting())
            if self._lossless:
                waiting.in_order.append(p)
            else:
                self._place(waiting, p)
            self._changed.notify()

    def _place(self, waiting: _Waiting, p: Pass) -> None:
        if p.kind is Kind.FINAL:
            waiting.finals.append(p)
            if waiting.partial is not None and waiting.partial.utterance == p.utterance:
                waiting.partial = None
                waiting.partials_replaced += 1
        elif p.kind is Kind.PARTIAL:
            if waiting.partial is None:
                waiting.partial_deadline = p.decided + self._partial_patience
            else:
                waiting.partials_replaced += 1
            waiting.partial = p
        elif p.kind is Kind.END:
            waiting.end = p
        elif p.kind is Kind.STEADY and p.needs_encoder:
            waiting.steady = p
            waiting.steady_deadline = p.decided + self._ambient_patience
            if waiting.ambient is not None and not waiting.ambient.needs_encoder:
                # An ambient pass may take that place, but only after this one.
                waiting.steady_deadline = waiting.ambient_deadline
        else:
            old = waiting.ambient
            if old is None:
                waiting.ambient_deadline = p.decided + self._ambient_patience
            elif old.needs_encoder:
                if not p.needs_encoder:
                    # Silence must not hide a sound that nobody has looked at yet.
                    return
                waiting.ambient_stretched += 1
            waiting.ambient = p

    def has_room(self, stream: str) -> bool:
        """Whether the listener may go on reading this stream."""
        with self._changed:
            waiting = self._streams.get(stream)
            if waiting is None:
                return True
            if self._lossless:
                return len(waiting.in_order) < LOSSLESS_WAITING
            return waiting.backlog < self._backlog

    def next(self, timeout: float) -> list[Pass]:
        """The passes to run now, as one batch; empty after `timeout` seconds without any. Then say `done`."""
        with self._changed:
            batch = self._pick()
            if not batch and not self._closed:
                self._changed.wait(timeout)
                batch = self._pick()
            return batch

    def done(self, batch: Iterable[Pass]) -> None:
        """All results of a batch are out: its streams are free for their next."""
        with self._changed:
            self._running.difference_update(p.stream for p in batch)
            self._changed.notify_all()  # several streams may have waited for this

    def close(self) -> None:
        """Wake whoever waits in `next`; what is waiting can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def counts(self, stream: str) -> tuple[int, int, int]:
        """(finals waiting, partials replaced, ambient passes stretched) of a stream."""
        with self._changed:
            w = self._streams.get(stream, _Waiting())
            finals = len(w.finals) + sum(p.kind is Kind.FINAL for p in w.in_order)
            return finals, w.partials_replaced, w.ambient_stretched

    @property
    def waiting(self) -> int:
        """Passes that wait, of all streams."""
        with self._changed:
            return sum(w.count for w in self._streams.values())

    def forget(self, stream: str) -> None:
        """Drop a stream's counters after its END has run."""
        with self._changed:
            self._streams.pop(stream, None)

    def _pick(self) -> list[Pass]:
        candidates = self._candidates()
        if not candidates:
            return []
        (rank, _), _, first = min(candidates, key=lambda c: c[0])
        batch = [first]
        if first.needs_encoder:
            size = self._bucket(first)
            alike = [
                other
                for (others, _), _, other in sorted(candidates, key=lambda c: c[0])
                if others == rank and other.needs_encoder and self._bucket(other) == size
            ]
            batch = alike[: min(self._max_batch, -(-len(alike) // self._workers))]
        for p in batch:
            self._take(p)
            self._running.add(p.stream)
        return batch

    def _candidates(self) -> list[tuple[tuple[int, float], str, Pass]]:
        """The head of every queue with its rank: finals and ends by age, then the rest by deadline."""
        out: list[tuple[tuple[int, float], str, Pass]] = []
        for name, w in self._streams.items():
            if name in self._running:
                continue
            if w.in_order:
                out.append(((0, w.in_order[0].decided), name, w.in_order[0]))
            if w.finals:
                out.append(((0, w.finals[0].decided), name, w.finals[0]))
            if w.partial is not None:
                out.append(((1, w.partial_deadline), name, w.partial))
            if w.steady is not None:
                out.append(((1, w.steady_deadline), name, w.steady))
            if w.ambient is not None:
                out.append(((1, w.ambient_deadline), name, w.ambient))
            if w.end is not None and w.count == 1:
                # It costs nothing. Behind the rest it would never come while other streams are too much.
                out.append(((0, w.end.decided), name, w.end))
        return out

    def _take(self, p: Pass) -> None:
        w = self._streams[p.stream]
        if w.in_order and w.in_order[0] is p:
            w.in_order.popleft()
        elif p.kind is Kind.FINAL:
            w.finals.popleft()
        elif p is w.partial:
            w.partial = None
        elif p is w.ambient:
            w.ambient = None
        elif p is w.steady:
            w.steady = None
        elif p is w.end:
            w.end = None
