"""Log-mel features as Whisper computes them, in numpy: 25 ms Hann windows, 10 ms hop, Slaney mel bands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import MEL_HOP, SAMPLE_RATE

N_FFT = 400
_FLOOR = 1e-10
_RANGE = 8.0
"""Everything below the window's maximum by more than this many decades is raised to it."""


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp(np.log(6.4) * (mel - 15) / 27))


@cache
def filterbank(n_mels: int) -> NDArray[np.float32]:
    """Triangular filters of equal area, (n_mels, N_FFT // 2 + 1), float32 (librosa's default bank)."""
    bins = np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    top = _hz_to_mel(np.array([SAMPLE_RATE / 2]))[0]
    edges = _mel_to_hz(np.linspace(0, top, n_mels + 2))
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return weights.astype(np.float32)


@cache
def _window() -> NDArray[np.float32]:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)


def log_mel(audio: NDArray[np.float32], n_mels: int = 80) -> NDArray[np.float32]:
    """Samples (n,) float32 at 16 kHz -> (n_mels, n // MEL_HOP) float32.

    The range is cut relative to this window's maximum, so the features of a window depend on all of it.
    Equal to `whisper.log_mel_spectrogram` up to rounding.
    """
    padded = np.pad(audio, N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::MEL_HOP][: len(audio) // MEL_HOP]
    spectrum = np.fft.rfft(frames * _window(), axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    mel = filterbank(n_mels) @ power.T.astype(np.float32)
    log = np.log10(np.maximum(mel, _FLOOR))
    log = np.maximum(log, log.max() - _RANGE)
    out: NDArray[np.float32] = ((log + 4) / 4).astype(np.float32)
    return out


def log_mels(windows: Sequence[NDArray[np.float32]], length: int, n_mels: int = 80) -> NDArray[np.float32]:
    """`log_mel` of windows (n,), with silence up to `length` samples: (B, n_mels, length // MEL_HOP)."""
    return np.stack([log_mel(np.pad(one, (0, length - len(one))), n_mels) for one in windows])
