"""Many clients, slow ones, and ones that come and go, on a whole daemon that is fed faster than real time."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.tiny import speech_like
from tests.system.daemon import Event, Process, is_end, listen, pcm, push

DROPPABLE = {"transcript.partial", "sound.tags", "level", "stats"}
QUEUE = 64
NOWHERE = "none=http://127.0.0.1:9/"
UTTERANCE = 1.2
"""Seconds of half speech, half silence."""


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[Process]:
    settings = {"server.client_queue": QUEUE, "source.retry_longest": 60, "source.retry_first": 60}
    with Process("run", "--source", NOWHERE, model=tiny, settings=settings) as daemon:
        yield daemon
        assert daemon.terminate()[0] == 0
    assert not any("Traceback" in line for line in daemon.log)


def talk(utterances: int) -> bytes:
    one = np.concatenate([speech_like(0.6), np.zeros(int(16_000 * (UTTERANCE - 0.6)), np.float32)])
    return pcm(np.tile(one, utterances))


def kept(events: list[Event]) -> list[int]:
    """The numbers of the events that must not be dropped."""
    return [e["seq"] for e in events if e["type"] not in DROPPABLE and e["seq"]]


def published(daemon: Process, stream: str) -> list[int]:
    """The same, of everything that was said about a stream, from the daemon's own standard output."""
    daemon.until(lambda: any(is_end(e, stream) for e in list(daemon.events)))
    return kept([e for e in list(daemon.events) if e["stream"] == stream])


def test_two_hundred_clients_miss_nothing(daemon: Process) -> None:
    async def story() -> list[list[Event]]:
        async with asyncio.timeout(60):
            clients = await asyncio.gather(*(daemon.connect("?streams=crowd") for _ in range(200)))
            hearing = [
                asyncio.create_task(listen(client, lambda e: is_end(e, "crowd"))) for client in clients
            ]
            async with daemon.connect() as pusher:
                await push(pusher, "crowd", talk(6))
                everything = await asyncio.gather(*hearing)
            await asyncio.gather(*(client.close() for client in clients))
            return everything

    before = len(daemon.of("stats"))
    everything = asyncio.run(story())
    wanted = published(daemon, "crowd")
    assert len(wanted) >= 6 * 3
    for events in everything:
        assert kept([e for e in events if e["stream"] == "crowd"]) == wanted
        assert [e["seq"] for e in events[1:]] == sorted({e["seq"] for e in events[1:]})
    daemon.until(lambda: len(daemon.of("stats")) > before + 1)
    assert daemon.of("stats")[-1]["clients_disconnected"] == 0


def test_a_client_that_comes_and_goes_misses_nothing(daemon: Process) -> None:
    async def visitor() -> list[Event]:
        """Drops the connection, without a goodbye every other time, after every few events."""
        events: list[Event] = []
        query, number = "?streams=visited", 0
        while not any(is_end(e, "visited") for e in events):
            async with daemon.connect(query) as client:
                hello = json.loads(await client.recv())
                try:
                    async with asyncio.timeout(10):
                        for _ in range(5 + number % 7):
                            events.append(json.loads(await client.recv()))
                            if is_end(events[-1], "visited"):
                                break
                finally:
                    if number % 2:
                        client.transport.abort()
            last = max([e["seq"] for e in events], default=hello["last_seq"])
            query, number = f"?streams=visited&since={last}&instance={hello['instance']}", number + 1
            await asyncio.sleep(0.05 * (number % 3))
        assert number > 5
        return events

    async def story() -> list[Event]:
        async with asyncio.timeout(60), daemon.connect() as pusher:
            visiting = asyncio.create_task(visitor())
            await asyncio.sleep(0.3)
            audio, at = talk(20), 0
            await pusher.send(json.dumps({"type": "audio.open", "stream": "visited", "rate": 16_000}))
            while at < len(audio):
                await pusher.send(audio[at : at + 16_000])
                at += 16_000
                await asyncio.sleep(0.05)  # ten times as fast as real time
            await pusher.send(json.dumps({"type": "audio.close"}))
            return await visiting

    events = asyncio.run(story())
    wanted = published(daemon, "visited")
    assert len(wanted) >= 20 * 3
    assert kept([e for e in events if e["stream"] == "visited"]) == wanted
    assert not [e for e in events if e["type"] == "error"]


def stalled_client(port: int) -> socket.socket:
    """Asks for everything and then never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    types = "level,transcript.final,transcript.partial,sound.tags,speech.started,speech.stopped"
    client.sendall(
        f"GET /ws?types={types} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return client


def test_a_stalled_client_does_not_disturb_a_healthy_one(daemon: Process) -> None:
    """First what may be dropped is, then the stalled one is: it could no longer be told the truth."""

    async def story() -> tuple[list[Event], float]:
        async with (
            asyncio.timeout(60),
            daemon.connect("?streams=busy") as healthy,
            daemon.connect() as pusher,
        ):
            hearing = asyncio.create_task(listen(healthy, lambda e: is_end(e, "busy")))
            began = time.monotonic()
            await push(pusher, "busy", talk(150))
            return await hearing, time.monotonic() - began

    stalled = stalled_client(daemon.port)
    try:
        before = daemon.of("stats")[-1] if daemon.of("stats") else None
        events, took = asyncio.run(story())
        wanted = published(daemon, "busy")
        assert len(wanted) >= 150 * 3
        assert kept([e for e in events if e["stream"] == "busy"]) == wanted
        assert took < 150 * UTTERANCE / 3  # several times as fast as real time
        gone = (before["clients_disconnected"] if before else 0) + 1
        daemon.until(lambda: daemon.of("stats")[-1]["clients_disconnected"] == gone, 10)
        assert daemon.of("stats")[-1]["events_dropped"] > 10
    finally:
        stalled.close()
