"""One recording through the daemon's parts, and when what came out of them.

`RealPlayer` is the pipeline itself, threads and all, fed at the speed of a microphone. `FastPlayer` is a
simulation of it on a clock of its own: ear, scheduler, engine and track are the daemon's, computing costs
the simulated clock what it cost the real one, and audio goes on arriving (and partials go on being
replaced) meanwhile; only waiting takes no time. What it leaves out: the listener runs beside the engine
without slowing it, and events pass from thread to thread at once.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from streamer.audio.ring import Block, End, Ring
from streamer.audio.source import Report, StateChange
from streamer.bus import Bus
from streamer.config import Config
from streamer.ear import Ear
from streamer.engine import Engine
from streamer.errors import StreamerError
from streamer.evaluation.asr import Samples
from streamer.evaluation.timeline import Seen
from streamer.events import Event, SourceState
from streamer.passes import Pass
from streamer.pipeline import Pipeline
from streamer.scheduler import Scheduler
from streamer.timebase import FRAME, SAMPLE_RATE, to_samples
from streamer.track import Track
from streamer.vad.base import make_vad

BLOCK = FRAME
"""Samples that a microphone delivers at once (20 ms)."""


class Player(Protocol):
    """Plays recordings, one after the other, each a stream of its own. A context manager."""

    def __enter__(self) -> Player: ...

    def __exit__(self, *_: object) -> None: ...

    def play(self, samples: Samples) -> list[Seen]:
        """Every event about samples (n,), in the order in which they came out."""
        ...


def blocks(samples: Samples) -> Iterator[Block]:
    """The samples as a microphone delivers them."""
    for start in range(0, len(samples), BLOCK):
        yield Block(start, samples[start : start + BLOCK])


def _arrival(block: Block) -> float:
    """When a block is there: with its last sample."""
    return (block.start + len(block.samples)) / SAMPLE_RATE


# ---------------------------------------------------------------------------------------- real time


class Microphone:
    """A `Source` that delivers samples (n,) at their own speed; `started`: `time.monotonic()` at sample 0."""

    live = True
    address = "samples"

    def __init__(self, name: str, samples: Samples) -> None:
        self.name = name
        self._samples = samples
        self.started: float | None = None

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        """See `Source.run`."""
        self.started = time.monotonic()
        report(StateChange(SourceState.LIVE))
        for block in blocks(self._samples):
            if stop.wait(max(0.0, self.started + _arrival(block) - time.monotonic())):
                return
            ring.write(block.samples)
        report(StateChange(SourceState.ENDED))


class RealPlayer:
    """See the module's docstring. Takes as long as the recordings do, and the last finals."""

    def __init__(self, config: Config, engine: Engine) -> None:
        """Raises ConfigError for settings that the model cannot follow."""
        self._config = config
        self._bus = Bus(0)
        self._pipeline = Pipeline(config, self._bus, engine)
        self._count = 0

    def __enter__(self) -> RealPlayer:
        self._pipeline.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.stop()

    def play(self, samples: Samples) -> list[Seen]:
        """See `Player`. Raises StreamerError where the pipeline dies."""
        self._count += 1
        source = Microphone(f"recording {self._count}", samples)
        seen: list[Seen] = []

        def sink(event: Event) -> None:
            if event.stream == source.name and source.started is not None:
                seen.append(Seen(event, time.monotonic() - source.started))

        self._bus.add_sink(sink)
        try:
            self._pipeline.add(source)
            self._pipeline.wait()
            self._pipeline.remove(source.name)
            if problem := self._pipeline.problem():
                raise StreamerError(problem)
        finally:
            self._bus.remove_sink(sink)
        return seen


# ---------------------------------------------------------------------------------- simulated clock


class FastPlayer:
    """See the module's docstring. Takes as long as the computing does."""

    def __init__(self, config: Config, engine: Engine) -> None:
        """Raises ConfigError for settings that the model cannot follow."""
        Pipeline(config, Bus(0), engine)  # never started: only what it refuses is of interest
        self._config, self._engine = config, engine

    def __enter__(self) -> FastPlayer:
        self._engine.warm_up()
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def play(self, samples: Samples) -> list[Seen]:
        """See `Player`."""
        return _Simulation(self._config, self._engine, samples).run()


class _Simulation:
    """One recording on a simulated clock: `Pipeline._listen_to` and `Pipeline._infer` taking turns."""

    def __init__(self, config: Config, engine: Engine, samples: Samples) -> None:
        self._engine = engine
        self._ear = Ear("simulated", config, make_vad(config.vad))
        self._track = Track("simulated", config, engine.model, engine.tokenizer)
        self._scheduler = Scheduler(
            lambda p: engine.context(len(p.samples)),
            partial_patience=config.live.step,
            ambient_patience=config.sounds.window,
            backlog=to_samples(config.limits.backlog),
        )
        self._waiting: deque[tuple[float, Block | End]] = deque(
            (_arrival(block), block) for block in blocks(samples)
        )
        self._waiting.append((len(samples) / SAMPLE_RATE, End()))
        self._seen: list[Seen] = []

    def run(self) -> list[Seen]:
        """Until everything that was asked for has come out."""
        now = 0.0
        while True:
            batch = self._scheduler.next(0.0)
            if batch:
                began = time.perf_counter()
                events = self._infer(batch)
                self._scheduler.done(batch)
                done = now + time.perf_counter() - began
                self._listen(done)
                self._seen += (Seen(event, done) for event in events)
                now = done
            elif self._waiting:
                now = max(now, self._waiting[0][0])
                self._listen(now)
            else:
                return self._seen

    def _listen(self, until: float) -> None:
        """Let the ear hear what arrives up to `until`."""
        while self._waiting and self._waiting[0][0] <= until:
            at, item = self._waiting.popleft()
            for one in self._ear.hear(item):
                if isinstance(one, Pass):
                    self._scheduler.submit(replace(one, decided=at))
                else:
                    self._seen.append(Seen(one, at))

    def _infer(self, batch: list[Pass]) -> list[Event]:
        requests = [self._track.request(p) if p.needs_encoder else None for p in batch]
        wanted = [request for request in requests if request is not None]
        results = iter(self._engine.run(wanted) if wanted else ())
        return [
            event
            for p, request in zip(batch, requests, strict=True)
            for event in self._track.events(p, request, next(results) if request is not None else None)
        ]
