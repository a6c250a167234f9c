"""``streamer models``: what is there, what is in it, fetching the official ones, finding alignment heads."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.output import emit, json_option, note, table

if TYPE_CHECKING:
    from streamer.hub import Progress


@click.group(invoke_without_command=True, short_help="List, show, fetch and calibrate models.")
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models and tag heads here and the official ones, show one, fetch an official one."""
    if as_json:  # `models --json list` as well as `models list --json`
        ctx.default_map = {name: {"as_json": True} for name in models.commands}
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@models.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Models and tag heads here, and the official models that `pull` fetches."""
    from streamer import hub

    rows = hub.list_models()
    if not as_json:
        rows = [
            {**row, "size": _size(row.get("size")), "sounds": "yes" if row.get("tags") else ""}
            for row in rows
        ]
    table(rows, ("name", "kind", "size", "sounds", "path"), as_json, empty="No models here.")


@models.command()
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """What is known of a model or tag head: its sizes, labels, licence, provenance, scores."""
    from streamer import hub

    found = hub.info(name)
    if as_json:
        emit(found)
        return
    table(({"key": key, "value": value} for key, value in _flat(found)), ("key", "value"), as_json=False)


@models.command()
@click.argument("name")
@click.option("--narrow", is_flag=True, help="The smaller tag head, where one was published.")
@json_option
def pull(name: str, narrow: bool, as_json: bool) -> None:
    """Fetch an official Whisper checkpoint and, where its authors published one, its Whisper-AT head.

    The name of a published head, such as small_low, fetches that alone. A checkpoint is measured and prepared
    for this machine at once, as the first start with it would.
    """
    from streamer import hub

    with ExitStack() as stack:
        pulled = hub.pull(name, progress=_progress(stack), narrow=narrow)
    if as_json:
        emit({"name": name, "checkpoint": pulled.checkpoint, "tags": pulled.tags, "note": pulled.note})
    else:
        click.echo(str(pulled.checkpoint or pulled.tags))
        note(pulled.note)
    if pulled.checkpoint:
        _prepare(name)
    if not as_json:
        model = name if pulled.checkpoint else f"{name.rsplit('_', 1)[0]} --set model.tags={name}"
        note(f"Use it: streamer run --model {model}")


def _prepare(name: str) -> None:
    """What would take a while at the first start with a model."""
    from streamer import logs
    from streamer.cli.options import load_settings
    from streamer.engine import prepare_engine

    config = load_settings(None, (), {"model.name": ("NAME", name)}).config
    logs.configure(config.log)
    prepare_engine(config.model, config.engine.backend)


@models.command()
@click.argument("name")
@click.argument("data", nargs=-1, required=True, metavar="DATA…", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(1), default=40, show_default=True, help="Recordings a set.")
@click.option("--keep/--no-keep", default=True, help="Write the heads into the model's definition.  [keep]")
@json_option
def calibrate(name: str, data: tuple[Path, ...], limit: int, keep: bool, as_json: bool) -> None:
    """Find the heads of a model's decoder that follow the audio: word times and live captions read them.

    DATA: speech, as in `streamer eval live`. Word times come from its manifests (`streamer eval words` makes
    exact ones); where they have none, from the model's CTC branch.
    """
    from streamer.asr.tokenizer import load_tokenizer
    from streamer.evaluation import calibrate as calibration
    from streamer.evaluation.sets import choose, read_set
    from streamer.nn.checkpoint import load, locate
    from streamer.training.bars import track

    model = load(name)
    tokenizer = load_tokenizer(model.vocabulary)
    utterances = [one for path in data for one in choose(read_set(path), limit=limit).utterances]
    spoken = list(calibration.known(model, tokenizer, track(utterances, "reading")))
    found = calibration.calibrate(model, tokenizer, spoken, track)
    if keep:
        calibration.keep(locate(name), found.heads)
    if as_json:
        heads = [list(head) for head in found.heads]
        rates = found.rates.round(4).tolist()
        emit({"heads": heads, "rate": found.rate, "before": found.before, "rates": rates})
        return
    rows = [
        {"layer": layer, "head": head, "hits": f"{100 * found.rates[layer, head]:.1f} %"}
        for layer, head in found.heads
    ]
    table(rows, ("layer", "head", "hits"), as_json=False)
    note(
        f"Together they look at the right word {100 * found.rate:.1f} % of {found.words} times; "
        f"the heads until now: {100 * found.before:.1f} %."
    )


@models.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--heads", type=click.IntRange(1), help="Of a layer's attention, for unpublished widths.")
def convert(file: Path, out: Path, heads: int | None) -> None:
    """Bring a wav2vec 2.0 or HuBERT of torchaudio's bundles or of fairseq into Hugging Face's layout.

    The letters of a CTC head are the published English ones, or those of fairseq's dict.ltr.txt beside FILE.
    """
    from streamer.nn.other_layouts import convert as write

    loaded = write(file, out, heads)
    letters = "".join(loaded.letters.pieces).strip() if loaded.letters else "nothing: it has no CTC head"
    click.echo(str(out))
    note(f"{loaded.encoder.n_layer} layers of {loaded.encoder.n_state}. It writes {letters}")
    note(f"Use it: streamer run --model {out}")


def _size(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.1f} MB"


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values by dotted keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{key}", text


def _progress(stack: ExitStack) -> Progress | None:
    """A bar a file on a terminal's standard error, else nothing."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bars = stack.enter_context(Bars(*columns, console=Console(stderr=True), redirect_stdout=False))
    tasks: dict[str, Any] = {}

    def move(name: str, have: int, total: int | None) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total)
        bars.update(tasks[name], completed=have, total=total)

    return move
