"""Windows to features: through the encoder once, then from the cache."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.errors import StreamerError
from streamer.tagging.detector import SILENCE
from streamer.training import bars
from streamer.training.tags.cache import FeatureCache, Noticed
from streamer.training.tags.encoders import FrozenEncoder
from streamer.training.tags.names import SPEECH
from streamer.training.tags.pieces import SILENT, Audio, loudest
from streamer.training.tags.tables import Skipped
from streamer.training.tags.windows import Planner, Window

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Features:
    """Pooled layers of windows of one length.

    values: (M, L, T, D) float16, possibly on disk; rows: (N,) which of them are the windows'. targets:
    (N, C) bool. fold, clip: (N,) as in Window. identity: changes with the encoder and with the windows.
    """

    values: NDArray[np.float16]
    rows: NDArray[np.int64]
    targets: NDArray[np.bool_]
    fold: NDArray[np.int64]
    clip: NDArray[np.int64]
    identity: bytes = b""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, which: NDArray[np.int64]) -> torch.Tensor:
        """Layers (B, L, T, D) of some windows, float16."""
        return torch.from_numpy(self.values[self.rows[which]])

    def only(self, which: NDArray[np.int64]) -> Features:
        """Some of the windows."""
        return replace(
            self,
            rows=self.rows[which],
            targets=self.targets[which],
            fold=self.fold[which],
            clip=self.clip[which],
        )


def plan(planner: Planner) -> tuple[list[Window], list[Skipped]]:
    """Every window of the data, and the recordings that have none because they cannot be decoded.

    Speech with a text is material, drawn from for what lies over other windows and for windows of speech: a
    corpus of it would outnumber everything else.
    """
    windows: list[Window] = []
    skipped: list[Skipped] = []
    for i, clip in enumerate(planner.clips):
        if clip.text and clip.labels == (SPEECH,):
            continue
        try:
            windows += planner.of_clip(i)
        except StreamerError as error:
            skipped.append(Skipped(clip.path, str(error).removeprefix(f"{clip.path}: ")))
    windows += planner.others()
    return windows, skipped


def fill_cache(
    encoder: FrozenEncoder,
    windows: Iterable[Window],
    cache: FeatureCache,
    batch: int = 16,
    progress: bool = True,
) -> list[Skipped]:
    """Encode what the cache has not; what turned out to be broken is returned and left out.

    Killed at any moment, the next call goes on: at most one batch of each length is done again.
    """
    with cache.filling():
        missing = {w.digest: w for w in windows if not cache.has(w.tokens, w.digest)}
        if not missing:
            return []
        skipped: dict[str, Skipped] = {}
        waiting: dict[int, list[tuple[bytes, int, Audio]]] = {}
        with bars.progress(progress) as bar:
            task = bar.add_task("sound features", total=len(missing))
            for digest, window in missing.items():
                bar.advance(task)
                try:
                    samples, heard = window.render()
                except StreamerError as error:
                    skipped[window.origin] = Skipped(window.origin or window.key, str(error))
                    continue
                group = waiting.setdefault(window.tokens, [])
                group.append((digest, _noticed(samples, heard), samples))
                if len(group) == batch:
                    _encode(encoder, cache, window.tokens, waiting.pop(window.tokens))
            for tokens, group in waiting.items():
                _encode(encoder, cache, tokens, group)
    return list(skipped.values())


def _encode(
    encoder: FrozenEncoder, cache: FeatureCache, tokens: int, group: Sequence[tuple[bytes, int, Audio]]
) -> None:
    digests, noticed, samples = zip(*group, strict=True)
    cache.append(tokens, digests, noticed, encoder.features(samples))


def _noticed(samples: Audio, heard: bool) -> int:
    return (Noticed.HEARD if heard else 0) | (Noticed.SILENT if loudest(samples) < SILENT else 0)


def read_features(cache: FeatureCache, windows: Sequence[Window], labels: Sequence[str]) -> list[Features]:
    """The features of those windows that the cache has, one `Features` for each length."""
    column = {name: c for c, name in enumerate(labels)}
    out = []
    for tokens in sorted({w.tokens for w in windows}):
        group = [w for w in windows if w.tokens == tokens and cache.has(tokens, w.digest)]
        if not group:
            continue
        rows, noticed = cache.find(tokens, [w.digest for w in group])
        targets = np.zeros((len(group), len(labels)), np.bool_)
        for row, (window, seen) in enumerate(zip(group, noticed, strict=True)):
            # What nobody can hear is silence, whatever it was meant to be.
            heard = window.source if seen & Noticed.HEARD else ()
            for name in (SILENCE,) if seen & Noticed.SILENT else (*window.labels, *heard):
                if name in column:
                    targets[row, column[name]] = True
        fold = np.array([w.fold for w in group], np.int64)
        clip = np.array([w.clip for w in group], np.int64)
        identity = blake2b(b"".join([cache.identity, *(w.digest for w in group)]), digest_size=16).digest()
        out.append(Features(cache.values(tokens), rows, targets, fold, clip, identity))
    return out


def label_counts(features: Sequence[Features]) -> NDArray[np.int64]:
    """Windows of each label, (C,)."""
    count: NDArray[np.int64] = np.sum([f.targets.sum(0) for f in features], axis=0).astype(np.int64)
    return count
