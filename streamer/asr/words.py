"""Words with times, from where the decoder's alignment heads looked when it chose each token.

The method is openai-whisper's `timing.find_alignment`, on the attention that decoding left behind
instead of another pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from streamer.asr.decode import Decoded
from streamer.asr.tokenizer import Tokenizer

MEDIAN_WIDTH = 7
"""Frames of the median filter over each head's attention."""
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


def alignment_matrix(attention: NDArray[np.float32]) -> NDArray[np.float64]:
    """Attention (heads, rows, T) to one matrix (rows, T): how much each row stands out at each frame."""
    weights = attention.astype(np.float64)
    # Over the audio alone: what went to the padding is taken out, as if it had not been there.
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-12)
    spread = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-12)
    matrix: NDArray[np.float64] = median_filter(weights).mean(axis=0)
    return matrix


def median_filter(x: NDArray[np.float64], width: int = MEDIAN_WIDTH) -> NDArray[np.float64]:
    """Running median over the last axis, mirrored at the ends; what is too short to mirror stays as it is."""
    side = width // 2
    if x.shape[-1] <= side:
        return x
    padded = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(side, side)], mode="reflect")
    median: NDArray[np.float64] = np.median(sliding_window_view(padded, width, axis=-1), axis=-1)
    return median


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
    total = np.full((n + 1, m + 1), np.inf, np.float32)
    total[0, 0] = 0
    step = np.full((n + 1, m + 1), _NEXT_FRAME, np.int8)
    # Cells of one anti-diagonal depend on the two before it only: a diagonal at a time, not a cell.
    for diagonal in range(2, n + m + 1):
        i = np.arange(max(1, diagonal - m), min(n, diagonal - 1) + 1)
        j = diagonal - i
        across, down, along = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        way = np.where((across < down) & (across < along), _DIAGONAL, _NEXT_FRAME)
        way = np.where((down < across) & (down < along), _NEXT_ROW, way)
        way = np.where((across == down) & (across < along), _DIAGONAL, way)
        step[i, j] = way
        total[i, j] = cost[i - 1, j - 1] + np.choose(way, (across, down, along))
    step[0, :], step[:, 0] = _NEXT_FRAME, _NEXT_ROW
    path = []
    i_now, j_now = n, m
    while i_now > 0 or j_now > 0:
        path.append((i_now - 1, j_now - 1))
        taken = step[i_now, j_now]
        i_now -= int(taken != _NEXT_FRAME)
        j_now -= int(taken != _NEXT_ROW)
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
