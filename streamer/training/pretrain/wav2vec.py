"""wav2vec's pretraining (Schneider et al. 2019): which frame comes k steps later?

From c at a frame an affine map h_k for each k up to `ahead` tells z k frames later from `distractors`
frames drawn from all of the clip, by logistic loss: -log σ(z⁺·h_k(c)) - λ E[log σ(-z⁻·h_k(c))], with λ as
many as the distractors. As in fairseq, whose layout the checkpoint has, the maps share their bias, and a
frame has the same distractors for every k.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from streamer.errors import StreamerError
from streamer.nn.wav2vec1 import AGGREGATORS, HOP, KERNELS, STRIDES, Wav2Vec, Wav2VecDims, receptive_field
from streamer.training.pretrain.crops import Crop, draw_others

MEASURES = ("contrastive", "accuracy", "target_score", "random_score")
PREDICTIONS = "wav2vec_predictions.project_to_steps."
"""fairseq's name of what is not part of the features."""


@dataclass(frozen=True, slots=True)
class PredictTask:
    """What is asked."""

    ahead: int = 12
    distractors: int = 10


def frames_in(samples: int) -> int:
    """Frames of z and c that so many samples give; 0 where they are too few for one."""
    return max(0, (samples - receptive_field(KERNELS, STRIDES)) // HOP + 1)


def dims_of(width: int, large: bool) -> Wav2VecDims:
    """The published shapes, at any width. Raises StreamerError for a width of less than one."""
    if width < 1:
        raise StreamerError(f"expected a width of 1 or more, found {width}")
    kernels = next(kernels for kernels, skip in AGGREGATORS.items() if skip == large)
    return Wav2VecDims(width, kernels, large)


class Predictor(nn.Module):
    """A wav2vec and its maps h_k, under fairseq's names."""

    def __init__(self, features: Wav2Vec, task: PredictTask) -> None:
        super().__init__()
        self.features = features
        self.task = task
        width = features.dims.width
        self.project_to_steps = nn.ConvTranspose2d(width, width, (1, task.ahead))

    def forward(self, samples: Tensor, lengths: Tensor, others: Tensor) -> dict[str, Tensor]:
        """The loss of a batch as `collate` makes it, and the sums of its measures.

        measures: (1, 5) losses, right choices, predictions, scores of the true frames and of distractors.
        """
        sums: list[Tensor] = []
        for row, n, drawn in zip(samples, lengths.tolist(), others, strict=True):
            sums.append(self._clip(row[:n], drawn))
        total = torch.stack(sums).sum(0)
        return {"loss": total[0] / total[2], "measures": total.detach()[None]}

    def _clip(self, samples: Tensor, others: Tensor) -> Tensor:
        """(5,) of one clip (n,), for the norms see all of it; others: (≥ T, distractors) frames for each."""
        seen = self.features.feature_extractor(samples[None])
        c = self.features.feature_aggregator(seen)
        z = seen[0].T
        told = self.project_to_steps(c[..., None])[0].permute(2, 1, 0)  # (ahead, T, width)
        choices = torch.cat([z[:, None], z[others[: len(z)]]], 1)  # (T, 1 + distractors, width)
        sums = torch.zeros(5, device=z.device)
        for k in range(1, min(self.task.ahead, len(z) - 1) + 1):
            scores = torch.einsum("td,tnd->tn", told[k - 1, :-k], choices[k:])
            true, false = scores[:, 0], scores[:, 1:]
            loss = -(F.logsigmoid(true).sum() + F.logsigmoid(-false).sum())
            right = (true.detach()[:, None] > false.detach()).all(1).sum()
            count = torch.tensor(float(len(scores)), device=z.device)
            sums = sums + torch.stack([loss, right, count, true.sum(), false.mean(1).sum()])
        return sums


def measure(found: Any) -> dict[str, float]:
    """The measures of an evaluation from the sums of its batches."""
    sums = np.asarray(found.predictions, np.float64).sum(0)
    return dict(zip(MEASURES, (sums[[0, 1, 3, 4]] / sums[2]).tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class Collate:
    """Crops -> padded samples, their lengths, and which frames are the distractors of each frame."""

    task: PredictTask

    def __call__(self, crops: Sequence[Crop]) -> dict[str, Tensor]:
        """See the class."""
        frames = [frames_in(len(crop.samples)) for crop in crops]
        others = torch.zeros(len(crops), max(frames), self.task.distractors, dtype=torch.long)
        for i, (crop, count) in enumerate(zip(crops, frames, strict=True)):
            others[i, :count] = torch.from_numpy(draw_others(count, self.task.distractors, crop.rng))
        samples = [torch.from_numpy(crop.samples) for crop in crops]
        return {
            "samples": nn.utils.rnn.pad_sequence(samples, batch_first=True),
            "lengths": torch.tensor([len(one) for one in samples]),
            "others": others,
        }


def save(model: Predictor, path: Path) -> None:
    """Write fairseq's layout (`args` and `model`), as `load_wav2vec` and fairseq read it."""
    dims = model.features.dims
    about = argparse.Namespace(
        arch="wav2vec",
        prediction_steps=model.task.ahead,
        num_negatives=model.task.distractors,
        conv_feature_layers=str([(dims.width, k, s) for k, s in zip(KERNELS, STRIDES, strict=True)]),
        conv_aggregator_layers=str([(dims.width, k, 1) for k in dims.kernels]),
        skip_connections_agg=dims.skip,
        residual_scale=math.sqrt(0.5) ** 2 if dims.skip else None,
        log_compression=True,
    )
    tensors = {name: t.detach().cpu() for name, t in model.features.state_dict().items()}
    tensors |= {f"{PREDICTIONS}{n}": t.detach().cpu() for n, t in model.project_to_steps.state_dict().items()}
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"args": about, "model": tensors}, part)
    part.replace(path)
