"""Pieces of recordings: where they are cut, how loud they are, where they lie in something else."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE, TOKEN

Audio = NDArray[np.float32]

SHORTEST = 4
"""Tokens of the shortest window (1.6 s): shorter recordings are padded with silence."""
HEARD = 0.2
"""Part of a recording's loudest 100 ms that a piece must reach for the recording's labels to hold."""
SILENT = 1e-3
"""RMS of 100 ms below which there is nothing to hear: -60 dB, as the daemon has it (`sounds.silence_db`)."""
FADE = SAMPLE_RATE // 200
"""Samples over which a piece fades in and out where it was cut, so that the cut is no click: 5 ms."""


def crop(audio: Audio, n: int, rng: np.random.Generator) -> tuple[Audio, bool]:
    """A random piece of n samples, and whether it holds a fair part of the recording's loudness."""
    if len(audio) < n:
        audio = np.pad(audio, (0, n - len(audio)))
    start = int(rng.integers(0, len(audio) - n + 1))
    piece = audio[start : start + n]
    return piece, bool(loudest(piece) > HEARD * loudest(audio))


def loudest(audio: Audio) -> float:
    """RMS of the loudest 100 ms."""
    if len(audio) < 1600:
        audio = np.pad(audio, (0, 1600 - len(audio)))
    whole = audio[: len(audio) // 1600 * 1600].reshape(-1, 1600)
    return float(np.sqrt((whole**2).mean(axis=1).max()))


def level(audio: Audio, rng: np.random.Generator) -> Audio:
    """At a random peak from -30 to -1 dB of full scale."""
    peak = float(np.abs(audio).max()) or 1.0
    return audio * np.float32(10 ** (rng.uniform(-30, -1) / 20) / peak)


def pieces_of(length: int, longest: int) -> list[tuple[int, int]]:
    """Where a recording of `length` samples is cut: whole, to the token, or in pieces of `longest`.

    A piece (start, end) is at least SHORTEST tokens long, so the end may lie beyond the recording.
    """
    if length <= longest:
        return [(0, max(length // TOKEN, SHORTEST) * TOKEN)]
    return [(start, start + longest) for start in range(0, length - longest + 1, longest)]


def placed(piece: Audio, ground: Audio, snr_db: float, rng: np.random.Generator) -> Audio:
    """`piece` at a random place in `ground`, faded in and out, so many dB louder (mean powers of both).

    Either of them alone, at that place, where the other is silent.
    """
    out = np.zeros_like(ground)
    at = int(rng.integers(0, len(ground) - len(piece) + 1))
    fade = np.minimum(1, np.arange(1, len(piece) + 1, dtype=np.float32) / FADE)
    out[at : at + len(piece)] = piece * fade * fade[::-1]
    power, under = float(np.mean(piece**2)), float(np.mean(ground**2))
    if power < 1e-10 or under < 1e-10:
        return out + ground
    return out + ground * np.float32(np.sqrt(power / under / 10 ** (snr_db / 10)))
