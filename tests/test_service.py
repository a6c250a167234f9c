"""The service manager hears what systemd's protocol says, over a real socket."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer import settings
from streamer.app import CHECK, DRAIN
from streamer.cli import _Mistake
from streamer.service import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(2)
        yield sock


def messages(sock: socket.socket) -> list[str]:
    sock.setblocking(False)
    found = []
    while True:
        try:
            found.append(sock.recv(4096).decode())
        except BlockingIOError:
            return found


def test_ready_status_stopping(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.ready("listening\non port 1")
    notifier.status("2 streams")
    notifier.stopping()
    assert messages(manager) == [
        "READY=1\nSTATUS=listening on port 1",
        "STATUS=2 streams",
        "STOPPING=1\nSTATUS=draining",
    ]


def test_abstract_sockets(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        name = f"streamer-test-{tmp_path.name}-{time.monotonic_ns()}"
        sock.bind("\0" + name)
        Notifier("@" + name).alive()
        assert messages(sock) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    ("env", "active", "interval"),
    [
        ({}, False, None),
        ({"WATCHDOG_USEC": "2000000"}, False, None),
        ({"NOTIFY_SOCKET": "/n"}, True, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000"}, True, 1.5),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "7"}, True, 1.5),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "8"}, True, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "0"}, True, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, True, None),
    ],
)
def test_environment(env: dict[str, str], active: bool, interval: float | None) -> None:
    notifier = Notifier.from_environment(env, pid=7)
    assert (notifier.active, notifier.interval) == (active, interval)


def test_without_a_manager_nothing_happens() -> None:
    notifier = Notifier()
    notifier.ready()
    notifier.alive()


def test_a_manager_that_is_gone_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier(str(tmp_path / "gone")).ready()
    assert "cannot reach the service manager" in caplog.text


CONTRIB = Path(__file__).parent.parent / "contrib"


def test_every_example_in_the_units_environment_is_a_setting() -> None:
    """Lines as systemd reads them, with the # before each taken off."""
    found = re.findall(r"^#(STREAMER_\w+)=(.*)$", (CONTRIB / "streamer.env").read_text(), re.MULTILINE)
    assert len(found) > 4
    for name, value in found:
        loaded = settings.load(None, {name: value.strip("'")})
        assert loaded.origin, name


def test_the_unit_gives_the_daemon_the_time_that_it_takes() -> None:
    unit = dict(re.findall(r"^(\w+)=(.*)$", (CONTRIB / "streamer.service").read_text(), re.MULTILINE))
    assert (unit["Type"], unit["NotifyAccess"]) == ("notify", "main")
    assert int(unit["TimeoutStopSec"]) > DRAIN
    assert int(unit["WatchdogSec"]) / 2 > CHECK
    assert unit["RestartPreventExitStatus"] == str(_Mistake.exit_code)
