"""wav2vec (Schneider et al. 2019), from fairseq's `.pt` checkpoints: features at 100 Hz, no transformer.

Seven convolutions give z, a vector every 10 ms that has seen 465 samples; an aggregator of causal
convolutions gives c, of the same rate, that looks back 210 ms (nine layers) or 810 ms (the large model's
twelve). Every convolution is followed by a GroupNorm with one group, over all channels and the whole clip,
and a ReLU; so features of a piece of a clip are not exactly those of the clip (see `features`).
"""

from __future__ import annotations

import argparse
import math
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamer.errors import CheckpointError
from streamer.nn.fill import fill
from streamer.nn.frames import Frames
from streamer.timebase import TOKEN, exact_div

HOP = 160
"""Samples between two frames (10 ms)."""
PER_TOKEN = exact_div(TOKEN, HOP)
"""Frames averaged into one pooled token."""
KERNELS = (10, 8, 4, 4, 4, 1, 1)
STRIDES = (5, 4, 2, 2, 2, 1, 1)
AGGREGATORS = {(3,) * 9: False, tuple(range(2, 14)): True}
"""Kernels of the published aggregators, and whether they have skip connections."""
RESIDUAL = math.sqrt(0.5)

_EXTRACTOR, _AGGREGATOR = "feature_extractor.", "feature_aggregator."


@dataclass(frozen=True, slots=True)
class Wav2VecDims:
    """width: channels of z and c. kernels: of the aggregator. skip: whether its layers add their input."""

    width: int
    kernels: tuple[int, ...]
    skip: bool
    bias: bool = True

    @property
    def look_back(self) -> int:
        """Samples that a frame of c has seen."""
        return receptive_field(KERNELS, STRIDES) + HOP * sum(k - 1 for k in self.kernels)


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples that one output of a stack of convolutions sees."""
    field, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * hop
        hop *= stride
    return field


class Extractor(nn.Module):
    """Samples (B, n) -> z (B, width, T)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        channels = 1
        for kernel, stride in zip(KERNELS, STRIDES, strict=True):
            convolution = nn.Conv1d(channels, width, kernel, stride=stride, bias=False)
            # Dropout only keeps fairseq's numbering of the tensors.
            self.conv_layers.append(
                nn.Sequential(convolution, nn.Dropout(0.0), nn.GroupNorm(1, width), nn.ReLU())
            )
            channels = width

    def forward(self, samples: Tensor) -> Tensor:
        """See the class; ends with log(|x| + 1)."""
        x = samples[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return (x.abs() + 1).log()


class Aggregator(nn.Module):
    """z (B, width, T) -> c (B, width, T), of which each frame has seen none after itself."""

    def __init__(self, dims: Wav2VecDims) -> None:
        super().__init__()
        self.skip = dims.skip
        self.conv_layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ReplicationPad1d((kernel - 1, 0)),
                    nn.Conv1d(dims.width, dims.width, kernel, bias=dims.bias),
                    nn.Dropout(0.0),
                    nn.GroupNorm(1, dims.width),
                    nn.ReLU(),
                )
                for kernel in dims.kernels
            )
        )

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        x = z
        for layer in self.conv_layers:
            x = (layer(x) + x) * RESIDUAL if self.skip else layer(x)
        return x


class Wav2Vec(nn.Module):
    """Both parts, under fairseq's names."""

    def __init__(self, dims: Wav2VecDims) -> None:
        super().__init__()
        self.dims = dims
        self.n_state, self.n_layer = dims.width, 2
        self.feature_extractor = Extractor(dims.width)
        self.feature_aggregator = Aggregator(dims)

    def features(self, samples: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        """z and c, each (T, width), of a clip (n,) float32 at 16 kHz.

        The norms see the clip that is given: of audio that comes in windows these are the features of the
        window, which differ from those of the whole clip as the two differ in loudness and spread. With the
        whole clip's statistics they would differ in a window's first `look_back` samples only.
        """
        if not len(samples):
            raise ValueError("expected samples to encode, found none")
        short = max(0, receptive_field(KERNELS, STRIDES) - len(samples))
        weight = next(self.parameters())
        padded = torch.from_numpy(np.pad(samples, (0, short))).to(weight.device, weight.dtype)
        z = self.feature_extractor(padded[None])
        return z[0].T, self.feature_aggregator(z)[0].T

    def forward(self, clips: Sequence[NDArray[np.float32]]) -> Frames:
        """The clips' features as a batch: c as states, z and c as two layers."""
        pairs = [self.features(clip) for clip in clips]
        lengths = tuple(len(z) for z, _ in pairs)
        z, c = (nn.utils.rnn.pad_sequence([pair[i] for pair in pairs], batch_first=True) for i in (0, 1))
        return Frames(c, z, torch.stack([z, c], dim=1), lengths, PER_TOKEN)


def is_wav2vec(path: Path) -> bool:
    """Whether a file is a fairseq checkpoint of wav2vec (v1), whatever may be wrong with it.

    Of today's files only the names are read; older ones know no such thing.
    """
    model = _content(path, "Expected a checkpoint", zipfile.is_zipfile(path)).get("model")
    return isinstance(model, Mapping) and any(str(name).startswith(_EXTRACTOR) for name in model)


def load_wav2vec(path: Path) -> Wav2Vec:
    """Load a fairseq checkpoint (the layout of `wav2vec_large.pt`: `args` and `model`).

    Raises CheckpointError for a file that is none, lacks a tensor, or is of another architecture.
    """
    advice = "Expected a wav2vec (v1) checkpoint of fairseq: a .pt file with 'model', of a published size"
    tensors = dict(_content(path, advice).get("model", {}))
    if not tensors:
        raise CheckpointError(f"{path}: {advice}; found none")
    # What predicts the future during training is not part of the features.
    tensors = {name: t for name, t in tensors.items() if name.startswith((_EXTRACTOR, _AGGREGATOR))}
    dims = _dims(tensors, path, advice)
    return fill(lambda: Wav2Vec(dims), tensors, path, advice)


def _content(path: Path, advice: str, mapped: bool = False) -> dict[str, Any]:
    try:
        # fairseq keeps its command line beside the weights, as a Namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"cannot read {path}: {error}. {advice}") from error
    return dict(content) if isinstance(content, Mapping) else {}


def _dims(tensors: Mapping[str, Tensor], path: Path, advice: str) -> Wav2VecDims:
    extractor = _kernels(tensors, f"{_EXTRACTOR}conv_layers.{{}}.0.weight")
    aggregator = _kernels(tensors, f"{_AGGREGATOR}conv_layers.{{}}.1.weight")
    if extractor != KERNELS or aggregator not in AGGREGATORS:
        known = " or ".join(f"[{', '.join(map(str, kernels))}]" for kernels in AGGREGATORS)
        raise CheckpointError(
            f"{path}: expected convolutions of kernels {list(KERNELS)} and an aggregator of {known}; found "
            f"{list(extractor)} and {list(aggregator)}. {advice}"
        )
    width = tensors[f"{_EXTRACTOR}conv_layers.0.0.weight"].shape[0]
    bias = f"{_AGGREGATOR}conv_layers.0.1.bias" in tensors
    return Wav2VecDims(width, aggregator, AGGREGATORS[aggregator], bias)


def _kernels(tensors: Mapping[str, Tensor], pattern: str) -> tuple[int, ...]:
    found: list[int] = []
    while (weight := tensors.get(pattern.format(len(found)))) is not None and weight.ndim == 3:
        found.append(weight.shape[2])
    return tuple(found)
