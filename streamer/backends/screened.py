"""Logits over a large vocabulary for a token at a time: four bits a number for all, eight for the likeliest.

One token's product with the embedding takes as long as reading that, and Whisper's is as much to read as all
layers of a decoder of base's size. So a copy in 4 bits screens the vocabulary in half the time, and only the
logits of the likeliest tokens are computed from what is stored (SVD-softmax, Shim et al. 2017, screens by a
projection). Those are exact, and one of them is chosen. The others, which have a share in every token's
probability, are a tenth of a logit's spread off, each its own way: 1159 tokens of the bundled model's decoder
on 40 recordings had log-probabilities off by 0.004 at most, or 0.013 with only 8 exact logits, and the
likeliest one was never behind the second place of the screen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.backends.graphs import BLOCKS, Layers
from streamer.backends.stored import Floats

EXACT = 128
"""Logits that are computed exactly. What is chosen is among them: rules forbid some 90 pieces of Whisper's
vocabularies, and whole kinds of tokens only where those of the other kind are likely."""

LARGE = 1 << 24
"""Numbers in an embedding from which it is screened. To find the likeliest tokens costs 0.1 to 0.15 ms, which
is a third to a half of what is won at that size: Whisper's tiny is above it, the bundled model far below."""

_PIECE = 4096
"""Rows that are rounded at once, so that no copy of the whole in float32 is ever there."""


def logits(
    net: Layers,
    x: str,
    rows: NDArray[np.int8],
    scale: Floats,
    asked: tuple[str, str],
    stored: tuple[str, str],
) -> str:
    """x (N, n, width) times an embedding (n_vocab, width) of int8, with a scale a row: (N, n, n_vocab).

    asked: tokens (N, n) that x comes from, and the first's position (1,). stored: names of `rows` and `scale`
    in the graph. Screened is one token of one text, and not the first: languages, whether there is speech
    and tokens that were given are told from exact logits. Beams are exact, too: the more texts there are,
    the less is won.
    """
    if rows.size < LARGE or rows.shape[1] % BLOCKS[-1]:
        return net.few_rows(x, rows, scale, None)
    g = net.graph
    tokens, first = asked
    length = g.op("Shape", tokens, start=1, end=2)
    single = g.op("Equal", g.op("ReduceProd", g.op("Shape", tokens), keepdims=1), g.integers(1))
    single = g.op("And", single, g.op("Greater", first, g.integers(0)))
    # Both ways are in the graph, and one has nothing to do.
    exact = g.op("Where", single, g.integers(0), length)
    plain = net.few_rows(g.op("Slice", x, g.integers(0), exact, g.integers(1)), rows, scale, None)
    alone = g.op("Slice", x, exact, length, g.integers(1))
    return g.op("Concat", plain, _screened(net, alone, rows, scale, stored), axis=1)


def _screened(net: Layers, x: str, rows: NDArray[np.int8], scale: Floats, stored: tuple[str, str]) -> str:
    """See `logits`: approximate logits, the EXACT highest of them replaced."""
    g = net.graph
    matrix, sizes = stored
    packed, steps, block = in_four_bits(rows, scale)
    n, k = rows.shape
    (screen,) = g.contrib(
        "MatMulNBits",
        x,
        g.constant(packed),
        g.constant(steps),
        K=k,
        N=n,
        bits=4,
        block_size=block,
        accuracy_level=4,
    )
    _, likeliest = g.top(screen, EXACT)
    chosen = g.op("Cast", g.op("Gather", matrix, likeliest, axis=0), to=1)
    column = g.integers(3)
    found = g.op("Squeeze", g.op("MatMul", chosen, g.op("Unsqueeze", x, column)), column)
    found = g.op("Mul", found, g.op("Gather", sizes, likeliest, axis=0))
    return g.op("ScatterElements", screen, likeliest, found, axis=2)


def in_four_bits(rows: NDArray[np.int8], scale: Floats) -> tuple[NDArray[np.uint8], Floats, int]:
    """(n, k) of int8 with a scale a row, as `MatMulNBits` takes 4 bits.

    Packed levels (n, blocks, block / 2), the step of each block (n, blocks), and how long blocks are. Of a
    block the largest number, whatever its sign, becomes -8, and its step has the sign that this needs.
    """
    n, k = rows.shape
    block = next(size for size in BLOCKS if k % size == 0)
    packed = np.empty((n, k // block, block // 2), np.uint8)
    steps = np.empty((n, k // block), np.float32)
    for first in range(0, n, _PIECE):
        here = slice(first, first + _PIECE)
        piece = rows[here].reshape(-1, k // block, block).astype(np.float32)
        largest = np.take_along_axis(piece, np.abs(piece).argmax(-1, keepdims=True), -1)
        step = np.where(largest == 0, np.float32(1), largest / np.float32(-8))
        levels = (np.clip(np.rint(piece / step), -8, 7) + 8).astype(np.uint8)
        packed[here] = levels[..., 0::2] | levels[..., 1::2] << 4
        steps[here] = step[..., 0] * scale[here, None]
    return packed, steps, block
