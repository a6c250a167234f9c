"""How the text of an utterance that goes on becomes stable.

AlignAtt (Papi et al. 2023): what was heard some way before the end of the audio will not change. A decoder
says where it heard a token by its attention (`asr.attended`), and stops there by itself; a CTC branch by
the frame in which it wrote it. LocalAgreement (Liu et al. 2020, Macháček et al. 2023): what the last n
hypotheses have in common will not change, which needs a pass more.

Where a search finds other texts nearly as likely, AlignAtt waits for what comes next, but not for long.

Stable tokens are the forced prefix of every later decode, the final's included, so that they cannot
change. Only whole words become stable: one is whole where another begins behind it. What was heard longer
ago than the largest lag becomes stable in any case, so that nothing waits for hypotheses that never agree.
Words that were just heard are not even shown: they may be halves.
What each costs in lag and in wrong words was measured: docs/captions.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from streamer.asr.tokenizer import Tokenizer
from streamer.config import LiveConfig
from streamer.timebase import FRAMES_PER_SECOND

MOST_TOKENS = 200
"""Tokens that may become stable in one utterance: a prefix has to leave room in the text context."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a partial pass found.

    tokens: committed ones first. frames: where each was heard; empty where nobody tells. heard: frames of
    audio. beyond: the next token, where the decoder dropped it for being too close to the end. sure: how many
    tokens every likely reading begins with; None where nobody tells.
    """

    tokens: Sequence[int]
    frames: Sequence[int] = ()
    heard: int = 0
    language: str | None = None
    beyond: int | None = None
    sure: int | None = None


class Policy(Protocol):
    """Fed with the hypotheses of one utterance, oldest first."""

    @property
    def committed(self) -> tuple[int, ...]:
        """Tokens that every later decode of the utterance has to begin with."""
        ...

    @property
    def stable(self) -> str:
        """Their text: every later text of the utterance begins with it."""
        ...

    def hypothesis(self, found: Hypothesis) -> None:
        """Take the next partial, decoded with `committed` as its prefix."""
        ...

    def reset(self) -> None:
        """Another utterance begins."""
        ...


class Nothing:
    """Nothing is stable before the final."""

    committed: tuple[int, ...] = ()
    stable = ""

    def hypothesis(self, found: Hypothesis) -> None:
        """Ignore it."""

    def reset(self) -> None:
        """Nothing to forget."""


class _ByWords:
    """What policies share that let whole words become stable."""

    def __init__(self, tokenizer: Tokenizer, longest_lag: int) -> None:
        self._tokenizer = tokenizer
        self._longest_lag = longest_lag
        self._committed: tuple[int, ...] = ()

    @property
    def committed(self) -> tuple[int, ...]:
        """See Policy."""
        return self._committed

    @property
    def stable(self) -> str:
        """See Policy."""
        return self._tokenizer.decode(self._committed).strip()

    def reset(self) -> None:
        """See Policy."""
        self._committed = ()

    def _text(self, found: Hypothesis) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens that are text, and their frames."""
        kept = [i for i, token in enumerate(found.tokens) if token < self._tokenizer.eot][: MOST_TOKENS + 1]
        frames = found.frames if len(found.frames) == len(found.tokens) else ()
        return tuple(found.tokens[i] for i in kept), tuple(frames[i] for i in kept if frames)

    def _commit(self, tokens: tuple[int, ...], most: int, ends: Iterable[int]) -> None:
        """Take in the longest beginning of at most `most` tokens that ends a word and no half character.

        Only what goes on from the stable tokens: a decoder that forgot its prefix takes nothing back.
        """
        if tokens[: len(self._committed)] != self._committed:
            return
        for end in sorted(ends, reverse=True):
            if end <= len(self._committed):
                return
            if end <= min(most, MOST_TOKENS) and not self._tokenizer.decode(tokens[:end]).endswith("\ufffd"):
                self._committed = tokens[:end]
                return

    def _word_ends(self, tokens: tuple[int, ...], language: str | None) -> set[int]:
        """Where a word ends and another begins: not the last one, which may grow, nor half a character."""
        _, words = self._tokenizer.split_to_word_tokens(tokens, language)
        return set(accumulate(map(len, words[:-1])))

    def _force(self, tokens: tuple[int, ...], frames: tuple[int, ...], found: Hypothesis) -> None:
        """What was heard longer ago than the largest lag is stable, the last word too."""
        ends = self._word_ends(tokens, found.language) | {len(tokens)}
        self._commit(tokens, _before(frames, found.heard - self._longest_lag), ends)


