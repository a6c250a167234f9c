"""`streamer train context`: audio to a checkpoint that may be given short contexts, as far as it earns."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.asr.bytepairs import write_ranks
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.backends.torch import choose_precision
from streamer.config import ModelConfig
from streamer.errors import StreamerError
from streamer.nn.checkpoint import LoadedModel, load, save
from streamer.nn.definition import ContextInfo, ModelInfo
from streamer.nn.head_checkpoint import fingerprint
from streamer.nn.whisper import Whisper
from streamer.timebase import to_samples
from streamer.training.context.config import ContextConfig, Limits
from streamer.training.context.distil import LABEL, Distiller, Spread, collate, measure
from streamer.training.context.judge import Listener, Row, earned, judge, middles
from streamer.training.context.pieces import Lessons, Teacher, draw_pieces
from streamer.training.context.told import Scribe
from streamer.training.ctc.recipe import CURVE, REPORT, write_json
from streamer.training.panels import Panel, draw, series
from streamer.training.recordings import Utterance, gather, split_off
from streamer.training.trainer import Pace, claim, evaluations, run

log = logging.getLogger(__name__)

RANKS = "vocab.tiktoken"
SPREAD = 64
"""Pieces whose full context tells how much each channel varies."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured, and the margin in seconds that was earned; None where none was."""

    rows: tuple[Row, ...]
    margin: float | None


def train_context(
    model: str | Path,
    sources: Sequence[Path],
    out: Path,
    work: Path,
    config: ContextConfig,
    tags: str | None = None,
    report_to: Sequence[str] = (),
) -> Outcome:
    """Fine-tune a Whisper's encoder for short contexts on recordings, into the folder `out`.

    What it learns is to give in a short context what it gave in its full one. tags: a tag head on the
    encoder as it was, which then belongs to what comes out. Where no margin is earned, `out` is the
    checkpoint as it was. Goes on where an earlier run in the folder `work` stopped. Raises StreamerError for
    what cannot be used.
    """
    config.checked()
    loaded = load(model, tags)
    if loaded.short_context:
        raise StreamerError(
            f"--model: expected a checkpoint that runs in its full context, found {loaded.name}, which may "
            "be given short ones. Begin from the checkpoint that it was made of"
        )
    tokenizer = load_tokenizer(loaded.vocabulary)
    train, judged = _split(sources, work, config)
    spoken = round(sum(one.seconds for one in train) / 3600, 2)
    log.info("%.1f h to learn from, %d recordings to measure on", spoken, len(judged))
    curve: list[dict[str, float]] = []
    student = Whisper(loaded.model.dims, loaded.model.alignment_heads)
    student.load_state_dict(loaded.model.state_dict())
    if config.steps:
        claim(work, _about(loaded, config, train))
        scribe = None
        if config.texts and config.text and (loaded.info.text.decoder == "attention" or loaded.ctc is None):
            scribe = Scribe(loaded.model, tokenizer, _language(tokenizer, config))
        curve = _distil(student, scribe, (train, judged), work, config, report_to)
    student.half().float()  # what is measured is what is written
    rows = _judge(loaded, student, tokenizer, judged, config)
    margin = earned(rows, config.limits)
    _save(out, loaded, student if margin is not None else loaded.model, tokenizer, rows, margin)
    content = {
        "model": loaded.name,
        "config": dataclasses.asdict(config),
        "hours": spoken,
        "judged": len(judged),
        "margin": margin,
        "rows": [dataclasses.asdict(row) for row in rows],
        "curve": curve,
    }
    write_json(out / REPORT, content)
    if curve:
        lines = {name: series(curve, name) for name in ("states", "layers")}
        panels = [
            Panel("off, share of variance", lines),
            Panel("text, nats a token", {"": series(curve, "text")}),
        ]
        draw(panels, out / CURVE)
    if margin is None:
        log.warning("%s", _unearned(rows, config.limits))
    return Outcome(tuple(rows), margin)


