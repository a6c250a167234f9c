"""A model with random weights, small enough to load and run in no time, and audio to feed it."""

from __future__ import annotations

import base64
import math
import wave
from pathlib import Path

import numpy as np
import torch

from streamer.asr.tokenizer import Tokenizer
from streamer.labels import Label
from streamer.nn.checkpoint import save
from streamer.nn.definition import ContextInfo, Dims, ModelInfo, TagsInfo
from streamer.nn.heads import TimeLayerTransformer
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.timebase import SAMPLE_RATE

LABELS = (Label("Dog", "/m/0bt9lr"), Label("Siren", "/m/03kmc9"))


def make_model(folder: Path) -> Path:
    """Write a model whose words are noise and whose tag head says Dog always and Siren never."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks = folder.parent / "ranks.tiktoken"
    ranks.write_text("".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256)))
    generator = torch.Generator().manual_seed(1)
    sizes = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 64, "n_audio_head": 2, "n_audio_layer": 2}
    vocab = Tokenizer.from_ranks_file(ranks).n_vocab
    text = {"n_vocab": vocab, "n_text_ctx": 64, "n_text_state": 64, "n_text_head": 2, "n_text_layer": 2}
    dims = WhisperDims(**sizes, **text)
    model = Whisper(dims).eval()
    tags = TimeLayerTransformer(dims.n_audio_layer, dims.n_audio_state, len(LABELS), None).eval()
    with torch.no_grad():
        for module in (model, tags):
            for parameter in module.parameters():
                parameter.normal_(0, 0.05, generator=generator)
        tags.mlp_layer[1].weight.zero_()
        tags.mlp_layer[1].bias.copy_(torch.tensor([4.0, -4.0]))
    info = ModelInfo(
        name="noise",
        description="random weights",
        dims=Dims.of(dims),
        context=ContextInfo(short=True),
        tags=TagsInfo(),
    )
    save(folder, info, model, ranks, tags=tags, labels=LABELS, precision="fp32")
    return folder


def speech_like(seconds: float) -> np.ndarray:
    """Something that a voice detector takes for a voice: harmonics of 120 Hz under a syllable's envelope."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    formants = sum(
        math.exp(-((120 * h - 600) ** 2) / 4e5) * np.sin(2 * np.pi * 120 * h * t) for h in range(1, 30)
    )
    return (0.15 * formants * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


def make_wav(path: Path, *parts: float) -> Path:
    """A file of alternating silence and speech-like sound, each `parts` seconds, silence first."""
    pieces = [
        speech_like(part) if i % 2 else np.zeros(round(part * SAMPLE_RATE), np.float32)
        for i, part in enumerate(parts)
    ]
    samples = (np.clip(np.concatenate(pieces), -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.tobytes())
    return path
