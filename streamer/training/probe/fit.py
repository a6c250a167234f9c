"""Linear probes on frozen features: on each layer, and SUPERB's on a learnt sum of all (Yang et al. 2021).

A probe is a softmax regression with an L2 penalty, on features that have mean 0 and variance 1 over what it
learns from, fitted by L-BFGS from zero: nothing is drawn, so the same features give the same probe.

The sum's weights are a softmax that is learnt together with the regression. Two things would drive it onto
one layer whatever the others know: a mean of several layers varies less than any of them, so that the penalty
would have to be paid for larger weights; and at the end of a fit, which SUPERB's few small steps never reach,
any advantage has grown to all there is. So the sum is brought back to variance 1, and the softmax' logits
have a penalty of their own: where the fit is at rest, a layer's logit is in proportion to what the loss would
gain by more of it. What it gains is seen through the one map that reads all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from streamer.errors import StreamerError
from streamer.training.emotion.measures import measure

LEAST_VARIANCE = 1e-6
"""A sum of layers that varies less, for every clip is the same to them, tells nothing and stays as it is."""


@dataclass(frozen=True, slots=True)
class ProbeConfig:
    """What `streamer eval probe` can be told; config/evaluation/probe.toml has the defaults."""

    folds: int = 5
    """Parts of the data; each is once the test, and once what the penalty is chosen by."""
    strengths: tuple[float, ...] = (1e-1, 1e-2, 1e-3)
    """Of the L2 penalty, strongest first; the best on the fold that is kept for that."""
    evenness: float = 0.02
    """Of the penalty on the layers' logits, which keeps the sum's weights from settling on a single one."""
    iterations: int = 60
    """Of L-BFGS, at most."""
    longest: float = 10.0
    """Seconds of a clip that are heard."""
    seed: int = 0
    """Of the folds."""

    def checked(self) -> ProbeConfig:
        """Itself. Raises StreamerError for values that make no sense."""
        falling = sorted(set(self.strengths), reverse=True)
        if not self.strengths or list(self.strengths) != falling or falling[-1] <= 0:
            raise StreamerError(
                f"strengths: expected positive numbers, largest first; found {list(self.strengths)}"
            )
        if self.iterations < 1 or self.longest < 0.1 or self.evenness < 0:
            raise StreamerError(
                "expected one iteration or more, 0.1 seconds of a clip or more and an evenness of 0 or more, "
                f"found {self.iterations}, {self.longest} and {self.evenness}"
            )
        return self


@dataclass(frozen=True, slots=True)
class Split:
    """One fold's part in a cross-validation: numbers of clips to learn from, to choose by, to test."""

    train: NDArray[np.int64]
    choose: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(slots=True)
class Probe:
    """mixture: (L,) logits of the layers' weights. weight: (labels, D). bias: (labels,).

    alike: (L, L) covariances of the layers' features, averaged over the features.
    """

    mixture: Tensor
    weight: Tensor
    bias: Tensor
    alike: Tensor

    @classmethod
    def zero(cls, x: Tensor, n_label: int) -> Probe:
        """One that has learnt nothing yet of features (n, L, D), each with mean 0 and variance 1."""
        count, layers, width = x.shape
        alike = torch.einsum("nld,nmd->lm", x, x) / (count * width)
        return cls(torch.zeros(layers), torch.zeros(n_label, width), torch.zeros(n_label), alike)

    @property
    def shares(self) -> NDArray[np.float32]:
        """(L,) weights of the layers; they add up to one."""
        out: NDArray[np.float32] = self.mixture.detach().softmax(0).numpy()
        return out

    def logits(self, x: Tensor) -> Tensor:
        """(n, L, D) -> (n, labels)."""
        shares = self.mixture.softmax(0)
        spread = (shares @ self.alike @ shares).clamp_min(LEAST_VARIANCE).sqrt()
        return F.linear(torch.einsum("nld,l->nd", x, shares / spread), self.weight, self.bias)

    def loss(self, x: Tensor, y: Tensor, strength: float, evenness: float) -> Tensor:
        """What a fit makes small, of features (n, L, D) of labels (n,)."""
        penalty = strength * self.weight.square().sum() + evenness * self.mixture.square().sum()
        return F.cross_entropy(self.logits(x), y) + penalty

    def fit(self, x: Tensor, y: Tensor, strength: float, config: ProbeConfig) -> None:
        """Go on from where it is, on features (n, L, D) of labels (n,)."""
        several = x.shape[1] > 1
        learns = [self.weight, self.bias, *([self.mixture] if several else [])]
        for tensor in learns:
            tensor.requires_grad_(True)
        optimiser = torch.optim.LBFGS(learns, max_iter=config.iterations, line_search_fn="strong_wolfe")

        def step() -> float:
            optimiser.zero_grad()
            value = self.loss(x, y, strength, config.evenness)
            value.backward()
            return value.item()

        optimiser.step(step)
        for tensor in learns:
            tensor.requires_grad_(False)


def splits(fold: NDArray[np.int64]) -> list[Split]:
    """Each fold as the test once; the next one chooses, the rest is learnt from. fold: (n,) from 0 on."""
    count = int(fold.max()) + 1
    every = np.arange(len(fold))
    out = []
    for number in range(count):
        other = (number + 1) % count
        rest = every[(fold != number) & (fold != other)]
        out.append(Split(rest, every[fold == other], every[fold == number]))
    return out


def cross_validate(
    features: NDArray[np.float32],
    truth: NDArray[np.int64],
    parts: Sequence[Split],
    n_label: int,
    config: ProbeConfig,
    done: Callable[[], None] = lambda: None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """What probes say of features (n, L, D) that they have not seen: labels (n,); layer weights (folds, L).

    `done` is called after each fold.
    """
    told = np.full(len(truth), -1, np.int64)
    shares = []
    for part in parts:
        strength = _choose(features, truth, part, n_label, config)
        known = np.concatenate([part.train, part.choose])
        probe, said = _learn(features, truth, known, part.test, n_label, [strength], config)[-1]
        told[part.test] = said
        shares.append(probe.shares)
        done()
    return told, np.stack(shares)


def _choose(
    features: NDArray[np.float32],
    truth: NDArray[np.int64],
    part: Split,
    n_label: int,
    config: ProbeConfig,
) -> float:
    """The penalty with the best unweighted average recall on the fold to choose by; of equals the first."""
    if len(config.strengths) == 1:
        return config.strengths[0]
    tried = _learn(features, truth, part.train, part.choose, n_label, config.strengths, config)
    recalls = [measure(truth[part.choose].tolist(), said.tolist(), n_label).uar for _, said in tried]
    return config.strengths[int(np.argmax(recalls))]


def _learn(
    features: NDArray[np.float32],
    truth: NDArray[np.int64],
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    n_label: int,
    strengths: Sequence[float],
    config: ProbeConfig,
) -> list[tuple[Probe, NDArray[np.int64]]]:
    """For each penalty, each going on from the one before: a probe, and what it says of `test`."""
    mean, scale = features[train].mean(0), features[train].std(0) + 1e-6
    x, y = torch.from_numpy((features[train] - mean) / scale), torch.from_numpy(truth[train])
    asked = torch.from_numpy((features[test] - mean) / scale)
    probe = Probe.zero(x, n_label)
    out = []
    for strength in strengths:
        probe.fit(x, y, strength, config)
        copy = Probe(probe.mixture.clone(), probe.weight.clone(), probe.bias.clone(), probe.alike)
        out.append((copy, copy.logits(asked).argmax(1).numpy()))
    return out
