"""A decoder that writes, as ONNX graphs: what it hears of an encoding, once, and a step over a cache.

The cache's tensors are inputs and outputs by these names: `k0`, `v0`, `k1`, … for the keys and values of each
layer's own tokens (rows, heads, length, width of a head); `heard_k0`, `heard_v0`, … for those of the encoding
(1, heads, T, width of a head), whose keys are scaled already.
"""

from __future__ import annotations

import numpy as np

from streamer.backends import screened
from streamer.backends.graphs import Layers
from streamer.nn.definition import Dims


def hearing(net: Layers, dims: Dims) -> bytes:
    """`states` (1, T, D) -> keys and values of each layer's cross-attention."""
    g, heads, each = net.graph, dims.n_text_head, dims.n_text_state // dims.n_text_head
    states = g.input("states", np.float32, (1, "T", dims.n_audio_state))
    rounded = net.rounded(states, dims.n_audio_state)
    for i in range(dims.n_text_layer):
        # A product for each: all that is done to one fits into the processor's cache.
        for kind, part, factor in (("k", "key", np.float32(each**-0.5)), ("v", "value", np.float32(1))):
            rows, scale, bias = net.stored(f"decoder.blocks.{i}.cross_attn.{part}")
            x = net.product(rounded, rows, factor * scale, factor * bias)
            x = g.op("Transpose", g.op("Reshape", x, g.integers(1, -1, heads, each)), perm=[0, 2, 1, 3])
            g.output(f"heard_{kind}{i}", x, np.float32, (1, heads, "T", each))
    return g.model()


def step(net: Layers, dims: Dims, thinned: bool = False) -> bytes:
    """`tokens` (rows, n) after those of the cache, which it gives back longer.

    `first` (1,) is the position of the first. Results: `logits` (rows, n, n_vocab) and the cross-attention's
    `weights` (rows, layers, heads, n, T). thinned: with one input more, `shares` (T,) (`nn.silence`).
    """
    g, width, heads = net.graph, dims.n_text_state, dims.n_text_head
    each = width // heads
    tokens = g.input("tokens", np.int64, ("N", "n"))
    first = g.input("first", np.int64, (1,))
    shares = g.input("shares", np.float32, ("T",)) if thinned else None
    matrix, scale = net.weights.rows("decoder.token_embedding.weight")
    stored = g.constant(matrix), g.constant(scale)
    rows = g.op("Cast", g.op("Gather", stored[0], tokens, axis=0), to=1)
    size = g.op("Unsqueeze", g.op("Gather", stored[1], tokens, axis=0), g.integers(2))
    last = g.op("Add", first, g.op("Shape", tokens, start=1, end=2))
    here = g.op("Slice", net.constant("decoder.positional_embedding"), first, last, g.integers(0))
    x = g.op("Add", g.op("Mul", rows, size), here)
    count, n = g.op("Shape", tokens, start=0, end=1), g.op("Shape", tokens, start=1, end=2)
    by_row = g.op("Concat", g.integers(heads), count, n, g.integers(-1), axis=0)
    normed, weights = net.norm(x, "decoder.blocks.0.attn_ln"), []
    for i in range(dims.n_text_layer):
        block = f"decoder.blocks.{i}"
        past = [g.input(f"{kind}{i}", np.float32, ("N", heads, "P", each)) for kind in "kv"]
        heard = [g.input(f"heard_{kind}{i}", np.float32, (1, heads, "T", each)) for kind in "kv"]
        joined = net.few(normed, *(f"{block}.attn.{part}" for part in ("query", "key", "value")))
        q, k, v = g.split(joined, 2, width, width, width)
        own, *grown = g.contrib(
            "MultiHeadAttention", q, k, v, "", "", "", *past, outputs=3, num_heads=heads, unidirectional=1
        )
        for kind, one in zip("kv", grown, strict=True):
            g.output(f"new_{kind}{i}", one, np.float32, ("N", heads, "Q", each))
        x, normed = net.add_norm(x, net.few(own, f"{block}.attn.out"), f"{block}.cross_attn_ln")
        # All rows are about one encoding, and ask it together.
        q = g.op("Reshape", net.few(normed, f"{block}.cross_attn.query"), g.integers(1, -1, heads, each))
        q = g.op("Transpose", q, perm=[0, 2, 1, 3])
        (scores,) = g.contrib("FusedMatMul", q, heard[0], transB=1)
        attention = g.op("Softmax", scores if shares is None else g.op("Add", scores, shares), axis=-1)
        found = g.op("Transpose", g.op("MatMul", attention, heard[1]), perm=[0, 2, 1, 3])
        found = g.op("Reshape", found, g.op("Concat", count, n, g.integers(width), axis=0))
        apart = g.op("Transpose", g.op("Reshape", attention, by_row), perm=[1, 0, 2, 3])
        weights.append(g.op("Unsqueeze", apart, g.integers(1)))
        x, normed = net.add_norm(x, net.few(found, f"{block}.cross_attn.out"), f"{block}.mlp_ln")
        after = "decoder.ln" if i + 1 == dims.n_text_layer else f"decoder.blocks.{i + 1}.attn_ln"
        wide = net.gelu(net.few(normed, f"{block}.mlp.0"))
        x, normed = net.add_norm(x, net.few(wide, f"{block}.mlp.2"), after)
    logits = screened.logits(net, normed, matrix, scale, (tokens, first), stored)
    g.output("logits", logits, np.float32, ("N", "n", dims.n_vocab))
    shape = ("N", dims.n_text_layer, heads, "n", "T")
    g.output("weights", g.op("Concat", *weights, axis=1), np.float32, shape)
    return g.model()
