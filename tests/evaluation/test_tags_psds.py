"""PSDS on cases that can be done in the head, and against its reference implementation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.evaluation.tags_heard import ScoredWindow
from streamer.evaluation.tags_psds import CELL, PSDS, Criteria, Timeline, psds, timeline
from streamer.evaluation.tags_scenes import TrueSound

SECONDS = 36.0
"""Of every recording here: one false detection in it is 100 an hour."""


def cells(*spans: tuple[float, float], score: float = 1.0) -> NDArray[np.float64]:
    out = np.zeros(round(SECONDS / CELL))
    for start, end in spans:
        out[round(start / CELL) : round(end / CELL)] = score
    return out


def line(truth: list[tuple[float, float, str]], *columns: NDArray[np.float64]) -> Timeline:
    scores = np.stack(columns, axis=1)
    sounds = tuple(TrueSound(*one) for one in truth)
    return Timeline(scores, CELL * np.arange(len(scores), dtype=np.float64), SECONDS, sounds)


def value(one: Timeline, criteria: Criteria = PSDS["psds1"]) -> float:
    return psds([one], ["Dog", "Cat"][: one.scores.shape[1]], criteria).value


def test_perfect_scores_and_none() -> None:
    truth = [(4.0, 8.0, "Dog"), (20.0, 22.0, "Dog")]
    assert value(line(truth, cells((4, 8), (20, 22)))) == 1
    assert value(line(truth, cells())) == 0
    assert value(line(truth, cells((4, 8)))) == 0.5
    assert math.isnan(value(line([], cells())))


def test_a_detection_has_to_be_mostly_sound_and_to_cover_most_of_it() -> None:
    truth = [(4.0, 8.0, "Dog")]
    assert value(line(truth, cells((4, 9.6)))) == 1  # 4 of 5.6 s
    assert value(line(truth, cells((4, 10)))) == 0
    assert value(line(truth, cells((4, 6.8)))) == 1  # 2.8 of 4 s
    assert value(line(truth, cells((4, 6.4)))) == 0
    assert value(line(truth, cells((4, 10))), PSDS["psds2"]) == 1


def test_false_detections_cost_what_they_come_to_in_an_hour() -> None:
    truth = [(4.0, 8.0, "Dog")]
    # The true one is found at a higher threshold, so that the false one costs nothing …
    assert value(line(truth, cells((4, 8)) + cells((20, 24), score=0.5))) == 1
    # … or only along with it: 100 an hour, which is all that counts.
    assert value(line(truth, cells((4, 8), (20, 24)))) == 0
    long = line(truth, cells((4, 8), (20, 24)))
    quiet = line([], cells())
    assert psds([long, quiet], ["Dog"], PSDS["psds1"]).value == pytest.approx(0.5)


def test_cross_triggers_and_unevenness_cost_more() -> None:
    truth = [(4.0, 6.0, "Dog"), (20.0, 22.0, "Cat")]
    even = line(truth, cells((4, 6)), cells((20, 22)))
    assert value(even, PSDS["psds2"]) == 1
    uneven = line(truth, cells((4, 6)), cells())
    assert value(uneven, Criteria(0.1, 0.1, alpha_st=0.0)) == 0.5
    assert value(uneven, Criteria(0.1, 0.1, alpha_st=1.0)) == 0
    # The dog is also heard in the cat: one false detection, which is a cross trigger as well.
    crossed = [line(truth, cells((4, 6), (20, 22)), cells((20, 22))), *[line([], cells(), cells())] * 9]
    plain = psds(crossed, ["Dog", "Cat"], Criteria(0.1, 0.1, alpha_st=0.0)).labels["Dog"]
    costly = psds(crossed, ["Dog", "Cat"], Criteria(0.1, 0.1, 0.3, 0.025, 0.0)).labels["Dog"]
    assert plain == pytest.approx(0.9)
    # One in the cat's 2 s is 1800 an hour, of which a fortieth counts: 45 more than 10.
    assert costly == pytest.approx(0.45)


def test_a_timeline_is_the_mean_of_the_windows_over_it() -> None:
    windows = [
        ScoredWindow(0.0, 4.0, {"Dog": 0.2}),
        ScoredWindow(0.8, 4.8, {"Dog": 0.6}),
        ScoredWindow(4.0, 4.8, {"Dog": 0.9}),  # short: the longer one knows more
        ScoredWindow(8.0, 8.8, {"Dog": 0.4}),
    ]
    one = timeline(windows, 10.1, [], ["Dog", "Cat"])
    assert one.scores.shape == (26, 2)
    assert one.scores[[0, 2, 9, 10, 11, 12, 20, 25], 0] == pytest.approx(
        [0.2, 0.4, 0.4, 0.6, 0.6, 0.0, 0.4, 0.0]
    )
    assert not one.scores[:, 1].any()
    assert (one.starts[2], one.seconds) == (0.8, 10.1)


@pytest.mark.parametrize("seed", range(10))
def test_it_is_the_reference_implementations(seed: int) -> None:
    try:
        from sed_scores_eval import intersection_based
        from sed_scores_eval.base_modules.scores import create_score_dataframe
    except ImportError:
        pytest.skip("compares with sed_scores_eval: needs a compiler, pandas < 3 and setuptools < 81")
    rng = np.random.default_rng(seed)
    labels = ["a", "b", "c"]
    lines = [_random_line(rng, labels) for _ in range(int(rng.integers(1, 6)))]
    names = [f"{i}" for i in range(len(lines))]
    scores = {
        name: create_score_dataframe(one.scores, np.append(one.starts, one.seconds), labels)
        for name, one in zip(names, lines, strict=True)
    }
    truth = {
        name: [(sound.onset, sound.offset, sound.label) for sound in one.truth]
        for name, one in zip(names, lines, strict=True)
    }
    seconds = {name: one.seconds for name, one in zip(names, lines, strict=True)}
    for criteria in (*PSDS.values(), Criteria(0.5, 0.5, 0.2, 1.0, 0.5, 50.0)):
        theirs, single, *_ = intersection_based.psds(
            scores,
            truth,
            seconds,
            dtc_threshold=criteria.dtc,
            gtc_threshold=criteria.gtc,
            cttc_threshold=criteria.cttc,
            alpha_ct=criteria.alpha_ct,
            alpha_st=criteria.alpha_st,
            max_efpr=criteria.max_rate,
        )
        ours = psds(lines, labels, criteria)
        assert ours.value == pytest.approx(theirs)
        assert ours.labels == pytest.approx(single)


def _random_line(rng: np.random.Generator, labels: list[str]) -> Timeline:
    seconds = float(rng.choice([10, 12.3, 30]))
    starts = CELL * np.arange(np.ceil(seconds / CELL), dtype=np.float64)
    truth = []
    for label in labels:
        at = rng.uniform(0, 3)
        while at < seconds - 3:
            truth.append(TrueSound(at, at + rng.uniform(0.3, 3), label))
            at = truth[-1].offset + rng.uniform(0.5, 4)
    there = np.array(
        [
            [any(t.onset < s + CELL and t.offset > s and t.label == label for t in truth) for label in labels]
            for s in starts
        ]
    )
    scores = np.round(rng.random(there.shape) / 2 + there * rng.uniform(0.1, 0.5), int(rng.integers(1, 4)))
    return Timeline(scores, starts, seconds, tuple(truth))
