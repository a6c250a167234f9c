"""The protocol on /ws, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import threading
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from streamer.events import ErrorEvent, Level, SourceState
from streamer.server import messages, native, pushed, transport
from tests.server.conftest import Daemon, final, hear, hear_until, partial, running, say, until

pytestmark = pytest.mark.anyio


def level(stream: str = "a") -> Level:
    return Level(stream=stream, start=0, end=0.1, rms_db=-20, peak_db=-10, bands=[])


async def closed(client: Any) -> tuple[int, str]:
    """Read on until the daemon closes; its code and reason."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
        await client.wait_closed()
    return client.close_code, client.close_reason


async def test_hello_comes_first_and_a_silent_client_gets_everything_but_levels() -> None:
    async with running() as daemon:
        daemon.bus.publish(final(1))
        async with daemon.connect() as client:
            hello = await hear(client)
            assert hello["type"] == "hello"
            assert (hello["last_seq"], hello["oldest_seq"], hello["seq"]) == (1, 1, 0)
            assert hello["model"] == "stand-in"
            assert hello["streams"] == {"a": "live"}
            assert hello["instance"] == daemon.bus.instance
            daemon.bus.publish(level())
            daemon.bus.publish(partial("hel"))
            daemon.bus.publish(final(2))
            assert [(await hear(client))["seq"] for _ in range(2)] == [3, 4]


async def test_subscribe_chooses_streams_and_types() -> None:
    async with running() as daemon, daemon.connect() as client:
        await say(client, type="subscribe", streams=["b"], types=["level", "transcript.final"])
        await until(lambda: any(s.filter.types for s in daemon.bus._subscriptions))
        for stream in ("a", "b"):
            for event in (level(stream), partial("x", stream), final(1, stream)):
                daemon.bus.publish(event)
        daemon.bus.publish(ErrorEvent(code="x", message="of the daemon"))
        await hear(client)
        assert [(await hear(client))["seq"] for _ in range(2)] == [4, 6]


@pytest.mark.parametrize("by", ["query", "message"])
async def test_since_brings_what_was_missed_first(by: str) -> None:
    async with running() as daemon:
        for number in range(200):
            daemon.bus.publish(final(number))
            daemon.bus.publish(partial("x"))
        query = "?since=101&types=transcript.final&streams=a,b" if by == "query" else ""
        async with daemon.connect(query) as client:
            if by == "message":
                await say(client, type="subscribe", since=101)
            daemon.bus.publish(final(200))
            events = await hear_until(client, lambda event: event.get("utterance") == 200)
            assert [event["seq"] for event in events[1:]] == list(range(103, 402, 2))


async def test_history_that_is_gone_is_said() -> None:
    async with running(history=5) as daemon:
        for number in range(20):
            daemon.bus.publish(final(number))
        async with daemon.connect("?since=3") as client:
            assert (await hear(client))["oldest_seq"] == 16
            error = await hear(client)
            assert (error["type"], error["code"]) == ("error", "history_lost")
            assert "4 to 15" in error["message"]
            assert [(await hear(client))["seq"] for _ in range(5)] == [16, 17, 18, 19, 20]


async def test_reconnecting_with_since_misses_nothing_while_threads_publish() -> None:
    async with running(client_queue=64) as daemon:
        expected: list[int] = []
        daemon.bus.add_sink(lambda event: None if event.droppable else expected.append(event.seq))

        def work(seed: int) -> None:
            for number in range(150):
                daemon.bus.publish(final(number))
                daemon.bus.publish(partial("x"))
                if random.Random(seed + number).random() < 0.3:
                    time.sleep(0.002)

        threads = [threading.Thread(target=work, args=(n,), name=f"publisher-{n}") for n in range(2)]
        for thread in threads:
            thread.start()
        seen: list[int] = []
        since = 0
        while any(thread.is_alive() for thread in threads) or seen[-1:] != expected[-1:]:
            async with daemon.connect(f"?since={since}") as client:
                try:
                    for _ in range(40):
                        async with asyncio.timeout(0.3):
                            event = json.loads(await client.recv())
                        assert event["type"] != "error"
                        since = max(since, event["seq"])
                        if event["type"] == "transcript.final":
                            seen.append(event["seq"])
                except (TimeoutError, ConnectionClosed):
                    continue
        assert seen == expected


async def test_pause_and_resume() -> None:
    async with running() as daemon, daemon.connect() as client:
        await hear(client)
        await say(client, type="pause", stream="a")
        await until(lambda: daemon.pipeline.paused == {"a"})
        await say(client, type="resume", stream="a")
        await until(lambda: not daemon.pipeline.paused)
        await say(client, type="pause", stream="nobody")
        assert (await hear(client))["code"] == "unknown_stream"


