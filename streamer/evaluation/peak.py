"""The most that a processor multiplies, and how much of that there is in a pass of an encoder.

Operations are the multiplications and additions of matrix products. Norms, softmax, activations and rounding
count for nothing, though they take their time: no pass can reach the whole of a peak.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.backends.onnx_file import Graph
from streamer.backends.session import session
from streamer.nn.whisper import WhisperDims

FRAMES, WIDTH, WIDER = 1536, 512, 2048
"""Of the product that is measured: what widens base's frames of 30 s, and as quick as any larger one."""

WORK = 2 * FRAMES * WIDTH * WIDER
"""Operations in it."""

KERNEL = 3
"""Frames that a convolution of Whisper's sees."""


def encoder_work(dims: WhisperDims, frames: int) -> int:
    """Operations in a pass of Whisper's encoder that gives so many frames T, of width D.

    2 · 2T · 3 · n_mels · D of the first convolution, 2 · T · 3 · D · D of the second one; in each block
    2 · T · 12 D² of the linear layers (4 D² attention's, 8 D² around the activation) and 4 · T² · D of
    attention itself: scores, and what is gathered by them.
    """
    t, d = frames, dims.n_audio_state
    convolutions = 2 * 2 * t * KERNEL * dims.n_mels * d + 2 * t * KERNEL * d * d
    return convolutions + dims.n_audio_layer * (2 * t * 12 * d * d + 4 * t * t * d)


def torch_product(dtype: torch.dtype) -> Callable[[], object]:
    """A matrix product of `WORK` operations in torch."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(FRAMES, WIDTH, generator=generator).to(dtype)
    layer = torch.nn.Linear(WIDTH, WIDER, bias=False).to(dtype)
    return torch.inference_mode()(lambda: layer(x))


def onnx_product(threads: int) -> Callable[[], list[NDArray[np.float32]]]:
    """The same of 8-bit integers in ONNX Runtime: its quickest operator for them. Raises ModelError."""
    rng, g = np.random.default_rng(0), Graph()
    one, zero = g.constant(np.array(1, np.float32)), g.constant(np.array(128, np.uint8))
    x = g.input("x", np.uint8, (FRAMES, WIDTH))
    matrix = g.constant(rng.integers(-127, 128, (WIDTH, WIDER)).astype(np.int8))
    (product,) = g.contrib("MatMulIntegerToFloat", x, matrix, one, one, zero)
    g.output("product", product, np.float32, (FRAMES, WIDER))
    ready, feeds = session(g.model(), threads), {"x": rng.integers(0, 256, (FRAMES, WIDTH)).astype(np.uint8)}

    def multiply() -> list[NDArray[np.float32]]:
        found: list[NDArray[np.float32]] = ready.run(None, feeds)
        return found

    return multiply
