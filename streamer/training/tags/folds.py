"""Cross-validation by the data's folds, and the thresholds that follow from it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.errors import StreamerError
from streamer.training import bars
from streamer.training.tags.draws import Draws
from streamer.training.tags.features import Features
from streamer.training.tags.fit import Fitted, HeadFit, TagConfig, fit_identity, plain_attention, score_all
from streamer.training.tags.readers import TEST_FOLD

LEAST_PRECISION = 0.5
"""A threshold below which more than half of what it reports is wrong is no threshold."""
FALSE_IN_SPEECH = 0.001
"""Share of the windows of people talking that may be taken for another sound, for each sound."""
WATCHED = 1000
"""Windows at most that are looked at after each epoch."""


@dataclass(frozen=True, slots=True)
class ClipScores:
    """Whole recordings: their indices (N,), probabilities and truth (N, C), averaged over their pieces."""

    clips: NDArray[np.int64]
    scores: NDArray[np.float32]
    targets: NDArray[np.bool_]

    def only(self, clips: Collection[int]) -> ClipScores:
        """Some of the recordings."""
        which = np.isin(self.clips, list(clips))
        return ClipScores(self.clips[which], self.scores[which], self.targets[which])

    def accuracy(self) -> float:
        """Share of the recordings of one label for which it is the best of all labels that occur here.

        nan where there are none.
        """
        single = self.targets.sum(1) == 1
        columns = np.flatnonzero(self.targets.any(0))
        if not single.any():
            return float("nan")
        best = columns[self.scores[single][:, columns].argmax(1)]
        return float(np.mean(best == self.targets[single].argmax(1)))


def clip_scores(got: NDArray[np.float32], targets: NDArray[np.bool_], clip: NDArray[np.int64]) -> ClipScores:
    """Windows (N, C) with the recordings (N,) that they are the whole or a piece of; others are left out."""
    whole = np.flatnonzero(clip >= 0)
    clips, at = np.unique(clip[whole], return_inverse=True)
    total = np.zeros((len(clips), got.shape[1]), np.float64)
    np.add.at(total, at, got[whole])
    truth = np.zeros(total.shape, np.bool_)
    np.logical_or.at(truth, at, targets[whole])
    mean = total / np.maximum(np.bincount(at, minlength=len(clips)), 1)[:, None]
    return ClipScores(clips.astype(np.int64), mean.astype(np.float32), truth)


@dataclass(frozen=True, slots=True)
class Folds:
    """Cross-validation: every window scored by a head that never saw its fold.

    scores, targets: (N, C). clips: the whole recordings among them. curves: of each fold's fit. epochs: how
    many each learnt.
    """

    scores: NDArray[np.float32]
    targets: NDArray[np.bool_]
    clips: ClipScores
    curves: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)


def only_folds(features: Sequence[Features], folds: Collection[int]) -> list[Features]:
    """The windows of some folds."""
    kept = [f.only(np.flatnonzero(np.isin(f.fold, list(folds)))) for f in features]
    return [f for f in kept if len(f)]


def watched(features: Sequence[Features]) -> list[Features]:
    """Evenly spread windows of all, WATCHED at most."""
    every = -(-sum(map(len, features)) // WATCHED) if features else 1
    return [f.only(np.arange(0, len(f), max(1, every))) for f in features]


@dataclass(frozen=True, slots=True)
class Job:
    """One fit among several. `leave`: folds not learnt from; `validation`: folds looked at each epoch."""

    name: str
    config: TagConfig
    leave: frozenset[int]
    validation: frozenset[int] = frozenset()


def run_fits(
    features: Sequence[Features],
    jobs: Sequence[Job],
    folder: Path | None = None,
    parallel: int = 1,
    progress: bool = True,
) -> list[Fitted]:
    """Fit several heads to the same features, `parallel` at a time, each with its share of torch's threads.

    Each keeps its checkpoint in a folder of `folder` that its configuration and data name, so that a run
    that was killed goes on and one that was finished is not repeated. All are of one precision.
    """
    before = torch.get_num_threads()
    parallel = max(1, min(parallel, len(jobs)))
    with bars.progress(progress) as bar, ThreadPoolExecutor(parallel, "fit") as pool:

        def fit(job: Job) -> Fitted:
            look = watched(only_folds(features, job.validation)) if job.validation else []
            place = None
            if folder is not None:
                data = Draws(features, job.config.draws, job.leave).identity
                place = folder / f"{job.name}-{fit_identity(job.config, data)}"
            one = HeadFit(features, job.config, job.leave, look, place)
            task = bar.add_task(job.name, total=one.steps, completed=one.step)

            def tell(now: HeadFit) -> None:
                bar.update(task, completed=now.step, description=f"{job.name}{_last(now)}")

            fitted = one.run(tell)
            bar.update(task, completed=one.steps)
            return fitted

        if parallel > 1:
            torch.set_num_threads(max(1, before // parallel))
        try:
            with plain_attention(jobs[0].config):
                return list(pool.map(fit, jobs))
        finally:
            torch.set_num_threads(before)


def _last(fit: HeadFit) -> str:
    return f" loss {fit.curve[-1]['loss']:.3f}" if fit.curve else ""


def cross_validate(
    features: Sequence[Features],
    config: TagConfig,
    folder: Path | None = None,
    parallel: int = 1,
    progress: bool = True,
    beside: Sequence[Job] = (),
) -> Folds:
    """A head for each of the data's folds, fitted to the others.

    beside: other fits that `run_fits` will be asked for with the same `folder`, where they then are: no
    thread waits while the last fold is fitted. With early stopping the next fold is the validation one, and
    neither is learnt from. Raises StreamerError where there are not at least two folds.
    """
    present = sorted({int(k) for f in features for k in np.unique(f.fold) if k > 0})
    if len(present) < 2:
        raise StreamerError(
            "expected recordings of sounds with a 'fold' of at least two kinds, from 1 up, found "
            f"{len(present)}: without them there is nothing to measure on or to choose thresholds by"
        )
    jobs = []
    for fold, following in zip(present, [*present[1:], present[0]], strict=True):
        look = following if config.patience and len(present) > 2 else fold
        jobs.append(Job(f"fold {fold}", config, frozenset({TEST_FOLD, fold, look}), frozenset({look})))
    fitted = run_fits(features, [*jobs, *beside], folder, parallel, progress)[: len(jobs)]
    got, wanted, clips = [], [], []
    for fold, one in zip(present, fitted, strict=True):
        left = only_folds(features, {fold})
        scores, targets = score_all(one.head, left)
        got.append(scores)
        wanted.append(targets)
        clips += [f.clip for f in left]
    scores, targets = np.concatenate(got), np.concatenate(wanted)
    return Folds(
        scores,
        targets,
        clip_scores(scores, targets, np.concatenate(clips)),
        {fold: one.curve for fold, one in zip(present, fitted, strict=True)},
        [one.epochs for one in fitted],
    )


def choose_thresholds(
    got: NDArray[np.float32],
    targets: NDArray[np.bool_],
    precision: float = 0.9,
    low: float = 0.25,
    high: float = 0.9,
    speech: int | None = None,
) -> list[float]:
    """For each label the lowest threshold with that precision on held-out windows, in steps of 0.001.

    speech: the column of people talking. No other label's threshold, nor 0.5, is so low that more than
    FALSE_IN_SPEECH of the windows that have it and not that label would be reported.

    Where none within the bounds reaches it: the best by F0.5 (precision counts twice as much as recall) of
    those with LEAST_PRECISION, else `high`. 0.5 for a label with fewer than three examples.
    """
    grid = np.round(np.arange(round(1000 * low), round(1000 * high) + 1) / 1000, 3)
    out = []
    for c in range(got.shape[1]):
        least = low if speech in (None, c) else _quiet(got[targets[:, speech] & ~targets[:, c], c], low, high)
        if targets[:, c].sum() < 3:
            out.append(max(0.5, least))
            continue
        order = np.argsort(got[:, c])
        first = np.searchsorted(got[order, c].astype(np.float64), grid)
        hits = np.append(np.cumsum(targets[order[::-1], c])[::-1], 0.0)[first]
        flagged = len(order) - first
        allowed = grid >= least
        reached = np.flatnonzero(allowed & (flagged > 0) & (hits >= precision * flagged))
        if len(reached):
            out.append(float(grid[reached[0]]))
            continue
        right, found = hits / np.maximum(flagged, 1), hits / targets[:, c].sum()
        merit = 1.25 * right * found / np.maximum(0.25 * right + found, 1e-9)
        merit[(right < LEAST_PRECISION) | ~allowed] = 0
        out.append(float(grid[merit.argmax()]) if merit.max() > 0 else high)
    return out


def _quiet(scores: NDArray[np.float32], low: float, high: float) -> float:
    """The lowest threshold, in steps of 0.001, that at most FALSE_IN_SPEECH of these windows reach."""
    if not len(scores):
        return low
    most = np.sort(scores)[::-1][int(FALSE_IN_SPEECH * len(scores))]
    return float(np.clip(np.floor(1000 * float(most) + 1) / 1000, low, high))


def at_thresholds(
    got: NDArray[np.float32], targets: NDArray[np.bool_], thresholds: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision and recall (C,) of each label at its threshold; nan where nothing is flagged, or true."""
    flagged = got >= np.array(thresholds, np.float32)
    hits = (flagged & targets).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / flagged.sum(0), hits / targets.sum(0)
