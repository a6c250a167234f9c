"""Pieces of recordings, and what an encoder makes of each in its full context: heard once, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from streamer.audio.mel import log_mel
from streamer.backends.base import context_for
from streamer.nn.bare import weights_digest
from streamer.nn.whisper import AudioEncoder
from streamer.timebase import FRAME, FULL_CONTEXT, POOL, to_samples
from streamer.training.bars import track
from streamer.training.context.config import Draws
from streamer.training.context.told import Scribe, Told
from streamer.training.recordings import Utterance

LARGEST = 65504.0
"""Of float16."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`length` samples of a recording, from `start` on."""

    utterance: Utterance
    start: int
    length: int

    @property
    def samples(self) -> NDArray[np.float32]:
        """(length,) at 16 kHz."""
        return self.utterance.samples[self.start : self.start + self.length]

    @property
    def name(self) -> str:
        """What tells it from others of the same recordings."""
        return f"{self.utterance.name} {self.start} {self.length}"


@dataclass(frozen=True, slots=True)
class Known:
    """What the audio's frames are: states (T, D), pooled layers (L, T // POOL, D).

    told: what a decoder writes; None without one.
    """

    states: Tensor
    layers: Tensor
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Lesson:
    """Log-mel (n_mels, 2·C) of a piece in some context, and what its frames should be."""

    mel: Tensor
    known: Known


def draw_pieces(utterances: Sequence[Utterance], count: int, draws: Draws, seed: int) -> list[Piece]:
    """`count` pieces: of recordings in turn, short ones as likely as long ones (on a scale of ratios)."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(utterances))
    shortest, longest = to_samples(draws.shortest), to_samples(draws.longest)
    pieces = []
    for i in range(count):
        one = utterances[order[i % len(order)]]
        length = min(len(one), round(shortest * (longest / shortest) ** rng.random()))
        pieces.append(Piece(one, int(rng.integers(len(one) - length + 1)), length))
    return pieces


class Teacher:
    """What an encoder says of pieces in its full context, kept in a folder of `work`.

    The folder is another one for other weights, another precision or other pieces; what is there is not
    computed again. scribe: what writes their texts, if anything does.
    """

    def __init__(
        self,
        encoder: AudioEncoder,
        pieces: Sequence[Piece],
        work: Path,
        bf16: bool,
        scribe: Scribe | None = None,
    ) -> None:
        self.pieces, self._encoder, self._bf16, self._scribe = list(pieces), encoder, bf16, scribe
        about = ["\n".join(piece.name for piece in pieces), str(bf16), scribe.identity if scribe else ""]
        self._folder = work / f"teacher-{weights_digest(encoder, *about)}"

    def prepare(self, label: str, progress: bool = True) -> Teacher:
        """Hear every piece that has not been heard yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        missing = [i for i in range(len(self.pieces)) if not self._file(i).is_file()]
        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = self._encoder.to(device)
        for i in track(missing, label, progress):
            piece = self.pieces[i]
            mel = mel_in(piece, FULL_CONTEXT, encoder.conv1.in_channels)[None].to(device)
            with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=self._bf16):
                found = encoder(mel, pooled=True)
            frames = piece.length // FRAME
            kept: dict[str, Any] = {
                "states": _half(found.states[0, :frames]),
                "layers": _half(found.layers[0, :, : frames // POOL]),
            }
            if self._scribe is not None:
                told = self._scribe.write(found.states.float().cpu(), piece.length)
                kept |= {"tokens": told.tokens.numpy(), "said": _half(told.said)}
            part = self._file(i).with_suffix(".part")
            with open(part, "wb") as out:
                np.savez(out, **kept)
            part.replace(self._file(i))
        self._encoder.to("cpu")
        return self

    def known(self, i: int) -> Known:
        """Of piece i."""
        with np.load(self._file(i)) as kept:
            found = {name: torch.from_numpy(kept[name]) for name in kept}
        told = Told(found["tokens"], found["said"].float()) if "tokens" in found else None
        return Known(found["states"].float(), found["layers"].float(), told)

    def _file(self, i: int) -> Path:
        return self._folder / f"{i:06d}.npz"


class Lessons(Dataset[Lesson]):
    """`count` draws of pieces, each in a context of its own.

    A lesson is a function of the seed and its number, so that a training which goes on sees what it would
    have seen.
    """

    def __init__(self, teacher: Teacher, count: int, draws: Draws, n_mels: int, seed: int) -> None:
        self._teacher, self._count, self._draws, self._seed = teacher, count, draws, seed
        self._n_mels = n_mels

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> Lesson:
        rng = np.random.default_rng((self._seed, i))
        number = i % len(self._teacher.pieces)  # each as often as any other
        piece = self._teacher.pieces[number]
        margin = to_samples(self._draws.margin * rng.random())
        full = rng.random() < self._draws.full
        context = FULL_CONTEXT if full else context_for(piece.length, short=True, margin=margin)
        return Lesson(mel_in(piece, context, self._n_mels), self._teacher.known(number))


def mel_in(piece: Piece, context: int, n_mels: int) -> Tensor:
    """Log-mel (n_mels, context // MEL_HOP) of a piece with silence behind it, as the engine makes it."""
    return torch.from_numpy(log_mel(np.pad(piece.samples, (0, context - piece.length)), n_mels))


def _half(values: Tensor) -> NDArray[np.float16]:
    kept: NDArray[np.float16] = values.float().clamp(-LARGEST, LARGEST).half().cpu().numpy()
    return kept
