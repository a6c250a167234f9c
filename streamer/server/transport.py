"""uvicorn, as this server needs it: no signal handlers, no secrets in its logs, and connections that do end.

uvicorn closes a connection only once everything written has been taken. A client that reads nothing
would keep its socket and buffers for ever, and could not be told why: the close frame is sent like
any message, after waiting for room. `ClientProtocol` appends the close frame to what waits, and
aborts the connection if the client has not taken it after a grace period.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Generator, Sequence
from functools import lru_cache
from typing import Any

import uvicorn
from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request

from streamer.errors import StreamerError
from streamer.history import Item

CLOSE_GRACE = 5.0
"""Seconds that a client has to take what waits and answer the close frame."""

SEND_BUFFER = 128 * 1024
"""Bytes the kernel buffers for one client (it doubles this): bounds how late a slow client is noticed."""

PING_INTERVAL = 20.0
"""Seconds between two pings to a client."""

PING_TIMEOUT = 20.0
"""Seconds without an answer or other sign of life after which a client is gone."""

AT_ONCE = 32 * 1024
"""Bytes written to one client before it is looked at whether they were taken."""

FRAMES = 64
"""Texts of which the frame is kept: that of a burst of events, for all clients that get it."""

EXTENSION = "streamer.connection"


@lru_cache(FRAMES)
def text_frame(text: str) -> bytes:
    """The whole websocket frame of a text to a client. Frames to clients are not masked: all get the same."""
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


class ClientProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket protocol with an end that does not depend on the client."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn.debug = False  # the library would log request lines and headers, with tokens
        self.heard_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Bytes of any kind: a sign of life."""
        self.heard_at = self.loop.time()
        super().data_received(data)

    def handle_connect(self, event: Request) -> None:
        """A handshake arrived: give the application ways to send at once and to hang up."""
        super().handle_connect(event)
        if hasattr(self, "scope"):
            assert not self.conn.extensions, "what is compressed for one client is no frame for all"
            self.scope["extensions"][EXTENSION] = {"hang_up": self.hang_up, "send": self.send_at_once}

    def send_at_once(self, items: Sequence[Item]) -> int:
        """Write as many events, in order, as an accepted client has room for; returns how many.

        Room is what it is for every other message: the transport has not asked to pause. Written for a
        thousand clients: what one event costs for each of them is little more than the system call.
        """
        sent, count, transport = 0, len(items), self.transport
        while sent < count and self.writable.is_set() and not self.close_sent and not transport.is_closing():
            data = text_frame(items[sent].text)
            sent += 1
            if sent < count:  # a burst
                frames, size = [data], len(data)
                while sent < count and size < AT_ONCE:
                    frames.append(text_frame(items[sent].text))
                    size += len(frames[-1])
                    sent += 1
                data = b"".join(frames)
            transport.write(data)
        return sent

    def hang_up(self, code: int, reason: str) -> None:
        """Send a close frame after whatever waits, and give the client `CLOSE_GRACE` seconds to take it."""
        if self.transport.is_closing():
            self.abort_later()
            return
        if not self.close_sent:
            try:
                self.conn.send_close(code, reason)
            except InvalidState:
                self.transport.abort()
                return
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
            if self.read_paused:
                self.read_paused = False
                self.transport.resume_reading()
        if self.close_timer is None:
            self.close_timer = self.loop.call_later(CLOSE_GRACE, self.transport.abort)

    def abort_later(self) -> None:
        """End the connection for good if it has not ended by itself by then."""
        self.loop.call_later(CLOSE_GRACE, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """No answer to a ping.

        A client that pushes audio faster than it is taken is held back, and its answers lie behind
        the audio, in its own buffers too: what came since the ping, or waits for us, is answer enough.
        """
        if self.read_paused or self.heard_at > self.ping_sent_at:
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.abort_later()

    def shutdown(self) -> None:
        """The server stops."""
        super().shutdown()
        self.abort_later()


class QuietServer(uvicorn.Server):
    """uvicorn without signal handlers: those belong to whoever composes the daemon."""

    @property
    def clients(self) -> list[ClientProtocol]:
        """The websockets that are still open."""
        return [one for one in self.server_state.connections if isinstance(one, ClientProtocol)]

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture none."""
        yield


async def hang_up(websocket: WebSocket, code: int, reason: str) -> None:
    """Close with `code` and `reason` without waiting for the client to make room."""
    extension = (websocket.scope.get("extensions") or {}).get(EXTENSION)
    if extension is not None:
        extension["hang_up"](code, reason)
    else:  # another ASGI server
        with contextlib.suppress(RuntimeError, OSError):
            await websocket.close(code, reason)


def sender(websocket: WebSocket) -> Callable[[Sequence[Item]], int] | None:
    """`ClientProtocol.send_at_once` of an accepted websocket; None on another ASGI server."""
    extension = (websocket.scope.get("extensions") or {}).get(EXTENSION)
    return None if extension is None else extension["send"]


def bind(host: str, port: int) -> socket.socket:
    """A socket bound to an address, not yet listening. StreamerError says what to do if that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise StreamerError(f"server.host {host!r} is no address of this machine: {error}") from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)  # connections inherit it
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise StreamerError(
            f"Cannot listen on {host} port {port}: {error.strerror}. Another daemon may be running; "
            "choose another port with --port N, or any free one with --port 0."
        ) from error
    listener.setblocking(False)
    return listener


def make_server(app: object, host: str) -> QuietServer:
    """A server for an ASGI application; it is given its socket in `serve`."""
    return QuietServer(
        uvicorn.Config(
            app,  # type: ignore[arg-type]
            host=host,
            http="h11",
            ws=ClientProtocol,
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws_per_message_deflate=False,  # costs 34 KB and half the speed a client; LANs are fast enough
            ws_max_size=4 * 1024 * 1024,
            ws_ping_interval=PING_INTERVAL,
            ws_ping_timeout=PING_TIMEOUT,
            timeout_graceful_shutdown=2,
        )
    )


async def run_until_started(server: QuietServer, listener: socket.socket) -> asyncio.Task[None]:
    """The task that serves, once it does."""
    task = asyncio.create_task(server.serve([listener]), name="http-server")
    while not server.started:
        if task.done():
            task.result()
            raise StreamerError("The HTTP server ended before it had started.")
        await asyncio.sleep(0.005)
    return task
