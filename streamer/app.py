"""The composition root: the only place that builds, starts and stops sources, pipeline, bus and server.

`Daemon` is a daemon's whole life. The server answers first (so that /healthz and /readyz exist and a
port in use is noticed before anything slow happens), then the model is loaded in a thread, then the
sources start. It ends at a signal, with `once` when every source has ended, or with status 1 when a
part of it has died: a supervisor shall start it again rather than leave it alive but mute.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from streamer.audio.source import Source
from streamer.bus import Bus
from streamer.captions import Transcript
from streamer.config import Config
from streamer.errors import ProtocolError, StreamerError
from streamer.events import ErrorEvent, Event, SourceState, StreamState, StreamStats
from streamer.server.context import ModelLike
from streamer.server.serve import Server

if TYPE_CHECKING:
    from streamer.pipeline import Pipeline
    from streamer.service import Notifier

log = logging.getLogger(__name__)

T = TypeVar("T")

DRAIN = 5.0
"""Seconds from a signal to the end: finals of open utterances, clients that take them, threads that end."""

DRAIN_PIPELINE = 3.5
"""The share of it in which open utterances get their finals."""

CHECK = 0.5
"""Seconds between two looks at whether everything is alive."""


@dataclass(slots=True)
class LoadingModel:
    """What the server tells of the model before it is loaded."""

    name: str
    languages: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


class Front:
    """The pipeline as the server sees it: not ready and without streams until `pipeline` is set."""

    def __init__(self, model: str) -> None:
        self._loading = LoadingModel(model)
        self.pipeline: Pipeline | None = None

    @property
    def model(self) -> ModelLike:
        """The loaded model, or its name alone."""
        return self._loading if self.pipeline is None else self.pipeline.model

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and warm."""
        return self.pipeline is not None and self.pipeline.ready

    def add(self, source: Source) -> None:
        """Start a stream."""
        self._loaded().add(source)

    def remove(self, name: str) -> None:
        """Forget a stream."""
        self._loaded().remove(name)

    def pause(self, name: str) -> None:
        """Stop listening to a stream."""
        self._loaded().pause(name)

    def resume(self, name: str) -> None:
        """Listen to a stream again."""
        self._loaded().resume(name)

    def states(self) -> Mapping[str, SourceState]:
        """Every stream's state."""
        return {} if self.pipeline is None else self.pipeline.states()

    def stats(self) -> Mapping[str, StreamStats]:
        """Every stream's totals."""
        return {} if self.pipeline is None else self.pipeline.stats()

    def _loaded(self) -> Pipeline:
        if self.pipeline is None:
            raise ProtocolError("the model is still being loaded: try again when /readyz says ready")
        return self.pipeline


def _in_thread(name: str, function: Callable[[], T]) -> asyncio.Future[T]:
    """Run `function` in a thread of its own that does not keep the process alive."""
    done: concurrent.futures.Future[T] = concurrent.futures.Future()

    def body() -> None:
        try:
            done.set_result(function())
        except BaseException as error:  # noqa: BLE001  the top of a thread: whoever awaits gets it
            done.set_exception(error)

    threading.Thread(target=body, name=name, daemon=True).start()
    return asyncio.wrap_future(done)


