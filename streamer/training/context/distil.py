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
from streamer.training.context.told import Scribe, Told

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
    """A copy of an encoder that learns.

    layers, text: weights of the layers, and of what a decoder (`scribe`) makes of the states, beside that of
    the final states.
    """

    def __init__(
        self,
        encoder: AudioEncoder,
        spread: Spread,
        layers: float,
        scribe: Scribe | None = None,
        text: float = 1.0,
    ) -> None:
        super().__init__()
        self.student = copy.deepcopy(encoder).float().requires_grad_(True)
        self._spread, self._layers, self._text = spread, layers, text
        self._scribe = scribe  # its decoder is no child: checkpoints need not hold what never changes

    def forward(
        self,
        numbers: Tensor,
        mel: Sequence[Tensor],
        states: Sequence[Tensor],
        layers: Sequence[Tensor],
        tokens: Sequence[Tensor],
        said: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Lessons as `collate` puts them together; those of one context go through in one pass.

        Returns the loss, and how far each is from what is known of it (B, 2 + L): states, text, layers.
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
                rest = apart(found, wanted, spread)
                text = torch.zeros_like(rest[:1])
                if self._scribe is not None:
                    # The decoder reads the silence behind the audio as well.
                    text = self._scribe.distance(Told(tokens[i], said[i]), encoding.states[k : k + 1])[None]
                rows[i] = torch.cat([rest[:1], text, rest[1:]])
        distances = torch.stack(rows)
        states_apart, text_apart, layers_apart = distances[:, 0], distances[:, 1], distances[:, 2:]
        loss = states_apart.mean() + self._text * text_apart.mean() + self._layers * layers_apart.mean()
        return {"loss": loss, "apart": distances.detach()}


def collate(lessons: Sequence[Lesson]) -> dict[str, Any]:
    """What `Distiller` takes. Contexts differ, so nothing is padded to a common one."""
    return {
        LABEL: torch.arange(len(lessons)),
        "mel": [one.mel for one in lessons],
        "states": [one.known.states for one in lessons],
        "layers": [one.known.layers for one in lessons],
        "tokens": [one.known.told.tokens for one in lessons if one.known.told],
        "said": [one.known.told.said for one in lessons if one.known.told],
    }


def measure(found: Any) -> dict[str, float]:
    """Of an evaluation's predictions (N, 2 + L): means over the states, the texts, and all layers."""
    states, text, *layers = found.predictions.mean(0).tolist()
    return {"states": states, "text": text, "layers": sum(layers) / len(layers)}
