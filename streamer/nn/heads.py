"""Heads on a frozen encoder: what is heard, from all of its layers (Whisper-AT, Gong et al. 2023), and CTC.

Every tag head maps pooled layers (B, L, T, D) to logits (B, classes), for any T ≥ 1: none has a positional
embedding. Parameter names are those of the authors' code and released checkpoints, without the
`at_model.` prefix.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from streamer.errors import ModelError
from streamer.nn.whisper import Block
from streamer.resources import nearest

TIME_HEADS = 1
LAYER_HEADS = 8


class Head(nn.Module):
    """What all tag heads share: sizes, an optional projection, and the classifier at the end.

    kind: its name in HEADS. n_layer, n_state: layers and width of the encoder that it reads. n_class:
    outputs. width: what it works in; None, as published for all but the TL-Tr-512 heads, is the encoder's
    own, a number puts LayerNorm(n_state) and Linear(n_state, width) (`down_layer`) first.
    """

    kind: ClassVar[str]
    heads: ClassVar[int] = 1
    """Attention heads, of which the width it works in is a multiple."""

    def __init__(self, n_layer: int, n_state: int, n_class: int, width: int | None = None) -> None:
        super().__init__()
        inner = n_state if width is None else width
        if min(n_layer, n_state, n_class, inner) < 1 or inner % self.heads:
            raise ModelError(
                f"a {self.kind} head needs at least one layer and class, and a width that is a multiple of "
                f"{self.heads}; found {n_layer} layers, {n_class} classes, width {inner}"
            )
        self.n_layer, self.n_state, self.n_class, self.width = n_layer, n_state, n_class, width
        if width is not None:
            self.down_layer = nn.Sequential(nn.LayerNorm(n_state), nn.Linear(n_state, width))
        self.mlp_layer = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, n_class))

    @property
    def inner(self) -> int:
        """The width that it works in."""
        return self.n_state if self.width is None else self.width

    def forward(self, layers: Tensor) -> Tensor:
        """Pooled layers (B, L, T, D), T ≥ 1 -> logits (B, n_class).

        Raises ValueError for other sizes than its own.
        """
        if layers.ndim != 4 or (layers.shape[1], layers.shape[3]) != (self.n_layer, self.n_state):
            raise ValueError(
                f"this head reads (batch, {self.n_layer} layers, tokens, {self.n_state}), "
                f"found {tuple(layers.shape)}"
            )
        out: Tensor = self.mlp_layer(self.summary(layers))
        return out

    def summary(self, layers: Tensor) -> Tensor:
        """(B, L, T, D) -> (B, inner): what a kind of head is."""
        raise NotImplementedError

    def project(self, x: Tensor) -> Tensor:
        """(…, D) -> (…, inner)."""
        out: Tensor = self.down_layer(x) if self.width is not None else x
        return out


class LastMlp(Head):
    """Last-MLP: the last layer's mean over time.

    The projection, where there is one, is of that mean: a bottleneck before the classifier.
    """

    kind = "last-mlp"

    def summary(self, layers: Tensor) -> Tensor:
        """See the class."""
        return self.project(layers[:, -1].mean(dim=1))


class WeightedMlp(Head):
    """WA-MLP: a learnt weighted average of the layers' means over time.

    The weights start at 1/L and are divided by their sum, without a softmax. The projection, where there
    is one, is of that average.
    """

    kind = "wa-mlp"

    def __init__(self, n_layer: int, n_state: int, n_class: int, width: int | None = None) -> None:
        super().__init__(n_layer, n_state, n_class, width)
        self.layer_weight = nn.Parameter(torch.full((n_layer,), 1 / n_layer))

    def summary(self, layers: Tensor) -> Tensor:
        """See the class."""
        return self.project(weighted(layers.mean(dim=2), self.layer_weight))


class WeightedTransformer(Head):
    """WA-Tr: the weighted average of WA-MLP at every token, then a transformer block over time.

    The projection, where there is one, is of that average (the authors' `wa_down_tr`).
    """

    kind = "wa-tr"
    heads = TIME_HEADS

    def __init__(self, n_layer: int, n_state: int, n_class: int, width: int | None = None) -> None:
        super().__init__(n_layer, n_state, n_class, width)
        self.layer_weight = nn.Parameter(torch.full((n_layer,), 1 / n_layer))
        self.time_tr = Block(self.inner, TIME_HEADS)

    def summary(self, layers: Tensor) -> Tensor:
        """See the class."""
        return block_mean(self.time_tr, self.project(weighted(layers, self.layer_weight)))


class TimeLayerTransformer(Head):
    """TL-Tr: a transformer block over time, shared by all layers, then one over layers.

    `width` None is the published full head; 512 is the published TL-Tr-512, which projects every layer's
    every token first.
    """

    kind = "tl-tr"
    heads = LAYER_HEADS

    def __init__(self, n_layer: int, n_state: int, n_class: int, width: int | None = None) -> None:
        super().__init__(n_layer, n_state, n_class, width)
        self.time_tr = Block(self.inner, TIME_HEADS)
        self.layer_tr = Block(self.inner, LAYER_HEADS)

    def summary(self, layers: Tensor) -> Tensor:
        """See the class."""
        batch, n_layer, tokens, _ = layers.shape
        x = self.project(layers).reshape(batch * n_layer, tokens, self.inner)
        x = block_mean(self.time_tr, x).reshape(batch, n_layer, self.inner)
        return block_mean(self.layer_tr, x)


HEADS: dict[str, type[Head]] = {
    head.kind: head for head in (LastMlp, WeightedMlp, WeightedTransformer, TimeLayerTransformer)
}
"""Every kind of tag head by its name in settings and files."""


def make_head(kind: str, n_layer: int, n_state: int, n_class: int, width: int | None = None) -> Head:
    """A head with fresh weights. Raises ModelError for an unknown kind or sizes that do not go together."""
    if kind not in HEADS:
        raise ModelError(
            f"expected one of {', '.join(HEADS)} as the kind of a tag head, found {kind!r}."
            f"{nearest(kind, HEADS)}"
        )
    return HEADS[kind](n_layer, n_state, n_class, width)


def weighted(layers: Tensor, weight: Tensor) -> Tensor:
    """(B, L, …) and a weight (L,) for each layer -> their average (B, …), weights divided by their sum."""
    average: Tensor = torch.einsum("bl...,l->b...", layers, weight / weight.sum())
    return average


def block_mean(block: Block, x: Tensor) -> Tensor:
    """The mean over tokens of what `block` makes of x: (N, T, width) -> (N, width).

    The feed-forward's second matrix is linear, so the mean goes before it: a third of the block's work.
    """
    x = x + block.attn(block.attn_ln(x))
    widen, activate, narrow = block.mlp
    mean: Tensor = x.mean(dim=1) + narrow(activate(widen(block.mlp_ln(x))).mean(dim=1))
    return mean


class CtcHead(nn.Module):
    """Linear CTC branch on the final states: (B, T, D) -> (B, T, 1 + n_token) logits, blank first."""

    def __init__(self, n_state: int, n_token: int) -> None:
        super().__init__()
        self.out = nn.Linear(n_state, 1 + n_token)

    @property
    def n_token(self) -> int:
        """Outputs beside the blank."""
        return self.out.out_features - 1

    def forward(self, states: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.out(states)
        return out
