"""A model of ours as it lies on disk: what there is to know of it, and its tensors as numpy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from streamer.errors import CheckpointError
from streamer.labels import Label, read_labels
from streamer.nn.definition import FILE, WEIGHTS, CtcInfo, ModelInfo, TagsInfo, Vocabulary, read_info

Floats = NDArray[np.float32]

_SCALE = ".scale"
_LEVELS = 127


@dataclass(frozen=True, slots=True)
class StoredModel:
    """What a `nn.checkpoint.LoadedModel` tells of itself, without its modules."""

    directory: Path
    info: ModelInfo
    vocabulary: Vocabulary
    labels: tuple[Label, ...] = ()
    thresholds: tuple[float, ...] = ()
    words: Path | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return self.info.name

    @property
    def tags(self) -> TagsInfo | None:
        """Its head for sounds; None without one."""
        return self.info.tags

    @property
    def ctc(self) -> CtcInfo | None:
        """Its CTC branch; None without one."""
        return self.info.ctc

    @property
    def emotion(self) -> None:
        """It judges no emotion."""
        return

    @property
    def window(self) -> float | None:
        """Seconds that its tag head was trained to judge at once; None without one."""
        return self.info.tags.window if self.info.tags else None


def read_stored(directory: Path) -> StoredModel:
    """What a folder with `model.toml` says. Raises CheckpointError, and ModelError for its labels."""
    info = read_info(directory)
    labels = read_labels(directory / info.tags.labels) if info.tags is not None else ()
    thresholds = info.tags.for_labels(labels, directory) if info.tags is not None else ()
    return StoredModel(
        directory,
        info,
        Vocabulary.beside(directory, info),
        labels,
        thresholds,
        directory / info.words.file if info.words is not None else None,
    )


class Weights:
    """Tensors by name, as `nn.quantise` stores them."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], where: Path) -> None:
        self.tensors, self._where = tensors, where

    @classmethod
    def of(cls, directory: Path) -> Weights:
        """Read a model's file. Raises CheckpointError."""
        path = directory / WEIGHTS
        try:
            return cls(load_file(path), path)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(f"cannot read the weights {path}: {error}") from error

    def whole(self, name: str) -> Floats:
        """A tensor in float32."""
        tensor = self._find(name)
        if tensor.dtype not in (np.int8, np.uint8):
            return tensor.astype(np.float32)
        rows, scale = self.rows(name)
        return rows.astype(np.float32) * scale.reshape(-1, *[1] * (rows.ndim - 1))

    def bias(self, layer: str, size: int) -> Floats:
        """A linear layer's; zeros where it has none, as keys have."""
        name = f"{layer}.bias"
        return self.whole(name) if name in self.tensors else np.zeros(size, np.float32)

    def rows(self, name: str) -> tuple[NDArray[np.int8], Floats]:
        """A matrix of int8 and the scale of each row: as stored, else rounded as `nn.quantise` would."""
        tensor = self._find(name)
        if tensor.dtype == np.uint8:
            return _unpack(tensor), self._find(name + _SCALE)
        if tensor.dtype == np.int8:
            return tensor, self._find(name + _SCALE)
        rows = tensor.astype(np.float32)
        scale = np.abs(rows).reshape(len(rows), -1).max(1) / np.float32(_LEVELS)
        scale = np.maximum(scale, np.finfo(np.float32).tiny)
        return np.rint(rows / scale.reshape(-1, *[1] * (rows.ndim - 1))).astype(np.int8), scale

    def _find(self, name: str) -> NDArray[Any]:
        try:
            return self.tensors[name]
        except KeyError:
            raise CheckpointError(f"{self._where} has no {name}: {FILE} beside it promises one") from None


def _unpack(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """What `nn.quantise` packed into 6 bits: (rows, 3 n) bytes -> (rows, 4 n)."""
    a, b, c = (packed[:, i::3] for i in range(3))
    whole = np.empty((*a.shape, 4), np.uint8)
    whole[..., 0] = a & 63
    whole[..., 1] = a >> 6 | (b & 15) << 2
    whole[..., 2] = b >> 4 | (c & 3) << 4
    whole[..., 3] = c >> 2
    return (whole - np.uint8(32)).view(np.int8).reshape(len(packed), -1)
