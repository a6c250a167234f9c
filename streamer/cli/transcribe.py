"""``streamer transcribe``: the same pipeline over files."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import config_options, load_settings
from streamer.cli.output import clean, note

if TYPE_CHECKING:
    from collections.abc import Callable

    Progress = Callable[[str], Callable[[float], None]]

FORMATS = ("text", "json", "jsonl", "srt", "vtt")


@click.command(short_help="Write down what files say.")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option("--format", "format_", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option(
    "--tags", is_flag=True, help="Sound lines such as [Dog] among the words; json and jsonl always have them."
)
@click.option(
    "--output",
    "-o",
    default="-",
    metavar="DIR|-",
    help="A folder for one file each, or - for standard output.  [-]",
)
@config_options
@click.option("--json", "as_json", is_flag=True, help="The same as --format jsonl.")
def transcribe(
    files: tuple[str, ...],
    format_: str,
    tags: bool,
    output: str,
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write down what is said (and with --tags what is heard) in audio or video files.

    A file that cannot be read does not stop the others; the status is then 1.
    """
    # Nobody watches files being spoken: without partials every final reads its whole utterance at once.
    quick = None if any(text.startswith("live.partials=") for text in assignments) else False
    named = {"model.name": ("--model", model), "live.partials": ("transcribe", quick)}
    settings = load_settings(config, assignments, named)
    from streamer import logs
    from streamer.app import FileRun
    from streamer.captions import SUFFIXES, WRITERS

    format_ = "jsonl" if as_json else format_
    folder = None if output == "-" else _folder(output)
    targets = _targets(files, folder, SUFFIXES[format_])
    # The outcome of each file is told here; the pipeline's own lines only where something is wrong.
    logs.configure(settings.config.log.model_copy(update={"level": "error"}))
    broken: list[str] = []
    # Where text and bars share a terminal, the text waits until the bars are done.
    waiting: list[str] | None = [] if sys.stdout.isatty() and sys.stderr.isatty() else None
    with _progress() as begin, FileRun(settings.config) as run:
        for path, target in zip(files, targets, strict=True):
            outcome = run.transcribe(path, begin(path))
            if outcome.error:
                broken.append(f"{clean(path)}: {clean(outcome.error)}")
                if not (outcome.transcript.finals or outcome.transcript.sounds):
                    continue
            text = WRITERS[format_](outcome.transcript, tags)
            if target is not None:
                try:
                    target.write_text(text, encoding="utf-8")
                except OSError as error:
                    broken.append(f"{clean(path)}: cannot write {clean(target)}: {error.strerror}")
            elif waiting is not None:
                waiting.append(text)
            else:
                click.echo(text, nl=False)
    click.echo("".join(waiting or []), nl=False)
    for line in broken:
        note(f"Failed: {line}")
    if broken:
        note(f"{len(broken)} of {len(files)} files failed.")
        sys.exit(1)


def _folder(output: str) -> Path:
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.BadParameter(
            f"cannot make the folder {output!r}: {error.strerror}", param_hint="--output"
        ) from None
    return folder


def _targets(files: tuple[str, ...], folder: Path | None, suffix: str) -> list[Path | None]:
    """Where each file's text goes; two files of one name keep their own suffixes, then get numbers."""
    if folder is None:
        return [None] * len(files)
    taken: set[Path] = set()
    targets: list[Path | None] = []
    for path in map(Path, files):
        names = [path.stem, path.name, *(f"{path.name}-{n}" for n in range(2, len(files) + 2))]
        target = next(folder / (name + suffix) for name in names if folder / (name + suffix) not in taken)
        taken.add(target)
        targets.append(target)
    return targets


def _progress() -> AbstractContextManager[Progress]:
    """Yields a function that begins a file's bar and returns what moves it; silent where nobody looks."""
    if not sys.stderr.isatty():
        return nullcontext(lambda _: lambda __: None)
    return _Bars()


class _Bars(AbstractContextManager["Progress"]):
    """One bar a file on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
        ]
        # rich would redirect standard output to its console, and that is standard error.
        console = Console(stderr=True)
        self._bars = Progress(*columns, TimeRemainingColumn(), console=console, redirect_stdout=False)

    def __enter__(self) -> Progress:
        self._bars.start()
        return self._begin

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def _begin(self, path: str) -> Callable[[float], None]:
        from rich.markup import escape

        from streamer.cli.screen import clock

        length = duration(path)
        task = self._bars.add_task(escape(clean(Path(path).name)), total=length, done="")

        def move(seconds: float) -> None:
            self._bars.update(task, completed=seconds, done=clock(seconds).strip())

        return move


def duration(path: str) -> float | None:
    """Seconds of audio that a file claims to have, None where it does not say or cannot be read."""
    import av

    try:
        with av.open(path, mode="r", metadata_errors="replace") as container:
            return container.duration / 1_000_000 if container.duration else None
    except (av.FFmpegError, OSError, ValueError):
        return None
