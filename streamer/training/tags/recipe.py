"""`streamer train tags`: from somebody's recordings to a head that the daemon loads.

Read the data, let the frozen encoder hear it once, cross-validate by folds, choose thresholds on what was
held out, fit the head that ships to everything, write it with its card and a report. Killed at any
moment, the same call goes on.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from streamer.errors import StreamerError
from streamer.evaluation.tags_metrics import score_tags
from streamer.labels import Label
from streamer.nn.definition import HeadInfo, TagsInfo
from streamer.nn.head_checkpoint import save_head
from streamer.tagging.detector import SILENCE
from streamer.tagging.labels import by_name
from streamer.training.sounds import MAKERS
from streamer.training.tags.cache import FeatureCache
from streamer.training.tags.card import write_card
from streamer.training.tags.config import TagsConfig
from streamer.training.tags.encoders import FrozenEncoder, load_encoder
from streamer.training.tags.features import fill_cache, plan, read_features
from streamer.training.tags.fit import score_all
from streamer.training.tags.folds import (
    ClipScores,
    Folds,
    Job,
    choose_thresholds,
    clip_scores,
    cross_validate,
    only_folds,
    run_fits,
)
from streamer.training.tags.names import SPEECH, in_order
from streamer.training.tags.outcome import Outcome, Prepared
from streamer.training.tags.readers import TEST_FOLD, Dataset, draw_folds, read_data, spread_folds
from streamer.training.tags.replay import save_replay
from streamer.training.tags.report import write_report
from streamer.training.tags.windows import Files, Planner

log = logging.getLogger(__name__)

T = TypeVar("T")

UNTESTED = 0.5
"""Threshold of every label where nothing was held out to choose one by."""


class TagsRecipe:
    """One training. out: the head's folder. work: checkpoints. cache: features, shared by trainings."""

    def __init__(
        self,
        data: Sequence[Path],
        encoder: str | Path,
        out: Path,
        config: TagsConfig,
        *,
        work: Path,
        cache: Path,
        progress: bool = True,
    ) -> None:
        self.data, self.encoder, self.out, self.config = data, encoder, out, config
        self.work, self.cache, self.progress = work, cache, progress
        self._seconds: dict[str, float] = {}

    def run(self) -> Outcome:
        """All of it; raises StreamerError where the data or the encoder cannot be used."""
        dataset = self.read()
        c = self.config
        encoder = load_encoder(self.encoder, c.encoder_precision, c.context, c.device)
        if c.encoder_name:
            encoder.info = encoder.info.model_copy(update={"name": c.encoder_name})
        prepared = self._timed("features", lambda: self.prepare(dataset, encoder))
        outcome = self.fit(prepared, encoder)
        self.write(outcome)
        return outcome

    def read(self) -> Dataset:
        """The data, with folds."""
        c = self.config
        dataset = read_data(self.data, c.rename, c.background)
        if c.folds > 1 and not any(clip.fold > 0 for clip in dataset.clips):
            clips = draw_folds(dataset.clips, c.folds, c.seed)
            note = (
                f"the data names no folds: {c.folds} were drawn at random. Recordings cut from one origin "
                "may lie in several of them, which flatters the figures; a column 'fold' would not"
            )
            dataset = dataclasses.replace(dataset, clips=tuple(clips), notes=(*dataset.notes, note))
        clips, lopsided = spread_folds(dataset.clips, c.seed)
        if c.folds > 1 and lopsided:
            note = f"folds were drawn anew for labels that lie in one of the data's: {', '.join(lopsided)}"
            dataset = dataclasses.replace(dataset, clips=tuple(clips), notes=(*dataset.notes, note))
        return dataset

    def prepare(self, dataset: Dataset, encoder: FrozenEncoder) -> Prepared:
        """Let the encoder hear what the cache has not."""
        clips = dataset.clips
        speech = [clip for clip in clips if clip.labels == (SPEECH,) and clip.fold != TEST_FOLD]
        files = Files(self.cache / "lengths.tsv")
        windows, broken = plan(Planner(files, clips, speech, self.config.windows, self.config.seed))
        info = encoder.info
        cache = FeatureCache(self.cache, encoder.identity, (info.n_layer, info.n_state), info.model_dump())
        broken += fill_cache(encoder, windows, cache, progress=self.progress)
        gone = {one.where for one in broken}
        count = Counter(name for clip in clips if clip.path not in gone for name in clip.labels)
        lost = [label.name for label in dataset.labels if not count[label.name]]
        notes = [f"the label {name!r} is left out: none of its recordings can be read" for name in lost]
        labels = [label for label in dataset.labels if count[label.name]]
        if self.config.windows.made:
            labels += [by_name(name) or Label(name) for name in (*MAKERS, SILENCE)]
        if not labels:
            raise StreamerError("expected recordings with labels, found none: there is nothing to learn")
        ordered = in_order(labels)
        windows = [window for window in windows if window.origin not in gone]
        features = read_features(cache, windows, [label.name for label in ordered])
        return Prepared(dataset, ordered, features, (*dataset.skipped, *broken), (*dataset.notes, *notes))

    def fit(self, prepared: Prepared, encoder: FrozenEncoder) -> Outcome:
        """Folds, thresholds, and the head that ships."""
        c = self.config
        parallel = c.parallel or torch.get_num_threads()
        folds, job = None, Job("head", c.fit, frozenset({TEST_FOLD}))
        if c.folds > 1:
            beside = () if c.fit.patience else (job,)
            folds = self._timed(
                "folds",
                lambda: cross_validate(prepared.features, c.fit, self.work, parallel, self.progress, beside),
            )
        thresholds = [UNTESTED] * len(prepared.labels)
        if folds is not None:
            names = [label.name for label in prepared.labels]
            speech = names.index(SPEECH) if SPEECH in names else None
            thresholds = choose_thresholds(folds.scores, folds.targets, c.precision, speech=speech)
            if c.fit.patience:
                # There is nothing left to validate on: as long as the folds learnt.
                epochs = max(1, round(statistics.median(folds.epochs)))
                job = dataclasses.replace(job, config=dataclasses.replace(c.fit, patience=0, epochs=epochs))
        (fitted,) = self._timed(
            "fit", lambda: run_fits(prepared.features, [job], self.work, progress=self.progress)
        )
        left = only_folds(prepared.features, {TEST_FOLD})
        test = None
        if left:
            got, wanted = score_all(fitted.head, left)
            test = clip_scores(got, wanted, np.concatenate([f.clip for f in left]))
        scores = {**_by_set(folds, prepared), **(_measured("test", test, prepared.labels) if test else {})}
        return Outcome(
            name=self.out.name,
            config=c,
            encoder=encoder.info,
            prepared=prepared,
            folds=folds,
            test=test,
            thresholds=thresholds,
            fitted=fitted,
            scores=scores,
            passes=encoder.passes,
            seconds=dict(self._seconds),
        )

    def write(self, outcome: Outcome) -> None:
        """The head's folder, and the report in the work folder."""
        prepared, labels = outcome.prepared, outcome.prepared.labels
        named = {label.name: round(t, 3) for label, t in zip(labels, outcome.thresholds, strict=True)}
        info = HeadInfo(
            name=outcome.name,
            description=f"{len(labels)} sounds, read from the encoder of {outcome.encoder.name}",
            licence=licences(prepared.dataset),
            data=", ".join(sorted({clip.group for clip in prepared.dataset.clips})),
            encoder=outcome.encoder,
            tags=TagsInfo(window=max(self.config.windows.lengths), threshold=UNTESTED, thresholds=named),
            scores=outcome.scores,
        )
        save_head(self.out, info, outcome.fitted.head, labels)
        learnt = [f for f in prepared.features if len(f)]
        save_replay(self.out, outcome.fitted.head, learnt, self.config.replay)
        write_card(self.out, outcome, info)
        write_report(self.work, outcome)

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        done = work()
        self._seconds[name] = round(time.perf_counter() - began, 1)
        return done


