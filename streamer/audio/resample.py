"""Any rate and channel count to 16 kHz mono, continuously.

ffmpeg's swresample does the work (it comes with PyAV, which the sources need anyway): measured, its
output is the same to the bit for any cutting of the input into blocks, and it holds back 1 to 2 ms,
where soxr holds back 10 to 60 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler

Floats = NDArray[np.float32]


def mix_down(samples: Floats, weights: Sequence[float] | None = None) -> Floats:
    """(n, channels) to (n,): the weighted sum, by default the mean.

    Channel by channel rather than as a matrix product, whose rounding depends on the block's size.
    """
    channels = samples.shape[1]
    if channels == 1 and weights is None:
        return np.ascontiguousarray(samples[:, 0])
    share = weights if weights is not None else [1.0 / channels] * channels
    mono = samples[:, 0] * np.float32(share[0])
    for channel in range(1, channels):
        mono += samples[:, channel] * np.float32(share[channel])
    return mono


class Resampler:
    """Continuous conversion of one stream to 16 kHz mono float32 in [-1, 1].

    `rate_in` is in Hz, 1000 to 768000. `weights` are the channels' shares in the mix, by default equal.
    """

    def __init__(self, rate_in: int, channels: int = 1, weights: Sequence[float] | None = None) -> None:
        if not 1000 <= rate_in <= 768_000:
            raise ValueError(f"rate must be between 1000 and 768000 Hz, found {rate_in}")
        if channels < 1:
            raise ValueError(f"channels must be at least 1, found {channels}")
        if weights is not None and len(weights) != channels:
            raise ValueError(f"expected one weight for each of {channels} channels, found {len(weights)}")
        self.rate_in = rate_in
        self.channels = channels
        self._weights = weights
        self._resampler: AudioResampler | None = None

    def feed(self, samples: Floats) -> Floats:
        """Interleaved (n·channels,) or (n, channels) float32 in; what is ready of the output, (m,), out."""
        if samples.ndim == 1:
            if len(samples) % self.channels:
                raise ValueError(
                    f"{len(samples)} interleaved samples are not whole frames of {self.channels} channels"
                )
            samples = samples.reshape(-1, self.channels)
        elif samples.shape[1] != self.channels:
            raise ValueError(f"expected {self.channels} channels, found {samples.shape[1]}")
        if len(samples) == 0:
            return np.zeros(0, dtype=np.float32)
        mono = mix_down(samples.astype(np.float32, copy=False), self._weights)
        if self.rate_in == SAMPLE_RATE:
            return _clip(mono)
        from av.audio.frame import AudioFrame

        if self._resampler is None:
            from av.audio.resampler import AudioResampler

            self._resampler = AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        frame = AudioFrame.from_ndarray(mono.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate = self.rate_in
        return _join(self._resampler.resample(frame))

    def flush(self) -> Floats:
        """What is left inside; the next `feed` starts a new piece of audio."""
        resampler, self._resampler = self._resampler, None
        return _join(resampler.resample(None)) if resampler is not None else np.zeros(0, dtype=np.float32)


def _join(frames: list[AudioFrame]) -> Floats:
    if not frames:
        return np.zeros(0, dtype=np.float32)
    return _clip(np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32, copy=False))


def _clip(samples: Floats) -> Floats:
    """Into [-1, 1]: the filter overshoots a little, and decoders of lossy formats do too."""
    return np.clip(samples, -1.0, 1.0)
