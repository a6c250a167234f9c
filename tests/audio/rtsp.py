"""Starts, freezes and kills the real RTSP server of `tests/rtsp_server.py` for tests."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from functools import lru_cache
from pathlib import Path
from types import TracebackType

SCRIPT = Path(__file__).parents[1] / "rtsp_server.py"
SYSTEM_PYTHON = Path("/usr/bin/python3")
PACKAGES = "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good"


@lru_cache(maxsize=1)
def unavailable() -> str:
    """Why the server cannot run here, empty where it can: for `pytest.mark.skipif`."""
    if not SYSTEM_PYTHON.exists():
        return "no system Python for GStreamer's bindings"
    check = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        subprocess.run(
            [SYSTEM_PYTHON, "-c", check], check=True, capture_output=True, timeout=60, env=_environment()
        )
    except (subprocess.SubprocessError, OSError):
        return f"GStreamer's RTSP server is not installed (Debian: {PACKAGES})"
    return ""


class RtspServer:
    """Serves a 16-bit WAV file, looped, at `url`. A context manager; can be killed and started again.

    `codec`: l16, opus or pcmu. After the first start the port stays the same.
    """

    def __init__(
        self, wav: str | Path, codec: str = "l16", *, video: bool = False, user: str = "", password: str = ""
    ) -> None:
        self._arguments = [str(wav), "--codec", codec]
        self._arguments += ["--video"] if video else []
        self._arguments += ["--user", user, "--password", password] if user else []
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The address without user and password."""
        return f"rtsp://127.0.0.1:{self.port}/audio"

    def start(self, timeout: float = 20.0) -> None:
        """Returns when clients may connect."""
        deadline = time.monotonic() + timeout
        while True:  # the old port may linger for a moment after a kill
            process = subprocess.Popen(
                [SYSTEM_PYTHON, SCRIPT, *self._arguments, "--port", str(self.port)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=_environment(),
            )
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))
            line = process.stdout.readline() if ready else ""
            if line.startswith("ready"):
                self._process, self.port = process, int(line.split()[1])
                return
            process.kill()
            process.wait()
            process.stdout.close()
            if time.monotonic() > deadline:
                raise RuntimeError(f"the RTSP server did not start within {timeout:g} s")
            time.sleep(0.1)

    def freeze(self) -> None:
        """Keep all connections open and say nothing more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Die at once, without a goodbye to the clients."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _environment() -> dict[str, str]:
    """Without the virtual environment's paths, which would shadow the system's packages."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
