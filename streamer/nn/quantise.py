"""Weights as integers of 8 or 6 bits on disk: a quarter of the size, computed with as floats again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SCALE = ".scale"
"""A quantised tensor NAME has its scales in NAME.scale."""
LEVELS = 127
SIX_BIT_LEVELS = 31
INTEGERS = (torch.int8, torch.uint8)
"""Of 8 bits, and packed ones of 6."""


def quantise(
    tensors: Mapping[str, Tensor], six_bits: Callable[[str], bool] = lambda _: False
) -> dict[str, Tensor]:
    """Matrices (two dimensions or more) as int8, symmetric, with a float32 scale a row; the rest as float16.

    A row is everything under one index of the first dimension. The error of an element is at most
    half its row's scale, that is 1/254 of the row's largest magnitude. Those of names that `six_bits`
    accepts, if they are matrices (rows, columns) with columns a multiple of four, take 6 bits instead (uint8,
    (rows, 3/4 columns), an error of at most 1/62). What float16 cannot hold stays float32. Raises ValueError
    for values that are not finite or names that end in `.scale`.
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
        six = six_bits(name) and tensor.ndim == 2 and tensor.shape[1] % 4 == 0
        levels = SIX_BIT_LEVELS if six else LEVELS
        rows = tensor.detach().float().flatten(1)
        # A row of zeros, or of less than float32 can divide by, becomes zeros.
        scale = (rows.abs().amax(1) / levels).clamp(min=torch.finfo(torch.float32).tiny)
        whole = (rows / scale[:, None]).round().clamp(-levels, levels).to(torch.int8)
        out[name] = _pack(whole) if six else whole.reshape(tensor.shape).contiguous()
        out[name + SCALE] = scale
    return out


def _pack(whole: Tensor) -> Tensor:
    """Integers from -31 to 31, int8 (rows, 4 n), as bytes (rows, 3 n): each three hold four."""
    a, b, c, d = (whole.to(torch.int32) + 32).reshape(len(whole), -1, 4).unbind(-1)
    word = a | b << 6 | c << 12 | d << 18
    return torch.stack([word & 255, word >> 8 & 255, word >> 16], -1).to(torch.uint8).flatten(1)


def _unpack(name: str, packed: Tensor) -> Tensor:
    """What `_pack` packed. Raises ValueError for another shape."""
    if packed.ndim != 2 or packed.shape[1] % 3:
        raise ValueError(
            f"expected rows of three bytes for four weights in {name}, found {tuple(packed.shape)}"
        )
    a, b, c = packed.to(torch.int32).reshape(len(packed), -1, 3).unbind(-1)
    word = a | b << 8 | c << 16
    parts = [word & 63, word >> 6 & 63, word >> 12 & 63, word >> 18]
    return (torch.stack(parts, -1) - 32).flatten(1)


def halve(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything as float16 where it fits."""
    return {name: _half(tensor) for name, tensor in tensors.items()}


def floats(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything as float32."""
    return {name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}


def mix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`quantise` with 6 bits for what weighs most and bears them: the encoder's feed-forward matrices."""
    return quantise(tensors, lambda name: name.startswith("encoder.") and ".mlp." in name)


STORE = {"int8": quantise, "mixed": mix, "fp16": halve, "fp32": floats}
"""Ways to store tensors by their name in settings; `dequantise` reads every one."""


def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors as float32, whatever they are stored as.

    Raises ValueError for integers without scales, scales without a tensor, or of another length.
    """
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            owner = tensors.get(name.removesuffix(SCALE))
            if owner is None or owner.dtype not in INTEGERS:
                raise ValueError(f"{name} belongs to no quantised tensor")
            continue
        if tensor.dtype not in INTEGERS:
            out[name] = tensor.float()
            continue
        scale = tensors.get(name + SCALE)
        if scale is None or scale.shape != tensor.shape[:1]:
            found = "none" if scale is None else f"{tuple(scale.shape)}"
            raise ValueError(f"expected {tensor.shape[0]} scales for {name}, found {found}")
        whole = _unpack(name, tensor) if tensor.dtype == torch.uint8 else tensor
        out[name] = whole.float() * scale.float().reshape(-1, *[1] * (whole.ndim - 1))
    return out


def _half(tensor: Tensor) -> Tensor:
    half = tensor.detach().to(torch.float16)
    return half.contiguous() if half.isfinite().all() else tensor.detach().float().contiguous()
