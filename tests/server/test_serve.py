"""Starting, refusing addresses, draining."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time

import httpx
import pytest

from streamer.bus import Bus
from streamer.config import ServerConfig
from streamer.errors import ConfigError, StreamerError
from streamer.server.serve import Server
from tests.server.conftest import FakePipeline, final, running, say, until
from tests.server.test_native import stalled_client

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])
def test_another_address_needs_a_token(host: str) -> None:
    bus = Bus(1)
    with pytest.raises(ConfigError, match=r"server\.token"):
        Server(ServerConfig(host=host), FakePipeline(bus), bus)
    Server(ServerConfig(host=host, token="secret"), FakePipeline(bus), bus)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.8.0.1", "::1"])
def test_loopback_needs_none(host: str) -> None:
    bus = Bus(1)
    Server(ServerConfig(host=host), FakePipeline(bus), bus)


async def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        bus = Bus(1)
        server = Server(ServerConfig(port=port), FakePipeline(bus), bus)
        with pytest.raises(StreamerError, match=rf"port {port}.*--port 0"):
            await server.start()


async def test_no_signal_handler_is_touched() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with running():
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_drain_delivers_the_last_finals_and_says_goodbye() -> None:
    async with running() as daemon:
        clients = [
            await daemon.connect(query).__aenter__() for query in ("", "?since=0", "?types=transcript.final")
        ]
        await until(lambda: daemon.bus.clients == 3)
        async with httpx.AsyncClient() as web:  # an idle keep-alive connection must not hold it up
            await web.get(daemon.url + "/healthz")
            for number in range(100):
                daemon.bus.publish(final(number))
            began = time.perf_counter()
            assert await daemon.server.drain(5)
            assert time.perf_counter() - began < 2
        for client in clients:
            events = [json.loads(message) async for message in client]
            assert [event["utterance"] for event in events[1:]] == list(range(100))
            assert client.close_code == 1001
        with pytest.raises(OSError):
            await daemon.connect().__aenter__()
        daemon.bus.publish(final(1))  # harmless


async def test_drain_ends_in_time_with_a_stalled_client() -> None:
    async with running() as daemon:
        stalled = stalled_client(daemon.port)
        await until(lambda: daemon.bus.clients == 1)
        await asyncio.sleep(0.3)
        for number in range(100):
            daemon.bus.publish(final(number, text="x" * 20_000))
        began = time.perf_counter()
        assert not await daemon.server.drain(0.5)
        assert time.perf_counter() - began < 2
        stalled.close()


async def test_stopping_while_the_model_loads_says_goodbye_at_once() -> None:
    async with running() as daemon:
        daemon.pipeline.ready = False
        async with daemon.connect() as client:
            began = time.perf_counter()
            assert await daemon.server.drain(5)
            assert [message async for message in client] == []
            assert client.close_code == 1001
            assert time.perf_counter() - began < 2


async def test_drain_ends_pushed_streams_and_the_client_gets_the_final() -> None:
    async with running() as daemon, daemon.connect() as client:
        await say(client, type="audio.open", stream="phone")
        await client.send(b"\0" * 64)
        await until(lambda: "phone" in daemon.pipeline.sources)
        await until(lambda: len(daemon.pipeline.sources["phone"].received) == 64)
        daemon.server.finish_pushed()
        await asyncio.to_thread(daemon.pipeline.threads[0].join, 5)
        assert await daemon.server.drain(5)
        assert "64 bytes" in [json.loads(message).get("text") async for message in client]


async def test_it_can_start_again_on_the_same_bus() -> None:
    bus = Bus(10)
    for _ in range(2):
        server = Server(ServerConfig(port=0), FakePipeline(bus), bus)
        assert await server.start() > 0
        assert await server.drain(1)
    assert await server.drain(1)  # twice is harmless
