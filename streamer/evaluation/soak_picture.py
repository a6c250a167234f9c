"""Hours of the daemon as a picture: memory, lag and clock."""

from __future__ import annotations

from pathlib import Path

from streamer.errors import MissingExtraError, StreamerError
from streamer.evaluation.soak import Soak
from streamer.timebase import FRAME, SAMPLE_RATE

INCHES = (9.0, 7.0)


def draw(found: Soak, path: Path) -> None:
    """Three panels over the hours of audio; PNG, SVG or PDF by suffix.

    Raises MissingExtraError without matplotlib, StreamerError where the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a picture", "eval") from error
    figure = Figure(figsize=INCHES, layout="constrained")
    memory, lag, clock = figure.subplots(3, 1, sharex=True)
    hours = [(one.start + one.seconds / 2) / 3600 for one in found.stretches]
    memory.plot(hours, [one.memory for one in found.stretches], "o-", label="resident memory")
    memory.set(ylabel="MB", ylim=(0, 1.2 * max(one.memory for one in found.stretches) or 1))
    lag.plot(hours, [one.lag for one in found.stretches], "o-", label="median")
    lag.plot(hours, [one.most_lag for one in found.stretches], ":", label="most")
    lag.set(ylabel="seconds of audio behind", ylim=(0, None))
    clock.plot(hours, [1000 * one.mean for one in found.stretches], "o-", label="words, mean")
    clock.plot(hours, [1000 * one.furthest for one in found.stretches], ":", label="furthest word")
    frame = 1000 * FRAME / SAMPLE_RATE
    clock.axhspan(-frame, frame, alpha=0.15, label="a frame")
    clock.set(ylabel="ms from the word's place", xlabel="hours of audio")
    for axes in (memory, lag, clock):
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="lower right")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise StreamerError(f"cannot write {path}: {error}") from None
