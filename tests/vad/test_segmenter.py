"""Utterances from frames: examples of every rule, and properties over random streams."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.config import SegmentConfig
from streamer.timebase import FRAME, SAMPLE_RATE, TOKEN
from streamer.vad.segmenter import Boundary, OpenUtterance, Segmenter, Started, Stopped

MS = SAMPLE_RATE // 1000


def feed(segmenter: Segmenter, pattern: list[tuple[bool, int]], energy: float = 1.0) -> list[Boundary]:
    """Push runs of (speech, frames)."""
    return [b for speech, frames in pattern for _ in range(frames) for b in segmenter.push(speech, energy)]


def test_an_utterance_of_one_second() -> None:
    segmenter = Segmenter(SegmentConfig())
    out = feed(segmenter, [(False, 100), (True, 50), (False, 50)])
    first = 100 * FRAME
    start = (first - 300 * MS) // TOKEN * TOKEN
    last = 150 * FRAME
    assert out == [
        Started(1, start, first + 5 * FRAME),
        Stopped(1, start, last + 200 * MS, last + 400 * MS, "silence"),
    ]
    assert segmenter.current is None
    assert segmenter.position == 200 * FRAME


def test_open_utterance_is_visible() -> None:
    segmenter = Segmenter(SegmentConfig())
    feed(segmenter, [(True, 4)])
    assert segmenter.current is None
    feed(segmenter, [(True, 1)])
    assert segmenter.current == OpenUtterance(1, 0)


@given(st.lists(st.booleans(), max_size=120), st.integers(40, 120), st.integers(120, 300))
def test_nothing_is_decided_without_an_alert_before(flags: list[bool], onset: int, window: int) -> None:
    segmenter = Segmenter(SegmentConfig(onset_ms=onset, onset_window_ms=window))
    for flag in flags:
        alert = segmenter.alert(2 * FRAME)
        out = segmenter.push(flag, 1.0)
        assert alert or not out
    feed(segmenter, [(False, 2000)])
    assert not segmenter.alert(2 * FRAME)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=30),
    st.integers(1, 20),
    st.sampled_from([0, 100, 300]),
)
def test_without_an_alert_no_utterance_ends_within_a_rest(
    runs: list[tuple[bool, int]], rest: int, complete: int
) -> None:
    segmenter = Segmenter(SegmentConfig(complete_ms=complete, longest=3.0, cut_search=1.0))
    flags = [flag for flag, count in runs for _ in range(count)]
    for first in range(0, len(flags), rest):
        may_end = segmenter.current is None or segmenter.alert(rest * FRAME)
        for i, flag in enumerate(flags[first : first + rest]):
            if segmenter.current is not None:
                segmenter.complete(segmenter.current.number, segmenter.position)
            out = segmenter.push(flag, 1.0)
            assert may_end or i == rest - 1 or not out


def test_too_little_speech_starts_nothing() -> None:
    assert feed(Segmenter(SegmentConfig()), [(True, 4), (False, 4)] * 20) == []


def test_speech_with_holes_starts_within_the_window() -> None:
    segmenter = Segmenter(SegmentConfig(pre_roll_ms=0))
    out = feed(segmenter, [(False, 40), (True, 2), (False, 1), (True, 3)])
    assert out == [Started(1, 40 * FRAME, 46 * FRAME)]  # frame 40 is on the token grid


def test_pre_roll_stops_at_the_previous_utterance_and_is_not_rounded_past_it() -> None:
    config = SegmentConfig(pre_roll_ms=1000)
    out = feed(Segmenter(config), [(True, 53), (False, 30), (True, 50), (False, 30)])
    first, second = (b for b in out if isinstance(b, Stopped))
    assert first.end == 53 * FRAME + 200 * MS
    assert second.start == first.end
    assert second.start % TOKEN != 0


def test_pre_roll_stops_at_a_gap_off_the_grid() -> None:
    segmenter = Segmenter(SegmentConfig())
    feed(segmenter, [(False, 3)])
    assert segmenter.skip(1234) == []
    gap_end = 3 * FRAME + 1234
    assert segmenter.position == gap_end
    assert feed(segmenter, [(True, 5)]) == [Started(1, gap_end, gap_end + 5 * FRAME)]


def test_a_pause_shorter_than_the_hangover_is_part_of_the_utterance() -> None:
    out = feed(Segmenter(SegmentConfig()), [(True, 20), (False, 19), (True, 20), (False, 20)])
    assert [type(b) for b in out] == [Started, Stopped]


def test_a_gap_ends_the_utterance_where_it_begins() -> None:
    segmenter = Segmenter(SegmentConfig())
    feed(segmenter, [(True, 50)])
    assert segmenter.skip(16_000) == [Stopped(1, 0, 50 * FRAME, 50 * FRAME, "gap")]
    assert segmenter.position == 50 * FRAME + 16_000


def test_speech_on_both_sides_of_a_gap_is_not_added_up() -> None:
    segmenter = Segmenter(SegmentConfig())
    assert feed(segmenter, [(True, 4)]) == []
    segmenter.skip(FRAME)
    assert feed(segmenter, [(True, 4)]) == []


def test_a_negative_gap_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        Segmenter(SegmentConfig()).skip(-1)


def test_flush_ends_the_utterance_with_all_that_was_heard() -> None:
    segmenter = Segmenter(SegmentConfig())
    feed(segmenter, [(True, 50), (False, 15)])
    assert segmenter.flush() == [Stopped(1, 0, 65 * FRAME, 65 * FRAME, "end")]
    assert segmenter.flush() == []


def test_the_longest_utterance_is_cut_at_its_quietest_point() -> None:
    segmenter = Segmenter(SegmentConfig(longest=4.0, cut_search=2.0))
    out: list[Boundary] = []
    for i in range(220):
        quiet = 20 <= i < 40 or 140 <= i < 146  # the first is too early to be looked at
        out += segmenter.push(True, 0.001 if quiet else 1.0)
    cut = 143 * FRAME
    assert out[1:3] == [Stopped(1, 0, cut, 200 * FRAME, "max_length"), Started(2, cut, 200 * FRAME)]
    assert segmenter.current == OpenUtterance(2, cut)


def test_a_cut_with_only_silence_after_it_opens_nothing() -> None:
    segmenter = Segmenter(SegmentConfig(longest=4.0, cut_search=2.0, hangover_ms=1000))
    out = [b for i in range(260) for b in segmenter.push(i < 180, 1.0 if i < 180 else 0.0)]
    assert [type(b) for b in out] == [Started, Stopped]
    assert isinstance(out[1], Stopped)
    assert out[1].reason == "max_length"
    assert out[1].end > 180 * FRAME


def test_energies_that_are_not_numbers_are_no_place_to_cut() -> None:
    segmenter = Segmenter(SegmentConfig(longest=4.0, cut_search=2.0))
    out = [b for i in range(200) for b in segmenter.push(True, 0.5 if 150 <= i < 156 else float("nan"))]
    assert isinstance(out[1], Stopped)
    assert out[1].end == 153 * FRAME


def test_state_is_bounded() -> None:
    segmenter = Segmenter(SegmentConfig(longest=4.0, cut_search=2.0))
    feed(segmenter, [(True, 1000), (False, 1000)] * 3)
    assert len(segmenter._energies) <= 2 * 50 + 3
    assert len(segmenter._recent) <= 7


@dataclass(frozen=True)
class Gap:
    length: int


configs = st.builds(
    SegmentConfig,
    pre_roll_ms=st.sampled_from([0, 300, 2000]),
    hangover_ms=st.sampled_from([0, 10, 200, 400, 1500]),
    onset_ms=st.sampled_from([10, 90, 150]),
    onset_window_ms=st.sampled_from([150, 400, 3000]),
    longest=st.sampled_from([1.03, 2.0, 5.5]),
    cut_search=st.sampled_from([0.01, 0.5, 1.0]),
)
runs = st.tuples(st.booleans(), st.integers(1, 60), st.sampled_from([0.0, 0.01, 1.0]))
streams = st.lists(st.one_of(runs, st.builds(Gap, st.integers(0, 30_000))), max_size=25)


@settings(max_examples=100, deadline=None)
@given(configs, streams)
def test_properties(config: SegmentConfig, stream: list[tuple[bool, int, float] | Gap]) -> None:
    segmenter = Segmenter(config)
    out: list[Boundary] = []
    speech: list[tuple[int, int]] = []
    gaps: list[tuple[int, int]] = []
    run_start: int | None = None

    def end_run() -> None:
        nonlocal run_start
        if run_start is not None:
            speech.append((run_start, segmenter.position))
            run_start = None

    for item in stream:
        if isinstance(item, Gap):
            end_run()
            before = segmenter.position
            out += segmenter.skip(item.length)
            assert segmenter.current is None
            gaps.append((before, segmenter.position))
            continue
        flag, frames, energy = item
        if not flag:
            end_run()
        elif run_start is None:
            run_start = segmenter.position
        for _ in range(frames):
            out += segmenter.push(flag, energy)
    end_run()
    out += segmenter.flush()
    assert segmenter.current is None

    # Started and Stopped alternate and agree; numbers grow by one; decisions come in order.
    assert [type(b) for b in out] == [Started, Stopped] * (len(out) // 2)
    assert [b.at for b in out] == sorted(b.at for b in out)
    utterances = [b for b in out if isinstance(b, Stopped)]
    begun = [b for b in out if isinstance(b, Started)]
    assert [u.utterance for u in utterances] == list(range(1, len(utterances) + 1))
    assert [(b.utterance, b.start) for b in begun] == [(u.utterance, u.start) for u in utterances]

    limit = 0
    for utterance in utterances:
        assert limit <= utterance.start < utterance.end <= utterance.at
        assert utterance.end - utterance.start <= config.longest * SAMPLE_RATE
        assert not any(utterance.start < b and a < utterance.end for a, b in gaps)
        limit = utterance.end

    # Every run of speech that is long enough lies in utterances, without a hole.
    for a, b in speech:
        if (b - a) // FRAME < max(1, -(-config.onset_ms // 20)):
            continue
        covered = a
        for utterance in utterances:
            if utterance.start <= covered:
                covered = max(covered, utterance.end)
        assert covered >= b, (a, b, utterances)


def ended(config: SegmentConfig, told: list[tuple[int, int, int]], silence: int = 60) -> list[Stopped]:
    """Half a second of speech, then silence; `told`: (frame, utterance, index heard) of who read it."""
    segmenter, out = Segmenter(config), []
    for i in range(10 + 25 + silence):
        for frame, utterance, heard in told:
            if frame == i:
                segmenter.complete(utterance, heard)
        out += [b for b in segmenter.push(10 <= i < 35, 1.0) if isinstance(b, Stopped)]
    return out


def test_a_complete_text_ends_an_utterance_sooner() -> None:
    config = SegmentConfig(hangover_ms=1000, complete_ms=200)
    speech_end = 35 * FRAME
    (late,) = ended(config, [])
    (soon,) = ended(config, [(40, 1, speech_end)])
    assert (late.reason, late.at) == ("silence", speech_end + 50 * FRAME)
    assert (soon.reason, soon.at) == ("complete", speech_end + 10 * FRAME)
    assert soon.end == late.end == speech_end + 10 * FRAME
    # Told later, it ends then. What was read before the last word says nothing, nor does another's text.
    assert ended(config, [(60, 1, speech_end)])[0].at == 61 * FRAME
    assert ended(config, [(40, 1, speech_end - FRAME)]) == [late]
    assert ended(config, [(40, 2, speech_end)]) == [late]
    assert ended(SegmentConfig(hangover_ms=1000), [(40, 1, speech_end)]) == [late]
