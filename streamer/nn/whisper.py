"""Whisper (Radford et al. 2022) as one module for every checkpoint, made for one pass with many readers.

Parameter names are openai-whisper's, so that its checkpoints load as they are. What differs:

* the encoder takes any context up to its own, and hands out every block's output, pooled over
  `timebase.POOL` frames as it is produced (Whisper-AT, Gong et al. 2023), in the same forward;
* the decoder's key/value cache is an argument, not a hook, and gives the cross-attention weights;
* the text side may be narrower than the audio side (`n_text_state` ≠ `n_audio_state`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from streamer.nn.silence import Thinned
from streamer.timebase import POOL


@dataclass(frozen=True, slots=True)
class WhisperDims:
    """Sizes of a checkpoint, under openai-whisper's names."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_vocab: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int


@dataclass(slots=True)
class Encoding:
    """What one encoder pass leaves behind.

    states: (B, T, D) after the final norm, for the decoder.
    layers: (B, L, T // POOL, D) mean of each block's output over POOL frames, before the final norm;
        None where no head asked for them.
    """

    states: Tensor
    layers: Tensor | None


def sinusoids(length: int, channels: int, longest: float = 10_000.0) -> Tensor:
    """Positional embedding (length, channels): sines, then cosines, of timescales up to `longest`."""
    half = channels // 2
    # In double precision up to here, as openai-whisper: checkpoints hold exactly these numbers.
    rates = torch.exp(-math.log(longest) / (half - 1) * torch.arange(half))
    phase = torch.arange(length)[:, None] * rates[None, :]
    return torch.cat([phase.sin(), phase.cos()], dim=1)


def pool_frames(x: Tensor, size: int = POOL) -> Tensor:
    """Mean over runs of `size` frames, (B, T, D) -> (B, T // size, D); an incomplete run is left out."""
    batch, frames, width = x.shape
    tokens = frames // size
    return x[:, : tokens * size].reshape(batch, tokens, size, width).mean(dim=2)


