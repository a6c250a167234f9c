"""Sounds from windows: one event is one event, however many windows hear it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.config import LabelConfig, SoundsConfig
from streamer.errors import ConfigError
from streamer.events import Tag
from streamer.tagging.detector import Change, Detector, Offset, Onset, top_k, validate_labels
from streamer.tagging.labels import Label, audioset
from streamer.timebase import SAMPLE_RATE, to_samples

LABELS = (Label("Dog", "/m/0bt9lr"), Label("Siren", "/m/03kmc9"), Label("Rain", "/m/06mb1"))
HOP, WINDOW = to_samples(0.8), to_samples(4.0)
AUDIBLE = SAMPLE_RATE // 10
"""Samples of an event that a window has to hold to hear it."""


def detector(thresholds: tuple[float, ...] = (0.5, 0.5, 0.5), **config: Any) -> Detector:
    return Detector(LABELS, thresholds, SoundsConfig(**config))


def windows(until: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """The regular ambient windows of a stream (or of what follows a gap at `start`)."""
    for end in range(start + HOP, until + 1, HOP):
        yield max(start, end - WINDOW), end


def heard(events: list[tuple[int, int]], start: int, end: int, score: float = 0.9) -> NDArray[np.float32]:
    """Scores of one window: the first label where it holds enough of any event."""
    audible = any(min(b, end) - max(a, start) >= AUDIBLE for a, b in events)
    return np.array([score if audible else 0.02, 0.0, 0.0], np.float32)


def listen(one: Detector, events: list[tuple[int, int]], until: int) -> list[Change]:
    return [c for s, e in windows(until) for c in one.push(s, e, heard(events, s, e))]


def seconds(value: float) -> int:
    return to_samples(value)


def test_an_event_is_reported_once_and_placed_within_a_hop() -> None:
    a, b = seconds(10.0), seconds(12.5)
    onset, offset = listen(detector(), [(a, b)], seconds(30))
    assert isinstance(onset, Onset)
    assert isinstance(offset, Offset)
    assert (onset.sound, onset.index, onset.label) == (1, 0, LABELS[0])
    assert (offset.sound, offset.start, offset.peak) == (1, onset.start, onset.score)
    assert onset.score == pytest.approx(0.9)
    assert abs(onset.start - a) <= HOP
    assert abs(offset.end - b) <= HOP


def test_an_event_at_the_very_start() -> None:
    onset, offset = listen(detector(), [(0, seconds(1.0))], seconds(20))
    assert onset.start == 0
    assert isinstance(offset, Offset)
    assert abs(offset.end - seconds(1.0)) <= HOP


def test_speech_and_silence_are_no_sounds_unless_they_are_wanted() -> None:
    labels = (Label("Speech", ""), Label("Silence", ""), Label("Dog", ""))

    def started(**config: Any) -> set[str]:
        one = Detector(labels, (0.5, 0.5, 0.5), SoundsConfig(**config))
        changes = [c for s, e in windows(seconds(8)) for c in one.push(s, e, [0.9, 0.9, 0.9])]
        return {change.label.name for change in changes if isinstance(change, Onset)}

    assert started() == {"Dog"}
    assert started(speech=True) == {"Dog", "Speech"}
    assert started(labels={"Silence": LabelConfig(threshold=0.5)}) == {"Dog", "Silence"}


def test_one_window_is_not_enough() -> None:
    one = detector(confirm=2)
    assert one.push(0, HOP, [0.9, 0, 0]) == []
    assert one.push(0, 2 * HOP, [0.1, 0, 0]) == []
    assert one.push(0, 3 * HOP, [0.9, 0, 0]) == []
    assert one.flush(3 * HOP) == []


def test_a_confirmed_sound_began_with_its_first_window() -> None:
    one = detector(confirm=3)
    assert one.push(0, 5 * HOP, [0.1, 0, 0]) == []
    assert one.push(HOP, 6 * HOP, [0.6, 0, 0]) == []
    assert one.push(2 * HOP, 7 * HOP, [0.8, 0, 0]) == []
    assert one.push(3 * HOP, 8 * HOP, [0.7, 0, 0]) == [Onset(1, 0, LABELS[0], 5 * HOP, np.float32(0.8))]


def filled(event: tuple[int, int], start: int, end: int) -> NDArray[np.float32]:
    """Scores of a head that is sure only once the sound fills half of a whole window."""
    share = max(0, min(event[1], end) - max(event[0], start)) / (WINDOW / 2)
    return np.array([0.02 + 0.96 * min(1.0, share), 0.0, 0.0], np.float32)


@settings(max_examples=100, deadline=None)
@given(st.integers(seconds(4), seconds(9)), st.integers(seconds(3.2), seconds(9)), st.integers(1, 3))
def test_a_head_that_is_slowly_sure_does_not_make_onsets_late(a: int, length: int, confirm: int) -> None:
    one, event = detector((0.9, 0.5, 0.5), confirm=confirm), (a, a + length)
    out = [c for s, e in windows(seconds(30)) for c in one.push(s, e, filled(event, s, e))]
    assert [type(c) for c in out] == [Onset, Offset]
    assert abs(out[0].start - a) <= HOP


def test_what_was_there_before_is_not_the_onset() -> None:
    one = detector((0.6, 0.5, 0.5))
    scores = [0.3] * 8 + [0.35, 0.7, 0.9]
    out = [c for (s, e), x in zip(windows(11 * HOP), scores, strict=True) for c in one.push(s, e, [x, 0, 0])]
    assert [(type(c), c.start) for c in out] == [(Onset, 9 * HOP)]


def test_a_short_window_that_hears_nothing_says_nothing() -> None:
    one = detector()
    for end in (5 * HOP, 6 * HOP):
        assert one.push(end - WINDOW, end, [0.0, 0, 0]) == []
    assert one.push(3 * HOP, 7 * HOP, [0.9, 0, 0]) == []
    assert one.push(7 * HOP, 8 * HOP, [0.0, 0, 0]) == []  # an utterance has just begun
    assert [c.start for c in one.push(7 * HOP, 9 * HOP, [0.9, 0, 0])] == [6 * HOP]
    for end in range(10 * HOP, 14 * HOP, HOP):
        assert one.push(end - HOP, end, [0.0, 0, 0]) == []
    assert one.push(10 * HOP, 14 * HOP, [0.9, 0, 0]) == []


def test_the_time_of_short_windows_is_not_time_below() -> None:
    """An alarm goes on under somebody who begins to speak, and is heard again once their window is longer."""
    one = detector(confirm=1, hold=1.6)
    a = seconds(10)
    assert len(one.push(a - WINDOW, a, [0.9, 0, 0])) == 1
    assert one.push(a, a + HOP, [0.1, 0, 0]) == []
    assert one.push(a, a + 2 * HOP, [0.1, 0, 0]) == []  # the first that can say so, for less than the hold
    assert one.push(a, a + 3 * HOP, [0.9, 0, 0]) == []
    (offset,) = one.flush(a + 3 * HOP)
    assert (offset.sound, offset.end) == (1, a + 3 * HOP)


def test_short_windows_alone_do_not_keep_a_sound_for_ever() -> None:
    one = detector(confirm=1)
    assert len(one.push(0, 5 * HOP, [0.9, 0, 0])) == 1
    out = [c for i in range(5, 40) for c in one.push(i * HOP, (i + 1) * HOP, [0.0, 0, 0])]
    assert [type(c) for c in out] == [Offset]


def test_stretched_windows_place_the_onset_where_the_last_one_stopped_listening() -> None:
    one = detector(confirm=1)
    one.push(0, WINDOW, [0.0, 0, 0])
    (onset,) = one.push(3 * HOP, WINDOW + 3 * HOP, [0.9, 0, 0])
    assert onset.start == WINDOW


def test_hysteresis() -> None:
    one = detector(confirm=1, hold=0.8, merge=0.0)
    assert len(one.push(0, HOP, [0.5, 0, 0])) == 1
    for i in range(1, 20):
        assert one.push(max(0, i * HOP - WINDOW), (i + 1) * HOP, [0.18, 0, 0]) == []
    (offset,) = one.push(16 * HOP, 21 * HOP, [0.17, 0, 0])
    assert isinstance(offset, Offset)


def test_a_dip_shorter_than_the_hold_is_part_of_the_sound() -> None:
    one = detector(confirm=1, hold=1.6)
    scores = [0.9, 0.9, 0.0, 0.9, 0.0, 0.9]
    out = [c for (s, e), x in zip(windows(6 * HOP), scores, strict=True) for c in one.push(s, e, [x, 0, 0])]
    assert [type(c) for c in out] == [Onset]


def test_merge_continues_a_sound_and_a_longer_pause_does_not() -> None:
    def run(pause: int, merge: float) -> list[type]:
        one = detector(window=0.8, confirm=1, hold=0.8, merge=merge)
        scores = [0.9, 0.9] + [0.0] * pause + [0.9] + [0.0] * 8
        out = [c for i, x in enumerate(scores) for c in one.push(i * HOP, (i + 1) * HOP, [x, 0, 0])]
        return [type(c) for c in out]

    assert run(pause=2, merge=0.0) == [Onset, Offset] * 2
    assert run(pause=2, merge=1.7) == [Onset, Offset]
    assert run(pause=3, merge=1.7) == [Onset, Offset] * 2


def test_a_merged_sound_keeps_its_number_and_the_best_score() -> None:
    one = detector(window=0.8, confirm=1, hold=0.8, merge=3.0)
    scores = [0.6, 0.0, 0.0, 0.8, 0.0] + [0.0] * 8
    out = [c for i, x in enumerate(scores) for c in one.push(i * HOP, (i + 1) * HOP, [x, 0, 0])]
    assert out == [
        Onset(1, 0, LABELS[0], 0, np.float32(0.6)),
        Offset(1, 0, LABELS[0], 0, 4 * HOP, np.float32(0.8)),
    ]


def test_cooldown_swallows_a_repetition() -> None:
    events = [(seconds(5), seconds(6)), (seconds(15), seconds(16)), (seconds(40), seconds(41))]
    out = listen(detector(cooldown=15.0), events, seconds(60))
    assert [type(c) for c in out] == [Onset, Offset] * 2
    assert abs(out[2].start - seconds(40)) <= HOP


def test_a_sound_that_outlasts_the_cooldown_is_reported_then() -> None:
    out = listen(detector(cooldown=8.0), [(seconds(5), seconds(6)), (seconds(12), seconds(30))], seconds(50))
    assert [type(c) for c in out] == [Onset, Offset] * 2
    assert isinstance(out[1], Offset)
    assert out[2].start == out[1].end + seconds(8)
    # Nothing of the first sound's cooldown is left after it.
    assert abs(out[3].end - seconds(30)) <= HOP  # type: ignore[union-attr]


def test_thresholds_of_the_model_the_configuration_and_one_label() -> None:
    def who(**config: Any) -> list[str]:
        one = detector((0.2, 0.5, 0.8), confirm=1, **config)
        return [c.label.name for c in one.push(0, HOP, [0.4, 0.4, 0.4])]

    assert who() == ["Dog"]
    assert who(threshold=0.3) == ["Dog", "Siren", "Rain"]
    own = {"rain": LabelConfig(threshold=0.3), "dog": LabelConfig(threshold=0.6)}
    assert who(labels=own) == ["Rain"]
    assert who(threshold=0.45, labels=own) == ["Rain"]
    assert who(threshold=0.3, labels={"Siren": LabelConfig(ignore=True, threshold=0.1)}) == ["Dog", "Rain"]


def test_unknown_labels_are_refused_with_suggestions() -> None:
    with pytest.raises(ConfigError, match=r'sounds\.labels\."Sirne".*Siren'):
        detector(labels={"Sirne": LabelConfig()})
    with pytest.raises(ConfigError, match="both 'Dog'"):
        detector(labels={"dog": LabelConfig(), "/m/0bt9lr": LabelConfig()})
    found = validate_labels(SoundsConfig(labels={"siren": LabelConfig(ignore=True)}), audioset())
    assert {audioset()[i].name: c.ignore for i, c in found.items()} == {"Siren": True}


def test_labels_are_independent() -> None:
    one = detector(confirm=1)
    assert [c.index for c in one.push(0, HOP, [0.9, 0, 0.9])] == [0, 2]
    assert [(c.sound, c.index) for c in one.push(0, 2 * HOP, [0.9, 0.9, 0])] == [(3, 1)]
    assert [c.sound for c in one.flush(2 * HOP)] == [1, 3, 2]


def test_silence_without_windows_ends_a_sound_where_it_began() -> None:
    one = detector()
    for start, end in windows(seconds(8.0)):
        assert all(isinstance(c, Onset) for c in one.push(start, end, [0.9, 0, 0]))
    out = [c for i in range(1, 6) for c in one.silence(seconds(8.0) + i * HOP)]
    assert [(type(c), c.start) for c in out] == [(Offset, 0)]
    assert isinstance(out[0], Offset)
    assert out[0].end == seconds(8.0)


def test_a_sound_before_silence_is_not_reported_again_by_windows_that_reach_back_to_it() -> None:
    one = detector(hold=0.8, merge=0.4)
    for start, end in windows(seconds(8.0)):
        one.push(start, end, [0.9, 0, 0])
    assert [type(c) for i in (1, 2) for c in one.silence(seconds(8.0) + i * HOP)] == [Offset]
    for i in range(3, 20):  # another noise: windows are run again, the first of them hold the old sound
        start, end = seconds(8.0) + i * HOP - WINDOW, seconds(8.0) + i * HOP
        assert one.push(start, end, heard([(0, seconds(8.0))], start, end)) == []


def test_a_short_windows_place_is_kept_when_the_next_one_reaches_further_back() -> None:
    one = detector(confirm=1, hold=0.0, merge=0.0)
    one.push(0, seconds(4), [0, 0, 0])
    one.push(seconds(3.6), seconds(5), [0.9, 0, 0])
    one.push(seconds(5), seconds(8), [0.9, 0, 0])  # a speech pass, then the ambient window over it
    (offset,) = one.push(seconds(4.4), seconds(8.4), [0, 0, 0])
    assert isinstance(offset, Offset)
    assert offset.end == seconds(5) + HOP


def test_a_long_wait_between_windows_counts_as_silence() -> None:
    one = detector(confirm=1)
    one.push(0, WINDOW, [0.9, 0, 0])
    offset, onset = one.push(seconds(60), seconds(64), [0.9, 0, 0])
    assert (type(offset), type(onset)) == (Offset, Onset)
    assert offset.end == WINDOW
    assert onset.start == seconds(64) - HOP


def test_the_first_window_after_silence_hears_its_newest_hop() -> None:
    one = detector(confirm=1)
    assert one.silence(seconds(60)) == []
    (onset,) = one.push(seconds(56.8), seconds(60.8), [0.9, 0, 0])
    assert onset.start == seconds(60)


def test_a_gap_ends_sounds_and_nothing_is_placed_before_it() -> None:
    one = detector(confirm=1)
    one.push(0, WINDOW, [0.9, 0, 0])
    assert one.flush(WINDOW + 100) == [Offset(1, 0, LABELS[0], WINDOW - HOP, WINDOW, np.float32(0.9))]
    assert one.flush(WINDOW + 100) == []
    gap_end = WINDOW + 100 + seconds(10)
    (onset,) = one.push(gap_end, gap_end + 50, [0.9, 0, 0])
    assert onset.start == gap_end
    assert onset.sound == 2


def test_late_windows_are_left_out_and_counted() -> None:
    one = detector(confirm=1)
    one.push(0, WINDOW, [0, 0, 0])
    assert one.push(0, WINDOW, [0.9, 0, 0]) == []
    one.flush(WINDOW + HOP)
    assert one.push(HOP, WINDOW + HOP, [0.9, 0, 0]) == []
    assert one.late == 2


def test_nan_is_zero_and_other_scores_are_clipped() -> None:
    one = detector(confirm=1)
    assert one.push(0, HOP, [np.nan, np.nan, np.nan]) == []
    assert [c.score for c in one.push(0, 2 * HOP, [np.inf, -np.inf, 3.0]) if isinstance(c, Onset)] == [
        1.0,
        1.0,
    ]


def test_wrong_shapes_and_empty_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="3 scores"):
        detector().push(0, HOP, [0.5])
    with pytest.raises(ValueError, match="ends after"):
        detector().push(HOP, HOP, [0, 0, 0])
    with pytest.raises(ValueError, match="threshold"):
        detector((0.5,))


def test_top_k() -> None:
    assert top_k([0.1, np.nan, 0.7], LABELS, 2) == [
        Tag(label="Rain", id="/m/06mb1", score=0.7),
        Tag(label="Dog", id="/m/0bt9lr", score=0.1),
    ]
    assert [t.label for t in top_k([0.5, 0.5, 0.5], LABELS, 9)] == ["Dog", "Siren", "Rain"]
    assert top_k([7.0, 0, 0], LABELS, 1)[0].score == 1.0
    with pytest.raises(ValueError, match="3 scores"):
        top_k([0.5], LABELS, 1)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, seconds(20)), st.integers(2 * AUDIBLE, seconds(20)), st.integers(1, 3))
def test_overlapping_windows_of_one_event_report_it_once(a: int, length: int, confirm: int) -> None:
    onset, offset = listen(detector(confirm=confirm), [(a, a + length)], seconds(60))
    assert abs(onset.start - a) <= HOP
    assert isinstance(offset, Offset)
    assert abs(offset.end - (a + length)) <= HOP + AUDIBLE


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, seconds(5)),
    st.integers(2 * AUDIBLE, seconds(5)),
    st.integers(0, seconds(3)),
    st.sampled_from([0.0, 0.8, 1.6]),
    st.sampled_from([0.0, 1.0, 3.0]),
)
def test_two_events_apart_are_two(a: int, length: int, more: int, hold: float, merge: float) -> None:
    b = a + length
    apart = WINDOW + seconds(hold + merge) + 2 * HOP + more  # the window's length is the smear
    second = (b + apart, b + apart + length)
    out = listen(detector(hold=hold, merge=merge), [(a, b), second], seconds(60))
    assert [type(c) for c in out] == [Onset, Offset] * 2
    assert abs(out[2].start - second[0]) <= HOP


score = st.sampled_from([0.0, 0.3, 0.45, 0.6, 1.0, float("nan")])
steps = st.one_of(
    st.tuples(st.just("window"), st.integers(1, 3 * HOP), st.lists(score, min_size=3, max_size=3)),
    st.tuples(st.just("late"), st.integers(0, HOP), st.lists(score, min_size=3, max_size=3)),
    st.tuples(st.just("silence"), st.integers(1, 6 * HOP), st.none()),
    st.tuples(st.just("flush"), st.integers(0, 6 * HOP), st.none()),
)
configs = st.builds(
    SoundsConfig,
    confirm=st.integers(1, 3),
    hold=st.sampled_from([0.0, 0.8, 1.6]),
    merge=st.sampled_from([0.0, 1.0, 5.0]),
    cooldown=st.sampled_from([0.0, 2.0, 9.0]),
    window=st.sampled_from([0.8, 1.6, 4.0]),
)


@settings(max_examples=100, deadline=None)
@given(configs, st.lists(steps, max_size=40), st.integers(0, 2 * WINDOW))
def test_any_stream_alternates_and_closes(config: SoundsConfig, stream: list[Any], length: int) -> None:
    one = Detector(LABELS, (0.5, 0.5, 0.4), config)
    clock = floor = 0
    out: list[Change] = []
    for kind, by, scores in stream:
        if kind == "window":
            clock += by
            out += one.push(max(floor, clock - max(length, 1)), clock, scores)
        elif kind == "late":
            out += one.push(clock - by - 1, clock - by, scores)
            clock = max(clock, 1)
        elif kind == "silence":
            clock += by
            out += one.silence(clock)
        else:
            closed = one.flush(clock)
            assert all(c.end <= clock for c in closed)
            out += closed
            clock += by
            floor = clock
        assert len(one._tracks) <= len(LABELS)
    out += one.flush(clock)

    numbers = [c.sound for c in out if isinstance(c, Onset)]
    assert numbers == list(range(1, len(numbers) + 1))
    for index in range(3):
        mine = [c for c in out if c.index == index]
        assert [type(c) for c in mine] == [Onset, Offset] * (len(mine) // 2)
        assert len(mine) % 2 == 0
        end = None
        for onset, offset in zip(mine[::2], mine[1::2], strict=True):
            assert isinstance(onset, Onset)
            assert isinstance(offset, Offset)
            assert (onset.sound, onset.start) == (offset.sound, offset.start)
            assert 0 <= onset.start < offset.end <= clock
            assert onset.score <= offset.peak <= 1
            assert end is None or onset.start >= end + to_samples(config.cooldown)
            end = offset.end
