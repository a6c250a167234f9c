"""``streamer run`` and ``streamer demo``: the daemon."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import config_options, load_settings, log_option
from streamer.cli.output import clean, json_option, note, width

if TYPE_CHECKING:
    from streamer.audio.source import Source
    from streamer.config import Config
    from streamer.events import Event
    from streamer.pipeline import Pipeline

log = logging.getLogger(__name__)

QUIET = ("level", "sound.tags", "stats")
"""Events that a terminal does not show."""


def _server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option(
            "--token", metavar="TOKEN", help="What clients have to know; needed on any address but loopback."
        ),
        click.option("--host", metavar="ADDRESS", help="Where to listen for clients.  [127.0.0.1]"),
        click.option(
            "--port", type=click.IntRange(0, 65535), help="Port for clients; 0 takes a free one.  [8765]"
        ),
    ):
        command = option(command)
    return command


@click.command(short_help="Listen, and publish what is said and heard.")
@click.option(
    "--source",
    "texts",
    multiple=True,
    metavar="[NAME=]SPEC",
    help="mic, mic:NAME, rtsp://…, http(s)://…, a file, or push: clients send audio. Several for several.",
)
@config_options
@_server_options
@click.option("--once", is_flag=True, help="End when every source has ended; status 1 if one failed.")
@click.option("--fast", is_flag=True, help="Files as fast as possible; the events stay the same.")
@log_option
@json_option
def run(
    texts: tuple[str, ...],
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    port: int | None,
    host: str | None,
    token: str | None,
    once: bool,
    fast: bool,
    log_format: str | None,
    as_json: bool,
) -> None:
    """Listen to microphones, cameras, streams and files, and publish what is said and heard.

    Without a source: the streams of the settings, else the default microphone. Clients connect to the
    printed address; `--json` prints every event on standard output as well.
    """
    named = {
        "model.name": ("--model", model),
        "server.port": ("--port", port),
        "server.host": ("--host", host),
        "server.token": ("--token", token),
        "log.format": ("--log", log_format),
    }
    settings = load_settings(config, assignments, named)
    from streamer.cli.sources import choose_sources

    sources = choose_sources(settings.config, texts, fast)
    sys.exit(serve(settings.config, sources, once=once, fast=fast, as_json=as_json, box=False))


@click.command(short_help="Run the daemon on its sample audio.")
@config_options
@_server_options
@click.option("--once", is_flag=True, help="End after the sample has been played once.")
@click.option("--no-loop", is_flag=True, help="Play the sample once and stay.")
@log_option
@json_option
def demo(
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    port: int | None,
    host: str | None,
    token: str | None,
    once: bool,
    no_loop: bool,
    log_format: str | None,
    as_json: bool,
) -> None:
    """The whole daemon on the sample audio that comes with it, in real time, over and over."""
    named = {
        "model.name": ("--model", model),
        "server.port": ("--port", port),
        "server.host": ("--host", host),
        "server.token": ("--token", token),
        "log.format": ("--log", log_format),
    }
    settings = load_settings(config, assignments, named)
    from streamer.cli.sources import demo_source

    source = demo_source(settings.config.source, loop=not (once or no_loop))
    sys.exit(serve(settings.config, [source], once=once, fast=False, as_json=as_json, box=True))


def serve(
    config: Config, sources: Sequence[Source], *, once: bool, fast: bool, as_json: bool, box: bool
) -> int:
    """Run the daemon to its end with its messages on standard error; the exit status."""
    import asyncio

    from streamer import logs
    from streamer.app import Daemon
    from streamer.cli.printer import PATIENCE, Printer

    level = config.log.level
    if level == "info" and not as_json and sys.stdout.isatty():
        level = "warning"  # the screen shows what happens; log lines between captions would say it twice
    handler = logs.configure(config.log.model_copy(update={"level": level}))
    began = time.monotonic()
    tell = note if config.log.format == "text" else log.info

    def on_listening(port: int) -> None:
        lines = [f"dashboard  {dashboard(config, port)}", f"websocket  {dashboard(config, port, 'ws')}ws"]
        lines += [f"source     {clean(s.name)}: {clean(s.address)}" for s in sources]
        for line in _framed(lines) if box else lines:
            tell(line)
        tell(f"loading model {clean(config.model.name)} …")

    def on_ready(pipeline: Pipeline) -> None:
        tell(f"ready after {time.monotonic() - began:.1f} s: model {clean(pipeline.model.name)}")
        if pipeline.model.description:
            tell(clean(pipeline.model.description))
        if box:
            tell("Open the dashboard in a browser. Ctrl-C ends.")

    daemon = Daemon(config, sources, once=once, fast=fast, on_listening=on_listening, on_ready=on_ready)
    write = _writer(as_json)
    if write is None:
        return asyncio.run(daemon.run())
    printer = Printer(write, daemon.stop, patience=None if fast and once else PATIENCE)
    daemon.sinks.append(printer)
    try:
        return asyncio.run(daemon.run())
    finally:
        printer.close()
        handler.close()


def _writer(as_json: bool) -> Callable[[Event], None] | None:
    """What becomes of events on standard output: JSON lines, captions for a terminal, or nothing."""
    from streamer.cli.printer import print_json
    from streamer.cli.screen import Screen

    if as_json:
        return print_json
    if not sys.stdout.isatty():
        return None
    screen = Screen(sys.stdout)
    return lambda event: None if event.type in QUIET else screen.show(event.model_dump(mode="json"))


def dashboard(config: Config, port: int, scheme: str = "http") -> str:
    """The address for a browser on this machine."""
    host = config.server.host
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}.get(
        host, f"[{host}]" if ":" in host else host
    )
    return f"{scheme}://{host}:{port}/"


def _framed(lines: Sequence[str]) -> list[str]:
    """The lines in a box."""
    inner = max(map(width, lines)) + 2
    body = ["│ " + line + " " * (inner - 1 - width(line)) + "│" for line in lines]
    return ["╭" + "─" * inner + "╮", *body, "╰" + "─" * inner + "╯"]
