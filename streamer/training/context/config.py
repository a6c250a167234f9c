"""What `streamer train context` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from streamer.errors import ConfigError
from streamer.timebase import FULL_CONTEXT, SAMPLE_RATE, TOKEN


@dataclass(frozen=True, slots=True)
class Draws:
    """[draws]: which contexts are learnt."""

    shortest: float = 0.8
    """Seconds of a piece at least; shorter recordings are left out."""
    longest: float = 30.0
    """Seconds of a piece at most."""
    full: float = 0.1
    """Share of the pieces that are learnt in the full context, so that nothing changes there."""
    margin: float = 3.2
    """Seconds of silence behind the audio at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]: how far a short context may be from the full one of the checkpoint as it was."""

    states: float = 0.06
    """Of the final states: mean squared difference as a share of their variance."""
    texts: float = 5.0
    """Words that are others, in per cent."""
    sounds: float = 0.06
    """The greatest difference of any sound's score, in the mean over recordings."""


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """config/training/context.toml has the defaults."""

    steps: int = 1000
    """0: nothing is learnt, only measured."""
    batch: int = 8
    rate: float = 3e-5
    warmup: float = 0.1
    """Share of the steps until the rate is reached; from there it falls to 0."""
    weight_decay: float = 0.0
    layers: float = 1.0
    """Weight of the layers that heads read, beside that of the final states …"""
    text: float = 1.0
    """… and of what the decoder, where it is what writes, makes of them; 0: it is not asked."""
    pieces: int = 4000
    """Pieces of recordings at most. Each is heard in its full context once, which the work folder keeps."""
    every: int = 100
    """Steps between two evaluations, after each of which all is saved."""
    held_out: float = 0.05
    """Share of the recordings that is measured on, where no split says which."""
    judged: int = 60
    """Recordings that are measured on, at most."""
    margins: tuple[float, ...] = (0.0, 0.8, 1.6, 3.2, 6.4)
    """Seconds of silence behind the audio to be measured, the least first."""
    texts: bool = True
    """Whether what is written counts at all: not in a model that is only to hear sounds."""
    language: str = "auto"
    """Of the recordings, for a multilingual decoder."""
    bf16: bool = False
    """Whether the bulk of the learning is computed in bfloat16."""
    seed: int = 0
    draws: Draws = field(default_factory=Draws)
    limits: Limits = field(default_factory=Limits)

    def checked(self) -> ContextConfig:
        """Itself. Raises ConfigError for values that make no sense."""
        if self.steps < 0 or min(self.batch, self.pieces, self.every, self.judged) < 1:
            raise ConfigError(
                "expected batch, pieces, every and judged of 1 or more and steps of 0 or more; found "
                f"{self.batch}, {self.pieces}, {self.every}, {self.judged} and {self.steps}"
            )
        if not self.margins or list(self.margins) != sorted({max(0.0, one) for one in self.margins}):
            raise ConfigError(f"expected margins of 0 s or more, the least first; found {self.margins}")
        d, least, most = self.draws, TOKEN / SAMPLE_RATE, FULL_CONTEXT / SAMPLE_RATE
        if not (least <= d.shortest <= d.longest <= most and 0 <= d.full <= 1 and d.margin >= 0):
            raise ConfigError(
                f"expected {least:g} ≤ draws.shortest ≤ draws.longest ≤ {most:g}, draws.full from 0 to 1 and "
                f"draws.margin of 0 s or more; found {d.shortest}, {d.longest}, {d.full} and {d.margin}"
            )
        return self
