"""The curve of a training as a picture."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

log = logging.getLogger(__name__)

LOSSES = {"ctc": "CTC, a piece", "attention": "attention, a token"}
"""Keys of the log's rows, and what they are the loss of."""


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean of up to `width` values up to each, (n,) -> (n,)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, len(values) + 1)
    start = np.maximum(0, stop - width)
    means: NDArray[np.float64] = (sums[stop] - sums[start]) / (stop - start)
    return means


def draw(rows: Path, picture: Path) -> bool:
    """Draw both losses of a `log.jsonl` over the steps; false without steps, or without matplotlib."""
    entries = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    if not entries:
        return False
    try:
        from matplotlib.figure import Figure
    except ImportError:
        log.info("no %s: it takes matplotlib", picture.name)
        return False
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    steps = [entry["step"] for entry in entries]
    for key, name in LOSSES.items():
        values = np.array([entry[key] for entry in entries], np.float64)
        faint = axes.plot(steps, values, alpha=0.2, linewidth=0.8)[0]
        smooth = running_mean(values, max(1, len(values) // 50))
        axes.plot(steps, smooth, color=faint.get_color(), label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(picture, dpi=120)
    return True
