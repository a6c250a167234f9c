"""A model's networks as ONNX graphs, written from its stored weights: no torch, and no rounding of them.

Matrices that are stored as integers stay integers. What they are multiplied by is rounded to 8 bits on the
way, with a scale for each frame: one for a whole tensor would lose what is quiet beside what is loud, and a
window would depend on what shares its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.backends.onnx_file import Graph
from streamer.backends.stored import Floats, Weights
from streamer.nn.definition import Dims, TagsInfo
from streamer.timebase import POOL

VERSION = 6
"""Counts up with every change of what is computed, so that verdicts on an older one are not believed."""

EPSILON = 1e-5
"""Of layer norms, as torch has it."""


HIGHEST = 255


@dataclass(frozen=True, slots=True)
class Rounding:
    """How a frame's numbers become integers from 0 to HIGHEST. zero: the one that stands for zero.

    least: a frame whose largest number is smaller is rounded as if it had this one.
    """

    zero: int
    least: float


EVEN = Rounding(128, 1e-9)
"""For what is as often below zero as above it."""

LOWEST = 0.17
"""What GELU gives is above minus this."""
ACTIVE = Rounding(32, (HIGHEST - 32) / 32 * LOWEST)
"""For what GELU gives: most of the integers are above zero, where most of it is."""


@dataclass(frozen=True, slots=True)
class Rounded:
    """Frames in a graph as integers, each with its own step; zero: the one that stands for zero."""

    values: str
    step: str
    zero: str


BLOCKS = (256, 128, 64, 32, 16)
"""Numbers that may share a scale in `Layers.few`, the quickest first."""

TIME_HEADS, LAYER_HEADS = 1, 8
"""Attention heads of a TL-Tr tag head (see `nn.heads`)."""

HEADS = ("tl-tr",)
"""Tag heads that there is a graph for."""


class Layers:
    """The building blocks, added to a graph of their own; weights are asked for by name."""

    def __init__(self, weights: Weights, signed: bool = True) -> None:
        """signed: matrices stay as they are; else they are shifted to integers without a sign.

        That comes to the same, is slower, and right on every processor (see `processor.multiplies_signed`).
        """
        self.graph, self.weights, self._signed = Graph(), weights, signed

    def constant(self, name: str) -> str:
        """A stored tensor."""
        return self.graph.constant(self.weights.whole(name))

    def linear(self, x: str, *names: str, rounding: Rounding = EVEN) -> str:
        """A linear layer; of several names the outputs follow each other. Biases are there or are zero."""
        return self.rows(x, *self.stored(*names), rounding)

    def few(self, x: str, *names: str) -> str:
        """`linear`, quicker for a few frames and slower for many: one operator, which rounds by itself."""
        return self.few_rows(x, *self.stored(*names))

    def stored(self, *names: str) -> tuple[NDArray[np.int8], Floats, Floats]:
        """A linear layer's matrix (out, in), the scale of each row, and bias, one name after another."""
        found = [self.weights.rows(f"{name}.weight") for name in names]
        biases = [self.weights.bias(name, len(rows)) for name, (rows, _) in zip(names, found, strict=True)]
        rows, scale = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return rows, scale, np.concatenate(biases)

    def few_rows(self, x: str, rows: NDArray[np.int8], scale: Floats, bias: Floats | None) -> str:
        """`rows` for `few`: `MatMulNBits` at accuracy level 4, which is 8 bits, in blocks of a frame."""
        n, k = rows.shape
        block = next(size for size in BLOCKS if k % size == 0 or size == BLOCKS[-1])
        blocks = -(-k // block)
        # 128 stands for zero.
        shifted = (np.pad(rows, ((0, 0), (0, blocks * block - k))).astype(np.int16) + 128).astype(np.uint8)
        scales = np.repeat(scale.astype(np.float32)[:, None], blocks, axis=1)
        inputs = [self.graph.constant(shifted.reshape(n, blocks, block)), self.graph.constant(scales)]
        if bias is not None:
            inputs += ["", "", self.graph.constant(bias)]
        (out,) = self.graph.contrib(
            "MatMulNBits", x, *inputs, K=k, N=n, bits=8, block_size=block, accuracy_level=4
        )
        return out

    def rows(
        self, x: str, rows: NDArray[np.int8], scale: Floats, bias: Floats | None, rounding: Rounding = EVEN
    ) -> str:
        """x times a matrix of int8 (out, in) with a scale a row, plus a bias."""
        return self.product(self.rounded(x, rows.shape[1], rounding), rows, scale, bias)

    def rounded(self, x: str, width: int, rounding: Rounding = EVEN) -> Rounded:
        """Frames (…, width) as integers: what several matrices are multiplied by is rounded once."""
        g, zero = self.graph, self.graph.constant(np.array(rounding.zero, np.uint8))
        step = self._step(x, rounding)
        # One operator rounds all frames, each by a step of its own, where they are the rows of a matrix.
        steps = g.op("Reshape", step, g.integers(-1))
        zeros = g.op("Expand", zero, g.op("Shape", steps))
        values = g.op("QuantizeLinear", g.op("Reshape", x, g.integers(-1, width)), steps, zeros, axis=0)
        return Rounded(g.op("Reshape", values, g.op("Shape", x)), step, zero)

    def product(self, x: Rounded, rows: NDArray[np.int8], scale: Floats, bias: Floats | None) -> str:
        """See `rows`."""
        g = self.graph
        columns = [np.ascontiguousarray(rows.T)]
        if not self._signed:
            columns = [(columns[0].astype(np.int16) + 128).astype(np.uint8), np.array(128, np.uint8)]
        matrix, *shift = map(g.constant, columns)
        scales = g.constant(np.array(1, np.float32)), g.constant(scale.astype(np.float32))
        (out,) = g.contrib("MatMulIntegerToFloat", x.values, matrix, *scales, x.zero, *shift)
        out = g.op("Mul", out, x.step)
        return out if bias is None or not bias.any() else g.op("Add", out, g.constant(bias))

    def _step(self, x: str, rounding: Rounding) -> str:
        """How far apart the numbers are that a frame is rounded to."""
        g = self.graph
        size = x if rounding is ACTIVE else g.op("Abs", x)
        largest = g.op("ReduceMax", size, axes=[-1], keepdims=1)
        largest = g.op("Max", largest, g.constant(np.array(rounding.least, np.float32)))
        return g.op("Mul", largest, g.constant(np.array(1 / (HIGHEST - rounding.zero), np.float32)))

    def norm(self, x: str, name: str) -> str:
        """A layer norm."""
        gain, bias = self.constant(f"{name}.weight"), self.constant(f"{name}.bias")
        return self.graph.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=EPSILON)

    def add_norm(self, x: str, more: str, name: str) -> tuple[str, str]:
        """x + more, and its layer norm. As two operators: ONNX Runtime's one for both is slower."""
        total = self.graph.op("Add", x, more)
        return total, self.norm(total, name)

    def gelu(self, x: str) -> str:
        """The activation."""
        return self.graph.contrib("Gelu", x)[0]

    def attention(
        self, q: str, k: str, v: str, heads: int, shares: str | None = None, bias: str | None = None
    ) -> str:
        """Attention over all of k and v.

        shares (T,): see `nn.silence`; or bias (1, 1, queries, T): what is added to the scores.
        """
        g = self.graph
        if shares is not None:
            row = g.op("Reshape", shares, g.integers(1, 1, 1, -1))
            count = g.op("Concat", g.integers(1, 1), g.op("Shape", q, start=1, end=2), g.integers(1), axis=0)
            bias = g.op("Expand", row, count)
        added = [] if bias is None else ["", "", bias]
        return g.contrib("MultiHeadAttention", q, k, v, *added, num_heads=heads)[0]

    def self_attention(
        self,
        x: str,
        name: str,
        width: int,
        heads: int,
        shares: str | None = None,
        bias: str | None = None,
    ) -> str:
        """`nn.whisper.Attention` of x to itself; see `attention`."""
        rounded = self.rounded(x, width)
        # Three products, not one and its parts: all that is done to one fits into the processor's cache.
        q, k, v = (
            self.product(rounded, *self.stored(f"{name}.{part}")) for part in ("query", "key", "value")
        )
        return self.linear(self.attention(q, k, v, heads, shares, bias), f"{name}.out")

    def feed_forward(self, x: str, name: str) -> str:
        """Widen, activate, narrow."""
        return self.linear(self.gelu(self.linear(x, f"{name}.0")), f"{name}.2", rounding=ACTIVE)

    def pooled(self, x: str, width: int) -> str:
        """(B, T, width) -> (B, 1, T // POOL, width): means over runs of POOL frames."""
        g = self.graph
        runs = g.op("Div", g.op("Shape", x, start=1, end=2), g.integers(POOL))
        whole = g.op("Slice", x, g.integers(0), g.op("Mul", runs, g.integers(POOL)), g.integers(1))
        return g.op(
            "ReduceMean", g.op("Reshape", whole, g.integers(0, 1, -1, POOL, width)), axes=[3], keepdims=0
        )


