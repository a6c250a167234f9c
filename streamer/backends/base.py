"""What an engine needs of a network, whoever computes it: windows in, arrays out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.nn.silence import Thinned
from streamer.timebase import FULL_CONTEXT, TOKEN, ceil_to

Floats = NDArray[np.float32]
Tokens = NDArray[np.int64]

BUCKET = 2 * TOKEN
"""Contexts of models trained for short ones are multiples of this, so that passes can share a batch."""

SHORTEST = 2 * BUCKET
"""Less context than this is padded up to it."""

LARGEST_BATCH = 8
"""Windows that are encoded at once at most."""

Follow = Callable[[Any, Tokens, Tokens], Floats]
"""The decoder with its tokens given: states of one window (`Encoded.window`), for all rows; given tokens
(N, n); wanted tokens (N, n). The result (N, n) is the log-probability of each wanted one after the given ones
up to there."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """What one pass over a batch leaves behind, in the backend's own arrays, which slices read alike.

    states: (B, T, D) for whatever writes text. layers: (B, L, tokens, D) pooled for tag heads; None where
    nobody asked. emotions: scores of each window, empty where nobody asked or nothing judges them. shares:
    (T,) where silence was thinned (see `nn.silence`).
    """

    states: Any
    layers: Any | None
    emotions: Sequence[tuple[float, ...]]
    shares: Any | None = None

    def window(self, i: int) -> Any:
        """The states of one window, for what writes: (1, T, D), or a `Thinned`."""
        states = self.states[i : i + 1]
        return states if self.shares is None else Thinned(states, self.shares)


def plain(states: Any) -> Any:
    """The states (1, T, D) of a window, thinned or not."""
    return states.states if isinstance(states, Thinned) else states


class Network(Protocol):
    """A model's encoder and what reads it. Belongs to one thread."""

    @property
    def batch(self) -> int:
        """Windows that are worth encoding at once: each of more would take as long or longer."""

    @property
    def follow(self) -> Follow | None:
        """Its decoder; None without one."""

    @property
    def writer(self) -> Any | None:
        """Its decoder, token by token (`asr.decoder.Writer`); None without one."""

    def context(self, samples: int) -> int:
        """Samples that a window of so many is padded to; only windows of one context share a batch."""

    def frames(self, samples: int) -> int:
        """Frames of an encoding that are audio, of a window of so many samples."""

    def encode(self, clips: Sequence[Floats], length: int, pooled: bool, judged: bool) -> Encoded:
        """One pass over windows (n,) of one context, `length` samples.

        pooled: all layers are asked for; judged: how things were said, where there is a head for it.
        """

    def tags(self, windows: Sequence[Any]) -> Floats:
        """(N, classes) scores in [0, 1] of N > 0 windows of one size, each (L, tokens, D) of all layers."""

    def ctc(self, states: Any) -> Floats:
        """(T, 1 + pieces) log-probabilities of one window's states (`Encoded.window`), blank first."""


def context_for(samples: int, short: bool, margin: int = 0) -> int:
    """Samples that a window of so many is padded to.

    short: the model may be given short contexts. margin: samples of silence that it needs behind the window.
    """
    return min(max(ceil_to(samples + margin, BUCKET), SHORTEST), FULL_CONTEXT) if short else FULL_CONTEXT
