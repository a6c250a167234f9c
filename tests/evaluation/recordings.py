"""Made recordings: tones between silences as sounds, noise as background, a chirp as speech."""

from __future__ import annotations

import numpy as np

from streamer.evaluation.mixtures import Recording, Sources
from streamer.timebase import SAMPLE_RATE
from tests.cli.tiny import speech_like

HERTZ = {"Dog": 500, "Siren": 1500, "Rain": 3000}


def silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def tone(hz: float, seconds: float, level: float = 0.3) -> np.ndarray:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def recording(key: str, audio: np.ndarray, *labels: str, text: str = "") -> Recording:
    return Recording(key, lambda: audio, labels, text)


def sources(speech: bool = True, backgrounds: bool = True) -> Sources:
    """Three labels, two recordings each, of which only the middle is loud."""
    found = [
        recording(
            f"{label}/{i}",
            np.concatenate([silence(0.5 + i), tone(hz, 0.8 + 0.4 * i), silence(1.0)]),
            label,
            "Sound of all",
        )
        for label, hz in HERTZ.items()
        for i in range(2)
    ]
    if speech:
        found += [
            recording(f"talk/{i}", speech_like(1.0 + i), text=text)
            for i, text in enumerate(("one", "two words"))
        ]
    if backgrounds:
        found += [recording(f"noise/{i}", noise(7 + i, i)) for i in range(2)]
    return Sources.of(found)
