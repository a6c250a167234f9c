"""``streamer devices``: the microphones of this machine."""

from __future__ import annotations

import click

from streamer.cli.output import json_option, table


@click.command(short_help="List the microphones.")
@json_option
def devices(as_json: bool) -> None:
    """List the microphones: what to write after `--source mic:`."""
    from dataclasses import asdict

    from streamer.audio.microphone import list_devices

    rows = [asdict(device) for device in list_devices()]
    for row in rows:
        if not as_json:
            row["default"] = "yes" if row["default"] else ""
    empty = "No microphones here. Try a file or the sample: streamer demo"
    table(rows, ("index", "name", "channels", "rate", "default", "api"), as_json, empty)
