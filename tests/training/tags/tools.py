"""Sounds, data and features small enough that a training on them takes a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from streamer.training.tags.encoders import FrozenEncoder, of_whisper
from streamer.training.tags.features import Features
from tests.tiny import tiny_model
from tests.training.corpora import noise, tone, write_wav

LABELS = ("Dog", "Rain", "Siren")


def encoder(seed: int = 0) -> FrozenEncoder:
    """Two layers of 64, random."""
    return of_whisper(tiny_model(seed).model, "tiny", short=True, precision="fp32")


def two_classes(count: int = 60, seed: int = 0, tokens: int = 4) -> Features:
    """Dogs point one way in feature space, rain the other; five folds, every window a whole clip."""
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(count, 2, tokens, 8, generator=rng) * 0.3
    targets = np.zeros((count, len(LABELS)), np.bool_)
    for i in range(count):
        values[i, :, :, :2] += torch.tensor([1.5, -1.5]) * (1 if i % 2 else -1)
        targets[i, 0 if i % 2 else 1] = True
    rows = np.arange(count)
    return Features(values.half().numpy(), rows, targets, 1 + rows // 2 % 5, rows, bytes([seed, tokens]))


def write_folders(root: Path, each: int = 3) -> Path:
    """A folder for each of two labels, with recordings of 2 s."""
    for i in range(each):
        write_wav(root / "Dog" / f"{i}.wav", tone(2.0, 300 + 20 * i))
        write_wav(root / "Rain" / f"{i}.wav", noise(2.0, i))
    return root
