"""Signals and recordings that the detectors are tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.timebase import FRAME, SAMPLE_RATE
from streamer.vad import Vad

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def recording(name: str) -> NDArray[np.float32]:
    """A mono 16 kHz recording from the data beside the repository; skips the test without it."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"no real recording here: {path}")
    av = pytest.importorskip("av")
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        parts = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
        parts += resampler.resample(None)
    return np.concatenate([part.to_ndarray()[0] for part in parts]).astype(np.float32)


def vowels(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Something like a voice: a 120 Hz pulse train through moving formants, in syllables of 250 ms."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(seed)
    count = round(seconds * SAMPLE_RATE)
    out = []
    syllable = SAMPLE_RATE // 4
    for _ in range(-(-count // syllable)):
        period = int(SAMPLE_RATE / rng.uniform(100, 150))
        pulses = np.zeros(syllable)
        pulses[::period] = 1.0
        for formant in (rng.uniform(300, 800), rng.uniform(900, 2200), 2700.0):
            radius = np.exp(-np.pi * 90 / SAMPLE_RATE)
            angle = 2 * np.pi * formant / SAMPLE_RATE
            pulses = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], pulses)
        out.append(pulses * np.hanning(syllable))
    voice = np.concatenate(out)[:count]
    return (0.3 * voice / np.abs(voice).max()).astype(np.float32)


def decisions(vad: Vad, samples: NDArray[np.float32]) -> list[bool]:
    """The detector's answer for every whole frame."""
    frames = samples[: samples.size // FRAME * FRAME].reshape(-1, FRAME)
    return [vad.is_speech(frame) for frame in frames]
