"""``streamer eval asr``: error rates of a model's text."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import config_options, load_settings
from streamer.cli.output import clean, note, table

if TYPE_CHECKING:
    from streamer.config import Config
    from streamer.evaluation.asr import Reader, Score
    from streamer.evaluation.sets import TestSet

DECODERS = ("attention", "ctc")
COLUMNS = ("set", "path", "decoder", "utterances", "words", "wer", "interval_95", "cer", "sub", "del", "ins")
COSTS = ("seconds", "rtf", "passes")


@dataclass(frozen=True, slots=True)
class Way:
    """One way from recordings to text, and what it is called in the table."""

    path: str
    decoder: str
    read: Reader


@click.command(short_help="Word and character error rates.")
@click.argument("data", nargs=-1, required=True, metavar="DATA…", type=click.Path(path_type=Path))
@click.option("--split", metavar="NAME", help="Only this split, in sets that name any.")
@click.option("--speakers", metavar="NAME,…", help="Only these speakers.")
@click.option(
    "--held-out",
    metavar="bundled|FILE",
    help="Only speakers of a file (one a line); bundled: those that its recipe never trains on.",
)
@click.option("--limit", type=click.IntRange(1), help="At most so many utterances a set, evenly spread.")
@click.option(
    "--path",
    "paths",
    type=click.Choice(["offline", "live"]),
    multiple=True,
    default=("offline",),
    show_default=True,
    help="offline: whole utterances, one pass each; live: the daemon's way, as fast as it can. Repeatable.",
)
@click.option(
    "--decoder",
    "decoders",
    type=click.Choice(DECODERS),
    multiple=True,
    help="Which decoder. Repeatable.  [offline: each that the model has; live: model.decoder]",
)
@click.option("--degrade", type=click.Choice(["telephone"]), help="300 to 3400 Hz, 8 kHz, G.711.")
@click.option("--noise", type=click.Path(path_type=Path), help="A folder of recordings to mix under speech.")
@click.option("--snr", type=float, help="How much louder than the noise speech is, in dB.")
@click.option("--compare", type=click.Choice(["openai-whisper"]), help="The same by another program.")
@click.option("--show", type=click.IntRange(0), default=0, help="So many of the worst utterances.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Everything, into a file.")
@config_options
def asr(
    data: tuple[Path, ...],
    split: str | None,
    speakers: str | None,
    held_out: str | None,
    limit: int | None,
    paths: tuple[str, ...],
    decoders: tuple[str, ...],
    degrade: str | None,
    noise: Path | None,
    snr: float | None,
    compare: str | None,
    show: int,
    json_file: Path | None,
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
) -> None:
    """Error rates of a model's text on recordings whose words are known, in Whisper's normal form.

    DATA: folders with a manifest.jsonl (path, text, speaker, split), folders in LibriSpeech's layout, or
    .csv and .tsv files (path, text). See docs/evaluate.md.
    """
    from streamer.evaluation.sets import choose, read_set

    settings = load_settings(config, assignments, {"model.name": ("--model", model)}).config
    sets = [read_set(path) for path in data]
    only = _speakers(sets, speakers, held_out)
    chosen = [choose(one, split=split, speakers=only.get(one.name), limit=limit) for one in sets]
    audio = _spoiler(degrade, noise, snr)
    with ExitStack() as stack:
        ways = list(_ways(settings, paths, decoders, compare, degrade or noise, stack))
        scores = _measure(ways, chosen, audio, settings.model.language)
        rows = [_row(one, way, score) for one, way, score in scores]
    _print(rows, [score for *_, score in scores], show)
    if json_file is not None:
        about = {"model": settings.model.name, "degrade": degrade, "noise": str(noise) if noise else None}
        content = {**about, "snr": snr, "rows": [_whole(*one) for one in scores]}
        write_json(json_file, content)
    failed = [(path, why) for *_, score in scores for path, why in score.failed]
    for path, why in dict(failed).items():
        note(f"Left out: {clean(path)}: {clean(why)}")
    if failed:
        sys.exit(1)


# ------------------------------------------------------------------------------------ which recordings


def _speakers(sets: Sequence[TestSet], speakers: str | None, held_out: str | None) -> dict[str, set[str]]:
    """The speakers that are wanted of each set, by its name; a set without an entry is taken whole."""
    from streamer.errors import ConfigError

    if speakers is not None and held_out is not None:
        raise ConfigError("--speakers and --held-out both choose speakers: give one of them")
    if held_out == "bundled":
        return _held_out_of_the_recipe(sets)
    if held_out is not None:
        try:
            lines = Path(held_out).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--held-out: expected 'bundled' or a file with a speaker a line, found {held_out!r}: {error}"
            ) from None
        wanted = {line.strip() for line in lines if line.strip()}
    elif speakers is not None:
        wanted = {name.strip() for name in speakers.split(",") if name.strip()}
    else:
        return {}
    return {one.name: wanted for one in sets}


def _held_out_of_the_recipe(sets: Sequence[TestSet]) -> dict[str, set[str]]:
    from streamer.errors import ConfigError
    from streamer.training.bundled import held_out_speakers
    from streamer.training.config import BundledConfig
    from streamer.training.corpus import Clip

    name = BundledConfig().held_out
    for one in sets:
        if one.name == name:
            clips = [Clip("", "", name, speaker=u.speaker) for u in one.utterances]
            return {name: held_out_speakers(clips, name)}
    raise ConfigError(
        f"--held-out bundled: the recipe holds out speakers of {name}, found only: "
        f"{', '.join(one.name for one in sets)}"
    )


def _spoiler(degrade: str | None, noise: Path | None, snr: float | None) -> Callable[[Any], Any]:
    """What gives an utterance's samples as they shall be heard."""
    from streamer.errors import ConfigError
    from streamer.evaluation.asr import decode_audio

    if (noise is None) != (snr is None):
        raise ConfigError("--noise FOLDER and --snr DB belong together: give both")
    if degrade is None and noise is None:
        return decode_audio
    from streamer.cli.eval_audio import Spoiler

    return Spoiler(telephone=degrade == "telephone", noise=noise, snr_db=snr or 0.0)


