"""A real bus and server on a real port; only the pipeline is a stand-in, with the real one's interface."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from websockets.asyncio.client import ClientConnection, connect

from streamer.audio.source import Report, Source, StateChange
from streamer.bus import Bus
from streamer.config import ServerConfig
from streamer.errors import ProtocolError, StreamerError
from streamer.events import SourceState, StreamState, StreamStats, TranscriptFinal, TranscriptPartial
from streamer.server.serve import Server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def final(number: int, stream: str = "a", text: str = "hello") -> TranscriptFinal:
    return TranscriptFinal(
        stream=stream,
        utterance=number,
        start=0,
        end=1,
        text=text,
        words=[],
        language="en",
        avg_logprob=-0.1,
        no_speech_prob=0.01,
        latency_ms=120,
    )


def partial(text: str, stream: str = "a") -> TranscriptPartial:
    return TranscriptPartial(stream=stream, utterance=1, start=0, end=1, text=text, stable="")


@dataclass(frozen=True)
class Model:
    name: str = "stand-in"
    languages: tuple[str, ...] = ("en",)
    labels: tuple[str, ...] = ("Dog", "Siren")


@dataclass
class FakeSource:
    """A pushed source that keeps its bytes."""

    name: str
    rate: int
    encoding: Literal["s16le", "f32le"]
    channels: int
    address: str = "push"
    live: bool = True
    received: bytearray = field(default_factory=bytearray)
    finished: threading.Event = field(default_factory=threading.Event)

    def run(self, ring: object, report: Report, stop: threading.Event) -> None:
        report(StateChange(SourceState.LIVE))
        self.finished.wait(5)
        report(StateChange(SourceState.ENDED))

    @property
    def waiting(self) -> float:
        return 99.0 if self.name == "slow" and not self.finished.is_set() else 0.0

    def feed(self, data: bytes) -> None:
        if len(data) % 2:
            raise ProtocolError("Expected whole samples.")
        self.received += data

    def finish(self) -> None:
        self.finished.set()


class FakePipeline:
    """Publishes one final when a source ends, as the real one does for an open utterance."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.model = Model()
        self.ready = True
        self.paused: set[str] = set()
        self.known: dict[str, SourceState] = {"a": SourceState.LIVE}
        self.sources: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []

    def add(self, source: Source) -> None:
        if source.name == "full":
            raise StreamerError("No room for another stream.")
        self.sources[source.name] = source
        self.known[source.name] = SourceState.CONNECTING
        thread = threading.Thread(target=self._run, args=(source,), name=f"source-{source.name}")
        self.threads.append(thread)
        thread.start()

    def _run(self, source: Any) -> None:
        def report(change: StateChange) -> None:
            if change.state == SourceState.ENDED:
                self.bus.publish(final(1, source.name, f"{len(source.received)} bytes"))
            self.known[source.name] = change.state
            self.bus.publish(StreamState(stream=source.name, state=change.state, source=source.address))

        source.run(None, report, threading.Event())

    def remove(self, name: str) -> None:
        self._check(name)
        del self.known[name]

    def pause(self, name: str) -> None:
        self._check(name)
        self.paused.add(name)

    def resume(self, name: str) -> None:
        self._check(name)
        self.paused.discard(name)

    def _check(self, name: str) -> None:
        if name not in self.known:
            raise ProtocolError(f"There is no stream {name!r}.")

    def states(self) -> dict[str, SourceState]:
        return dict(self.known)

    def stats(self) -> dict[str, StreamStats]:
        return {
            name: StreamStats(
                state=state,
                position=12.5,
                lag=0.25,
                lost=1.5,
                encoder_passes=42,
                passes_per_second=1.25,
                partials_replaced=3,
                ambient_stretched=2,
                finals=7,
                finals_waiting=0,
            )
            for name, state in self.known.items()
        }


@dataclass
class Daemon:
    """What a test talks to."""

    server: Server
    pipeline: FakePipeline
    bus: Bus
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, query: str = "", **options: Any) -> connect:
        options.setdefault("proxy", None)
        options.setdefault(
            "max_queue", None
        )  # a client that stops reading would also not see the end of its close
        return connect(f"ws://127.0.0.1:{self.port}/ws{query}", compression=None, **options)


@asynccontextmanager
async def running(history: int = 5000, **settings: Any) -> AsyncIterator[Daemon]:
    bus = Bus(history)
    pipeline = FakePipeline(bus)
    server = Server(ServerConfig(port=0, **settings), pipeline, bus, push_factory=FakeSource)
    port = await server.start()
    try:
        yield Daemon(server, pipeline, bus, port)
    finally:
        await server.drain(1)
        for thread in pipeline.threads:
            await asyncio.to_thread(thread.join, 5)


async def say(client: ClientConnection, **message: Any) -> None:
    await client.send(json.dumps(message))


async def hear(client: ClientConnection) -> dict[str, Any]:
    """The next event."""
    async with asyncio.timeout(5):
        event: dict[str, Any] = json.loads(await client.recv())
    return event


async def hear_until(
    client: ClientConnection, wanted: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Events up to and with the first that is wanted."""
    events = [await hear(client)]
    while not wanted(events[-1]):
        events.append(await hear(client))
    return events


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
