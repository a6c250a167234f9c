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
IMPOSSIBLE = NEVER / 2
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
    kept: whether it is gone on with. most: see `Search._most`. faint: pieces behind it that were too unlikely
    to make a text, and where they were heard best.
    """

    __slots__ = (
        "before", "blank", "faint", "frame", "kept", "last", "longer", "most", "next_blank", "next_spoken",
        "open", "outlook", "parent", "peak", "piece", "place", "spoken", "whole", "words",
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
        self.faint: dict[int, tuple[float, int]] = {}
        self.kept = False
        self.most: tuple[float, float] | None = None
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
        first = prefix_frames[-1] + 1 if prefix_frames else 0
        silent = math.log(self._options.silent)
        blanks = logprobs[first:, BLANK].tolist()
        loud = [first + i for i, blank in enumerate(blanks) if blank <= silent]
        candidates = dict(zip(loud, self._candidates(logprobs[loud]), strict=True))
        for frame, blank in enumerate(blanks, first):
            tried = candidates.get(frame)
            if tried is not None:
                active = self._advance(active, logprobs[frame], blank, tried, frame, whole)
                continue
            for text in active:
                text.blank, text.spoken = _sum(text.blank, text.spoken) + blank, NEVER
        ranked = sorted(((self._score(text, ended), text) for text in active), key=lambda x: -x[0])
        found = [_trace(text, score) for score, text in ranked[:n]]
        _forget(begun)
        return found

    def _begin(self, logprobs: NDArray[np.float32], prefix: Sequence[int], frames: Sequence[int]) -> _Text:
        text = _Text(None, -1, START, START, b"", self._hotwords.start if self._hotwords else None)
        for token, frame in zip(prefix, frames, strict=True):
            longer = self._longer(text, token)
            assert longer is not None
            text = longer
            text.frame, text.peak = frame, float(logprobs[frame, token + 1])
        if prefix:
            text.spoken = 0.0
        else:
            text.blank = 0.0
        return text

    def _advance(
        self,
        active: list[_Text],
        row: NDArray[np.float32],
        blank: float,
        tried: list[tuple[int, float]],
        frame: int,
        whole: _Text | None,
    ) -> list[_Text]:
        """The texts worth keeping after one more frame. `whole`: the one whose last word may not grow."""
        begins, margin = self._begins, self._options.margin
        eithers = [_sum(text.blank, text.spoken) for text in active]
        # What stays below this is not kept: it rises with the best text so far, and likely ones come first.
        best = max(either + t.words + t.outlook for either, t in zip(eithers, active, strict=True))
        least = best + blank - margin
        fresh: list[tuple[float, _Text]] = []
        for text, either in zip(active, eithers, strict=True):
            text.next_blank = either + blank
            if text.piece >= 0:
                text.next_spoken = _sum(text.next_spoken, text.spoken + row.item(text.piece + 1))
            if text.most is None:
                text.most = self._most(text)
            most, children, faint, is_whole = text.most, text.longer, text.faint, text is whole
            for piece, logprob in tried:
                # The same piece twice needs a blank between.
                heard = (text.blank if piece == text.piece else either) + logprob
                if heard < IMPOSSIBLE or (is_whole and not begins[piece]):
                    continue
                longer = children.get(piece)
                if longer is None:
                    if heard + most[begins[piece]] < least:
                        continue
                    longer = self._longer(text, piece, least - heard)
                    if longer is None:
                        if piece not in faint or logprob > faint[piece][0]:
                            faint[piece] = logprob, frame
                        continue
                if logprob > longer.peak:
                    longer.peak, longer.frame = logprob, frame
                longer.next_spoken = _sum(longer.next_spoken, heard) if longer.kept else heard
                score = longer.next_spoken + longer.words + longer.outlook
                if not longer.kept:
                    fresh.append((score, longer))
                if score - margin > least:
                    least = score - margin
        scored = [(_sum(t.next_blank, t.next_spoken) + t.words + t.outlook, t) for t in active] + fresh
        return self._best(scored)

    def _best(self, scored: list[tuple[float, _Text]]) -> list[_Text]:
        """Those that are kept of all that were reached; the next frame is theirs."""
        o = self._options
        worst = max(score for score, _ in scored) - o.margin
        ranked = sorted((one for one in scored if one[0] > worst), key=lambda x: -x[0])
        for _, text in scored:
            text.kept = False
        kept = [text for _, text in ranked[: o.width]]
        for text in kept:
            text.kept = True
            text.blank, text.spoken = text.next_blank, text.next_spoken
        for _, text in scored:
            text.next_blank = text.next_spoken = NEVER
        return kept

    def _candidates(self, rows: NDArray[np.float32]) -> list[list[tuple[int, float]]]:
        """Of each frame (n, 1 + pieces) the pieces that are tried, the likeliest first."""
        o = self._options
        likely = rows[:, 1:] > rows.max(1, keepdims=True, initial=NEVER).astype(np.float64) - o.reach
        frames, pieces = likely.nonzero()
        logprobs = rows[frames, pieces + 1]
        order = np.lexsort((-logprobs, frames))
        found = list(zip(pieces[order].tolist(), logprobs[order].tolist(), strict=True))
        ends = itertools.accumulate(likely.sum(1).tolist(), initial=0)
        return [found[first : min(first + o.pieces, end)] for first, end in itertools.pairwise(ends)]

    def _most(self, text: _Text) -> tuple[float, float]:
        """What the words of a text with a piece more score at most: where a word goes on, where one begins.

        So hundreds of texts that would not be kept are never made. Expected words may score more.
        """
        o = self._options
        if self._hotwords is not None:
            return math.inf, math.inf
        fresh = max(0.0, o.unknown) + o.bonus
        if not text.open:
            return text.words + fresh, text.words + fresh
        _, word, _ = self._word(text)
        return text.words + max(text.outlook, o.unknown + o.bonus), text.words + word + fresh

    def _longer(self, text: _Text, piece: int, least: float = -math.inf) -> _Text | None:
        """The text with a piece more, kept for later; None where its words score less than `least`."""
        letters, place = self._pieces[piece], text.place
        before, last, words = text.before, text.last, text.words
        if self._begins[piece] and text.open:
            before = last
            last, score, place = self._word(text)
            words, unfinished = words + score, letters[1:]
        else:
            unfinished = text.open + letters.removeprefix(SPACE)
        outlook = self._outlook(unfinished, place)
        if words + outlook < least:
            return None
        longer = text.longer[piece] = _Text(text, piece, before, last, unfinished, place)
        longer.words, longer.outlook = words, outlook
        if piece in text.faint:
            longer.peak, longer.frame = text.faint[piece]
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


def _forget(text: _Text) -> None:
    """Take the tree apart that a text is in: cycles wait for a collector, which took a third of the time."""
    while text.parent is not None:
        text = text.parent
    texts = [text]
    while texts:
        text = texts.pop()
        texts += text.longer.values()
        text.longer.clear()
