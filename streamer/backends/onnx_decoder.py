"""A decoder in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from streamer.backends.base import Floats, Tokens, plain
from streamer.nn.definition import ModelInfo
from streamer.nn.silence import Thinned


class OnnxCache:
    """See `nn.whisper.DecoderCache`. Of one encoding; tensors by the names that the graphs give them.

    single: what an attention weight is multiplied by to be a single frame's; None for what is not thinned.
    """

    def __init__(
        self, heard: dict[str, Floats], own: dict[str, Floats], single: Floats | None = None
    ) -> None:
        self.length, self.heard, self.own, self.single = 0, heard, own, single

    def truncate(self, length: int) -> None:
        """Forget every token from position `length` on."""
        if length < self.length:
            self.length = length
            self.own = {name: np.ascontiguousarray(one[:, :, :length]) for name, one in self.own.items()}

    def rearrange(self, rows: Sequence[int]) -> None:
        """Go on with these rows of tokens, in this order; one may be there several times, or not any more."""
        self.own = {name: one[list(rows)] for name, one in self.own.items()}


class OnnxDecoder:
    """The decoder of a Whisper. See `asr.decoder.Writer`."""

    def __init__(self, info: ModelInfo, hearing: Any, step: Any) -> None:
        """hearing, step: sessions of both graphs of `decoder_graphs`."""
        self.dims, self.alignment_heads = info.dims, info.alignment_heads
        self._hearing, self._step = hearing, step
        self._heard = [output.name for output in self._hearing.get_outputs()]
        self._said = [output.name for output in self._step.get_outputs()]

    def listen(self, states: Floats | Thinned) -> OnnxCache:
        """What the decoder needs of an encoding (1, T, D), or a thinned one, before the first token."""
        found = self._hearing.run(self._heard, {"states": plain(states)})
        heard, single = dict(zip(self._heard, found, strict=True)), None
        if isinstance(states, Thinned):
            heard["shares"], single = states.shares, np.exp(-states.shares)
        each = self.dims.n_text_state // self.dims.n_text_head
        none = np.empty((1, self.dims.n_text_head, 0, each), np.float32)
        own = {f"{kind}{i}": none for i in range(self.dims.n_text_layer) for kind in "kv"}
        return OnnxCache(heard, own, single)

    def step(self, tokens: Tokens, cache: OnnxCache) -> tuple[Floats, Floats]:
        """See `nn.whisper.TextDecoder.step`. Raises ValueError for more tokens than there is room for."""
        length = cache.length + tokens.shape[1]
        if length > self.dims.n_text_ctx:
            raise ValueError(f"at most {self.dims.n_text_ctx} tokens, found {length}")
        feeds = {"tokens": tokens, "first": np.array([cache.length]), **cache.heard, **cache.own}
        said = dict(zip(self._said, self._step.run(self._said, feeds), strict=True))
        cache.own = {name: said[f"new_{name}"] for name in cache.own}
        cache.length = length
        weights = said["weights"] if cache.single is None else said["weights"] * cache.single
        return said["logits"], weights
