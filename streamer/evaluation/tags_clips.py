"""Scores of whole recordings by a model's tag head, as the daemon's engine computes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.engine import Engine, Request
from streamer.errors import ConfigError
from streamer.evaluation.mixtures import Recording
from streamer.passes import SHORTEST_VIEW
from streamer.timebase import FULL_CONTEXT, TOKEN, ceil_to, to_samples

Audio = NDArray[np.float32]

BATCH = 8
"""Views of one context that the engine takes at once."""


def views(audio: Audio, window: int) -> list[Audio]:
    """The recording in pieces of at most `window` samples that overlap by half, in whole pooled tokens.

    What is left at the end is a piece of its own that reaches back as far as it may; silence fills what
    is shorter than the shortest view.
    """
    whole = max(ceil_to(len(audio), TOKEN), SHORTEST_VIEW * TOKEN)
    audio = np.pad(audio, (0, whole - len(audio)))
    step = max(TOKEN, window // 2 // TOKEN * TOKEN)
    starts = list(range(0, max(1, len(audio) - window + 1), step))
    if starts[-1] + window < len(audio):
        starts.append(len(audio) - window)
    return [audio[start : start + window] for start in starts]


def score_recordings(
    engine: Engine, recordings: Iterable[Recording], window: float
) -> Iterator[NDArray[np.float32]]:
    """(C,) scores of each recording, in order: the mean of its views of `window` seconds, as training has it.

    Raises ConfigError for a model without a tag head.
    """
    if engine.model.tags is None:
        raise ConfigError(f"the model {engine.model.name} has no tag head: there are no sounds to measure")
    samples = min(to_samples(window) // TOKEN * TOKEN, FULL_CONTEXT)
    waiting: list[tuple[int, Audio]] = []
    total: dict[int, NDArray[np.float32]] = {}
    count: dict[int, int] = {}
    left: dict[int, int] = {}
    following = 0
    for number, one in enumerate(recordings):
        pieces = views(one.load(), samples)
        left[number] = count[number] = len(pieces)
        waiting += [(number, piece) for piece in pieces]
        while len(waiting) >= BATCH:
            waiting = _run(engine, waiting, total, left)
            while left.get(following) == 0:
                yield total.pop(following) / np.float32(count[following])
                following += 1
    while waiting:
        waiting = _run(engine, waiting, total, left)
    for number in range(following, len(left)):
        yield total[number] / np.float32(count[number])


def _run(
    engine: Engine,
    waiting: Sequence[tuple[int, Audio]],
    total: dict[int, NDArray[np.float32]],
    left: dict[int, int],
) -> list[tuple[int, Audio]]:
    """One batch: the oldest view and others of its context; what remains waiting."""
    context = engine.context(len(waiting[0][1]))
    alike = [k for k, (_, piece) in enumerate(waiting) if engine.context(len(piece)) == context][:BATCH]
    requests = [Request(waiting[k][1], windows=((0, len(waiting[k][1]) // TOKEN),)) for k in alike]
    for k, result in zip(alike, engine.run(requests), strict=True):
        number = waiting[k][0]
        total[number] = total.get(number, np.float32(0)) + result.scores[0]
        left[number] -= 1
    return [one for k, one in enumerate(waiting) if k not in alike]
