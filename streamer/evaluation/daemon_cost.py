"""What the real daemon costs, a process of its own: until it is ready, in silence, with many streams.

Processors' time and memory are what Linux says of the process, so that they hold beside other work.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from streamer.errors import StreamerError
from streamer.resources import PACKAGE
from streamer.timebase import SAMPLE_RATE

PATIENCE = 120.0
"""Seconds in which a daemon must be ready."""

MB = 1 << 20
PROC = Path("/proc")
QUIET = 1e-4
"""Amplitude of the noise in a silent room, below the level at which a daemon listens at all (-80 dB)."""

SETTLE = 3.0
"""Seconds after which a daemon that is ready has got over it."""


class DaemonProcess:
    """`streamer run` on a free port, told of with systemd's protocol when it is ready. A context manager.

    arguments: of `run`. `seconds`: from the start until it was ready. Raises StreamerError where it is not.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        if not (PROC / "self/stat").exists():
            raise StreamerError("expected Linux's /proc to measure processes with, found none")
        self._arguments = arguments
        self.seconds = 0.0
        self.port = 0

    def __enter__(self) -> DaemonProcess:
        """Ready."""
        self._folder = tempfile.TemporaryDirectory(prefix="streamer-bench-")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.bind(f"{self._folder.name}/notify")
            told.settimeout(0.1)
            began = time.perf_counter()
            self._log = open(f"{self._folder.name}/log", "w+")
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamer.cli", "run", "--port", str(self.port), *self._arguments],
                env=_environment() | {"NOTIFY_SOCKET": f"{self._folder.name}/notify"},
                stdout=subprocess.DEVNULL,
                stderr=self._log,
            )
            try:
                self._wait(told, began + PATIENCE)
            except BaseException:
                self._end()
                raise
            self.seconds = time.perf_counter() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ended."""
        self._end()

    def cpu(self) -> float:
        """Seconds on a processor so far, all threads together."""
        fields = (PROC / str(self.process.pid) / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> tuple[float, float]:
        """Resident MB now, and at most so far."""
        return _megabytes((PROC / str(self.process.pid) / "status").read_text())

    def stats(self) -> list[dict[str, Any]]:
        """What it tells of every stream."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/state", timeout=10) as answer:
            return list(json.load(answer)["stats"].values())

    def _wait(self, told: socket.socket, until: float) -> None:
        while time.perf_counter() < until:
            try:
                if b"READY=1" in told.recv(4096).splitlines():
                    return
            except TimeoutError:
                if self.process.poll() is not None:
                    raise StreamerError(f"the daemon ended before it was ready: {self._said()}") from None
        raise StreamerError(f"the daemon was not ready within {PATIENCE:g} s: {self._said()}")

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-500:].strip()

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()
        self._folder.cleanup()


