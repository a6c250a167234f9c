"""Recordings whose truth is known, and that truth on disk: `truth.jsonl` beside them, one scene a line."""

from __future__ import annotations

import json
import wave
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import StreamerError
from streamer.timebase import SAMPLE_RATE

TRUTH = "truth.jsonl"


@dataclass(frozen=True, slots=True)
class TrueSound:
    """A sound that is there from `onset` to `offset` (s), `snr` dB over the background.

    also: further labels that are true of it. speech_snr: of the speech over it, None where nobody speaks.
    """

    onset: float
    offset: float
    label: str
    snr: float | None = None
    also: tuple[str, ...] = ()
    speech_snr: float | None = None
    clip: str = ""


@dataclass(frozen=True, slots=True)
class TrueSpeech:
    """Words that are said from `onset` to `offset` (s), `snr` dB over the event that they cover."""

    onset: float
    offset: float
    text: str
    snr: float | None = None
    clip: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """The truth about one file. `ignored`: labels that are neither right nor wrong anywhere in it."""

    file: str
    seconds: float
    mixture: int
    variant: str
    sounds: tuple[TrueSound, ...] = ()
    speech: tuple[TrueSpeech, ...] = ()
    ignored: tuple[str, ...] = ()
    background: str = ""


def write_scenes(folder: Path, made: Iterable[tuple[NDArray[np.float32], Scene]]) -> list[Scene]:
    """Write 16-bit WAV files and `truth.jsonl`, one scene a line, into a folder that is made if need be.

    Raises StreamerError where the folder holds another truth already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / TRUTH).exists():
        raise StreamerError(f"expected a folder without {TRUTH} to write to, found one: {folder}")
    scenes = []
    for samples, scene in made:
        with wave.open(str(folder / scene.file), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes((np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes())
        scenes.append(scene)
    text = "".join(json.dumps(asdict(scene), ensure_ascii=False) + "\n" for scene in scenes)
    (folder / TRUTH).write_text(text, encoding="utf-8")
    return scenes


def read_scenes(folder: Path) -> list[Scene]:
    """The truth of a folder: one that `write_scenes` made, or recordings that somebody has annotated.

    A line needs `file` and `seconds`; a sound in it `onset`, `offset` and `label`, speech `onset`, `offset`
    and `text`. Raises StreamerError naming the line that is not one.
    """
    path = folder / TRUTH
    if not path.is_file():
        raise StreamerError(f"expected {path} with one JSON object a recording, found no such file")
    scenes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            scenes.append(_scene({"mixture": number, "variant": "recorded"} | json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise StreamerError(
                f"{path}, line {number}: expected a JSON object with 'file', 'seconds' and perhaps 'sounds' "
                f"and 'speech', found {line[:80]!r} ({type(error).__name__}: {error})"
            ) from error
    return scenes


def _scene(row: dict[str, Any]) -> Scene:
    sounds = tuple(TrueSound(**{**one, "also": tuple(one.get("also", ()))}) for one in row.pop("sounds", ()))
    speech = tuple(TrueSpeech(**one) for one in row.pop("speech", ()))
    return Scene(**{**row, "ignored": tuple(row.get("ignored", ()))}, sounds=sounds, speech=speech)
