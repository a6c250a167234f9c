"""The decoder's next token in fixed shapes: what a GPU can record once and play back for every further one.

`TextDecoder.step` grows: each token attends to one key more than the one before, and a GPU is sent dozens of
small jobs for it, of which hardly one takes as long as the sending. Here nothing grows. The position is a
number in memory, self-attention goes over the whole text context under a mask by position, cross-attention
over a round number of frames, of which those behind the encoding's weigh nothing; and all stays where it is.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from streamer.nn.whisper import DecoderCache, TextDecoder

Pairs = list[tuple[Tensor, Tensor]]
"""Keys and values of each layer."""


@dataclass(frozen=True, slots=True)
class Slots:
    """What a step of so many rows over so many frames reads and writes: parts of a desk.

    tokens: (rows, 1). position: (1,), where they stand in the text. own: each (rows, heads, n_text_ctx, head
    width); the step writes its own in there. cross: each (1, heads, frames, head width). shares: (frames,)
    float32, of a thinned encoding (see `nn.silence`), else 0; -inf behind the encoding's frames.
    """

    tokens: Tensor
    position: Tensor
    own: Pairs
    cross: Pairs
    shares: Tensor


def next_token(decoder: TextDecoder, slots: Slots) -> tuple[Tensor, Tensor]:
    """As `TextDecoder.step` of one token in each row, all of them about one encoding.

    Returns logits (rows, 1, n_vocab) and cross-attention weights (rows, layers, heads, 1, frames), float32;
    behind the encoding's frames the latter are no numbers.
    """
    rows, position = len(slots.tokens), slots.position
    places = decoder.positional_embedding
    x = decoder.token_embedding(slots.tokens) + places.index_select(0, position)
    x = x.to(slots.cross[0][0].dtype)
    mask = (torch.arange(len(places), device=x.device) <= position)[None]
    weights = []
    for block, own, cross in zip(decoder.layers, slots.own, slots.cross, strict=True):
        normed = block.attn_ln(x)
        for kept, new in zip(own, block.attn.keys_values(normed), strict=True):
            kept.index_copy_(2, position, new)
        q = block.attn.split(block.attn.query(normed))
        said = F.scaled_dot_product_attention(q, *own, attn_mask=mask)
        x = x + block.attn.out(said.transpose(1, 2).flatten(2))
        # Rows about one encoding ask its keys together, as if they were more tokens.
        asking = block.cross_attn_ln(x).reshape(1, rows, -1)
        heard, attention = block.cross_attn.attend_with_weights(asking, *cross, slots.shares)
        weights.append(attention.transpose(1, 2)[0, :, :, None])
        x = x + heard.reshape(x.shape)
        x = x + block.mlp(block.mlp_ln(x))
    return decoder.logits(x), torch.stack(weights, dim=1)


class Desk:
    """Memory that never moves, for one decoding at a time, and at most so many rows of tokens.

    A cache that was let in and lent the desk has its keys and values here, where steps of either kind read
    and write them. It keeps the desk for as long as it lives: no other may be let in until then.
    """

    def __init__(self, decoder: TextDecoder, rows: int, frames: int) -> None:
        """frames: of the longest encoding.

        Takes (2 · n_text_layer · n_text_state) · (rows · n_text_ctx + frames) numbers where the decoder is.
        """
        layers, (n_ctx, width) = len(decoder.layers), decoder.positional_embedding.shape
        heads, each = decoder.n_head, width // decoder.n_head
        zeros = decoder.positional_embedding.new_zeros
        self.rows = rows
        self._tokens = zeros((rows, 1), dtype=torch.int64)
        self._position = zeros(1, dtype=torch.int64)
        # What is masked still is multiplied by nought, which no infinity that lay around would survive.
        self._own = zeros((layers, 2, rows, heads, n_ctx, each))
        self._cross = zeros((layers, 2, 1, heads, frames, each))
        self._shares = zeros(frames, dtype=torch.float32)
        self._owner: weakref.ref[DecoderCache] | None = None
        self._lent: Pairs = []

    def slots(self, rows: int, frames: int) -> Slots:
        """The parts for so many rows and frames."""
        own = [(k[:rows], v[:rows]) for k, v in self._own]
        cross = [(k[:, :, :frames], v[:, :, :frames]) for k, v in self._cross]
        return Slots(self._tokens[:rows], self._position, own, cross, self._shares[:frames])

    def let_in(self, cache: DecoderCache) -> None:
        """Copy what a cache has heard and its tokens so far, as far as that is not here."""
        if self._owner is None or self._owner() is not cache:
            self._owner, self._lent = weakref.ref(cache), []
            self._hear(cache)
        if not self._holds(cache):
            rows, length = len(cache.own[0][0]), cache.length
            for mine, theirs in zip(self._own, cache.own, strict=True):
                for into, given in zip(mine, theirs, strict=True):
                    into[:rows, :, :length] = given[:, :, :length]
            self._own[:, :, :rows, :, length:] = 0

    def lend(self, cache: DecoderCache) -> None:
        """The cache that was let in reads and writes here from now on."""
        if not self._holds(cache):
            slots = self.slots(len(cache.own[0][0]), cache.cross[0][0].shape[2])
            self._lent = list(slots.own)
            cache.own, cache.cross = slots.own, slots.cross

    def place(self, tokens: NDArray[np.int64], position: int) -> None:
        """Put the next tokens (rows, 1) where the step reads them."""
        self._tokens[: len(tokens)].copy_(torch.from_numpy(tokens))
        self._position.fill_(position)

    def _holds(self, cache: DecoderCache) -> bool:
        # `rearrange` puts other tensors into the cache's list.
        return bool(self._lent) and self._lent[0] is cache.own[0]

    def _hear(self, cache: DecoderCache) -> None:
        frames = cache.cross[0][0].shape[2]
        for mine, theirs in zip(self._cross, cache.cross, strict=True):
            for into, given in zip(mine, theirs, strict=True):
                into[:, :, :frames] = given
        self._cross[:, :, :, :, frames:] = 0
        self._shares[:frames] = 0 if cache.shares is None else cache.shares
        self._shares[frames:] = -torch.inf
