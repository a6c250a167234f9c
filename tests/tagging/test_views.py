"""Where a sound began, by the windows that led up to it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.tagging.views import RISE, Past, View

HOP, LENGTH = 10, 50


def past(*scores: float, short: frozenset[int] = frozenset()) -> tuple[Past, View]:
    """Whole windows, one a hop, with a score of one label each, and the one after them."""
    one = Past(LENGTH)
    for i, score in enumerate(scores):
        one.add(view(i, i in short), np.array([score], np.float32))
    return one, view(len(scores))


def view(i: int, short: bool = False) -> View:
    end = (i + 10) * HOP
    return View(end - (HOP if short else LENGTH), end - HOP, end, short)


def test_the_first_window_that_rose() -> None:
    one, now = past(0.0, 0.1, 0.5, 0.7)
    assert one.onset(0, now, 0.9) == view(2).fresh
    assert one.onset(0, now, 0.3) == view(1).fresh


def test_without_a_rise_it_is_the_window_itself() -> None:
    one, now = past(0.1, 0.1, 0.1)
    assert one.onset(0, now, 0.9) == now.fresh
    assert Past(LENGTH).onset(0, now, 0.9) == now.fresh


def test_a_break_separates() -> None:
    one, now = past(0.8, 0.0, 0.6)
    assert one.onset(0, now, 0.9) == view(2).fresh


def test_a_short_window_neither_breaks_nor_tells_what_quiet_is() -> None:
    one, now = past(0.1, 0.6, 0.05, 0.7, short=frozenset({2}))
    assert one.onset(0, now, 0.9) == view(1).fresh
    one, now = past(0.5, 0.0, short=frozenset({1}))
    assert one.onset(0, now, 0.9) == now.fresh


def test_a_shorter_window_has_to_rise_less_far() -> None:
    one, now = past(0.0, 0.0)
    half = View(now.end - LENGTH // 2, now.end - HOP, now.end)
    one.add(half, np.array([0.6 * RISE], np.float32))
    assert one.onset(0, view(3), 1.0) == half.fresh
    one, now = past(0.0, 0.0, 0.6 * RISE)
    assert one.onset(0, now, 1.0) == now.fresh


def test_what_no_window_reaches_is_forgotten() -> None:
    one, now = past(*[0.5] * 20)
    assert one.onset(0, now, 0.4) >= now.end - LENGTH - HOP
    one.clear()
    assert one.onset(0, now, 0.4) == now.fresh


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), max_size=12), st.floats(0.1, 1))
def test_every_window_since_the_onset_had_risen(scores: list[float], score: float) -> None:
    one, now = past(*scores)
    onset = one.onset(0, now, score)
    kept = [(view(i), s) for i, s in enumerate(scores) if view(i).end > view(len(scores) - 1).end - LENGTH]
    quiet = min((s for _, s in kept), default=score)
    heard = [s for v, s in kept if v.fresh >= onset]
    assert all(s >= quiet + RISE * (score - quiet) - 1e-6 and s > quiet for s in heard)
    assert onset == now.end - HOP * (len(heard) + 1)
