"""The options that several commands share, and the settings that they add up to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from streamer.settings import Settings


def config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--config``, ``--model``, ``--set``."""
    for option in (
        click.option(
            "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting: vad.engine=silero."
        ),
        click.option("--model", metavar="NAME|PATH", help="A model by name (see `streamer models`) or path."),
        click.option("--config", metavar="PRESET|FILE", help="A preset or a TOML file."),
    ):
        command = option(command)
    return command


def log_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--log``."""
    choice = click.Choice(["text", "json"])
    return click.option("--log", "log_format", type=choice, help="How log lines look (standard error).")(
        command
    )


def features_cache() -> Path:
    """Where encoders' features are kept unless ``--cache`` says otherwise; it need not exist yet."""
    import os

    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "streamer" / "features"


def load_settings(
    config: str | None,
    assignments: Iterable[str] = (),
    named: dict[str, tuple[str, Any]] | None = None,
    env: bool = True,
) -> Settings:
    """Defaults < preset or file < environment < flags.

    `named` has the flags that were given, as key -> (flag, value); a value of None was not given.
    Raises ConfigError, and click.BadParameter for an assignment without ``=``.
    """
    import os

    from streamer.settings import load

    overrides: dict[str, Any] = {}
    flags: dict[str, str] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(
                f"expected KEY=VALUE, for example vad.aggressiveness=3, found {text!r}", param_hint="--set"
            )
        overrides[key.strip()], flags[key.strip()] = value, "--set"
    for key, (flag, value) in (named or {}).items():
        if value is not None:
            overrides[key], flags[key] = value, flag
    return load(config, os.environ if env else {}, overrides, flags)
