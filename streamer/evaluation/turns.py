"""Times of several things that are done in turn, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(slots=True)
class Taken:
    """Milliseconds of each round: by the clock, and of all the process's threads on a processor."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def in_turn(
    runs: Sequence[Callable[[], object]],
    repeat: int,
    progress: Callable[[], None] = lambda: None,
    finish: Callable[[], None] = lambda: None,
) -> list[Taken]:
    """What each of several things takes in `repeat` rounds; a round does them one by one.

    Each is done once before, unmeasured. `progress` is called after every round, that one included. finish:
    waits for what a run has only ordered, as from a GPU; its time is the run's.
    """
    for run in runs:
        run()
        finish()
    progress()
    taken = [Taken() for _ in runs]
    for _ in range(repeat):
        for run, mine in zip(runs, taken, strict=True):
            began, before = time.perf_counter(), time.process_time()
            run()
            finish()
            mine.wall.append(1000 * (time.perf_counter() - began))
            mine.cpu.append(1000 * (time.process_time() - before))
        progress()
    return taken


def finisher(device: torch.device) -> Callable[[], None]:
    """What waits until a device has done all that it was told to."""
    gpus = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    return gpus.get(device.type, lambda: None)


def ratio(taken: Sequence[float], against: Sequence[float]) -> float:
    """How many times as long as `against`: the median over the rounds that both were measured in."""
    return statistics.median(a / max(b, 1e-6) for a, b in zip(taken, against, strict=True))
