"""The beam search against summing over every alignment of every text."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.hotwords import LETTER, Hotwords
from streamer.asr.ngram import END, START, UNKNOWN, AnyWords, WordModel
from streamer.asr.search import Search, SearchOptions, sure
from streamer.training.ngrams import NgramConfig, estimate

PIECES = [b" a", b" b", b"b", b"c"]
MODEL = WordModel.of(
    estimate([("a b ab abc b a", 2), ("a ab b", 1), ("b bc a ab", 1)], NgramConfig(100, 1, 1))
)
WIDE = SearchOptions(width=5000, margin=1e6, reach=1e6, silent=1.0, pieces=4)


def logprobs(seed: int, frames: int, sharpness: float = 1.5) -> np.ndarray:
    values = sharpness * np.random.default_rng(seed).standard_normal((frames, 1 + len(PIECES)))
    return (values - np.log(np.exp(values).sum(1, keepdims=True))).astype(np.float32)


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(p - 1 for p, _ in itertools.groupby(path) if p)


def word_score(tokens: tuple[int, ...], o: SearchOptions) -> float:
    """The words of a text one after another, and its end."""
    text = b"".join(PIECES[t] for t in tokens)
    words = text.removeprefix(b" ").split(b" ") if text else []
    before, last, total = START, START, 0.0
    for word in words:
        i = MODEL.id(word)
        known = o.weight * MODEL.score(before, last, i) if i != UNKNOWN else o.unknown
        total += known + o.bonus
        before, last = last, i
    return total + o.weight * MODEL.score(before, last, END)


def beginning(texts: Sequence[tuple[int, ...]]) -> list[int]:
    """What all begin with."""
    columns = zip(*texts, strict=False)
    return [column[0] for column in itertools.takewhile(lambda c: len(set(c)) == 1, columns)]


def every_text(lp: np.ndarray, o: SearchOptions) -> dict[tuple[int, ...], float]:
    """Score of every text: the log of the sum over its alignments, and its words'."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(lp.shape[1]), repeat=len(lp)):
        text = collapse(path)
        sums[text] = sums.get(text, 0.0) + math.exp(sum(float(lp[t, p]) for t, p in enumerate(path)))
    return {text: math.log(p) + word_score(text, o) for text, p in sums.items()}


@pytest.mark.parametrize("seed", range(6))
def test_a_search_without_limits_finds_what_trying_everything_finds(seed: int) -> None:
    lp = logprobs(seed, 5)
    expected = sorted(every_text(lp, WIDE).items(), key=lambda x: -x[1])[:5]
    found = Search(MODEL, PIECES, WIDE).find(lp, 5)
    assert [f.tokens for f in found] == [tokens for tokens, _ in expected]
    assert [f.score for f in found] == pytest.approx([score for _, score in expected], abs=1e-4)


def bonus(tokens: tuple[int, ...], boost: float) -> float:
    """Of "bc" and "b a" in a text: for every letter of those that are complete."""
    words = b"".join(PIECES[t] for t in tokens).removeprefix(b" ").split(b" ")
    letters = i = 0
    while i < len(words):
        if words[i : i + 2] == [b"b", b"a"]:
            letters, i = letters + 1, i + 1
        letters += {b"bc": 2, b"a": 1 if i and words[i - 1] == b"b" else 0}.get(words[i], 0)
        i += 1
    return boost * LETTER * letters


@pytest.mark.parametrize("seed", range(4))
def test_expected_phrases_count_for_more_and_half_ones_for_nothing(seed: int) -> None:
    lp, boost = logprobs(seed, 5), 3.0
    scores = {text: score + bonus(text, boost) for text, score in every_text(lp, WIDE).items()}
    expected = sorted(scores.items(), key=lambda x: -x[1])[:5]
    found = Search(MODEL, PIECES, WIDE, Hotwords(["bc", "b a"], boost)).find(lp, 5)
    assert [f.tokens for f in found] == [tokens for tokens, _ in expected]
    assert [f.score for f in found] == pytest.approx([score for _, score in expected], abs=1e-4)


