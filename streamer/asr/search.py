"""Prefix beam search through a CTC branch's output, guided by a model of words.

The acoustic part sums over the alignments of a text (Graves 2012; Hannun et al. 2014). A word is judged by
the word model when the next one begins, and until then by the likeliest word that begins as it does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.asr.hotwords import EXPECTED, Hotwords, Place
from streamer.asr.ngram import END, START, UNKNOWN, Words

BLANK = 0
NEVER = -1e30
SPACE = b" "


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How a search weighs, and how far it looks. Scores are natural logarithms.

    weight: of the word model's. bonus: for every word, without which the model would favour few. unknown: for
    a word that is not in the model. width: hypotheses kept after a frame, none of them further than `margin`
    behind the best. Where blank is likelier than `silent` nothing else is tried; elsewhere, `pieces` at most
    and none further than `reach` behind the frame's best.
    """

    weight: float = 0.4
    bonus: float = 2.0
    unknown: float = -12.0
    width: int = 16
    margin: float = 8.0
    silent: float = 0.999
    reach: float = 8.0
    pieces: int = 16


@dataclass(frozen=True, slots=True)
class Found:
    """A text: its tokens, the frame and log-probability of each where it was heard best, and its score."""

    tokens: tuple[int, ...]
    frames: tuple[int, ...]
    logprobs: tuple[float, ...]
    score: float


class _Text:
    """The beginning of a text: another one and a piece more.

    words: score of the words that are complete; outlook: of the one that is not; place: in expected phrases
    before it. whole: what the last word is worth if it is complete, once somebody has asked. blank, spoken:
    probability of all alignments so far that end in blank, or in the piece; and the same for the next frame.
    """

    __slots__ = (
        "before", "blank", "frame", "last", "longer", "next_blank", "next_spoken", "open", "outlook",
        "parent", "peak", "piece", "place", "spoken", "whole", "words",
    )  # fmt: skip

    def __init__(
        self, parent: _Text | None, piece: int, before: int, last: int, unfinished: bytes, place: Place | None
    ) -> None:
        self.place = place
        self.parent, self.piece, self.before, self.last, self.open = parent, piece, before, last, unfinished
        self.words = self.outlook = 0.0
        self.blank = self.spoken = self.next_blank = self.next_spoken = self.peak = NEVER
        self.frame = 0
        self.longer: dict[int, _Text] = {}
        self.whole: tuple[int, float, Place | None] | None = None


