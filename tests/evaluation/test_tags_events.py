"""Which report belongs to which sound, on cases made by hand."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.evaluation.tags_events import Matched, _within, match, score_events, spread
from streamer.evaluation.tags_heard import Reported
from streamer.evaluation.tags_scenes import Scene, TrueSound


def scene(*sounds: TrueSound, ignored: tuple[str, ...] = ()) -> Scene:
    return Scene("a.wav", 60.0, 0, "sounds", sounds, (), ignored)


def true(onset: float, offset: float, label: str = "Dog", also: tuple[str, ...] = ()) -> TrueSound:
    return TrueSound(onset, offset, label, 10.0, also)


def report(start: float, end: float, label: str = "Dog", told: float | None = None) -> Reported:
    return Reported(label, start, end, 0.9, end if told is None else told)


def test_a_sound_and_its_report() -> None:
    sound, told = true(10, 12), report(10.4, 12.6, told=12.0)
    matched = match(scene(sound), [told], 1.0)
    assert matched.pairs == ((sound, told),)
    scores = score_events([matched], [0.5])
    assert (scores.count, scores.found, scores.duplicates, scores.false) == (1, 1, 0, 0)
    assert scores.onset_errors == pytest.approx((0.4,))
    assert scores.offset_errors == pytest.approx((0.6,))
    assert scores.delays == pytest.approx((2.0,))
    assert scores.collars[0].f1 == 1
    assert scores.found_rate == 1


def test_a_second_report_of_the_same_sound_is_a_duplicate() -> None:
    matched = match(scene(true(10, 20)), [report(10.2, 13), report(15, 19)], 1.0)
    assert matched.pairs[0][1] == report(10.2, 13)
    assert matched.duplicates == (report(15, 19),)
    assert matched.false == ()
    collar = score_events([matched], [0.5]).collars[0]
    assert (collar.precision, collar.recall) == (0.5, 1.0)


def test_the_nearest_onset_is_the_one() -> None:
    late, early = report(11, 12), report(9.9, 10.5)
    assert match(scene(true(10, 13)), [late, early], 1.0).pairs[0][1] == early
    # Two sounds and two reports keep their order.
    matched = match(scene(true(10, 11), true(12, 13)), [report(10.5, 11), report(12.5, 13)], 2.0)
    assert [told.start for _, told in matched.pairs if told] == [10.5, 12.5]


def test_one_report_over_two_sounds_finds_one_of_them() -> None:
    matched = match(scene(true(10, 11), true(14, 15)), [report(10, 15)], 1.0)
    assert [told is not None for _, told in matched.pairs] == [True, False]


def test_another_label_or_another_time_is_false() -> None:
    reports = [report(10, 12, "Cat"), report(20, 21)]
    matched = match(scene(true(10, 12)), reports, 1.0)
    assert matched.pairs[0][1] is None
    assert matched.false == tuple(reports)
    scores = score_events([matched], [0.5])
    assert scores.false_per_hour == 120
    assert [(row.label, row.count, row.false) for row in scores.labels] == [("Cat", 0, 1), ("Dog", 1, 1)]


def test_slack_reaches_before_and_after() -> None:
    sound = true(10, 12)
    assert match(scene(sound), [report(8, 9.5)], 1.0).pairs[0][1] is not None
    assert match(scene(sound), [report(12.5, 14)], 1.0).pairs[0][1] is not None
    assert match(scene(sound), [report(13.5, 14)], 1.0).pairs[0][1] is None


def test_what_is_also_true_or_ignored_is_neither_right_nor_wrong() -> None:
    here = scene(true(10, 12, also=("Animal",)), ignored=("White noise",))
    reports = [report(10, 12, "Animal"), report(30, 31, "Animal"), report(40, 50, "White noise")]
    matched = match(here, reports, 1.0)
    assert matched.false == (report(30, 31, "Animal"),)
    assert matched.counted == [report(30, 31, "Animal")]


def test_collars() -> None:
    matched = match(scene(true(10, 12)), [report(10.7, 12)], 1.0)
    half, one = score_events([matched], [0.5, 1.0]).collars
    assert (half.f1, one.f1) == (0, 1)
    exact = match(scene(true(10, 12)), [report(10.5, 12)], 1.0)
    assert score_events([exact], [0.5]).collars[0].f1 == 1


def test_macro_counts_labels_and_micro_counts_events() -> None:
    dogs = match(scene(*(true(10 * i, 10 * i + 1) for i in range(1, 4))), [], 1.0)
    cat = match(scene(true(5, 6, "Cat")), [report(5, 6, "Cat")], 1.0)
    collar = score_events([dogs, cat], [0.5]).collars[0]
    assert collar.recall == 0.25
    assert collar.macro_f1 == 0.5
    assert collar.f1 == pytest.approx(2 / 5)


def test_of_nothing_there_is_nothing_to_say() -> None:
    scores = score_events([Matched(scene(), (), (), ())], [0.5])
    assert math.isnan(scores.found_rate)
    assert math.isnan(scores.collars[0].f1)
    assert all(map(math.isnan, scores.onset_error))
    assert scores.false_per_hour == 0
    assert spread([3.0, 1.0, 2.0])[0] == 2.0


times = st.lists(st.integers(0, 30), max_size=5)


@settings(max_examples=200, deadline=None)
@given(times, times, st.integers(0, 6))
def test_pairs_within_a_collar_are_the_most_there_can_be(
    onsets: list[int], starts: list[int], by: int
) -> None:
    onsets, starts = sorted(onsets), sorted(starts)
    short, long = sorted((onsets, starts), key=len)
    best = max(
        sum(abs(a - b) <= by for a, b in zip(short, order, strict=False)) for order in permutations(long)
    )
    assert _within(onsets, starts, by) == best


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9), st.sampled_from("ab")), max_size=6),
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9), st.sampled_from("abc")), max_size=6),
)
def test_every_report_is_counted_once(sounds: list[tuple], reports: list[tuple]) -> None:  # type: ignore[type-arg]
    told = [report(start, start + length, label) for start, length, label in reports]
    here = scene(*(true(onset, onset + length, label) for onset, length, label in sounds))
    matched = match(here, told, 1.0)
    assert sorted(matched.counted, key=repr) == sorted(told, key=repr)
    assert [sound for sound, _ in matched.pairs] == list(here.sounds)
    assert match(here, told[::-1], 1.0) == matched
