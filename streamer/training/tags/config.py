"""What `streamer train tags` can be told; config/training/tags.toml has the defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError
from streamer.training.config import read_settings
from streamer.training.tags.fit import TagConfig
from streamer.training.tags.readers import BACKGROUND
from streamer.training.tags.windows import WindowConfig


@dataclass(frozen=True, slots=True)
class AddConfig:
    """Adding one label to a head from a few recordings (`--add`)."""

    views: int = 8
    """Random views of each recording, beside the whole of it."""
    negatives: int = 4
    """Windows of each sound from formulas, and as many of hiss and silence as of three of them."""
    strength: float = 0.03
    """Of the L2 penalty on the new output's weights."""
    false_alarms: float = 0.01
    """Share of negatives that the threshold may let through."""
    lowest: float = 0.3
    highest: float = 0.9
    """Bounds of the threshold."""


@dataclass(frozen=True, slots=True)
class TagsConfig:
    """Data, features, the head and its fit."""

    encoder_precision: str = "auto"
    """What the frozen encoder computes in: auto (bf16 where the processor has AMX), fp32, bf16."""
    encoder_name: str = ""
    """The model whose encoder it is, for the head to remember; empty: what the encoder's file is called."""
    context: str = "auto"
    """auto: as the daemon runs the model. short: the window's own length. full: padded to 30 s."""
    device: str = "auto"
    """Of the encoder: auto, cpu, cuda."""
    folds: int = 5
    """Folds to draw where the data names none; 0: no cross-validation."""
    parallel: int = 0
    """Fits at a time, each with its share of the threads; 0: one a thread."""
    precision: float = 0.9
    """A label's threshold is the lowest with that precision on held-out windows."""
    replay: int = 600
    """Windows whose features the head's folder keeps, as negatives for labels that are added later."""
    worst: int = 24
    """Errors in the report, with their sound."""
    seed: int = 0
    """Of folds and windows; the fit has its own."""
    background: tuple[str, ...] = BACKGROUND
    """Labels and folders that mean: nothing worth a name."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Names in the data, and what they mean."""
    windows: WindowConfig = field(default_factory=WindowConfig)
    fit: TagConfig = field(default_factory=TagConfig)
    add: AddConfig = field(default_factory=AddConfig)


CHOICES = {
    "encoder_precision": ("auto", "fp32", "bf16"),
    "context": ("auto", "short", "full"),
}


def load_tags_config(path: Path | None = None, folds: int | None = None, **fit: Any) -> TagsConfig:
    """The configuration from a TOML file, over it `folds`, over its [fit] `fit`, where they are not None.

    Raises ConfigError naming file, key and the nearest known one.
    """
    config: TagsConfig = read_settings(TagsConfig, path)
    if folds is not None:
        config = dataclasses.replace(config, folds=folds)
    given = {name: value for name, value in fit.items() if value is not None}
    config = dataclasses.replace(config, fit=dataclasses.replace(config.fit, **given).checked())
    for name, known in CHOICES.items():
        if (value := getattr(config, name)) not in known:
            raise ConfigError(f"{name}: expected one of {', '.join(known)}, found '{value}'")
    lengths = config.windows.lengths
    if not lengths or min(lengths) <= 0 or max(lengths) > 30:
        raise ConfigError(
            f"windows.lengths: expected more than 0 and at most 30 seconds, found {list(lengths)}"
        )
    if not 0 < config.windows.longest <= 30:
        raise ConfigError(f"windows.longest: expected at most 30 seconds, found {config.windows.longest}")
    return config
