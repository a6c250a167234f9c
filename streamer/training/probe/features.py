"""A clip's mean over its frames, of every layer of a frozen encoder; each clip is heard once, ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.encoders import Encoder
from streamer.timebase import SAMPLE_RATE
from streamer.training import bars
from streamer.training.emotion.clips import clip_digest, read_clip
from streamer.training.tags.cache import FeatureCache

BATCH = 16
"""Clips that are lost where it is killed."""
LARGEST = 65504.0
"""Of float16."""


def clip_features(
    encoder: Encoder, paths: Sequence[Path], longest: float, cache: Path, progress: bool = True
) -> NDArray[np.float32]:
    """(n, layers, width): what goes into the first layer, where that is no layer itself, then every layer.

    longest: seconds of a clip that are heard. Raises StreamerError for a clip that cannot be read.
    """
    digests = [clip_digest(path, longest) for path in paths]
    first = mean_layers(encoder, np.zeros(SAMPLE_RATE, np.float32))
    layers, width = first.shape
    store = FeatureCache(
        cache, f"clips-{encoder.identity}", (layers, width), {"name": encoder.name, "pooling": "mean"}
    )
    with store.filling(), bars.progress(progress) as bar:
        missing = {d: path for d, path in zip(digests, paths, strict=True) if not store.has(1, d)}
        task = bar.add_task(f"features of {encoder.name}", total=len(missing))
        todo = list(missing.items())
        for start in range(0, len(todo), BATCH):
            part = todo[start : start + BATCH]
            means = [mean_layers(encoder, read_clip(path, longest)) for _, path in part]
            values = np.stack(means)[:, :, None].clip(-LARGEST, LARGEST).astype(np.float16)
            store.append(1, [digest for digest, _ in part], [True] * len(part), values)
            bar.advance(task, len(part))
    rows, _ = store.find(1, digests)
    out: NDArray[np.float32] = store.values(1)[rows][:, :, 0].astype(np.float32)
    return out


def mean_layers(encoder: Encoder, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """(layers, width): means over all frames of a clip (n,)."""
    frames = encoder.layers(samples)
    means = frames.layers[0].float().mean(1).numpy()
    if not encoder.embeds:
        return means
    embedding = frames.embedding[0].float().mean(0, keepdim=True).numpy()
    return np.concatenate([embedding, means])
