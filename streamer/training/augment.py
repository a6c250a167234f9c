"""What happens to a clean recording on its way into a batch; every draw comes from the given generator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE
from streamer.training.codecs import MU_LAW, available, coded
from streamer.training.rooms import ROOMS, heard_in, response

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


@dataclass(frozen=True, slots=True)
class SpoilConfig:
    """Shares of the recordings that each way of spoiling befalls."""

    speed: float = 0.5
    room: float = 0.25
    """Echoes of a shoebox room of an RT60 of 0.15 to 0.9 s."""
    noise: float = 0.4
    telephone: float = 0.1
    """A telephone's band, half of them with G.711's µ-law."""
    codec: float = 0.1
    """MP3, Opus, AMR, G.722, G.711: what of them the installed ffmpeg can encode."""


def draw_speed(length: int, rng: np.random.Generator, share: float, longest: int | None = None) -> float:
    """How much faster to play a recording of `length` samples: 1.0 but for a `share` of them.

    Never so slowly that it gets longer than `longest` samples: its words would be cut off.
    """
    if rng.random() >= share:
        return 1.0
    factor = float(rng.uniform(0.9, 1.12))
    if longest is not None and length / factor > longest:
        factor = max(1.0, length / longest)
    return factor


def spoil(
    audio: Audio, noises: list[Audio], rng: np.random.Generator, shares: SpoilConfig | None = None
) -> Audio:
    """One random way in which a recording is worse than the studio's: room, noise, telephone, codec, gain.

    What is heard when stays as it is; for the speed see `draw_speed`. Silence stays silence: a codec's
    rounding would be made as loud as a voice.
    """
    shares = shares or SpoilConfig()
    if not audio.any():
        return audio
    if rng.random() < shares.room:
        audio = heard_in(audio, response(int(rng.integers(ROOMS))))
    if noises and rng.random() < shares.noise:
        audio = mix(audio, noises[int(rng.integers(len(noises)))], float(rng.uniform(3, 25)), rng)
    if rng.random() < shares.telephone:
        audio = band(audio, float(rng.uniform(150, 350)), float(rng.uniform(3200, 3900)))
        if rng.random() < 0.5:
            audio = coded(_loud(audio, 1.0), MU_LAW)
    if rng.random() < shares.codec:
        codec = available()[int(rng.integers(len(available())))]
        bit_rate = codec.bit_rates[int(rng.integers(len(codec.bit_rates)))]
        audio = coded(_loud(audio, float(rng.uniform(0.1, 0.9))), codec, bit_rate)
    return _loud(audio, 10 ** (rng.uniform(-25, -0.5) / 20))


def _loud(audio: Audio, peak: float) -> Audio:
    """`audio` with its largest sample at `peak`; silence stays silence."""
    found = float(np.abs(audio).max(initial=0.0))
    return audio * np.float32(peak / found) if found > 0 else audio


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
