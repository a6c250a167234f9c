"""Live figures of one set-up of the daemon over many recordings: how right, late, steady and dear."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from streamer.engine import Engine
from streamer.errors import StreamerError
from streamer.evaluation import memory, timeline
from streamer.evaluation.asr import Samples
from streamer.evaluation.player import Player
from streamer.evaluation.sets import SpokenWord, Utterance
from streamer.evaluation.texts import Errors, normaliser, word_errors
from streamer.evaluation.timeline import EndLatency, Flicker, Lag
from streamer.events import TranscriptPartial
from streamer.timebase import SAMPLE_RATE

LEAD = 0.5
"""Seconds of silence before every recording: a voice detector begins with a stream, not with a word."""

AFTER = 1.0
"""Seconds of silence behind every recording, beyond those that an endpoint takes."""


@dataclass(frozen=True, slots=True)
class Recording:
    """An utterance with silence around it, samples (n,) float32, and when its words are said in that."""

    utterance: Utterance
    samples: Samples
    words: tuple[SpokenWord, ...]


def recording(
    utterance: Utterance, samples: Samples, words: Sequence[SpokenWord], hangover: float
) -> Recording:
    """`samples` (n,) of an utterance whose `words` are known, for endpoints after `hangover` seconds."""
    silences = (round(LEAD * SAMPLE_RATE), round((hangover + AFTER) * SAMPLE_RATE))
    shifted = tuple(replace(word, start=word.start + LEAD, end=word.end + LEAD) for word in words)
    return Recording(utterance, np.pad(samples, silences).astype(np.float32), shifted)


@dataclass(slots=True)
class LiveScore:
    """Sums and lists over all recordings.

    timed: words of which somebody knows when they are said; lags are of those that were understood.
    partials, passes, tokens: how many; computing: seconds spent in the engine; memory: bytes at most.
    """

    words: Errors = field(default_factory=Errors)
    lags: list[Lag] = field(default_factory=list)
    ends: list[EndLatency] = field(default_factory=list)
    flicker: Flicker = field(default_factory=lambda: Flicker(0, 0, 0))
    recordings: int = 0
    timed: int = 0
    partials: int = 0
    seconds: float = 0.0
    passes: int = 0
    tokens: int = 0
    computing: float = 0.0
    memory: int = 0

    @property
    def erasure(self) -> float:
        """Normalised erasure: words taken back for each word of the finals."""
        return self.flicker.erased / max(self.flicker.final, 1)

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing a second of audio."""
        return self.computing / max(self.seconds, 1e-9)

    def rate(self, count: int) -> float:
        """`count` for each second of audio."""
        return count / max(self.seconds, 1e-9)

    def spread(self, value: Callable[[Lag], float]) -> Spread:
        """Of one of the lags."""
        return Spread.of([value(lag) for lag in self.lags])

    def ends_spread(self, value: Callable[[EndLatency], float | None]) -> Spread:
        """Of one of the latencies at the end."""
        return Spread.of([seconds for end in self.ends if (seconds := value(end)) is not None])


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean, median and 95th percentile in seconds; None of nothing."""

    mean: float | None
    median: float | None
    most: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of so many values."""
        if not values:
            return cls(None, None, None)
        median, most = np.quantile(values, [0.5, 0.95])
        return cls(float(np.mean(values)), float(median), float(most))


def listen(
    player: Player, engine: Engine, recordings: Iterable[Recording], language: str = "en"
) -> LiveScore:
    """Play every recording and add up what came out; `engine` is the player's.

    language: whose normal form texts are compared in. Raises MissingExtraError without jiwer or
    openai-whisper's normaliser, StreamerError without recordings.
    """
    normal = normaliser(language)
    score = LiveScore()
    memory.forget_peak()
    with player:
        for one in recordings:
            before = (engine.encoder_passes, engine.tokens, engine.seconds)
            seen = player.play(one.samples)
            score.passes += engine.encoder_passes - before[0]
            score.tokens += engine.tokens - before[1]
            score.computing += engine.seconds - before[2]
            score.recordings += 1
            score.seconds += len(one.samples) / SAMPLE_RATE
            score.words += word_errors(normal(one.utterance.text), normal(timeline.text(seen)))
            score.partials += sum(isinstance(s.event, TranscriptPartial) for s in seen)
            score.timed += len(one.words)
            score.lags += timeline.lags(one.words, seen)
            score.ends += timeline.end_latencies(one.words, seen)
            more = timeline.flicker(seen)
            score.flicker = Flicker(
                score.flicker.erased + more.erased,
                score.flicker.broken + more.broken,
                score.flicker.final + more.final,
            )
    score.memory = memory.peak_bytes()
    if not score.recordings:
        raise StreamerError("expected recordings to play, found none")
    return score
