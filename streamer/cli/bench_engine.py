"""``streamer bench engine``: a pass, part by part, and other programs beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from streamer.cli.output import json_option, note, records

if TYPE_CHECKING:
    from streamer.evaluation.engine_cost import Cost

COLUMNS = (
    *("who", "part", "precision", "speech", "context", "threads", "tokens"),
    *("ms", "CPU_ms", "times_ours", "of_peak"),
)
PEERS = ("openai-whisper", "ctranslate2", "whisper.cpp")
SIZES = ("tiny", "base", "small", "medium", "large")


@click.command(short_help="A pass of the engine, part by part; other programs beside it.")
@click.option("--model", default="bundled", show_default=True, metavar="NAME|PATH", help="Whose weights.")
@click.option("--dims", type=click.Choice(SIZES), help="Random weights of an official size, of no model.")
@click.option(
    "--context",
    "contexts",
    multiple=True,
    type=click.FloatRange(0.8, 30),
    default=(5.0, 30.0),
    show_default=True,
    help="Seconds of speech.",
)
@click.option("--threads", multiple=True, type=click.IntRange(1), default=(1,), show_default=True)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default=("fp32", "bf16"),
    show_default=True,
    help="Of torch; the last one's rows come first.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "mps"]),
    default="cpu",
    show_default=True,
    help="Where torch computes; with a GPU its rows come first.",
)
@click.option("--tokens", type=click.IntRange(1), help="Tokens that decoders write.  [as many as are heard]")
@click.option("--repeat", type=click.IntRange(1), default=10, show_default=True, help="Rounds.")
@click.option("--peers", is_flag=True, help="openai-whisper, CTranslate2, whisper.cpp too (extra `peers`).")
@click.option("--peer", "chosen", multiple=True, type=click.Choice(PEERS), help="Only this one.")
@click.option("--peer-dims", type=click.Choice(SIZES), help="Their size.  [that of --dims, else tiny]")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw it (PNG, SVG, PDF).")
@json_option
def engine(
    model: str,
    dims: str | None,
    contexts: tuple[float, ...],
    threads: tuple[int, ...],
    precisions: tuple[Any, ...],
    device: Literal["cpu", "cuda", "mps"],
    tokens: int | None,
    repeat: int,
    peers: bool,
    chosen: tuple[str, ...],
    peer_dims: str | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """What one utterance of the sample recording costs: the whole, and each part of it.

    In ONNX Runtime, where it runs there, and in torch. Everything is done in turn. `times ours` compares with
    the first row of the same speech and threads, by the clock; where other work is going on, CPU time (all
    threads together) tells more. `of peak` is how many operations of its matrix products an encoder comes to
    in a second of CPU time, of as many as a plain `matrix product` of the same precision does. Of a GPU only
    the clock tells, which is read once it is done; CPU time is the program's own then, waiting included.
    """
    from streamer.audio.decode import decode_file
    from streamer.backends.torch import choose_device, choose_precision
    from streamer.config import ModelConfig
    from streamer.evaluation.engine_cost import (
        Plan,
        measure,
        own_engines,
        random_engines,
    )
    from streamer.evaluation.onnx_cost import onnx_maker, random_onnx_maker
    from streamer.evaluation.peers import make_peers
    from streamer.resources import find_sample
    from streamer.training import bars

    configs = [ModelConfig(device=device, precision=name) for name in dict.fromkeys(precisions)]
    where, kinds = choose_device(configs[0]), [choose_precision(one) for one in configs]
    plan = Plan(kinds, contexts, threads, tokens, repeat)
    beside = [*make_peers(peer_dims or dims or "tiny", chosen or PEERS)] if peers or chosen else []
    engines = random_engines(dims, kinds, where) if dims else own_engines(model, kinds, where)
    first = random_onnx_maker(dims) if dims else onnx_maker(model)
    if first is not None and device != "cpu":
        beside.insert(0, first)
        first = None
    with bars.progress(sys.stderr.isatty()) as bar:
        task = bar.add_task("engine", total=len(contexts) * len(threads) * (repeat + 1))
        speech = decode_file(str(find_sample()))
        found = list(measure(plan, engines, speech, beside, lambda: bar.advance(task), first))
    records(found, COLUMNS, _cells, as_json)
    if picture is not None:
        from streamer.evaluation.cost_picture import draw

        draw(found, picture)
        note(f"picture: {picture}")


def _cells(cost: Cost) -> tuple[object, ...]:
    return (
        cost.who,
        f"{cost.part}, with tags" if cost.tags and cost.part != "tags" else cost.part,
        cost.precision,
        f"{cost.speech:g} s",
        f"{cost.context:g} s",
        cost.threads,
        cost.tokens,
        f"{cost.ms:.1f}",
        f"{cost.cpu_ms:.1f}",
        f"{cost.ratio:.2f}",
        "" if cost.peak_share is None else f"{cost.peak_share:.0%}",
    )
