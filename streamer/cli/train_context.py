"""``streamer train context``: a checkpoint that may be given short contexts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import log_option
from streamer.cli.output import json_option, note, table

if TYPE_CHECKING:
    from streamer.training.context.judge import Row

PATH = click.Path(path_type=Path)


@click.command(short_help="Short contexts for a Whisper.")
@click.option("--model", required=True, metavar="NAME|PATH", help="A Whisper that runs in its full context.")
@click.option(
    "--data", type=PATH, required=True, multiple=True, help="Folder, manifest.jsonl or CSV; repeatable."
)
@click.option("--out", type=PATH, required=True, help="Folder of the finished model.")
@click.option("--tags", metavar="NAME|PATH", help="A tag head of the model's, to go with what comes out.")
@click.option("--work", type=PATH, help="Folder to resume in.  [default: OUT.work]")
@click.option("--config", type=PATH, help="A TOML file (see config/training/context.toml).")
@click.option(
    "--steps", type=click.IntRange(0), help="Training steps in all, 0 to measure only; over --config."
)
@click.option("--report-to", multiple=True, metavar="NAME", help="tensorboard, wandb: where curves go.")
@json_option
@log_option
def context(
    model: str,
    data: tuple[Path, ...],
    out: Path,
    tags: str | None,
    work: Path | None,
    config: Path | None,
    steps: int | None,
    report_to: tuple[str, ...],
    as_json: bool,
    log_format: str | None,
) -> None:
    """Teach a Whisper's encoder to say in a short context what it says in its full one, from audio alone.

    Printed is, for each margin of silence behind the audio, how far it is from that before and after: states
    (share of their variance), texts (other words, in per cent), sounds (greatest difference of a score). The
    smallest margin within the limits is written into OUT, and the daemon then gives it no more than that.
    Where there is none, OUT is the model as it was. See docs/train-context.md.
    """
    import dataclasses

    from streamer import logs
    from streamer.config import LogConfig
    from streamer.training.config import read_settings
    from streamer.training.context.config import ContextConfig
    from streamer.training.context.recipe import train_context

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    settings: ContextConfig = read_settings(ContextConfig, config)
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    place = work or out.with_name(f"{out.name}.work")
    outcome = train_context(model, data, out, place, settings, tags, report_to)
    rows = [
        _cells(row) | {"earned": row.margin is not None and row.margin == outcome.margin}
        for row in outcome.rows
    ]
    if not as_json:
        rows = [row | {"earned": "yes" if row["earned"] else ""} for row in rows]
    names = ["states", *(name for name in ("texts", "sounds") if rows[-1][f"{name}_after"] is not None)]
    columns = [f"{name}_{when}" for name in names for when in ("before", "after")]
    table(rows, ("margin", "context", *columns, "earned"), as_json)
    if outcome.margin is not None:
        note(f"Use it: streamer run --model {out}")


def _cells(row: Row) -> dict[str, Any]:
    """A row of the table."""
    cells: dict[str, Any] = {"margin": "full" if row.margin is None else row.margin, "context": row.context}
    for name in ("states", "texts", "sounds"):
        for when in ("before", "after"):
            value = getattr(getattr(row, when), name)
            cells[f"{name}_{when}"] = None if value is None else round(value, 4)
    return cells
