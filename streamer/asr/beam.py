"""Beam search over tokens: which texts are worth going on with, and which of the finished ones is the best.

As openai-whisper's `BeamSearchDecoder` and `MaximumLikelihoodRanker` (patience: Kasai et al. 2022; length
penalty: Wu et al. 2016), without the network, which is whoever asks. What differs: what no rule allows is
never taken up, and a text that repeats itself is not gone on with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Choice:
    """A token that a text may go on with: its score (what is searched by) and its log-probability."""

    token: int
    score: float
    logprob: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text: its tokens, without the end of the text, and the log-probability of each.

    score: sum over all choices, the end's included. rows: in which row of the batch each choice was made.
    end: log-probability of the end that was chosen; None where the text is not finished.
    """

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    score: float = 0.0
    rows: tuple[int, ...] = ()
    end: float | None = None


class Beam:
    """`size` texts, each a row of a batch: begins with the empty one.

    end: the token that ends a text. patience: so many times `size` texts have to be finished. length_penalty:
    of Wu et al., 0 to 1; None divides by the length. repeats: whether tokens have begun to repeat themselves.
    """

    def __init__(
        self,
        size: int,
        end: int,
        patience: float = 1.0,
        length_penalty: float | None = None,
        repeats: Callable[[Sequence[int]], bool] = lambda _: False,
    ) -> None:
        self._size, self._end, self._length_penalty = size, end, length_penalty
        self._wanted = max(1, round(size * patience))
        self._repeats = repeats
        self.live = [Candidate()]
        self.finished: list[Candidate] = []
        self._dropped: list[Candidate] = []

    @property
    def done(self) -> bool:
        """Whether enough texts are finished, or none is left to go on with."""
        return len(self.finished) >= self._wanted or not self.live

    def grow(self, choices: Sequence[Iterable[Choice]]) -> list[int]:
        """Go on with the best of what each live text may go on with, at least `size` + 1 of them.

        Returns the row that each live text now continues.
        """
        longer = [
            (row, text, choice)
            for row, (text, some) in enumerate(zip(self.live, choices, strict=True))
            for choice in some
            if choice.score > -math.inf
        ]
        longer.sort(key=lambda one: -(one[1].score + one[2].score))
        live: list[Candidate] = []
        for row, text, choice in longer:
            score, rows = text.score + choice.score, (*text.rows, row)
            if choice.token == self._end:
                if len(self.finished) < self._wanted:
                    self.finished.append(Candidate(text.tokens, text.logprobs, score, rows, choice.logprob))
                continue
            tokens = (*text.tokens, choice.token)
            one = Candidate(tokens, (*text.logprobs, choice.logprob), score, rows)
            if self._repeats(tokens):
                self._dropped.append(one)
                continue
            live.append(one)
            if len(live) == self._size:
                break
        self.live = live
        return [one.rows[-1] for one in live]

    def best(self) -> Candidate:
        """The best text: of the finished ones and, where those are fewer than `size`, of the best others."""
        missing = max(0, self._size - len(self.finished))
        unfinished = sorted(self.live, key=lambda one: -one.score)[:missing]
        return max([*self.finished, *unfinished] or self._dropped, key=self._rank)

    def _rank(self, one: Candidate) -> float:
        length = max(1, len(one.tokens))
        if self._length_penalty is None:
            return one.score / length
        return one.score / float(((5 + length) / 6) ** self._length_penalty)
