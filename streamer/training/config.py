"""What the recipe of the bundled model can be told, and the TOML file that tells it."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError
from streamer.resources import nearest
from streamer.training.batches import BatchConfig
from streamer.training.ngrams import NgramConfig
from streamer.training.speech import SpeechConfig
from streamer.training.tags.fit import TagConfig


def _texts() -> dict[str, int]:
    return {"sentences-lj.txt": 1}


@dataclass(frozen=True, slots=True)
class WordsConfig:
    """What the word model that guides the CTC branch is learnt from. Without any texts there is none."""

    texts: Mapping[str, int] = field(default_factory=_texts)
    """Files of the data folder (or absolute paths) and how often each counts."""
    transcripts: int = 2
    """How often the transcripts that are trained on count."""
    ngrams: NgramConfig = field(default_factory=NgramConfig)


def _speech_sets() -> dict[str, float]:
    return {
        "an4": 1.5,
        "librispeech-dev-clean": 2.0,
        "librispeech-train-clean-100": 2.0,
        "speechocean762": 0.7,
        "philipp-ljtext": 1.0,
    }


@dataclass(frozen=True, slots=True)
class BundledConfig:
    """Data, sizes and shares of the recipe. Sets are folders of the data folder, each with a manifest."""

    speech_sets: Mapping[str, float] = field(default_factory=_speech_sets)
    """Sets of recorded speech and how often each second of them is drawn."""
    sound_sets: tuple[str, ...] = ("esc10", "esc50-part", "noise")
    """Sets of recorded sounds; what has no label is noise."""
    sound_test: str = "esc10"
    """The set of sounds whose folds give the accuracy."""
    held_out: str = "librispeech-dev-clean"
    """The set of which every tenth speaker is never trained on."""
    test: str = "an4"
    """The set whose test split is scored."""
    language: str = "en"
    letters: str = ""
    """Letters of the language beyond a to z, lower case."""
    sentences: str = "sentences-lj.txt"
    """File of the data folder with sentences for the synthetic voices (which are English), one a line."""
    tts_sentences: int = 5000
    """How many of them are spoken; 0: none."""
    tts_weight: float = 0.6
    """How often each second of them is drawn."""
    vocabulary: int = 1000
    """Pieces of the byte-level vocabulary."""
    text_state: int = 256
    text_layer: int = 2
    text_head: int = 4
    seed: int = 0
    tunes: int = 60
    """How many tunes are synthesised for the sound head; 0: none."""
    tag_rounds: int = 6
    """Random views of each recorded sound."""
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    words: WordsConfig = field(default_factory=WordsConfig)
    tags: TagConfig = field(default_factory=TagConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)


def load_config(path: Path | None = None, **overrides: Any) -> BundledConfig:
    """The recipe's configuration from a TOML file, over it what `overrides` says where it is not None.

    Overrides: `seed`, `steps`. Raises ConfigError naming file, key and the nearest known one.
    """
    config: BundledConfig = read_settings(BundledConfig, path)
    if overrides.get("steps") is not None:
        config = dataclasses.replace(
            config, speech=dataclasses.replace(config.speech, steps=overrides["steps"])
        )
    if overrides.get("seed") is not None:
        config = dataclasses.replace(config, seed=overrides["seed"])
    return config


def read_settings(kind: type[Any], path: Path | None) -> Any:
    """A configuration dataclass from a TOML file; what that leaves out keeps its default, all without one.

    Raises ConfigError naming file, key and the nearest known one.
    """
    if path is None:
        return kind()
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # broken TOML, broken UTF-8
        raise ConfigError(f"{path}: expected TOML, found a mistake: {error}") from None
    return _build(kind, tree, str(path), "")


def _build(kind: type[Any], tree: Mapping[str, Any], origin: str, prefix: str) -> Any:
    """A configuration dataclass from a table; what the table leaves out keeps its default."""
    hints = typing.get_type_hints(kind)
    values = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if name not in hints:
            where = f"[{prefix.rstrip('.')}]" if prefix else "the top level"
            raise ConfigError(
                f"{origin}: unknown key '{key}': {where} has {', '.join(hints)}.{nearest(name, hints)}"
            )
        values[name] = _value(hints[name], value, origin, key)
    return kind(**values)


def _value(hint: Any, value: Any, origin: str, key: str) -> Any:
    """`value` where it is of the type `hint`; whole numbers will do for others."""
    base = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _build(typing.cast("type[Any]", hint), value, origin, f"{key}.")
    if base is Mapping and isinstance(value, Mapping):
        inner = typing.get_args(hint)[1]
        return {name: _value(inner, entry, origin, f"{key}.{name}") for name, entry in value.items()}
    if base is tuple and isinstance(value, list):
        inner = typing.get_args(hint)[0]
        return tuple(_value(inner, entry, origin, f"{key}[{i}]") for i, entry in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    raise ConfigError(f"{origin}: {key}: expected {_describe(hint)}, found {value!r}")


def _describe(hint: Any) -> str:
    if dataclasses.is_dataclass(hint) or typing.get_origin(hint) is Mapping:
        return "a table"
    if isinstance(hint, types.GenericAlias):
        return "a list"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]