def encoder(net: Layers, dims: Dims, pooled: bool, thinned: bool = False) -> bytes:
    """`mel` (B, n_mels, 2·T) -> `states` (B, T, D), and if wanted `layers` (B, L, T // POOL, D).

    thinned: with two inputs more, `places` and `shares` (`nn.silence.Rest`), as `nn.whisper.AudioEncoder`.
    """
    width = dims.n_audio_state
    g = net.graph
    x = _convolutions(net, g.input("mel", np.float32, ("B", dims.n_mels, "M")), width)
    positions = g.constant(_sinusoids(dims.n_audio_ctx, width))
    shares, heard = None, g.op("Shape", x, start=1, end=2)
    if thinned:
        places, shares = g.input("places", np.int64, ("P",)), g.input("shares", np.float32, ("T",))
        heard = g.op("Sub", g.op("Shape", shares), g.op("Shape", places))
    here = g.op("Slice", positions, g.integers(0), heard, g.integers(0))
    if thinned:
        x, here = _with_rest(net, x, here, positions, heard, places)
    x = g.op("Add", x, here)
    normed = net.norm(x, "encoder.blocks.0.attn_ln")
    layers = []
    for i in range(dims.n_audio_layer):
        block, last = f"encoder.blocks.{i}", i + 1 == dims.n_audio_layer
        mixed = net.self_attention(normed, f"{block}.attn", width, dims.n_audio_head, shares=shares)
        x, normed = net.add_norm(x, mixed, f"{block}.mlp_ln")
        after = "encoder.ln_post" if last else f"encoder.blocks.{i + 1}.attn_ln"
        x, normed = net.add_norm(x, net.feed_forward(normed, f"{block}.mlp"), after)
        if pooled:
            audio = g.op("Slice", x, g.integers(0), heard, g.integers(1)) if thinned else x
            layers.append(net.pooled(audio, width))
    g.output("states", normed, np.float32, ("B", "T", width))
    if pooled:
        g.output("layers", g.op("Concat", *layers, axis=1), np.float32, ("B", len(layers), "P", width))
    return g.model()


