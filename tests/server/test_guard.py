"""Who may come in."""

from __future__ import annotations

import logging

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.server.conftest import Daemon, final, hear, running

pytestmark = pytest.mark.anyio

TOKEN = "a-very-long-secret-token"


async def status_of_websocket(daemon: Daemon, query: str = "", **options: object) -> int:
    try:
        async with daemon.connect(query, **options) as client:
            assert (await hear(client))["type"] == "hello"
            return 101
    except InvalidStatus as error:
        return error.response.status_code


CASES: list[tuple[dict[str, str], int]] = [
    ({}, 200),
    ({"Host": "localhost:PORT"}, 200),
    ({"Host": "[::1]:PORT"}, 200),
    ({"Host": "localhost:PORT", "Origin": "http://localhost:PORT"}, 200),
    ({"Host": "evil.example:PORT"}, 403),
    ({"Host": "evil.example:PORT", "Origin": "http://evil.example:PORT"}, 403),
    ({"Host": "127.0.0.1.evil.example"}, 403),
    ({"Host": "localhost.evil.example"}, 403),
    ({"Host": "192.168.1.5:PORT"}, 403),
    ({"Host": "[::1"}, 403),
    ({"Host": ""}, 403),
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Origin": "http://localhost:PORT"}, 403),
]


async def test_without_a_token_only_this_machine_itself() -> None:
    async with running() as daemon, httpx.AsyncClient() as web:
        for case, status in CASES:
            headers = {name: value.replace("PORT", str(daemon.port)) for name, value in case.items()}
            response = await web.get(daemon.url + "/api/state", headers=headers)
            assert response.status_code == status, case
            if status == 403:
                assert response.json()["code"] == "forbidden"
            if "Host" not in headers:
                expected = 101 if status == 200 else 403
                assert await status_of_websocket(daemon, origin=headers.get("Origin")) == expected, case


async def test_a_token_is_asked_for_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    # An earlier test may have set up logging as the command line does, which keeps uvicorn quiet.
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, logger="uvicorn.error"):
        async with running(token=TOKEN) as daemon, httpx.AsyncClient() as web:
            for path in ("/api/state", "/metrics"):
                assert (await web.get(daemon.url + path)).status_code == 401
                assert (await web.get(daemon.url + path + "?token=wrong")).status_code == 401
                assert (await web.get(daemon.url + path + f"?token={TOKEN}")).status_code == 200
                bearer = {"Authorization": f"Bearer {TOKEN}"}
                assert (await web.get(daemon.url + path, headers=bearer)).status_code == 200
            assert (await web.get(daemon.url + "/healthz")).status_code == 200
            assert await status_of_websocket(daemon) == 401
            assert await status_of_websocket(daemon, "?token=wrong") == 401
            assert await status_of_websocket(daemon, "?token=%FF") == 401
            bearer = {"Authorization": f"bearer {TOKEN}"}
            assert await status_of_websocket(daemon, additional_headers=bearer) == 101
            # With a token pages from elsewhere may come: no browser adds it by itself.
            assert (
                await status_of_websocket(daemon, f"?token={TOKEN}", origin="http://elsewhere.example") == 101
            )
            daemon.bus.publish(final(1))
            async with daemon.connect(f"?token={TOKEN}&since=0") as client:
                assert [(await hear(client))["seq"] for _ in range(2)] == [0, 1]
    clients = ("httpx", "httpcore", "websockets.client")
    lines = [record.getMessage() for record in caplog.records if not record.name.startswith(clients)]
    assert any("/ws" in line for line in lines)  # so the test would see it
    assert TOKEN not in "\n".join(lines)
