"""``streamer eval probe``: what encoders know of a person's own labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from streamer.cli.options import features_cache, log_option
from streamer.cli.output import note, table

PATH = click.Path(path_type=Path)


@click.command(short_help="Compare encoders on labels of your own.")
@click.option(
    "--data",
    "paths",
    multiple=True,
    required=True,
    type=PATH,
    help="What `train tags` or `train emotion` reads: a folder of recordings for each label, or a table.",
)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    required=True,
    metavar="NAME|PATH",
    help="A model of any family, or a bare encoder. As often as wanted.",
)
@click.option("--folds", type=click.IntRange(3), help="Parts of the data.  [default: 5]")
@click.option("--seed", type=click.IntRange(0), help="Of the folds.")
@click.option(
    "--context",
    type=click.Choice(["auto", "short", "full"]),
    default="auto",
    help="What a Whisper's audio is padded to: nothing, 30 s, or as the daemon runs it.",
)
@click.option("--recipe", type=PATH, help="A TOML file (see config/evaluation/probe.toml).")
@click.option("--cache", type=PATH, help="Folder of features, for all runs.  [default: the user's cache]")
@click.option("--picture", type=PATH, help="Draw recall by layer (PNG, SVG, PDF).")
@click.option("--json", "json_file", metavar="FILE", type=PATH, help="Everything, into a file.")
@log_option
def probe(
    paths: tuple[Path, ...],
    encoders: tuple[str, ...],
    folds: int | None,
    seed: int | None,
    context: Literal["auto", "short", "full"],
    recipe: Path | None,
    cache: Path | None,
    picture: Path | None,
    json_file: Path | None,
    log_format: str | None,
) -> None:
    """Compare frozen encoders by what linear probes make of each of their layers, and of a learnt sum of all.

    Every encoder hears every recording once, ever. Folds go by speaker where every one is known, else as the
    data says, else they are drawn. The table has the weighted sum's accuracy, unweighted average recall and
    macro F1, beside them the best single layer, which was chosen by the same folds and so flatters itself.
    """
    from streamer import logs
    from streamer.config import LogConfig
    from streamer.training.config import read_settings
    from streamer.training.probe.clips import read_labelled
    from streamer.training.probe.fit import ProbeConfig
    from streamer.training.probe.recipe import compare
    from streamer.training.probe.report import as_row, draw, write_json

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    settings: ProbeConfig = read_settings(ProbeConfig, recipe)
    if folds is not None:
        settings = replace(settings, folds=folds)
    if seed is not None:
        settings = replace(settings, seed=seed)
    data = read_labelled(paths, settings.folds, settings.seed)
    for text in data.notes:
        note(text)
    note(f"{len(data.clips)} clips of {len(data.labels)} labels in {len(data.folds)} folds, {data.how}")
    rows = compare(data, encoders, settings, cache or features_cache(), context)
    shown = [as_row(row) for row in rows]
    table(shown, list(shown[0]), as_json=False)
    if json_file is not None:
        write_json(rows, data, settings, json_file)
    if picture is not None:
        draw(rows, picture)
