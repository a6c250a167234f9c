"""Words from a CTC branch: the best path, or the best text a search finds, with the time of every piece.

Where a model's attention decoder is weaker than its CTC branch, its definition says so and this gives
the text. Nothing is fed back, so what was said cannot make it hallucinate, and every piece has the
frame it was heard in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.evidence import weigh
from streamer.asr.search import Found
from streamer.asr.tokenizer import Tokenizer
from streamer.asr.words import TimedWord

BLANK = 0

TAIL = 10
"""Frames (200 ms) that a word is taken to last at most after its last piece was heard."""


Finder = Callable[[NDArray[np.float32], Sequence[int], Sequence[int], bool], tuple[Found, int]]
"""A search: log-probabilities (T, 1 + pieces), prefix, its frames, whether the audio has ended.

What it found, and how many of its tokens every likely reading begins with.
"""


@dataclass(frozen=True, slots=True)
class CtcPath:
    """A transcript and the frame of each of its tokens, prefix included."""

    decoded: Decoded
    frames: tuple[int, ...]


def decode_ctc(
    logprobs: NDArray[np.float32],
    tokenizer: Tokenizer,
    options: DecodeOptions,
    prefix_frames: Sequence[int] = (),
    search: Finder | None = None,
) -> CtcPath:
    """The text in log-probabilities (T, 1 + pieces), blank first, piece i being token i - 1.

    It is the greedy path, or what `search` finds.

    `options.prefix` is kept as it is. Where the path begins with it, it is followed; else the prefix was
    heard at `prefix_frames`, of an earlier pass, and the path goes on behind them.
    `no_speech_prob` is how sure the branch is of hearing nothing where it is least sure.
    """
    best, path = logprobs.max(-1).tolist(), logprobs.argmax(-1).tolist()
    prefix = tuple(options.prefix)
    if len(prefix) != len(prefix_frames):
        raise ValueError(
            f"expected a frame for each of {len(prefix)} prefix tokens, found {len(prefix_frames)}"
        )
    tokens, frames = _collapse(path, 0, BLANK)
    if tuple(tokens[: len(prefix)]) != prefix:
        # This audio may end before that of the earlier pass did.
        known = [min(frame, max(0, len(path) - 1)) for frame in prefix_frames]
        # The prefix's last piece may go on for some frames: that is no repetition.
        tokens, frames = _collapse(path, known[-1] + 1, prefix[-1] + 1)
        tokens, frames = [*prefix, *tokens], [*known, *frames]
    chosen = [best[frame] for frame in frames] if path else [0.0] * len(frames)
    sure = None
    if search is not None and path:
        known = frames[: len(prefix)]
        found, sure = search(logprobs, prefix, known, options.ended)
        tokens, frames, chosen = list(found.tokens), list(found.frames), list(found.logprobs)
    sampled = chosen[len(prefix) :]
    decoded = Decoded(
        tokens=tuple(tokens),
        prefix_length=len(options.prefix),
        text=tokenizer.decode(tokens).strip(),
        logprobs=np.array(chosen, np.float32),
        avg_logprob=sum(sampled) / len(sampled) if sampled else 0.0,
        no_speech_prob=float(np.exp(logprobs[:, BLANK].min())) if path else 1.0,
        language=options.language or "en",
        language_prob=1.0,
        attention=np.zeros((0, 0, len(path)), np.float32),
        attention_start=0,
        reached_limit=False,
        broke_loop=False,
        sure=sure,
        evidence=weigh(logprobs, tokens) if path else None,
    )
    return CtcPath(decoded, tuple(frames))


def _collapse(path: Sequence[int], first: int, previous: int) -> tuple[list[int], list[int]]:
    """Tokens and frames of a path from frame `first` on, `previous` being the piece before it."""
    tokens, frames = [], []
    for frame in range(first, len(path)):
        if path[frame] not in (BLANK, previous):
            tokens.append(path[frame] - 1)
            frames.append(frame)
        previous = path[frame]
    return tokens, frames


def ctc_words(path: CtcPath, tokenizer: Tokenizer, frames: int, late: int = 0) -> list[TimedWord]:
    """Words and their frames, for audio of so many: each begins `late` before its first piece was heard.

    It ends where the next begins, and some frames after its last piece at the latest.
    """
    texts, groups = tokenizer.split_to_word_tokens(path.decoded.tokens)
    words: list[TimedWord] = []
    first = end = 0
    begun = [max(0, frame - late) for frame in path.frames]
    for text, group in zip(texts, groups, strict=True):
        after = first + len(group)
        start = max(begun[first], end)
        following = begun[after] if after < len(begun) else frames
        end = max(start + 1, min(path.frames[after - 1] + TAIL, following, frames))
        probability = float(np.exp(path.decoded.logprobs[first:after]).mean())
        if text.strip():
            words.append(TimedWord(text.strip(), start, end, probability))
        first = after
    return words
