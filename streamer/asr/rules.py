"""Which tokens may come next: Whisper's rules as one mask, and a breaker for loops.

A mask is added to the logits: 0 where a token is allowed, -inf where it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.asr.tokenizer import Tokenizer
from streamer.timebase import FRAMES_PER_SECOND

Floats = NDArray[np.float32]

FORBIDDEN = float("-inf")
LOOP_TOKENS = 16
"""Tokens that a repetition must fill before it counts as a loop …"""
LOOP_TIMES = 4
"""… and how often it must have come in a row, however long it is."""
LONGEST_LOOP = 32
"""Longest repetition looked for, in tokens."""


def suppressed(tokenizer: Tokenizer, tokens: Iterable[int]) -> tuple[int, ...]:
    """The token ids of a `suppress_tokens` option: -1 stands for the non-speech set, none for no rule at all.

    With any, the specials that only belong into a prompt are suppressed as well.
    """
    chosen = set(tokens)
    if not chosen:
        return ()
    if -1 in chosen:
        chosen = (chosen - {-1}) | set(tokenizer.non_speech_tokens)
    chosen |= {tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev}
    return tuple(sorted(chosen | {tokenizer.sot_lm, tokenizer.no_speech}))


def log_softmax(logits: Floats) -> Floats:
    """Log-probabilities (n_vocab,) of logits; what is forbidden stays so."""
    shifted = logits - logits.max()
    out: Floats = shifted - np.log(np.exp(shifted).sum())
    return out


class Rules:
    """The rules of one decode. `apply` turns logits into those of the allowed tokens."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        suppress_blank: bool,
        suppress_tokens: Iterable[int],
        timestamps: bool,
        latest_start: float | None,
    ) -> None:
        self._eot = tokenizer.eot
        self._begin = tokenizer.timestamp_begin
        self._timestamps = timestamps
        always = np.zeros(tokenizer.n_vocab, np.float32)
        always[list(suppressed(tokenizer, suppress_tokens))] = FORBIDDEN
        if timestamps:
            always[tokenizer.no_timestamps] = FORBIDDEN
        first = always.copy()
        if suppress_blank:
            first[[*tokenizer.encode(" "), tokenizer.eot]] = FORBIDDEN
        if timestamps:
            first[: self._begin] = FORBIDDEN
            if latest_start is not None:
                first[self._begin + round(latest_start * FRAMES_PER_SECOND) + 1 :] = FORBIDDEN
        self._always, self._first = always, first

    def apply(self, logits: Floats, sampled: Sequence[int]) -> Floats:
        """Logits (n_vocab,) of the next token, masked. `sampled`: what this decode chose so far."""
        masked: Floats = logits + (self._always if sampled else self._first)
        if not self._timestamps:
            return masked
        if sampled:
            self._keep_order(masked, sampled)
        # A timestamp wins where all of them together are likelier than any one piece of text.
        if np.logaddexp.reduce(masked[self._begin :]) > masked[: self._begin].max():
            masked[: self._begin] = FORBIDDEN
        return masked

    def _keep_order(self, masked: Floats, sampled: Sequence[int]) -> None:
        """Timestamps come in pairs, except before the end, and never go back; a segment is not empty."""
        begin = self._begin
        last = sampled[-1] >= begin
        before = len(sampled) < 2 or sampled[-2] >= begin
        if last and before:
            masked[begin:] = FORBIDDEN
        elif last:
            masked[: self._eot] = FORBIDDEN
        latest = next((token for token in reversed(sampled) if token >= begin), None)
        if latest is not None:
            masked[begin : latest + (0 if last and not before else 1)] = FORBIDDEN


def loop_start(tokens: Sequence[int]) -> int | None:
    """Where to cut a sequence that ends in a loop: after the loop's first round; None where there is none.

    Confidence is high inside such loops, so only the structure tells: some run of tokens came at least
    `LOOP_TIMES` times in a row and fills at least `LOOP_TOKENS` tokens.
    """
    n = len(tokens)
    for period in range(1, min(LONGEST_LOOP, n // LOOP_TIMES) + 1):
        span = period * max(LOOP_TIMES, -(-LOOP_TOKENS // period))
        if span > n or tokens[n - span : n - period] != tokens[n - span + period :]:
            continue
        start = n - span
        while start and tokens[start - 1] == tokens[start - 1 + period]:
            start -= 1
        return start + period
    return None
