"""``streamer config``: what the settings are and where each came from."""

from __future__ import annotations

import click

from streamer.cli.options import config_options, load_settings
from streamer.cli.output import json_option, table


@click.group()
def config() -> None:
    """Look at the settings."""


@config.command("show")
@click.argument("preset_or_file", required=False, metavar="[PRESET|FILE]")
@config_options
@json_option
def show(
    preset_or_file: str | None,
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Every setting, its value and where the value came from.

    Of `default`, the environment and the flags here, or of a PRESET or FILE under them.
    """
    import json

    from streamer.settings import rows

    if preset_or_file and config:
        raise click.UsageError("Give the preset or file once: as an argument or with --config.")
    settings = load_settings(preset_or_file or config, assignments, {"model.name": ("--model", model)})
    table(
        (
            {
                "key": key,
                "value": value if as_json else json.dumps(value, ensure_ascii=False, default=str),
                "origin": origin,
            }
            for key, value, origin in rows(settings)
        ),
        ("key", "value", "origin"),
        as_json,
    )