async def test_pushed_audio_arrives_to_the_byte_and_gets_its_final() -> None:
    pcm = random.Random(1).randbytes(50_000)
    async with running() as daemon, daemon.connect() as client:
        await say(client, type="audio.open", stream="phone", rate=48_000, encoding="f32le", channels=2)
        at = 0
        for size in (2, 640, 1000, 20_000, 50_000):
            await client.send(pcm[at : at + size])
            at = min(len(pcm), at + size)
        await say(client, type="audio.close")
        events = await hear_until(client, lambda event: event.get("state") == "ended")
        source = daemon.pipeline.sources["phone"]
        assert (source.rate, source.encoding, source.channels) == (48_000, "f32le", 2)
        assert bytes(source.received) == pcm
        assert [event["type"] for event in events[1:]] == ["stream.state", "transcript.final", "stream.state"]
        assert events[2]["text"] == "50000 bytes"
        await until(lambda: "phone" not in daemon.pipeline.states())  # the name is free again
        await say(client, type="audio.open", stream="phone")
        assert (await hear(client))["state"] == "live"


async def test_a_client_that_leaves_ends_its_stream() -> None:
    async with running() as daemon, daemon.connect() as listener:
        async with daemon.connect() as client:
            await say(client, type="audio.open", stream="phone")
            await client.send(b"\0" * 320)
            await until(lambda: "phone" in daemon.pipeline.sources)
        events = await hear_until(listener, lambda event: event["type"] == "transcript.final")
        assert events[-1]["text"] == "320 bytes"


async def test_a_client_that_sends_faster_than_the_pipeline_takes_is_held_back() -> None:
    async with running() as daemon, daemon.connect() as client:
        await say(client, type="audio.open", stream="slow")
        await client.send(bytes(200_000))
        await client.send(bytes(1000))
        await until(lambda: "slow" in daemon.pipeline.sources)
        await asyncio.sleep(0.1)
        source = daemon.pipeline.sources["slow"]
        assert len(source.received) == pushed.PIECE
        daemon.bus.publish(final(1))  # events flow meanwhile
        await hear_until(client, lambda event: event["type"] == "transcript.final")
        source.finished.set()
        await until(lambda: len(source.received) == 201_000)


async def test_pings_find_the_dead_and_spare_who_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PING_INTERVAL", "PING_TIMEOUT", "CLOSE_GRACE"):
        monkeypatch.setattr(transport, name, 0.1)
    async with running() as daemon, daemon.connect() as idle, daemon.connect() as pushing:
        dead = stalled_client(daemon.port)
        await until(lambda: daemon.bus.clients == 3)
        await say(pushing, type="audio.open", stream="slow")

        async def push() -> None:
            for _ in range(4):
                await pushing.send(bytes(messages.LARGEST_AUDIO))

        flood = asyncio.create_task(push())
        await until(lambda: daemon.bus.clients == 2)
        await asyncio.sleep(0.4)
        assert daemon.bus.clients == 2
        daemon.pipeline.sources["slow"].finished.set()
        await flood
        daemon.bus.publish(final(1))
        for client in (idle, pushing):
            await hear_until(client, lambda event: event["type"] == "transcript.final")
        dead.close()


@pytest.mark.parametrize(
    ("options", "messages", "code"),
    [
        ({"allow_push": False}, [{"stream": "x"}], "push_refused"),
        ({"max_pushed_streams": 0}, [{"stream": "x"}], "push_refused"),
        ({}, [{"stream": "x"}, {"stream": "y"}], "push_refused"),
        ({}, [{"stream": "a"}], "stream_exists"),
        ({}, [{"stream": "full"}], "push_refused"),
        ({}, [{"stream": "x", "rate": 1}], "bad_message"),
        ({}, [{"stream": "x", "encoding": "mp3"}], "bad_message"),
        ({}, [{"stream": "white space"}], "bad_message"),
    ],
)
async def test_push_is_refused(options: dict[str, Any], messages: list[dict[str, Any]], code: str) -> None:
    async with running(**options) as daemon, daemon.connect("?types=error") as client:
        for message in messages:
            await say(client, type="audio.open", **message)
        await hear(client)
        assert (await hear(client))["code"] == code


BAD: list[tuple[str | bytes, str]] = [
    ("", "bad_json"),
    ("{", "bad_json"),
    ("[" * 10_000, "bad_json"),
    ("null", "bad_message"),
    ('{"type": "nonsense"}', "bad_message"),
    ('{"type": "subscribe", "since": "1"}', "bad_message"),
    ('{"type": "subscribe", "since": true}', "bad_message"),
    ('{"type": "subscribe", "since": -1}', "bad_message"),
    ('{"type": "subscribe", "colour": 1}', "bad_message"),
    ('{"type": "subscribe", "types": ["sound.start"]}', "bad_message"),
    ('{"type": "audio.close"}', "no_audio_stream"),
    (b"\0\0", "no_audio_stream"),
    (" " * (messages.LARGEST_TEXT + 1), "too_big"),
]