def _with_rest(net: Layers, x: str, here: str, positions: str, heard: str, places: str) -> tuple[str, str]:
    """Frames and positions of the audio, and behind them those of the silence that is kept."""
    g = net.graph
    x = g.op("Slice", x, g.integers(0), heard, g.integers(1))
    quiet = g.op("Slice", x, g.integers(-1), heard, g.integers(1))
    count = g.op("Concat", g.integers(1), g.op("Shape", places), g.integers(1), axis=0)
    x = g.op("Concat", x, g.op("Expand", quiet, count), axis=1)
    return x, g.op("Concat", here, g.op("Gather", positions, places, axis=0), axis=0)


def _convolutions(net: Layers, mel: str, width: int) -> str:
    """Log-mel (B, n_mels, 2·T) to (B, T, width). The second convolution is a matrix over three frames."""
    g = net.graph
    kernel, bias = net.constant("encoder.conv1.weight"), net.constant("encoder.conv1.bias")
    x = net.gelu(g.op("Conv", mel, kernel, bias, kernel_shape=[3], pads=[1, 1]))
    # Its stride of two and padding of one: output t sees the frames 2t - 1, 2t and 2t + 1.
    pairs = g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 1]), g.integers(0, -1, 2 * width))
    odd = g.split(pairs, 2, width, width)[1]
    later = g.op("Pad", odd, g.integers(0, 1, 0, 0, 0, 0))
    before = g.op("Slice", later, g.integers(0), g.integers(-1), g.integers(1))
    rows, scale = net.weights.rows("encoder.conv2.weight")
    rows = rows.transpose(0, 2, 1).reshape(len(rows), -1)
    seen = g.op("Concat", before, pairs, axis=2)
    return net.gelu(net.rows(seen, rows, scale, net.weights.whole("encoder.conv2.bias"), ACTIVE))


def _sinusoids(length: int, channels: int) -> Floats:
    """`nn.whisper.sinusoids`."""
    half = channels // 2
    rates = np.exp(-np.log(10_000.0) / (half - 1) * np.arange(half))
    phase = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(phase), np.cos(phase)], axis=1).astype(np.float32)


def ctc(net: Layers, dims: Dims) -> bytes:
    """`states` (B, T, D) -> `logprobs` (B, T, 1 + pieces)."""
    states = net.graph.input("states", np.float32, ("B", "T", dims.n_audio_state))
    logits = net.linear(states, "ctc.out")
    logprobs = net.graph.op("LogSoftmax", logits, axis=-1)
    net.graph.output("logprobs", logprobs, np.float32, ("B", "T", "N"))
    return net.graph.model()


