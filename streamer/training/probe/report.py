"""What a comparison of encoders says: rows of a table, everything as JSON, one picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from streamer.errors import MissingExtraError, StreamerError
from streamer.training.emotion.measures import Measures
from streamer.training.probe.clips import Labelled
from streamer.training.probe.fit import ProbeConfig
from streamer.training.probe.recipe import Row


def as_row(row: Row) -> dict[str, Any]:
    """A row of the table: sizes; the best layer's recall; the weighted sum's measures; its weights."""
    best = row.best
    return {
        "encoder": row.name,
        "size": f"{len(row.layers)} × {row.width}" if row.layers else str(row.width),
        "best_layer": None if best is None else best,
        "uar_there": None if best is None else round(row.layers[best - row.first].uar, 3),
        **_rounded(row.summed),
        "layer_weights": " ".join(f"{share:.2f}" for share in row.shares),
    }


def write_json(rows: Sequence[Row], data: Labelled, config: ProbeConfig, path: Path) -> None:
    """Everything that was measured. Raises StreamerError where the file cannot be written."""
    content = {
        "labels": data.labels,
        "clips": len(data.clips),
        "folds": {"count": len(data.folds), "how": data.how},
        "settings": asdict(config),
        "encoders": [_everything(row) for row in rows],
    }
    try:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise StreamerError(f"cannot write {path}: {error.strerror}") from None


def _everything(row: Row) -> dict[str, Any]:
    return {
        "encoder": row.name,
        "width": row.width,
        "best_layer": row.best,
        "weighted_sum": _rounded(row.summed) | {"confusion": row.summed.confusion.tolist()},
        "layer_weights": [round(share, 4) for share in row.shares],
        "layers": [
            {"layer": number, **_rounded(found)} for number, found in enumerate(row.layers, row.first)
        ],
    }


def _rounded(found: Measures) -> dict[str, float]:
    values = {"accuracy": found.accuracy, "uar": found.uar, "f1": found.f1} | found.by_gender
    return {name: round(value, 3) for name, value in values.items()}


def draw(rows: Sequence[Row], path: Path) -> None:
    """Recall by depth: a line an encoder, its weighted sum beside it, the baseline dashed; by suffix.

    Raises MissingExtraError without matplotlib, StreamerError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a picture", "eval") from error
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    deepest = max((row.first + len(row.layers) for row in rows), default=1)
    for number, row in enumerate(rows):
        colour = f"C{number % 10}"
        if not row.layers:
            axes.axhline(row.summed.uar, linestyle="--", color="grey", label=row.name)
            continue
        depths = range(row.first, row.first + len(row.layers))
        axes.plot(depths, [one.uar for one in row.layers], "o-", color=colour, label=row.name)
        axes.plot(deepest, row.summed.uar, "D", color=colour)
    axes.set_xticks([*range(deepest), deepest], [*map(str, range(deepest)), "sum"])
    axes.set(xlabel="layer (0: what goes into the first)", ylabel="unweighted average recall")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise StreamerError(f"cannot write {path}: {error}") from None
