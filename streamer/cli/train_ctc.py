"""``streamer train ctc``: a checkpoint that writes what is said."""

from __future__ import annotations

from pathlib import Path

import click

from streamer.cli.options import log_option
from streamer.cli.output import json_option, note, table

PATH = click.Path(path_type=Path)


@click.command(short_help="Letters on a wav2vec 2.0, HuBERT or WavLM.")
@click.option(
    "--data", type=PATH, required=True, multiple=True, help="Folder, manifest.jsonl or CSV; repeatable."
)
@click.option("--encoder", required=True, metavar="NAME|DIR", help="A wav2vec 2.0, HuBERT or WavLM.")
@click.option("--out", type=PATH, required=True, help="Folder of the finished checkpoint.")
@click.option("--work", type=PATH, help="Folder to resume in.  [default: OUT.work]")
@click.option("--config", type=PATH, help="A TOML file (see config/training/ctc.toml).")
@click.option(
    "--vocabulary", type=click.Choice(["auto", "keep", "build"]), help="Whose letters; over --config."
)
@click.option("--steps", type=click.IntRange(1), help="Training steps in all; over --config.")
@click.option("--fresh", is_flag=True, help="Begin from random weights of the encoder's sizes.")
@click.option("--report-to", multiple=True, metavar="NAME", help="tensorboard, wandb: where curves go.")
@json_option
@log_option
def ctc(
    data: tuple[Path, ...],
    encoder: str,
    out: Path,
    work: Path | None,
    config: Path | None,
    vocabulary: str | None,
    steps: int | None,
    fresh: bool,
    report_to: tuple[str, ...],
    as_json: bool,
    log_format: str | None,
) -> None:
    """Fine-tune an encoder on recordings and their transcripts, by CTC.

    Transcripts come from `text` in a manifest.jsonl or a CSV, from LibriSpeech's *.trans.txt, or from a .txt
    beside each recording. What cannot be learnt from is listed and left out. Printed are word and character
    error rates, in per cent, of utterances that were set aside. OUT runs with --model OUT.
    """
    import dataclasses

    from streamer import logs
    from streamer.config import LogConfig
    from streamer.nn.checkpoint import locate
    from streamer.training.config import read_settings
    from streamer.training.ctc.fit import CtcConfig
    from streamer.training.ctc.recipe import train_ctc

    logs.configure(LogConfig.model_validate({"format": log_format or "text"}))
    settings: CtcConfig = read_settings(CtcConfig, config)
    settings = dataclasses.replace(
        settings,
        vocabulary=vocabulary or settings.vocabulary,
        steps=steps or settings.steps,
        fresh=fresh or settings.fresh,
    )
    place = work or out.with_name(f"{out.name}.work")
    scores = train_ctc(data, locate(encoder), out, place, settings, report_to)
    table((dataclasses.asdict(score) for score in scores), ("split", "utterances", "wer", "cer"), as_json)
    note(f"Use it: streamer run --model {out}")
