"""Sources, ears, scheduler and engine put together: the threads, and what may be asked of them.

Threads: one for each source (`source NAME`), one `listener` for all streams (ring → ear →
scheduler), one `inference` or more (scheduler → engine → bus; `model.workers`). All are started and joined
here. A listener or inference thread that dies is a `problem`: the daemon then ends rather than stay alive but
mute.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from streamer.audio.level import LEVEL
from streamer.audio.ring import Block, Gap, Ring
from streamer.audio.source import Source, StateChange
from streamer.backends import processor
from streamer.bus import Bus
from streamer.config import Config
from streamer.ear import Ear
from streamer.engine import Engine, give_back, load_engine
from streamer.errors import ProtocolError, StreamerError
from streamer.events import ErrorEvent, Event, SourceState, Stats, StreamStats
from streamer.fitting import Fitted, languages
from streamer.passes import Kind, Pass
from streamer.scheduler import Scheduler
from streamer.stream import Stream
from streamer.timebase import SAMPLE_RATE, to_samples
from streamer.track import Track
from streamer.vad.base import make_vad

log = logging.getLogger(__name__)

READ = SAMPLE_RATE // 5
"""Samples that the listener takes from a ring at once (200 ms)."""

REST = 2 * LEVEL
"""Samples for which the listener rests (200 ms) where no utterance can begin or end meanwhile; all ticks lie
on their grid.

To wake two threads costs more than what they do then.
"""

INFERENCE_REST = 1.0
"""Seconds for which the inference thread waits for a pass before it shows that it is alive."""

IDLE = 5.0
"""Seconds without a run of an encoder after which the memory that they took is given back."""

STUCK = 60.0
"""Seconds without a turn after which a thread counts as dead …"""

PATIENCE = 100.0
"""… or so many times the warm-up, one short pass, where that is more: a batch of a big model is not dead."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What clients are told about the model."""

    name: str
    languages: list[str]
    labels: list[str]
    description: str = ""