def _environment() -> dict[str, str]:
    """This one's without its settings for streamer, so that only arguments count."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("STREAMER_SERVER")}
    return {**kept, "PYTHONPATH": str(PACKAGE.parent)}


# ------------------------------------------------------------------------------------------- until ready


@dataclass(frozen=True, slots=True)
class Start:
    """Medians of several starts. memory, most: resident MB when ready, and at most until then."""

    what: str
    seconds: float
    cpu_seconds: float
    memory: float | None
    most: float


def starts(arguments: Sequence[str], repeat: int, progress: Callable[[], None] = lambda: None) -> list[Start]:
    """Python alone, Python with torch, and a daemon until it is ready; in turn, `repeat` times.

    The daemon computes in torch, and in what `engine.backend = "auto"` chooses.
    """
    with DaemonProcess(arguments):
        pass  # "auto" measures once
    daemons = {
        f"streamer run, {backend}": [*arguments, "--set", f"engine.backend={backend}"]
        for backend in ("torch", "auto")
    }
    bare = {"python": "pass", "python: import torch": "import torch"}
    taken: dict[str, list[tuple[float, float, float | None, float]]] = {}
    for _ in range(repeat):
        for name, code in bare.items():
            taken.setdefault(name, []).append(_run(code))
        for name, given in daemons.items():
            with DaemonProcess(given) as daemon:
                now, most = daemon.memory()
                taken.setdefault(name, []).append((daemon.seconds, daemon.cpu(), now, most))
        progress()
    return [
        Start(
            name,
            statistics.median(one[0] for one in rounds),
            statistics.median(one[1] for one in rounds),
            statistics.median(found) if (found := [one[2] for one in rounds if one[2]]) else None,
            statistics.median(one[3] for one in rounds),
        )
        for name, rounds in taken.items()
    ]


def _run(code: str) -> tuple[float, float, None, float]:
    """Seconds, on a processor, and most MB of a Python that does so much."""
    # What the system tells of a child's memory after its end counts the parent's before it became another.
    told = f"{code}\nprint(open('/proc/self/status').read())"
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", told], env=_environment(), stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as out:
        status = out.read().decode()
    _, ended, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended)
    if process.returncode:
        raise StreamerError(f"python -c {code!r} ended with status {process.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, None, _megabytes(status)[1]


def _megabytes(status: str) -> tuple[float, float]:
    """Resident MB now, and at most so far, from what /proc tells of a process."""
    found = dict(line.split(":", 1) for line in status.strip().splitlines())
    now, most = (int(found[key].split()[0]) * 1024 / MB for key in ("VmRSS", "VmHWM"))
    return now, most


# ------------------------------------------------------------------------------------------- silence


@dataclass(frozen=True, slots=True)
class Idle:
    """Per cent of one core: of a daemon without streams, and for each of `streams` silent ones."""

    streams: int
    alone: float
    each: float


def idle(arguments: Sequence[str], streams: int, seconds: float) -> Idle:
    """Two daemons at the same time, one that hears nothing and one in so many silent rooms."""
    with tempfile.TemporaryDirectory(prefix="streamer-bench-") as folder:
        room = silence(Path(folder) / "room.wav", seconds + 4 * SETTLE)
        sources = [text for i in range(streams) for text in ("--source", f"room{i}={room}")]
        with (
            DaemonProcess([*arguments, "--source", "push"]) as alone,
            DaemonProcess([*arguments, *sources]) as listening,
        ):
            time.sleep(SETTLE)
            both = (alone, listening)
            before, began = [daemon.cpu() for daemon in both], time.perf_counter()
            time.sleep(seconds)
            took = time.perf_counter() - began
            used = [100 * (daemon.cpu() - b) / took for daemon, b in zip(both, before, strict=True)]
            if any(one["state"] != "live" or one["encoder_passes"] for one in listening.stats()):
                raise StreamerError(
                    "expected silent rooms to be heard in silence, found passes or ended streams"
                )
    return Idle(streams, used[0], (used[1] - used[0]) / streams)


def silence(path: Path, seconds: float) -> Path:
    """A recording of a silent room."""
    noise = QUIET * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((noise * 32767).astype("<i2").tobytes())
    return path


# ------------------------------------------------------------------------------------------- many streams


@dataclass(frozen=True, slots=True)
class Load:
    """So many live streams of one recording. cores: processors in use. memory: resident MB at the end.

    lag: seconds from the newest sample to the newest one inferred, median and most over streams and time;
    growth: of the median from the first third to the last. passes: a second, of all streams. replaced,
    stretched: partials and ambient passes that fell victim to the load.
    """

    streams: int
    cores: float
    memory: float
    lag: float
    worst: float
    growth: float
    passes: float
    replaced: int
    stretched: int

    @property
    def keeps_up(self) -> bool:
        """Whether lag stays what it is."""
        return self.growth < 1.0


def loads(arguments: Sequence[str], sample: Path, counts: Sequence[int], seconds: float) -> Iterator[Load]:
    """One daemon after the other with so many streams of `sample`, up to the first that cannot keep up.

    All play at their own speed from the same moment on: the worst case, as all speak together. The sample
    must last for SETTLE and `seconds`.
    """
    for count in counts:
        sources = [text for i in range(count) for text in ("--source", f"s{i}={sample}")]
        with DaemonProcess([*arguments, *sources]) as daemon:
            load = _watch(daemon, count, seconds)
        yield load
        if not load.keeps_up:
            return


def _watch(daemon: DaemonProcess, count: int, seconds: float) -> Load:
    time.sleep(SETTLE)
    before, cpu, began = daemon.stats(), daemon.cpu(), time.perf_counter()
    lags: list[list[float]] = []
    while (took := time.perf_counter() - began) < seconds:
        time.sleep(min(0.5, seconds - took))
        lags.append([one["lag"] for one in daemon.stats()])
    after, took = daemon.stats(), time.perf_counter() - began
    third = max(1, len(lags) // 3)

    def more(key: str) -> int:
        return int(sum(one[key] for one in after) - sum(one[key] for one in before))

    return Load(
        streams=count,
        cores=(daemon.cpu() - cpu) / took,
        memory=daemon.memory()[0],
        lag=float(np.median(lags)),
        worst=float(np.max(lags)),
        growth=float(np.median(lags[-third:]) - np.median(lags[:third])),
        passes=more("encoder_passes") / took,
        replaced=more("partials_replaced"),
        stretched=more("ambient_stretched"),
    )
