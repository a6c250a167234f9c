"""Whisper-AT's released tag heads: `<size>_ori.pth`, `<size>_low.pth`."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from streamer.errors import CheckpointError
from streamer.nn.fill import fill
from streamer.nn.heads import TimeLayerTransformer

PREFIX = "at_model."
SUFFIXES = ("_ori.pth", "_low.pth")
"""The full head, and the one of width 512."""

_ADVICE = "Released heads are files named like tiny_ori.pth or small_low.pth"
_LAYERS = {384: 4, 512: 6, 768: 12, 1024: 24, 1280: 32}
"""Encoder layers of the official sizes by width: no tensor of the head tells."""


def load_whisper_at(path: str | Path, n_layer: int | None = None) -> TimeLayerTransformer:
    """Load a released TL-Tr head; sizes come from its tensors.

    `n_layer` is the encoder's, by default that of the official size with this width. Raises
    CheckpointError for anything else than such a head.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"cannot read the Whisper-AT head {path}: {error}") from error
    tensors = {name.removeprefix(PREFIX): t for name, t in content.items() if name.startswith(PREFIX)}
    try:
        n_class, inner = tensors["mlp_layer.1.weight"].shape
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"expected tensors named {PREFIX}… of a TL-Tr head in {path}, "
            f"found {', '.join(list(content)[:4]) or 'none'}. {_ADVICE}"
        ) from error
    narrow = "down_layer.1.weight" in tensors
    n_state = tensors["down_layer.1.weight"].shape[1] if narrow else inner
    layers = n_layer or _LAYERS.get(n_state)
    if layers is None:
        raise CheckpointError(
            f"{path}: no official Whisper has the width {n_state}; name the number of layers"
        )
    return fill(
        lambda: TimeLayerTransformer(layers, n_state, n_class, inner if narrow else None),
        tensors,
        path,
        _ADVICE,
    )
