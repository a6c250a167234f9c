"""The terminal client against a real server."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from streamer.bus import Bus
from streamer.cli import listen as module
from streamer.cli.listen import Listener, websocket_url
from streamer.cli.screen import Screen
from streamer.config import ServerConfig
from streamer.errors import ConfigError, StreamerError
from streamer.events import SoundStarted
from streamer.server.serve import Server
from tests.server.conftest import FakePipeline


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://127.0.0.1:8765/ws", "ws://127.0.0.1:8765/ws"),
        ("http://box:80/", "ws://box:80/ws"),
        ("https://box/proxy/ws", "wss://box/proxy/ws"),
        ("box:9000", "ws://box:9000/ws"),
        ("[::1]:9000", "ws://[::1]:9000/ws"),
    ],
)
def test_addresses_as_people_paste_them(text: str, url: str) -> None:
    assert websocket_url(text) == url


@pytest.mark.parametrize("text", ["rtsp://box/", "ws://", "", "box:port", "ws://[::1/ws"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected an address"):
        websocket_url(text)


async def serve(bus: Bus, port: int = 0, token: str = "") -> tuple[Server, int]:
    server = Server(ServerConfig(port=port, token=token), FakePipeline(bus), bus)
    return server, await server.start()


def dog(number: int) -> SoundStarted:
    return SoundStarted(stream="a", sound=number, label=f"Dog {number}", start=float(number), score=0.5)


async def until(out: io.StringIO, text: str) -> None:
    async with asyncio.timeout(10):
        while text not in out.getvalue():  # noqa: ASYNC110  another task's output
            await asyncio.sleep(0.01)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_it_reconnects_and_catches_up_on_what_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_FIRST", 0.05)

    async def story() -> str:
        bus = Bus(100)
        server, port = await serve(bus)
        out = io.StringIO()
        task = asyncio.create_task(Listener(f"ws://127.0.0.1:{port}/ws", "", Screen(out)).run())
        await until(out, "connected")
        bus.publish(dog(1))
        await until(out, "Dog 1")
        await server.drain(2)
        bus.publish(dog(2))  # nobody hears it
        server, _ = await serve(bus, port)
        await until(out, "Dog 2")
        bus.publish(dog(3))
        await until(out, "Dog 3")
        await ended(task)
        await server.drain(2)
        return out.getvalue()

    text = asyncio.run(story())
    assert [text.count(f"[Dog {n}]") for n in (1, 2, 3)] == [1, 1, 1]
    assert "trying again" in text


def test_after_a_restart_of_the_daemon_it_gets_everything_of_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "RETRY_FIRST", 0.05)

    async def story() -> str:
        bus = Bus(100)
        server, port = await serve(bus)
        out = io.StringIO()
        task = asyncio.create_task(Listener(f"ws://127.0.0.1:{port}/ws", "", Screen(out)).run())
        await until(out, "connected")
        for number in range(1, 6):
            bus.publish(dog(number))
        await until(out, "Dog 5")
        await server.drain(2)
        bus = Bus(100)
        bus.publish(dog(101))  # sequence number 1 again
        server, _ = await serve(bus, port)
        await until(out, "Dog 101")
        await ended(task)
        await server.drain(2)
        return out.getvalue()

    assert asyncio.run(story()).count("[Dog 101]") == 1


def test_json_is_what_the_daemon_sent_and_since_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    async def story() -> None:
        bus = Bus(100)
        for number in (1, 2, 3):
            bus.publish(dog(number))
        server, port = await serve(bus, token="geheim")
        task = asyncio.create_task(Listener(f"ws://127.0.0.1:{port}/ws", "geheim", None, since=1).run())
        for _ in range(500):
            await asyncio.sleep(0.01)
            if bus.idle and bus.clients:
                break
        await asyncio.sleep(0.4)
        await ended(task)
        await server.drain(2)

    asyncio.run(story())
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["type"] for event in events] == ["hello", "sound.started", "sound.started"]
    assert [event["seq"] for event in events[1:]] == [2, 3]


def test_a_wrong_token_and_nobody_there_are_clear_errors() -> None:
    async def story() -> None:
        server, port = await serve(Bus(10), token="geheim")
        with pytest.raises(StreamerError, match="--token"):
            await Listener(f"ws://127.0.0.1:{port}/ws", "wrong", None).run()
        await server.drain(1)
        with pytest.raises(StreamerError, match=r"no daemon answers.*streamer demo") as raised:
            await Listener(f"ws://127.0.0.1:{port}/ws?token=geheim", "", None).run()
        assert "geheim" not in str(raised.value)

    asyncio.run(story())
