"""What a training of a sound head came to: everything that its card and its report tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.labels import Label
from streamer.nn.definition import EncoderInfo
from streamer.training.tags.config import TagsConfig
from streamer.training.tags.features import Features
from streamer.training.tags.fit import Fitted
from streamer.training.tags.folds import ClipScores, Folds
from streamer.training.tags.readers import Dataset
from streamer.training.tags.tables import Skipped


@dataclass(frozen=True, slots=True)
class Prepared:
    """Data with its features. skipped: what was left out, by readers, decoder and encoder."""

    dataset: Dataset
    labels: tuple[Label, ...]
    features: list[Features]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to: everything that card and report tell.

    folds: None without cross-validation. test: whole recordings of a test split, if there is one. seconds:
    what the stages took. passes: windows that the encoder heard in this run.
    """

    name: str
    config: TagsConfig
    encoder: EncoderInfo
    prepared: Prepared
    folds: Folds | None
    test: ClipScores | None
    thresholds: list[float]
    fitted: Fitted
    scores: dict[str, float]
    passes: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)
