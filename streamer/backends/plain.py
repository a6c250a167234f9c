"""An encoder in standard operators alone, for what chooses by itself how numbers are rounded on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamer.backends.graphs import EVEN, Layers, Rounding
from streamer.backends.stored import Floats


class PlainLayers(Layers):
    """`Layers` in which only the stored matrices are integers, with a scale a row.

    They are multiplied as if in float32. There is as much here as `graphs.encoder` needs.
    """

    def rows(
        self, x: str, rows: NDArray[np.int8], scale: Floats, bias: Floats | None, rounding: Rounding = EVEN
    ) -> str:
        """x times a matrix of int8 (out, in) with a scale a row, plus a bias; `rounding` is not used."""
        del rounding
        g = self.graph
        stored = g.constant(np.ascontiguousarray(rows)), g.constant(scale.astype(np.float32))
        matrix = g.op("Transpose", g.op("DequantizeLinear", *stored, axis=0), perm=[1, 0])
        out = g.op("MatMul", x, matrix)
        return out if bias is None else g.op("Add", out, g.constant(bias))

    def gelu(self, x: str) -> str:
        """The activation: x Φ(x)."""
        half, one = self._number(0.5), self._number(1.0)
        error = self.graph.op("Erf", self.graph.op("Mul", x, self._number(0.5**0.5)))
        return self.graph.op("Mul", self.graph.op("Mul", x, half), self.graph.op("Add", error, one))

    def self_attention(
        self, x: str, name: str, width: int, heads: int, shares: str | None = None, bias: str | None = None
    ) -> str:
        """`nn.whisper.Attention` of x to all of itself."""
        assert bias is None, "only a decoder's scores have one"
        g, each = self.graph, width // heads
        joined = self.linear(x, *(f"{name}.{part}" for part in ("query", "key", "value")))
        q, k, v = (
            g.op("Transpose", g.op("Reshape", part, g.integers(0, 0, heads, each)), perm=order)
            for part, order in zip(
                g.split(joined, 2, width, width, width),
                ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]),
                strict=True,
            )
        )
        scores = g.op("MatMul", g.op("Mul", q, self._number(each**-0.5)), k)
        scores = scores if shares is None else g.op("Add", scores, shares)
        heard = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        return self.linear(g.op("Reshape", heard, g.integers(0, 0, width)), f"{name}.out")

    def _number(self, value: float) -> str:
        return self.graph.constant(np.array(value, np.float32))
