"""WebRTC's detector: Gaussian mixtures over six sub-bands, about 2 µs a frame, no model file."""

from __future__ import annotations

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from streamer.timebase import FRAME, SAMPLE_RATE
from streamer.vad.base import check_frame

LOUDEST = np.float32(32767.0)


class WebrtcVad:
    """`aggressiveness` 0 (lets most through) to 3 (least)."""

    def __init__(self, aggressiveness: int) -> None:
        self._aggressiveness = aggressiveness
        self._vad = webrtcvad.Vad(aggressiveness)
        self._pcm = np.empty(FRAME, np.int16)
        self._bytes = self._pcm.data.cast("B")

    def is_speech(self, frame: NDArray[np.float32]) -> bool:
        """Whether the next frame is speech. `frame`: float32 (320,) in [-1, 1]; NaN counts as 0."""
        check_frame(frame, FRAME)
        if not (frame.min() >= -1.0 and frame.max() <= 1.0):  # so too where there is NaN
            frame = np.clip(np.nan_to_num(frame), -1.0, 1.0)
        np.multiply(frame, LOUDEST, out=self._pcm, casting="unsafe")
        return bool(self._vad.is_speech(self._bytes, SAMPLE_RATE))

    def reset(self) -> None:
        """Forget the learned noise floor."""
        # The library has no reset; its models are a few hundred bytes, so a new one is as cheap.
        self._vad = webrtcvad.Vad(self._aggressiveness)