def test_expected_words_are_found_where_every_word_is_as_likely() -> None:
    lp = np.full((3, 5), math.log(1e-4), np.float32)
    lp[0, 1], lp[0, 2], lp[1, 0], lp[2, 4] = math.log(0.5), math.log(0.4), math.log(0.9), math.log(0.9)
    o = SearchOptions(weight=0.0, bonus=0.0, unknown=0.0)
    assert Search(AnyWords(), PIECES, o).find(lp)[0].tokens == (0, 3)
    assert Search(AnyWords(), PIECES, o, Hotwords(["bc"])).find(lp)[0].tokens == (1, 3)


def test_a_word_that_no_model_knows_is_found_where_it_is_expected() -> None:
    lp = np.full((4, 5), math.log(1e-4), np.float32)
    lp[0, 2] = lp[1, 3] = math.log(0.9)  # " b" and "b": "bb" is no word
    lp[2, 0] = lp[3, 0] = math.log(0.9)
    lp[1, 0] = math.log(0.09)
    assert Search(MODEL, PIECES).find(lp)[0].tokens == (1,)
    assert Search(MODEL, PIECES, hotwords=Hotwords(["bb"])).find(lp)[0].tokens == (1, 2)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 30))
def test_tokens_have_frames_in_order_and_probabilities(seed: int, frames: int) -> None:
    lp = logprobs(seed, frames, 4.0)
    for found in Search(MODEL, PIECES).find(lp, 3):
        assert len(found.tokens) == len(found.frames) == len(found.logprobs)
        assert list(found.frames) == sorted(found.frames)
        assert all(0 <= frame < frames for frame in found.frames)
        assert all(-1e6 < p <= 0 for p in found.logprobs)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 6))
def test_a_prefix_stays_and_the_search_goes_on_behind_it(seed: int, length: int) -> None:
    lp = logprobs(seed, 24, 4.0)
    search = Search(MODEL, PIECES)
    whole = search.find(lp)[0]
    prefix, frames = whole.tokens[:length], whole.frames[:length]
    again = search.find(lp, 1, prefix, frames)[0]
    assert again.tokens[: len(prefix)] == prefix
    assert again.frames[: len(prefix)] == frames
    if prefix and len(again.tokens) > len(prefix):
        assert PIECES[again.tokens[len(prefix)]].startswith(b" ")  # the prefix ends in a whole word
    assert all(frame > frames[-1] for frame in again.frames[len(prefix) :] if frames)


def test_words_that_follow_each_other_win_over_what_sounds_a_little_more_likely() -> None:
    search = Search(MODEL, PIECES, SearchOptions(weight=1.0, bonus=0.0))
    lp = np.full((3, 5), math.log(1e-4), np.float32)
    lp[0, 1] = lp[1, 0] = math.log(0.99)
    lp[2, 2], lp[2, 4] = math.log(0.4), math.log(0.59)  # "a b" or "ac", which is no word
    assert search.find(lp)[0].tokens == (0, 1)
    deaf = SearchOptions(weight=0.0, bonus=0.0, unknown=0.0)
    assert Search(MODEL, PIECES, deaf).find(lp)[0].tokens == (0, 3)


def test_a_word_that_goes_on_is_not_yet_held_against_its_text() -> None:
    lp = np.full((1, 5), -20.0, np.float32)
    lp[0, 2] = 0.0  # " b", of which "bc" may come
    o = SearchOptions(weight=1.0, bonus=0.0)
    going, ended = (Search(MODEL, PIECES, o).find(lp, ended=ended)[0].score for ended in (False, True))
    assert going > ended


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("doubt", [0.0, 1.0, 3.0, 50.0])
def test_sure_is_what_all_likely_texts_begin_with(seed: int, doubt: float) -> None:
    lp = logprobs(seed, 4, 3.0)
    scores = every_text(lp, WIDE)
    best = max(scores.values())
    likely = [text for text, score in scores.items() if score >= best - doubt]
    assert sure(Search(MODEL, PIECES, WIDE).find(lp, len(scores)), doubt) == len(beginning(likely))


