"""What a source of audio is: something that runs in a thread of its own and fills a ring.

A source opens, decodes, mixes down and resamples to 16 kHz mono float32. It knows nothing
downstream of its ring: `report` tells whoever asked about changes of state.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from streamer.audio.ring import Ring
from streamer.events import SourceState


@dataclass(frozen=True, slots=True)
class StateChange:
    """A source's new state. `detail` never contains a password; `retry_in` is in seconds."""

    state: SourceState
    detail: str = ""
    retry_in: float | None = None


Report = Callable[[StateChange], None]


class Source(Protocol):
    """One origin of audio."""

    @property
    def name(self) -> str:
        """Name of the stream it feeds."""

    @property
    def address(self) -> str:
        """Where the audio comes from, fit for logs and events (no password)."""

    @property
    def live(self) -> bool:
        """Whether audio comes at its own pace. A source that is not live waits for room in the ring."""

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        """Fill `ring` until the source ends or `stop` is set.

        The target of the source's thread. Reconnects by itself; returns after reporting ENDED or
        FAILED, or when `stop` is set. Closes whatever it opened. Does not close the ring.
        """
