"""``streamer train emotion``: a checkpoint that judges how something was said."""

from __future__ import annotations

from pathlib import Path

import click

from streamer.cli.options import features_cache, log_option
from streamer.cli.output import json_option, note, table

PATH = click.Path(path_type=Path)


@click.command(short_help="How something was said.")
@click.option("--data", type=PATH, required=True, help="A folder with RAVDESS' or CREMA-D's names, or a CSV.")
@click.option(
    "--encoder",
    required=True,
    metavar="NAME|PATH",
    help="A wav2vec 2.0, HuBERT or WavLM; or a Whisper, or a bare encoder, which stays as it is.",
)
@click.option("--out", type=PATH, required=True, help="Folder of the finished checkpoint, or head.")
@click.option("--work", type=PATH, help="Folder to resume in.  [default: OUT.work]")
@click.option("--cache", type=PATH, help="Folder of a Whisper's features.  [default: the user's cache]")
@click.option("--config", type=PATH, help="A TOML file (see config/training/emotion.toml).")
@click.option("--report-to", multiple=True, metavar="NAME", help="tensorboard, wandb: where curves go.")
@json_option
@log_option
def emotion(
    data: Path,
    encoder: str,
    out: Path,
    work: Path | None,
    cache: Path | None,
    config: Path | None,
    report_to: tuple[str, ...],
    as_json: bool,
    log_format: str | None,
) -> None:
    """Train on clips whose emotion is known, tested on new speakers: the last layers of a wav2vec 2.0, HuBERT
    or WavLM and a head; or a head alone on a Whisper or wav2vec (v1), which hears every clip once.

    A CSV has the columns file, label, speaker and may have gender. Beside the encoder's row in the table
    stands what a linear classifier makes of mean MFCCs. A checkpoint runs with --model OUT, a head with its
    Whisper and --set model.emotion=OUT; CARD.md in it says what it cannot be trusted with.
    """
    from streamer import logs
    from streamer.config import LogConfig
    from streamer.nn.checkpoint import locate
    from streamer.nn.speech_checkpoint import is_speech
    from streamer.training.config import read_settings
    from streamer.training.emotion.clips import read_clips
    from streamer.training.emotion.config import EmotionConfig
    from streamer.training.emotion.frozen_recipe import train_frozen
    from streamer.training.emotion.recipe import as_row, train_emotion
    from streamer.training.tags.encoders import load_encoder

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    settings: EmotionConfig = read_settings(EmotionConfig, config)
    clips = read_clips(data)
    note(f"{len(clips)} clips of {len({clip.speaker for clip in clips})} speakers")
    path = locate(encoder)
    if is_speech(path):
        work = work or out.with_name(f"{out.name}.work")
        rows = train_emotion(clips, path, out, work, settings, report_to)
    else:
        frozen = load_encoder(path)
        rows = train_frozen(clips, frozen, out, cache or features_cache(), settings)
        note(f"Use it: streamer run --model {frozen.info.name} --set model.emotion={out}")
    found = [as_row(row) for row in rows]
    table(found, list(found[0]), as_json)
