"""The frozen encoder whose layers a head learns from: any that the project can load."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.audio.mel import log_mel
from streamer.backends.base import context_for
from streamer.backends.torch import choose_precision
from streamer.config import ModelConfig
from streamer.nn.bare import bare_name, is_bare, read_encoder, weights_digest
from streamer.nn.checkpoint import load, locate
from streamer.nn.definition import EncoderInfo
from streamer.nn.head_checkpoint import encoder_info, fingerprint
from streamer.nn.speech import SpeechEncoder
from streamer.nn.speech_checkpoint import is_waveform, load_waveform
from streamer.nn.wav2vec1 import Wav2Vec
from streamer.nn.whisper import AudioEncoder, Whisper
from streamer.timebase import TOKEN

LARGEST = 65504.0
"""Of float16."""


@dataclass(slots=True)
class FrozenEncoder:
    """An encoder that will not learn.

    info: what a head remembers of it. short: whether it gets contexts of the window's length; if not,
    windows are padded to 30 s, as the daemon does for Whispers that were never trained on less. passes
    counts the windows encoded. identity: changes with anything that its features depend on. margin: samples
    of silence behind short ones.
    """

    info: EncoderInfo
    module: AudioEncoder | SpeechEncoder | Wav2Vec
    short: bool
    identity: str
    passes: int = field(default=0)
    margin: int = 0

    @torch.inference_mode()
    def features(self, windows: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
        """Windows of one length, TOKEN or more -> pooled layers (B, L, T, D) of their whole tokens."""
        length = len(windows[0])
        if not isinstance(self.module, AudioEncoder):
            self.passes += len(windows)
            return _stored(self.module(windows).tokens(), length)
        padding = context_for(length, self.short, self.margin) - length
        bands = self.module.conv1.in_channels
        mel = np.stack([log_mel(np.pad(one, (0, padding)), bands) for one in windows])
        weight = self.module.conv1.weight
        layers = self.module(torch.from_numpy(mel).to(weight.device, weight.dtype), pooled=True).layers
        assert layers is not None
        self.passes += len(windows)
        return _stored(layers, length)


def _stored(layers: torch.Tensor, length: int) -> NDArray[np.float16]:
    """As features: the whole tokens of windows of so many samples."""
    layers = layers[:, :, : length // TOKEN].clamp(-LARGEST, LARGEST)
    out: NDArray[np.float16] = layers.half().cpu().numpy()
    return out


def load_encoder(
    name_or_path: str | os.PathLike[str],
    precision: str = "auto",
    context: str = "auto",
    device: str = "auto",
) -> FrozenEncoder:
    """Load an encoder by a model's name, by Hugging Face id, or from a path.

    A file of bare tensors (`.safetensors`, names `encoder.…` as openai-whisper's) will do as well.
    precision: auto, fp32 or bf16. context: auto (as the daemon runs it), short or full. device: auto or one
    of torch's. Raises ModelError.
    """
    path, margin = Path(name_or_path).expanduser(), 0
    if is_bare(path):
        encoder = read_encoder(path)
        info = _info(bare_name(path), encoder)
        short = True
    elif is_waveform(located := locate(name_or_path)):
        speech = load_waveform(located)
        info = encoder_info(speech.name, speech.encoder)
        exact = "bf16" if precision == "bf16" else "fp32"  # as the daemon runs it
        return freeze(speech.encoder, info, True, exact, device)
    else:
        loaded = load(name_or_path)
        encoder, short = loaded.model.encoder, loaded.short_context
        info, margin = encoder_info(loaded.name, loaded.model), loaded.info.context.samples
    short = short if context == "auto" else context == "short"
    return freeze(encoder, info, short, precision, device, margin)


def of_whisper(whisper: Whisper, name: str, short: bool, precision: str = "auto") -> FrozenEncoder:
    """A copy of the encoder of a model that is at hand, in float32."""
    encoder = AudioEncoder(whisper.dims)
    encoder.load_state_dict(whisper.encoder.state_dict())
    return freeze(encoder, encoder_info(name, whisper), short, precision, "cpu")


def freeze(
    encoder: AudioEncoder | SpeechEncoder | Wav2Vec,
    info: EncoderInfo,
    short: bool,
    precision: str,
    device: str,
    margin: int = 0,
) -> FrozenEncoder:
    """Put an encoder where and into the precision in which it shall compute."""
    where = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    dtype = choose_precision(ModelConfig.model_validate({"precision": precision}))
    padded = f"{short}|{margin}" if margin else f"{short}"  # what was cached before there were margins stays
    identity = weights_digest(encoder, f"{padded}|{dtype}|{where.partition(':')[0]}")
    module = encoder.to(where, dtype).eval().requires_grad_(False)
    return FrozenEncoder(info, module, short, identity, margin=margin)


def _info(name: str, encoder: AudioEncoder) -> EncoderInfo:
    return EncoderInfo(
        name=name,
        n_layer=len(encoder.blocks),
        n_state=encoder.conv1.out_channels,
        n_mels=encoder.conv1.in_channels,
        fingerprint=fingerprint(encoder),
    )
