"""Weights as 8-bit integers on disk: a quarter of the size, computed with as floats again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""A quantised tensor NAME has its scales in NAME.scale."""
LEVELS = 127


def quantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices (two dimensions or more) as int8, symmetric, with a float32 scale a row; the rest as float16.

    A row is everything under one index of the first dimension. The error of an element is at most
    half its row's scale, that is 1/254 of the row's largest magnitude. What float16 cannot hold
    stays float32. Raises ValueError for values that are not finite or names that end in `.scale`.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            raise ValueError(f"the name {name!r} is reserved for scales")
        if not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")
        if tensor.ndim < 2:
            out[name] = _half(tensor)
            continue
        rows = tensor.detach().float().flatten(1)
        # A row of zeros, or of less than float32 can divide by, becomes zeros.
        scale = (rows.abs().amax(1) / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)
        whole = (rows / scale[:, None]).round().clamp(-LEVELS, LEVELS)
        out[name] = whole.to(torch.int8).reshape(tensor.shape).contiguous()
        out[name + SCALE] = scale
    return out


def halve(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything as float16 where it fits."""
    return {name: _half(tensor) for name, tensor in tensors.items()}


def floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything as float32."""
    return {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}


STORE = {"int8": quantise, "fp16": halve, "fp32": floats}
"""Ways to store tensors by their name in settings; `dequantise` reads every one."""


def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors as float32, whatever they are stored as.

    Raises ValueError for an int8 tensor without scales, scales without a tensor, or of another length.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            owner = tensors.get(name.removesuffix(SCALE))
            if owner is None or owner.dtype != torch.int8:
                raise ValueError(f"{name} belongs to no int8 tensor")
            continue
        if tensor.dtype != torch.int8:
            out[name] = tensor.float()
            continue
        scale = tensors.get(name + SCALE)
        if scale is None or scale.shape != tensor.shape[:1]:
            found = "none" if scale is None else f"{tuple(scale.shape)}"
            raise ValueError(f"expected {tensor.shape[0]} scales for {name}, found {found}")
        out[name] = tensor.float() * scale.float().reshape(-1, *[1] * (tensor.ndim - 1))
    return out


def _half(tensor: Tensor) -> Tensor:
    half = tensor.detach().to(torch.float16)
    return half.contiguous() if half.isfinite().all() else tensor.detach().float().contiguous()
