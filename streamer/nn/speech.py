"""wav2vec 2.0 (Baevski et al. 2020), HuBERT (Hsu et al. 2021), WavLM (Chen et al. 2022): one pass.

The networks are transformers' own. What this adds: the waveform is normalised as the checkpoint wants it;
clips of several lengths share a batch without a trace of padding in any of them, also where the first
convolution is normalised over time (the base models), for which transformers itself has no mask; and every
layer comes out of the one pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from streamer.nn.frames import Frames
from streamer.timebase import FRAME

RECEPTIVE_FIELD = 400
"""Samples that a frame sees before the transformer (25 ms)."""


def frames_of(samples: int) -> int:
    """Frames that so many samples give; what is shorter than one frame is filled with silence."""
    return (max(samples, RECEPTIVE_FIELD) - RECEPTIVE_FIELD) // FRAME + 1


def unit_variance(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean and unit variance over the clip, as `Wav2Vec2FeatureExtractor` with `do_normalize`."""
    out: NDArray[np.float32] = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return out


class SpeechEncoder(nn.Module):
    """A Wav2Vec2Model, HubertModel or WavLMModel of transformers. `normalise`: see `unit_variance`."""

    def __init__(self, body: Any, normalise: bool) -> None:
        super().__init__()
        self.body = body
        self.normalise = normalise
        self.n_state = int(body.config.hidden_size)
        self.n_layer = int(body.config.num_hidden_layers)

    @property
    def dtype(self) -> torch.dtype:
        """The precision it computes in."""
        dtype: torch.dtype = next(self.parameters()).dtype
        return dtype

    def forward(self, clips: Sequence[NDArray[np.float32]]) -> Frames:
        """Encode clips (n,) float32 at 16 kHz, each of its own length n > 0."""
        features, mask = self.convolve(clips)
        lengths = tuple(frames_of(len(clip)) for clip in clips)
        hidden = self.body.feature_projection(features)
        hidden = hidden[0] if isinstance(hidden, tuple) else hidden
        seen: list[Tensor] = []

        def first(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            seen.append(given[0])

        def after(_: nn.Module, __: object, out: Tensor | tuple[Tensor, ...]) -> None:
            seen.append(out[0] if isinstance(out, tuple) else out)

        layers = self.body.encoder.layers
        hooks = [layers[0].register_forward_pre_hook(first)]
        hooks += [layer.register_forward_hook(after) for layer in layers]
        try:
            out = self.body.encoder(hidden, attention_mask=None if bool(mask.all()) else mask)
        finally:
            for hook in hooks:
                hook.remove()
        return Frames(out[0], seen[0], torch.stack(seen[1:], dim=1), lengths)

    def convolve(self, clips: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
        """What the convolutions make of clips (n,), n > 0: (B, T, channels); and (B, T), which are theirs."""
        features = pad_sequence([self._convolve(clip) for clip in clips], batch_first=True)
        lengths = torch.tensor([frames_of(len(clip)) for clip in clips], device=features.device)
        return features, torch.arange(features.shape[1], device=features.device) < lengths[:, None]

    def _convolve(self, clip: NDArray[np.float32]) -> Tensor:
        """(n,) -> (frames, channels). Alone, for the base models' first norm is over all of its time."""
        if not len(clip):
            raise ValueError("expected samples to encode, found none")
        prepared = unit_variance(clip) if self.normalise else clip
        prepared = np.pad(prepared, (0, max(0, RECEPTIVE_FIELD - len(clip))))
        weight = next(self.parameters())
        features: Tensor = self.body.feature_extractor(
            torch.from_numpy(np.ascontiguousarray(prepared, np.float32)).to(weight.device, weight.dtype)[None]
        )
        return features[0].T
