"""Where in the audio a decoder is when it chooses a token: AlignAtt (Papi et al. 2023).

Per token the attention of the alignment heads, normalised over the tokens so far, median filtered and
averaged over the heads: its peak is the frame that the token was heard in. A token heard too close to the
end of audio that goes on may be half a word, and one far behind the token before it is a decoder that lost
its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MEDIAN_WIDTH = 7
"""Frames of the median filter over each head's attention."""

Verdict = Literal["go on", "too new", "lost"]


@dataclass(frozen=True, slots=True)
class Frontier:
    """How far a decode of audio that goes on may go; all in 20 ms frames.

    frames: of audio, from the encoding's first. margin: a token that attends to the last so many, or beyond,
    is dropped and ends the decode. jump_back: one that attends further back than so many, counted from the
    token before, discards all that was sampled.
    """

    frames: int
    margin: int
    jump_back: int


class Follower:
    """Follows one decode; running sums, so that its work for a token does not grow with the text."""

    def __init__(self, frontier: Frontier) -> None:
        self._frontier = frontier
        self._count = 0
        self._sum: NDArray[np.float64] | float = 0.0
        self._squares: NDArray[np.float64] | float = 0.0
        self._last: int | None = None

    def begin(self, attention: NDArray[np.float32], prefixed: bool) -> None:
        """Take the (heads, n, T) attention of the positions up to the one that chose the last given token.

        `prefixed`: that token is text, whose place the next one is held against.
        """
        if attention.shape[1]:
            last = self._frames(attention)
            self._last = last if prefixed else None

    def choose(self, attention: NDArray[np.float32]) -> tuple[int, Verdict]:
        """The frame of a token and whether to keep it, from the (heads, 1, T) attention that chose it."""
        frame = self._frames(attention)
        before, self._last = self._last, frame
        if before is not None and before - frame > self._frontier.jump_back:
            return frame, "lost"
        if frame >= self._frontier.frames - self._frontier.margin:
            return frame, "too new"
        return frame, "go on"

    def _frames(self, attention: NDArray[np.float32]) -> int:
        """Takes positions in; the frame of the last."""
        audio = attention[:, :, : max(1, min(self._frontier.frames, attention.shape[2]))].astype(np.float64)
        audio = audio / np.maximum(audio.sum(-1, keepdims=True), 1e-12)
        self._count += audio.shape[1]
        self._sum = self._sum + audio.sum(1)
        self._squares = self._squares + np.square(audio).sum(1)
        mean = self._sum / self._count
        deviation = np.sqrt(np.maximum(self._squares / self._count - np.square(mean), 0.0))
        standing_out = (audio[:, -1] - mean) / np.maximum(deviation, 1e-9)
        return int(median_filter(standing_out).mean(0).argmax())


def median_filter(x: NDArray[Any], width: int = MEDIAN_WIDTH) -> NDArray[Any]:
    """Running median over the last axis, mirrored at the ends; what is too short to mirror stays as it is."""
    side = width // 2
    if x.shape[-1] <= side:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(side, side)], mode="reflect")
    columns = [padded[..., i : i + x.shape[-1]] for i in range(width)]
    # Selection by whole arrays: half of an exchange sort is enough for the middle.
    for done in range(side + 1):
        for i in range(done + 1, width):
            small = np.minimum(columns[done], columns[i])
            columns[i] = np.maximum(columns[done], columns[i])
            columns[done] = small
    return columns[side]
