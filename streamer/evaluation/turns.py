"""Times of several things that are done in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Taken:
    """Milliseconds of each round: by the clock, and of all the process's threads on a processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def in_turn(
    runs: Sequence[Callable[[], object]], repeat: int, progress: Callable[[], None] = lambda: None
) -> list[Taken]:
    """What each of several things takes in `repeat` rounds; a round does them one by one.

    Each is done once before, unmeasured. `progress` is called after every round, that one included.
    """
    for run in runs:
        run()
    progress()
    taken = [Taken() for _ in runs]
    for _ in range(repeat):
        for run, mine in zip(runs, taken, strict=True):
            began, before = time.perf_counter(), time.process_time()
            run()
            mine.wall.append(1000 * (time.perf_counter() - began))
            mine.cpu.append(1000 * (time.process_time() - before))
        progress()
    return taken


def ratio(taken: Sequence[float], against: Sequence[float]) -> float:
    """How many times as long as `against`: the median over the rounds that both were measured in."""
    return statistics.median(a / max(b, 1e-6) for a, b in zip(taken, against, strict=True))
