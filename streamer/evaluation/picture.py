"""Live figures of several set-ups side by side, as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from streamer.errors import MissingExtraError, StreamerError
from streamer.evaluation.live import LiveScore
from streamer.evaluation.timeline import Lag

INCHES = (11.0, 4.2)


def draw(scores: Mapping[str, LiveScore], path: Path) -> None:
    """How many words are there after how long, and what that costs in steadiness; PNG, SVG or PDF by suffix.

    Raises MissingExtraError without matplotlib, StreamerError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a picture", "eval") from error
    figure = Figure(figsize=INCHES, layout="constrained")
    waits, costs = figure.subplots(1, 2, width_ratios=(3, 2))
    _lags(waits, scores)
    _steadiness(costs, scores)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StreamerError(f"cannot write {path}: {error}") from None


def _lags(axes: Any, scores: Mapping[str, LiveScore]) -> None:
    """Cumulative shares of the words that are shown, and stable, so long after they were said."""
    kinds: tuple[tuple[str, Callable[[Lag], float], str], ...] = (
        ("stable", lambda lag: lag.stable, "-"),
        ("shown", lambda lag: lag.shown, ":"),
    )
    for number, (name, score) in enumerate(scores.items()):
        for kind, value, style in kinds:
            late = np.sort([value(lag) for lag in score.lags])
            share = 100 * np.arange(1, len(late) + 1) / max(score.timed, 1)
            axes.step(late, share, style, color=f"C{number % 10}", where="post", label=f"{name}: {kind}")
    axes.set(xlabel="seconds after the end of the word", ylabel="% of the spoken words", ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="lower right")


def _steadiness(axes: Any, scores: Mapping[str, LiveScore]) -> None:
    """Median lag of stable words against words taken back, the error rate beside each point."""
    for number, (name, score) in enumerate(scores.items()):
        median = score.spread(lambda lag: lag.stable).median
        if median is None:
            continue
        axes.plot(median, score.erasure, "o", color=f"C{number % 10}")
        note = f" {name}\n WER {score.words.rate:.1f} %"
        axes.annotate(note, (median, score.erasure), fontsize="small", va="center")
    axes.set(xlabel="median lag of stable words, s", ylabel="words taken back a word of the final")
    axes.set_ylim(0, 1.2 * max((score.erasure for score in scores.values()), default=0) or 1)
    axes.margins(x=0.4)
    axes.grid(alpha=0.3)
