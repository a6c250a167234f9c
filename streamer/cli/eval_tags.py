"""``streamer eval tags``: how well sounds are named, and found in time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamer.cli.options import config_options, load_settings
from streamer.cli.output import clean, note, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamer.app import FileRun
    from streamer.cli.eval_tags_data import Material
    from streamer.config import Config
    from streamer.evaluation.tags_config import TagsEvalConfig
    from streamer.evaluation.tags_heard import Heard
    from streamer.evaluation.tags_report import TagsReport
    from streamer.evaluation.tags_scenes import Scene

EVERY_LABEL = 100_000
"""Tags in a window's list: all that the model has, because timelines need them all."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be measured. Minutes and mixtures of 0 are none."""

    clips: bool
    mixtures: int
    speech_only: float
    sounds_only: float
    truth: Path | None
    seed: int
    keep: Path | None

    @property
    def listens(self) -> bool:
        """Whether the daemon's own way is needed."""
        return bool(self.mixtures or self.speech_only or self.sounds_only or self.truth)


@click.command(short_help="How well sounds are named, and found in time.")
@click.option(
    "--data",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Sounds: a folder for each label, a table, or a pack. Repeatable.",
)
@click.option(
    "--speech",
    multiple=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Recordings with texts, as in `streamer eval asr`, or a pack. Repeatable.",
)
@click.option("--split", metavar="NAME", help="Only sounds of this split.")
@click.option("--fold", "folds", type=int, multiple=True, help="Only sounds of this fold. Repeatable.")
@click.option("--speech-split", metavar="NAME", help="Only speech of this split, in sets that name any.")
@click.option("--speakers", metavar="NAME,…", help="Only these speakers.")
@click.option("--clips", is_flag=True, help="Name whole recordings (as if nothing else is asked for).")
@click.option(
    "--mixtures",
    type=click.IntRange(1),
    metavar="N",
    help="Find events in N mixtures, by the daemon's own way.",
)
@click.option("--speech-only", type=float, metavar="MINUTES", help="Count sounds where people only speak.")
@click.option("--sounds-only", type=float, metavar="MINUTES", help="Count words where nobody speaks.")
@click.option(
    "--truth",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Find events in annotated recordings (truth.jsonl).",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of every draw.")
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A new folder for what is made, and its truth.",
)
@click.option(
    "--recipe",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="How mixtures are made and events matched (see config/evaluation/tags.toml).",
)
@click.option("--picture", metavar="FILE", type=click.Path(path_type=Path), help="Draw it (PNG, SVG, PDF).")
@click.option(
    "--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Everything, into a file."
)
@config_options
def tags(
    data: tuple[Path, ...],
    speech: tuple[Path, ...],
    split: str | None,
    folds: tuple[int, ...],
    speech_split: str | None,
    speakers: str | None,
    clips: bool,
    mixtures: int | None,
    speech_only: float | None,
    sounds_only: float | None,
    truth: Path | None,
    seed: int,
    keep: Path | None,
    recipe: Path | None,
    picture: Path | None,
    json_file: Path | None,
    config: str | None,
    model: str | None,
    assignments: tuple[str, ...],
) -> None:
    """How well a model names whole recordings, and finds events in time.

    Recordings are named by the model's head alone. Events are found by the whole daemon at full speed, in
    mixtures of background, sounds and speech that are made here from a seed. See docs/evaluate.md.
    """
    from streamer import logs
    from streamer.cli.eval_asr import write_json
    from streamer.cli.eval_tags_data import Choice
    from streamer.evaluation.tags_config import TagsEvalConfig
    from streamer.evaluation.tags_report import TagsReport, as_json
    from streamer.training.config import read_settings

    task = Task(clips, mixtures or 0, speech_only or 0.0, sounds_only or 0.0, truth, seed, keep)
    if not task.listens:
        task = Task(True, 0, 0.0, 0.0, None, seed, keep)
    _check(task, data, speech)
    named = {"model.name": ("--model", model), "sounds.top_k": ("eval tags", EVERY_LABEL)}
    settings = load_settings(config, assignments, named).config
    logs.configure(settings.log.model_copy(update={"level": "error"}))
    how: TagsEvalConfig = read_settings(TagsEvalConfig, recipe)
    people = {name.strip() for name in speakers.split(",")} if speakers is not None else None
    choice = Choice(split, folds, speech_split, people)
    report = TagsReport(
        {"model": settings.model.name, "seed": seed, "data": [str(p) for p in (*data, *speech)]}
    )
    report.about |= {"split": split, "folds": list(folds), "speech_split": speech_split}
    measure = Measurement(task, settings, how, report)
    measure.run(data, speech, choice)
    _print(report)
    if json_file is not None:
        write_json(json_file, as_json(report))
    if picture is not None:
        from streamer.evaluation.tags_picture import draw

        draw(report, picture)


def _check(task: Task, data: Sequence[Path], speech: Sequence[Path]) -> None:
    """Before anything slow. Raises ConfigError and MissingExtraError."""
    from streamer.errors import ConfigError

    if (task.clips or task.mixtures or task.sounds_only) and not data:
        raise ConfigError("expected recordings of sounds: give --data")
    if task.speech_only and not speech:
        raise ConfigError("--speech-only needs recordings with texts: give --speech")
    if task.mixtures and speech:
        from streamer.evaluation.texts import normaliser, word_errors

        word_errors(normaliser()("hello"), "hello")  # says so now where a package for it is missing


