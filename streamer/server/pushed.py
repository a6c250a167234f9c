"""Streams that clients push: who may open one, and what becomes of it when the client leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Literal, Protocol

from streamer.audio.source import Source
from streamer.config import ServerConfig
from streamer.errors import StreamerError
from streamer.events import SourceState, StreamStats
from streamer.server.messages import AudioOpen, RefusedError

log = logging.getLogger(__name__)

OVER = (SourceState.ENDED, SourceState.FAILED)

MOST_WAITING = 5.0
"""Seconds of audio waiting for the pipeline from which on a client is not read."""

PIECE = 64 * 1024
"""Bytes passed on at once: 4 s of the slowest rate."""


class PushedSource(Source, Protocol):
    """A source that is fed by a client (`audio.push.PushSource`)."""

    @property
    def waiting(self) -> float:
        """Seconds of audio that were fed and not taken yet."""

    def feed(self, data: bytes) -> None:
        """Take PCM bytes; never blocks."""

    def finish(self) -> None:
        """No more bytes: the rest is flushed and the stream ends."""


class PushFactory(Protocol):
    """Makes a source to be fed."""

    def __call__(
        self, name: str, rate: int, encoding: Literal["s16le", "f32le"], channels: int
    ) -> PushedSource:
        """`rate` in samples a second of each channel, interleaved."""


class Streams(Protocol):
    """What is needed of the pipeline here."""

    def add(self, source: Source) -> None:
        """Start a stream."""

    def remove(self, name: str) -> None:
        """Forget a stream."""

    def states(self) -> Mapping[str, SourceState]:
        """Every stream's state."""

    def stats(self) -> Mapping[str, StreamStats]:
        """Every stream's totals."""


def push_source(name: str, rate: int, encoding: Literal["s16le", "f32le"], channels: int) -> PushedSource:
    """The real factory; imported on first use, because resampling libraries take a while to load."""
    from streamer.audio.push import PushSource

    return PushSource(name, rate, encoding, channels)


class PushedStreams:
    """The streams that clients have opened here. Belongs to the event loop's thread."""

    def __init__(self, config: ServerConfig, pipeline: Streams, factory: PushFactory = push_source) -> None:
        self._config = config
        self._pipeline = pipeline
        self._factory = factory
        self._open: dict[str, PushedSource] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def open(self, message: AudioOpen) -> PushedSource:
        """Start a stream, or RefusedError with the reason."""
        name = message.stream
        if not self._config.allow_push:
            raise RefusedError(
                "push_refused", "This daemon takes no audio from clients (server.allow_push is false)."
            )
        limit = self._config.max_pushed_streams
        if len(self._open) + len(self._ending) >= limit:
            raise RefusedError(
                "push_refused", f"All {limit} streams for clients are in use (server.max_pushed_streams)."
            )
        if name in self._open or name in self._ending or name in self._pipeline.states():
            raise RefusedError("stream_exists", f"There is a stream {name!r} already; choose another name.")
        try:
            source = self._factory(name, message.rate, message.encoding, message.channels)
        except StreamerError as error:
            raise RefusedError("push_refused", str(error)) from error
        self._open[name] = source
        try:
            await asyncio.to_thread(self._pipeline.add, source)
        except StreamerError as error:
            del self._open[name]
            raise RefusedError("push_refused", str(error)) from error
        except BaseException:
            # Cancelled while the stream was being started: the thread goes on, so let it end by itself.
            self.finish(source)
            raise
        return source

    async def feed(self, source: PushedSource, data: bytes) -> None:
        """Pass audio on; waits while much of it lies there: the client is held back and none is lost."""
        for start in range(0, len(data), PIECE):
            source.feed(data[start : start + PIECE])
            while source.waiting > MOST_WAITING and not self._is_over(source.name):  # noqa: ASYNC110 (a thread's)
                await asyncio.sleep(0.05)

    def finish(self, source: PushedSource) -> None:
        """End a stream: its tail is flushed, its finals come, then it is forgotten."""
        source.finish()
        if self._open.pop(source.name, None) is not None:
            task = asyncio.create_task(self._forget(source.name), name=f"forget-{source.name}")
            self._ending[source.name] = task

    def finish_all(self) -> None:
        """End every stream that is still open."""
        for source in list(self._open.values()):
            self.finish(source)

    async def stop(self) -> None:
        """Give up waiting for streams to end."""
        tasks = list(self._ending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _forget(self, name: str) -> None:
        """Wait until the stream has ended and its last final is out, then free its name."""
        try:
            while not self._is_over(name):  # noqa: ASYNC110 (the pipeline is no part of this loop)
                await asyncio.sleep(0.1)
            await asyncio.to_thread(self._pipeline.remove, name)
        except StreamerError as error:
            log.debug("Stream %s was gone already: %s", name, error)
        except Exception:
            log.exception("Could not forget the pushed stream %s", name)
        finally:
            self._ending.pop(name, None)

    def _is_over(self, name: str) -> bool:
        state = self._pipeline.states().get(name)
        if state is None:
            return True
        stats = self._pipeline.stats().get(name)
        return state in OVER and (stats is None or stats.finals_waiting == 0)
