"""What `streamer train wav2vec2` and `streamer train wav2vec` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamer.errors import StreamerError
from streamer.nn.speech import frames_of
from streamer.timebase import to_samples
from streamer.training.pretrain.wav2vec import PredictTask
from streamer.training.pretrain.wav2vec2 import Sizes, Task


@dataclass(frozen=True, slots=True)
class CommonConfig:
    """What both are told."""

    steps: int = 10000
    batch: int = 16
    """Pieces of recordings a step."""
    crop: float = 5.0
    """Seconds of a piece."""
    shortest: float = 1.0
    """Seconds: shorter recordings are left out."""
    rate: float = 5e-4
    warmup: float = 0.08
    """Share of the steps until the rate is reached; from there it falls to 0."""
    weight_decay: float = 0.01
    every: int = 500
    """Steps between two evaluations, after each of which all is saved."""
    held_out: float = 0.02
    """Share of the recordings that is measured on, where no split says which."""
    judged: int = 200
    """Pieces of those that are measured on, at most."""
    bf16: bool = False
    """Whether the bulk of the computing is in bfloat16."""
    seed: int = 0

    def check(self) -> None:
        """Raises StreamerError for values that make no sense."""
        if min(self.steps, self.batch, self.every, self.judged) < 1 or not 0.3 <= self.shortest <= self.crop:
            raise StreamerError(
                "expected steps, batch, every and judged of 1 or more, and 0.3 ≤ shortest ≤ crop; found "
                f"{self.steps}, {self.batch}, {self.every}, {self.judged}, {self.shortest} and {self.crop}"
            )


@dataclass(frozen=True, slots=True)
class Wav2Vec2Config(CommonConfig):
    """config/training/wav2vec2.toml has the defaults."""

    dropout: float = 0.0
    normalise: bool = True
    """Whether the audio comes with zero mean and unit variance; a checkpoint that is gone on with knows."""
    sizes: Sizes = field(default_factory=Sizes)
    """Of a network that begins from nothing."""
    task: Task = field(default_factory=Task)

    def check(self) -> None:
        """Also that a span fits into every piece."""
        CommonConfig.check(self)
        frames = frames_of(to_samples(self.shortest))
        if not 1 <= self.task.span < frames or min(self.task.distractors, self.task.hottest) <= 0:
            raise StreamerError(
                f"expected spans of fewer frames than the {frames} of {self.shortest:g} s, distractors and "
                f"a temperature above 0; found {self.task.span}, {self.task.distractors}, {self.task.hottest}"
            )


@dataclass(frozen=True, slots=True)
class Wav2VecConfig(CommonConfig):
    """config/training/wav2vec.toml has the defaults."""

    rate: float = 1e-3
    weight_decay: float = 0.0
    width: int = 256
    """Channels of z and c; published: 512."""
    large: bool = False
    """The aggregator of twelve layers that looks back 810 ms, not that of nine (210 ms)."""
    task: PredictTask = field(default_factory=PredictTask)
