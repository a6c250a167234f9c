"""What a service manager wants to hear: ready, stopping, still alive. Without one, nothing happens.

systemd's protocol (sd_notify): datagrams of `KEY=value` lines to the socket named in NOTIFY_SOCKET.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class Notifier:
    """Tells the service manager about the daemon's state. May be used from any thread.

    `address` is the socket's path, with `@` first for an abstract one; empty for no manager.
    `interval` is how often it wants to hear that the daemon lives, in seconds, None for never.
    """

    def __init__(self, address: str = "", interval: float | None = None) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.interval = interval if address else None

    @classmethod
    def from_environment(cls, env: Mapping[str, str], pid: int | None = None) -> Notifier:
        """The notifier that NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID ask for."""
        meant = env.get("WATCHDOG_PID", "")
        usec = env.get("WATCHDOG_USEC", "")
        # Half the limit, as systemd's manual advises.
        interval = int(usec) / 2e6 if usec.isdigit() and int(usec) else None
        if meant and meant != str(os.getpid() if pid is None else pid):
            interval = None
        return cls(env.get("NOTIFY_SOCKET", ""), interval)

    @property
    def active(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """The daemon takes connections and its model is warm."""
        self._send("READY=1", status)

    def stopping(self, status: str = "draining") -> None:
        """The daemon is on its way out."""
        self._send("STOPPING=1", status)

    def alive(self) -> None:
        """One sign of life for the watchdog."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send("", text)

    def _send(self, message: str, status: str = "") -> None:
        if not self._address:
            return
        lines = [message] if message else []
        if status:
            lines.append("STATUS=" + " ".join(status.split()))
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
            ) as sock:
                sock.settimeout(1.0)
                sock.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            logger.warning("cannot reach the service manager at NOTIFY_SOCKET: %s", error)
