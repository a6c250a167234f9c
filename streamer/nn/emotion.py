"""Heads that judge how something was said, from the one pass of an encoder.

Two layouts load unchanged: soxan's, an MLP on the pooled last layer (`classifier.dense`, `.out_proj`), which
dimensional models (arousal, dominance, valence) have as well; and Hugging Face's
`…ForSequenceClassification`: a learnt sum of the layers where the checkpoint has one (`layer_weights`), a
`projector`, a mean over time, a `classifier`. `LayersHead` is this project's own, for a frozen Whisper. A
clip's padding is no part of any mean, sum or maximum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from streamer.errors import CheckpointError
from streamer.nn.fill import fill
from streamer.nn.frames import Frames

POOLINGS = ("mean", "sum", "max")
Kind = Literal["classes", "dimensions"]


class PooledHead(nn.Module):
    """soxan's: pooling, then dense, tanh, out_proj (dropout is for training)."""

    def __init__(self, n_state: int, n_label: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.dense = nn.Linear(n_state, n_state)
        self.out_proj = nn.Linear(n_state, n_label)

    def forward(self, frames: Frames) -> Tensor:
        """(B, labels)."""
        out: Tensor = self.out_proj(self.dense(pooled(frames.states, frames.mask, self.pooling)).tanh())
        return out


class SequenceHead(nn.Module):
    """Hugging Face's. `n_sum`: layers that it sums, the embedding first; 0: it reads the last states."""

    def __init__(self, n_state: int, width: int, n_label: int, n_sum: int) -> None:
        super().__init__()
        self.layer_weights = nn.Parameter(torch.ones(n_sum) / n_sum) if n_sum else None
        self.projector = nn.Linear(n_state, width)
        self.classifier = nn.Linear(width, n_label)

    def forward(self, frames: Frames) -> Tensor:
        """(B, labels)."""
        states = frames.states
        if self.layer_weights is not None:
            every = torch.cat([frames.embedding[:, None], frames.layers], dim=1)
            states = torch.einsum("bltd,l->btd", every, self.layer_weights.softmax(0))
        out: Tensor = self.classifier(pooled(self.projector(states), frames.mask, "mean"))
        return out


class LayersHead(nn.Module):
    """On pooled tokens of all layers: a learnt sum of them, then what `PooledHead` does, in float32.

    mean, scale: (L, D) of the tokens that it learnt from; layers differ in both by orders of magnitude.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_layer: int, n_state: int, width: int, n_label: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.register_buffer("mean", torch.zeros(n_layer, n_state))
        self.register_buffer("scale", torch.ones(n_layer, n_state))
        self.layer_weights = nn.Parameter(torch.zeros(n_layer))
        self.dense = nn.Linear(n_state, width)
        self.out_proj = nn.Linear(width, n_label)

    def forward(self, frames: Frames) -> Tensor:
        """(B, labels)."""
        return self.judge(self.summed(frames), frames.mask)

    def summed(self, frames: Frames) -> Tensor:
        """(B, T, D): the standardised layers, weighted by a softmax."""
        each = (frames.layers.float() - self.mean[:, None]) / self.scale[:, None]
        return torch.einsum("bltd,l->btd", each, self.layer_weights.softmax(0))

    def judge(self, states: Tensor, mask: Tensor) -> Tensor:
        """States (B, T, D), of which mask (B, T) are audio -> (B, labels)."""
        out: Tensor = self.out_proj(self.dense(pooled(states, mask, self.pooling)).tanh())
        return out


def token_frames(layers: Tensor, lengths: Sequence[int]) -> Frames:
    """Pooled layers (B, L, T, D) as the frames that `LayersHead` reads; lengths: tokens of each clip, ≥ 1."""
    return Frames(layers[:, -1], layers[:, 0], layers, tuple(lengths))


@dataclass(frozen=True, slots=True)
class EmotionHead:
    """A head with its labels. kind: classes of which one holds, or dimensions of which each has a value."""

    head: PooledHead | SequenceHead | LayersHead
    labels: tuple[str, ...]
    kind: Kind

    def scores(self, frames: Frames) -> Tensor:
        """(B, labels) float32: probabilities that add up to one, or values as the checkpoint gives them."""
        out: Tensor = self.head(frames).float()
        return out.softmax(-1) if self.kind == "classes" else out


def pooled(x: Tensor, mask: Tensor, how: str) -> Tensor:
    """(B, T, D) over the frames of mask (B, T) -> (B, D)."""
    own = mask[..., None]
    if how == "max":
        return x.masked_fill(~own, -torch.inf).amax(1)
    total = (x * own).sum(1)
    return total if how == "sum" else total / own.sum(1)


def load_emotion(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], n_state: int, n_layer: int, where: Path
) -> EmotionHead:
    """The head in a checkpoint's tensors, of whichever layout.

    Raises CheckpointError where tensors are missing, or the labels are not as many as its outputs.
    """
    soxan = any(name.startswith("classifier.dense") for name in tensors)
    prefixes = ("classifier.",) if soxan else ("classifier.", "projector.", "layer_weights")
    mine = {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}
    last = mine.get("classifier.out_proj.bias" if soxan else "classifier.bias")
    labels = _labels(config, len(last) if last is not None else None, where)
    n = len(labels)
    advice = "Expected a head in soxan's layout or that of a …ForSequenceClassification"
    head: PooledHead | SequenceHead
    if soxan:
        pooling = str(config.get("pooling_mode", "mean"))
        if pooling not in POOLINGS:
            raise CheckpointError(f"{where}: expected pooling_mode {', '.join(POOLINGS)}, found {pooling!r}")
        renamed = {name.removeprefix("classifier."): tensor for name, tensor in mine.items()}
        head = fill(lambda: PooledHead(n_state, n, pooling), renamed, where, advice)
    else:
        width = int(config.get("classifier_proj_size", 256))
        n_sum = n_layer + 1 if config.get("use_weighted_layer_sum") else 0
        head = fill(lambda: SequenceHead(n_state, width, n, n_sum), mine, where, advice)
    kind: Kind = "dimensions" if config.get("problem_type") == "regression" else "classes"
    return EmotionHead(head, labels, kind)


def _labels(config: Mapping[str, Any], outputs: int | None, where: Path) -> tuple[str, ...]:
    names = config.get("id2label") or {str(i): f"LABEL_{i}" for i in range(outputs or 2)}
    wanted = [str(i) for i in range(len(names))]
    if (outputs is not None and len(names) != outputs) or sorted(names, key=_number) != wanted:
        raise CheckpointError(
            f"{where}: expected id2label to name each of the head's {outputs} outputs by its number, "
            f"found {len(names)}: {', '.join(f'{key} {name}' for key, name in names.items())}"
        )
    return tuple(str(names[key]) for key in wanted)


def _number(key: str) -> tuple[bool, int, str]:
    return (not key.isdecimal(), int(key) if key.isdecimal() else 0, key)