class AlignAtt(_ByWords):
    """Words of which every token was heard more than `margin` frames before the end of the audio.

    Where other readings are nearly as likely, only what they share, or was heard more than `patience` frames
    before the end.
    """

    def __init__(self, tokenizer: Tokenizer, margin: int, longest_lag: int, patience: int = 70) -> None:
        """All in frames."""
        super().__init__(tokenizer, longest_lag)
        self._margin, self._patience = margin, patience

    def hypothesis(self, found: Hypothesis) -> None:
        """See Policy."""
        tokens, frames = self._text(found)
        # The token that the decoder dropped tells that a word begins with it, or goes on.
        beyond = () if found.beyond is None else (found.beyond,)
        ends = self._word_ends((*tokens, *beyond), found.language)
        most = _before(frames, found.heard - self._margin)
        if found.sure is not None:
            most = min(most, max(found.sure, _before(frames, found.heard - self._patience)))
        self._commit(tokens, most, ends)
        self._force(tokens, frames, found)


class Agreement(_ByWords):
    """LocalAgreement over whole words: those that `agree` hypotheses in a row share, never their last."""

    def __init__(self, tokenizer: Tokenizer, agree: int = 2, longest_lag: int = 300) -> None:
        if agree < 2:
            raise ValueError(f"agreement needs at least 2 hypotheses, found {agree}")
        super().__init__(tokenizer, longest_lag)
        self._recent: deque[tuple[int, ...]] = deque(maxlen=agree)

    def hypothesis(self, found: Hypothesis) -> None:
        """See Policy."""
        tokens, frames = self._text(found)
        self._recent.append(tokens)
        if len(self._recent) == self._recent.maxlen:
            ends = set.intersection(*(self._word_ends(one, found.language) for one in self._recent))
            self._commit(tokens, _shared(list(self._recent)), ends)
        self._force(tokens, frames, found)

    def reset(self) -> None:
        """See Policy."""
        super().reset()
        self._recent.clear()


def shown(tokenizer: Tokenizer, found: Hypothesis, tail: int) -> tuple[int, ...]:
    """The tokens of a hypothesis without the words that were heard in the last `tail` frames.

    Such a word may be half of one that is not over. All where nobody tells what was heard when.
    """
    tokens = tuple(found.tokens)
    if len(found.frames) != len(tokens):
        return tokens
    most = _before(found.frames, found.heard - tail)
    _, words = tokenizer.split_to_word_tokens(tokens, found.language)
    return tokens[: max((end for end in accumulate(map(len, words)) if end <= most), default=0)]


def make_policy(config: LiveConfig, tokenizer: Tokenizer) -> Policy:
    """The policy that the settings name."""
    longest = to_frames(config.longest_lag)
    if config.policy == "alignatt":
        return AlignAtt(tokenizer, to_frames(config.margin), longest, to_frames(config.patience))
    return Agreement(tokenizer, config.agree, longest) if config.policy == "agreement" else Nothing()


def to_frames(seconds: float) -> int:
    """Whole frames of the encoder."""
    return round(seconds * FRAMES_PER_SECOND)


def _before(frames: Sequence[int], frame: int) -> int:
    """How many tokens from the first on were all heard before a frame."""
    return next((i for i, at in enumerate(frames) if at >= frame), len(frames))


def _shared(hypotheses: list[tuple[int, ...]]) -> int:
    """How many tokens all begin with."""
    count = 0
    for column in zip(*hypotheses, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count
