"""How well scores rank recordings, by the measures of the audio tagging literature. Numpy only.

Truth is boolean, (N,) for one label or (N, C) for many; scores have the same shape, higher is more
likely. What a measure is not defined for is not a number (`nan`), never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_precision(truth: ArrayLike, scores: ArrayLike) -> float:
    """Σ (Rₙ - Rₙ₋₁) Pₙ over the thresholds, as scikit-learn's `average_precision_score`: not interpolated.

    truth, scores: (N,). Equal scores are one threshold. `nan` where nothing is true.
    """
    positive, values = _checked(truth, scores, 1)
    if not positive.any():
        return float("nan")
    hits, flagged = _curve(positive, values)
    recall = hits / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / flagged))


def roc_auc(truth: ArrayLike, scores: ArrayLike) -> float:
    """The probability that a true recording scores above another; equal scores count half (Mann and Whitney).

    truth, scores: (N,). `nan` where all or none are true.
    """
    positive, values = _checked(truth, scores, 1)
    trues = int(positive.sum())
    others = len(positive) - trues
    if not trues or not others:
        return float("nan")
    hits, flagged = _curve(positive, values)
    false = flagged - hits
    steps = np.diff(false, prepend=0.0)
    before = np.concatenate([[0.0], hits[:-1]])
    return float(np.sum(steps * (hits + before) / 2) / (trues * others))


def d_prime(auc: float) -> float:
    """√2 · Φ⁻¹(AUC): how many deviations apart two normal distributions with that AUC are.

    Infinite for 0 and 1.
    """
    if not 0 < auc < 1:
        return {0.0: -np.inf, 1.0: np.inf}.get(auc, float("nan"))
    return float(np.sqrt(2) * NormalDist().inv_cdf(auc))


def top_k(truth: ArrayLike, scores: ArrayLike, k: int) -> float:
    """The share of recordings of which one of the `k` best labels is true; of equal scores the first counts.

    truth, scores: (N, C). Recordings of which nothing is true are left out; `nan` where none remain.
    """
    positive, values = _checked(truth, scores, 2)
    some = positive.any(axis=1)
    if not some.any():
        return float("nan")
    best = np.argsort(-values[some], axis=1, kind="stable")[:, :k]
    return float(np.take_along_axis(positive[some], best, axis=1).any(axis=1).mean())


@dataclass(frozen=True, slots=True)
class LabelScore:
    """One label: how many recordings have it, and how well it is ranked."""

    label: str
    count: int
    ap: float
    auc: float


@dataclass(frozen=True, slots=True)
class TagScores:
    """A whole set. `mean_ap` and `auc` are means over the labels for which they are defined (macro)."""

    clips: int
    labels: tuple[LabelScore, ...]
    mean_ap: float
    auc: float
    d_prime: float
    """Of the mean AUC, as PANNs and its successors report it."""
    top1: float
    top3: float


def score_tags(truth: ArrayLike, scores: ArrayLike, labels: Sequence[str]) -> TagScores:
    """Every measure of (N, C) scores; `labels` are the names of the C. Raises ValueError for other shapes."""
    positive, values = _checked(truth, scores, 2)
    if positive.shape[1] != len(labels):
        raise ValueError(f"expected {len(labels)} columns, one a label, found shape {positive.shape}")
    rows = tuple(
        LabelScore(
            name,
            int(positive[:, c].sum()),
            average_precision(positive[:, c], values[:, c]),
            roc_auc(positive[:, c], values[:, c]),
        )
        for c, name in enumerate(labels)
    )
    auc = _mean([row.auc for row in rows])
    return TagScores(
        clips=len(positive),
        labels=rows,
        mean_ap=_mean([row.ap for row in rows]),
        auc=auc,
        d_prime=d_prime(auc),
        top1=top_k(positive, values, 1),
        top3=top_k(positive, values, 3),
    )


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def _checked(truth: ArrayLike, scores: ArrayLike, axes: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    positive, values = np.asarray(truth).astype(bool), np.asarray(scores, np.float64)
    if positive.shape != values.shape or positive.ndim != axes:
        raise ValueError(
            f"expected truth and scores of one shape with {axes} axes, "
            f"found {positive.shape} and {values.shape}"
        )
    if np.isnan(values).any():
        raise ValueError("expected scores that are numbers, found NaN")
    return positive, values


def _curve(
    positive: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """At each threshold, highest first: how many true ones it flags, and how many in all."""
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)
    return np.cumsum(positive[order])[last].astype(np.float64), (last + 1).astype(np.float64)
