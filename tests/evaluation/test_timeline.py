"""Hand-made stories whose figures can be told without a computer."""

from __future__ import annotations

from dataclasses import astuple
from itertools import pairwise
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.evaluation.sets import SpokenWord
from streamer.evaluation.timeline import EndLatency, Flicker, Lag, Seen, end_latencies, flicker, lags, text
from streamer.events import SpeechStopped, TranscriptFinal, TranscriptPartial


def partial(at: float, words: str, stable: str = "", utterance: int = 1) -> Seen:
    event = TranscriptPartial(utterance=utterance, start=0, end=at, text=words, stable=stable)
    return Seen(event, at)


def stopped(
    at: float,
    utterance: int = 1,
    reason: Literal["silence", "complete", "max_length", "gap", "end"] = "silence",
) -> Seen:
    return Seen(SpeechStopped(utterance=utterance, start=0, end=at, reason=reason), at)


def final(at: float, words: str, utterance: int = 1) -> Seen:
    event = TranscriptFinal(
        utterance=utterance,
        start=0,
        end=at,
        text=words,
        words=[],
        language="en",
        avg_logprob=0,
        no_speech_prob=0,
        latency_ms=0,
    )
    return Seen(event, at)


def said(*words: tuple[str, float]) -> list[SpokenWord]:
    """Words by their ends."""
    return [SpokenWord(word, end - 0.1, end) for word, end in words]


def near(found: list[Any]) -> list[Any]:
    """Lags and latencies without what floating point adds."""
    return [
        type(one)(*(value if value is None else round(value, 6) for value in astuple(one))) for one in found
    ]


STORY = [
    partial(1.0, "good"),
    partial(1.8, "good mourning", "good"),
    partial(2.6, "good morning two you", "good morning"),
    stopped(3.0),
    final(3.2, "good morning to you"),
]
SPOKEN = said(("Good", 0.5), ("morning,", 1.2), ("to", 1.9), ("you", 2.4))


def test_lags() -> None:
    assert near(lags(SPOKEN, STORY)) == [
        Lag(0.5, 1.3),  # shown at 1.0, stable at 1.8
        Lag(1.4, 1.4),  # "mourning" is another word
        Lag(1.3, 1.3),  # only the final has it
        Lag(0.2, 0.8),  # shown beside a wrong word
    ]


def test_flicker() -> None:
    # "mourning" goes when "morning" comes; "two you" go when the final says "to you".
    assert flicker(STORY) == Flicker(erased=3, broken=0, final=4)


def test_end_latency() -> None:
    assert near(end_latencies(SPOKEN, STORY)) == [EndLatency(0.2, 0.8)]
    assert near(end_latencies(said(("nothing", 1.0)), STORY)) == [EndLatency(0.2, None)]
    assert near(end_latencies(SPOKEN, [stopped(3.0, reason="end"), final(3.2, "good")])) == []


def test_two_utterances_do_not_mix() -> None:
    seen = [
        partial(1.0, "no no"),
        stopped(1.5),
        partial(1.6, "yes", utterance=2),  # before the first one's final
        final(1.7, "no no"),
        stopped(2.5, utterance=2),
        final(2.9, "yes no", utterance=2),
    ]
    assert text(seen) == "no no yes no"
    assert flicker(seen) == Flicker(0, 0, 4)
    spoken = said(("no", 0.4), ("no", 0.8), ("yes", 1.4), ("no", 2.0))
    assert [round(lag.shown, 6) for lag in lags(spoken, seen)] == [0.6, 0.2, 0.2, 0.9]
    assert [round(one.spoken or 0, 6) for one in end_latencies(spoken, seen)] == [0.9, 0.9]


def test_words_that_were_not_understood_have_no_lag() -> None:
    assert near(lags(said(("good", 0.5), ("grief", 1.0)), STORY)) == [Lag(0.5, 1.3)]
    assert near(lags(SPOKEN, [])) == []


def test_a_broken_promise_is_counted_apart() -> None:
    seen = [partial(1.0, "a b c", "a b"), partial(2.0, "a x c", "a"), final(3.0, "a b c")]
    assert flicker(seen) == Flicker(erased=4, broken=1, final=3)
    (lag,) = lags(said(("b", 0.5)), seen)
    assert lag.stable == pytest.approx(0.5)  # when it first was called so


words = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, max_size=5), words)
def test_flicker_is_nothing_exactly_where_texts_only_grow(shown: list[list[str]], last: list[str]) -> None:
    seen = [partial(1.0 + i, " ".join(text)) for i, text in enumerate(shown)]
    found = flicker([*seen, final(9.0, " ".join(last))])
    texts = [*shown, last]
    grows = all(after[: len(before)] == before for before, after in pairwise(texts))
    assert (found.erased == 0) == grows
    assert found.erased <= sum(map(len, shown))
    assert found.final == len(last)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, st.integers(0, 6)), max_size=5), words)
def test_nothing_is_stable_before_it_is_shown(drawn: list[tuple[list[str], int]], last: list[str]) -> None:
    seen = [
        partial(1.0 + i, " ".join(text), " ".join(text[:stable])) for i, (text, stable) in enumerate(drawn)
    ]
    spoken = said(*((word, 0.5) for word in last))
    found = lags(spoken, [*seen, final(9.0, " ".join(last))])
    assert len(found) == len(last)
    assert all(0.5 <= lag.shown <= lag.stable <= 8.5 for lag in found)