def _split(
    sources: Sequence[Path], work: Path, config: ContextConfig
) -> tuple[list[Utterance], list[Utterance]]:
    """Recordings to learn from, and to measure on: those of the split `test` where there are any."""
    shortest = to_samples(config.draws.shortest)
    found = gather(sources, work / "audio")
    long = [one for one in found if len(one) >= shortest]
    if len(long) < len(found):
        log.warning("left out %d recordings shorter than %g s", len(found) - len(long), config.draws.shortest)
    if not long:
        raise StreamerError(
            f"expected recordings of {config.draws.shortest:g} s or more, found {len(found)} shorter ones"
        )
    train, choose, test = split_off(long, config.held_out, config.seed)
    judged = test or choose
    return train, judged[:: -(-len(judged) // config.judged)]


def _about(loaded: LoadedModel, config: ContextConfig, train: Sequence[Utterance]) -> dict[str, Any]:
    """What must not change between a run and the one that goes on with it."""
    learning = dataclasses.asdict(config)
    for name in ("margins", "limits", "texts", "language", "judged"):  # of the measuring afterwards
        del learning[name]
    encoder = fingerprint(loaded.model.encoder)
    return {"command": "context", "encoder": encoder, "recordings": len(train), "config": learning}


def _distil(
    student: Whisper,
    scribe: Scribe | None,
    recordings: tuple[Sequence[Utterance], Sequence[Utterance]],
    work: Path,
    config: ContextConfig,
    report_to: Sequence[str],
) -> list[dict[str, float]]:
    """Teach the student's encoder; the evaluations are returned."""
    train, judged = recordings
    encoder, draws, n_mels = student.encoder, config.draws, student.dims.n_mels
    count = min(config.pieces, config.steps * config.batch)
    pieces = draw_pieces(train, count, draws, config.seed)
    teacher = Teacher(encoder, pieces, work, config.bf16, scribe).prepare("full contexts")
    tests = draw_pieces(judged, len(judged), draws, config.seed)
    tester = Teacher(encoder, tests, work, config.bf16, scribe).prepare("full contexts to measure on")
    spread = Spread.of(teacher.known(i) for i in range(min(SPREAD, count)))
    model = Distiller(encoder, spread, config.layers, scribe, config.text)
    rows = run(
        model,
        Pace.of(config),
        work,
        Lessons(teacher, config.steps * config.batch, draws, n_mels, config.seed),
        Lessons(tester, len(judged), draws, n_mels, config.seed),
        collate,
        measure,
        report_to=report_to,
        label="Short contexts",
        labels=(LABEL,),
    )
    student.encoder.load_state_dict(model.student.cpu().state_dict())
    if scribe is not None:
        scribe.whisper.cpu()
    return evaluations(rows, "states", "text", "layers", "loss")


def _judge(
    loaded: LoadedModel,
    student: Whisper,
    tokenizer: Tokenizer,
    judged: Sequence[Utterance],
    config: ContextConfig,
) -> list[Row]:
    dtype = choose_precision(ModelConfig())
    before, after = (
        Listener(loaded, whisper, tokenizer, dtype, config.texts) for whisper in (loaded.model, student)
    )
    clips = middles([one.samples for one in judged], config.margins)
    return judge(before, after, clips, config.margins, _language(tokenizer, config))


def _language(tokenizer: Tokenizer, config: ContextConfig) -> str | None:
    """For a decoder: None where it is to find out."""
    if config.language != "auto":
        return config.language
    return None if tokenizer.is_multilingual else "en"


def _save(
    out: Path,
    loaded: LoadedModel,
    whisper: Whisper,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    margin: float | None,
) -> ModelInfo:
    """A folder of ours. A stock checkpoint's vocabulary comes along, so that it needs nobody else's files."""
    context, scores = ContextInfo(), dict(loaded.info.scores)
    if margin is not None:
        context = ContextInfo(short=True, margin=margin, encoder=fingerprint(whisper.encoder))
        row = next(row for row in rows if row.margin == margin)
        told = {"states": row.after.states, "texts": row.after.texts, "sounds": row.after.sounds}
        scores |= {f"context_{name}": round(one, 4) for name, one in told.items() if one is not None}
    update: dict[str, Any] = {"name": out.name, "context": context, "scores": scores}
    if loaded.vocabulary.kind != "ranks":
        update["languages"] = tokenizer.languages or ("en",)
    if margin is not None:
        update["provenance"] = f"{loaded.name}, its encoder taught short contexts by its own full one"
        update["description"] = f"{loaded.name} for contexts from 1 to 30 s"
    out.mkdir(parents=True, exist_ok=True)
    info = loaded.info.model_copy(update=update)
    write_ranks(out / RANKS, tokenizer.pieces)
    return save(
        out,
        info.model_copy(update={"text": info.text.model_copy(update={"vocabulary": RANKS})}),
        whisper,
        out / RANKS,
        tags=loaded.tags,
        labels=loaded.labels,
        ctc=loaded.ctc,
        words=loaded.words,
        precision="fp16",
    )


def _unearned(rows: Sequence[Row], limits: Limits) -> str:
    """Why there is no margin."""
    nearest = rows[-1] if not rows[-1].after.within(limits) else rows[-2]
    where = "in its full context" if nearest.margin is None else f"at a margin of {nearest.margin:g} s"
    names = ("states", "texts", "sounds")
    if nearest.after.texts is None and nearest.after.sounds is None:
        return (
            "no margin was earned: nothing was written in the full context and there is no tag head, and "
            "states alone do not say how near is near enough. The checkpoint was written as it was. Give "
            "recordings of speech, with texts = true"
        )
    over = [
        f"{name} {found:.3g} (limit {getattr(limits, name):g})"
        for name in names
        if (found := getattr(nearest.after, name)) is not None and found > getattr(limits, name)
    ]
    return (
        f"no margin was earned: {where} it is still off by {', '.join(over)}. The checkpoint was written as "
        "it was, and keeps its full context. Train longer, on more audio, or allow more ([limits])"
    )