async def test_bad_input_is_answered_and_the_connection_stays() -> None:
    async with running() as daemon, daemon.connect() as client:
        await hear(client)
        for sent, code in BAD:
            await client.send(sent)
            error = await hear(client)
            assert (error["type"], error["code"], error["seq"]) == ("error", code, 0), sent
        daemon.bus.publish(final(1))
        assert (await hear(client))["type"] == "transcript.final"


async def test_wrong_type_names_get_a_suggestion_and_a_bad_query_an_error() -> None:
    async with running() as daemon, daemon.connect("?types=transcript.finale") as client:
        await hear(client)
        error = await hear(client)
        assert error["code"] == "bad_query"
        assert "did you mean 'transcript.final'" in error["message"]


async def test_odd_audio_is_answered() -> None:
    async with running() as daemon, daemon.connect("?types=error") as client:
        await say(client, type="audio.open", stream="x")
        await client.send(b"abc")
        await hear(client)
        assert (await hear(client))["code"] == "refused"
        await client.send(bytes(messages.LARGEST_AUDIO + 2))
        assert (await hear(client))["code"] == "too_big"
        assert daemon.pipeline.sources["x"].received == b""


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
NEARLY = st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "pause", "resume", "audio.open", "audio.close", "x"])},
    optional={
        "stream": JSON | st.sampled_from(["a", "x"]),
        "streams": JSON,
        "types": JSON | st.lists(st.sampled_from(messages.TYPES), max_size=3),
        "since": JSON | st.integers(0, 10),
        "rate": JSON,
        "encoding": JSON,
    },
)
WIRE = st.binary(max_size=50) | st.text(max_size=50) | (JSON | NEARLY).map(json.dumps)


def test_no_input_kills_the_connection_or_the_server(caplog: pytest.LogCaptureFixture) -> None:
    async def check(daemon: Daemon, sent: list[str | bytes]) -> None:
        async with daemon.connect() as client:
            for one in sent:
                await client.send(one)
            await say(client, type="subscribe")
            await say(client, type="pause", stream="the end")
            await hear_until(client, lambda event: "the end" in event.get("message", ""))

    with asyncio.Runner() as runner:
        context = running()
        daemon = runner.run(context.__aenter__())

        @settings(max_examples=60, deadline=None)
        @given(st.lists(WIRE, max_size=12))
        def fuzz(sent: list[str | bytes]) -> None:
            runner.run(check(daemon, sent))

        fuzz()
        runner.run(context.__aexit__(None, None, None))
    assert not [record for record in caplog.records if record.exc_info]


async def test_flooding_ends_the_connection_and_only_that() -> None:
    async with running() as daemon, daemon.connect() as other, daemon.connect() as client:
        for _ in range(native.FAULTS + 1):
            try:
                await client.send("nonsense")
            except ConnectionClosed:
                break
        code, reason = await closed(client)
        assert code == CloseCode.POLICY_VIOLATION
        assert "refused" in reason
        daemon.bus.publish(final(1))
        assert len(await hear_until(other, lambda event: event["type"] == "transcript.final")) == 2


async def test_a_place_too_many_is_told_to_try_later() -> None:
    async with running(max_clients=1) as daemon, daemon.connect() as first:
        await hear(first)
        async with daemon.connect() as second:
            code, reason = await closed(second)
            assert code == CloseCode.TRY_AGAIN_LATER
            assert "taken" in reason


async def test_hello_waits_for_the_model_and_who_leaves_before_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as daemon:
        daemon.pipeline.ready = False
        async with daemon.connect():
            pass
        async with daemon.connect() as client:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.recv(), 0.2)
            daemon.pipeline.ready = True
            assert (await hear(client))["type"] == "hello"
            await until(lambda: daemon.bus.clients == 1)
    assert "failed" not in caplog.text


