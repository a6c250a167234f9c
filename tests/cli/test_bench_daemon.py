"""``streamer bench start``, ``idle`` and ``streams``."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamer.cli import main
from streamer.evaluation import daemon_cost
from tests.cli.conftest import lines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


def test_a_start_beside_python_alone(tiny: Path) -> None:
    result = call("start", "--model", str(tiny), "--repeat", "1", "--json")
    assert result.exit_code == 0, result.output
    rows = lines(result.stdout)
    assert [row["what"] for row in rows] == [
        "python",
        "python: import torch",
        "streamer run, torch",
        "streamer run, auto",
    ]
    python, torch, daemon, _ = rows
    assert all(row["cpu_seconds"] > 0 for row in rows)  # which start took longer is for the bench to tell
    assert python["most"] < torch["most"] < daemon["most"]
    assert 0 < daemon["memory"] <= daemon["most"]


def test_silence_and_many_streams(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_cost, "SETTLE", 0.5)
    result = call("idle", "--model", str(tiny), "--streams", "1", "--seconds", "1")
    assert result.exit_code == 0, result.output
    assert "each of 1 silent streams" in result.stdout
    result = call("streams", "--model", str(tiny), "--count", "1", "--seconds", "2", "--json")
    assert result.exit_code == 0, result.output
    (row,) = lines(result.stdout)
    assert row["streams"] == 1
    assert row["cores"] > 0
    assert 0 <= row["lag"] <= row["worst"]


def test_settings_that_do_not_hold_are_told_at_once() -> None:
    for command in ("start", "idle", "streams"):
        result = call(command, "--set", "live.partails=false")
        assert result.exit_code
        assert "partials" in result.stderr
