"""``streamer train``: from recordings to a model that the daemon loads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamer.cli.options import log_option
from streamer.cli.output import note

if TYPE_CHECKING:
    from streamer.training.bundled import BundledRecipe

STAGES = ("pack", "voices", "vocabulary", "speech", "export")

NEEDS = {
    "data": ("pack", "voices"),
    "teacher": ("speech", "export"),
    "out": ("export",),
}
"""Options by the stages that cannot do without them."""


@click.group(short_help="Train a model from recordings.")
def train() -> None:
    """Train a model from recordings. See docs/train-a-model.md."""


@train.command(short_help="The recipe of the bundled model.")
@click.option(
    "--stage",
    type=click.Choice([*STAGES, "all"]),
    default="all",
    show_default=True,
    help="One step of the recipe, or all in order.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of data sets, each with a manifest.jsonl."
)
@click.option(
    "--teacher", type=click.Path(path_type=Path), help="A Whisper's encoder: base.pt or .safetensors."
)
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder to work and resume in.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the finished model.")
@click.option("--steps", type=click.IntRange(1), help="Training steps in all.")
@click.option("--seed", type=click.IntRange(0), help="Of every draw.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="A TOML file (see config/training/bundled.toml)."
)
@log_option
def bundled(
    stage: str,
    data: Path | None,
    teacher: Path | None,
    work: Path,
    out: Path | None,
    steps: int | None,
    seed: int | None,
    config: Path | None,
    log_format: str | None,
) -> None:
    """Train as the bundled model was: Whisper's encoder for short contexts, a decoder, a CTC branch, sounds.

    The stages: pack (decode recordings), voices (synthesise sentences), vocabulary, speech (train), export
    (train the sound head, score, quantise, write). Killed at any moment, the same command goes on.
    """
    from streamer import logs
    from streamer.config import LogConfig

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    stages = STAGES if stage == "all" else (stage,)
    _check_paths(stages, {"data": data, "teacher": teacher, "out": out})
    from streamer.training.config import load_config

    settings = load_config(config, steps=steps, seed=seed)
    from streamer.training.bundled import BundledRecipe

    recipe = BundledRecipe(data or Path(), work, teacher or Path(), settings)
    for one in stages:
        note(f"stage {one}")
        _run(recipe, one, out)
    if out is not None and "export" in stages:
        click.echo(str(out))
        note(f"Use it: streamer run --model {out}")


def _run(recipe: BundledRecipe, stage: str, out: Path | None) -> None:
    if stage == "pack":
        recipe.pack()
    elif stage == "voices":
        recipe.voices()
    elif stage == "vocabulary":
        note(f"{recipe.tokenizer().eot} pieces")
    elif stage == "speech":
        recipe.speech()
    elif out is not None:
        model = recipe.trained()
        recipe.export(model, out, recipe.scores(model))


def _check_paths(stages: tuple[str, ...], given: dict[str, Path | None]) -> None:
    """Before hours of work, whether the last of it will find what it needs. Raises ConfigError."""
    from streamer.errors import ConfigError

    for name, path in given.items():
        wanting = [stage for stage in stages if stage in NEEDS[name]]
        if wanting and path is None:
            raise ConfigError(f"the stage {wanting[0]} needs --{name}")
    data, teacher = given["data"], given["teacher"]
    if data is not None and not data.is_dir():
        raise ConfigError(f"--data: expected a folder of data sets, found none at {data}")
    if teacher is not None and not teacher.is_file():
        raise ConfigError(
            f"--teacher: expected a Whisper checkpoint, found no file {teacher}. "
            "Fetch one with: streamer models pull base"
        )
