"""How the text of an utterance that goes on becomes stable.

LocalAgreement (Liu et al. 2020, Macháček et al. 2023): what the last n hypotheses have in common will
not change. Stable tokens are the forced prefix of every later decode, the final's included, so that
they cannot.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from streamer.asr.tokenizer import Tokenizer
from streamer.config import LiveConfig

MOST_TOKENS = 200
"""Tokens that may become stable in one utterance: a prefix has to leave room in the text context."""


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

    def hypothesis(self, tokens: Sequence[int], language: str | None = None) -> None:
        """Take the tokens of the next partial, decoded with `committed` as its prefix."""
        ...

    def reset(self) -> None:
        """Another utterance begins."""
        ...


class Nothing:
    """Nothing is stable before the final."""

    committed: tuple[int, ...] = ()
    stable = ""

    def hypothesis(self, tokens: Sequence[int], language: str | None = None) -> None:
        """Ignore it."""

    def reset(self) -> None:
        """Nothing to forget."""


class Agreement:
    """LocalAgreement over whole words: those that `agree` hypotheses in a row share, never their last."""

    def __init__(self, tokenizer: Tokenizer, agree: int = 2) -> None:
        if agree < 2:
            raise ValueError(f"agreement needs at least 2 hypotheses, found {agree}")
        self._tokenizer = tokenizer
        self._recent: deque[tuple[int, ...]] = deque(maxlen=agree)
        self._committed: tuple[int, ...] = ()

    @property
    def committed(self) -> tuple[int, ...]:
        """See Policy."""
        return self._committed

    @property
    def stable(self) -> str:
        """See Policy."""
        return self._tokenizer.decode(self._committed).strip()

    def hypothesis(self, tokens: Sequence[int], language: str | None = None) -> None:
        """See Policy. `language`: the transcript's, for those that do not put spaces between words."""
        text = [token for token in tokens if token < self._tokenizer.eot]
        self._recent.append(tuple(text[: MOST_TOKENS + 1]))
        if len(self._recent) < (self._recent.maxlen or 0):
            return
        shared = _shared(list(self._recent))
        if shared <= len(self._committed) or self._recent[-1][: len(self._committed)] != self._committed:
            return
        ends = set.intersection(*(self._word_ends(hypothesis, language) for hypothesis in self._recent))
        for end in sorted(ends, reverse=True):
            if len(self._committed) < end <= shared and self._is_whole(self._recent[-1][:end]):
                self._committed = self._recent[-1][:end]
                return

    def reset(self) -> None:
        """See Policy."""
        self._recent.clear()
        self._committed = ()

    def _is_whole(self, tokens: tuple[int, ...]) -> bool:
        """Whether no character is left half at the end, for what comes next would complete it."""
        return not self._tokenizer.decode(tokens).endswith("\ufffd")

    def _word_ends(self, tokens: tuple[int, ...], language: str | None) -> set[int]:
        """Where a word ends and another begins: not the last one, which may grow, nor half a character."""
        _, words = self._tokenizer.split_to_word_tokens(tokens, language)
        return set(accumulate(map(len, words[:-1])))


def make_policy(config: LiveConfig, tokenizer: Tokenizer) -> Policy:
    """The policy that the settings name."""
    return Agreement(tokenizer, config.agree) if config.policy == "agreement" else Nothing()


def _shared(hypotheses: list[tuple[int, ...]]) -> int:
    """How many tokens all begin with."""
    count = 0
    for column in zip(*hypotheses, strict=False):
        if len(set(column)) > 1:
            break
        count += 1
    return count
