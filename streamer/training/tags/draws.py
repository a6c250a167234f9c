"""What a training step sees: which windows, mixed and masked how. A function of the seed and the step."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamer.training.tags.features import Features, label_counts

COUNT_OFFSET = 0.01
"""Whisper-AT's: a window weighs Σ 1000 / (count + 0.01) over its labels."""


@dataclass(frozen=True, slots=True)
class DrawConfig:
    """How batches are drawn. Shares from 0 to 1."""

    batch: int = 64
    balance: bool = True
    """Windows of rare labels are drawn more often (Whisper-AT: Σ 1000 / (count + 0.01) over the labels)."""
    floor: float = 0.5
    """A labelled window is drawn at least so often as this part of their mean: what is common, such as people
    talking, has to be known well not to be taken for what is rare. As published: 0."""
    unlabelled: float = 0.15
    """Share of the draws that go to windows without a label, where there are some."""
    mixup: float = 0.5
    """Share of the windows that get another one mixed into their features."""
    mixup_beta: float = 10.0
    """Its share is drawn from Beta(b, b)."""
    mixup_targets: str = "union"
    """share: each label by its window's part of the mixture, as published. union: all of them, wholly."""
    time_mask: float = 0.4
    """Longest part of a window's tokens that is zeroed, drawn from 0 up (as published: 10 of 25)."""
    smoothing: float = 0.02
    """Label smoothing: targets are so far from 0 and 1 (as published: 0.1)."""


@dataclass(frozen=True, slots=True)
class _Pool:
    """Windows of one length that may be drawn. steps: cumulated probability, (N,), ending in 1."""

    features: Features
    keep: NDArray[np.int64]
    steps: NDArray[np.float64]
    mass: float


class Draws:
    """Batches for a head from all windows but those of the folds `leave`."""

    def __init__(
        self, features: Sequence[Features], config: DrawConfig, leave: Collection[int] = (), seed: int = 0
    ) -> None:
        self.config, self._seed = config, seed
        kept = [(f, np.flatnonzero(~np.isin(f.fold, list(leave)))) for f in features]
        kept = [(f, keep) for f, keep in kept if len(keep)]
        self.count = sum(len(keep) for _, keep in kept)
        weights = _weights([f.only(keep) for f, keep in kept], config)
        self._pools = [
            _Pool(f, keep, np.cumsum(w) / w.sum(), float(w.sum()))
            for (f, keep), w in zip(kept, weights, strict=True)
            if w.sum() > 0
        ]
        self._mass = np.cumsum([pool.mass for pool in self._pools])
        self.identity = blake2b(
            b"".join(
                [f.identity + keep.tobytes() + f.rows.tobytes() + f.targets.tobytes() for f, keep in kept]
            ),
            digest_size=16,
        ).hexdigest()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Layers (B, L, T, D) float32, and targets (B, C) float32 with smoothing."""
        rng = np.random.default_rng([self._seed, step])
        c = self.config
        at = np.searchsorted(self._mass, rng.random() * self._mass[-1], side="right")
        pool = self._pools[min(int(at), len(self._pools) - 1)]
        first = pool.keep[_pick(pool.steps, rng.random(c.batch))]
        x, y = pool.features.take(first).float(), torch.from_numpy(pool.features.targets[first]).float()
        # Rows of a batch are in no order, so the first of them are the mixed ones: slices, no copies.
        if mixed := int(rng.binomial(c.batch, c.mixup)):
            second = pool.keep[_pick(pool.steps, rng.random(mixed))]
            part = torch.from_numpy(rng.beta(c.mixup_beta, c.mixup_beta, mixed).astype(np.float32))
            x[:mixed].lerp_(pool.features.take(second).float(), part[:, None, None, None])
            other = torch.from_numpy(pool.features.targets[second]).float()
            if c.mixup_targets == "share":
                y[:mixed].lerp_(other, part[:, None])
            else:
                y[:mixed] = torch.maximum(y[:mixed], other)
        _mask(x, c.time_mask, rng)
        return x, y * (1 - 2 * c.smoothing) + c.smoothing


def _pick(steps: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.minimum(np.searchsorted(steps, draws, side="right"), len(steps) - 1).astype(np.int64)


def _weights(features: Sequence[Features], config: DrawConfig) -> list[NDArray[np.float64]]:
    """How often each window is drawn, a (N,) for each of the features; they add up to 1."""
    if not features:
        return []
    if config.balance:
        rarity = 1000 / (label_counts(features) + COUNT_OFFSET)
        labelled = [np.asarray(f.targets @ rarity, np.float64) for f in features]
    else:
        labelled = [np.asarray(f.targets.any(1), np.float64) for f in features]
    mean = sum(float(w.sum()) for w in labelled) / max(1, sum(int((w > 0).sum()) for w in labelled))
    labelled = [np.where(w > 0, np.maximum(w, config.floor * mean), 0.0) for w in labelled]
    empty = [np.asarray(~f.targets.any(1), np.float64) for f in features]
    total, rest = (float(sum(w.sum() for w in part)) for part in (labelled, empty))
    share = config.unlabelled if total and rest else float(not total)
    out: list[NDArray[np.float64]] = []
    for labels, none in zip(labelled, empty, strict=True):
        out.append(np.asarray((1 - share) * labels / (total or 1) + share * none / (rest or 1), np.float64))
    return out


def _mask(x: Tensor, most: float, rng: np.random.Generator) -> None:
    """Zero a run of tokens of each window in place, up to `most` of them, each length as likely."""
    batch, _, tokens, _ = x.shape
    longest = int(most * tokens)
    if longest < 1:
        return
    length = rng.integers(0, longest + 1, batch)
    start = rng.integers(0, tokens - length + 1)
    at = np.arange(tokens)
    gone = (at >= start[:, None]) & (at < (start + length)[:, None])
    x.masked_fill_(torch.from_numpy(gone)[:, None, :, None], 0.0)
