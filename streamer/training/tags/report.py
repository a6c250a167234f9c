"""What a training came to, as one page that needs no network, and its curves as a picture."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import StreamerError
from streamer.evaluation.tags_metrics import score_tags
from streamer.timebase import SAMPLE_RATE
from streamer.training.tags.folds import ClipScores, at_thresholds
from streamer.training.tags.outcome import Outcome
from streamer.training.tags.page import Html, curve, listed, page, paragraph, sound, table
from streamer.training.tags.windows import Files

log = logging.getLogger(__name__)

REPORT, CURVES = "report.html", "curves.png"
CONFUSED = 16
"""Labels in the table of confusions."""
HEARD = 5.0
"""Seconds of an error's sound."""
SHOWN = 200
"""Lines of what was skipped."""


def write_report(folder: Path, outcome: Outcome) -> Path:
    """Write `report.html`, and `curves.png` where matplotlib is installed; returns the page."""
    body = [*_summary(outcome), *_curves(outcome), *_labels(outcome)]
    if (clips := _held_out(outcome)) is not None:
        body += [*_confusions(outcome, clips), *_errors(outcome, clips)]
    body += _skipped(outcome)
    folder.mkdir(parents=True, exist_ok=True)
    draw_curves(folder / CURVES, outcome)
    path = folder / REPORT
    path.write_text(page(f"The sound head {outcome.name}", body), encoding="utf-8")
    return path


def _held_out(outcome: Outcome) -> ClipScores | None:
    """Whole recordings, scored by heads that never heard them."""
    return outcome.folds.clips if outcome.folds is not None else outcome.test


def _summary(outcome: Outcome) -> Iterable[str]:
    prepared, fit = outcome.prepared, outcome.config.fit
    windows = sum(map(len, prepared.features))
    clips = prepared.dataset.clips
    yield paragraph(
        f"{fit.head}, width {fit.width or 'of the encoder'}, on the frozen encoder of "
        f"{outcome.encoder.name}: {len(prepared.labels)} labels, {len(clips)} recordings, {windows} windows."
    )
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    yield paragraph(f"Took: {stages}. Windows that the encoder had to hear: {outcome.passes}.", "note")
    if outcome.scores:
        yield table(["measure, per cent", "held out"], list(outcome.scores.items()))
    for note in prepared.notes:
        yield paragraph(note, "note")


def _series(outcome: Outcome, key: str) -> dict[str, list[float]]:
    out = {"head": [row.get(key, float("nan")) for row in outcome.fitted.curve]}
    if outcome.folds is not None:
        for fold, rows in outcome.folds.curves.items():
            out[f"fold {fold}"] = [row.get(key, float("nan")) for row in rows]
    return {name: line for name, line in out.items() if np.isfinite(line).any()}


TITLES = {
    "loss": "loss on what is learnt (mixed, masked)",
    "validation_loss": "loss on what is held out",
    "validation_map": "mAP on what is held out",
}


def _curves(outcome: Outcome) -> Iterable[str]:
    yield "<h2>Curves</h2>"
    yield paragraph("Over the epochs; the orange line is the head that ships, the others are folds.", "note")
    for key, title in TITLES.items():
        lines = _series(outcome, key)
        yield curve(title, lines, {name: "var(--b)" if name == "head" else "var(--a)" for name in lines})


