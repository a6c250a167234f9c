"""The reference: every model that there is, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from streamer.audio.mel import log_mels
from streamer.backends import processor
from streamer.backends.base import BUCKET, LARGEST_BATCH, Encoded, Floats, Tokens, context_for, plain
from streamer.backends.cuda_graphs import GraphedWriter
from streamer.config import ModelConfig
from streamer.errors import ConfigError
from streamer.nn import silence
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.emotion import EmotionHead, LayersHead, token_frames
from streamer.nn.frames import Frames
from streamer.nn.silence import Thinned
from streamer.nn.speech import frames_of
from streamer.nn.speech_checkpoint import LoadedSpeech
from streamer.nn.whisper import Whisper
from streamer.timebase import FRAME, TOKEN, ceil_to

CPU = torch.device("cpu")


def choose_device(config: ModelConfig) -> torch.device:
    """Where it computes. Raises ConfigError for a GPU that this torch does not see."""
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[config.device]:
        raise ConfigError(
            f"model.device is {config.device!r}, but PyTorch {torch.__version__} sees none. Set it to 'cpu', "
            "or install a PyTorch for it (STREAMER_TORCH=cuda bin/setup takes the ordinary one)"
        )
    return torch.device(config.device)


def choose_precision(config: ModelConfig) -> torch.dtype:
    """What is asked for; else what is quick where it computes, and float32 where nothing is.

    Raises ConfigError for halves that a processor would take long for.
    """
    if config.precision == "fp16" and config.device == "cpu":
        raise ConfigError("model.precision is 'fp16', which is for GPUs: set it to 'auto', 'bf16' or 'fp32'")
    if config.precision != "auto":
        return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[config.precision]
    if config.device == "cpu":
        return torch.bfloat16 if processor.multiplies_bfloat16() else torch.float32
    quick = config.device == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if quick else torch.float16


def network_of(
    model: LoadedModel | LoadedSpeech[Any], dtype: torch.dtype, device: torch.device = CPU
) -> WhisperNetwork | SpeechNetwork:
    """A checkpoint, computing in `dtype` on `device` from now on."""
    if isinstance(model, LoadedModel):
        return WhisperNetwork(model, dtype, device)
    return SpeechNetwork(model, dtype, device)


class _Heads:
    """What every encoder has on it."""

    batch = LARGEST_BATCH
    """See Network."""

    def __init__(
        self, model: LoadedModel | LoadedSpeech[Any], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._device = device
        self._tags = model.tags.to(device, dtype).eval() if model.tags is not None else None
        self._ctc = model.ctc.to(device, dtype).eval() if model.ctc is not None else None
        if model.emotion is not None:
            model.emotion.head.to(device)

    @torch.inference_mode()
    def tags(self, windows: Sequence[Tensor]) -> Floats:
        """See Network."""
        assert self._tags is not None
        return _array(self._tags(torch.stack(list(windows))).float().sigmoid())

    @torch.inference_mode()
    def ctc(self, states: Tensor | Thinned) -> Floats:
        """See Network."""
        assert self._ctc is not None
        return _array(self._ctc(plain(states))[0].float().log_softmax(-1))


class WhisperNetwork(_Heads):
    """A Whisper. See `base.Network`."""

    def __init__(self, model: LoadedModel, dtype: torch.dtype, device: torch.device = CPU) -> None:
        self._whisper = model.model.to(device, dtype).eval()
        super().__init__(model, dtype, device)
        self._context, self._emotion = model.info.context, model.emotion
        self._writer = GraphedWriter(self._whisper) if device.type == "cuda" else self._whisper

    @property
    def writer(self) -> Whisper | GraphedWriter:
        """See Network."""
        return self._writer

    def context(self, samples: int) -> int:
        """See Network. A checkpoint that was never measured on short contexts gets its full one."""
        return context_for(samples, self._context.cut, self._context.samples)

    def frames(self, samples: int) -> int:
        """See Network."""
        return samples // FRAME

    @torch.inference_mode()
    def encode(self, clips: Sequence[Floats], length: int, pooled: bool, judged: bool) -> Encoded:
        """See Network."""
        judged = judged and self._emotion is not None
        rest, shares = None, None
        if self._context.thinned:
            kept, length = silence.fill(length)
            places, shares = (torch.tensor(one, device=self._device) for one in kept)
            rest = places, shares
        mel = torch.from_numpy(log_mels(clips, length, self._whisper.dims.n_mels))
        encoding = self._whisper.encode(mel.to(self._device), pooled or judged, rest)
        emotions: Sequence[tuple[float, ...]] = [()] * len(clips)
        if judged and encoding.layers is not None:
            tokens = [max(1, len(clip) // TOKEN) for clip in clips]
            emotions = _judge(self._emotion, token_frames(encoding.layers, tokens))
        return Encoded(encoding.states, encoding.layers, emotions, shares)

    @torch.inference_mode()
    def follow(self, states: Tensor | Thinned, given: Tokens, wanted: Tokens) -> Floats:
        """See Network."""
        shares = states.shares if isinstance(states, Thinned) else None
        rows = plain(states).expand(len(given), -1, -1)
        logits: Tensor = self._whisper.decoder(torch.from_numpy(given).to(rows.device), rows, shares)
        chosen = torch.from_numpy(wanted).to(rows.device)[..., None]
        return _array(logits.float().log_softmax(-1).gather(-1, chosen)[..., 0])


class SpeechNetwork(_Heads):
    """A wav2vec 2.0 or one of its like, or a wav2vec (v1). See `base.Network`."""

    follow = writer = None
    """It has no decoder."""

    def __init__(self, model: LoadedSpeech[Any], dtype: torch.dtype, device: torch.device = CPU) -> None:
        self._encoder = model.encoder.to(device, dtype).eval()
        super().__init__(model, dtype, device)
        self._emotion = model.emotion
        self._judges_tokens = model.emotion is not None and isinstance(model.emotion.head, LayersHead)
        if model.emotion is not None and not self._judges_tokens:
            model.emotion.head.to(dtype)

    def context(self, samples: int) -> int:
        """See Network. It needs none: this is only what may share a batch."""
        return ceil_to(samples, BUCKET)

    def frames(self, samples: int) -> int:
        """See Network. Of a wav2vec (v1), which nothing that writes reads, as many as its like would have."""
        return frames_of(samples)

    @torch.inference_mode()
    def encode(self, clips: Sequence[Floats], length: int, pooled: bool, judged: bool) -> Encoded:
        """See Network; each clip is as long as it is."""
        del length
        frames = self._encoder(clips)
        layers = frames.tokens() if pooled or (judged and self._judges_tokens) else None
        read = frames
        if layers is not None and self._judges_tokens:
            read = token_frames(layers, [max(1, len(clip) // TOKEN) for clip in clips])
        return Encoded(frames.states, layers, _judge(self._emotion if judged else None, read))


def _judge(emotion: EmotionHead | None, frames: Frames) -> list[tuple[float, ...]]:
    """How each clip was said; nothing without a head for that."""
    if emotion is None:
        return [()] * len(frames.lengths)
    return [tuple(row) for row in emotion.scores(frames).tolist()]


def _array(values: Tensor) -> Floats:
    array: Floats = values.cpu().numpy()
    return array
