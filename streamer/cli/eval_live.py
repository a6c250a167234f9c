"""``streamer eval live``: how late, how steady and how right captions are while somebody speaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import load_settings
from streamer.cli.output import note, table

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.evaluation.live import LiveScore, Recording, Spread
    from streamer.evaluation.sets import SpokenWord, TestSet, Utterance

COLUMNS = (
    "set_up",
    "wer",
    "shown",
    "stable",
    "flicker",
    "broken",
    "final_after_endpoint",
    "final_after_word",
)
COSTS = ("partials/s", "passes/s", "tokens/s", "rtf", "memory")


@click.command(short_help="Lag, steadiness and errors of live captions.")
@click.argument("data", nargs=-1, required=True, metavar="DATA…", type=click.Path(path_type=Path))
@click.option(
    "--speed",
    type=click.Choice(["real", "fast"]),
    default="fast",
    show_default=True,
    help="real: the threaded daemon at the speed of a microphone; fast: its parts on a simulated clock.",
)
@click.option("--split", metavar="NAME", help="Only this split, in sets that name any.")
@click.option("--limit", type=click.IntRange(1), help="At most so many utterances a set, evenly spread.")
@click.option("--config", "configs", multiple=True, metavar="PRESET|FILE", help="A set-up. Repeatable.")
@click.option("--model", metavar="NAME|PATH", help="A model by name (see `streamer models`) or path.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting of every set-up.")
@click.option(
    "--vary",
    multiple=True,
    metavar="KEY=A,B,…",
    help="A set-up for each value. Repeatable: all combinations.",
)
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the comparison (PNG, SVG, PDF).")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Everything, into a file.")
def live(
    data: tuple[Path, ...],
    speed: str,
    split: str | None,
    limit: int | None,
    configs: tuple[str, ...],
    model: str | None,
    assignments: tuple[str, ...],
    vary: tuple[str, ...],
    picture: Path | None,
    json_file: Path | None,
) -> None:
    """How late, how steady and how right captions are, and at what cost; several set-ups side by side.

    DATA: as in `streamer eval asr`. Lags need to know when words are said: from `words` in a manifest (see
    `streamer eval words`), else from a pass of the first set-up's model over the whole recording.
    """
    from streamer import logs
    from streamer.cli.eval_asr import write_json
    from streamer.evaluation.sets import choose, read_set

    named = set_ups(configs, model, assignments, vary)
    chosen = [choose(read_set(path), split=split, limit=limit) for path in data]
    first = next(iter(named.values()))
    logs.configure(first.log.model_copy(update={"level": "error"}))
    recordings, guessed = _recordings(
        chosen, first, max(c.segment.hangover_ms for c in named.values()) / 1000
    )
    scores = {name: _listen(name, config, speed, recordings) for name, config in named.items()}
    table([_row(name, score) for name, score in scores.items()], (*COLUMNS, *COSTS), as_json=False)
    total = len(recordings)
    note("Lags and latencies are mean/median/95th percentile in seconds.")
    if guessed:
        note(
            f"Word times of {guessed} of {total} recordings are the model's own, from a pass over the whole."
        )
    if json_file is not None:
        about = {"speed": speed, "recordings": total, "word_times_of_the_model": guessed}
        rows = [_whole(name, named[name], score) for name, score in scores.items()]
        write_json(json_file, {**about, "rows": rows})
    if picture is not None:
        from streamer.evaluation.picture import draw

        draw(scores, picture)


# ------------------------------------------------------------------------------------------- set-ups


def set_ups(
    configs: Sequence[str], model: str | None, assignments: Sequence[str], vary: Sequence[str]
) -> dict[str, Config]:
    """The settings of every set-up by a name that says what differs.

    Raises ConfigError, and click.BadParameter for what is not KEY=A,B.
    """
    axes: list[list[str]] = []
    for one in vary:
        key, equals, values = one.partition("=")
        if not equals or not key.strip() or not all(v.strip() for v in values.split(",")):
            raise click.BadParameter(
                f"expected KEY=A,B,… such as live.policy=agreement,off, found {one!r}", param_hint="--vary"
            )
        axes.append([f"{key.strip()}={value.strip()}" for value in values.split(",")])
    found = {}
    for config, varied in product(configs or (None,), product(*axes)):
        shown = [] if config is None else [Path(config).stem]
        for text in varied:
            key, _, value = text.partition("=")
            shown.append(f"{key.rpartition('.')[2]}={value}")
        settings = load_settings(config, (*assignments, *varied), {"model.name": ("--model", model)})
        found[" ".join(shown) or "default"] = settings.config
    return found


# -------------------------------------------------------------------------------------------- the work


def _recordings(sets: Sequence[TestSet], config: Config, hangover: float) -> tuple[list[Recording], int]:
    """Every utterance with its words' times, and of how many those are the model's own."""
    from streamer.evaluation.asr import decode_audio
    from streamer.evaluation.live import recording
    from streamer.training.bars import track

    utterances = [one for test_set in sets for one in test_set.utterances]
    words = _reader(config, utterances)
    found = []
    for one in track(utterances, "reading"):
        samples = decode_audio(one)
        found.append(recording(one, samples, one.words or words(samples), hangover))
    return found, sum(not one.words for one in utterances)


def _reader(config: Config, utterances: Sequence[Utterance]) -> Callable[[Any], Sequence[SpokenWord]]:
    """What tells the words' times of a recording where nobody knows them; loads a model only for that."""
    if all(one.words for one in utterances):
        return lambda _: ()
    from streamer.engine import load_engine
    from streamer.evaluation.offline import OfflineReader, options_of

    return OfflineReader(load_engine(config.model), options_of(config.model)).words


