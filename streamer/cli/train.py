"""``streamer train``: from recordings to a model that the daemon loads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamer.cli.options import log_option
from streamer.cli.output import note
from streamer.cli.train_context import context
from streamer.cli.train_ctc import ctc
from streamer.cli.train_emotion import emotion
from streamer.cli.train_tags import tags
from streamer.cli.train_wav2vec import wav2vec, wav2vec2
from streamer.cli.train_words import words

if TYPE_CHECKING:
    from streamer.training.bundled import BundledRecipe

STAGES = ("pack", "voices", "tunes", "vocabulary", "words", "speech", "export")

NEEDS = {
    "data": ("pack", "voices", "words"),
    "teacher": ("speech", "export"),
    "out": ("export",),
}
"""Options by the stages that cannot do without them."""


@click.group(short_help="Train a model from recordings.")
def train() -> None:
    """Train a model or a sound head. See docs/train-a-model.md and docs/train-sounds.md."""


train.add_command(tags)
train.add_command(words)
train.add_command(emotion)
train.add_command(ctc)
train.add_command(context)
train.add_command(wav2vec2)
train.add_command(wav2vec)


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
@click.option(
    "--from",
    "beginning",
    type=click.Path(path_type=Path),
    help="Instead of a teacher: a model of this recipe, to train on.",
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
    beginning: Path | None,
    work: Path,
    out: Path | None,
    steps: int | None,
    seed: int | None,
    config: Path | None,
    log_format: str | None,
) -> None:
    """Train as the bundled model was: Whisper's encoder for short contexts, a decoder, a CTC branch, sounds.

    The stages: pack (decode recordings), voices (speak sentences), tunes (play music), vocabulary, words
    (word model), speech (train), export (train the sound head, score, quantise, write). Killed at any
    moment, the same command goes on.
    """
    from streamer import logs
    from streamer.config import LogConfig

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    stages = STAGES if stage == "all" else (stage,)
    _check_paths(stages, {"data": data, "teacher": beginning or teacher, "out": out})
    _check_teacher(teacher, beginning)
    _check_processes(stages)
    from streamer.training.config import load_config

    settings = load_config(config, steps=steps, seed=seed)
    from streamer.training.bundled import BundledRecipe

    recipe = BundledRecipe(data or Path(), work, teacher or Path(), settings, beginning=beginning)
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
    elif stage == "tunes":
        recipe.tunes()
    elif stage == "vocabulary":
        note(f"{recipe.tokenizer().eot} pieces")
    elif stage == "words":
        note(f"{recipe.words()} words")
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
            instead = " or --from" if name == "teacher" else ""
            raise ConfigError(f"the stage {wanting[0]} needs --{name}{instead}")
    data = given["data"]
    if data is not None and not data.is_dir():
        raise ConfigError(f"--data: expected a folder of data sets, found none at {data}")


def _check_teacher(teacher: Path | None, beginning: Path | None) -> None:
    from streamer.errors import ConfigError

    if teacher is not None and beginning is not None:
        raise ConfigError("expected --teacher or --from to begin with, found both: leave one out")
    if teacher is not None and not teacher.is_file():
        raise ConfigError(
            f"--teacher: expected a Whisper checkpoint, found no file {teacher}. "
            "Fetch one with: streamer models pull base"
        )


def _check_processes(stages: tuple[str, ...]) -> None:
    """Only training is shared among processes that were launched together. Raises ConfigError."""
    from streamer.errors import ConfigError

    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1" and stages != ("speech",):
        raise ConfigError(
            f"expected --stage speech in a launch of {count} processes, found {', '.join(stages)}: "
            "run the other stages in one process, before and after"
        )
