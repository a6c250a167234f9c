"""wav2vec (v1) against its published definition, computed step by step on tensors under fairseq's names."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from streamer.errors import CheckpointError
from streamer.nn.wav2vec1 import (
    KERNELS,
    STRIDES,
    Wav2Vec,
    Wav2VecDims,
    is_wav2vec,
    load_wav2vec,
    receptive_field,
)

SMALL = (3,) * 9
LARGE = tuple(range(2, 14))


def checkpoint(path: Path, kernels: tuple[int, ...], width: int = 8) -> dict[str, Tensor]:
    """A file in fairseq's layout, with what only training needs."""
    torch.manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for i, kernel in enumerate(KERNELS):
        name = f"feature_extractor.conv_layers.{i}"
        tensors[f"{name}.0.weight"] = torch.randn(width, 1 if i == 0 else width, kernel) / math.sqrt(kernel)
        tensors |= {f"{name}.2.weight": torch.rand(width) + 0.5, f"{name}.2.bias": torch.randn(width)}
    for i, kernel in enumerate(kernels):
        name = f"feature_aggregator.conv_layers.{i}"
        tensors |= {
            f"{name}.1.weight": torch.randn(width, width, kernel),
            f"{name}.1.bias": torch.randn(width),
        }
        tensors |= {f"{name}.3.weight": torch.rand(width) + 0.5, f"{name}.3.bias": torch.randn(width)}
    training = {"wav2vec_predictions.project_to_steps.weight": torch.randn(width, width, 1, 12)}
    content: dict[str, Any] = {"args": argparse.Namespace(arch="wav2vec"), "model": tensors | training}
    torch.save(content, path)
    return tensors


def published(tensors: dict[str, Tensor], kernels: tuple[int, ...], samples: Tensor) -> tuple[Tensor, Tensor]:
    """z and c by the definition: convolution, norm over channels and time, ReLU; log; causal aggregation."""

    def norm(x: Tensor, name: str) -> Tensor:
        x = (x - x.mean()) / torch.sqrt(x.var(correction=0) + 1e-5)
        return torch.relu(x * tensors[f"{name}.weight"][:, None] + tensors[f"{name}.bias"][:, None])

    x = samples[None]
    for i, stride in enumerate(STRIDES):
        name = f"feature_extractor.conv_layers.{i}"
        x = norm(F.conv1d(x, tensors[f"{name}.0.weight"], stride=stride), f"{name}.2")
    z = x = torch.log(x.abs() + 1)
    for i, kernel in enumerate(kernels):
        name = f"feature_aggregator.conv_layers.{i}"
        padded = torch.cat([x[:, :1].expand(-1, kernel - 1), x], dim=1)
        out = norm(F.conv1d(padded, tensors[f"{name}.1.weight"], tensors[f"{name}.1.bias"]), f"{name}.3")
        x = (out + x) * math.sqrt(0.5) if kernels == LARGE else out
    return z.T, x.T


@pytest.mark.parametrize("kernels", [SMALL, LARGE], ids=["small", "large"])
@torch.inference_mode()
def test_features_are_those_of_the_definition(tmp_path: Path, kernels: tuple[int, ...]) -> None:
    tensors = checkpoint(tmp_path / "wav2vec.pt", kernels)
    model = load_wav2vec(tmp_path / "wav2vec.pt")
    clips = [torch.randn(n).numpy() for n in (16000, 5000)]
    frames = model(clips)
    for i, clip in enumerate(clips):
        z, c = published(tensors, kernels, torch.from_numpy(clip))
        n = frames.lengths[i]
        assert n == len(z) == (len(clip) - 465) // 160 + 1
        torch.testing.assert_close(frames.layers[i, 0, :n], z, atol=1e-4, rtol=0)
        torch.testing.assert_close(frames.states[i, :n], c, atol=1e-4, rtol=0)


def test_receptive_fields() -> None:
    assert receptive_field(KERNELS, STRIDES) == 465
    assert Wav2VecDims(8, SMALL, False).look_back == 3345
    assert Wav2VecDims(8, LARGE, True).look_back == 12945


@pytest.mark.parametrize("kernels", [SMALL, LARGE], ids=["small", "large"])
def test_what_a_frame_has_seen(kernels: tuple[int, ...]) -> None:
    """By gradients, the norms (whose statistics are the clip's) left out."""
    torch.manual_seed(0)
    model = Wav2Vec(Wav2VecDims(4, kernels, kernels == LARGE)).double()
    for parameter in model.parameters():
        torch.nn.init.uniform_(parameter, 0.1, 1.0)
    for module in [*model.feature_extractor.conv_layers, *model.feature_aggregator.conv_layers]:
        module[[type(part).__name__ for part in module].index("GroupNorm")] = torch.nn.Identity()
    samples = torch.rand(16000, dtype=torch.float64, requires_grad=True)
    z = model.feature_extractor(samples[None])
    c = model.feature_aggregator(z)
    for features, field in ((z, 465), (c, model.dims.look_back)):
        (gradient,) = torch.autograd.grad(features[0, :, -1].sum(), samples, retain_graph=True)
        seen = torch.nonzero(gradient).flatten()
        end = (z.shape[2] - 1) * 160 + 465
        assert (seen[0], seen[-1] + 1) == (end - field, end)


def test_a_missing_tensor_and_other_architectures(tmp_path: Path) -> None:
    path = tmp_path / "wav2vec.pt"
    tensors = checkpoint(path, SMALL)
    del tensors["feature_aggregator.conv_layers.4.3.bias"]
    torch.save({"model": tensors}, path)
    with pytest.raises(CheckpointError, match=r"missing feature_aggregator\.conv_layers\.4\.3\.bias"):
        load_wav2vec(path)
    checkpoint(path, (3,) * 5)
    with pytest.raises(CheckpointError, match=r"found \[10, 8, 4, 4, 4, 1, 1\] and \[3, 3, 3, 3, 3\]"):
        load_wav2vec(path)
    assert is_wav2vec(path)
    torch.save({"dims": {}}, path)
    assert not is_wav2vec(path)
    with pytest.raises(CheckpointError, match="with 'model'"):
        load_wav2vec(path)
    with pytest.raises(ValueError, match="found none"):
        Wav2Vec(Wav2VecDims(4, SMALL, False)).features(np.empty(0, np.float32))
