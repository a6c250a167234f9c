"""``streamer eval words``: test recordings whose word times are known exactly."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from streamer.cli.output import note


@click.command(short_help="Speak sentences into a set with exact word times.")
@click.argument("sentences", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(1), help="So many lines at most, evenly spread over the file.")
@click.option("--voices", metavar="NAME,…", help="flite's voices.  [slt,rms,awb,kal16]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of voices and speeds.")
def words(sentences: Path, folder: Path, limit: int | None, voices: str | None, seed: int) -> None:
    """Have flite speak every line of a text file into a new FOLDER, with a manifest that has word times.

    `streamer eval live FOLDER` then knows when every word ends. Lines with digits, and those whose words
    flite runs together, are left out.
    """
    from streamer.errors import StreamerError
    from streamer.evaluation.spoken import VOICES, make_set
    from streamer.training.bars import track

    try:
        lines = [line for line in sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise StreamerError(
            f"expected a text file with a sentence a line, found {sentences}: {error}"
        ) from None
    if limit is not None and limit < len(lines):
        lines = [lines[i * len(lines) // limit] for i in range(limit)]
    chosen = tuple(name.strip() for name in voices.split(",")) if voices else VOICES
    spoken, left = make_set(track(lines, "speaking"), folder, chosen, seed)
    if left:
        note(f"{left} of {len(lines)} lines left out: digits, no words, or words without borders")
    if not spoken:
        sys.exit(1)
    click.echo(str(folder))
