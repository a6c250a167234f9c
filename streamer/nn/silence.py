"""Most of the silence that fills a short window up to a checkpoint's full context, left out of a pass.

A Whisper that knows nothing but 30 s cannot do without that silence: cut off, it gives other states, and its
decoder other text. But its frames are nearly alike, and what others take from them is a sum. So one in ONE_IN
stands for its neighbours: as a key it counts so many times, by a logarithm that is added to its score before
the softmax ("proportional attention" of Bolya et al. 2023, Token Merging). Behind the audio MARGIN of silence
stays as it is, for some heads look at a frame's neighbours.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE

ONE_IN = 4
"""Frames that one stands for."""
MARGIN = SAMPLE_RATE // 2
"""Samples of silence behind the audio that are left as they are, at least."""
FRAMES = FULL_CONTEXT // FRAME
"""Of a full context."""


class Rest(NamedTuple):
    """What stands for the silence behind the first frames of a full context.

    places: (kept,) int64, ascending, where they are. shares: (first + kept,) float32, for every frame of the
    pass the logarithm of how many it stands for; their exponentials add up to FRAMES.
    """

    places: NDArray[np.int64]
    shares: NDArray[np.float32]


class Thinned(NamedTuple):
    """An encoding of one window: states (1, T, D) and `Rest.shares` (T,), both in a backend's own arrays."""

    states: Any
    shares: Any


@lru_cache(maxsize=64)  # contexts are few: multiples of 0.8 s
def rest(first: int) -> Rest:
    """What stands for the frames from `first` on."""
    begins = np.arange(first, FRAMES, ONE_IN)
    sizes = np.minimum(ONE_IN, FRAMES - begins)
    shares = np.concatenate([np.zeros(first), np.log(sizes)]).astype(np.float32)
    found = Rest((begins + sizes // 2).astype(np.int64), shares)
    for one in found:
        one.flags.writeable = False
    return found


def fill(length: int) -> tuple[Rest, int]:
    """What stands for the silence behind `length` samples, and how many samples of audio such a pass wants.

    A frame more than there are: the last one's convolution does not see the silence behind it.
    """
    found = rest(length // FRAME)
    return found, length + FRAME if len(found.places) else length
