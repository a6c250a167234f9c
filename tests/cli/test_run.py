"""``streamer run`` and ``streamer demo`` as processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamer.cli.run import dashboard
from streamer.config import Config, ServerConfig
from tests.cli.conftest import Run, lines
from tests.cli.tiny import make_wav


def test_once_prints_every_event_and_nothing_else_on_standard_output(streamer: Run, tmp_path: Path) -> None:
    make_wav(tmp_path / "a.wav", 0.6, 1.5, 1.0, 1.0, 0.5)
    done = streamer("run", "--source", "yard=a.wav", "--once", "--fast", "--json")
    assert done.returncode == 0, done.stderr
    events = lines(done.stdout)
    kinds = [event["type"] for event in events]
    assert kinds.count("transcript.final") == 2
    assert kinds.count("sound.started") == kinds.count("sound.stopped") == 1
    assert {event["stream"] for event in events} <= {"yard", None}
    assert "http://127.0.0.1:" in done.stderr
    assert "yard: a.wav" in done.stderr
    assert "model noise" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_drains_and_ends_with_status_0(tiny: Path, tmp_path: Path) -> None:
    make_wav(tmp_path / "long.wav", 0.3, 30.0)
    command = [sys.executable, "-m", "streamer.cli", "run", "--source", "long.wav", "--json", "--log", "json"]
    command += ["--model", str(tiny), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while json.loads(process.stdout.readline())["type"] != "speech.started":
            pass
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest, log = process.stdout.read(), process.stderr.read()
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5
    assert [e["type"] for e in lines(rest)].count("transcript.final") == 1
    assert all(json.loads(line)["level"] for line in log.splitlines())


def test_a_port_in_use_is_said_at_once(streamer: Run, tmp_path: Path) -> None:
    import socket

    make_wav(tmp_path / "a.wav", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = streamer("run", "--source", "a.wav", "--port", port)
    assert done.returncode == 1
    assert port in done.stderr
    assert "loading model" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_goes_ends_the_daemon(tiny: Path, tmp_path: Path) -> None:
    make_wav(tmp_path / "long.wav", 0.3, 30.0)
    command = [sys.executable, "-m", "streamer.cli", "run", "--source", "long.wav", "--json"]
    command += ["--model", str(tiny), "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(15) == 0


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80/"),
        ("0.0.0.0", "http://127.0.0.1:80/"),
        ("::", "http://[::1]:80/"),
        ("::1", "http://[::1]:80/"),
    ],
)
def test_the_dashboards_address_is_one_a_browser_can_open(host: str, address: str) -> None:
    assert dashboard(Config(server=ServerConfig(host=host, token="x")), 80) == address
