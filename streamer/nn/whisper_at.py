"""Whisper-AT's released tag heads: `<size>_ori.pth`, `<size>_low.pth` (Gong et al. 2023).

Their tensors load unchanged. What the released package does around them is not done here:

* it keeps only the first item of a batch as it pools the layers: here a batch of N is N batches of one;
* some time resolutions that are multiples of 0.4 s, such as 4.4 s, are refused for floating-point noise:
  here windows are counted in tokens;
* where Whisper's seek is off the windows' grid it leaves out tokens at the front and writes the rest to the
  slot before: here a window is named by its samples, wherever the pass begins;
* the last window is filled up with zeros that the head was never trained on: here it is shorter;
* fallback, language detection and word times each run the encoder again: here there is one pass;
* the audio is padded to 30 s, though the heads were trained on 10 s without padding: a little worse by
  its authors' word. Stock encoders need their full context for words, so this one stays.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from streamer.errors import CheckpointError
from streamer.nn.definition import EncoderInfo, HeadInfo, TagsInfo
from streamer.nn.fill import fill
from streamer.nn.heads import Head, TimeLayerTransformer
from streamer.nn.official import TAG_HEADS

PREFIX = "at_model."
SUFFIXES = ("_ori", "_low")
"""The full head, and the one of width 512."""

WINDOW = 10.0
"""Seconds that they were trained to judge at once."""
THRESHOLD = 0.3

_ADVICE = "Released heads are files named like tiny_ori.pth or small_low.pth"
_LAYERS = {384: 4, 512: 6, 768: 12, 1024: 24, 1280: 32}
"""Encoder layers of the official sizes by width: no tensor of the head tells."""


def load_whisper_at(path: str | Path, n_layer: int | None = None) -> Head:
    """Load a released TL-Tr head; sizes come from its tensors.

    `n_layer` is the encoder's where its width is none of the official sizes'. Raises CheckpointError for
    anything else than such a head.
    """
    tensors = _read(path)
    try:
        n_class, inner = tensors["mlp_layer.1.weight"].shape
        n_state = tensors["down_layer.1.weight"].shape[1] if "down_layer.1.weight" in tensors else inner
    except (KeyError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"expected tensors named {PREFIX}… of a TL-Tr head in {path}, "
            f"found {', '.join(list(tensors)[:4]) or 'none'}. {_ADVICE}"
        ) from error
    layers = _LAYERS.get(n_state, n_layer)
    if layers is None:
        raise CheckpointError(
            f"{path}: no official Whisper has the width {n_state}; name the number of layers"
        )
    width = inner if "down_layer.1.weight" in tensors else None
    return fill(lambda: TimeLayerTransformer(layers, n_state, n_class, width), tensors, path, _ADVICE)


def describe(path: Path, head: Head) -> HeadInfo:
    """What is known of a released head: its file's name says which encoder it is for."""
    encoder = path.stem
    for suffix in SUFFIXES:
        encoder = encoder.removesuffix(suffix)
    published = path.stem in TAG_HEADS
    return HeadInfo(
        name=path.stem,
        description="TL-Tr as published with Whisper-AT",
        licence="BSD" if published else "",
        data="AudioSet-2M (Gong et al. 2023)" if published else "",
        encoder=EncoderInfo(name=encoder, n_layer=head.n_layer, n_state=head.n_state),
        tags=TagsInfo(width=head.width, window=WINDOW, threshold=THRESHOLD),
    )


def beside(checkpoint: Path) -> Path | None:
    """The released head that lies beside an openai-whisper checkpoint, the full one first."""
    candidates = (checkpoint.with_name(f"{checkpoint.stem}{suffix}.pth") for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _read(path: str | Path) -> dict[str, Tensor]:
    """Tensors without the prefix; none of the others that a file may hold."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"cannot read the Whisper-AT head {path}: {error}. {_ADVICE}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected named tensors, found {type(content).__name__}. {_ADVICE}")
    return {
        name.removeprefix(PREFIX): tensor
        for name, tensor in content.items()
        if isinstance(name, str) and name.startswith(PREFIX) and isinstance(tensor, Tensor)
    }
