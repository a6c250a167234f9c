"""``streamer train emotion``: a checkpoint that judges how something was said."""

from __future__ import annotations

from pathlib import Path

import click

from streamer.cli.options import log_option
from streamer.cli.output import json_option, note, table

PATH = click.Path(path_type=Path)


@click.command(short_help="How something was said.")
@click.option("--data", type=PATH, required=True, help="A folder with RAVDESS' or CREMA-D's names, or a CSV.")
@click.option("--encoder", type=PATH, required=True, help="Folder of a wav2vec 2.0, HuBERT or WavLM.")
@click.option("--out", type=PATH, required=True, help="Folder of the finished checkpoint.")
@click.option("--work", type=PATH, help="Folder to resume in.  [default: OUT.work]")
@click.option("--config", type=PATH, help="A TOML file (see config/training/emotion.toml).")
@click.option("--report-to", multiple=True, metavar="NAME", help="tensorboard, wandb: where curves go.")
@json_option
@log_option
def emotion(
    data: Path,
    encoder: Path,
    out: Path,
    work: Path | None,
    config: Path | None,
    report_to: tuple[str, ...],
    as_json: bool,
    log_format: str | None,
) -> None:
    """Fine-tune an encoder's last layers and a head on clips whose emotion is known, tested on new speakers.

    A CSV has the columns file, label, speaker and may have gender. Beside the encoder's row in the table
    stands what a linear classifier makes of mean MFCCs. OUT runs with --model OUT; its CARD.md says what it
    cannot be trusted with.
    """
    from streamer import logs
    from streamer.config import LogConfig
    from streamer.training.config import read_settings
    from streamer.training.emotion.clips import read_clips
    from streamer.training.emotion.fit import EmotionConfig
    from streamer.training.emotion.recipe import as_row, train_emotion

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    settings: EmotionConfig = read_settings(EmotionConfig, config)
    clips = read_clips(data)
    note(f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers")
    rows = train_emotion(clips, encoder, out, work or out.with_name(f"{out.name}.work"), settings, report_to)
    found = [as_row(row) for row in rows]
    table(found, list(found[0]), as_json)
