"""The service manager hears what systemd's protocol says, over a real socket."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.service import Notifier, watch


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
    watch(notifier, lambda: True, threading.Event())  # returns


def test_a_manager_that_is_gone_is_no_reason_to_stop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Notifier(str(tmp_path / "gone")).ready()
    assert "cannot reach the service manager" in caplog.text


def test_signs_of_life_stop_while_unhealthy(manager: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier(manager.getsockname(), interval=0.01)
    healthy, stop = threading.Event(), threading.Event()
    healthy.set()
    thread = threading.Thread(target=watch, args=(notifier, healthy.is_set, stop), name="watchdog")
    thread.start()
    try:
        assert manager.recv(100) == b"WATCHDOG=1"
        with caplog.at_level(logging.ERROR):
            healthy.clear()
            time.sleep(0.05)
        messages(manager)
        time.sleep(0.05)
        assert messages(manager) == []
        assert caplog.text.count("not healthy") == 1
        healthy.set()
        manager.settimeout(2)
        assert manager.recv(100) == b"WATCHDOG=1"
    finally:
        stop.set()
        thread.join(2)
    assert not thread.is_alive()
