"""Recordings of which it is known how they were said, and by whom: RAVDESS, CREMA-D, a CSV of one's own."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.audio.decode import decode_file
from streamer.errors import StreamerError
from streamer.timebase import SAMPLE_RATE, to_samples
from streamer.training.tags.cache import DIGEST

AUDIO = (".wav", ".flac", ".opus", ".ogg", ".mp3", ".m4a")

_RAVDESS = re.compile(r"0[13]-01-(0[1-8])-0[12]-0[12]-0[12]-(\d\d)")
_RAVDESS_LABELS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_CREMA_D = re.compile(r"(\d{4})_[A-Z]{3}_(ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{2}")
_CREMA_D_LABELS = {
    "ANG": "angry", "DIS": "disgust", "FEA": "fearful", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording. gender: as its data set says, empty where that does not."""

    path: Path
    label: str
    speaker: str
    gender: str = ""


def read_clips(path: Path) -> list[Clip]:
    """The clips of a folder with RAVDESS' or CREMA-D's file names, or of a CSV.

    A CSV has columns `file` (seen from its folder), `label`, `speaker`, and may have `gender`. Raises
    StreamerError where there are none, for files that are missing, and for fewer than two labels.
    """
    clips = _table(path) if path.suffix.lower() == ".csv" else _folder(path)
    labels = {clip.label for clip in clips}
    if len(labels) < 2:
        raise StreamerError(f"{path}: expected clips of two labels or more, found {len(labels)}")
    return clips


def tells_speakers(path: Path) -> bool:
    """Whether `read_clips` is for a path: file names of RAVDESS or CREMA-D, or a CSV with its columns."""
    if path.is_dir():
        return any(_named(file) is not None for file in path.rglob("*") if file.suffix.lower() in AUDIO)
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        return {"file", "label", "speaker"} <= set(next(csv.reader(file), []))


def _folder(path: Path) -> list[Clip]:
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO) if path.is_dir() else []
    clips = [clip for file in files if (clip := _named(file)) is not None]
    if not clips:
        example = f", such as {files[0].name}" if files else ""
        raise StreamerError(
            f"{path}: expected speech under RAVDESS' names (03-01-05-01-02-01-12.wav) or CREMA-D's "
            f"(1001_DFA_ANG_XX.wav), found {len(files)} other recordings{example}. Anything else can be told "
            "by a CSV with the columns file, label, speaker"
        )
    return clips


def _named(file: Path) -> Clip | None:
    if found := _RAVDESS.fullmatch(file.stem):
        actor = int(found[2])
        return Clip(file, _RAVDESS_LABELS[int(found[1]) - 1], found[2], "male" if actor % 2 else "female")
    if found := _CREMA_D.fullmatch(file.stem):
        return Clip(file, _CREMA_D_LABELS[found[2]], found[1])
    return None


def _table(path: Path) -> list[Clip]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise StreamerError(f"cannot read {path}: {error}") from error
    if missing := [name for name in ("file", "label", "speaker") if name not in columns]:
        raise StreamerError(f"{path}: expected a column {missing[0]}, found {', '.join(columns) or 'none'}")
    clips = []
    for number, row in enumerate(rows, 2):
        file_name, label, speaker = ((row[name] or "").strip() for name in ("file", "label", "speaker"))
        if not (file_name and label and speaker) or not (path.parent / file_name).is_file():
            raise StreamerError(
                f"{path}, line {number}: expected a file that is there, its label and its speaker, "
                f"found {file_name!r}, {label!r}, {speaker!r}"
            )
        clips.append(Clip(path.parent / file_name, label, speaker, (row.get("gender") or "").strip()))
    return clips


def speaker_folds(clips: Sequence[Clip], count: int, seed: int) -> list[list[Clip]]:
    """`count` parts of which no two share a speaker, about the same number of clips in each.

    Raises StreamerError for fewer speakers than folds.
    """
    speakers = sorted({clip.speaker for clip in clips})
    if count < 3 or len(speakers) < count:
        raise StreamerError(
            f"expected 3 folds or more (to train, to choose the best, to test) and a speaker for each, "
            f"found {count} folds and {len(speakers)} speakers"
        )
    by_speaker = {name: [clip for clip in clips if clip.speaker == name] for name in speakers}
    order = np.random.default_rng(seed).permutation(speakers).tolist()
    folds: list[list[Clip]] = [[] for _ in range(count)]
    for name in sorted(order, key=lambda name: -len(by_speaker[name])):
        min(folds, key=len).extend(by_speaker[name])
    return folds


def read_clip(path: Path, longest: float) -> NDArray[np.float32]:
    """The first `longest` seconds (n,) of a recording. Raises StreamerError for less than 0.1 s."""
    samples: NDArray[np.float32] = decode_file(path)[: to_samples(longest)]
    if len(samples) < SAMPLE_RATE // 10:
        raise StreamerError(f"{path}: expected 0.1 s of audio or more, found {len(samples)} samples")
    return samples


def clip_digest(path: Path, longest: float) -> bytes:
    """Changes with a recording and with how many seconds of it are heard; for a `FeatureCache`.

    Raises StreamerError where there is no such file.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise StreamerError(f"{path}: {error.strerror}") from error
    text = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{longest}"
    return blake2b(text.encode(errors="surrogateescape"), digest_size=DIGEST).digest()
