"""A real HTTP server on loopback that behaves and misbehaves, path by path."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class HttpServer(ThreadingHTTPServer):
    """`files` maps paths to bodies. See `Handler` for the special paths."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, files: dict[str, bytes], port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.files = files
        self.requests: list[str] = []
        self.quit = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are part of the tests

    def url(self, path: str, userinfo: str = "") -> str:
        return f"http://{userinfo}127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    """/401 and the like answer with that status; /cut/NAME breaks off in the middle the first time;
    /live/NAME sends NAME without a length; /mute/NAME sends half of NAME and then nothing."""

    server: HttpServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[0].isdigit():
            self.send_error(int(parts[0]))
            return
        body = self.server.files[parts[-1]]
        self.send_response(200)
        if parts[0] != "live":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if parts[0] == "cut" and self.server.requests.count(self.path) == 1:
            self.wfile.write(body[: len(body) // 2])
        elif parts[0] == "mute":
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.server.quit.wait(20)
        else:
            self.wfile.write(body)


@contextmanager
def serve(files: dict[str, bytes], port: int = 0) -> Iterator[HttpServer]:
    """A running server."""
    server = HttpServer(files, port)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="test-http", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.quit.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
