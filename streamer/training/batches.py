"""Training batches of speech: which clips, spoiled how. A batch depends on (seed, step) alone.

That is what makes a run resumable at any step with the same result: nothing is remembered between
batches. Clips of similar length share a batch, so that little of it is padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streamer.asr.tokenizer import Tokenizer
from streamer.audio.mel import log_mel
from streamer.errors import StreamerError
from streamer.timebase import FRAME, FULL_CONTEXT, MEL_HOP, SAMPLE_RATE, TOKEN, ceil_to
from streamer.training.augment import SpoilConfig, change_speed, draw_speed, mask_mel, spoil
from streamer.training.corpus import Pack

IGNORE = -100
QUIET = 10**-3.5
"""Power of what no longer counts as a recording's voice, as a share of its loudest 20 ms."""


@dataclass(frozen=True, slots=True)
class BatchConfig:
    """Sizes of a batch (seconds of audio, padding included) and shares of what goes into it."""

    seconds: float = 96.0
    longest: float = 29.0
    joined: float = 0.25
    """Share of batches whose items are several utterances in a row."""
    timestamps: float = 0.5
    """Share of items whose text is written with Whisper's timestamps, the others without."""
    wordless: float = 0.06
    """Share of items without any speech: the model learns to say nothing."""
    spoil: bool = True
    shares: SpoilConfig = field(default_factory=SpoilConfig)
    """Of what spoils an item."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """What is said without a pause of ours in it, from sample `start` to sample `end` of its item."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Item:
    """Audio (n,) float32 and what is said in it, in order; nothing, or several utterances in a row."""

    audio: NDArray[np.float32]
    phrases: tuple[Phrase, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's input.

    mel (B, n_mels, 2·T) float32; tokens (B, U) decoder input; targets (B, U), IGNORE where padded;
    pieces: token ids of each item's text, for CTC; seconds of audio in it, padding included.
    """

    mel: NDArray[np.float32]
    tokens: NDArray[np.int64]
    targets: NDArray[np.int64]
    pieces: list[list[int]]
    seconds: float


class SpeechBatches:
    """Draws batches from packs of speech with given weights, over packs of sounds as noise.

    Left out are clips shorter than 0.25 s or longer than `BatchConfig.longest`, and those without text.
    Raises StreamerError where nothing is left.
    """

    def __init__(
        self,
        speech: list[tuple[Pack, list[int], float]],
        noises: list[NDArray[np.float32]],
        tokenizer: Tokenizer,
        config: BatchConfig,
        seed: int = 0,
    ) -> None:
        self.config, self.tokenizer, self.noises, self.seed = config, tokenizer, noises, seed
        limit = int(config.longest * SAMPLE_RATE)
        self._clips: list[tuple[Pack, int]] = []
        weights: list[float] = []
        for pack, chosen, weight in speech:
            for i in chosen:
                if SAMPLE_RATE // 4 < pack.length(i) < limit and pack.clips[i].text:
                    self._clips.append((pack, i))
                    weights.append(weight)
        if not self._clips:
            raise StreamerError(
                f"expected packed speech with texts of 0.25 to {config.longest:g} s to train on, found none: "
                "run the stage pack first, and look at what it left out"
            )
        lengths = np.array([pack.length(i) for pack, i in self._clips])
        order = np.argsort(lengths, kind="stable")
        self._clips = [self._clips[i] for i in order]
        self._lengths = lengths[order]
        weight = np.array(weights)[order] * self._lengths
        self._cumulative = np.cumsum(weight / weight.sum())

    def __len__(self) -> int:
        return len(self._clips)

    def batch(self, step: int) -> Batch:
        """The batch of a step; the same for the same seed and step."""
        rng = np.random.default_rng([self.seed, step])
        centre = int(np.searchsorted(self._cumulative, rng.random()))
        join = int(rng.integers(2, 6)) if rng.random() < self.config.joined else 1
        typical = min(self._lengths[centre] * 1.05 * join, self.config.longest * SAMPLE_RATE)
        size = max(1, int(self.config.seconds * SAMPLE_RATE / typical))
        reach = max(2 * size, len(self._clips) // 40)
        low, high = max(0, centre - reach), min(len(self._clips), centre + reach)
        base = self._cumulative[low - 1] if low else 0.0
        items = []
        for _ in range(size):
            if self.noises and rng.random() < self.config.wordless:
                items.append(Item(self._nothing(int(typical), rng)))
                continue
            draws = base + rng.random(join) * (self._cumulative[high - 1] - base)
            items.append(self._joined([int(i) for i in np.searchsorted(self._cumulative, draws)], rng))
        return self._collate(items, rng)

    def _nothing(self, length: int, rng: np.random.Generator) -> NDArray[np.float32]:
        noise = self.noises[int(rng.integers(len(self.noises)))]
        out = np.resize(noise, length) * np.float32(10 ** rng.uniform(-2, 0))
        return out if rng.random() < 0.9 else (rng.standard_normal(length) * 1e-3).astype(np.float32)

    def _joined(self, clips: list[int], rng: np.random.Generator) -> Item:
        """Clips in a row with pauses between them, as long as they fit."""
        parts: list[NDArray[np.float32]] = []
        phrases: list[Phrase] = []
        lead = np.zeros(int(rng.uniform(0, 0.5) * SAMPLE_RATE), np.float32)
        parts.append(lead)
        total = 0
        for i in clips:
            pack, index = self._clips[min(i, len(self._clips) - 1)]
            audio = pack.audio(index)
            if total and total + len(audio) * 1.15 > self.config.longest * SAMPLE_RATE:
                break
            pause = np.zeros(int(rng.uniform(0.05, 0.6) * SAMPLE_RATE), np.float32)
            parts += [audio / max(float(np.abs(audio).max()), 1e-3), pause]
            first, last = voiced(audio)
            begin = len(lead) + total
            phrases.append(Phrase(begin + first, begin + last, pack.clips[index].text or ""))
            total += len(audio) + len(pause)
        audio = np.concatenate(parts)
        if self.config.spoil:
            factor = draw_speed(len(audio), rng, self.config.shares.speed, FULL_CONTEXT)
            if factor != 1.0:
                audio = change_speed(audio, factor)
                phrases = [Phrase(round(p.start / factor), round(p.end / factor), p.text) for p in phrases]
            audio = spoil(audio, self.noises, rng, self.config.shares)
        return Item(audio, tuple(phrases))

    def _collate(self, items: list[Item], rng: np.random.Generator) -> Batch:
        t = self.tokenizer
        longest = min(ceil_to(max(len(item.audio) for item in items), TOKEN), FULL_CONTEXT)
        mels, rows, pieces = [], [], []
        for item in items:
            audio = item.audio[:longest]
            mel = log_mel(np.pad(audio, (0, longest - len(audio))))
            if self.config.spoil:
                mask_mel(mel[:, : len(audio) // MEL_HOP], rng)
            mels.append(mel)
            pieces.append(t.encode(" " + " ".join(p.text for p in item.phrases)) if item.phrases else [])
            rows.append(self._target(item.phrases, pieces[-1], rng))
        width = max(map(len, rows))
        tokens = np.full((len(rows), width), t.eot, np.int64)
        targets = np.full((len(rows), width), IGNORE, np.int64)
        for row, target in enumerate(rows):
            # After the start token Whisper predicts the no-speech token; decoding forces
            # "no timestamps" instead.
            begin = t.no_timestamps if target[0] == t.no_speech else target[0]
            tokens[row, : len(target)] = [t.sot, begin, *target[1:-1]]
            targets[row, : len(target)] = target
        return Batch(np.stack(mels), tokens, targets, pieces, len(items) * longest / SAMPLE_RATE)

    def _target(self, phrases: tuple[Phrase, ...], pieces: list[int], rng: np.random.Generator) -> list[int]:
        """What the decoder is to write: each phrase between its times, or all of them without."""
        t = self.tokenizer
        if not phrases:
            return [t.no_speech, t.eot]
        if rng.random() >= self.config.timestamps:
            return [t.no_timestamps, *pieces, t.eot]
        out: list[int] = []
        for phrase in phrases:
            begin, end = (t.timestamp(at / SAMPLE_RATE) for at in (phrase.start, phrase.end))
            out += [begin, *t.encode(" " + phrase.text), end]
        return [*out, t.eot]


def voiced(audio: NDArray[np.float32]) -> tuple[int, int]:
    """Where a recording's voice begins and ends, in samples: what is within 35 dB of its loudest 20 ms."""
    frames = len(audio) // FRAME
    level = np.square(audio[: frames * FRAME].reshape(frames, FRAME)).mean(1)
    loud = np.flatnonzero(level >= level.max(initial=0.0) * QUIET)
    return (int(loud[0]) * FRAME, int(loud[-1] + 1) * FRAME) if len(loud) else (0, len(audio))
