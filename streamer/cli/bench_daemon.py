"""``streamer bench start``, ``idle`` and ``streams``: the daemon as a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import click

from streamer.cli.output import emit, json_option, note, table


def _daemon_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting of it."),
        click.option("--model", metavar="NAME|PATH", help="Its model.  [bundled]"),
    ):
        command = option(command)
    return command


def _arguments(model: str | None, assignments: Sequence[str]) -> list[str]:
    """Of `run`. Raises ConfigError for settings that do not hold, before minutes of work."""
    from streamer.cli.options import load_settings

    load_settings(None, tuple(assignments), {"model.name": ("--model", model)})
    given = [text for one in assignments for text in ("--set", one)]
    return [*(["--model", model] if model else []), *given]


@click.command(short_help="From nothing to ready: time and memory.")
@_daemon_options
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True, help="Starts.")
@json_option
def start(model: str | None, assignments: tuple[str, ...], repeat: int, as_json: bool) -> None:
    """How long the daemon takes until it is ready, and its memory; in turn with Python and torch alone."""
    from streamer.evaluation.daemon_cost import starts
    from streamer.training import bars

    arguments = [*_arguments(model, assignments), "--source", "push"]
    with bars.progress(sys.stderr.isatty()) as bar:
        task = bar.add_task("start", total=repeat)
        found = starts(arguments, repeat, lambda: bar.advance(task))
    rows = [{k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(one).items()} for one in found]
    if as_json:
        for row in rows:
            emit(row)
        return
    heads = ("what", "s", "CPU_s", "MB_when_ready", "MB_at_most")
    table([_shown(row, heads) for row in rows], heads, as_json=False)


def _shown(row: dict[str, Any], heads: Sequence[str]) -> dict[str, Any]:
    name, seconds, cpu, memory, most = row.values()
    values = (name, f"{seconds:.2f}", f"{cpu:.2f}", "" if memory is None else f"{memory:.0f}", f"{most:.0f}")
    return dict(zip(heads, values, strict=True))


@click.command(short_help="What silence costs.")
@_daemon_options
@click.option("--streams", type=click.IntRange(1), default=4, show_default=True, help="Silent rooms.")
@click.option("--seconds", type=click.FloatRange(1), default=20.0, show_default=True)
@json_option
def idle(
    model: str | None, assignments: tuple[str, ...], streams: int, seconds: float, as_json: bool
) -> None:
    """Per cent of a core that a daemon needs by itself, and for each stream of a silent room."""
    from streamer.evaluation import daemon_cost

    found = daemon_cost.idle(_arguments(model, assignments), streams, seconds)
    if as_json:
        emit(asdict(found))
        return
    rows = [
        {"what": "a daemon without streams", "%_of_a_core": f"{found.alone:.2f}"},
        {"what": f"each of {streams} silent streams", "%_of_a_core": f"{found.each:.2f}"},
    ]
    table(rows, ("what", "%_of_a_core"), as_json=False)


@click.command(short_help="How many live streams there may be.")
@_daemon_options
@click.option(
    "--count",
    "counts",
    multiple=True,
    type=click.IntRange(1),
    default=(1, 2, 4, 8, 16, 32),
    show_default=True,
    help="Streams. Repeatable.",
)
@click.option(
    "--seconds", type=click.FloatRange(2, 40), default=30.0, show_default=True, help="Of each count."
)
@json_option
def streams(
    model: str | None, assignments: tuple[str, ...], counts: tuple[int, ...], seconds: float, as_json: bool
) -> None:
    """Live streams of the sample recording, more and more of them, until lag grows.

    Finals only: --set live.partials=false. All streams speak at the same moments, which is the worst case.
    """
    from streamer.evaluation.daemon_cost import loads
    from streamer.resources import find_sample

    kept = 0
    rows = []
    for load in loads(_arguments(model, assignments), find_sample(), counts, seconds):
        kept = load.streams if load.keeps_up else kept
        record = {k: round(v, 3) for k, v in asdict(load).items()} | {"keeps_up": load.keeps_up}
        if as_json:
            emit(record)
        else:
            note(f"{load.streams} streams: {'keeps up' if load.keeps_up else 'falls behind'}")
        rows.append(record)
    if not as_json:
        table(rows, tuple(rows[0]), as_json=False)
        note(f"{kept} streams keep up." if kept else "Not even the fewest keep up.")