class Search:
    """Finds the likeliest texts. Remembers nothing from one search to the next."""

    def __init__(
        self,
        model: Words,
        pieces: Sequence[bytes],
        options: SearchOptions | None = None,
        hotwords: Hotwords | None = None,
    ) -> None:
        """`pieces`: the bytes of each token; one that begins a word begins with a space."""
        self._model, self._pieces, self._hotwords = model, pieces, hotwords
        self._options = options or SearchOptions()
        self._begins = [piece.startswith(SPACE) for piece in pieces]
        self._spaced = any(self._begins)

    def find(
        self,
        logprobs: NDArray[np.float32],
        n: int = 1,
        prefix: Sequence[int] = (),
        prefix_frames: Sequence[int] = (),
        ended: bool = True,
    ) -> list[Found]:
        """The `n` best texts in (T, 1 + pieces) log-probabilities, blank first, piece i being token i - 1.

        All begin with `prefix`, heard at its frames; the search goes on behind them with another word.
        `ended`: the audio has ended, and so has the last word.
        """
        begun = self._begin(logprobs, prefix, prefix_frames)
        active = [begun]
        whole = begun if prefix and self._spaced else None
        silent = math.log(self._options.silent)
        blanks = logprobs[:, BLANK].tolist()
        for frame in range(prefix_frames[-1] + 1 if prefix_frames else 0, len(logprobs)):
            blank = blanks[frame]
            if blank > silent:
                for text in active:
                    text.blank, text.spoken = _sum(text.blank, text.spoken) + blank, NEVER
            else:
                active = self._advance(active, logprobs[frame], blank, frame, whole)
        ranked = sorted(((self._score(text, ended), text) for text in active), key=lambda x: -x[0])
        return [_trace(text, score) for score, text in ranked[:n]]

    def _begin(self, logprobs: NDArray[np.float32], prefix: Sequence[int], frames: Sequence[int]) -> _Text:
        text = _Text(None, -1, START, START, b"", self._hotwords.start if self._hotwords else None)
        for token, frame in zip(prefix, frames, strict=True):
            text = self._longer(text, token)
            text.frame, text.peak = frame, float(logprobs[frame, token + 1])
        if prefix:
            text.spoken = 0.0
        else:
            text.blank = 0.0
        return text

    def _advance(
        self, active: list[_Text], row: NDArray[np.float32], blank: float, frame: int, whole: _Text | None
    ) -> list[_Text]:
        """The texts worth keeping after one more frame. `whole`: the one whose last word may not grow."""
        o = self._options
        tried = self._candidates(row)
        reached: dict[_Text, None] = dict.fromkeys(active)
        # What stays below this is not kept: it rises with the best text so far, and likely ones come first.
        least = max(_sum(t.blank, t.spoken) + t.words + t.outlook for t in active) + blank - o.margin
        for text in active:
            either = _sum(text.blank, text.spoken)
            text.next_blank = _sum(text.next_blank, either + blank)
            if text.piece >= 0:
                text.next_spoken = _sum(text.next_spoken, text.spoken + float(row[text.piece + 1]))
            most = self._most(text)
            for piece, logprob in tried:
                # The same piece twice needs a blank between.
                heard = (text.blank if piece == text.piece else either) + logprob
                begins = self._begins[piece]
                if heard < NEVER / 2 or (text is whole and not begins):
                    continue
                longer = text.longer.get(piece)
                if longer is None:
                    if heard + most[begins] < least and not self._expects(text, piece):
                        continue
                    longer = self._longer(text, piece)
                longer.next_spoken = _sum(longer.next_spoken, heard)
                least = max(least, longer.next_spoken + longer.words + longer.outlook - o.margin)
                if logprob > longer.peak:
                    longer.peak, longer.frame = logprob, frame
                reached[longer] = None
        scored = []
        for text in reached:
            text.blank, text.spoken = text.next_blank, text.next_spoken
            text.next_blank = text.next_spoken = NEVER
            scored.append((_sum(text.blank, text.spoken) + text.words + text.outlook, text))
        scored.sort(key=lambda x: -x[0])
        worst = scored[0][0] - o.margin
        kept = [text for score, text in scored[: o.width] if score > worst]
        for _, text in scored[len(kept) :]:
            text.blank = text.spoken = NEVER
        return kept

    def _candidates(self, row: NDArray[np.float32]) -> list[tuple[int, float]]:
        o = self._options
        pieces = row[1:]
        if len(pieces) > o.pieces:
            best = np.argpartition(pieces, -o.pieces)[-o.pieces :]
        else:
            best = np.arange(len(pieces))
        found = list(zip(best.tolist(), pieces[best].tolist(), strict=True))
        least = float(row.max()) - o.reach
        return sorted((one for one in found if one[1] > least), key=lambda one: -one[1])

    def _most(self, text: _Text) -> tuple[float, float]:
        """What the words of a text with a piece more score at most: where a word goes on, where one begins.

        So hundreds of texts that would not be kept are never made. Expected words may score more.
        """
        o = self._options
        fresh = max(0.0, o.unknown) + o.bonus
        if not text.open:
            return text.words + fresh, text.words + fresh
        _, word, _ = self._word(text)
        return text.words + max(text.outlook, o.unknown + o.bonus), text.words + word + fresh

    def _expects(self, text: _Text, piece: int) -> bool:
        """Whether a text with a piece more is on its way to an expected word."""
        if self._hotwords is None:
            return False
        letters, place = self._pieces[piece], text.place
        if self._begins[piece] and text.open:
            place, unfinished = self._word(text)[2], letters[1:]
        else:
            unfinished = text.open + letters.removeprefix(SPACE)
        return place is not None and self._hotwords.outlook(place, unfinished) is not None

    def _longer(self, text: _Text, piece: int) -> _Text:
        """The text with a piece more, made on first use and kept."""
        letters = self._pieces[piece]
        if letters.startswith(SPACE) and text.open:
            word, score, place = self._word(text)
            longer = _Text(text, piece, text.last, word, letters[1:], place)
            longer.words = text.words + score
        else:
            unfinished = text.open + letters.removeprefix(SPACE)
            longer = _Text(text, piece, text.before, text.last, unfinished, text.place)
            longer.words = text.words
        longer.outlook = self._outlook(longer.open, longer.place)
        text.longer[piece] = longer
        return longer

    def _word(self, text: _Text) -> tuple[int, float, Place | None]:
        """The last word as complete: its id, its score after the two before it, and where it leads."""
        if text.whole is None:
            text.whole = self._judged(text)
        return text.whole

    def _judged(self, text: _Text) -> tuple[int, float, Place | None]:
        o = self._options
        word = self._model.id(text.open)
        known = word != UNKNOWN
        score = o.weight * self._model.score(text.before, text.last, word) if known else o.unknown
        place = text.place
        if self._hotwords is not None and place is not None:
            place, change, expected = self._hotwords.word(place, text.open)
            score = max(score, o.weight * EXPECTED if expected else score) + change
        return word, score + o.bonus, place

    def _outlook(self, unfinished: bytes, place: Place | None) -> float:
        if not unfinished:
            return 0.0
        o = self._options
        likeliest = self._model.likeliest(unfinished)
        score = o.unknown if likeliest is None else o.weight * likeliest
        if self._hotwords is not None and place is not None:
            more = self._hotwords.outlook(place, unfinished)
            score = score if more is None else max(score, o.weight * EXPECTED + more)
        return score + o.bonus

    def _score(self, text: _Text, ended: bool) -> float:
        score = _sum(text.blank, text.spoken) + text.words
        if not ended:
            return score + text.outlook
        before, last = text.before, text.last
        place = text.place
        if text.open:
            word, more, place = self._word(text)
            score, before, last = score + more, last, word
        score -= place.owed if place is not None else 0.0
        return score + self._options.weight * self._model.score(before, last, END)


def _sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a + math.log1p(math.exp(b - a)) if a - b < 40 else a


def sure(found: Sequence[Found], doubt: float) -> int:
    """How many tokens all texts begin with whose scores are at most `doubt` behind that of the first."""
    likely = [text.tokens for text in found if text.score >= found[0].score - doubt]
    shared = itertools.takewhile(lambda column: len(set(column)) == 1, zip(*likely, strict=False))
    return sum(1 for _ in shared)


def _trace(text: _Text, score: float) -> Found:
    tokens, frames, logprobs = [], [], []
    latest = text.frame
    while text.parent is not None:
        latest = min(latest, text.frame)
        tokens.append(text.piece)
        frames.append(latest)
        logprobs.append(text.peak)
        text = text.parent
    return Found(tuple(tokens[::-1]), tuple(frames[::-1]), tuple(logprobs[::-1]), score)
