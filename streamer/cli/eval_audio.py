"""Recordings made worse on purpose, and the daemon's own way from a recording to its text."""

from __future__ import annotations

import tempfile
import wave
import zlib
from pathlib import Path

import numpy as np

from streamer.app import FileRun
from streamer.config import Config
from streamer.errors import PermanentSourceError, SourceError, StreamerError
from streamer.evaluation.asr import Reading, Samples, decode_audio
from streamer.evaluation.sets import AUDIO, Utterance
from streamer.timebase import SAMPLE_RATE
from streamer.training.augment import band, mix
from streamer.training.codecs import MU_LAW, coded

TELEPHONE = (300.0, 3400.0)
"""Hz that a telephone carries (ITU-T G.712)."""


class Spoiler:
    """Gives utterances' samples with noise under them, over the telephone, or both (in this order).

    The piece of noise depends on the recording's name alone: every model and run hears the same.
    """

    def __init__(self, *, telephone: bool = False, noise: Path | None = None, snr_db: float = 0.0) -> None:
        """Decodes every recording in the folder `noise`. Raises StreamerError where there is none."""
        self._telephone = telephone
        self._snr_db = snr_db
        self._noises = [] if noise is None else _recordings(noise)

    def __call__(self, utterance: Utterance) -> Samples:
        """Its samples (n,), spoilt. SourceError for a recording that cannot be read."""
        samples = decode_audio(utterance)
        if self._noises:
            rng = np.random.default_rng(zlib.crc32(utterance.path.name.encode()))
            under = self._noises[int(rng.integers(len(self._noises)))]
            samples = mix(samples, under, self._snr_db, rng)
        if self._telephone:
            # The codec would clip what is louder than full scale, and nobody asked for that.
            peak = max(1.0, float(np.abs(samples).max(initial=0)))
            samples = coded(band(samples / np.float32(peak), *TELEPHONE), MU_LAW)
        return samples


def _recordings(folder: Path) -> list[Samples]:
    found = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix.lower() in AUDIO:
            try:
                found.append(decode_audio(Utterance(path, "")))
            except SourceError as error:
                raise StreamerError(f"--noise: {error}") from error
    if not found:
        raise StreamerError(
            f"--noise: expected a folder of recordings ({', '.join(AUDIO)}), found none in {folder}"
        )
    return found


class LiveReader:
    """A `Reader`: the daemon's own way (voice detection, partials, finals), faster than real time.

    A context manager. spoilt: what is heard are the given samples, not the file that they came from.
    """

    def __init__(self, config: Config, *, spoilt: bool = False) -> None:
        """Loads the model. Raises ModelError and ConfigError."""
        self._run = FileRun(config)
        self._folder = tempfile.TemporaryDirectory() if spoilt else None

    def __enter__(self) -> LiveReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._run.__exit__()
        if self._folder is not None:
            self._folder.cleanup()

    def __call__(self, path: Path, samples: Samples) -> Reading:
        """The text of all finals, in order. PermanentSourceError for a recording that cannot be read."""
        if self._folder is not None:
            path = write_wav(Path(self._folder.name) / f"{path.stem}.wav", samples)
        outcome = self._run.transcribe(str(path))
        if outcome.error:
            raise PermanentSourceError(f"{path}: {outcome.error}")
        text = " ".join(final.text for final in outcome.transcript.spoken())
        return Reading(text, outcome.passes)


def write_wav(path: Path, samples: Samples) -> Path:
    """Write samples (n,) at 16 kHz as 16-bit PCM, what is louder than full scale clipped; returns `path`."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
    return path