class Attention(nn.Module):
    """Multi-head attention; `source_state` is the width of what is attended to (own width by default)."""

    def __init__(self, n_state: int, n_head: int, source_state: int | None = None) -> None:
        super().__init__()
        self.n_head = n_head
        source = source_state or n_state
        self.query = nn.Linear(n_state, n_state)
        self.key = nn.Linear(source, n_state, bias=False)
        self.value = nn.Linear(source, n_state)
        self.out = nn.Linear(n_state, n_state)

    def split(self, x: Tensor) -> Tensor:
        """(B, T, n_state) -> (B, heads, T, n_state / heads)."""
        batch, length, width = x.shape
        return x.reshape(batch, length, self.n_head, width // self.n_head).transpose(1, 2)

    def keys_values(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Projections of what is attended to, each (B, heads, T, head width)."""
        return self.split(self.key(source)), self.split(self.value(source))

    def attend(
        self, x: Tensor, k: Tensor, v: Tensor, causal: bool = False, shares: Tensor | None = None
    ) -> Tensor:
        """Attention of x (B, n, n_state) over given keys and values; `shares` (T,): see `nn.silence`."""
        q = self.split(self.query(x))
        mask = None if shares is None else shares.to(q.dtype)[None, None, None]
        out = F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal and q.shape[2] > 1)
        attended: Tensor = self.out(out.transpose(1, 2).flatten(2))
        return attended

    def attend_with_weights(
        self, x: Tensor, k: Tensor, v: Tensor, shares: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `attend`, and the weights (B, heads, n, T) in float32, each of a single frame."""
        q = self.split(self.query(x))
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5
        weights = (scores if shares is None else scores + shares).softmax(-1)
        out = weights.to(v.dtype) @ v
        single = weights if shares is None else weights * (-shares).exp()
        return self.out(out.transpose(1, 2).flatten(2)), single

    def forward(self, x: Tensor, causal: bool = False, shares: Tensor | None = None) -> Tensor:
        """Self-attention without a cache."""
        k, v = self.keys_values(x)
        return self.attend(x, k, v, causal, shares)


class Block(nn.Module):
    """Residual attention block: self-attention, optionally cross-attention, feed-forward; norms first."""

    def __init__(self, n_state: int, n_head: int, source_state: int | None = None) -> None:
        super().__init__()
        self.attn = Attention(n_state, n_head)
        self.attn_ln = nn.LayerNorm(n_state)
        if source_state is not None:
            self.cross_attn = Attention(n_state, n_head, source_state)
            self.cross_attn_ln = nn.LayerNorm(n_state)
        self.mlp = nn.Sequential(nn.Linear(n_state, 4 * n_state), nn.GELU(), nn.Linear(4 * n_state, n_state))
        self.mlp_ln = nn.LayerNorm(n_state)

    def forward(self, x: Tensor, shares: Tensor | None = None) -> Tensor:
        """Without cross-attention: (B, T, n_state) -> the same."""
        x = x + self.attn(self.attn_ln(x), shares=shares)
        out: Tensor = x + self.mlp(self.mlp_ln(x))
        return out


class AudioEncoder(nn.Module):
    """Log-mel to states."""

    positional_embedding: Tensor

    def __init__(self, dims: WhisperDims) -> None:
        super().__init__()
        width = dims.n_audio_state
        self.conv1 = nn.Conv1d(dims.n_mels, width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        self.register_buffer("positional_embedding", sinusoids(dims.n_audio_ctx, width))
        self.blocks = nn.ModuleList([Block(width, dims.n_audio_head) for _ in range(dims.n_audio_layer)])
        self.ln_post = nn.LayerNorm(width)

    def forward(
        self, mel: Tensor, pooled: bool = False, rest: tuple[Tensor, Tensor] | None = None
    ) -> Encoding:
        """Encode (B, n_mels, 2·T) log-mel frames, T ≤ n_audio_ctx; `pooled` asks for all layers.

        rest: `nn.silence.Rest` as tensors, for a context whose silence is thinned. Wanted are then the mel
        frames of the audio's frames and of one more, which is silent; layers are of the audio's frames alone.
        Raises ValueError for a context longer than the checkpoint's.
        """
        x = F.gelu(self.conv1(mel))
        x = F.gelu(self.conv2(x)).transpose(1, 2)
        shares, heard = (None, x.shape[1]) if rest is None else (rest[1], len(rest[1]) - len(rest[0]))
        if heard > self.positional_embedding.shape[0]:
            raise ValueError(
                f"at most {2 * self.positional_embedding.shape[0]} mel frames, found {mel.shape[-1]}"
            )
        x, positions = x[:, :heard], self.positional_embedding[:heard]
        if rest is not None:
            # All silence is as its first frame is, but for where it lies. What came last saw the edge.
            x = torch.cat([x, x[:, -1:].expand(-1, len(rest[0]), -1)], dim=1)
            positions = torch.cat([positions, self.positional_embedding[rest[0]]])
        x = (x + positions).to(x.dtype)
        layers = []
        for block in self.blocks:
            x = block(x, shares)
            if pooled:
                layers.append(pool_frames(x[:, :heard]))
        return Encoding(self.ln_post(x), torch.stack(layers, dim=1) if pooled else None)


class DecoderCache:
    """Keys and values of one batch of encodings, and of the tokens decoded from it so far.

    cross: per layer (k, v), each (B, heads, T, head width), computed once.
    own: per layer (k, v), each (rows, heads, n_text_ctx, head width), filled up to `length`. There is a row
        of tokens for each encoding, or several for the only one (`rearrange`).
    """

    def __init__(self, decoder: TextDecoder, states: Tensor, shares: Tensor | None = None) -> None:
        """shares: of a thinned encoding (see `nn.silence`)."""
        self.length, self.shares = 0, shares
        self.cross = [block.cross_attn.keys_values(states) for block in decoder.layers]
        batch = states.shape[0]
        n_ctx, width = decoder.positional_embedding.shape
        shape = (batch, decoder.n_head, n_ctx, width // decoder.n_head)
        self.own = [(states.new_empty(shape), states.new_empty(shape)) for _ in decoder.layers]

    def truncate(self, length: int) -> None:
        """Forget every token from position `length` on."""
        self.length = min(self.length, length)

    def rearrange(self, rows: Sequence[int]) -> None:
        """Go on with these rows of tokens, in this order; one may be there several times, or not any more.

        Only with one encoding, which all rows are then about.
        """
        if list(rows) == list(range(len(self.own[0][0]))):
            return
        for layer, pair in enumerate(self.own):
            k, v = (x.new_empty(len(rows), *x.shape[1:]) for x in pair)
            k[:, :, : self.length] = pair[0][list(rows), :, : self.length]
            v[:, :, : self.length] = pair[1][list(rows), :, : self.length]
            self.own[layer] = (k, v)


class TextDecoder(nn.Module):
    """Tokens and an encoding to logits of the next tokens."""

    def __init__(self, dims: WhisperDims) -> None:
        super().__init__()
        width = dims.n_text_state
        self.n_head = dims.n_text_head
        self.token_embedding = nn.Embedding(dims.n_vocab, width)
        self.positional_embedding = nn.Parameter(torch.empty(dims.n_text_ctx, width).normal_(std=0.01))
        self.blocks = nn.ModuleList(
            [Block(width, dims.n_text_head, dims.n_audio_state) for _ in range(dims.n_text_layer)]
        )
        self.ln = nn.LayerNorm(width)

    @property
    def layers(self) -> list[Block]:
        """The blocks, typed."""
        return [block for block in self.blocks if isinstance(block, Block)]

    def embed(self, tokens: Tensor, offset: int) -> Tensor:
        """(B, n) token ids at positions from `offset` on -> (B, n, n_text_state)."""
        n = tokens.shape[1]
        if offset + n > self.positional_embedding.shape[0]:
            raise ValueError(f"at most {self.positional_embedding.shape[0]} tokens, found {offset + n}")
        out: Tensor = self.token_embedding(tokens) + self.positional_embedding[offset : offset + n]
        return out

    def logits(self, x: Tensor) -> Tensor:
        """(B, n, n_text_state) -> (B, n, n_vocab) in float32; the embedding is the output layer."""
        return F.linear(self.ln(x), self.token_embedding.weight).float()

    def forward(self, tokens: Tensor, states: Tensor, shares: Tensor | None = None) -> Tensor:
        """Teacher forcing: tokens (B, n), states (B, T, n_audio_state) -> logits (B, n, n_vocab).

        shares: of a thinned encoding (see `nn.silence`).
        """
        x = self.embed(tokens, 0).to(states.dtype)
        for block in self.layers:
            x = x + block.attn(block.attn_ln(x), causal=True)
            heard = block.cross_attn.keys_values(states)
            x = x + block.cross_attn.attend(block.cross_attn_ln(x), *heard, shares=shares)
            x = x + block.mlp(block.mlp_ln(x))
        return self.logits(x)

    def step(self, tokens: Tensor, cache: DecoderCache) -> tuple[Tensor, Tensor]:
        """Append tokens (rows, n) to the cache.

        Returns logits (rows, n, n_vocab) and cross-attention weights (rows, layers, heads, n, T), float32.
        """
        n, start = tokens.shape[1], cache.length
        x = self.embed(tokens, start).to(cache.cross[0][0].dtype)
        weights = []
        for block, (k_own, v_own), (k_audio, v_audio) in zip(
            self.layers, cache.own, cache.cross, strict=True
        ):
            normed = block.attn_ln(x)
            k, v = block.attn.keys_values(normed)
            k_own[:, :, start : start + n] = k
            v_own[:, :, start : start + n] = v
            q = block.attn.split(block.attn.query(normed))
            mask = None
            if n > 1:
                mask = torch.ones(n, start + n, dtype=torch.bool, device=q.device).tril(start)
            own = F.scaled_dot_product_attention(
                q, k_own[:, :, : start + n], v_own[:, :, : start + n], attn_mask=mask
            )
            x = x + block.attn.out(own.transpose(1, 2).flatten(2))
            # Rows about one encoding ask its keys together, as if they were more tokens.
            asking = block.cross_attn_ln(x).reshape(len(k_audio), -1, x.shape[-1])
            heard, attention = block.cross_attn.attend_with_weights(asking, k_audio, v_audio, cache.shares)
            heard = heard.reshape(x.shape)
            weights.append(attention.unflatten(2, (-1, n)).transpose(1, 2).flatten(0, 1))
            x = x + heard
            x = x + block.mlp(block.mlp_ln(x))
        cache.length = start + n
        return self.logits(x), torch.stack(weights, dim=1)


class Whisper(nn.Module):
    """Encoder and decoder. `alignment_heads`: (layer, head) pairs whose cross-attention follows the audio."""

    def __init__(self, dims: WhisperDims, alignment_heads: list[tuple[int, int]] | None = None) -> None:
        super().__init__()
        self.dims = dims
        self.encoder = AudioEncoder(dims)
        self.decoder = TextDecoder(dims)
        self.alignment_heads = alignment_heads or [
            (layer, head)
            for layer in range(dims.n_text_layer // 2, dims.n_text_layer)
            for head in range(dims.n_text_head)
        ]

    @property
    def dtype(self) -> torch.dtype:
        """The precision it computes in."""
        return self.encoder.conv1.weight.dtype

    @torch.inference_mode()
    def listen(self, states: Tensor | Thinned) -> DecoderCache:
        """What the decoder needs first of encodings (B, T, n_audio_state), or of a thinned one."""
        if isinstance(states, Thinned):
            return DecoderCache(self.decoder, *states)
        return DecoderCache(self.decoder, states)

    @torch.inference_mode()
    def step(
        self, tokens: NDArray[np.int64], cache: DecoderCache
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See `TextDecoder.step`; arrays for whoever chooses among the tokens (`asr.decoder.Writer`)."""
        given = torch.from_numpy(tokens).to(self.decoder.positional_embedding.device)
        logits, weights = self.decoder.step(given, cache)
        return logits.cpu().numpy(), weights.cpu().numpy()

    def encode(
        self, mel: Tensor, pooled: bool = False, rest: tuple[Tensor, Tensor] | None = None
    ) -> Encoding:
        """One pass over (B, n_mels, 2·T) log-mel frames; `rest`: see AudioEncoder."""
        encoding: Encoding = self.encoder(mel.to(self.dtype), pooled, rest)
        return encoding
