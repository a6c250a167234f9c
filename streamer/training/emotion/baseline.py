"""What any encoder has to be better than: a linear classifier on a clip's mean MFCCs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.fft import dct

from streamer.audio.mel import log_mel

COEFFICIENTS = 20
N_MELS = 80
STRENGTH = 1e-3
"""Of the L2 penalty on the classifier's weights."""


def mfcc(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(COEFFICIENTS,) mean over a clip (n,) of the cosine transform of its log-mel frames."""
    frames = dct(log_mel(samples, N_MELS), axis=0, norm="ortho")[:COEFFICIENTS]
    mean: NDArray[np.float32] = frames.mean(1).astype(np.float32)
    return mean


def classify(
    train: NDArray[np.float32], truth: Sequence[int], test: NDArray[np.float32], n_label: int
) -> list[int]:
    """Labels of `test` (m, D) by softmax regression on standardised `train` (n, D)."""
    mean, scale = train.mean(0), train.std(0) + 1e-6
    x, y = torch.from_numpy((train - mean) / scale), torch.tensor(truth)
    weight = torch.zeros(n_label, x.shape[1], requires_grad=True)
    bias = torch.zeros(n_label, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> float:
        optimiser.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), y) + STRENGTH * weight.square().sum()
        value.backward()
        return value.item()

    optimiser.step(loss)
    with torch.no_grad():
        told: list[int] = F.linear(torch.from_numpy((test - mean) / scale), weight, bias).argmax(1).tolist()
    return told
