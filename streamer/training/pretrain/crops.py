"""Pieces of unlabelled recordings, and what is hidden in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from streamer.timebase import SAMPLE_RATE, to_samples
from streamer.training.recordings import Utterance

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Crop:
    """A piece of a recording, and the generator of whatever else is drawn for it."""

    samples: Samples
    rng: np.random.Generator


class Crops(Dataset[Crop]):
    """A random piece of `seconds` of each utterance, as often as it fills that length.

    Every look gives another one, drawn from torch's generator, whose state a training keeps. With `fixed`
    each look at a place gives the same.
    """

    def __init__(self, utterances: Sequence[Utterance], seconds: float, fixed: bool = False) -> None:
        self.length = to_samples(seconds)
        self.fixed = fixed
        self.places = [one for one in utterances for _ in range(-(-len(one) // self.length))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> Crop:
        seed = i if self.fixed else int(torch.randint(2**62, ()))
        rng = np.random.default_rng(seed)
        samples = self.places[i].samples
        start = int(rng.integers(max(0, len(samples) - self.length) + 1))
        return Crop(samples[start : start + self.length], rng)

    @property
    def hours(self) -> float:
        """Audio that one look at everything takes."""
        return sum(min(len(one), self.length) for one in self.places) / SAMPLE_RATE / 3600


def draw_mask(frames: int, share: float, span: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(frames,) which frames are hidden: spans that begin at random and may overlap.

    So many that they would cover a `share` if none did, at least two, as far as there is room; 0.65 and 10
    (Baevski et al. 2020) hide about 49 %. Frames must be more than `span`.
    """
    if frames <= span:
        raise ValueError(f"expected more than {span} frames to hide a span in, found {frames}")
    count = max(2, int(share * frames / span + rng.random()))
    starts = rng.choice(frames - span + 1, min(count, frames - span + 1), replace=False)
    mask = np.zeros(frames, np.bool_)
    mask[starts[:, None] + np.arange(span)] = True
    return mask


def draw_others(count: int, each: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(count, each) numbers below `count`, uniform over all but the row's own; `count` of 2 or more."""
    others = rng.integers(0, count - 1, (count, each))
    return others + (others >= np.arange(count)[:, None])
