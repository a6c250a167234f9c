"""What one pass of a raw-waveform encoder leaves behind, at the encoder's own frame rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from streamer.timebase import POOL


@dataclass(slots=True)
class Frames:
    """Hidden states of a batch of clips; beyond a clip's own frames they mean nothing.

    states: (B, T, D) the encoder's output. embedding: (B, T, D) what goes into the first layer. layers:
    (B, L, T, D) every layer's output. lengths: frames of each clip. pool: frames of 0.4 s.
    """

    states: Tensor
    embedding: Tensor
    layers: Tensor
    lengths: tuple[int, ...]
    pool: int = POOL

    @property
    def mask(self) -> Tensor:
        """(B, T) bool: which frames are a clip's own."""
        lengths = torch.tensor(self.lengths, device=self.states.device)
        return torch.arange(self.states.shape[1], device=lengths.device) < lengths[:, None]

    def tokens(self, size: int | None = None) -> Tensor:
        """(B, L, ⌈T / size⌉, D): means of `layers` over runs of `size` frames, of None those of 0.4 s.

        An unpadded convolution gives a frame less than the audio has hops, so a last run that is not full
        counts too. A run averages a clip's own frames only, and is zero where it has none.
        """
        batch, count, time, width = self.layers.shape
        size = size or self.pool
        runs = -(-time // size)
        own = self.mask[:, None, :, None].to(self.layers.dtype)
        padding = (0, 0, 0, runs * size - time)
        summed = torch.nn.functional.pad(self.layers * own, padding)
        summed = summed.reshape(batch, count, runs, size, width).sum(3)
        frames = torch.nn.functional.pad(own, padding).reshape(batch, 1, runs, size, 1).sum(3)
        return summed / frames.clamp(min=1)
