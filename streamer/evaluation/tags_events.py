"""Reported sounds against true ones: which belong together, how far apart, what is too much and too little.

Two readings of the same events:

- *Found*: a true sound is found where one of its label was reported that overlaps it, `slack` seconds
  added on either side. Nearest onsets go together first, one to one. A further report of a sound that is
  found already is a *duplicate*; one that belongs to nothing is *false*.
- *Collar* (Mesaros et al. 2016): onsets at most so far apart count as the same, one to one; precision, recall
  and F1 follow. Duplicates and what came too late count against precision.

Reports of labels that a scene ignores, or that are also true of a sound there, are neither right nor wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from streamer.evaluation.tags_heard import Reported
from streamer.evaluation.tags_scenes import Scene, TrueSound


@dataclass(frozen=True, slots=True)
class Matched:
    """One scene's sounds, put together with what was reported of it."""

    scene: Scene
    pairs: tuple[tuple[TrueSound, Reported | None], ...]
    """Each true sound with its report, None where it was not found."""
    duplicates: tuple[Reported, ...]
    false: tuple[Reported, ...]

    @property
    def counted(self) -> list[Reported]:
        """Every report that is right or wrong."""
        found = [report for _, report in self.pairs if report is not None]
        return [*found, *self.duplicates, *self.false]


def match(scene: Scene, reports: Sequence[Reported], slack: float) -> Matched:
    """Put reports and true sounds together; see the module's docstring."""
    reports = sorted(reports, key=lambda report: (report.start, report.end, report.label))
    chosen: dict[int, Reported] = {}
    left = set(range(len(reports)))
    near = [
        (abs(report.start - sound.onset), t, r)
        for t, sound in enumerate(scene.sounds)
        for r, report in enumerate(reports)
        if report.label == sound.label and _overlap(sound, report, slack)
    ]
    for _, t, r in sorted(near):
        if t not in chosen and r in left:
            chosen[t] = reports[r]
            left.discard(r)
    duplicates, false = [], []
    again = {r for _, _, r in near}
    for r in sorted(left):
        if r in again:
            duplicates.append(reports[r])
        elif not _is_excused(scene, reports[r], slack):
            false.append(reports[r])
    pairs = tuple((sound, chosen.get(t)) for t, sound in enumerate(scene.sounds))
    return Matched(scene, pairs, tuple(duplicates), tuple(false))


def _overlap(sound: TrueSound, report: Reported, slack: float) -> bool:
    return report.start < sound.offset + slack and report.end > sound.onset - slack


def _is_excused(scene: Scene, report: Reported, slack: float) -> bool:
    return report.label in scene.ignored or any(
        report.label in sound.also and _overlap(sound, report, slack) for sound in scene.sounds
    )


@dataclass(frozen=True, slots=True)
class CollarScore:
    """Precision, recall and F1 over all events; macro_f1: mean over the labels that are true somewhere."""

    collar: float
    precision: float
    recall: float
    f1: float
    macro_f1: float


@dataclass(frozen=True, slots=True)
class LabelEvents:
    """One label's events. onset_error: median of the found ones' absolute errors (s)."""

    label: str
    count: int
    found: int
    duplicates: int
    false: int
    onset_error: float


@dataclass(frozen=True, slots=True)
class EventScores:
    """Everything about a set of scenes. Errors in seconds, reported minus true; `nan` of nothing."""

    seconds: float
    count: int
    found: int
    duplicates: int
    false: int
    onset_errors: tuple[float, ...]
    offset_errors: tuple[float, ...]
    delays: tuple[float, ...]
    """From a true onset to the end of the window with which the sound was reported."""
    collars: tuple[CollarScore, ...]
    labels: tuple[LabelEvents, ...]

    @property
    def found_rate(self) -> float:
        """Share of the true sounds that were found."""
        return self.found / self.count if self.count else float("nan")

    @property
    def false_per_hour(self) -> float:
        """False reports an hour of audio."""
        return 3600 * self.false / self.seconds if self.seconds else float("nan")

    @property
    def onset_error(self) -> tuple[float, float]:
        """Median and 90th percentile of the absolute onset errors."""
        return spread(np.abs(self.onset_errors))


def spread(values: Iterable[float]) -> tuple[float, float]:
    """Median and 90th percentile."""
    array = np.fromiter(values, np.float64)
    if not len(array):
        return float("nan"), float("nan")
    return float(np.median(array)), float(np.quantile(array, 0.9))


def score_events(matched: Sequence[Matched], collars: Sequence[float]) -> EventScores:
    """Add scenes up."""
    pairs = [pair for one in matched for pair in one.pairs]
    found = [(sound, report) for sound, report in pairs if report is not None]
    return EventScores(
        seconds=sum(one.scene.seconds for one in matched),
        count=len(pairs),
        found=len(found),
        duplicates=sum(len(one.duplicates) for one in matched),
        false=sum(len(one.false) for one in matched),
        onset_errors=tuple(report.start - sound.onset for sound, report in found),
        offset_errors=tuple(report.end - sound.offset for sound, report in found),
        delays=tuple(report.told - sound.onset for sound, report in found),
        collars=tuple(_collar(matched, collar) for collar in collars),
        labels=tuple(_label(matched, label) for label in _labels(matched)),
    )


def _labels(matched: Sequence[Matched]) -> list[str]:
    true = {sound.label for one in matched for sound in one.scene.sounds}
    return sorted(true | {report.label for one in matched for report in one.false})


def _label(matched: Sequence[Matched], label: str) -> LabelEvents:
    pairs = [(s, r) for one in matched for s, r in one.pairs if s.label == label]
    errors = [abs(report.start - sound.onset) for sound, report in pairs if report is not None]
    return LabelEvents(
        label,
        len(pairs),
        len(errors),
        sum(report.label == label for one in matched for report in one.duplicates),
        sum(report.label == label for one in matched for report in one.false),
        spread(errors)[0],
    )


def _collar(matched: Sequence[Matched], collar: float) -> CollarScore:
    counts: dict[str, list[int]] = {}
    for one in matched:
        for label in {sound.label for sound in one.scene.sounds} | {r.label for r in one.counted}:
            onsets = sorted(sound.onset for sound in one.scene.sounds if sound.label == label)
            starts = sorted(report.start for report in one.counted if report.label == label)
            right = _within(onsets, starts, collar)
            before = counts.setdefault(label, [0, 0, 0])
            counts[label] = [a + b for a, b in zip(before, (right, len(starts), len(onsets)), strict=True)]
    right, reported, true = np.sum(list(counts.values()), axis=0) if counts else (0, 0, 0)
    each = [_f1(*numbers) for numbers in counts.values() if numbers[2]]
    return CollarScore(
        collar,
        float(right / reported) if reported else float("nan"),
        float(right / true) if true else float("nan"),
        _f1(right, reported, true),
        float(np.mean(each)) if each else float("nan"),
    )


def _within(onsets: Sequence[float], starts: Sequence[float], collar: float) -> int:
    """The most pairs, one to one, that are at most `collar` apart; both sorted."""
    t = r = pairs = 0
    while t < len(onsets) and r < len(starts):
        apart = starts[r] - onsets[t]
        if abs(apart) <= collar + 1e-9:  # sample indices as seconds are not exact
            t, r, pairs = t + 1, r + 1, pairs + 1
        elif apart < 0:
            r += 1
        else:
            t += 1
    return pairs


def _f1(right: int, reported: int, true: int) -> float:
    return float(2 * right / (reported + true)) if reported + true else float("nan")
