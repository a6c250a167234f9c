"""The daemon as its users start it, a process of its own, and what tests need to watch it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

import streamer
from streamer.audio.decode import decode_file
from streamer.errors import StreamerError
from streamer.nn.definition import read_info
from streamer.resources import find_sample, models_dir
from streamer.timebase import SAMPLE_RATE

Event = dict[str, Any]


def bundled() -> Path | None:
    """The model that ships, where it does."""
    try:
        path = models_dir() / "bundled"
    except StreamerError:
        return None
    return path if (path / "model.toml").is_file() else None


def hears_sounds(model: Path) -> bool:
    """Whether the model's own definition claims that it tells sounds apart."""
    scores: dict[str, Any] = dict(read_info(model).scores)
    return float(scores.get("esc10_accuracy", 0.0)) > 0.3


def sample() -> NDArray[np.float32]:
    """The recording that ships."""
    return decode_file(find_sample())


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    """A 16-bit file at 16 kHz."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(pcm(samples))
    return path


def pcm(samples: NDArray[np.float32]) -> bytes:
    """As s16le."""
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


class Process:
    """`streamer COMMAND` with `arguments`. A context manager; what it says is collected.

    Listens on a free port. `settings`: what goes to `--set`.
    """

    def __init__(
        self, command: str, *arguments: str, model: Path, settings: dict[str, Any] | None = None
    ) -> None:
        sets = {"model.threads": 1, **(settings or {})}
        self._command = [sys.executable, "-m", "streamer.cli", command, *arguments, "--json", "--port", "0"]
        self._command += ["--model", str(model)]
        for key, value in sets.items():
            self._command += ["--set", f"{key}={value}"]
        self.events: list[Event] = []
        self.log: list[str] = []
        self.port = 0

    def __enter__(self) -> Process:
        """Started, the model loaded."""
        self.process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **{key: value for key, value in os.environ.items() if not key.startswith("STREAMER_")},
                "PYTHONPATH": str(Path(streamer.__file__).parent.parent),
                "OMP_NUM_THREADS": "1",
            },
        )
        self._readers = [
            threading.Thread(target=self._read, args=(stream, take), name=f"read-{name}", daemon=True)
            for name, stream, take in (
                ("events", self.process.stdout, lambda line: self.events.append(json.loads(line))),
                ("log", self.process.stderr, self.log.append),
            )
        ]
        for reader in self._readers:
            reader.start()
        try:
            self.until(lambda: any("ready after" in line for line in self.log), 60)
        except BaseException:
            self._end()
            raise
        address = re.search(r"ws://127\.0\.0\.1:(\d+)/ws", "\n".join(self.log))
        assert address is not None, self.log
        self.port = int(address[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _read(self, stream: IO[str], take: Callable[[str], None]) -> None:
        for line in stream:
            take(line.rstrip("\n"))

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    @property
    def url(self) -> str:
        """The dashboard's address."""
        return f"http://127.0.0.1:{self.port}/"

    def until(self, condition: Callable[[], object], timeout: float = 20.0) -> None:
        """Wait; what the daemon said is in the failure's text."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert self.process.poll() is None, "\n".join(self.log)
            assert time.monotonic() < deadline, "\n".join(self.log + [str(e) for e in self.events[-20:]])
            time.sleep(0.02)

    def of(self, *types: str) -> list[Event]:
        """Events of these types."""
        return [event for event in list(self.events) if event["type"] in types]

    def terminate(self) -> tuple[int, float]:
        """SIGTERM; the exit status and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15), time.monotonic() - began

    def connect(self, query: str = "", **options: Any) -> connect:
        """A websocket client."""
        return connect(
            f"ws://127.0.0.1:{self.port}/ws{query}",
            **{"proxy": None, "compression": None, "max_queue": None} | options,
        )


async def push(
    client: ClientConnection,
    stream: str,
    audio: bytes,
    sizes: Callable[[], int] = lambda: 32_000,
    **options: Any,
) -> None:
    """Send a whole stream, cut into so many bytes each, as fast as the daemon takes them."""
    await client.send(json.dumps({"type": "audio.open", "stream": stream, "rate": SAMPLE_RATE, **options}))
    at = 0
    while at < len(audio):
        size = sizes()
        await client.send(audio[at : at + size])
        at += size
    await client.send(json.dumps({"type": "audio.close"}))


def is_end(event: Event, stream: str) -> bool:
    """Whether a stream is over with this event."""
    return (
        event["type"] == "stream.state"
        and event["stream"] == stream
        and event["state"] in ("ended", "failed")
    )


async def listen(client: ClientConnection, until: Callable[[Event], bool]) -> list[Event]:
    """Events up to and with the one that is wanted."""
    events: list[Event] = []
    async for message in client:
        events.append(json.loads(message))
        if until(events[-1]):
            return events
    raise AssertionError(f"closed with {client.close_code} after {events[-3:]}")
