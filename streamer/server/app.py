"""The ASGI application: every API's routes, the dashboard, and the guard around them."""

from __future__ import annotations

from importlib.resources import files

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from streamer.server import http, native
from streamer.server.context import Context
from streamer.server.guard import Guard
from streamer.server.metrics import Metrics

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What the page may load and talk to: itself. In index.html too, for other ways to serve the files."""

HEADERS = {
    "Cache-Control": "no-cache",  # the files change with the package, and clients ask again cheaply
    "Content-Security-Policy": f"{POLICY}; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address may carry a token
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Dashboard(StaticFiles):
    """The files of the page, from inside the package."""

    def __init__(self) -> None:
        super().__init__(directory=str(files("streamer.server") / "static"), html=True, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file, or refuse a websocket that found no other route."""
        if scope["type"] == "websocket":
            await JSONResponse(
                {"type": "error", "code": "not_found", "message": "The websocket is at /ws."}, 404
            )(scope, receive, send)
            return
        await super().__call__(scope, receive, send)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file at `path`, with the headers of a page that shows private things."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def build_app(context: Context, metrics: Metrics) -> ASGIApp:
    """Everything on the port. Add an API's module here."""
    routes: list[BaseRoute] = [
        *native.routes(context),
        *http.routes(context, metrics),
        Mount("/", Dashboard()),
    ]
    return Guard(Starlette(routes=routes), context.config.token)