def stalled_client(port: int, query: str = "") -> socket.socket:
    """Shakes hands and then never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(
        f"GET /ws{query} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return client


async def test_a_stalled_client_is_cut_off_and_a_healthy_one_notices_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transport, "CLOSE_GRACE", 0.3)
    async with running(client_queue=32) as daemon:
        stalled = stalled_client(daemon.port)
        async with daemon.connect() as healthy:
            await hear(healthy)
            await until(lambda: daemon.bus.clients == 2)
            await asyncio.sleep(native.GRACE)
            worst = 0.0
            text = "x" * 8000
            for number in range(250):
                began = time.perf_counter()
                daemon.bus.publish(partial(text))
                daemon.bus.publish(final(number, text=text))
                await hear(healthy)
                assert (await hear(healthy))["utterance"] == number
                worst = max(worst, time.perf_counter() - began)
            assert worst < 5  # a tenth of what it would take if it waited for the stalled one
            await until(lambda: daemon.bus.clients_disconnected == 1)
            assert daemon.bus.events_dropped > 10
            assert daemon.bus.clients == 1
            server = daemon.server._server
            assert server is not None
            await until(lambda: len(server.clients) == 1)  # and its socket is gone too
        stalled.close()


async def test_a_client_that_pauses_and_reads_on_misses_nothing_and_gets_nothing_twice() -> None:
    async with running(client_queue=1000) as daemon:
        small = socket.socket()
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await asyncio.to_thread(small.connect, ("127.0.0.1", daemon.port))
        client = await daemon.connect(sock=small, max_queue=1)
        await hear(client)
        await asyncio.sleep(native.GRACE)
        for pauses in (True, False, True, False):
            if pauses:
                client.transport.pause_reading()
            for number in range(100):
                daemon.bus.publish(final(number, text="x" * 10_000))
                if number % 7 == 0:
                    await asyncio.sleep(0.001)
            if pauses:
                assert sum(len(one) for one in daemon.bus._subscriptions) > 0
                client.transport.resume_reading()
            assert [(await hear(client))["utterance"] for _ in range(100)] == list(range(100))
        await until(lambda: daemon.bus.idle)
        await client.close()


async def test_a_slow_client_that_reads_again_is_told_why() -> None:
    async with running(client_queue=16) as daemon, daemon.connect(max_queue=1) as slow:
        await hear(slow)
        await asyncio.sleep(native.GRACE)
        slow.transport.pause_reading()
        for number in range(1000):
            daemon.bus.publish(final(number, text="x" * 20_000))
            await asyncio.sleep(0)
            if daemon.bus.clients_disconnected:
                break
        slow.transport.resume_reading()
        code, reason = await closed(slow)
        assert code == CloseCode.TRY_AGAIN_LATER
        assert "since" in reason


async def test_a_client_that_takes_nothing_while_catching_up_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "SEND_TIMEOUT", 0.2)
    monkeypatch.setattr(transport, "CLOSE_GRACE", 0.2)
    async with running() as daemon:
        for number in range(300):
            daemon.bus.publish(final(number, text="x" * 8000))
        stalled = stalled_client(daemon.port, "?since=0")
        await until(lambda: daemon.bus.clients_disconnected == 1)
        stalled.close()


async def test_two_hundred_clients_get_the_same_finals() -> None:
    async with running() as daemon:
        clients = [await daemon.connect().__aenter__() for _ in range(200)]
        await until(lambda: daemon.bus.clients == 200)
        began = time.perf_counter()

        def publish() -> None:
            for number in range(20):
                daemon.bus.publish(partial("x"))
                daemon.bus.publish(final(number))

        thread = threading.Thread(target=publish, name="publisher")
        thread.start()

        async def listen(client: Any) -> list[int]:
            events = await hear_until(
                client, lambda event: event.get("text") and event.get("utterance") == 19
            )
            return [event["utterance"] for event in events if event["type"] == "transcript.final"]

        results = await asyncio.gather(*(listen(client) for client in clients))
        assert results == [list(range(20))] * 200
        assert time.perf_counter() - began < 8
        assert daemon.bus.clients_disconnected == 0
        thread.join()
        await asyncio.gather(*(client.close() for client in clients))


async def test_memory_stays_bounded_with_a_stalled_client_and_connections_that_come_and_go() -> None:
    async with running(history=50, client_queue=16) as daemon:
        stalled = stalled_client(daemon.port)

        async def churn(rounds: int) -> None:
            for number in range(rounds):
                for _ in range(20):
                    daemon.bus.publish(partial("x" * 500))
                    daemon.bus.publish(final(number, text="x" * 500))
                async with daemon.connect("?since=0") as client:
                    await hear(client)

        await churn(5)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await churn(30)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert grown < 1_000_000  # 1.2 MB were published
        assert len(daemon.bus._history) == 50
        await until(lambda: daemon.bus.clients <= 1)
        stalled.close()


async def test_states_of_pushed_streams_are_forgotten() -> None:
    async with running(max_pushed_streams=2) as daemon:
        for number in range(4):
            async with daemon.connect() as client:
                await say(client, type="audio.open", stream=f"phone-{number}")
                await hear_until(client, lambda event: event.get("state") == "live")
            await until(lambda: daemon.pipeline.states() == {"a": SourceState.LIVE})
