"""Curves of a training, side by side, as a picture."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Panel:
    """lines: by what they are called, points (step, value). chance: where a line of dots goes."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    chance: float | None = None


def series(rows: Sequence[Mapping[str, float]], name: str) -> list[tuple[float, float]]:
    """The points of one measure in a log's rows."""
    return [(row["step"], row[name]) for row in rows if name in row]


def draw(panels: Sequence[Panel], picture: Path) -> bool:
    """Draw them into a file; false without matplotlib, which is said in the log."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no %s: it takes matplotlib", picture.name)
        return False
    figure = Figure(figsize=(3.6 * len(panels), 3), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, points in panel.lines.items():
            axes.plot(*zip(*points, strict=True) if points else ([], []), label=name, marker=".")
        if panel.chance is not None:
            axes.axhline(panel.chance, color="grey", linestyle=":", label="chance")
        axes.set_title(panel.title)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(alpha=0.3)
        if len(panel.lines) > 1 or panel.chance is not None:
            axes.legend()
    figure.savefig(picture, dpi=100)
    return True
