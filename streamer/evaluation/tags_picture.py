"""How well each label is known and how exact onsets are, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from streamer.errors import MissingExtraError, StreamerError
from streamer.evaluation.tags_events import EventScores
from streamer.evaluation.tags_report import TagsReport

BIN = 0.2
"""Seconds of one bar of onset errors."""


def draw(report: TagsReport, path: Path) -> None:
    """Bars of average precision and of events found by label, a histogram of onset errors; PNG, SVG or PDF.

    Raises MissingExtraError without matplotlib, StreamerError where there is nothing to draw or the file
    cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a picture", "eval") from error
    bars = _bars(report)
    panels = [panel for panel in (*bars, "onsets" if _true(report) else "") if panel]
    if not panels:
        raise StreamerError("expected recordings or mixtures to draw, found neither: leave --picture out")
    longest = max((len(values) for _, values, _ in bars.values()), default=0)
    figure = Figure(figsize=(5.2 * len(panels), max(4.0, 1.2 + 0.24 * longest)), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        if panel == "onsets":
            _onsets(axes, report)
        else:
            _barred(axes, *bars[str(panel)])
    figure.suptitle(str(report.about.get("model", "")))
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StreamerError(f"cannot write {path}: {error}") from None


def _true(report: TagsReport) -> dict[str, EventScores]:
    """The variants in which there is something to find."""
    return {variant: scores for variant, scores in report.events.items() if scores.count}


Bars = tuple[str, list[str], dict[str, list[float]]]


def _bars(report: TagsReport) -> dict[str, Bars]:
    """Title, labels and series of values in [0, 1], the best label first."""
    out: dict[str, Bars] = {}
    if report.clips is not None:
        rows = sorted((row for row in report.clips.labels if row.count), key=lambda row: -row.ap)
        title = (
            f"average precision of {report.clips.clips} recordings (mean {100 * report.clips.mean_ap:.1f})"
        )
        out["ap"] = title, [row.label for row in rows], {"AP": [row.ap for row in rows]}
    if _true(report):
        found = {
            variant: {row.label: row.found / row.count for row in scores.labels if row.count}
            for variant, scores in _true(report).items()
        }
        first = next(iter(found.values()))
        labels = sorted(first, key=lambda label: (-first[label], label))
        series = {variant: [shares.get(label, 0.0) for label in labels] for variant, shares in found.items()}
        out["found"] = "share of the events found", labels, series
    return out


def _barred(axes: Any, title: str, labels: list[str], series: dict[str, list[float]]) -> None:
    places = np.arange(len(labels))
    height = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        offset = (number - (len(series) - 1) / 2) * height
        axes.barh(places + offset, values, height, label=name, color=f"C{number}")
    axes.set_yticks(places, labels, fontsize="small")
    axes.set(xlim=(0, 1), ylim=(len(labels) - 0.4, -0.6))
    axes.set_title(title, fontsize="medium")
    axes.grid(axis="x", alpha=0.3)
    if len(series) > 1:
        _legend(axes)


def _onsets(axes: Any, report: TagsReport) -> None:
    errors = {variant: np.array(scores.onset_errors) for variant, scores in _true(report).items()}
    reach = max((float(np.abs(e).max()) for e in errors.values() if len(e)), default=1.0)
    edges = np.arange(-np.ceil(reach / BIN), np.ceil(reach / BIN) + 1) * BIN
    names = [
        f"{variant}: median {np.median(np.abs(error)):.2f} s" if len(error) else f"{variant}: none"
        for variant, error in errors.items()
    ]
    colours = [f"C{number}" for number in range(len(errors))]
    axes.hist([*errors.values()], edges.tolist(), label=names, color=colours)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlabel="reported minus true onset, s", ylabel="events")
    axes.set_title("onsets of the events found", fontsize="medium")
    axes.grid(alpha=0.3)
    _legend(axes)


def _legend(axes: Any) -> None:
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2, frameon=False)