class Pipeline:
    """Build with `build`, `start`, `add` sources, and in the end `drain` and `stop`.

    fast: files run as fast as the engine can and no pass is ever replaced. others: engines of streams that
    have their own, by the stream's name; `engine` hears all others. The same threads run them all.
    """

    def __init__(
        self,
        config: Config,
        bus: Bus,
        engine: Engine,
        *,
        fast: bool = False,
        others: Mapping[str, Engine] | None = None,
    ) -> None:
        model = engine.model
        self._fitted = Fitted.of(config, engine)
        self._others = {name: Fitted.of(config, other) for name, other in (others or {}).items()}
        labels = [label.name for one in self._engines for label in one.model.labels]
        codes = [code for one in self._engines for code in languages(one)]
        self.model = ModelInfo(
            model.name, list(dict.fromkeys(codes)), list(dict.fromkeys(labels)), model.info.description
        )
        config = self._fitted.config
        self._config, self.bus = config, bus
        workers = processor.workers(config.model.workers)
        self._scheduler = Scheduler(
            self._bucket,
            partial_patience=config.live.step,
            ambient_patience=config.sounds.window,
            backlog=to_samples(config.limits.backlog),
            max_batch=min(one.batch for one in self._engines),
            lossless=fast,
            workers=workers,
        )
        self._streams: dict[str, Stream] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._started = time.monotonic()
        bodies: dict[str, Callable[[str], None]] = {"listener": self._listen}
        names = ("inference", *(f"inference {i + 2}" for i in range(workers - 1)))
        bodies |= dict.fromkeys(names, self._infer)
        self._turns = dict.fromkeys(bodies, self._started)
        self._failed: str | None = None
        self._patience = STUCK
        self._threads = [
            threading.Thread(target=self._guard, args=(name, body), name=name, daemon=True)
            for name, body in bodies.items()
        ]
        self.ready = False

    @classmethod
    def build(cls, config: Config, bus: Bus, *, fast: bool = False) -> Pipeline:
        """Load the model, and those of single streams. Blocks for so long; raises ModelError, ConfigError."""
        engines = {config.model.name: load_engine(config.model, config.text, config.engine.backend)}
        wanted = {stream.name: stream.model for stream in config.streams if stream.model}
        for name in wanted.values():
            if name not in engines:
                # A tag head belongs to one encoder: another model has its own or none.
                about = config.model.model_copy(update={"name": name, "tags": ""})
                engines[name] = load_engine(about, config.text, config.engine.backend)
        others = {stream: engines[name] for stream, name in wanted.items()}
        return cls(config, bus, engines[config.model.name], fast=fast, others=others)

    # What may be called from any thread.

    def start(self) -> None:
        """Warm up and start listening."""
        began = time.monotonic()
        for engine in self._engines:
            engine.warm_up()
        self._patience = max(STUCK, PATIENCE * (time.monotonic() - began))
        for thread in self._threads:
            thread.start()
        self.ready = True

    def add(self, source: Source) -> None:
        """Start a stream. Raises StreamerError where there is one of that name."""
        capacity = to_samples(self._config.limits.ring)
        ring = Ring(capacity, live=source.live, wake=self._wake.set)
        fitted = self._of(source.name)
        ear = Ear(source.name, fitted.config, make_vad(fitted.config.vad))
        track = Track(source.name, fitted.config, fitted.engine.model, fitted.engine.tokenizer)
        stream = Stream(source, self.bus, ring, ear, track)
        with self._lock:
            if source.name in self._streams:
                raise StreamerError(f"there is a stream {source.name!r} already: name this one with NAME=…")
            self._streams[source.name] = stream
        stream.start()

    def remove(self, name: str) -> None:
        """Stop a stream, let its last results out, and forget it. Raises ProtocolError for an unknown one."""
        stream = self._get(name)
        stream.halt(5.0)
        stream.ended.wait(30)
        with self._lock:
            self._streams.pop(name, None)
        self._scheduler.forget(name)

    def pause(self, name: str) -> None:
        """Stop listening to a stream; its source stays open. ProtocolError for one unknown or over."""
        self._set_paused(name, True)

    def resume(self, name: str) -> None:
        """Listen again; the time between is a gap. ProtocolError for a stream unknown or over."""
        self._set_paused(name, False)

    def states(self) -> dict[str, SourceState]:
        """Every stream and what its source is doing."""
        return {name: s.shown_state for name, s in self._snapshot().items()}

    def stats(self) -> dict[str, StreamStats]:
        """Totals and rates of every stream."""
        return {name: s.stats(self._scheduler) for name, s in self._snapshot().items()}

    def problem(self) -> str | None:
        """What has died or hangs, None while all is well."""
        if self._failed is not None:
            return self._failed
        if self.ready and not self._stopping.is_set():
            now = time.monotonic()
            for name, last in self._turns.items():
                if now - last > self._patience:
                    return f"the {name} thread has not moved for {now - last:.0f} s"
        return None

    def wait(self) -> None:
        """Until every source has ended and all its results are out. Raises StreamerError if a thread died."""
        for stream in self._snapshot().values():
            while not stream.ended.wait(0.2):
                if self._failed is not None:
                    raise StreamerError(self._failed)

    def drain(self, timeout: float) -> bool:
        """End every source and let what is open come out; whether all of it did in time."""
        deadline = time.monotonic() + timeout
        streams = list(self._snapshot().values())
        self._halt(streams, 0.3)
        return all(stream.ended.wait(max(0.0, deadline - time.monotonic())) for stream in streams)

    def stop(self) -> None:
        """End the threads. What has not been drained is lost."""
        self._stopping.set()
        self._wake.set()
        self._scheduler.close()
        self._halt(list(self._snapshot().values()), 1.0)
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)

    # Helpers.

    @property
    def _engines(self) -> list[Engine]:
        """Each once, the one that most streams have first."""
        return list(dict.fromkeys(one.engine for one in (self._fitted, *self._others.values())))

    def _of(self, stream: str) -> Fitted:
        return self._others.get(stream, self._fitted)

    def _bucket(self, p: Pass) -> tuple[int, int]:
        """What passes of one batch have in common: the engine and the length of its context."""
        engine = self._of(p.stream).engine
        return id(engine), engine.context(len(p.samples))

    def _halt(self, streams: list[Stream], patience: float) -> None:
        """Close every ring, once its source's thread has ended or `patience` seconds are over for all.

        A source that waits for a mute server may take long to notice; its ring need not, nor need others.
        """
        for stream in streams:
            stream.stop.set()
            stream.ring.cancel()
        deadline = time.monotonic() + patience
        for stream in streams:
            stream.halt(max(0.0, deadline - time.monotonic()))

    def _snapshot(self) -> dict[str, Stream]:
        with self._lock:
            return dict(self._streams)

    def _get(self, name: str) -> Stream:
        with self._lock:
            stream = self._streams.get(name)
            known = sorted(self._streams)
        if stream is None:
            raise ProtocolError(f"no stream {name!r}; there are: {', '.join(known) or 'none'}")
        return stream

    def _set_paused(self, name: str, paused: bool) -> None:
        stream = self._get(name)
        if stream.ended.is_set():
            raise ProtocolError(f"the stream {name!r} is over: there is nothing to pause or resume")
        with self._lock:
            if stream.paused == paused:
                return
            stream.paused = paused
        self._wake.set()
        stream.publish(StateChange(stream.shown_state))

    # Threads.

    def _guard(self, name: str, body: Callable[[str], None]) -> None:
        """The top of a thread of ours: what it dies of is logged and becomes the pipeline's problem."""
        try:
            body(name)
        except Exception as error:
            log.exception("The %s thread died", name)
            self._failed = f"the {name} thread died: {type(error).__name__}: {error}"

    def _listen(self, name: str) -> None:
        """The listener thread: everything that rings hold goes through the ears into the scheduler."""
        next_stats = time.monotonic() + 1
        while not self._stopping.is_set():
            now = self._turns[name] = time.monotonic()
            if now >= next_stats:
                next_stats = now + 1
                self._publish_stats()
            busy = False
            for stream in self._snapshot().values():
                busy |= self._listen_to(stream)
            if not busy:
                self._wake.wait(max(0.0, next_stats - time.monotonic()))
                self._wake.clear()

    def _listen_to(self, stream: Stream) -> bool:
        """One turn of one stream; whether there may be more."""
        if stream.heard_end:
            return False
        name = stream.source.name
        if stream.paused != stream.heard_paused:
            stream.heard_paused = stream.paused
            self._emit(stream.ear.pause() if stream.paused else stream.ear.resume(stream.read))
        if not stream.ring.due or not self._scheduler.has_room(name):
            return False
        if stream.track.complete is not None:
            stream.ear.complete(*stream.track.complete)
        item = stream.ring.read(READ)
        if item is None:
            return False
        if isinstance(item, Block):
            stream.read = item.start + len(item.samples)
        elif isinstance(item, Gap):
            stream.read = item.start + item.length
            stream.lost += item.length
        else:
            stream.heard_end = True
        self._emit(stream.ear.hear(item))
        stream.ring.rest(1 if stream.ear.alert(REST) else REST)
        return True

    def _emit(self, heard: Iterator[Event | Pass]) -> None:
        for one in heard:
            if isinstance(one, Pass):
                self._scheduler.submit(one)
            else:
                self.bus.publish(one)

    def _infer(self, name: str) -> None:
        """An inference thread: whatever the scheduler picks goes through the engine to the bus."""
        worked: float | None = None
        while not (self._stopping.is_set() and self._scheduler.waiting == 0):
            now = self._turns[name] = time.monotonic()
            if worked is not None and now - worked > IDLE:
                worked = None
                give_back()
            batch = self._scheduler.next(INFERENCE_REST)
            if not batch:
                if self._stopping.is_set():
                    return
                continue
            streams = self._snapshot()
            jobs = [(p, streams[p.stream]) for p in batch if p.stream in streams]
            requests = [stream.track.request(p) if p.needs_encoder else None for p, stream in jobs]
            wanted = [request for request in requests if request is not None]
            # Passes of one batch have one engine.
            results = iter(self._of(batch[0].stream).engine.run(wanted) if wanted else ())
            worked = time.monotonic() if wanted else worked
            for (p, stream), request in zip(jobs, requests, strict=True):
                result = next(results) if request is not None else None
                stream.passes += request is not None
                for event in stream.track.events(p, request, result):
                    self.bus.publish(event)
                if p.kind is Kind.END:
                    self._end(stream)
            self._scheduler.done(batch)
            self._wake.set()  # there is room again

    def _end(self, stream: Stream) -> None:
        """Everything that a source delivered is out: now its end can be told."""
        change = stream.outcome or StateChange(SourceState.ENDED)
        stream.state = change.state
        stream.publish(change)
        if change.state is SourceState.FAILED:
            message = f"{stream.source.address}: {change.detail}"
            self.bus.publish(ErrorEvent(stream=stream.source.name, code="source_failed", message=message))
        stream.ended.set()

    def _publish_stats(self) -> None:
        streams = self._snapshot()
        for stream in streams.values():
            stream.remember()
        self.bus.publish(
            Stats(
                uptime=round(time.monotonic() - self._started, 1),
                streams={name: s.stats(self._scheduler) for name, s in streams.items()},
                clients=self.bus.clients,
                events_dropped=self.bus.events_dropped,
                clients_disconnected=self.bus.clients_disconnected,
            )
        )
