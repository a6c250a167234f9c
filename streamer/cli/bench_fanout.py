"""``streamer bench fanout``: captions to many websocket clients, against websockets' own broadcast."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import click

from streamer.cli.output import json_option, records
from streamer.errors import StreamerError

COLUMNS = ("who", "clients", "messages_per_second", "ratio", "CPU_us")
CAPTION = "transcript.partial"
OURS, THEIRS = "streamer", "websockets.broadcast"
TOGETHER = 50
"""Clients that connect at the same time."""

PATIENCE = 120.0
"""Seconds that clients have for a round."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages a second over all clients, the median of the rounds; ratio: to THEIRS, round by round.

    cpu_us: microseconds on a processor that the sender needs for one message to one client; the clients,
    who share the machine, are not in it.
    """

    who: str
    clients: int
    messages_per_second: float
    ratio: float
    cpu_us: float


@click.command(short_help="Websocket clients, against websockets.broadcast.")
@click.option("--clients", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--messages", type=click.IntRange(1), default=50, show_default=True, help="Captions a round.")
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Rounds.")
@json_option
def fanout(clients: int, messages: int, repeat: int, as_json: bool) -> None:
    """How fast captions of one stream reach many clients: this server and plain broadcast, in turn.

    Both send the same text without compression, from this process; the clients are in another.
    """
    import asyncio

    records(asyncio.run(measure(clients, messages, repeat)), COLUMNS, _cells, as_json)


def _cells(rate: Rate) -> tuple[object, ...]:
    return (
        rate.who,
        rate.clients,
        f"{rate.messages_per_second:.0f}",
        f"{rate.ratio:.2f}",
        f"{rate.cpu_us:.1f}",
    )


async def measure(clients: int, messages: int, repeat: int) -> list[Rate]:
    """Both in turn, `repeat` times after one unmeasured round. StreamerError where clients do not get all."""
    import asyncio

    from websockets.asyncio.server import ServerConnection, broadcast, serve

    from streamer.app import Front
    from streamer.bus import Bus
    from streamer.config import ServerConfig
    from streamer.events import TranscriptPartial
    from streamer.server.serve import Server

    class Ready(Front):
        """No streams, but clients are welcome."""

        @property
        def ready(self) -> bool:
            """Always."""
            return True

    allow_files(3 * clients + 100)
    bus = Bus(0)
    # Nothing may be dropped: what is measured is how fast everything arrives.
    config = ServerConfig(port=0, max_clients=clients, client_queue=max(16, 2 * messages))
    server = Server(config, Ready("none"), bus)
    event = TranscriptPartial(
        stream="a",
        utterance=1,
        start=1.0,
        end=4.2,
        text="what is said in one stream so far",
        stable="what is",
    )
    text = Bus(0).publish(event).model_dump_json()  # with a number and a time, as ours
    connected: set[ServerConnection] = set()

    async def hold(connection: ServerConnection) -> None:
        connected.add(connection)
        await connection.wait_closed()

    async def plain() -> None:
        for _ in range(messages):
            broadcast(connected, text)
            await asyncio.sleep(0)

    async def ours() -> None:
        for _ in range(messages):
            bus.publish(event)
            await asyncio.sleep(0)

    port = await server.start()
    async with serve(hold, "127.0.0.1", 0, compression=None, max_queue=None) as other:
        addresses = [f"ws://127.0.0.1:{port}/ws", f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}"]
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=listen, args=(there, addresses, clients, messages), daemon=True)
        process.start()
        there.close()
        try:
            await _told(here)
            taken = [[await _round(send, here) for send in (ours, plain)] for _ in range(repeat + 1)][1:]
        finally:
            process.terminate()
            here.close()
            await server.drain(1.0)
    count = clients * messages
    return [
        Rate(
            who,
            clients,
            statistics.median(count / both[i][0] for both in taken),
            statistics.median(both[1][0] / both[i][0] for both in taken),
            statistics.median(1e6 * both[i][1] / count for both in taken),
        )
        for i, who in enumerate((OURS, THEIRS))
    ]


async def _round(send: Callable[[], Any], here: Connection) -> tuple[float, float]:
    """Seconds from the first message until every client has the last, and this process's on a processor."""
    began, used = time.perf_counter(), time.process_time()
    await send()
    return float(await _told(here)) - began, time.process_time() - used


async def _told(here: Connection) -> float:
    """What the clients' process says next: a time. StreamerError where it says nothing."""
    import asyncio

    try:
        if await asyncio.to_thread(here.poll, PATIENCE):
            return float(here.recv())
    except EOFError:
        pass
    raise StreamerError(
        f"expected all clients to have everything within {PATIENCE:g} s, found some that have not"
    )


def allow_files(count: int) -> None:
    """Let this process have so many connections open, as far as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(there: Connection, addresses: Sequence[str], clients: int, messages: int) -> None:
    """The clients' process: tells when all are connected, and when all have one address's captions."""
    import asyncio

    allow_files(3 * clients + 100)
    asyncio.run(_listen(there, addresses, clients, messages))


async def _listen(there: Connection, addresses: Sequence[str], clients: int, messages: int) -> None:
    import asyncio

    from websockets.asyncio.client import ClientConnection, connect

    async def open_one(address: str) -> ClientConnection:
        return await connect(address, compression=None, proxy=None, max_queue=None, open_timeout=PATIENCE)

    async def read(connection: ClientConnection, counts: list[int], mine: int) -> None:
        async for message in connection:
            if isinstance(message, str) and CAPTION in message:
                counts[mine] += 1
                if counts[mine] % (clients * messages) == 0:
                    there.send(time.perf_counter())

    found = []
    for mine, address in enumerate(addresses):
        for first in range(0, clients, TOGETHER):
            some = [open_one(address) for _ in range(first, min(first + TOGETHER, clients))]
            found += [(mine, connection) for connection in await asyncio.gather(*some)]
    counts = [0] * len(addresses)
    async with asyncio.TaskGroup() as group:
        for mine, connection in found:
            group.create_task(read(connection, counts, mine))
        await asyncio.sleep(1.0)  # a client may choose what it is sent, before it is sent anything
        there.send(time.perf_counter())