class Measurement:
    """One run of the command; fills the report."""

    def __init__(self, task: Task, config: Config, how: TagsEvalConfig, report: TagsReport) -> None:
        self._task, self._config, self._how, self._report = task, config, how, report

    def run(self, data: Sequence[Path], speech: Sequence[Path], choice: Any) -> None:
        """Everything that was asked for."""
        from streamer.cli.eval_tags_data import gather

        task, ignored = self._task, self._how.ignore
        if task.clips:
            from streamer.engine import load_engine

            engine = load_engine(self._config.model, self._config.text, self._config.engine.fixed)
            material = gather(data, speech, [one.name for one in engine.model.labels], choice, ignored)
            self._tell(material)
            self._clips(engine, material)
        if task.listens:
            from streamer.app import FileRun

            with FileRun(self._config) as run:
                need = bool(task.mixtures)
                material = gather(data, speech, run.model.labels, choice, ignored, need_sounds=need)
                if not task.clips:
                    self._tell(material)
                self._listen(run, material)

    def _tell(self, material: Material) -> None:
        self._report.left_out = dict(material.left_out)
        for line in material.notes[:20]:
            note(clean(line))
        if len(material.notes) > 20:
            note(f"… and {len(material.notes) - 20} more")
        if material.left_out:
            names = ", ".join(f"{clean(name)} ({n})" for name, n in sorted(material.left_out.items()))
            note(f"Left out, for the model does not know them: {names}")

    def _clips(self, engine: Any, material: Material) -> None:
        import numpy as np

        from streamer.evaluation.tags_clips import score_recordings
        from streamer.evaluation.tags_metrics import score_tags
        from streamer.training.bars import track

        sounds = material.sounds
        scores = np.stack(
            list(score_recordings(engine, track(sounds, "naming recordings"), self._how.window))
        )
        names = [label.name for label in engine.model.labels]
        truth = np.array([[name in one.labels for name in names] for one in sounds])
        there = np.flatnonzero(truth.any(axis=0))
        self._report.clips = score_tags(truth[:, there], scores[:, there], [names[c] for c in there])

    def _listen(self, run: FileRun, material: Material) -> None:
        from streamer.evaluation.tags_scenes import read_scenes, write_scenes

        task = self._task
        with ExitStack() as stack:
            if task.truth is not None:
                self._events(self._hear(run, task.truth, read_scenes(task.truth)))
            if task.mixtures or task.speech_only or task.sounds_only:
                folder = task.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
                scenes = write_scenes(folder, self._made(material))
                listened = self._hear(run, folder, scenes)
                self._events([one for one in listened if not one[0].variant.endswith("-only")])
                self._alone(listened)

    def _made(self, material: Material) -> Iterator[tuple[NDArray[np.float32], Scene]]:
        """Every scene that was asked for."""
        from streamer.evaluation.mixtures import VARIANTS, Sources, make_mixture, sounds_only, speech_only

        task, how, sources = self._task, self._how, Sources.of(material.recordings)
        variants = VARIANTS if sources.speech else ("sounds",)
        for number in range(task.mixtures):
            mixture = make_mixture(number, sources, how.mixtures, task.seed)
            yield from (mixture.variant(name) for name in variants)
        for number, seconds in enumerate(_pieces(task.speech_only, how.pieces)):
            yield speech_only(number, sources, seconds, how.words_between, task.seed)
        for number, seconds in enumerate(_pieces(task.sounds_only, how.pieces)):
            yield sounds_only(number, sources, seconds, task.seed)

    def _hear(self, run: FileRun, folder: Path, scenes: Sequence[Scene]) -> list[tuple[Scene, Heard]]:
        from streamer.errors import StreamerError
        from streamer.evaluation.tags_heard import Heard
        from streamer.training.bars import track

        out = []
        for scene in track(scenes, "listening"):
            heard = Heard()
            outcome = run.transcribe(str(folder / scene.file), every=heard.add)
            if outcome.error:
                raise StreamerError(f"{folder / scene.file}: {outcome.error}")
            out.append((scene, heard))
        return out

    def _events(self, listened: Sequence[tuple[Scene, Heard]]) -> None:
        from streamer.evaluation.tags_events import match, score_events
        from streamer.evaluation.tags_psds import PSDS, psds, timeline
        from streamer.evaluation.tags_words import overlaps

        how, report = self._how, self._report
        matched = [match(scene, heard.sounds, how.slack) for scene, heard in listened]
        labels = sorted({sound.label for scene, _ in listened for sound in scene.sounds})
        for variant in dict.fromkeys(scene.variant for scene, _ in listened):
            some = [one for one in matched if one.scene.variant == variant]
            report.events[variant] = score_events(some, how.collars)
            lines = [
                timeline(heard.windows, scene.seconds, scene.sounds, labels)
                for scene, heard in listened
                if scene.variant == variant
            ]
            if any(line.truth for line in lines):
                report.psds[variant] = {name: psds(lines, labels, what) for name, what in PSDS.items()}
        report.overlaps += overlaps(matched, listened, self._config.model.language)

    def _alone(self, listened: Sequence[tuple[Scene, Heard]]) -> None:
        from streamer.evaluation.tags_words import false_sounds, false_words

        of = {
            name: [one for one in listened if one[0].variant == name]
            for name in ("speech-only", "sounds-only")
        }
        if of["speech-only"]:
            self._report.speech_only = false_sounds(of["speech-only"])
        if of["sounds-only"]:
            self._report.sounds_only = false_words(of["sounds-only"])


def _pieces(minutes: float, longest: float) -> list[float]:
    """So many minutes as seconds of equal pieces, none longer than `longest` seconds."""
    count = math.ceil(60 * minutes / longest)
    return [60 * minutes / max(count, 1)] * count


def _print(report: TagsReport) -> None:
    from streamer.evaluation.tags_report import UNKNOWN, tables

    for title, rows in tables(report):
        click.echo(f"\n{title}")
        table(rows, list(rows[0]), as_json=False)
    note(f"\n{UNKNOWN}")
