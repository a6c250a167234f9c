"""Heads that read every layer of a frozen encoder (Whisper-AT, Gong et al. 2023).

Every head maps pooled layers (B, L, T, D) to logits (B, classes). Parameter names are the released
checkpoints', without their `at_model.` prefix.
"""

from __future__ import annotations

from torch import Tensor, nn

from streamer.nn.whisper import Block

TIME_HEADS = 1
LAYER_HEADS = 8


class TimeLayerTransformer(nn.Module):
    """TL-Tr: a transformer block over time, shared by all layers, then one over layers.

    `width` None is the published full head on the encoder's own width; a number (512 as published)
    puts a norm and a projection to that width first.
    """

    def __init__(self, n_layer: int, n_state: int, n_class: int, width: int | None = None) -> None:
        super().__init__()
        self.n_layer, self.n_state, self.n_class = n_layer, n_state, n_class
        inner = width or n_state
        if width is not None:
            self.down_layer = nn.Sequential(nn.LayerNorm(n_state), nn.Linear(n_state, width))
        self.width = width
        self.time_tr = Block(inner, TIME_HEADS)
        self.layer_tr = Block(inner, LAYER_HEADS)
        self.mlp_layer = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, n_class))

    def forward(self, layers: Tensor) -> Tensor:
        """Pooled layers (B, L, T, D), T ≥ 1 -> logits (B, n_class)."""
        batch, n_layer, tokens, _ = layers.shape
        if n_layer != self.n_layer:
            raise ValueError(f"this head reads {self.n_layer} layers, found {n_layer}")
        x = self.down_layer(layers) if self.width is not None else layers
        x = self.time_tr(x.reshape(batch * n_layer, tokens, -1)).mean(dim=1)
        x = self.layer_tr(x.reshape(batch, n_layer, -1)).mean(dim=1)
        out: Tensor = self.mlp_layer(x)
        return out


class CtcHead(nn.Module):
    """Linear CTC branch on the final states: (B, T, D) -> (B, T, 1 + n_token) logits, blank first."""

    def __init__(self, n_state: int, n_token: int) -> None:
        super().__init__()
        self.out = nn.Linear(n_state, 1 + n_token)

    def forward(self, states: Tensor) -> Tensor:
        """See the class."""
        out: Tensor = self.out(states)
        return out
