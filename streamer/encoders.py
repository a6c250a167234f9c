"""Any encoder for whoever wants its hidden states only: Whisper's, wav2vec 2.0's family, wav2vec (v1).

Long audio goes through in windows, for that is what the networks were trained on and attention grows with the
square; the frames of one window follow those of the one before without a seam in time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamer.audio.mel import log_mel
from streamer.errors import ConfigError
from streamer.nn.bare import bare_name, is_bare, read_encoder, weights_digest
from streamer.nn.checkpoint import load, locate
from streamer.nn.frames import Frames
from streamer.nn.speech import RECEPTIVE_FIELD
from streamer.nn.speech_checkpoint import is_speech, load_speech
from streamer.nn.wav2vec1 import HOP, is_wav2vec, load_wav2vec
from streamer.nn.whisper import AudioEncoder
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE, ceil_to

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder ready to use.

    encode: the frames of a window (n,) of samples, n > 0. n_layer: how many layers it gives. hop: samples
    between two frames. window: samples that it takes at once, None for any number. overhang: samples behind a
    window that its last frame sees. identity: changes with anything that its frames depend on. embeds:
    whether what goes into the first layer is something else than a layer of its own.
    """

    name: str
    encode: Callable[[Samples], Frames]
    n_layer: int
    hop: int = FRAME
    window: int | None = FULL_CONTEXT
    overhang: int = 0
    identity: str = ""
    embeds: bool = True

    @property
    def frames_per_second(self) -> float:
        """Its frame rate."""
        return SAMPLE_RATE / self.hop

    def layer(self, text: str) -> int | None:
        """The layer that `all` (None), `last` or a number from 1 on stands for.

        Raises ConfigError for anything else.
        """
        if text == "all":
            return None
        if text == "last":
            return self.n_layer
        if text.isdecimal() and 1 <= int(text) <= self.n_layer:
            return int(text)
        raise ConfigError(
            f"expected as layer of {self.name} a number from 1 to {self.n_layer}, 'last' or 'all'; "
            f"found {text!r}"
        )

    @torch.inference_mode()
    def layers(self, samples: Samples, layer: int | None = None) -> Frames:
        """Frames of all of a clip (n,), n > 0, as a batch of one, of one layer or (None) of every one.

        The states of clips longer than a window are not those of one pass, but of each window's own.
        """
        parts = [self.encode(part) for part in self._windows(samples)]
        first = 0 if layer is None else layer - 1
        last = self.n_layer if layer is None else layer
        chosen = torch.cat([part.layers[:, first:last] for part in parts], dim=2)
        states = torch.cat([part.states for part in parts], dim=1)
        embedding = torch.cat([part.embedding for part in parts], dim=1)
        return Frames(states, embedding, chosen, (chosen.shape[2],))

    def _windows(self, samples: Samples) -> Iterator[Samples]:
        if not len(samples):
            raise ValueError("expected samples to encode, found none")
        step = self.window or len(samples)
        for start in range(0, len(samples), step):
            yield samples[start : start + step + self.overhang]


def load_encoder(
    name_or_path: str | os.PathLike[str],
    context: Literal["auto", "short", "full"] = "auto",
    precision: torch.dtype = torch.float32,
) -> Encoder:
    """The encoder of a model by name, Hugging Face id or path, of any family, or a Whisper's in a bare file.

    context: what a Whisper's audio is padded to: nothing but its margin (short), 30 s (full), or (auto) as
    the daemon runs it; a bare encoder then counts as short. precision: what a Whisper computes in. Raises
    ModelError where there is none, CheckpointError where it is not what it should be.
    """
    path = locate(name_or_path)
    if path.is_dir() and is_speech(path):
        speech = load_speech(path)
        encoder = speech.encoder
        return Encoder(
            speech.name,
            lambda samples: encoder([samples]),
            encoder.n_layer,
            overhang=RECEPTIVE_FIELD - FRAME,
            identity=weights_digest(encoder, f"normalise {encoder.normalise}"),
        )
    if is_bare(path):
        return _whisper(bare_name(path), read_encoder(path).eval(), context != "full", 0, precision)
    if path.is_file() and is_wav2vec(path):
        wav2vec = load_wav2vec(path)
        return Encoder(
            path.stem,
            lambda samples: wav2vec([samples]),
            2,
            HOP,
            None,
            identity=weights_digest(wav2vec),
            embeds=False,
        )
    model = load(path)
    short = model.short_context if context == "auto" else context == "short"
    return _whisper(model.name, model.model.encoder, short, model.info.context.samples, precision)


def _whisper(name: str, encoder: AudioEncoder, short: bool, margin: int, precision: torch.dtype) -> Encoder:
    padded = f"short {short}, margin {margin}" if margin else f"short {short}"
    identity = weights_digest(encoder, f"{padded}, {precision}")
    encoder.to(precision)
    return Encoder(
        name,
        lambda samples: _whisper_frames(encoder, short, margin, samples),
        len(encoder.blocks),
        identity=identity,
    )


def pooled(frames: Frames, pool: Literal["none", "mean"] | int) -> NDArray[np.float32]:
    """The layers of one clip (L, T, D), their means over runs of `pool` frames, or over all (L, D)."""
    if pool == "none":
        return frames.layers[0].numpy()
    if pool == "mean":
        return frames.layers[0].mean(1).numpy()
    return frames.tokens(pool)[0].numpy()


def _whisper_frames(encoder: AudioEncoder, short: bool, margin: int, samples: Samples) -> Frames:
    """Every block's output before the final norm, of as many frames as the audio has."""
    length = min(ceil_to(len(samples) + margin, FRAME), FULL_CONTEXT) if short else FULL_CONTEXT
    mel = log_mel(np.pad(samples, (0, length - len(samples))), encoder.conv1.in_channels)
    seen: list[Tensor] = []

    def first(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    def after(_: nn.Module, __: object, out: Tensor) -> None:
        seen.append(out)

    blocks = list(encoder.blocks)
    hooks = [blocks[0].register_forward_pre_hook(first)]
    hooks += [block.register_forward_hook(after) for block in blocks]
    try:
        states = encoder(torch.from_numpy(mel)[None].to(encoder.conv1.weight.dtype)).states
    finally:
        for hook in hooks:
            hook.remove()
    n = ceil_to(len(samples), FRAME) // FRAME
    return Frames(states[:, :n], seen[0][:, :n], torch.stack(seen[1:], dim=1)[:, :, :n], (n,))
