"""An encoder taught by itself: short contexts are to give what the full one gave, over the audio's frames."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from streamer.nn.whisper import AudioEncoder
from streamer.training.context.pieces import Known, Lesson

LABEL = "numbers"
"""The input that makes transformers' Trainer evaluate the loss."""
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Spread:
    """Variances over frames in the full context: of states (D,), of pooled layers (L, D).

    Whisper has a few channels that are hundreds of times as large as others; measured by its own spread each
    channel counts alike.
    """

    states: Tensor
    layers: Tensor

    @classmethod
    def of(cls, known: Iterable[Known]) -> Spread:
        """From what is known of recordings."""
        pairs = [(one.states, one.layers) for one in known]
        states = torch.cat([one for one, _ in pairs]).float().var(0)
        layers = torch.cat([one for _, one in pairs], dim=1).float().var(1)
        return cls(states.clamp_min(_LEAST), layers.clamp_min(_LEAST))


def apart(found: Known, wanted: Known, spread: Spread) -> Tensor:
    """(1 + L,): how far the final states are, and each layer's tokens.

    The mean squared difference as a share of each channel's variance: 0 is the same, 1 as far as the mean of
    all frames would be. A recording of less than one token has layers at 0.
    """
    states = (found.states.float() - wanted.states.float()).square() / spread.states
    layers = (found.layers.float() - wanted.layers.float()).square() / spread.layers[:, None]
    return torch.cat([states.mean()[None], layers.flatten(1).sum(1) / max(1, layers[0].numel())])


class Distiller(nn.Module):
    """A copy of an encoder that learns. weight: of the layers, beside that of the final states."""

    def __init__(self, encoder: AudioEncoder, spread: Spread, weight: float) -> None:
        super().__init__()
        self.student = copy.deepcopy(encoder).float().requires_grad_(True)
        self._spread, self._weight = spread, weight

    def forward(
        self, numbers: Tensor, mel: Sequence[Tensor], states: Sequence[Tensor], layers: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Lessons as `collate` puts them together; those of one context go through in one pass.

        Returns the loss, and how far each is from what is known of it (B, 1 + L).
        """
        spread = Spread(self._spread.states.to(numbers.device), self._spread.layers.to(numbers.device))
        alike = defaultdict(list)
        for i, one in enumerate(mel):
            alike[one.shape[1]].append(i)
        rows: list[Tensor] = [numbers.float()] * len(mel)
        for places in alike.values():
            encoding = self.student(torch.stack([mel[i] for i in places]), pooled=True)
            for k, i in enumerate(places):
                wanted = Known(states[i], layers[i])
                found = Known(
                    encoding.states[k, : wanted.states.shape[0]],
                    encoding.layers[k, :, : wanted.layers.shape[1]],
                )
                rows[i] = apart(found, wanted, spread)
        distances = torch.stack(rows)
        loss = distances[:, 0].mean() + self._weight * distances[:, 1:].mean()
        return {"loss": loss, "apart": distances.detach()}


def collate(lessons: Sequence[Lesson]) -> dict[str, Any]:
    """What `Distiller` takes. Contexts differ, so nothing is padded to a common one."""
    return {
        LABEL: torch.arange(len(lessons)),
        "mel": [one.mel for one in lessons],
        "states": [one.known.states for one in lessons],
        "layers": [one.known.layers for one in lessons],
    }


def measure(found: Any) -> dict[str, float]:
    """Of an evaluation's predictions (N, 1 + L): the means over the states, over all layers."""
    distances = found.predictions
    return {"states": float(distances[:, 0].mean()), "layers": float(distances[:, 1:].mean())}
