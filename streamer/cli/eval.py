"""``streamer eval``: how well a model and the daemon around it do, on recordings whose truth is known."""

from __future__ import annotations

import click

from streamer.cli import eval_asr, eval_live, eval_probe, eval_tags, eval_words


@click.group("eval", short_help="Measure a model on recordings.")
def evaluate() -> None:
    """Measure a model on recordings whose truth is known. See docs/evaluate.md."""


for _command in (eval_asr.asr, eval_live.live, eval_words.words, eval_tags.tags, eval_probe.probe):
    evaluate.add_command(_command)
