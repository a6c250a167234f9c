"""The command line. Importing it takes click and little else: a command imports what it needs as it runs."""

from __future__ import annotations

import click

import streamer
from streamer.cli import bench, check, config, devices, features, listen, models, run, train, transcribe
from streamer.cli.eval import evaluate
from streamer.errors import ConfigError, StreamerError


class _Failure(click.ClickException):
    """One clear message instead of a traceback: it did not work."""

    exit_code = 1


class _Mistake(_Failure):
    """What was asked for is wrong: a supervisor need not try again."""

    exit_code = 2


class _Commands(click.Group):
    """Keeps the commands in the order of their use, and turns the package's errors into messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except StreamerError as error:
            raise (_Mistake if isinstance(error, ConfigError) else _Failure)(str(error)) from error


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(streamer.__version__, prog_name="streamer")
def main() -> None:
    """Publish what is said and what is heard, live and on one clock, from one pass of a Whisper encoder.

    Begin with `streamer demo`, or with a microphone: `streamer run`. Both print the dashboard's address.
    """


for _command in (
    run.run,
    run.demo,
    transcribe.transcribe,
    features.features,
    listen.listen,
    devices.devices,
    check.check,
    models.models,
    train.train,
    evaluate,
    bench.bench,
    config.config,
):
    main.add_command(_command)
