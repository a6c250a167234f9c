"""Sounds made from formulas: alarms, rings, bells, beeps, noises. Every draw comes from the generator given.

They stand in where no permissively licensed recording is at hand, and make the demo's background.
Each maker returns `seconds` of float32 samples at 16 kHz with a peak near 0.5, and is listed in
`MAKERS` under its AudioSet name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE

Audio = NDArray[np.float32]
Maker = Callable[[float, np.random.Generator], Audio]


def _time(seconds: float) -> NDArray[np.float64]:
    out: NDArray[np.float64] = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return out


def _finish(x: NDArray[np.float64], rng: np.random.Generator) -> Audio:
    peak = np.abs(x).max() or 1.0
    floor = 10 ** rng.uniform(-4.5, -3)
    return (0.5 * x / peak + floor * rng.standard_normal(len(x))).astype(np.float32)


def _gate(t: NDArray[np.float64], on: float, every: float, offset: float) -> NDArray[np.bool_]:
    """`on` seconds of every `every`; from a whole one where the offset would leave next to nothing of it."""
    gate: NDArray[np.bool_] = (t + offset) % every < on
    if gate.sum() < min(on / 2, 0.2) * SAMPLE_RATE:
        gate = t % every < on
    return gate


def _sweep(hz: NDArray[np.floating[Any]], harmonics: list[float]) -> NDArray[np.float64]:
    phase = 2 * np.pi * np.cumsum(hz) / SAMPLE_RATE
    out: NDArray[np.float64] = np.sum([a * np.sin((k + 1) * phase) for k, a in enumerate(harmonics)], axis=0)
    return out


def _coloured(n: int, slope: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose spectrum falls by 1/f^slope."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum / np.maximum(hz, 20) ** slope, n)


def siren(seconds: float, rng: np.random.Generator) -> Audio:
    """Wail, yelp or two tones."""
    t = _time(seconds)
    low, high = rng.uniform(450, 700), rng.uniform(1000, 1600)
    kind = rng.integers(3)
    rate = rng.uniform(0.15, 0.4) if kind == 0 else rng.uniform(2, 4) if kind == 1 else rng.uniform(0.4, 0.9)
    wave = (
        np.sin(2 * np.pi * rate * t + rng.uniform(0, 6))
        if kind < 2
        else np.sign(np.sin(2 * np.pi * rate * t))
    )
    hz = low + (high - low) * (0.5 + 0.5 * wave)
    return _finish(_sweep(hz, [1, rng.uniform(0.1, 0.6), rng.uniform(0, 0.4), rng.uniform(0, 0.2)]), rng)


def smoke_alarm(seconds: float, rng: np.random.Generator) -> Audio:
    """Three beeps and a pause (the temporal-three pattern of ISO 8201), at 2.8 to 3.4 kHz."""
    t = _time(seconds)
    on = 0.5 * rng.uniform(0.9, 1.1)
    phase = (t + rng.uniform(0, 4)) % (8 * on)
    gate = (phase < 6 * on) & (phase % (2 * on) < on)
    tone = _sweep(np.full(len(t), rng.uniform(2800, 3400)), [1, rng.uniform(0, 0.3)])
    return _finish(tone * gate, rng)


def telephone(seconds: float, rng: np.random.Generator) -> Audio:
    """A bell rung 20 times a second, or a warbling electronic ringer; two seconds on, up to four off."""
    t = _time(seconds)
    on, off = rng.uniform(1, 2), rng.uniform(1, 4)
    gate = _gate(t, on, on + off, rng.uniform(0, on))
    if rng.random() < 0.5:
        strokes = np.exp(-((t * rng.uniform(18, 25)) % 1.0) * 3)
        bells = _sweep(np.full(len(t), rng.uniform(900, 1500)), [1, 0.5, 0.7, 0.3])
        x = strokes * bells
    else:
        rate, low = rng.uniform(10, 25), rng.uniform(600, 1200)
        x = _sweep(low * (1 + 0.25 * (np.sin(2 * np.pi * rate * t) > 0)), [1, 0.4, 0.2])
    return _finish(x * gate, rng)


def alarm_clock(seconds: float, rng: np.random.Generator) -> Audio:
    """Bursts of four short beeps."""
    t = _time(seconds)
    beep = rng.uniform(0.05, 0.12)
    phase = (t + rng.uniform(0, 1)) % rng.uniform(0.9, 1.4)
    gate = (phase < 8 * beep) & (phase % (2 * beep) < beep)
    return _finish(_sweep(np.full(len(t), rng.uniform(1500, 2600)), [1, 0.3, 0.4, 0.1]) * gate, rng)


def beep(seconds: float, rng: np.random.Generator) -> Audio:
    """Single beeps, as of a microwave oven."""
    t = _time(seconds)
    length, every = rng.uniform(0.15, 0.6), rng.uniform(1.0, 2.5)
    gate = _gate(t, length, every, rng.uniform(0, every))
    return _finish(_sweep(np.full(len(t), rng.uniform(700, 2400)), [1, rng.uniform(0, 0.3)]) * gate, rng)


def bell(seconds: float, rng: np.random.Generator) -> Audio:
    """A church bell: inharmonic partials (hum, prime, tierce, quint, nominal) that die away one by one."""
    t = _time(seconds)
    x = np.zeros(len(t))
    base, every = rng.uniform(180, 500), rng.uniform(1.2, 2.5)
    for start in np.arange(rng.uniform(0, 0.5), seconds, every):
        u = t - start
        ring = sum(
            a * np.sin(2 * np.pi * base * r * u) * np.exp(-u * d)
            for r, a, d in (
                (0.5, 0.5, 0.5),
                (1, 1, 0.8),
                (1.19, 0.8, 1.2),
                (1.5, 0.4, 1.5),
                (2, 0.9, 2),
                (2.74, 0.4, 3),
            )
        )
        x += np.where(u >= 0, ring, 0)
    return _finish(x, rng)


def clock(seconds: float, rng: np.random.Generator) -> Audio:
    """Ticks once or twice a second."""
    x = np.zeros(int(seconds * SAMPLE_RATE))
    every = rng.uniform(0.4, 1.0)
    tick = rng.standard_normal(400) * np.exp(-np.arange(400) / rng.uniform(25, 60))
    tock = tick * np.sin(np.arange(400) * rng.uniform(0.3, 1.2))
    for i, start in enumerate(np.arange(rng.uniform(0, every), seconds - 0.03, every)):
        at = int(start * SAMPLE_RATE)
        x[at : at + 400] += tock if i % 2 else tick
    return _finish(x, rng)


def knock(seconds: float, rng: np.random.Generator) -> Audio:
    """Groups of knocks on wood."""
    x = np.zeros(int(seconds * SAMPLE_RATE))
    start = rng.uniform(0.1, 0.5)
    while start < seconds - 0.2:
        for _ in range(int(rng.integers(2, 5))):
            at, n = int(start * SAMPLE_RATE), 1600
            if at + n >= len(x):
                break
            k = np.arange(n)
            body = np.sin(2 * np.pi * rng.uniform(120, 220) * k / SAMPLE_RATE) * np.exp(-k / 250)
            x[at : at + n] += body + 0.5 * rng.standard_normal(n) * np.exp(-k / 60)
            start += rng.uniform(0.14, 0.25)
        start += rng.uniform(0.5, 1.5)
    return _finish(x, rng)


def rain(seconds: float, rng: np.random.Generator) -> Audio:
    """Bright noise with drops in it."""
    n = int(seconds * SAMPLE_RATE)
    x = _coloured(n, rng.uniform(0.0, 0.35), rng) * rng.uniform(0.5, 1)
    x /= np.abs(x).max()
    for at in rng.integers(0, n - 200, int(seconds * rng.uniform(20, 120))):
        x[at : at + 200] += rng.uniform(0.1, 0.8) * rng.standard_normal(200) * np.exp(-np.arange(200) / 30)
    return _finish(x, rng)


def wind(seconds: float, rng: np.random.Generator) -> Audio:
    """Low noise that swells."""
    t = _time(seconds)
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * t + rng.uniform(0, 6))
    return _finish(_coloured(len(t), rng.uniform(1.0, 1.6), rng) * swell, rng)


def white_noise(seconds: float, rng: np.random.Generator) -> Audio:
    """Noise from white to pink: fans, hiss, static."""
    return _finish(_coloured(int(seconds * SAMPLE_RATE), rng.uniform(0, 0.6), rng), rng)


def music(seconds: float, rng: np.random.Generator) -> Audio:
    """Chords and a melody of plucked and held notes over a beat."""
    t = _time(seconds)
    x = np.zeros(len(t))
    root, beat = rng.uniform(110, 220), rng.uniform(0.3, 0.6)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    harmonics = [1, *rng.uniform(0, 0.6, 5)]
    for i, start in enumerate(np.arange(0, seconds, beat)):
        chord = rng.choice([0, 5, 7, 9])
        notes = (
            [*(chord + np.array([0, 4, 7])), 12 + rng.choice(scale)]
            if i % 4 == 0
            else [12 + rng.choice(scale)]
        )
        u = t - start
        for note in notes:
            hz = root * 2 ** (note / 12)
            tone = sum(a * np.sin(2 * np.pi * hz * (k + 1) * u) for k, a in enumerate(harmonics))
            x += np.where(u >= 0, tone * np.exp(-np.maximum(u, 0) * rng.uniform(1.5, 6)), 0)
        hit = rng.standard_normal(len(t)) * np.exp(-np.maximum(u, 0) * 60)
        x += np.where(u >= 0, hit * rng.uniform(0, 0.5), 0)
    return _finish(x, rng)


MAKERS: dict[str, Maker] = {
    "Siren": siren,
    "Smoke detector, smoke alarm": smoke_alarm,
    "Telephone bell ringing": telephone,
    "Alarm clock": alarm_clock,
    "Beep, bleep": beep,
    "Church bell": bell,
    "Tick-tock": clock,
    "Knock": knock,
    "Rain": rain,
    "Wind": wind,
    "White noise": white_noise,
    "Music": music,
}
"""Makers by AudioSet name."""
