"""Health, metrics, state, the dashboard's files."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import InvalidStatus

from streamer.server.app import POLICY
from tests.server.conftest import final, hear, running

pytestmark = pytest.mark.anyio


async def test_health_and_readiness() -> None:
    async with running() as daemon, httpx.AsyncClient(base_url=daemon.url) as web:
        assert (await web.get("/healthz")).json() == {"status": "ok"}
        assert (await web.get("/readyz")).status_code == 200
        daemon.pipeline.ready = False
        assert (await web.get("/readyz")).status_code == 503
        assert (await web.get("/healthz")).status_code == 200
        assert (await web.post("/healthz")).status_code == 405


async def test_metrics() -> None:
    async with running() as daemon, httpx.AsyncClient(base_url=daemon.url) as web, daemon.connect() as client:
        await hear(client)
        daemon.bus.publish(final(1))
        response = await web.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }
        assert samples["streamer_encoder_passes_total", "a"] == 42
        assert samples["streamer_encoder_passes_per_second", "a"] == 1.25
        assert samples["streamer_lag_seconds", "a"] == 0.25
        assert samples["streamer_lost_seconds_total", "a"] == 1.5
        assert samples["streamer_partials_replaced_total", "a"] == 3
        assert samples["streamer_finals_total", "a"] == 7
        assert samples["streamer_source_state", "a", "live"] == 1
        assert samples["streamer_source_state", "a", "stalled"] == 0
        assert samples["streamer_clients",] == 1
        assert samples["streamer_events_dropped_total",] == 0
        assert samples["streamer_clients_disconnected_total",] == 0
        assert samples["streamer_final_latency_seconds_count",] == 1
        assert samples["streamer_build_info", "0.1.0", "stand-in"] == 1


async def test_state() -> None:
    async with running() as daemon, httpx.AsyncClient(base_url=daemon.url) as web:
        daemon.bus.publish(final(1))
        state = (await web.get("/api/state")).json()
        assert (state["type"], state["last_seq"], state["ready"]) == ("state", 1, True)
        assert state["streams"] == {"a": "live"}
        assert state["stats"]["a"]["encoder_passes"] == 42


async def test_the_dashboard_is_served_from_the_package_and_nothing_else_is() -> None:
    async with running() as daemon, httpx.AsyncClient(base_url=daemon.url) as web:
        page = await web.get("/")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["referrer-policy"] == "no-referrer"
        assert f'content="{POLICY}"' in page.text
        assert page.headers["content-security-policy"].startswith(POLICY)
        assert (await web.get("/nothing.here")).status_code == 404
        assert (await web.get("/..%2fserve.py")).status_code == 404
        with pytest.raises(InvalidStatus) as error:
            await daemon.connect("/elsewhere").__aenter__()
        assert error.value.response.status_code == 404
