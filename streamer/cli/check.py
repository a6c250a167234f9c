"""``streamer check``: whether everything that `run` would need is there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from streamer.cli.options import config_options, load_settings
from streamer.cli.output import clean, emit, json_option
from streamer.errors import StreamerError

if TYPE_CHECKING:
    from streamer.audio.source import Source, StateChange
    from streamer.config import Config

SOURCE_TIMEOUT = 8.0
"""Seconds in which a source must deliver its first samples."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    what: str
    ok: bool
    found: str


@click.command(short_help="Try everything that `run` needs.")
@click.option("--source", "texts", multiple=True, metavar="[NAME=]SPEC", help="As with `run`.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port for clients.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1),
    default=SOURCE_TIMEOUT,
    show_default=True,
    help="Seconds a source.",
)
@config_options
@json_option
def check(
    texts: tuple[str, ...],
    port: int | None,
    timeout: float,
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Try everything that `run` needs: port, sources, model. One line each; status 1 if one fails."""
    import logging

    named = {"model.name": ("--model", model), "server.port": ("--port", port)}
    settings = load_settings(config, assignments, named)
    logging.disable(logging.CRITICAL)  # what goes wrong is told here, once
    failed = False
    for finding in findings(settings.config, texts, timeout):
        failed |= not finding.ok
        if as_json:
            emit(asdict(finding))
        else:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red", bold=True)
            click.echo(f"{mark}  {clean(finding.what)}: {clean(finding.found)}")
    sys.exit(1 if failed else 0)


def findings(config: Config, texts: tuple[str, ...], timeout: float) -> Iterator[Finding]:
    """Every check in order of its cost."""
    yield _try("port", lambda: _port(config))
    from streamer.cli.sources import choose_sources

    try:
        sources = choose_sources(config, texts)
    except StreamerError as error:
        yield Finding("sources", False, str(error))
        sources = []
    for source in sources:
        yield _try(f"source {source.name}", lambda source=source: _source(source, timeout))  # type: ignore[misc]
    yield _try("model", lambda: _model(config))


def _try(what: str, probe: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, probe())
    except StreamerError as error:
        return Finding(what, False, str(error))
    except Exception as error:  # noqa: BLE001  a self-test reports whatever it meets, and goes on
        return Finding(what, False, f"{type(error).__name__}: {error}")


def _port(config: Config) -> str:
    from streamer.server.guard import check_bind
    from streamer.server.transport import bind

    check_bind(config.server)
    with bind(config.server.host, config.server.port) as listener:
        number = listener.getsockname()[1]
    return f"{config.server.host} port {number} is free"


def _source(source: Source, timeout: float) -> str:
    """Open it and wait for its first samples."""
    import threading

    from streamer.audio.ring import Block, Ring
    from streamer.events import SourceState
    from streamer.timebase import SAMPLE_RATE

    arrived, stop = threading.Event(), threading.Event()
    changes: list[StateChange] = []
    ring = Ring(SAMPLE_RATE * 2, live=True, wake=arrived.set)
    over = threading.Event()

    def report(change: StateChange) -> None:
        changes.append(change)
        if change.state in (SourceState.FAILED, SourceState.RECONNECTING, SourceState.ENDED):
            over.set()
            arrived.set()

    began = time.monotonic()
    thread = threading.Thread(
        target=source.run, args=(ring, report, stop), name=f"source {source.name}", daemon=True
    )
    thread.start()
    try:
        while time.monotonic() - began < timeout:
            arrived.wait(max(0.0, timeout - (time.monotonic() - began)))
            arrived.clear()
            if isinstance(ring.read(SAMPLE_RATE), Block):
                return f"{source.address} delivers audio after {time.monotonic() - began:.1f} s"
            if over.is_set():
                raise StreamerError(f"{source.address}: {changes[-1].detail or 'ended without audio'}")
    finally:
        stop.set()
        ring.cancel()
        thread.join(1.0)
    raise StreamerError(
        f"{source.address}: no audio within {timeout:g} s. Is it switched on and within reach?"
    )


def _model(config: Config) -> str:
    from streamer.bus import Bus
    from streamer.pipeline import Pipeline

    began = time.monotonic()
    pipeline = Pipeline.build(config, Bus(0))
    loaded = time.monotonic() - began
    pipeline.start()
    warm = time.monotonic() - began - loaded
    pipeline.stop()
    info = pipeline.model
    sounds = f"{len(info.labels)} sounds" if info.labels else "no sounds"
    languages = ", ".join(info.languages[:3]) + (" …" if len(info.languages) > 3 else "")
    return f"{info.name} ({languages}; {sounds}) loaded in {loaded:.1f} s, warm after {warm:.1f} s more"
