"""What an utterance costs, as a picture: one panel for each length of speech and number of threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamer.errors import MissingExtraError, StreamerError
from streamer.evaluation.engine_cost import OURS, Cost

WIDE, BAR = 9.0, 0.28
"""Inches: of the picture, and of a row."""


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Bars of milliseconds on a logarithmic scale; PNG, SVG or PDF by suffix.

    Raises MissingExtraError without matplotlib, StreamerError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a picture", "eval") from error
    panels: dict[tuple[float, int], list[Cost]] = {}
    for cost in costs:
        panels.setdefault((cost.speech, cost.threads), []).append(cost)
    heights = [len(rows) + 2 for rows in panels.values()]
    figure = Figure(figsize=(WIDE, 0.6 + BAR * sum(heights)), layout="constrained")
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=heights)
    for axes, ((speech, threads), rows) in zip(grid[:, 0], panels.items(), strict=True):
        _panel(axes, rows)
        axes.set_title(f"{speech:g} s of speech, {threads} thread{'s'[: threads - 1]}", fontsize="medium")
    grid[-1, 0].set_xlabel("milliseconds (and times the first row)")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StreamerError(f"cannot write {path}: {error}") from None


def _panel(axes: Any, rows: Sequence[Cost]) -> None:
    names = [f"{row.who} {row.precision}, {row.context:g} s: {row.part}" for row in rows]
    colours = ["C0" if row.who == OURS else "C1" for row in rows]
    axes.barh(range(len(rows)), [row.ms for row in rows], color=colours)
    for place, row in enumerate(rows):
        axes.annotate(f" {row.ms:.1f} (×{row.ratio:.2f})", (row.ms, place), va="center", fontsize="small")
    axes.set_yticks(range(len(rows)), names, fontsize="small")
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.spines[["top", "right"]].set_visible(False)
