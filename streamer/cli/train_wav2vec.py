"""``streamer train wav2vec2`` and ``streamer train wav2vec``: encoders from audio without transcripts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import log_option
from streamer.cli.output import json_option, note, table

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = click.Path(path_type=Path)


def _options(preset: str, out: str) -> Callable[[Any], Any]:
    """What both commands are asked with."""
    options = [
        click.option("--data", type=PATH, required=True, multiple=True, help="Recordings; repeatable."),
        click.option("--encoder", metavar="NAME|PATH", help="A checkpoint to go on from.  [default: none]"),
        click.option("--out", type=PATH, required=True, help=out),
        click.option("--work", type=PATH, help="Folder to resume in.  [default: OUT.work]"),
        click.option("--config", type=PATH, help=f"A TOML file (see config/training/{preset}.toml)."),
        click.option("--steps", type=click.IntRange(1), help="Training steps in all; over --config."),
        click.option("--report-to", multiple=True, metavar="NAME", help="tensorboard, wandb: for curves."),
        json_option,
        log_option,
    ]

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.command(short_help="A wav2vec 2.0 from audio alone.")
@_options("wav2vec2", "Folder of the finished checkpoint.")
def wav2vec2(**given: Any) -> None:
    """Pretrain a wav2vec 2.0 on recordings without transcripts: which code belongs to a hidden frame?

    From the sizes in --config, or going on from a checkpoint. OUT is in Hugging Face's layout, for
    `train ctc`, `train emotion` and `features`; its curve.png has loss, right choices, similarities of hidden
    frames to their own and to other codes, and how many codes are in use.
    """
    from streamer.training.pretrain.config import Wav2Vec2Config
    from streamer.training.pretrain.recipe import train_wav2vec2

    _train(Wav2Vec2Config, train_wav2vec2, given)
    note(f"Use it: streamer train ctc --encoder {given['out']} …")


@click.command(short_help="A wav2vec (v1) from audio alone.")
@_options("wav2vec", "File of the finished checkpoint (.pt).")
def wav2vec(**given: Any) -> None:
    """Pretrain a wav2vec (v1) on recordings without transcripts: which frame comes up to 12 steps later.

    OUT is in fairseq's layout, for `features`; the curve is in --work.
    """
    from streamer.training.pretrain.config import Wav2VecConfig
    from streamer.training.pretrain.recipe import train_wav2vec

    if given["out"].suffix != ".pt":
        raise click.BadParameter(f"expected a name ending in .pt, found {given['out']}", param_hint="--out")
    _train(Wav2VecConfig, train_wav2vec, given)
    note(f"Use it: streamer features --encoder {given['out']} …")


def _train(kind: type[Any], recipe: Callable[..., Mapping[str, float]], given: dict[str, Any]) -> None:
    from streamer import logs
    from streamer.config import LogConfig
    from streamer.nn.checkpoint import locate
    from streamer.training.config import read_settings

    logs.configure(LogConfig.model_validate({"format": given["log_format"] or "text"}))
    settings = read_settings(kind, given["config"])
    if given["steps"] is not None:
        settings = dataclasses.replace(settings, steps=given["steps"])
    out: Path = given["out"]
    work = given["work"] or out.with_name(f"{out.name}.work")
    encoder = locate(given["encoder"]) if given["encoder"] else None
    found = recipe(given["data"], encoder, out, work, settings, given["report_to"])
    row = {name: round(value, 4) for name, value in found.items()}
    table([row], list(row), given["as_json"])
