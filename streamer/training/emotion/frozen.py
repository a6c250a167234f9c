"""An emotion head on a frozen Whisper: its layers are computed once a clip, and an epoch takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from streamer.nn.emotion import LayersHead, token_frames
from streamer.nn.frames import Frames
from streamer.timebase import TOKEN
from streamer.training import bars
from streamer.training.emotion.clips import clip_digest, read_clip
from streamer.training.emotion.config import EmotionConfig
from streamer.training.emotion.measures import measure
from streamer.training.tags.cache import FeatureCache
from streamer.training.tags.encoders import FrozenEncoder

Layers = NDArray[np.float16]
"""(L, T, D): pooled layers of a clip of T whole tokens."""


def clip_layers(
    encoder: FrozenEncoder, paths: Sequence[Path], longest: float, cache: Path, progress: bool = True
) -> list[Layers]:
    """Pooled layers of each clip's first `longest` seconds, as the daemon pools an utterance of that length.

    Raises StreamerError for a clip that cannot be read.
    """
    store = FeatureCache(
        cache, encoder.identity, (encoder.info.n_layer, encoder.info.n_state), encoder.info.model_dump()
    )
    with store.filling():
        # How many tokens a clip has is only known once it is decoded: its digest has a place in the index.
        known = {path: _find(store, clip_digest(path, longest)) for path in paths}
        missing = [path for path, tokens in known.items() if tokens is None]
        for path in bars.track(missing, f"features of {encoder.info.name}", progress):
            samples = read_clip(path, longest)
            samples = np.pad(samples, (0, max(0, TOKEN - len(samples))))
            values = encoder.features([samples])
            known[path] = values.shape[2]
            store.append(values.shape[2], [clip_digest(path, longest)], [True], values)
    out = []
    for path in paths:
        tokens = known[path]
        assert tokens is not None
        rows, _ = store.find(tokens, [clip_digest(path, longest)])
        out.append(np.array(store.values(tokens)[rows[0]]))
    return out


def _find(store: FeatureCache, digest: bytes) -> int | None:
    return next((tokens for tokens in store.lengths if store.has(tokens, digest)), None)


@dataclass(frozen=True, slots=True)
class Examples:
    """Clips' layers (n, L, T, D) float32, zero behind each clip's own tokens, with their labels (n,)."""

    layers: Tensor
    lengths: tuple[int, ...]
    labels: Tensor

    def frames(self, rows: Tensor) -> Frames:
        """Some of the clips, as the head reads them."""
        return token_frames(self.layers[rows], [self.lengths[row] for row in rows.tolist()])

    @property
    def every(self) -> Tensor:
        """The number of each clip."""
        return torch.arange(len(self.labels))


def examples(layers: Sequence[Layers], labels: Sequence[int], pooling: str) -> Examples:
    """As one batch. For a mean over time, which is all that the head takes of a clip, one token has it."""
    clips = [torch.from_numpy(one).float() for one in layers]
    if pooling == "mean":
        clips = [clip.mean(1, keepdim=True) for clip in clips]
    lengths = tuple(clip.shape[1] for clip in clips)
    padded = [F.pad(clip, (0, 0, 0, max(lengths) - clip.shape[1])) for clip in clips]
    return Examples(torch.stack(padded), lengths, torch.tensor(labels))


def fit_head(
    train: Examples, choose: Examples, n_label: int, config: EmotionConfig, progress: bool = True
) -> LayersHead:
    """A head that learns from `train`; the epoch with the best unweighted average recall on `choose` is kept.

    A function of the examples and the seed.
    """
    frozen = config.frozen
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        _, n_layer, _, n_state = train.layers.shape
        head = LayersHead(n_layer, n_state, frozen.width, n_label, config.pooling)
        _standardise(head, train)
        optimiser = torch.optim.AdamW(head.parameters(), frozen.rate, weight_decay=frozen.decay)
        best, kept = -1.0, head.state_dict()
        for _ in bars.track(range(frozen.epochs), "head", progress):
            for rows in torch.randperm(len(train.labels)).split(frozen.batch):
                frames = train.frames(rows)
                states = F.dropout(head.summed(frames), frozen.dropout)
                loss = F.cross_entropy(head.judge(states, frames.mask), train.labels[rows])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            uar = measure(choose.labels.tolist(), predict_head(head, choose), n_label).uar
            if uar > best:
                best, kept = uar, {name: tensor.clone() for name, tensor in head.state_dict().items()}
    head.load_state_dict(kept)
    return head.eval()


def _standardise(head: LayersHead, train: Examples) -> None:
    own = train.frames(train.every).mask
    tokens = train.layers.transpose(1, 2)[own]  # (tokens, L, D)
    head.mean.copy_(tokens.mean(0))
    head.scale.copy_(tokens.std(0, correction=0) + 1e-5)


@torch.inference_mode()
def predict_head(head: LayersHead, asked: Examples) -> list[int]:
    """The label of each clip."""
    told: list[int] = head(asked.frames(asked.every)).argmax(-1).tolist()
    return told