def licences(dataset: Dataset) -> str:
    """What the recordings' licences add up to, in a line."""
    found = sorted({licence for _, licence in dataset.licences})
    return f"recordings: {', '.join(found)}; see CARD.md" if found else "see CARD.md"


def group_name(group: str) -> str:
    """A set's name as a key of `scores`."""
    return re.sub(r"[^a-z0-9]+", "_", group.lower()).strip("_") or "data"


def _by_set(folds: Folds | None, prepared: Prepared) -> dict[str, float]:
    """Cross-validated measures of each set of the data that has folds."""
    if folds is None:
        return {}
    groups: dict[str, list[int]] = {}
    for i, clip in enumerate(prepared.dataset.clips):
        if clip.labels and clip.fold > 0:
            groups.setdefault(group_name(clip.group), []).append(i)
    out: dict[str, float] = {}
    for name, clips in groups.items():
        out |= _measured(name, folds.clips.only(clips), prepared.labels)
    return out


def _measured(name: str, clips: ClipScores, labels: Sequence[Label]) -> dict[str, float]:
    """mAP and, where recordings have one label each, accuracy, in per cent."""
    if not len(clips.clips):
        return {}
    found = {
        f"{name}_map": score_tags(clips.targets, clips.scores, [label.name for label in labels]).mean_ap,
        f"{name}_accuracy": clips.accuracy() if (clips.targets.sum(1) <= 1).all() else math.nan,
    }
    return {key: round(100 * value, 1) for key, value in found.items() if not math.isnan(value)}
