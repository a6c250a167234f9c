"""PSDS, the polyphonic sound detection score: how well the scores over time find sounds, at every threshold.

Bilen et al., "A framework for the robust evaluation of sound event detection", ICASSP 2020, in the exact form
of Ebbers et al., "Threshold-independent evaluation of sound event detection scores", ICASSP 2022: every score
that occurs is a threshold. For each label the rate of true sounds found is a function of the effective rate
of false detections (an hour); the score is the area under the labels' mean of that, less their deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.evaluation.tags_heard import ScoredWindow
from streamer.evaluation.tags_scenes import TrueSound
from streamer.timebase import SAMPLE_RATE, TOKEN

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

CELL = TOKEN / SAMPLE_RATE
"""Seconds of a timeline that have one score."""

LEAST = 1.6
"""A window of fewer seconds (at an utterance's beginning) counts only where there is no longer one."""

DECIMALS = 6
"""Times are compared so exactly, as the reference implementation does."""


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a detection has to be.

    dtc: share of a detection that true sounds of its label have to cover, or it is false. gtc: share of a
    true sound that such detections have to cover, or it is not found. cttc: share of a false detection that
    another label's sounds cover, from which on it is a cross trigger of that. alpha_ct, alpha_st: weights of
    cross triggers and of the deviation between labels. max_rate: false detections an hour.
    """

    dtc: float
    gtc: float
    cttc: float | None = None
    alpha_ct: float = 0.0
    alpha_st: float = 1.0
    max_rate: float = 100.0


PSDS = {"psds1": Criteria(0.7, 0.7), "psds2": Criteria(0.1, 0.1, 0.3, 0.5)}
"""The two scenarios of DCASE's task 4: 1 wants times, 2 wants labels."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """One recording: (n, C) scores of cells that begin at `starts` (n,) and end with the next, the last at
    `seconds`; and its true sounds."""

    scores: Floats
    starts: Floats
    seconds: float
    truth: tuple[TrueSound, ...]


def timeline(
    windows: Sequence[ScoredWindow], seconds: float, truth: Sequence[TrueSound], labels: Sequence[str]
) -> Timeline:
    """The mean score of the windows that cover each cell; 0 where there is none.

    Windows overlap, and a sound is in every one that reaches it: it is where most of them agree.
    """
    n = max(1, int(np.ceil(seconds / CELL - 1e-9)))
    total, count = np.zeros((2, n, len(labels))), np.zeros((2, n, 1))
    for window in windows:
        cells = slice(
            round(window.start / CELL), max(round(window.start / CELL) + 1, round(window.end / CELL))
        )
        long = int(window.end - window.start >= LEAST - 1e-6)
        total[long, cells] += [window.scores.get(label, 0.0) for label in labels]
        count[long, cells] += 1
    mean = total / np.maximum(count, 1)
    scores: Floats = np.where(count[1] > 0, mean[1], mean[0])
    return Timeline(scores, CELL * np.arange(n, dtype=np.float64), seconds, tuple(truth))


@dataclass(frozen=True, slots=True)
class PsdsScore:
    """In [0, 1]; `labels`: each label's own area, without the others' weights."""

    value: float
    labels: Mapping[str, float] = field(default_factory=dict)


def psds(timelines: Sequence[Timeline], labels: Sequence[str], criteria: Criteria) -> PsdsScore:
    """The score over labels that are true somewhere; `nan` where none is. `labels` name the score columns."""
    hours = sum(one.seconds for one in timelines) / 3600
    lasting = dict.fromkeys(labels, 0.0)
    number = dict.fromkeys(labels, 0)
    for one in timelines:
        for sound in one.truth:
            if sound.label in lasting:
                lasting[sound.label] += sound.offset - sound.onset
                number[sound.label] += 1
    known = [label for label in labels if number[label]]
    if not known:
        return PsdsScore(float("nan"))
    curves = {}
    for label in known:
        others = [other for other in known if other != label]
        right, false, crossed = _curve(timelines, labels.index(label), label, others, criteria)
        rate = false / hours
        if criteria.alpha_ct and others:
            spans = np.array([lasting[other] for other in others]) / 3600
            rate = rate + criteria.alpha_ct * (crossed / spans).mean(axis=1)
        curves[label] = (rate, right / number[label])
    rates = np.unique(np.concatenate([[0.0], *(rate for rate, _ in curves.values())]))
    rates = rates[rates <= criteria.max_rate]
    widths = np.diff(np.append(rates, criteria.max_rate)) / criteria.max_rate
    found = np.stack([_best(rates, *curve) for curve in curves.values()])
    value = np.maximum(found.mean(axis=0) - criteria.alpha_st * found.std(axis=0), 0.0)
    own = {label: float(row @ widths) for label, row in zip(curves, found, strict=True)}
    return PsdsScore(float(value @ widths), own)


def _best(rates: Floats, rate: Floats, found: Floats) -> Floats:
    """The highest share found with at most so many false detections."""
    order = np.argsort(rate, kind="stable")
    best = np.concatenate([[0.0], np.maximum.accumulate(found[order])])
    return best[np.searchsorted(rate[order], rates, side="right")]


def _curve(
    timelines: Sequence[Timeline], column: int, label: str, others: Sequence[str], criteria: Criteria
) -> tuple[Counts, Counts, Counts]:
    """Sounds found (K,), false detections (K,) and cross triggers (K, others) at each of K thresholds."""
    thresholds, steps = [], []
    for one in timelines:
        levels, counts = _counts(one, column, label, others, criteria)
        thresholds.append(levels)
        steps.append(np.diff(counts, axis=0, prepend=0))
    levels, changes = np.concatenate(thresholds), np.concatenate(steps)
    order = np.argsort(-levels, kind="stable")
    last = np.append(np.flatnonzero(np.diff(levels[order])), len(order) - 1)
    counts = np.cumsum(changes[order], axis=0)[last]
    return counts[:, 0], counts[:, 1], counts[:, 2:]


def _counts(
    one: Timeline, column: int, label: str, others: Sequence[str], criteria: Criteria
) -> tuple[Floats, Counts]:
    """One recording's thresholds, highest first, and what (K, 2 + others) there is at each of them."""
    scores = one.scores[:, column]
    levels = np.unique(scores)[::-1]
    ends = np.append(one.starts[1:], one.seconds)
    own = _spans(one, label)
    foreign = [_spans(one, other) for other in others]
    counts = np.zeros((len(levels), 2 + len(others)), np.int64)
    for k, level in enumerate(levels):
        edges = np.diff((scores >= level).astype(np.int8), prepend=0, append=0)
        found = np.stack([one.starts[edges[:-1] == 1], ends[edges[1:] == -1]], axis=1)
        lengths = found[:, 1] - found[:, 0]
        common = _common(found, own)
        right = _reaches(common.sum(axis=1), criteria.dtc * lengths)
        counts[k, 0] = _reaches(common[right].sum(axis=0), criteria.gtc * (own[:, 1] - own[:, 0])).sum()
        counts[k, 1] = (~right).sum()
        if criteria.cttc is not None:
            wrong, needed = found[~right], criteria.cttc * lengths[~right]
            for c, spans in enumerate(foreign):
                counts[k, 2 + c] = (
                    _reaches(_common(wrong, spans).sum(axis=1), needed).sum() if len(spans) else 0
                )
    return levels, counts


def _spans(one: Timeline, label: str) -> Floats:
    spans = [(sound.onset, sound.offset) for sound in one.truth if sound.label == label]
    return np.array(spans, np.float64).reshape(-1, 2)


def _common(a: Floats, b: Floats) -> Floats:
    """Seconds that each of (n, 2) spans has in common with each of (m, 2): (n, m)."""
    common: Floats = np.minimum(a[:, None, 1], b[:, 1]) - np.maximum(a[:, None, 0], b[:, 0])
    return np.maximum(common, 0.0)


def _reaches(value: Floats, least: Floats) -> NDArray[np.bool_]:
    reached: NDArray[np.bool_] = np.round(value, DECIMALS) >= np.round(least, DECIMALS)
    return reached
