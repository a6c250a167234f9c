"""`streamer eval probe`: frozen encoders, and mean MFCCs, on the same folds of the same recordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from streamer.backends.torch import choose_precision
from streamer.config import ModelConfig
from streamer.encoders import Encoder, load_encoder
from streamer.errors import StreamerError
from streamer.training import bars
from streamer.training.emotion.baseline import classify, mfcc
from streamer.training.emotion.clips import read_clip
from streamer.training.emotion.measures import Measures, measure
from streamer.training.probe.clips import Labelled
from streamer.training.probe.features import clip_features
from streamer.training.probe.fit import ProbeConfig, Split, cross_validate, splits

BASELINE = "mean MFCC"


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one encoder: all test folds together.

    summed: of the probe on the weighted sum of all layers. layers: of each layer's own, first that of layer
    `first` (0: what goes into the first). shares: the sum's weights, their mean over the folds. width: of a
    layer. The baseline has no layers.
    """

    name: str
    summed: Measures
    width: int
    layers: tuple[Measures, ...] = ()
    shares: tuple[float, ...] = ()
    first: int = 1

    @property
    def best(self) -> int | None:
        """The number of the layer with the highest unweighted average recall, None for the baseline."""
        recalls = [one.uar for one in self.layers]
        return self.first + int(np.argmax(recalls)) if recalls else None


@dataclass(frozen=True, slots=True)
class _Task:
    """The clips' labels as numbers, and their parts."""

    truth: NDArray[np.int64]
    genders: tuple[str, ...]
    parts: tuple[Split, ...]
    n_label: int

    def measured(self, told: NDArray[np.int64]) -> Measures:
        return measure(self.truth.tolist(), told.tolist(), self.n_label, self.genders)


def compare(
    data: Labelled,
    encoders: Sequence[str],
    config: ProbeConfig,
    cache: Path,
    context: Literal["auto", "short", "full"] = "auto",
    progress: bool = True,
) -> list[Row]:
    """A row for each encoder, computing as in the daemon, and one for the baseline.

    Raises StreamerError for what cannot be used.
    """
    config.checked()
    clips = data.clips
    numbers = np.array([i for i, fold in enumerate(data.folds) for _ in fold], np.int64)
    task = _Task(
        np.array([data.labels.index(clip.label) for clip in clips], np.int64),
        tuple(clip.gender for clip in clips),
        tuple(splits(numbers)),
        len(data.labels),
    )
    for number, part in enumerate(task.parts, 1):
        if len({*task.truth[part.train].tolist()}) < 2:
            raise StreamerError(
                f"fold {number} leaves clips of fewer than two labels to learn from: give more recordings, "
                "or ask for other folds"
            )
    paths = [clip.path for clip in clips]
    rows = []
    precision = choose_precision(ModelConfig())
    loaded = [load_encoder(name, context, precision) for name in encoders]
    names = [encoder.name for encoder in loaded]
    for asked, encoder in zip(encoders, loaded, strict=True):
        features = clip_features(encoder, paths, config.longest, cache, progress)
        name = encoder.name if names.count(encoder.name) == 1 else asked
        rows.append(_probed(name, encoder, features, task, config, progress))
    rows.append(_baseline(paths, task, config, progress))
    return rows


def _probed(
    name: str,
    encoder: Encoder,
    features: NDArray[np.float32],
    task: _Task,
    config: ProbeConfig,
    progress: bool,
) -> Row:
    count = features.shape[1]
    with bars.progress(progress) as bar:
        job = bar.add_task(f"probes of {name}", total=(count + 1) * len(task.parts))

        def run(x: NDArray[np.float32]) -> tuple[Measures, NDArray[np.float32]]:
            told, shares = cross_validate(
                x, task.truth, task.parts, task.n_label, config, lambda: bar.advance(job)
            )
            return task.measured(told), shares

        summed, shares = run(features)
        layers = tuple(run(features[:, i : i + 1])[0] for i in range(count))
    return Row(
        name,
        summed,
        features.shape[2],
        layers,
        tuple(float(share) for share in shares.mean(0)),
        0 if encoder.embeds else 1,
    )


def _baseline(paths: Sequence[Path], task: _Task, config: ProbeConfig, progress: bool) -> Row:
    """A linear classifier on mean MFCCs, in the same folds."""
    means = np.stack(
        [mfcc(read_clip(path, config.longest)) for path in bars.track(paths, BASELINE, progress)]
    )
    told = np.full(len(paths), -1, np.int64)
    for part in task.parts:
        known = np.concatenate([part.train, part.choose])
        told[part.test] = classify(means[known], task.truth[known].tolist(), means[part.test], task.n_label)
    return Row(BASELINE, task.measured(told), means.shape[1])
