"""``streamer bench``: what things cost on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from streamer.cli.bench_daemon import idle, start, streams
from streamer.cli.bench_engine import engine
from streamer.cli.bench_fanout import fanout
from streamer.cli.bench_soak import soak
from streamer.cli.output import json_option, records

if TYPE_CHECKING:
    from streamer.evaluation.head_cost import Cost

COLUMNS = ("encoder", "context", "part", "width", "parameters", "MFLOP", "%_of_MFLOP", "ms", "%_of_ms")


@click.group(short_help="Measure what things cost here.")
def bench() -> None:
    """Measure what things cost on this machine. Other work beside it slows everything down."""


for command in (engine, start, idle, streams, soak, fanout):
    bench.add_command(command)


@bench.command(short_help="Tag heads beside the encoder that they read.")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    default=("tiny", "base", "bundled"),
    show_default=True,
    help="An official size, or a model.",
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    type=click.FloatRange(0.4, 30),
    default=(5.0, 10.0, 30.0),
    show_default=True,
    help="Seconds.",
)
@click.option("--head", "kinds", multiple=True, help="last-mlp, wa-mlp, wa-tr or tl-tr.  [all]")
@click.option(
    "--width",
    "widths",
    multiple=True,
    type=click.IntRange(0),
    default=(0, 128),
    show_default=True,
    help="What a head works in; 0 is the encoder's own width.",
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--repeat", type=click.IntRange(1), default=20, show_default=True, help="Runs of each.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@json_option
def heads(
    encoders: tuple[str, ...],
    contexts: tuple[float, ...],
    kinds: tuple[str, ...],
    widths: tuple[int, ...],
    threads: int,
    repeat: int,
    precision: str,
    as_json: bool,
) -> None:
    """What each kind of tag head costs, as a share of the encoder pass that it reads.

    The encoder's row is what everything costs without tags; `pooling` is what the pass does for any head.
    """
    import torch

    from streamer.backends.torch import choose_precision
    from streamer.config import ModelConfig
    from streamer.evaluation.head_cost import Plan, dims_of, measure
    from streamer.nn.heads import HEADS
    from streamer.training import bars

    for name in encoders:
        dims_of(name)  # a name that is wrong is told before minutes of work
    plan = Plan(
        encoders=encoders,
        contexts=contexts,
        heads=kinds or tuple(HEADS),
        widths=[width or None for width in widths],
        repeat=repeat,
        dtype=choose_precision(ModelConfig.model_validate({"precision": precision})),
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with bars.progress(sys.stderr.isatty()) as bar:
            task = bar.add_task("heads", total=len(encoders) * len(contexts))
            found = list(measure(plan, lambda: bar.advance(task)))
    finally:
        torch.set_num_threads(before)
    records(found, COLUMNS, _cells, as_json)


def _cells(cost: Cost) -> tuple[object, ...]:
    return (
        cost.encoder,
        f"{cost.context:g} s",
        cost.part,
        cost.width,
        f"{cost.parameters / 1e6:.3f} M",
        f"{cost.mflops:.1f}",
        f"{cost.flops_share:.2f}",
        f"{cost.ms:.2f}",
        f"{cost.time_share:.1f}",
    )
