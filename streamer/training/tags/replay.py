"""What a head remembers of its training: a few hundred windows as its last layer sees them.

A label that is added later (`add`) is a new output on that layer, so these are all it needs to learn what
it is not. They are not sound and no sound can be made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from streamer.errors import CheckpointError
from streamer.nn.heads import Head
from streamer.training.tags.features import Features, label_counts

FILE = "replay.safetensors"


@dataclass(frozen=True, slots=True)
class Replay:
    """inputs: (N, inner) float32, what the head's last matrix is multiplied by. targets: (N, C) bool."""

    inputs: NDArray[np.float32]
    targets: NDArray[np.bool_]

    def joined(self, inputs: NDArray[np.float32], targets: NDArray[np.bool_]) -> Replay:
        """With more windows."""
        return Replay(np.concatenate([self.inputs, inputs]), np.concatenate([self.targets, targets]))


@torch.inference_mode()
def last_inputs(head: Head, features: Features, batch: int = 256) -> NDArray[np.float32]:
    """What the head's last matrix is multiplied by, (N, inner)."""
    parts = [
        head.mlp_layer[0](head.summary(features.take(np.arange(i, min(i + batch, len(features)))).float()))
        for i in range(0, len(features), batch)
    ]
    out: NDArray[np.float32] = torch.cat(parts).numpy()
    return out


def choose(features: Sequence[Features], count: int, seed: int = 0) -> list[Features]:
    """Up to `count` windows, those of rare labels rather than those of common ones, some without a label."""
    rarity = 1 / (label_counts(features) + 1)
    weight = np.concatenate([f.targets @ rarity for f in features])
    empty = weight == 0
    weight[empty] = weight.sum() / 5 / max(1, empty.sum()) or 1.0
    rng = np.random.default_rng(seed)
    # The largest of u^(1/w) are a weighted draw without replacement (Efraimidis and Spirakis 2006).
    order = np.argsort(np.log(rng.random(len(weight))) / weight)[::-1][:count]
    chosen = np.zeros(len(weight), np.bool_)
    chosen[order] = True
    parts = np.split(chosen, np.cumsum([len(f) for f in features])[:-1])
    return [f.only(np.flatnonzero(part)) for f, part in zip(features, parts, strict=True) if part.any()]


def save_replay(folder: Path, head: Head, features: Sequence[Features], count: int) -> None:
    """Write some of the windows into a head's folder; none for a count of 0."""
    chosen = choose(features, count) if count and features else []
    if chosen:
        inputs = np.concatenate([last_inputs(head, f) for f in chosen])
        write_replay(folder, Replay(inputs, np.concatenate([f.targets for f in chosen])))


def write_replay(folder: Path, replay: Replay) -> None:
    """Write it beside a head."""
    tensors: dict[str, NDArray[Any]] = {
        "inputs": replay.inputs.astype(np.float16),
        "targets": replay.targets.astype(np.uint8),
    }
    save_file(tensors, folder / FILE)
    (folder / FILE).chmod(0o644)  # safetensors writes for the owner alone


def read_replay(folder: Path, head: Head) -> Replay | None:
    """What a head's folder remembers; None where that is nothing. Raises CheckpointError."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        tensors = load_file(path)
        inputs, targets = tensors["inputs"].astype(np.float32), tensors["targets"].astype(np.bool_)
    except (OSError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}. Delete it to go on without it") from error
    if inputs.shape[1:] != (head.inner,) or targets.shape != (len(inputs), head.n_class):
        raise CheckpointError(
            f"{path} is of another head: expected inputs of {head.inner} and {head.n_class} labels, found "
            f"{inputs.shape} and {targets.shape}. Delete it to go on without it"
        )
    return Replay(inputs, targets)
