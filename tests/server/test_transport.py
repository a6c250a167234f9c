"""What goes to a client without its task's help."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.protocol import State
from websockets.server import ServerProtocol

from streamer.history import Item
from streamer.server import native
from streamer.server.transport import AT_ONCE, ClientProtocol, text_frame
from tests.server.conftest import Daemon, final, running, until
from tests.server.test_native import stalled_client

pytestmark = pytest.mark.anyio


@given(st.text() | st.sampled_from(["", "x" * 125, "x" * 126, "\N{SNOWMAN}" * 42, "y" * 70_000]))
def test_a_frame_is_what_the_library_would_send(text: str) -> None:
    protocol = ServerProtocol(state=State.OPEN)
    protocol.send_text(text.encode())
    assert text_frame(text) == b"".join(protocol.data_to_send())


@asynccontextmanager
async def mute_client() -> AsyncIterator[tuple[Daemon, ClientProtocol]]:
    """A client that reads nothing, and the daemon's side of it."""
    async with running() as daemon:
        client = stalled_client(daemon.port)
        await until(lambda: daemon.bus.clients == 1)
        await asyncio.sleep(2 * native.GRACE)
        assert daemon.server._server is not None
        (protocol,) = daemon.server._server.clients
        yield daemon, protocol
        client.close()


async def test_no_more_is_written_at_once_than_a_client_has_room_for() -> None:
    async with mute_client() as (_, protocol):
        items = [Item(final(number, text="x" * 1000)) for number in range(1000)]
        sent = protocol.send_at_once(items)
        assert 0 < sent < len(items)
        waiting = protocol.transport.get_write_buffer_size()
        high = protocol.transport.get_write_buffer_limits()[1]
        assert high < waiting <= high + AT_ONCE + len(text_frame(items[0].text))
        assert protocol.send_at_once(items) == 0
        assert protocol.transport.get_write_buffer_size() == waiting


@pytest.mark.parametrize("how", ["hang_up", "abort"])
async def test_nothing_is_written_once_a_connection_ends(how: str) -> None:
    async with mute_client() as (daemon, protocol):
        if how == "hang_up":
            protocol.hang_up(1001, "that is all")
        else:
            protocol.transport.abort()
        assert protocol.send_at_once([Item(final(0))]) == 0
        daemon.bus.publish(final(1))
        await until(lambda: daemon.bus.clients == 0)
