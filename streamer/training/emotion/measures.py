"""How well labels were told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Measures:
    """accuracy; uar: recall, averaged over the labels that occur; f1: F1, averaged over the same.

    confusion: (labels, labels) counts, a row for each true label. by_gender: accuracy of each.
    """

    accuracy: float
    uar: float
    f1: float
    confusion: NDArray[np.int64]
    by_gender: dict[str, float]


def measure(truth: Sequence[int], told: Sequence[int], n_label: int, genders: Sequence[str] = ()) -> Measures:
    """Measures of what was told of clips whose labels are known; at least one clip."""
    right = np.asarray(truth) == np.asarray(told)
    confusion = np.zeros((n_label, n_label), np.int64)
    np.add.at(confusion, (np.asarray(truth), np.asarray(told)), 1)
    hits, there, said = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    occurs = there > 0
    recall = hits[occurs] / there[occurs]
    f1 = 2 * hits[occurs] / (there[occurs] + said[occurs])
    by_gender = {
        name: float(right[[gender == name for gender in genders]].mean())
        for name in sorted({*genders} - {""})
    }
    return Measures(float(right.mean()), float(recall.mean()), float(f1.mean()), confusion, by_gender)
