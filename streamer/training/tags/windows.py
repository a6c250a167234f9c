"""What the encoder shall see: windows of recordings, whole and in random views, and of made sounds.

Planning draws everything that needs no audio and gives every window a key: windows of equal keys hold
equal samples, so that features can be kept from run to run. Rendering is a function of the key; a
recording that is added changes no other one's windows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import numpy as np

from streamer.errors import StreamerError
from streamer.timebase import SAMPLE_RATE, TOKEN
from streamer.training.augment import mix
from streamer.training.corpus import Clip, Pack
from streamer.training.sounds import MAKERS
from streamer.training.tags.names import SPEECH
from streamer.training.tags.pieces import SHORTEST, SILENT, Audio, crop, level, pieces_of, placed

PAUSED = 0.5
"""Share of the windows of speech in which people pause."""
LEAST_PLACED = 0.25
"""Part of a window that a recording takes up at least, where it is placed in background."""
LONGEST_PAUSE = 2.0
"""Seconds of silence between two things that are said."""


@dataclass(frozen=True, slots=True)
class WindowConfig:
    """How recordings become windows. Durations in seconds, in steps of 0.4; shares from 0 to 1."""

    longest: float = 10.0
    """Longer recordings are cut into pieces of this length."""
    views: int = 3
    """Random views of each recording, beside the whole of it."""
    lengths: tuple[float, ...] = (1.6, 2.4, 4.0, 4.0, 4.0)
    """Lengths of the views, drawn evenly."""
    speech: float = 0.4
    """Share of views with speech over them, where the data has speech without other labels."""
    background: float = 0.0
    """Share of all views that are a piece somewhere in background, where the data has recordings of that."""
    talk: int = 105
    """Windows of speech for each round of views, where the data has some."""
    empty: int = 45
    """Windows without a sound for each round of views: background, and hiss or silence."""
    made: int = 0
    """Windows of each sound from formulas (streamer/training/sounds.py) for each round of views."""


class Recordings(Protocol):
    """Where the samples of clips are."""

    def audio(self, clip: Clip) -> Audio:
        """Samples (n,), n > 0, float32 at 16 kHz. Raises StreamerError where they cannot be had."""

    def length(self, clip: Clip) -> int:
        """Its samples. Raises StreamerError where they cannot be had."""

    def identity(self, clip: Clip) -> str:
        """Changes when the samples change. Raises StreamerError where there are none."""


class Files:
    """Clips in files of their own; the last few decoded are kept.

    `index`: a file in which lengths are remembered, so that a later run needs to decode nothing.
    """

    def __init__(self, index: Path | None = None, kept: int = 8) -> None:
        self._decode = lru_cache(maxsize=kept)(_decode)
        self._index = index
        self._lengths: dict[str, int] = {}
        for line in index.read_bytes().splitlines(keepends=True) if index and index.exists() else ():
            name, _, length = line.rpartition(b"\t")
            if line.endswith(b"\n") and length.strip().isdigit():
                self._lengths[name.decode("utf-8", "surrogateescape")] = int(length)

    def audio(self, clip: Clip) -> Audio:
        """See Recordings."""
        return self._decode(clip.path)

    def length(self, clip: Clip) -> int:
        """See Recordings."""
        name = json.dumps(self.identity(clip))
        if name not in self._lengths:
            self._lengths[name] = len(self.audio(clip))
            if self._index is not None:
                self._index.parent.mkdir(parents=True, exist_ok=True)
                with self._index.open("ab") as file:
                    # A line that a kill cut off must not take this one with it.
                    file.write(f"\n{name}\t{self._lengths[name]}\n".encode())
        return self._lengths[name]

    def identity(self, clip: Clip) -> str:
        """Path, size and time of change."""
        try:
            stat = os.stat(clip.path)
        except OSError as error:
            raise StreamerError(f"{clip.path}: {error.strerror}") from error
        return f"{clip.path}:{stat.st_size}:{stat.st_mtime_ns}"


def _decode(path: str) -> Audio:
    from streamer.audio.decode import decode_file

    audio = decode_file(path)
    if len(audio) < SAMPLE_RATE // 20:
        raise StreamerError(f"{path}: holds next to no sound ({len(audio)} samples)")
    return audio


class Packed:
    """Clips of packs; their identity is what they contain."""

    def __init__(self, *packs: Pack) -> None:
        self._where = {clip.key: (pack, i) for pack in packs for i, clip in enumerate(pack.clips)}

    def audio(self, clip: Clip) -> Audio:
        """See Recordings."""
        pack, i = self._where[clip.key]
        return pack.audio(i)

    def length(self, clip: Clip) -> int:
        """See Recordings."""
        pack, i = self._where[clip.key]
        return pack.length(i)

    def identity(self, clip: Clip) -> str:
        """A hash of the samples."""
        return blake2b(self.audio(clip).tobytes(), digest_size=12).hexdigest()


@dataclass(frozen=True, slots=True)
class Window:
    """Something for the encoder to see.

    key: windows of equal keys hold equal samples. length: samples, a multiple of TOKEN. labels: heard in it
    for certain. source: labels of the recording it is of, heard if `render` says so. fold: 0 belongs to
    none. clip: index of the recording that it is the whole (or a long piece) of, -1 for anything else.
    origin: the recording's path. render: gives the samples, and whether `source` can be heard.
    """

    key: str
    length: int
    labels: tuple[str, ...]
    source: tuple[str, ...]
    fold: int
    clip: int
    origin: str
    render: Callable[[], tuple[Audio, bool]]

    @property
    def tokens(self) -> int:
        """Pooled encoder tokens."""
        return self.length // TOKEN

    @property
    def digest(self) -> bytes:
        """16 bytes that stand for the key."""
        return blake2b(self.key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _generator(key: str) -> np.random.Generator:
    return np.random.default_rng(
        int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    )


class Planner:
    """Plans the windows of one set of data. `seed` is of every draw."""

    def __init__(
        self,
        recordings: Recordings,
        clips: Sequence[Clip],
        speech: Sequence[Clip],
        config: WindowConfig,
        seed: int,
    ) -> None:
        self.recordings, self.clips, self.config, self.seed = recordings, clips, config, seed
        self._speech = [clip for clip in speech if clip.labels in ((), (SPEECH,))]
        self._background = [clip for clip in clips if not clip.labels]
        self._voices = _by_fold(self._speech, sorted({clip.fold for clip in clips if clip.fold > 0}))
        # How many windows are drawn changes none of them.
        self._settings = f"{seed}:{config.lengths}:{config.speech}:{config.background}"
        self._identities: dict[str, str] = {}
        self._readable: dict[str, bool] = {}

    def of_clip(self, i: int) -> Iterator[Window]:
        """Recording i whole and in views. Raises StreamerError where it cannot be decoded."""
        clip = self.clips[i]
        identity = self._identity(clip)
        longest = max(SHORTEST, round(self.config.longest * SAMPLE_RATE) // TOKEN) * TOKEN
        for start, end in pieces_of(self.recordings.length(clip), longest):

            def whole(start: int = start, end: int = end) -> tuple[Audio, bool]:
                piece = self.recordings.audio(clip)[start:end]
                return np.pad(piece, (0, end - start - len(piece))), True

            key = f"whole|{identity}|{start}|{end}"
            yield Window(key, end - start, (), clip.labels, clip.fold, i, clip.path, whole)
        for number in range(self.config.views):
            yield self._view(clip, identity, number)

    def _view(self, clip: Clip, identity: str, number: int) -> Window:
        rng = _generator(f"plan|{identity}|{number}|{self._settings}")
        n = self._length(rng)
        over = self._some(self._speech, rng, 4) if rng.random() < self.config.speech else []
        under = self._some(self._background, rng, 1)
        under = under if rng.random() < self.config.background else []
        key = f"view|{identity}|{number}|{n}|{self._settings}|{self._names(over)}|{self._names(under)}"

        def view() -> tuple[Audio, bool]:
            rng = _generator(key)
            # Out there a sound begins and ends within what a window sees, and is seldom alone.
            m = round(n * rng.uniform(LEAST_PLACED, 1)) if under else n
            piece, heard = crop(self.recordings.audio(clip), m, rng)
            if under:
                ground = crop(self.recordings.audio(under[0]), n, rng)[0]
                piece = placed(piece, ground, float(rng.uniform(0, 20)), rng)
            if over:
                piece = mix(self._joined(over, n, rng), piece, float(rng.uniform(-5, 12)), rng)
            return level(piece, rng), heard

        labels = (SPEECH,) if over else ()
        return Window(key, n, labels, clip.labels, clip.fold, -1, clip.path, view)

    def others(self) -> Iterator[Window]:
        """Windows of no recording: made sounds, speech, background, silence."""
        rounds = max(1, self.config.views)
        for name in MAKERS:
            for number in range(self.config.made * rounds):
                yield self._made(name, number)
        for number in range(self.config.talk * rounds):
            yield from self._talk(number)
        for number in range(self.config.empty * rounds):
            yield self._empty(number)

    def _made(self, name: str, number: int) -> Window:
        rng = _generator(f"plan|made|{name}|{number}|{self._settings}")
        n = self._length(rng)
        draw = rng.random()
        over = self._some(self._speech, rng, 4) if draw < 0.35 else []
        under = self._some(self._background, rng, 1) if 0.35 <= draw < 0.55 else []
        key = f"made|{name}|{number}|{n}|{self._settings}|{self._names(over)}|{self._names(under)}"

        def made() -> tuple[Audio, bool]:
            rng = _generator(key)
            piece = MAKERS[name](n / SAMPLE_RATE + 0.01, rng)[:n]
            if over:
                piece = mix(self._joined(over, n, rng), piece, float(rng.uniform(-5, 12)), rng)
            elif under:
                piece = mix(piece, self.recordings.audio(under[0]), float(rng.uniform(0, 20)), rng)
            return level(piece, rng), True

        labels = (name, SPEECH) if over else (name,)
        return Window(key, n, labels, (), 0, -1, "", made)

    def _talk(self, number: int) -> Iterator[Window]:
        """A window of speech, of voices of one fold; none where no recording of it can be decoded."""
        rng = _generator(f"plan|talk|{number}|{self._settings}")
        n = self._length(rng)
        fold = list(self._voices)[number % len(self._voices)] if self._voices else 0
        over = self._some(self._voices.get(fold, ()), rng, 4)
        if not over:
            return
        pauses = rng.random() < PAUSED
        under = self._some(self._background, rng, 1) if rng.random() < 0.43 else []
        key = f"talk|{number}|{n}|{self._settings}|{self._names(over)}|{self._names(under)}"

        def talk() -> tuple[Audio, bool]:
            rng = _generator(key)
            piece = self._joined(over, n, rng, LONGEST_PAUSE if pauses else 0.0)
            if under:
                piece = mix(piece, self.recordings.audio(under[0]), float(rng.uniform(5, 25)), rng)
            return level(piece, rng), True

        yield Window(key, n, (SPEECH,), (), fold, -1, "", talk)

    def _empty(self, number: int) -> Window:
        rng = _generator(f"plan|empty|{number}|{self._settings}")
        n = self._length(rng)
        under = self._some(self._background, rng, 1) if number % 2 == 0 else []
        # Loud hiss is a sound of its own where there are sounds from formulas.
        loud = SILENT if self.config.made else 0.03
        key = f"empty|{number}|{n}|{loud}|{self._settings}|{self._names(under)}"

        def empty() -> tuple[Audio, bool]:
            rng = _generator(key)
            if under:
                piece = crop(self.recordings.audio(under[0]), n, rng)[0]
                return piece * np.float32(10 ** rng.uniform(-2.5, 0)), True
            # From digital silence to a hiss, so that neither is taken for a sound.
            rms = 0.0 if number % 8 == 1 else 1e-5 * (loud / 1e-5) ** rng.uniform()
            return (rms * rng.standard_normal(n)).astype(np.float32), True

        return Window(key, n, (), (), 0, -1, "", empty)

    def _length(self, rng: np.random.Generator) -> int:
        seconds = self.config.lengths[int(rng.integers(len(self.config.lengths)))]
        return max(SHORTEST, round(seconds * SAMPLE_RATE) // TOKEN) * TOKEN

    def _some(self, clips: Sequence[Clip], rng: np.random.Generator, count: int) -> list[Clip]:
        """Some of the clips, of which one that cannot be decoded is never one."""
        out: list[Clip] = []
        for _ in range(3 * count if clips else 0):
            clip = clips[int(rng.integers(len(clips)))]
            if len(out) < count and self._usable(clip):
                out.append(clip)
        return out

    def _usable(self, clip: Clip) -> bool:
        if clip.key not in self._readable:
            try:
                self._readable[clip.key] = self.recordings.length(clip) > 0
            except StreamerError:
                self._readable[clip.key] = False
        return self._readable[clip.key]

    def _identity(self, clip: Clip) -> str:
        if clip.key not in self._identities:
            self._identities[clip.key] = self.recordings.identity(clip)
        return self._identities[clip.key]

    def _names(self, clips: Sequence[Clip]) -> str:
        return ",".join(map(self._identity, clips))

    def _joined(
        self, clips: Sequence[Clip], n: int, rng: np.random.Generator, longest_pause: float = 0.0
    ) -> Audio:
        """Clips one after the other, repeated until they fill n samples, from a random place on.

        Between them is silence of up to `longest_pause` seconds.
        """
        parts = [self.recordings.audio(clip) for clip in clips]
        if longest_pause:
            silence = np.zeros(round(longest_pause * SAMPLE_RATE), np.float32)
            parts = [p for part in parts for p in (part, silence[: int(rng.integers(len(silence)))])]
        whole = np.concatenate(parts)
        return crop(np.resize(whole, max(n, len(whole))), n, rng)[0]


def _by_fold(speech: Sequence[Clip], folds: Sequence[int]) -> dict[int, list[Clip]]:
    """Clips of speech by the fold in which their speaker is heard: each speaker is in one.

    Those whose speaker is not named are of a speaker each. Without folds all are in none (0).
    """
    out: dict[int, list[Clip]] = {}
    for clip in speech:
        number = int.from_bytes(blake2b((clip.speaker or clip.key).encode(), digest_size=4).digest())
        out.setdefault(folds[number % len(folds)] if folds else 0, []).append(clip)
    return dict(sorted(out.items()))
