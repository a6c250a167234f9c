"""Words with times, from where the decoder's alignment heads looked when it chose each token.

The method is openai-whisper's `timing.find_alignment`, on the attention that decoding left behind
instead of another pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.asr.attended import median_filter
from streamer.asr.decode import Decoded
from streamer.asr.tokenizer import Tokenizer

PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"

_DIAGONAL, _NEXT_ROW, _NEXT_FRAME = 0, 1, 2


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word as written, without its space; start and end in 20 ms frames of the pass, start ≤ end."""

    text: str
    start: int
    end: int
    probability: float


def word_times(decoded: Decoded, tokenizer: Tokenizer, frames: int) -> list[TimedWord]:
    """Words of a transcript, in order; `frames`: how many of the encoding are audio, the rest is padding.

    Starts and ends never go back, and an end is not after the next start.
    """
    places = [i for i, token in enumerate(decoded.tokens) if token < tokenizer.eot]
    ids = [decoded.tokens[i] for i in places]
    words, word_tokens = tokenizer.split_to_word_tokens(ids, decoded.language)
    if not words:
        return []
    frames = max(1, min(frames, decoded.attention.shape[2]))
    matrix = alignment_matrix(decoded.attention[:, :, :frames])
    choices = [decoded.attention_start + i for i in places]
    ending = decoded.attention_start + len(decoded.tokens)
    if ending < len(matrix):
        choices.append(ending)
    jumps = first_frames(matrix[choices])
    if ending >= len(matrix):  # a cap stopped the decoder: nothing says when its last word ended
        jumps = np.append(jumps, frames)
    bounds = np.cumsum([0, *map(len, word_tokens)])
    probabilities = decoded.token_probs[places]
    timed = [
        TimedWord(word, int(jumps[first]), int(jumps[last]), float(probabilities[first:last].mean()))
        for word, first, last in zip(words, bounds[:-1], bounds[1:], strict=True)
    ]
    return [
        TimedWord(w.text.strip(), w.start, w.end, w.probability) for w in merge_marks(timed) if w.text.strip()
    ]


def attended_frames(decoded: Decoded, frames: int) -> tuple[int, ...]:
    """The frame that each sampled token of a finished decode attended to most."""
    matrix = alignment_matrix(decoded.attention[:, :, : max(1, frames)])
    first = decoded.attention_start + decoded.prefix_length
    last = decoded.attention_start + len(decoded.tokens)
    return tuple(int(frame) for frame in matrix[first:last].argmax(-1))


def alignment_matrix(attention: NDArray[np.float32]) -> NDArray[np.float64]:
    """Attention (heads, rows, T) to one matrix (rows, T): how much each row stands out at each frame."""
    weights = attention
    # Over the audio alone: what went to the padding is taken out, as if it had not been there.
    weights = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-12)
    spread = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-12)
    # A head at a time stays in the processor's cache: three times as fast as all at once.
    matrix = np.zeros(weights.shape[1:], np.float64)
    for head in weights:
        matrix += median_filter(head)
    return matrix / len(weights)


def first_frames(matrix: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each row of an alignment matrix (rows, T), the first frame of its stretch on the best path."""
    rows, times = warp(-matrix)
    starts = np.r_[True, np.diff(rows) > 0]
    return times[starts]


def warp(cost: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Dynamic time warping through a cost matrix (N, M): row and column indices of the cheapest path.

    The path starts at (0, 0), ends at (N - 1, M - 1), and never goes back in either direction. Where
    ways cost the same it stays in its row.
    """
    n, m = cost.shape
    step = np.empty((n, m), np.int8)
    above = np.r_[0.0, np.full(m, np.inf)]
    # A row at a time: with S the running sum of a row's costs, the best way to a cell less S is the
    # smallest of all ways into the row so far, each less S where it entered.
    for i in range(n):
        spent = np.r_[0.0, np.cumsum(cost[i])]
        entering = np.minimum(above[:-1], above[1:]) - spent[:-1]
        best = np.minimum.accumulate(entering)
        stays = np.r_[False, best[:-1] <= entering[1:]]
        step[i] = np.where(stays, _NEXT_FRAME, np.where(above[:-1] <= above[1:], _DIAGONAL, _NEXT_ROW))
        above = np.r_[np.inf, best + spent[1:]]
    step[0, 1:] = _NEXT_FRAME
    path = [(n - 1, m - 1)]
    i, j = n - 1, m - 1
    while i > 0 or j > 0:
        taken = step[i, j]
        i -= int(taken != _NEXT_FRAME)
        j -= int(taken != _NEXT_ROW)
        path.append((i, j))
    rows, times = np.array(path[::-1], np.int64).T
    return rows, times


def merge_marks(words: list[TimedWord]) -> list[TimedWord]:
    """Punctuation joined to the word it belongs to; the word keeps its own times and probability."""
    out: list[TimedWord] = []
    opening = ""
    for word in words:
        mark = word.text.strip()
        if out and not opening and not out[-1].text.endswith(" ") and word.text in APPENDED:
            before = out[-1]
            out[-1] = TimedWord(before.text + word.text, before.start, before.end, before.probability)
        elif mark and word.text.startswith(" ") and mark in PREPENDED:
            opening += word.text
        else:
            out.append(TimedWord(opening + word.text, word.start, word.end, word.probability))
            opening = ""
    if opening:
        out.append(TimedWord(opening, words[-1].start, words[-1].end, words[-1].probability))
    return out