# ------------------------------------------------------------------------------------------- the work


def _ways(
    config: Config,
    paths: tuple[str, ...],
    decoders: tuple[str, ...],
    compare: str | None,
    spoilt: object,
    stack: ExitStack,
) -> Iterator[Way]:
    """Every way that was asked for. What can be refused is refused before anything slow."""
    from streamer import logs

    logs.configure(config.log.model_copy(update={"level": "error"}))
    if compare is not None:
        from streamer.evaluation.reference import checkpoint_for

        checkpoint_for(config.model.name)
    if "offline" in paths:
        from streamer.evaluation.offline import load_readers

        wanted: tuple[Any, ...] = decoders
        readers = load_readers(config.model, wanted, config.text, config.engine.fixed)
        for decoder, reader in readers.items():
            yield Way("offline", decoder, reader)
    if "live" in paths:
        from streamer.cli.eval_audio import LiveReader

        for name in decoders or (config.model.decoder,):
            of_model = config.model.model_copy(update={"decoder": name})
            live = LiveReader(config.model_copy(update={"model": of_model}), spoilt=bool(spoilt))
            yield Way("live", name, stack.enter_context(live))
    if compare is not None:
        from streamer.evaluation.reference import OpenAIWhisper

        yield Way("whisper.transcribe", "attention", OpenAIWhisper(config.model))


def _measure(
    ways: Sequence[Way], sets: Sequence[TestSet], audio: Callable[[Any], Any], language: str
) -> list[tuple[TestSet, Way, Score]]:
    from streamer.evaluation.asr import measure
    from streamer.training.bars import track

    return [
        (one, way, measure(way.read, track(one.utterances, _name(one, way)), audio, language))
        for one in sets
        for way in ways
    ]


def _name(one: TestSet, way: Way) -> str:
    return f"{one.name}, {way.path}, {way.decoder}"


# ----------------------------------------------------------------------------------------- what is told


def _row(one: TestSet, way: Way, score: Score) -> dict[str, Any]:
    words, characters = score.words, score.characters
    low, high = score.interval
    return {
        "set": one.name,
        "path": way.path,
        "decoder": way.decoder,
        "utterances": len(score.heard),
        "words": words.length,
        "wer": f"{words.rate:.1f}",
        "interval_95": f"{low:.1f}-{high:.1f}",
        "cer": f"{characters.rate:.1f}",
        "sub": words.substitutions,
        "del": words.deletions,
        "ins": words.insertions,
        "seconds": f"{score.seconds:.0f}",
        "rtf": f"{score.real_time_factor:.3f}",
        "passes": score.passes,
    }


def _whole(one: TestSet, way: Way, score: Score) -> dict[str, Any]:
    """A row with figures instead of their texts, and every utterance."""
    row = _row(one, way, score)
    row |= {"wer": score.words.rate, "cer": score.characters.rate, "interval_95": score.interval}
    row |= {"seconds": score.seconds, "rtf": score.real_time_factor}
    row["utterance_errors"] = [
        {
            "path": str(heard.utterance.path),
            "speaker": heard.utterance.speaker,
            "reference": heard.reference,
            "hypothesis": heard.hypothesis,
            "errors": heard.words.total,
            "words": heard.words.length,
            "seconds": heard.seconds,
            "computing": heard.computing,
        }
        for heard in score.heard
    ]
    row["failed"] = [{"path": str(path), "error": why} for path, why in score.failed]
    return row


def _print(rows: Sequence[dict[str, Any]], scores: Sequence[Score], show: int) -> None:
    table(rows, (*COLUMNS, *COSTS), as_json=False)
    for row, score in zip(rows, scores, strict=True):
        for heard in score.worst(show):
            click.echo(
                f"\n{row['set']}, {row['path']}, {row['decoder']}: {heard.words.total} errors "
                f"in {heard.words.length} words, {clean(heard.utterance.path)}\n"
                f"  said   {clean(heard.reference)}\n  heard  {clean(heard.hypothesis)}"
            )


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` into a file. StreamerError where that is not possible."""
    from streamer.errors import StreamerError

    try:
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StreamerError(f"cannot write {path}: {error.strerror}") from None
