"""Who may come in: a token where one is configured, else only this machine's own pages and programs.

Without a token the daemon listens on loopback only. A web page from elsewhere can still make the
user's browser connect there, directly (cross-site websocket) or under a name of its own that
resolves to 127.0.0.1 (DNS rebinding). So the Host must be a loopback name and an Origin, where a
browser sends one, must be that same host.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from streamer.config import ServerConfig
from streamer.errors import ConfigError

PROTECTED = ("/ws", "/api", "/v1", "/metrics")
"""What a token is asked for. The dashboard's files and the health checks tell nothing about the streams."""


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, can only be this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(config: ServerConfig) -> None:
    """ConfigError if the address is reachable from elsewhere and no token is configured."""
    if not config.token and not is_loopback(config.host):
        raise ConfigError(
            f"server.host is {config.host!r}, which other machines can reach, and server.token is empty: "
            "anybody there could listen. Set server.token to a long random text (`openssl rand -hex 16` "
            "makes one), or keep server.host = '127.0.0.1'."
        )


class Guard:
    """The outermost ASGI application: refuses, or takes the token out of the query and passes on."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = _take_token(scope, headers)
        if self._token:
            path = str(scope["path"])
            protected = any(path == root or path.startswith(root + "/") for root in PROTECTED)
            if protected and not hmac.compare_digest(given.encode(), self._token):
                message = "This needs the daemon's token: `Authorization: Bearer TOKEN`, or `?token=TOKEN`."
                await _refuse(scope, receive, send, 401, "unauthorized", message)
                return
        elif problem := _foreign(headers):
            await _refuse(scope, receive, send, 403, "forbidden", problem)
            return
        await self._app(scope, receive, send)


def _take_token(scope: Scope, headers: Headers) -> str:
    """The token of this request, removed from the query in place: what is logged later has no secret."""
    kept: list[tuple[str, str]] = []
    token = ""
    for key, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if key == "token":
            token = value
        else:
            kept.append((key, value))
    scope["query_string"] = urlencode(kept).encode()
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else token


def _foreign(headers: Headers) -> str:
    """What makes this request somebody else's, empty if nothing does."""
    host = headers.get("host", "")
    try:
        name = urlsplit("//" + host).hostname or ""
    except ValueError:
        name = ""
    if not is_loopback(name):
        return (
            f"The Host header says {host[:100]!r}, and without a token only loopback names are served. "
            "Use http://localhost or 127.0.0.1, or configure server.token."
        )
    origin = headers.get("origin")
    if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
        return (
            f"The Origin header says {origin[:100]!r}, but pages from elsewhere may not connect to "
            f"{host[:100]!r} without a token. Configure server.token to allow it."
        )
    return ""


async def _refuse(scope: Scope, receive: Receive, send: Send, status: int, code: str, message: str) -> None:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    response = JSONResponse({"type": "error", "code": code, "message": message}, status, headers)
    await response(scope, receive, send)
