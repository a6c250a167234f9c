"""Health, readiness, metrics and a snapshot of the state over plain HTTP."""

from __future__ import annotations

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from streamer.server.context import Context
from streamer.server.metrics import Metrics


def routes(context: Context, metrics: Metrics) -> list[BaseRoute]:
    """/healthz, /readyz, /metrics and /api/state."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        if context.draining:
            return JSONResponse({"status": "stopping"}, 503)
        if not context.pipeline.ready:
            return JSONResponse({"status": "starting"}, 503, {"Retry-After": "1"})
        return JSONResponse({"status": "ready"})

    async def exposition(_: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def state(_: Request) -> Response:
        snapshot = context.hello().model_dump(mode="json")
        snapshot["type"] = "state"
        snapshot["ready"] = context.pipeline.ready and not context.draining
        snapshot["stats"] = {
            name: stats.model_dump(mode="json") for name, stats in context.pipeline.stats().items()
        }
        snapshot["clients"] = context.bus.clients
        snapshot["events_dropped"] = context.bus.events_dropped
        snapshot["clients_disconnected"] = context.bus.clients_disconnected
        return JSONResponse(snapshot, headers={"Cache-Control": "no-store"})

    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", exposition),
        Route("/api/state", state),
    ]
