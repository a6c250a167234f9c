"""``streamer train words``: a word model from texts."""

from __future__ import annotations

from pathlib import Path

import click

from streamer.cli.output import note


def _weighted(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[Path, int]:
    """FILE or FILE=WEIGHT."""
    files = {}
    for value in values:
        name, equals, weight = value.rpartition("=")
        if equals and not weight.isdecimal():
            raise click.BadParameter(f"expected FILE or FILE=WEIGHT with a whole number, found {value!r}")
        path = Path(name if equals else value)
        if not path.is_file():
            raise click.BadParameter(f"expected a text file, found none at {path}")
        files[path] = max(1, int(weight)) if equals else 1
    return files


@click.command(short_help="A word model from texts.")
@click.argument("texts", nargs=-1, required=True, callback=_weighted, metavar="FILE[=WEIGHT]...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The .safetensors file to write.")
@click.option(
    "--words", type=click.IntRange(1, 65533), default=40000, show_default=True, help="At most so many."
)
@click.option(
    "--least-bigram", type=click.IntRange(1), default=2, show_default=True, help="Pairs seen so often."
)
@click.option(
    "--least-trigram", type=click.IntRange(1), default=3, show_default=True, help="Likewise threes."
)
@click.option("--letters", default="", help="Of the language beyond a to z, lower case.")
def words(
    texts: dict[Path, int], out: Path, words: int, least_bigram: int, least_trigram: int, letters: str
) -> None:
    """Learn which words there are and what follows what, from plain text files (UTF-8).

    A CTC model that is guided by it spells words that exist. Texts like what will be said help most; a file
    with =WEIGHT counts that often. Use it: streamer run --set model.words=FILE
    """
    from streamer.training.ngrams import NgramConfig
    from streamer.training.words import learn_words

    count = learn_words(texts, (), NgramConfig(words, least_bigram, least_trigram), out, letters)
    note(f"{count} words, {out.stat().st_size / 1e6:.1f} MB")
    click.echo(str(out))