def draw_curves(path: Path, outcome: Outcome) -> bool:
    """The same curves as a picture; false without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no %s: it takes matplotlib", path.name)
        return False
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (key, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items(), strict=True):
        for name, line in _series(outcome, key).items():
            axes.plot(range(1, len(line) + 1), line, label=name, color="C1" if name == "head" else "C0")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    return True


def _labels(outcome: Outcome) -> Iterable[str]:
    names = [label.name for label in outcome.prepared.labels]
    count = outcome.prepared.dataset.counts()
    none = np.full(len(names), np.nan)
    right, found, ap = none, none, none
    if (clips := _held_out(outcome)) is not None:
        ap = np.array([row.ap for row in score_tags(clips.targets, clips.scores, names).labels])
    if outcome.folds is not None:
        right, found = at_thresholds(outcome.folds.scores, outcome.folds.targets, outcome.thresholds)
    rows = [
        (name, count.get(name, 0), float(ap[c]), outcome.thresholds[c], float(right[c]), float(found[c]))
        for c, name in enumerate(names)
    ]
    rows.sort(key=lambda row: (np.isnan(row[2]), row[2], row[0]))
    yield "<h2>Labels</h2>"
    yield paragraph(
        "Worst first. AP: of whole recordings, held out. Precision and recall: of windows at the threshold, "
        "which was chosen on the same windows, so they flatter.",
        "note",
    )
    yield table(["label", "recordings", "AP", "threshold", "precision", "recall"], rows)


def confusion(clips: ClipScores, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which columns have most recordings of one label, (k,), and what those were taken for, (k, k + 1).

    The last column counts everything else.
    """
    single = np.flatnonzero(clips.targets.sum(1) == 1)
    true = clips.targets[single].argmax(1)
    columns = np.flatnonzero(clips.targets.any(0))
    counts = np.bincount(true, minlength=clips.targets.shape[1])
    top = columns[np.argsort(-counts[columns], kind="stable")][:most]
    best = columns[clips.scores[single][:, columns].argmax(1)] if len(single) else true
    place = np.full(clips.targets.shape[1], len(top))
    place[top] = np.arange(len(top))
    out = np.zeros((len(top) + 1, len(top) + 1), np.int64)
    np.add.at(out, (place[true], place[best]), 1)
    return top.astype(np.int64), out[:-1]


def _confusions(outcome: Outcome, clips: ClipScores) -> Iterable[str]:
    top, counts = confusion(clips, CONFUSED)
    if not counts.sum():
        return
    names = [outcome.prepared.labels[c].name for c in top]
    rows: list[list[object]] = []
    for name, row in zip(names, counts, strict=True):
        cells = [
            Html(f'<span style="opacity:{0.25 + 0.75 * n / max(1, row.sum()):.2f}">{n}</span>') if n else ""
            for n in row.tolist()
        ]
        rows.append([name, *cells])
    yield "<h2>Confusions</h2>"
    yield paragraph("Rows: what it is. Columns: what it was taken for, held out.", "note")
    yield table(["", *names, "something else"], rows, "confusion")


def worst(clips: ClipScores) -> list[tuple[int, int, int]]:
    """Errors, worst first: row of the recording, what it is and what it was taken for.

    The true label is the worst-ranked of several; errors are ordered by how far it lies below the best
    wrong one.
    """
    out = []
    for row, (scores, targets) in enumerate(zip(clips.scores, clips.targets, strict=True)):
        if not targets.any() or targets.all():
            continue
        true = np.flatnonzero(targets)[scores[targets].argmin()]
        wrong = np.flatnonzero(~targets)[scores[~targets].argmax()]
        if scores[wrong] > scores[true]:
            out.append((float(scores[wrong] - scores[true]), row, int(true), int(wrong)))
    out.sort(reverse=True)
    return [(row, true, wrong) for _, row, true, wrong in out]


def _errors(outcome: Outcome, clips: ClipScores) -> Iterable[str]:
    found = worst(clips)
    yield "<h2>Worst errors</h2>"
    yield paragraph(
        f"{len(found)} of {len(clips.clips)} recordings have a wrong label above a true one.", "note"
    )
    names = [label.name for label in outcome.prepared.labels]
    files, rows = Files(), list[list[object]]()
    for row, true, wrong in found[: outcome.config.worst]:
        clip = outcome.prepared.dataset.clips[int(clips.clips[row])]
        try:
            player: object = sound(files.audio(clip)[: int(HEARD * SAMPLE_RATE)])
        except StreamerError as error:
            player = str(error)
        scores = clips.scores[row]
        rows.append(
            [
                Path(clip.path).name,
                names[true],
                float(scores[true]),
                names[wrong],
                float(scores[wrong]),
                player,
            ]
        )
    if rows:
        yield table(["recording", "is", "score", "taken for", "score", ""], rows)


def _skipped(outcome: Outcome) -> Iterable[str]:
    skipped = outcome.prepared.skipped
    yield "<h2>Left out</h2>"
    if not skipped:
        yield paragraph("Nothing.")
        return
    yield listed([f"{one.where}: {one.why}" for one in skipped[:SHOWN]])
    if len(skipped) > SHOWN:
        yield paragraph(f"… and {len(skipped) - SHOWN} more.")
