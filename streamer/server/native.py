"""The daemon's own protocol on /ws; docs/protocol.md describes it for clients."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from streamer.bus import Subscription
from streamer.errors import StreamerError
from streamer.events import ErrorEvent
from streamer.history import Filter
from streamer.server.context import Context
from streamer.server.messages import (
    LARGEST_AUDIO,
    AudioClose,
    AudioOpen,
    Pause,
    RefusedError,
    Resume,
    Subscribe,
    parse,
    parse_query,
)
from streamer.server.pushed import PushedSource
from streamer.server.transport import hang_up, sender

log = logging.getLogger(__name__)

GRACE = 0.25
"""Seconds in which a client's first message may still choose, before it is sent events by default."""

SEND_TIMEOUT = 20.0
"""Seconds without a byte taken after which a client counts as too slow."""

FAULTS = 100
"""Refused messages within FAULTS_WITHIN seconds that end a connection."""

FAULTS_WITHIN = 10.0

GOING_AWAY = 1001
POLICY = 1008
INTERNAL = 1011
TRY_LATER = 1013


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a connection ends; `code` is a websocket close code, `reason` at most 123 bytes."""

    code: int
    reason: str


READY_CHECK = 0.05
"""Seconds between two looks at whether the model is loaded."""

TOO_SLOW = Ending(TRY_LATER, "too slow; reconnect with since=N, the last seq you received")

FLOODING = Ending(POLICY, f"{FAULTS} messages refused within {FAULTS_WITHIN:.0f} s")


def routes(context: Context) -> list[BaseRoute]:
    """The websocket endpoint /ws."""

    async def endpoint(websocket: WebSocket) -> None:
        await serve(context, websocket)

    return [WebSocketRoute("/ws", endpoint)]


async def serve(context: Context, websocket: WebSocket) -> None:
    """One client, from its handshake to its end. The top of the connection's task."""
    await websocket.accept()
    while not context.pipeline.ready and not context.draining:  # noqa: ASYNC110 (a thread's state)
        await asyncio.sleep(READY_CHECK)  # hello names what the model knows; the model is still being loaded
    if context.draining:
        await hang_up(websocket, GOING_AWAY, "the daemon is stopping")
        return
    if context.bus.clients >= context.config.max_clients:
        await hang_up(websocket, TRY_LATER, f"all {context.config.max_clients} places for clients are taken")
        return
    subscription = context.bus.subscribe(Filter(), queue=context.config.client_queue)
    connection = Connection(context, websocket, subscription)
    try:
        ending = await connection.run()
    except Exception:
        log.exception("A client's connection failed")
        ending = Ending(INTERNAL, "internal error; see the daemon's log")
    finally:
        subscription.close()
        connection.finish_audio()
    if ending is not None:
        await hang_up(websocket, ending.code, ending.reason)


class Connection:
    """A client: one task reads what it says, another writes what it gets."""

    def __init__(self, context: Context, websocket: WebSocket, subscription: Subscription) -> None:
        self._context = context
        self._websocket = websocket
        self._subscription = subscription
        self._chosen = asyncio.Event()
        self._audio: PushedSource | None = None
        self._faults: deque[float] = deque(maxlen=FAULTS)
        subscription.at_once = sender(websocket)

    async def run(self) -> Ending | None:
        """Serve until one side ends it. Returns how to close, None if the client is gone already."""
        hello = self._context.hello()
        try:
            await self._websocket.send_text(hello.model_dump_json())
        except WebSocketDisconnect:  # it left while the model was loading
            return None
        try:
            chosen = parse_query(self._websocket.query_params)
        except RefusedError as refused:
            self._refuse(refused)
        else:
            if chosen is not None:
                self._subscribe(chosen)
                self._chosen.set()
        reader = asyncio.create_task(self._read(), name="client-read")
        writer = asyncio.create_task(self._write(), name="client-write")
        overflow = asyncio.create_task(self._overflow(), name="client-overflow")
        tasks = (overflow, reader, writer)  # in this order a reason goes before another that it brought about
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task for task in tasks if task.done()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def finish_audio(self) -> None:
        """End the stream that this client pushes, if it does."""
        if self._audio is not None:
            self._context.pushed.finish(self._audio)
            self._audio = None

    async def _overflow(self) -> Ending:
        await self._subscription.overflow.wait()
        return TOO_SLOW

    async def _write(self) -> Ending | None:
        try:
            async with asyncio.timeout(GRACE):
                await self._chosen.wait()
        except TimeoutError:
            pass
        try:
            while items := await self._subscription.take():
                for item in items:
                    async with asyncio.timeout(SEND_TIMEOUT):
                        await self._websocket.send({"type": "websocket.send", "text": item.text})
        except TimeoutError:
            self._subscription.give_up()
            return TOO_SLOW
        except WebSocketDisconnect:
            return None
        return Ending(GOING_AWAY, "the daemon is stopping")

    async def _read(self) -> Ending | None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return None
            try:
                if (text := message.get("text")) is not None:
                    await self._handle(text)
                else:
                    await self._feed(message.get("bytes") or b"")
            except RefusedError as refused:
                if not self._refuse(refused):
                    return FLOODING
            except StreamerError as error:
                if not self._refuse(RefusedError("refused", str(error))):
                    return FLOODING
            self._chosen.set()

    async def _handle(self, text: str) -> None:
        message = parse(text)
        match message:
            case Subscribe():
                self._subscribe(message)
            case Pause() | Resume():
                if message.stream not in self._context.pipeline.states():
                    raise RefusedError("unknown_stream", f"There is no stream {message.stream!r}.")
                act = (
                    self._context.pipeline.pause
                    if isinstance(message, Pause)
                    else self._context.pipeline.resume
                )
                await asyncio.to_thread(act, message.stream)
            case AudioOpen():
                if self._audio is not None:
                    raise RefusedError(
                        "push_refused", "This connection has a stream open; send audio.close first."
                    )
                self._audio = await self._context.pushed.open(message)
            case AudioClose():
                if self._audio is None:
                    raise RefusedError(
                        "no_audio_stream", "There is no stream to close; audio.open begins one."
                    )
                self.finish_audio()

    def _subscribe(self, message: Subscribe) -> None:
        wanted = Filter(
            streams=None if message.streams is None else frozenset(message.streams),
            types=None if message.types is None else frozenset(message.types),
        )
        self._subscription.select(wanted, message.since, message.instance)

    async def _feed(self, data: bytes) -> None:
        if self._audio is None:
            raise RefusedError("no_audio_stream", "Audio came before audio.open; it was not used.")
        if len(data) > LARGEST_AUDIO:
            raise RefusedError(
                "too_big", f"A binary message may have {LARGEST_AUDIO} bytes, this one has {len(data)}."
            )
        await self._context.pushed.feed(self._audio, data)

    def _refuse(self, refused: RefusedError) -> bool:
        """Tell the client; False when it has made too many faults or does not read the answers."""
        now = time.monotonic()
        flooding = len(self._faults) == FAULTS and now - self._faults[0] < FAULTS_WITHIN
        self._faults.append(now)
        event = ErrorEvent(code=refused.code, message=str(refused), time=round(time.time(), 3))
        return self._subscription.tell(event) and not flooding