def _listen(name: str, config: Config, speed: str, recordings: Sequence[Recording]) -> LiveScore:
    from streamer.engine import load_engine
    from streamer.evaluation.live import listen
    from streamer.evaluation.player import FastPlayer, RealPlayer
    from streamer.training.bars import track

    engine = load_engine(config.model, config.text)
    player = (RealPlayer if speed == "real" else FastPlayer)(config, engine)
    return listen(player, engine, track(recordings, name), config.model.language)


# ----------------------------------------------------------------------------------------- what is told


def _shown(spread: Spread) -> str:
    if spread.mean is None:
        return "-"
    return "/".join(
        f"{value:.2f}" for value in (spread.mean, spread.median, spread.most) if value is not None
    )


def _row(name: str, score: LiveScore) -> dict[str, Any]:
    return {
        "set_up": name,
        "wer": f"{score.words.rate:.1f}",
        "shown": _shown(score.spread(lambda lag: lag.shown)),
        "stable": _shown(score.spread(lambda lag: lag.stable)),
        "flicker": f"{score.erasure:.3f}",
        "broken": score.flicker.broken,
        "final_after_endpoint": _shown(score.ends_spread(lambda end: end.decided)),
        "final_after_word": _shown(score.ends_spread(lambda end: end.spoken)),
        "partials/s": f"{score.rate(score.partials):.2f}",
        "passes/s": f"{score.rate(score.passes):.2f}",
        "tokens/s": f"{score.rate(score.tokens):.1f}",
        "rtf": f"{score.real_time_factor:.3f}",
        "memory": f"{score.memory / 2**20:.0f} MB",
    }


def _whole(name: str, config: Config, score: LiveScore) -> Mapping[str, Any]:
    spreads = {
        "shown_lag": score.spread(lambda lag: lag.shown),
        "stable_lag": score.spread(lambda lag: lag.stable),
        "final_after_endpoint": score.ends_spread(lambda end: end.decided),
        "final_after_word": score.ends_spread(lambda end: end.spoken),
    }
    return {
        "set_up": name,
        "settings": {
            part: getattr(config, part).model_dump() for part in ("model", "vad", "segment", "live")
        },
        "wer": score.words.rate,
        "erasure": score.erasure,
        "partials_per_second": score.rate(score.partials),
        "passes_per_second": score.rate(score.passes),
        "tokens_per_second": score.rate(score.tokens),
        "rtf": score.real_time_factor,
        **{key: asdict(spread) for key, spread in spreads.items()},
        **asdict(score),
    }
