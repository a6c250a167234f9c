"""The daemon's life with every real part, on a tiny model."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from streamer import app as module
from streamer.app import Daemon, FileRun, Front
from streamer.audio.source import Source
from streamer.audio.spec import open_source, parse_source
from streamer.config import Config, ModelConfig, ServerConfig
from streamer.engine import Engine
from streamer.errors import ModelError, ProtocolError, StreamerError
from streamer.events import Event, SourceState
from tests.cli.tiny import make_model, make_wav


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = make_model(tmp_path_factory.mktemp("models") / "noise")
    return Config(
        model=ModelConfig(name=str(folder), threads=1, precision="fp32"), server=ServerConfig(port=0)
    )


def source(path: Path, config: Config, fast: bool = False) -> Source:
    return open_source(parse_source(str(path)), config.source, fast)


class Life:
    """A daemon in this test's event loop."""

    def __init__(self, config: Config, sources: list[Source], **options: Any) -> None:
        self.events: list[Event] = []
        self.port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ready = asyncio.Event()
        self.daemon = Daemon(
            config,
            sources,
            on_listening=self.port.set_result,
            on_ready=lambda _: self.ready.set(),
            **options,
        )
        self.daemon.sinks.append(self.events.append)
        self.task = asyncio.create_task(self.daemon.run())

    def types(self, prefix: str = "") -> list[str]:
        return [event.type for event in self.events if event.type.startswith(prefix)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not condition():
                await asyncio.sleep(0.01)
                assert not self.task.done(), self.task.result()


def test_once_ends_when_everything_is_out(config: Config, tmp_path: Path) -> None:
    async def story() -> Life:
        path = make_wav(tmp_path / "a.wav", 0.6, 1.5, 1.0, 1.2, 0.4)
        life = Life(config, [source(path, config, fast=True)], once=True, fast=True)
        assert await asyncio.wait_for(life.task, 30) == 0
        return life

    life = asyncio.run(story())
    assert life.types("speech") == ["speech.started", "speech.stopped"] * 2
    assert life.types("transcript.final") == ["transcript.final"] * 2
    assert life.types("sound.s") == ["sound.started", "sound.stopped"]
    states = [event.state for event in life.events if event.type == "stream.state"]  # type: ignore[attr-defined]
    assert states[-1] is SourceState.ENDED
    assert [event.seq for event in life.events] == sorted(event.seq for event in life.events)


def test_once_with_a_source_that_fails_gives_status_1(config: Config, tmp_path: Path) -> None:
    async def story() -> Life:
        good, bad = make_wav(tmp_path / "good.wav", 0.6, 1.0, 0.6), tmp_path / "bad.wav"
        bad.write_bytes(b"nothing of the kind")
        sources = [source(path, config, fast=True) for path in (good, bad)]
        life = Life(config, sources, once=True, fast=True)
        assert await asyncio.wait_for(life.task, 30) == 1
        return life

    life = asyncio.run(story())
    assert "transcript.final" in life.types()
    assert "error" in life.types()


def test_the_server_answers_before_the_model_is_loaded(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamer.pipeline import Pipeline

    build = Pipeline.build.__func__  # type: ignore[attr-defined]

    def slow(cls: type[Pipeline], *args: Any, **options: Any) -> Pipeline:
        time.sleep(0.7)
        return build(cls, *args, **options)

    monkeypatch.setattr(Pipeline, "build", classmethod(slow))

    async def story() -> None:
        life = Life(config, [])
        base = f"http://127.0.0.1:{await life.port}"
        async with httpx.AsyncClient() as client:
            assert (await client.get(base + "/healthz")).status_code == 200
            assert (await client.get(base + "/readyz")).status_code == 503
            await life.ready.wait()
            assert (await client.get(base + "/readyz")).status_code == 200
        life.daemon.stop()
        assert await asyncio.wait_for(life.task, 5) == 0

    asyncio.run(story())


def test_sigterm_gives_an_open_utterance_its_final_and_clients_get_it(config: Config, tmp_path: Path) -> None:
    async def story() -> None:
        path = make_wav(tmp_path / "long.wav", 0.4, 20.0)  # in real time: somebody speaks on and on
        life = Life(config, [source(path, config)])
        async with connect(f"ws://127.0.0.1:{await life.port}/ws") as client:
            await life.until(lambda: "speech.started" in life.types())
            began = time.monotonic()
            os.kill(os.getpid(), signal.SIGTERM)
            received = [json.loads(message) async for message in client]
            assert await asyncio.wait_for(life.task, 6) == 0
        assert time.monotonic() - began < 5
        assert client.close_code == 1001
        kinds = [event["type"] for event in received]
        assert kinds.count("transcript.final") == 1
        assert kinds.index("speech.stopped") < kinds.index("transcript.final")

    asyncio.run(story())


def test_a_second_signal_ends_at_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    monkeypatch.setattr(module.os, "_exit", exits.append)

    async def story() -> None:
        daemon = Daemon(config, [])
        daemon._on_signal(signal.SIGTERM)
        assert exits == []
        daemon._on_signal(signal.SIGTERM)
        assert exits == [143]

    asyncio.run(story())


def test_a_signal_while_the_model_is_loaded_ends_it(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    from streamer.pipeline import Pipeline

    monkeypatch.setattr(Pipeline, "build", classmethod(lambda *_, **__: time.sleep(3)))

    async def story() -> None:
        life = Life(config, [])
        await life.port
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(life.task, 2) == 0

    asyncio.run(story())


def test_a_dead_inference_thread_ends_the_daemon_with_status_1(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> Life:
        life = Life(config, [source(make_wav(tmp_path / "a.wav", 0.4, 20.0), config)])
        await life.ready.wait()

        def die(*_: object) -> None:
            raise RuntimeError("the network fell over")

        monkeypatch.setattr(Engine, "run", die)
        assert await asyncio.wait_for(life.task, 15) == 1
        return life

    life = asyncio.run(story())
    assert any(event.type == "error" and "fell over" in event.message for event in life.events)  # type: ignore[attr-defined]


def test_a_port_in_use_is_said_before_anything_is_loaded(config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        mine = config.model_copy(
            update={"server": ServerConfig(port=port), "model": ModelConfig(name="nosuch")}
        )

        async def story() -> None:
            with pytest.raises(StreamerError, match=str(port)):
                await Daemon(mine, []).run()

        asyncio.run(story())


def test_a_model_that_is_not_there_is_an_error_and_the_port_is_free_again(config: Config) -> None:
    async def story() -> None:
        life = Life(config.model_copy(update={"model": ModelConfig(name="nosuch")}), [])
        port = await life.port
        with pytest.raises(ModelError, match="nosuch"):
            await asyncio.wait_for(life.task, 15)
        with socket.create_server(("127.0.0.1", port)):
            pass

    asyncio.run(story())


def test_a_source_that_cannot_be_added_leaves_no_thread_behind(config: Config, tmp_path: Path) -> None:
    path = make_wav(tmp_path / "a.wav", 0.6, 30.0)
    with pytest.raises(StreamerError, match="already"):
        asyncio.run(Daemon(config, [source(path, config), source(path, config)]).run())
    names = {thread.name.split()[0] for thread in threading.enumerate()}
    assert not names & {"source", "listener", "inference"}


def test_a_service_manager_hears_ready_alive_and_stopping(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(0.1)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")

        async def story() -> None:
            life = Life(config, [])
            await life.ready.wait()
            await asyncio.sleep(0.5)
            life.daemon.stop()
            await asyncio.wait_for(life.task, 6)

        asyncio.run(story())
        said = []
        try:
            while True:
                said.append(manager.recv(1024).decode().split("\n")[0])
        except TimeoutError:
            pass
    assert said[0] == "READY=1"
    assert said.count("WATCHDOG=1") >= 3
    assert said[-1] == "STOPPING=1"


def test_the_server_sees_no_streams_before_the_model_is_there() -> None:
    front = Front("tiny")
    assert (front.ready, front.states(), front.stats(), front.model.name) == (False, {}, {}, "tiny")
    with pytest.raises(ProtocolError, match="still being loaded"):
        front.pause("a")


def test_files_one_after_the_other_and_a_broken_one_between(config: Config, tmp_path: Path) -> None:
    good = make_wav(tmp_path / "good.wav", 0.6, 1.5, 0.6)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"nothing of the kind")
    seconds: list[float] = []
    every: list[Event] = []
    with FileRun(config) as run:
        first = run.transcribe(str(good), seconds.append, every.append)
        broken = run.transcribe(str(bad))
        missing = run.transcribe(str(tmp_path / "missing.wav"))
        second = run.transcribe(str(good))
    assert "bad.wav" in broken.error
    assert missing.error == "there is no such file"
    assert first.error == second.error == ""
    assert len(first.transcript.finals) == 1
    assert [f.text for f in first.transcript.finals] == [f.text for f in second.transcript.finals]
    assert [s.label for s in first.transcript.heard()] == ["Dog"]
    assert seconds[-1] == pytest.approx(2.7, abs=0.05)
    assert {"sound.tags", "sound.started", "transcript.final", "stream.state"} <= {e.type for e in every}
    assert [e for e in every if e.type == "transcript.final"] == first.transcript.finals
    assert {e.stream for e in every} == {"good.wav"}