def test_a_given_prefix_is_sure() -> None:
    search = Search(MODEL, PIECES)
    lp = logprobs(3, 24, 4.0)
    whole = search.find(lp)[0]
    again = search.find(lp, 8, whole.tokens[:3], whole.frames[:3])
    assert len(again) > 1
    assert sure(again, 100.0) >= 3


def test_no_frames_are_no_words() -> None:
    assert Search(MODEL, PIECES).find(np.zeros((0, 5), np.float32))[0].tokens == ()


def outlook(tokens: tuple[int, ...], o: SearchOptions) -> float:
    """The words of a text of which the last may go on."""
    words = b"".join(PIECES[t] for t in tokens).removeprefix(b" ").split(b" ") if tokens else []
    before, last, total = START, START, 0.0
    for word in words[:-1]:
        i = MODEL.id(word)
        total += (o.weight * MODEL.score(before, last, i) if i != UNKNOWN else o.unknown) + o.bonus
        before, last = last, i
    if not words or not words[-1]:
        return total
    likeliest = MODEL.likeliest(words[-1])
    return total + (o.unknown if likeliest is None else o.weight * likeliest) + o.bonus


def plain_search(lp: np.ndarray, o: SearchOptions) -> dict[tuple[int, ...], float]:
    """Every text that is left in the end, and its score: nothing is skipped before it has been scored."""
    texts: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -math.inf)}
    for row in lp.astype(np.float64):
        likely = [t for t in np.argsort(-row[1:])[: o.pieces] if row[t + 1] > row.max() - o.reach]
        silent = row[0] > math.log(o.silent)
        reached: dict[tuple[int, ...], list[float]] = {}
        for text, (blank, spoken) in texts.items():
            both = np.logaddexp(blank, spoken)
            own = reached.setdefault(text, [-math.inf, -math.inf])
            own[0] = both + row[0]
            if text and not silent:
                own[1] = np.logaddexp(own[1], spoken + row[text[-1] + 1])
            for piece in () if silent else likely:
                heard = (blank if text and text[-1] == piece else both) + row[piece + 1]
                if heard > -math.inf:
                    longer = reached.setdefault((*text, int(piece)), [-math.inf, -math.inf])
                    longer[1] = np.logaddexp(longer[1], heard)
        scores = {text: np.logaddexp(pair[0], pair[1]) + outlook(text, o) for text, pair in reached.items()}
        ranked = sorted(scores, key=lambda text: -scores[text])
        kept = (
            ranked if silent else [t for t in ranked if scores[t] > scores[ranked[0]] - o.margin][: o.width]
        )
        texts = {text: (reached[text][0], reached[text][1]) for text in kept}
    return {text: float(np.logaddexp(pair[0], pair[1])) + word_score(text, o) for text, pair in texts.items()}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 14), st.floats(1.0, 6.0), st.integers(1, 8), st.floats(0.5, 6.0)
)
def test_what_is_left_out_early_would_not_have_been_kept(
    seed: int, frames: int, sharpness: float, width: int, margin: float
) -> None:
    o = SearchOptions(width=width, margin=margin, silent=0.9, reach=4.0, pieces=3, unknown=-3.0)
    lp = logprobs(seed, frames, sharpness)
    expected = sorted(plain_search(lp, o).items(), key=lambda x: -x[1])
    found = Search(MODEL, PIECES, o).find(lp, width)
    assert [f.score for f in found] == pytest.approx([score for _, score in expected], abs=1e-4)
    assert {f.tokens for f in found} == {tokens for tokens, _ in expected}