def tags(net: Layers, dims: Dims, about: TagsInfo) -> bytes:
    """`layers` (B, L, tokens, D) -> `scores` (B, classes): `nn.heads.TimeLayerTransformer`."""
    count, width = dims.n_audio_layer, dims.n_audio_state
    g = net.graph
    x = g.input("layers", np.float32, ("B", count, "P", width))
    inner = about.width or width
    if about.width is not None:
        x = net.linear(net.norm(x, "tags.down_layer.0"), "tags.down_layer.1")
    tokens = g.op("Shape", x, start=2, end=3)
    shape = g.op("Concat", g.integers(-1), tokens, g.integers(inner), axis=0)
    x = _block_mean(net, g.op("Reshape", x, shape), "tags.time_tr", inner, TIME_HEADS)
    x = g.op("Reshape", x, g.integers(-1, count, inner))
    x = _block_mean(net, x, "tags.layer_tr", inner, LAYER_HEADS)
    logits = net.linear(net.norm(x, "tags.mlp_layer.0"), "tags.mlp_layer.1")
    g.output("scores", g.op("Sigmoid", logits), np.float32, ("B", "N"))
    return g.model()


def _block_mean(net: Layers, x: str, name: str, width: int, heads: int) -> str:
    """`nn.heads.block_mean`."""
    g = net.graph
    heard = net.self_attention(net.norm(x, f"{name}.attn_ln"), f"{name}.attn", width, heads)
    x, normed = net.add_norm(x, heard, f"{name}.mlp_ln")
    active = net.gelu(net.linear(normed, f"{name}.mlp.0"))
    mean = net.linear(g.op("ReduceMean", active, axes=[1], keepdims=0), f"{name}.mlp.2", rounding=ACTIVE)
    return g.op("Add", g.op("ReduceMean", x, axes=[1], keepdims=0), mean)


def follower(net: Layers, dims: Dims, thinned: bool = False) -> bytes:
    """The decoder with its tokens given: `states` (1, T, D), and texts as a tree (`backends.tree`).

    `given` (1, M), `places` (M,) and `bias` (1, 1, M, M) are the tree's; `wanted` (N, n, 2): a token's number
    in it, and the token whose log-probability behind that is asked for -> `logprobs` (N, n). thinned: with
    one input more, `shares` (T,).
    """
    width, heads = dims.n_text_state, dims.n_text_head
    g = net.graph
    shares = g.input("shares", np.float32, ("T",)) if thinned else None
    states = g.input("states", np.float32, (1, "T", dims.n_audio_state))
    given = g.input("given", np.int64, (1, "M"))
    places = g.input("places", np.int64, ("M",))
    bias = g.input("bias", np.float32, (1, 1, "M", "M"))
    wanted = g.input("wanted", np.int64, ("N", "n", 2))
    embedding = net.weights.rows("decoder.token_embedding.weight")
    table = g.op("DequantizeLinear", g.constant(embedding[0]), g.constant(embedding[1]), axis=0)
    here = g.op("Gather", net.constant("decoder.positional_embedding"), places, axis=0)
    x = g.op("Add", g.op("Gather", table, given, axis=0), here)
    normed = net.norm(x, "decoder.blocks.0.attn_ln")
    for i in range(dims.n_text_layer):
        block = f"decoder.blocks.{i}"
        own = net.self_attention(normed, f"{block}.attn", width, heads, bias=bias)
        x, normed = net.add_norm(x, own, f"{block}.cross_attn_ln")
        q = net.linear(normed, f"{block}.cross_attn.query")
        k, v = (net.linear(states, f"{block}.cross_attn.{part}") for part in ("key", "value"))
        heard = net.attention(q, k, v, heads, shares)
        x, normed = net.add_norm(x, net.linear(heard, f"{block}.cross_attn.out"), f"{block}.mlp_ln")
        after = "decoder.ln" if i + 1 == dims.n_text_layer else f"decoder.blocks.{i + 1}.attn_ln"
        x, normed = net.add_norm(x, net.feed_forward(normed, f"{block}.mlp"), after)
    logprobs = g.op("LogSoftmax", net.rows(normed, *embedding, None), axis=-1)
    chosen = g.op("GatherND", g.op("Squeeze", logprobs, g.integers(0)), wanted)
    g.output("logprobs", chosen, np.float32, ("N", "n"))
    return g.model()
