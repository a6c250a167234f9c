"""Clips that anybody can tell apart: low hums and high ones, of four actors, under RAVDESS' names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.training.corpora import write_wav


def write_ravdess(folder: Path, actors: int = 4, takes: int = 2) -> Path:
    """Angry ones hum at 200 Hz, sad ones at 900, each actor a little higher than the last."""
    folder.mkdir(parents=True, exist_ok=True)
    t = np.arange(6400) / 16000
    for actor in range(1, actors + 1):
        for emotion, pitch in (("05", 200.0), ("04", 900.0)):
            for take in range(1, takes + 1):
                noise = 0.02 * np.random.default_rng([actor, take]).standard_normal(len(t))
                hum = 0.3 * np.sin(2 * np.pi * (pitch + 10 * actor) * t) + noise
                name = f"03-01-{emotion}-01-01-0{take}-{actor:02d}.wav"
                write_wav(folder / name, hum.astype(np.float32))
    return folder
