"""What happens to a clean recording on its way into a batch; every draw comes from the given generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE

Audio = NDArray[np.float32]


def change_speed(audio: Audio, factor: float) -> Audio:
    """Play faster (> 1) or slower by linear interpolation; pitch follows, as on a tape."""
    positions = np.arange(0, len(audio) - 1, factor, dtype=np.float64)
    return np.interp(positions, np.arange(len(audio)), audio).astype(np.float32)


def mix(speech: Audio, noise: Audio, snr_db: float, rng: np.random.Generator) -> Audio:
    """`noise`, repeated or cut at a random place, under `speech` at a signal-to-noise ratio in dB."""
    if len(noise) < len(speech):
        noise = np.tile(noise, -(-len(speech) // max(len(noise), 1)))
    start = int(rng.integers(0, len(noise) - len(speech) + 1))
    noise = noise[start : start + len(speech)]
    speech_power, noise_power = float(np.mean(speech**2)), float(np.mean(noise**2))
    if noise_power < 1e-10 or speech_power < 1e-10:
        return speech
    return speech + noise * np.float32(np.sqrt(speech_power / noise_power / 10 ** (snr_db / 10)))


def band(audio: Audio, low_hz: float, high_hz: float) -> Audio:
    """Keep one band, as a telephone does."""
    spectrum = np.fft.rfft(audio)
    hz = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
    spectrum[(hz < low_hz) | (hz > high_hz)] = 0
    return np.fft.irfft(spectrum, len(audio)).astype(np.float32)


def reverberate(audio: Audio, rt60: float, rng: np.random.Generator) -> Audio:
    """A room: exponentially decaying noise after the direct sound (a diffuse tail of decay time `rt60` s)."""
    n = int(rt60 * SAMPLE_RATE)
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail *= rng.uniform(0.1, 0.5) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    size = 1 << int(np.ceil(np.log2(len(audio) + n)))
    out = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(tail, size), size)[: len(audio)]
    return out.astype(np.float32)


def companded(audio: Audio) -> Audio:
    """µ-law with 8 bits, there and back (G.711's quantisation)."""
    x = np.clip(audio, -1, 1)
    y = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    y = np.round(y * 127) / 127
    out: Audio = (np.sign(y) * np.expm1(np.abs(y) * np.log(256)) / 255).astype(np.float32)
    return out


def spoil(audio: Audio, noises: list[Audio], rng: np.random.Generator, longest: int | None = None) -> Audio:
    """One random way in which a recording is worse than the studio's: speed, room, noise, telephone, gain.

    It is never played so slowly that it gets longer than `longest` samples: its words would be cut off.
    """
    if rng.random() < 0.5:
        factor = float(rng.uniform(0.9, 1.12))
        if longest is not None and len(audio) / factor > longest:
            factor = max(1.0, len(audio) / longest)
        audio = change_speed(audio, factor)
    if rng.random() < 0.15:
        audio = reverberate(audio, float(rng.uniform(0.15, 0.6)), rng)
    if noises and rng.random() < 0.4:
        audio = mix(audio, noises[int(rng.integers(len(noises)))], float(rng.uniform(3, 25)), rng)
    if rng.random() < 0.1:
        audio = band(audio, float(rng.uniform(150, 350)), float(rng.uniform(3200, 3900)))
        if rng.random() < 0.5:
            audio = companded(audio / max(float(np.abs(audio).max()), 1e-3))
    peak = float(np.abs(audio).max())
    if peak > 0:
        audio = audio * np.float32(10 ** (rng.uniform(-25, -0.5) / 20) / peak)
    return audio


def mask_mel(mel: NDArray[np.float32], rng: np.random.Generator, bands: int = 2, spans: int = 2) -> None:
    """SpecAugment in place on (n_mels, frames): masked cells take the mean."""
    fill = mel.mean()
    for _ in range(bands):
        width = int(rng.integers(0, 20))
        start = int(rng.integers(0, mel.shape[0] - width + 1))
        mel[start : start + width] = fill
    for _ in range(spans):
        width = int(rng.integers(0, max(1, min(40, mel.shape[1] // 10))))
        start = int(rng.integers(0, mel.shape[1] - width + 1))
        mel[:, start : start + width] = fill