class Daemon:
    """One run of the daemon. `run` once, in the main thread's event loop.

    `on_listening(port)` and `on_ready(pipeline)` tell the command line how far it is. `sinks`, filled
    before `run`, get every event in the publisher's thread and must be quick.
    """

    def __init__(
        self,
        config: Config,
        sources: Sequence[Source],
        *,
        once: bool = False,
        fast: bool = False,
        on_listening: Callable[[int], None] = lambda _: None,
        on_ready: Callable[[Pipeline], None] = lambda _: None,
    ) -> None:
        self._config = config
        self._sources = sources
        self._once = once
        self._fast = fast
        self.sinks: list[Callable[[Event], None]] = []
        self._on_listening = on_listening
        self._on_ready = on_ready
        self._stop = asyncio.Event()
        self._asked = threading.Event()
        self._signals = 0

    async def run(self) -> int:
        """Serve until the end; the exit status. StreamerError where it cannot start."""
        from streamer.service import Notifier

        bus = Bus(self._config.server.history)
        for sink in self.sinks:
            bus.add_sink(sink)
        front = Front(self._config.model.name)
        server = Server(self._config.server, front, bus)
        notifier = Notifier.from_environment(os.environ)
        self._on_listening(await server.start())
        self._catch_signals()
        try:
            pipeline = await self._load(bus)
            if pipeline is None:
                return 0
            front.pipeline = pipeline  # from here on it is drained and stopped, whatever happens
            for source in self._sources:
                pipeline.add(source)
            self._on_ready(pipeline)
            notifier.ready()
            return await self._serve(pipeline, bus, server, notifier)
        finally:
            notifier.stopping()
            await self._drain(front.pipeline, server)

    def stop(self) -> None:
        """End as a signal does, within CHECK seconds. From any thread."""
        self._asked.set()

    async def _load(self, bus: Bus) -> Pipeline | None:
        """The pipeline, started; None when the end came first."""

        def build() -> Pipeline:
            from streamer.pipeline import Pipeline

            pipeline = Pipeline.build(self._config, bus, fast=self._fast)
            pipeline.start()
            return pipeline

        loading = _in_thread("load", build)
        await _first(loading, self._stop.wait())
        if self._stop.is_set():
            return None
        return loading.result()

    async def _serve(self, pipeline: Pipeline, bus: Bus, server: Server, notifier: Notifier) -> int:
        """Until a signal, the sources' end with `once`, or the death of a part; the exit status."""
        ended = (
            _in_thread("wait", pipeline.wait) if self._once else asyncio.get_running_loop().create_future()
        )
        watch = asyncio.create_task(self._watch(pipeline, notifier), name="watch")
        await _first(self._stop.wait(), ended, watch, server.wait())
        if watch.done() and (problem := watch.result()):
            bus.publish(ErrorEvent(code="internal", message=problem))
            log.critical("%s; stopping, so that a supervisor can start the daemon again", problem)
            return 1
        if watch.done() or self._stop.is_set():
            return 0
        watch.cancel()
        if ended.done():
            ended.result()
            failed = [name for name, state in pipeline.states().items() if state is SourceState.FAILED]
            return 1 if failed else 0
        log.critical("The server ended by itself; stopping")
        return 1

    async def _watch(self, pipeline: Pipeline, notifier: Notifier) -> str | None:
        """Look after the pipeline's threads; what has died once something has, None when asked to stop."""
        pace = min(CHECK, notifier.interval or CHECK)
        while (problem := pipeline.problem()) is None and not self._asked.is_set():
            if notifier.interval is not None:
                notifier.alive()
            await asyncio.sleep(pace)
        return problem

    async def _drain(self, pipeline: Pipeline | None, server: Server) -> None:
        """Open utterances get their finals, clients get those, then everything ends: within DRAIN seconds."""
        deadline = time.monotonic() + DRAIN
        server.finish_pushed()
        if pipeline is not None and pipeline.problem() is None:
            await asyncio.sleep(0.1)  # what clients have sent reaches the rings
            await _within(DRAIN_PIPELINE + 0.5, _in_thread("drain", lambda: pipeline.drain(DRAIN_PIPELINE)))
        await server.drain(max(0.5, deadline - time.monotonic() - 0.5))
        if pipeline is not None:
            await _within(max(0.3, deadline - time.monotonic()), _in_thread("stop", pipeline.stop))

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        self._signals += 1
        if self._signals > 1:
            os._exit(128 + number)  # whoever asks twice does not want to wait
        log.info("%s: finishing what is open", signal.Signals(number).name)
        self._stop.set()


async def _first(*waited: asyncio.Future[Any] | Coroutine[Any, Any, Any]) -> None:
    """Until one of them is done; coroutines that are not are cancelled, futures go on."""
    tasks = [asyncio.ensure_future(one) for one in waited]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task, one in zip(tasks, waited, strict=True):
        if task is not one:
            task.cancel()


async def _within(seconds: float, work: asyncio.Future[Any]) -> None:
    """Wait for `work` so long and no longer; what it raises is logged."""
    await asyncio.wait([work], timeout=seconds)
    if not work.done():
        log.warning("Not finished after %.1f s, left behind", seconds)
    elif error := work.exception():
        log.error("While stopping: %s", error, exc_info=error)


# -------------------------------------------------------------------------------------- files


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: its transcript, and why it is not whole where `error` is set.

    passes: runs of the encoder that it took.
    """

    transcript: Transcript
    error: str = ""
    passes: int = 0


class FileRun:
    """The same pipeline without a server, for files one after the other. A context manager.

    Raises ModelError and ConfigError on construction, which loads the model.
    """

    def __init__(self, config: Config) -> None:
        from streamer.pipeline import Pipeline

        self._config = config
        self._bus = Bus(0)
        self._pipeline = Pipeline.build(config, self._bus, fast=True)
        self._pipeline.start()

    def __enter__(self) -> FileRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.stop()

    @property
    def model(self) -> ModelLike:
        """What can be told of the loaded model."""
        return self._pipeline.model

    def transcribe(
        self,
        path: str,
        progress: Callable[[float], None] = lambda _: None,
        every: Callable[[Event], None] = lambda _: None,
    ) -> Outcome:
        """Run one file through; `progress` is told the seconds done, a few times a second.

        `every` gets all of the file's events in the publisher's thread and must be quick. A file that cannot
        be read gives an Outcome with its error; StreamerError where the pipeline dies.
        """
        from streamer.audio.spec import SourceSpec, open_source

        name = Path(path).name
        transcript = Transcript(name)
        if not Path(path).is_file():
            return Outcome(transcript, "there is no such file")
        failures: list[str] = []

        def sink(event: Event) -> None:
            transcript.add(event)
            if event.stream == name:
                every(event)
            if isinstance(event, StreamState) and event.state is SourceState.FAILED:
                failures.append(event.detail or "cannot be read")

        self._bus.add_sink(sink)
        try:
            self._pipeline.add(open_source(SourceSpec(name, "file", path), self._config.source, fast=True))
            waiting = threading.Thread(target=self._wait, name="wait", daemon=True)
            waiting.start()
            while waiting.is_alive():
                waiting.join(0.1)
                stats = self._pipeline.stats()[name]
                progress(max(0.0, stats.position - stats.lag))
            if problem := self._pipeline.problem():
                raise StreamerError(problem)
            passes = self._pipeline.stats()[name].encoder_passes
            self._pipeline.remove(name)
        finally:
            self._bus.remove_sink(sink)
        return Outcome(transcript, failures[0] if failures else "", passes)

    def _wait(self) -> None:
        with contextlib.suppress(StreamerError):  # `problem` tells it in the thread that can do something
            self._pipeline.wait()
