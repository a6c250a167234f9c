"""What is told of hours: that a clock which drifts is seen, and one that does not is not."""

from __future__ import annotations

import sys
import threading
from array import array
from collections import Counter

import numpy as np
import pytest

from streamer.audio.ring import Block, End, Gap, Ring
from streamer.config import Config
from streamer.engine import Engine
from streamer.errors import StreamerError
from streamer.evaluation import soak as module
from streamer.evaluation.asr import Samples
from streamer.evaluation.soak import Ledger, Plan, Rounds, Soak, Stretch, mean, soak, within_a_frame
from streamer.events import SourceState, StreamStats, TranscriptFinal, Word
from streamer.timebase import SAMPLE_RATE, TOKEN
from tests.cli.tiny import speech_like
from tests.tiny import tiny_model, tiny_tokenizer

STATS = StreamStats(
    state=SourceState.ENDED,
    position=60.0,
    lag=0.0,
    lost=0.0,
    encoder_passes=1,
    passes_per_second=0.0,
    partials_replaced=0,
    ambient_stretched=0,
    finals=1,
    finals_waiting=0,
    suppressed={},
)


def final(start: float, *words: str, shift: float = 0.0) -> TranscriptFinal:
    """An utterance, a word every half second."""
    times = [start + shift + i / 2 for i in range(len(words))]
    return TranscriptFinal(
        stream="soak",
        utterance=1,
        start=start,
        end=start + 3,
        text=" ".join(words),
        words=[
            Word(text=w, start=t, end=t + 0.4, probability=1.0) for w, t in zip(words, times, strict=True)
        ],
        language="en",
        avg_logprob=0.0,
        no_speech_prob=0.0,
        latency_ms=5.0,
    )


def ledger(shift: float, *words: str) -> Ledger:
    """Of rounds of 10 s, from the third on with these words, and at the end so many seconds late."""
    found = Ledger([10 * SAMPLE_RATE * i for i in range(6)], 30.0)
    found.add(final(1.0, "another", "thing", "at", "first"))
    found.add(final(11.0, "one", "two", "three"))
    for i in range(2, 6):
        found.add(final(10.0 * i + 1, *words, shift=shift * (i - 1)))
    return found


def test_rounds_that_are_heard_alike_are_nothing_apart() -> None:
    first, second = ledger(0.0, "one", "two", "three").stretches
    assert (first.words, second.words) == (3, 6)  # the second round is the measure, the last may be cut off
    assert first.apart + second.apart == Counter({0: 18})
    assert first.utterances + second.utterances == Counter({0: 6})
    assert (first.other, first.finals, first.latency) == (0, 3, 5.0)


def test_a_clock_that_drifts_is_seen() -> None:
    first, second = ledger(0.015, "one", "two", "three").stretches
    assert first.mean == pytest.approx(0.015)
    assert second.mean == pytest.approx(0.0375)
    assert second.furthest == pytest.approx(0.045)
    assert within_a_frame(first.apart) == 1
    assert within_a_frame(second.apart) == 0


def test_words_that_are_missing_or_new_are_counted() -> None:
    first, second = ledger(0.0, "one", "three").stretches
    assert (first.words, first.other) == (2, 1)
    assert first.apart == Counter({0: 2, -500: 2})
    assert (second.words, second.other) == (4, 2)
    first, _ = ledger(0.0, "one", "two", "three", "four").stretches
    assert (first.words, first.other) == (3, 1)


def test_nothing_is_within_a_frame_of_nothing() -> None:
    assert within_a_frame(Counter()) == mean(Counter()) == Stretch(0.0).furthest == 0


def test_memory_is_held_against_its_median_behind_the_first_stretch() -> None:
    stretches = [
        Stretch(60.0 * i, megabytes=array("f", [mb])) for i, mb in enumerate((10.0, 100.0, 102.0, 108.0))
    ]
    assert Soak(stretches, 4, 1.0, STATS).memory_change == pytest.approx(6 / 102)


def test_rounds_begin_on_the_grid_and_say_where() -> None:
    recording = np.ones(SAMPLE_RATE + 7, np.float32)
    source = Rounds(recording, Plan(20.0, 1e9, (0.5, 1.0), gap=2.1, rounds_to_gap=2))
    ring = Ring(60 * SAMPLE_RATE, live=False)
    states: list[SourceState] = []
    source.run(ring, lambda change: states.append(change.state), threading.Event())
    ring.close()
    assert states == [SourceState.LIVE, SourceState.ENDED]
    heard = np.zeros(0, np.float32)
    gaps = []
    while not isinstance(item := ring.read(10**9), End):
        assert item is not None
        gaps += [item] if isinstance(item, Gap) else []
        more = item.samples if isinstance(item, Block) else np.zeros(item.length, np.float32)
        heard = np.concatenate([heard, more])
    assert 20 <= len(heard) / SAMPLE_RATE < 25
    assert [gap.length % TOKEN for gap in gaps] == [0] * len(gaps)
    assert gaps
    for start in source.starts:
        assert start % TOKEN == 0
        assert heard[start : start + len(recording)] == pytest.approx(1.0, abs=0.01)
        assert heard[start + len(recording) : start + SAMPLE_RATE + TOKEN] == pytest.approx(0.0, abs=0.01)


def engine() -> Engine:
    return Engine(tiny_model(), tiny_tokenizer())


def play(samples: Samples, seconds: float) -> Soak:
    config = Config.model_validate({"guards": {"enabled": False}, "live": {"partials": False}})
    return soak(config, engine(), samples, Plan(seconds, 1000.0, (1.2,), gap=0.0, stretch=5.0))


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_the_daemons_own_threads_keep_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    found = play(np.concatenate([speech_like(1.5), np.zeros(SAMPLE_RATE, np.float32)]), 30.0)
    assert found.rounds >= 6
    assert found.stats.state is SourceState.ENDED
    assert sum(found.apart.values()) > 10
    assert within_a_frame(found.apart) > 0.9
    assert all(stretch.memory > 1 for stretch in found.stretches if stretch.megabytes)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_recording_without_speech_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.01)
    with pytest.raises(StreamerError, match="expected words in three rounds"):
        play(np.zeros(SAMPLE_RATE, np.float32), 5.0)
