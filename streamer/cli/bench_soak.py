"""``streamer bench soak``: hours of speech and pauses, and whether anything grows or drifts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import config_options, load_settings
from streamer.cli.output import emit, json_option, note, table

if TYPE_CHECKING:
    from streamer.evaluation.soak import Soak, Stretch

COLUMNS = (
    "from",
    "memory_MB",
    "lag_s",
    "most_lag_s",
    "final_ms",
    "finals",
    "words",
    "other",
    "mean_ms",
    "most_ms",
)


@click.command(short_help="Hours of speech: does anything grow or drift?")
@click.option(
    "--hours", type=click.FloatRange(0, min_open=True), default=6.0, show_default=True, help="Of audio."
)
@click.option(
    "--speed",
    type=click.FloatRange(1),
    default=20.0,
    show_default=True,
    help="Times a microphone's, at most: it waits where the engine is slower.",
)
@click.option(
    "--recording", type=click.Path(path_type=Path), help="Speech to play again and again.  [the sample]"
)
@config_options
@click.option("--picture", type=click.Path(path_type=Path), help="Draw it (PNG, SVG, PDF).")
@json_option
def soak(
    hours: float,
    speed: float,
    recording: Path | None,
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
    picture: Path | None,
    as_json: bool,
) -> None:
    """A recording again and again, with pauses and gaps between, through the daemon's own threads.

    A row for every ten minutes of audio: memory, how far the newest text is behind the newest audio, and how
    far words are from where the second round had them. `--set live.partials=false` makes it quicker.
    """
    settings = load_settings(config, assignments, {"model.name": ("--model", model)})
    from streamer import logs
    from streamer.audio.decode import decode_file
    from streamer.engine import load_engine
    from streamer.evaluation.soak import Plan
    from streamer.evaluation.soak import soak as run
    from streamer.resources import find_sample
    from streamer.training import bars

    logs.configure(settings.config.log.model_copy(update={"level": "error"}))
    samples = decode_file(recording or find_sample())
    plan = Plan(seconds=3600 * hours, speed=speed)
    engine = load_engine(settings.config.model, settings.config.text, settings.config.engine.backend)
    with bars.progress(sys.stderr.isatty()) as bar:
        task = bar.add_task("soak", total=plan.seconds)
        found = run(settings.config, engine, samples, plan, lambda done: bar.update(task, completed=done))
    if as_json:
        for stretch in found.stretches:
            emit(_row(stretch))
        emit(_whole(found))
    else:
        table(map(_row, found.stretches), COLUMNS, as_json=False)
        _tell(found)
    if picture is not None:
        from streamer.evaluation.soak_picture import draw

        draw(found, picture)


def _row(one: Stretch) -> dict[str, Any]:
    values = (
        f"{int(one.start) // 3600}:{int(one.start) // 60 % 60:02d}",
        round(one.memory, 1),
        round(one.lag, 2),
        round(one.most_lag, 2),
        round(one.latency, 1),
        one.finals,
        one.words,
        one.other,
        round(1000 * one.mean, 2),
        round(1000 * one.furthest),
    )
    return dict(zip(COLUMNS, values, strict=True))


def _whole(found: Soak) -> dict[str, Any]:
    from streamer.evaluation.soak import within_a_frame

    stats = found.stats
    return {
        "hours": round(stats.position / 3600, 3),
        "rounds": found.rounds,
        "seconds_taken": round(found.seconds_taken, 1),
        "memory_change": round(found.memory_change, 4),
        "words_within_a_frame": round(within_a_frame(found.apart), 5),
        "utterances_within_a_frame": round(within_a_frame(found.utterances), 5),
        "words_apart_ms": dict(sorted(found.apart.items())),
        "utterances_apart_ms": dict(sorted(found.utterances.items())),
        "finals": stats.finals,
        "suppressed": stats.suppressed,
        "encoder_passes": stats.encoder_passes,
        "missing_seconds": stats.lost,
    }


def _tell(found: Soak) -> None:
    whole = _whole(found)
    words, utterances = whole["words_within_a_frame"], whole["utterances_within_a_frame"]
    note(
        f"{whole['hours']:g} hours in {whole['seconds_taken'] / 60:.0f} minutes, {found.rounds} rounds. "
        f"Memory: at most {100 * found.memory_change:.1f} % from its median behind the first row. "
        f"Starts and ends at most a frame from their place: "
        f"{100 * words:.2f} % of words', {100 * utterances:.2f} % of utterances'."
    )
