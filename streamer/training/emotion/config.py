"""What `streamer train emotion` can be told; config/training/emotion.toml has the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamer.errors import StreamerError
from streamer.nn.emotion import POOLINGS


@dataclass(frozen=True, slots=True)
class FrozenConfig:
    """[frozen]: the fit of a head on a Whisper's encoder, of which nothing learns."""

    width: int = 256
    """Of the head's hidden layer."""
    epochs: int = 40
    batch: int = 64
    rate: float = 1e-3
    decay: float = 1e-2
    """Of the weights, decoupled (AdamW)."""
    dropout: float = 0.3


@dataclass(frozen=True, slots=True)
class EmotionConfig:
    """Data, the head, and the fine-tuning of an encoder of the wav2vec 2.0 family."""

    folds: int = 5
    """Parts of the speakers; each is once the test, and once what the best epoch is chosen by."""
    pooling: str = "mean"
    """How a clip's frames become one: mean, sum, max."""
    unfreeze: int = 2
    """Layers of the encoder that learn too, the last ones; 0: the head alone."""
    epochs: int = 8
    batch: int = 8
    rate: float = 1e-4
    dropout: float = 0.1
    longest: float = 10.0
    """Seconds of a clip that are looked at."""
    seed: int = 0
    frozen: FrozenConfig = field(default_factory=FrozenConfig)

    def checked(self) -> EmotionConfig:
        """Itself. Raises StreamerError for values that make no sense."""
        if self.pooling not in POOLINGS or min(self.epochs, self.batch) < 1 or self.unfreeze < 0:
            raise StreamerError(
                f"expected pooling {', '.join(POOLINGS)}, one epoch and clip a batch or more, no negative "
                f"number of layers; found {self.pooling}, {self.epochs}, {self.batch}, {self.unfreeze}"
            )
        frozen = self.frozen
        if min(frozen.width, frozen.epochs, frozen.batch) < 1 or not 0 <= frozen.dropout < 1:
            raise StreamerError(
                "[frozen]: expected a width, epochs and a batch of 1 or more, a dropout from 0 to below 1; "
                f"found {frozen.width}, {frozen.epochs}, {frozen.batch}, {frozen.dropout}"
            )
        return self
