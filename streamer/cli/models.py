"""``streamer models``: what is there, what is in it, and fetching the official ones."""

from __future__ import annotations

import click

from streamer.cli.output import json_option, table


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List models, show one, fetch an official one."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_, as_json=as_json)


@models.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Models here, and official ones that `pull` fetches."""
    from streamer import hub

    table(hub.list_models(), ("name", "kind", "size", "path"), as_json)
