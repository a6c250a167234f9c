"""The server's life: bind, serve, drain. What the composition root uses."""

from __future__ import annotations

import asyncio
import logging
import socket

from streamer.bus import Bus
from streamer.config import ServerConfig
from streamer.server.app import build_app
from streamer.server.context import Context, PipelineLike
from streamer.server.guard import check_bind
from streamer.server.metrics import Metrics
from streamer.server.pushed import PushedStreams, PushFactory, push_source
from streamer.server.transport import QuietServer, bind, make_server, run_until_started

log = logging.getLogger(__name__)


class Server:
    """Serves one pipeline and bus on one port, on the event loop that calls `start`.

    ConfigError if the configured address needs a token and there is none.
    """

    def __init__(
        self,
        config: ServerConfig,
        pipeline: PipelineLike,
        bus: Bus,
        *,
        push_factory: PushFactory = push_source,
    ) -> None:
        check_bind(config)
        self.context = Context(config, pipeline, bus, PushedStreams(config, pipeline, push_factory))
        self._metrics = Metrics(self.context)
        self._server: QuietServer | None = None
        self._task: asyncio.Task[None] | None = None
        self._listener: socket.socket | None = None

    async def start(self) -> int:
        """Listen and serve; returns the port. StreamerError if the address cannot be had."""
        config, bus = self.context.config, self.context.bus
        listener = bind(config.host, config.port)
        port: int = listener.getsockname()[1]
        bus.connect(asyncio.get_running_loop())
        bus.add_sink(self._metrics.observe)
        server = make_server(build_app(self.context, self._metrics), config.host)
        self._task = await run_until_started(server, listener)
        self._server, self._listener = server, listener
        log.debug("Serving on %s port %d", config.host, port)
        return port

    async def wait(self) -> None:
        """Until the server has ended; raises what ended it, if it was not `drain`."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def finish_pushed(self) -> None:
        """End the streams that clients push, with their tails. Call it before the pipeline drains."""
        self.context.pushed.finish_all()

    async def drain(self, timeout: float) -> bool:  # noqa: ASYNC109 (the wait is divided between steps)
        """Stop: no new clients, let everybody have what waits for them, then close with code 1001.

        Call it once the pipeline has drained, so that the last finals are among what waits.
        Returns whether every client got everything within `timeout` seconds; those that did not are cut off.
        """
        if self._server is None or self._task is None:
            return True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        self.context.draining = True
        for listening in self._server.servers:
            listening.close()
        self.finish_pushed()
        bus = self.context.bus
        while not (complete := bus.idle) and loop.time() < deadline:  # noqa: ASYNC110 (many conditions)
            await asyncio.sleep(0.01)
        bus.remove_sink(self._metrics.observe)
        bus.disconnect()
        # Close frames lie behind the last events: a healthy client has taken both and answered in no time.
        while self._server.clients and loop.time() < deadline:  # noqa: ASYNC110 (many conditions)
            await asyncio.sleep(0.01)
        await self.context.pushed.stop()
        remaining = self._server.clients
        for client in remaining:
            client.transport.abort()
        self._server.should_exit = True
        await self._task
        self._server = self._task = self._listener = None
        if remaining:
            log.info("%d clients did not take what waited for them and were cut off", len(remaining))
        return complete and not remaining
