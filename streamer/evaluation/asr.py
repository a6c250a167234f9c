"""Error rates of whatever turns recordings into text: the one place where they are counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import SourceError, StreamerError
from streamer.evaluation.sets import Utterance
from streamer.evaluation.texts import Errors, character_errors, interval, normaliser, word_errors
from streamer.timebase import SAMPLE_RATE

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of one recording, at the cost of so many runs of an encoder."""

    text: str
    passes: int


Reader = Callable[[Path, Samples], Reading]
"""Turns a recording into text: gets its path and its samples (n,) float32 at 16 kHz."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance: both texts in normal form, what differs, seconds of audio and of computing."""

    utterance: Utterance
    reference: str
    hypothesis: str
    words: Errors
    characters: Errors
    seconds: float
    computing: float
    passes: int


@dataclass(frozen=True, slots=True)
class Score:
    """What a reader made of a set. `failed`: recordings that could not be read, with the reason."""

    heard: list[Heard]
    failed: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def words(self) -> Errors:
        """Over the whole set."""
        return sum((one.words for one in self.heard), Errors())

    @property
    def characters(self) -> Errors:
        """Over the whole set."""
        return sum((one.characters for one in self.heard), Errors())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of the bootstrap's word error rates, in per cent."""
        return interval([one.words for one in self.heard])

    @property
    def seconds(self) -> float:
        """Of audio."""
        return sum(one.seconds for one in self.heard)

    @property
    def real_time_factor(self) -> float:
        """Seconds of computing a second of audio."""
        return sum(one.computing for one in self.heard) / max(self.seconds, 1e-9)

    @property
    def passes(self) -> int:
        """Runs of the encoder."""
        return sum(one.passes for one in self.heard)

    def worst(self, count: int) -> list[Heard]:
        """The utterances with the most word errors, those of equal count by their rate."""
        ranked = sorted(self.heard, key=lambda one: (-one.words.total, -one.words.rate))
        return [one for one in ranked[:count] if one.words.total]


def decode_audio(utterance: Utterance) -> Samples:
    """A recording's samples (n,) float32 at 16 kHz. SourceError for one that cannot be read."""
    from streamer.audio.decode import decode_file

    return decode_file(str(utterance.path))


def measure(
    read: Reader,
    utterances: Iterable[Utterance],
    audio: Callable[[Utterance], Samples] = decode_audio,
    language: str = "en",
) -> Score:
    """Have every utterance read, one after the other, and compare with what it says.

    language: whose normal form the texts are brought into. Recordings that cannot be decoded are listed
    as failed. Raises MissingExtraError without jiwer or openai-whisper's normaliser, StreamerError where
    not a single recording could be read.
    """
    normal = normaliser(language)
    score = Score([])
    for utterance in utterances:
        try:
            samples = audio(utterance)
            began = time.perf_counter()
            reading = read(utterance.path, samples)
        except SourceError as error:
            score.failed.append((utterance.path, str(error)))
            continue
        computing = time.perf_counter() - began
        reference, hypothesis = normal(utterance.text), normal(reading.text)
        score.heard.append(
            Heard(
                utterance,
                reference,
                hypothesis,
                word_errors(reference, hypothesis),
                character_errors(reference, hypothesis),
                len(samples) / SAMPLE_RATE,
                computing,
                reading.passes,
            )
        )
    if not score.heard:
        why = f": {score.failed[0][1]}" if score.failed else ""
        raise StreamerError(f"expected recordings to measure error rates on, found none{why}")
    return score
