"""Which sources a daemon listens to: flags, settings, the default microphone, or the sample that ships."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from streamer.audio.ring import Ring
from streamer.audio.source import Report, Source, StateChange
from streamer.audio.spec import SourceSpec, open_source, parse_source
from streamer.config import Config, SourceConfig
from streamer.errors import SourceError, StreamerError
from streamer.events import SourceState
from streamer.resources import find_sample
from streamer.timebase import SAMPLE_RATE

BETWEEN_ROUNDS = 1.0
"""Seconds of silence between two rounds of a sample that is played again and again."""

PUSH = "push"
"""Instead of a source: none of one's own, clients will send theirs."""


def choose_sources(config: Config, texts: Sequence[str], fast: bool = False) -> list[Source]:
    """The sources in `texts`, else the settings' streams, else the default microphone; nothing is opened yet.

    The text `push`, also as a stream's source in the settings, stands for none. `fast`: files as fast as
    they can be processed. Raises StreamerError where there is no source, where one cannot exist, or where
    two have one name.
    """
    specs = [parse_source(text) for text in texts if text != PUSH]
    if not texts:
        specs = _configured(config) if config.streams else [_default_microphone()]
    names = [spec.name for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StreamerError(
            f"two sources are called {twice[0]!r}: name them, for example --source door=mic --source yard=rtsp://…"
        )
    return [open_source(spec, config.source, fast) for spec in specs]


def demo_source(config: SourceConfig, loop: bool) -> Source:
    """The sample that ships, at its own speed; with `loop` again and again."""
    spec = SourceSpec("demo", "file", str(find_sample()))
    return (
        Repeated(lambda: open_source(spec, config), "sample recording") if loop else open_source(spec, config)
    )


def _configured(config: Config) -> list[SourceSpec]:
    parsed = [(stream, parse_source(stream.source)) for stream in config.streams if stream.source != PUSH]
    return [replace(spec, name=stream.name or spec.name) for stream, spec in parsed]


def _default_microphone() -> SourceSpec:
    from streamer.audio.microphone import list_devices

    try:
        devices = list_devices()
    except SourceError as error:
        found = str(error)
    else:
        if any(device.default for device in devices):
            return parse_source("mic")
        names = ", ".join(f"mic:{device.name}" for device in devices)
        found = f"there is no default microphone. Microphones here: {names or 'none'}"
    raise StreamerError(
        f"no source given, and {found}\n"
        "Give one: --source mic:NAME, --source rtsp://…, --source FILE, or --source push to wait for clients "
        "that send audio. Or try the sample: streamer demo"
    )


class Repeated:
    """A source that is played again whenever it has ended, on one clock, until it is stopped or fails."""

    def __init__(self, make: Callable[[], Source], address: str = "") -> None:
        self._make = make
        first = make()
        self.name = first.name
        self.address = address or first.address
        self.live = first.live

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        """See `Source.run`; states of the rounds after the first are not news and not reported."""
        over: list[SourceState] = []
        seen: set[SourceState] = set()

        def pass_on(change: StateChange) -> None:
            if change.state is SourceState.ENDED:
                over.append(change.state)
            elif change.state not in seen or change.detail:
                seen.add(change.state)
                report(change)

        while not stop.is_set():
            over.clear()
            self._make().run(ring, pass_on, stop)
            if not over:  # failed or stopped
                return
            if stop.wait(BETWEEN_ROUNDS):
                return
            ring.write(np.zeros(round(BETWEEN_ROUNDS * SAMPLE_RATE), np.float32))
