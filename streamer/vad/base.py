"""One interface for every voice activity detector."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.config import VadConfig


class Vad(Protocol):
    """Says for each 20 ms frame of one stream whether it is speech.

    Has state, so one instance a stream. Decisions depend on the samples only, never on the wall
    clock or on how the frames arrive.
    """

    def is_speech(self, frame: NDArray[np.float32]) -> bool:
        """Whether the next frame is speech. `frame`: float32 (320,) in [-1, 1] at 16 kHz."""

    def reset(self) -> None:
        """Forget what was heard: called at a gap, where the next frame does not continue the last."""


def make_vad(config: VadConfig) -> Vad:
    """A detector for one stream.

    Raises MissingExtraError where the engine's package is not installed.
    """
    if config.engine == "silero":
        from streamer.vad.silero import SileroVad

        return SileroVad(config.threshold)
    from streamer.vad.webrtc import WebrtcVad

    return WebrtcVad(config.aggressiveness)


def check_frame(frame: NDArray[np.float32], length: int) -> None:
    """Raise ValueError unless `frame` is one-dimensional with `length` samples."""
    if frame.shape != (length,):
        raise ValueError(f"expected a frame of shape ({length},), found {frame.shape}: cut the stream first")
