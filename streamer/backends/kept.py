"""A model's graphs in the user's cache, so that a start reads them instead of writing them, without torch.

A folder for each model: the graphs, and `kept.json` with what there is to know of it, and each file's size
and checksum. It takes its name when all of it is there; what is damaged is not found, and written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from streamer.backends.onnx import Graphs
from streamer.backends.stored import StoredModel
from streamer.labels import Label
from streamer.nn.definition import ModelInfo, Vocabulary
from streamer.resources import user_cache_dir

log = logging.getLogger(__name__)

FOLDER = "graphs"
DESCRIPTION = "kept.json"
MOST = 4
"""Models that are kept, those used last."""
ABANDONED = 3600.0
"""Seconds after which a folder that never took its name is nobody's any more."""
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model's graphs are kept. whose: model and settings; key: their state, and what wrote them."""

    whose: str
    key: str

    @property
    def owner(self) -> str:
        """What all states of this model have in common."""
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", Path(self.whose.split("\n")[0]).name)[:40]
        return f"{readable}-{_short(self.whose)}"

    @property
    def path(self) -> Path:
        """Its folder."""
        return _root() / f"{self.owner}-{_short(self.key)}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A model and the files of its graphs, by name."""

    model: StoredModel
    graphs: dict[str, Path]


def find(place: Place) -> Kept | None:
    """What is kept there; None where nothing is, or not what was written."""
    try:
        about = json.loads((place.path / DESCRIPTION).read_text(encoding="utf-8"))
        files = {name: place.path / f"{name}.onnx" for name in about["graphs"]}
        for name, (size, checksum) in about["graphs"].items():
            if files[name].stat().st_size != size or _checksum(files[name]) != checksum:
                raise ValueError(f"{files[name]} is damaged")
        kept = Kept(_model(about["model"]), files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        log.warning("What is kept in %s is written again: %s", place.path, error)
        return None
    with contextlib.suppress(OSError):
        os.utime(place.path)  # used last
    return kept


def keep(place: Place, model: StoredModel, graphs: Graphs) -> bool:
    """Write a model's graphs, and take away those of its earlier states. Whether it could; else a warning.

    Raises CheckpointError for weights that are not what the definition promises.
    """
    part = place.path.with_name(f".{place.path.name}.{os.getpid()}")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        sizes = {}
        for name, graph in graphs.items():
            content = graph.read_bytes() if isinstance(graph, Path) else graph()
            (part / f"{name}.onnx").write_bytes(content)
            sizes[name] = len(content), zlib.crc32(content)
            del content
        about = {"model": _describe(model), "graphs": sizes}
        (part / DESCRIPTION).write_text(json.dumps(about, indent=1), encoding="utf-8")
        shutil.rmtree(place.path, ignore_errors=True)
        part.rename(place.path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        log.warning("The next start has to write the model's graphs again: cannot keep %s: %s", part, error)
        return False
    _clean(place)
    return True


def _clean(place: Place) -> None:
    """Earlier states of this model, what was abandoned, and what was used longest ago."""
    aged = []
    for path in _root().iterdir():
        with contextlib.suppress(OSError):  # another process cleans, too
            aged.append((path.stat().st_mtime, path))
    kept = 0
    for changed, path in sorted(aged, reverse=True):
        if path == place.path:
            continue
        if path.name.startswith("."):
            wanted = time.time() - changed < ABANDONED
        else:
            wanted = kept < MOST - 1 and not path.name.startswith(f"{place.owner}-")
            kept += wanted
        if not wanted:
            shutil.rmtree(path, ignore_errors=True)


def _describe(model: StoredModel) -> dict[str, Any]:
    """A model in JSON."""
    vocabulary = model.vocabulary
    return {
        "directory": str(model.directory),
        "info": model.info.model_dump(mode="json"),
        "vocabulary": [
            vocabulary.kind,
            _text(vocabulary.path),
            vocabulary.n_vocab,
            list(vocabulary.languages),
        ],
        "labels": [[label.name, label.id] for label in model.labels],
        "thresholds": list(model.thresholds),
        "words": _text(model.words),
    }


def _model(about: Mapping[str, Any]) -> StoredModel:
    """What `_describe` was given."""
    kind, path, size, languages = about["vocabulary"]
    return StoredModel(
        Path(about["directory"]),
        ModelInfo.model_validate(about["info"]),
        Vocabulary(kind, _path(path), size, tuple(languages)),
        tuple(Label(name, number) for name, number in about["labels"]),
        tuple(about["thresholds"]),
        _path(about["words"]),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _root() -> Path:
    return user_cache_dir() / FOLDER


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _checksum(path: Path) -> int:
    """Of a whole file, which need not fit into memory."""
    found = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            found = zlib.crc32(block, found)
    return found
