"""What is wrong with a text: Levenshtein's errors over words and characters, in Whisper's normal form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamer.errors import MissingExtraError

RESAMPLES = 1000
"""Draws of the bootstrap behind an interval."""


def normaliser(language: str = "en") -> Callable[[str], str]:
    """Whisper's normal form: the English one, or for other languages the basic one.

    Raises MissingExtraError without openai-whisper.
    """
    try:
        from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer
    except ImportError as error:
        raise MissingExtraError("Whisper's normal form of texts", "whisper") from error
    normal: Callable[[str], str] = EnglishTextNormalizer() if language == "en" else BasicTextNormalizer()
    return normal


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of one text, or of many added up. `length` counts the reference's units."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    length: int = 0

    @property
    def total(self) -> int:
        """All three kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors a unit of the reference, in per cent; of an empty reference 0 or 100."""
        if self.length == 0:
            return 100.0 if self.total else 0.0
        return 100 * self.total / self.length

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.length + other.length,
        )


def word_errors(reference: str, hypothesis: str) -> Errors:
    """Errors over words between blanks, of texts in normal form. MissingExtraError without jiwer."""
    return _count(_jiwer().process_words([reference], [hypothesis]))


def character_errors(reference: str, hypothesis: str) -> Errors:
    """Errors over characters, blanks included. MissingExtraError without jiwer."""
    return _count(_jiwer().process_characters([reference], [hypothesis]))


def interval(errors: Sequence[Errors], share: float = 0.95) -> tuple[float, float]:
    """Where the rate of all `errors` together lies with such a probability, in per cent.

    Bootstrap over utterances (Bisani and Ney 2004), RESAMPLES draws from a fixed seed.
    """
    totals = np.array([(one.total, one.length) for one in errors], np.float64)
    draws = np.random.default_rng(0).integers(0, len(totals), (RESAMPLES, len(totals)))
    wrong, length = totals[draws].sum(axis=1).T
    rates = 100 * wrong / np.maximum(length, 1)
    low, high = np.quantile(rates, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def _count(found: Any) -> Errors:
    length = found.hits + found.substitutions + found.deletions
    return Errors(found.substitutions, found.deletions, found.insertions, length)


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtraError("a word error rate", "eval") from error
    return jiwer
