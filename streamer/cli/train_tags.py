"""``streamer train tags``: a head that hears sounds, on a frozen encoder; or one more sound for a head."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamer.cli.options import features_cache, log_option
from streamer.cli.output import note

if TYPE_CHECKING:
    from streamer.training.tags.add import Added
    from streamer.training.tags.outcome import Outcome
    from streamer.training.tags.recipe import TagsRecipe

SHOWN = 20
"""Lines about recordings that were left out; the report has all of them."""

HEADS = ("last-mlp", "wa-mlp", "wa-tr", "tl-tr")

PATH = click.Path(path_type=Path)


@click.command(short_help="A head that hears sounds.")
@click.argument("clips", nargs=-1, type=PATH)
@click.option(
    "--data",
    multiple=True,
    type=PATH,
    help="A folder of recordings for each label, or a CSV, JSON or manifest.jsonl. As often as wanted.",
)
@click.option(
    "--encoder", metavar="NAME|PATH", help="A model's name or path, or a bare encoder.  [default: bundled]"
)
@click.option("--head", type=click.Choice(HEADS), help="What reads the encoder's layers.  [default: tl-tr]")
@click.option(
    "--width", type=click.IntRange(0), help="What it works in; 0: the encoder's own.  [default: 128]"
)
@click.option("--folds", type=click.IntRange(0), help="Folds to draw where the data names none; 0: no test.")
@click.option("--epochs", type=click.IntRange(1), help="Rounds over the data.")
@click.option("--seed", type=click.IntRange(0), help="Of every draw.")
@click.option("--add", "added", metavar="LABEL", help="Instead: add this label to the head --to, from CLIPS.")
@click.option("--to", "target", metavar="NAME|PATH", help="With --add: a head, or a model with one.")
@click.option("--out", type=PATH, required=True, help="Folder of the finished head.")
@click.option("--work", type=PATH, help="Folder to resume in, and of the report.  [default: OUT.work]")
@click.option(
    "--cache", type=PATH, help="Folder of features, for all trainings.  [default: the user's cache]"
)
@click.option("--config", type=PATH, help="A TOML file (see config/training/tags.toml).")
@log_option
def tags(
    clips: tuple[Path, ...],
    data: tuple[Path, ...],
    encoder: str | None,
    head: str | None,
    width: int | None,
    folds: int | None,
    epochs: int | None,
    seed: int | None,
    added: str | None,
    target: str | None,
    out: Path,
    work: Path | None,
    cache: Path | None,
    config: Path | None,
    log_format: str | None,
) -> None:
    """Train a head that hears sounds: the encoder stays as it is, hears every recording once, and is done.

    With --add LABEL CLIPS… --to HEAD: teach a head one more sound from a few recordings, in under a minute.
    Killed at any moment, the same command goes on. See docs/train-sounds.md.
    """
    from streamer import logs
    from streamer.config import LogConfig
    from streamer.errors import ConfigError
    from streamer.training.tags.config import load_tags_config

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("expected one process, found a launch of several: a head is trained in one")
    settings = load_tags_config(config, folds=folds, head=head, width=width, epochs=epochs, seed=seed)
    if added is not None:
        if data or head or width is not None or target is None or not clips:
            raise ConfigError(
                "expected --add LABEL with recordings (CLIPS) and a head (--to), without --data, --head and "
                "--width, as in: streamer train tags --add 'my doorbell' clips/*.wav --to mine --out mine-too"
            )
        from streamer.training.tags.add import add_label, read_target
        from streamer.training.tags.encoders import load_encoder

        head_to = read_target(target)
        frozen = load_encoder(
            encoder or head_to.info.encoder.name,
            settings.encoder_precision,
            settings.context,
            settings.device,
        )
        _tell_added(add_label(added, clips, head_to, out, settings.add, encoder=frozen, seed=seed or 0), out)
    else:
        if not data or clips or target is not None:
            raise ConfigError("expected --data, or --add LABEL with recordings and --to; see --help")
        from streamer.training.tags.recipe import TagsRecipe

        recipe = TagsRecipe(
            data,
            encoder or "bundled",
            out,
            settings,
            work=work or out.with_name(f"{out.name}.work"),
            cache=cache or features_cache(),
        )
        _tell(recipe.run(), recipe)
    click.echo(str(out))


def _tell(outcome: Outcome, recipe: TagsRecipe) -> None:
    for text in outcome.prepared.notes:
        note(text)
    skipped = outcome.prepared.skipped
    if skipped:
        note(f"left out {len(skipped)}:")
    for one in skipped[:SHOWN]:
        note(f"  {one.where}: {one.why}")
    if len(skipped) > SHOWN:
        note("  …")
    for name, value in outcome.scores.items():
        note(f"{name.replace('_', ' ')}: {value:g} %")
    note(f"Report: {recipe.work / 'report.html'}")
    note(f"Use it: streamer run --model {outcome.encoder.name} --set model.tags={recipe.out}")


def _tell_added(added: Added, out: Path) -> None:
    for one in added.skipped:
        note(f"left out {one.where}: {one.why}")
    note(
        f"{added.label.name}: {added.recordings} recordings ({added.windows} windows) against "
        f"{added.negatives} others, {added.seconds:.0f} s. Threshold {added.threshold:g}; recordings found "
        "when left out: "
        f"{100 * added.recall:.0f} %, others taken for it: {100 * added.false_alarms:.1f} %"
    )
    note(f"Use it: streamer run --set model.tags={out}")
