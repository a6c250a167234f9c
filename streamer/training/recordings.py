"""Recordings as people keep them, with what is said in them where that is known.

A folder with `manifest.jsonl`, with LibriSpeech's `*.trans.txt`, with a `.txt` beside each recording, or with
recordings alone; a manifest or a CSV by itself; a pack of `corpus.Pack`. What is no pack yet is decoded once.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamer.errors import StreamerError
from streamer.timebase import SAMPLE_RATE
from streamer.training.corpus import Clip, Pack

log = logging.getLogger(__name__)

AUDIO = (".wav", ".flac", ".opus", ".ogg", ".mp3", ".m4a", ".aac", ".webm")
MANIFEST, INDEX = "manifest.jsonl", "index.jsonl"
CHOOSING = ("valid", "validation", "dev")
"""Splits that the best checkpoint is chosen by."""
FILE_COLUMNS = ("file", "path", "filename", "wav", "audio")
TEXT_COLUMNS = ("text", "transcript", "transcription", "sentence")


@dataclass(frozen=True, slots=True)
class Recording:
    """A file. text: as its data set says it, None where nobody does. speaker: empty where unknown."""

    path: Path
    text: str | None = None
    speaker: str = ""
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording that can be listened to: clip `index` of `pack`."""

    name: str
    text: str | None
    speaker: str
    split: str
    pack: Pack
    index: int

    @property
    def samples(self) -> NDArray[np.float32]:
        """(n,) at 16 kHz."""
        return self.pack.audio(self.index)

    def __len__(self) -> int:
        return self.pack.length(self.index)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self) / SAMPLE_RATE


def gather(sources: Sequence[Path], store: Path) -> list[Utterance]:
    """Every utterance of `sources`; what is no pack yet is decoded into the folder `store`, once.

    Recordings that cannot be decoded are listed in the log and left out. Raises StreamerError for a source
    that is missing or holds none, and where nothing remains.
    """
    found: list[Utterance] = []
    files: list[Recording] = []
    for source in sources:
        if (source / INDEX).is_file():
            found += _packed(Pack(source))
        else:
            files += read_recordings(source)
    if files:
        found += _decoded(files, store)
    found = [one for one in found if len(one)]
    if not found:
        raise StreamerError(
            f"expected recordings that can be decoded in {', '.join(map(str, sources))}, found none"
        )
    return found


def read_recordings(source: Path) -> list[Recording]:
    """The recordings of a folder, a `.jsonl` or a CSV. Raises StreamerError where there are none."""
    if source.is_dir():
        manifest = source / MANIFEST
        found = list(_manifest(manifest)) if manifest.is_file() else _folder(source)
    elif source.suffix.lower() in (".jsonl", ".json"):
        found = list(_manifest(source))
    elif source.suffix.lower() in (".csv", ".tsv"):
        found = list(_table(source))
    else:
        raise StreamerError(
            f"--data: expected a folder, a CSV or a manifest ({MANIFEST}), found "
            f"{source if source.exists() else f'nothing at {source}'}"
        )
    if not found:
        raise StreamerError(
            f"{source}: expected recordings ({', '.join(AUDIO)}), a {MANIFEST} or a CSV, found none of them"
        )
    return found


def split_off(
    utterances: Sequence[Utterance], share: float, seed: int
) -> tuple[list[Utterance], list[Utterance], list[Utterance]]:
    """Utterances to learn from, to choose the best by, to test with.

    The last are those of the split `test`. The middle ones are those of the splits in CHOOSING; where there
    are none, whole speakers are set aside until they have a `share`, or, of fewer than 3 speakers, single
    utterances. Raises StreamerError where one of the first two would be empty.
    """
    test = [one for one in utterances if one.split == "test"]
    choose = [one for one in utterances if one.split in CHOOSING]
    train = [one for one in utterances if one.split != "test" and one.split not in CHOOSING]
    if not choose and train:
        by_speaker = len({one.speaker for one in train if one.speaker}) >= 3
        groups: dict[str, list[Utterance]] = {}
        for i, one in enumerate(train):
            groups.setdefault(one.speaker if by_speaker else str(i), []).append(one)
        for name in np.random.default_rng(seed).permutation(sorted(groups)).tolist():
            if len(choose) >= max(1, share * len(train)) or len(groups) == 1:
                break
            choose += groups.pop(name)
        train = [one for group in groups.values() for one in group]
    if not train or not choose:
        raise StreamerError(
            "expected two utterances or more, to learn from and to choose the best by (split = "
            f"'{CHOOSING[0]}' names them, else some are set aside), found {len(train)} and {len(choose)}"
        )
    return train, choose, test


def _packed(pack: Pack) -> Iterator[Utterance]:
    for i, clip in enumerate(pack.clips):
        yield Utterance(clip.key, clip.text, clip.speaker, clip.split, pack, i)


def _decoded(recordings: Iterable[Recording], store: Path) -> Iterator[Utterance]:
    """A file is known by its path, size and time of change, so that another one of its name is decoded."""
    keys: dict[str, Recording] = {}
    missing = []
    for one in recordings:
        try:
            about = one.path.stat()
        except OSError:
            missing.append(str(one.path))
            continue
        keys[f"{one.path.resolve()}:{about.st_size}:{about.st_mtime_ns}:{one.split}"] = one
    if missing:
        log.warning("left out %d recordings that are not there, such as %s", len(missing), missing[0])
    clips = [Clip(key, str(one.path), "") for key, one in keys.items()]
    pack = Pack(store).extend(clips)
    for i, clip in enumerate(pack.clips):
        if (known := keys.get(clip.key)) is not None:
            yield Utterance(str(known.path), known.text, known.speaker, known.split, pack, i)


def _folder(folder: Path) -> list[Recording]:
    told: dict[str, str] = {}
    for table in sorted(folder.rglob("*.trans.txt")):
        for line in table.read_text(encoding="utf-8").splitlines():
            name, _, said = line.strip().partition(" ")
            told[name] = said
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO):
        beside = file.with_suffix(".txt")
        text = told.get(file.stem)
        if text is None and beside.is_file():
            text = beside.read_text(encoding="utf-8").strip()
        # LibriSpeech's names begin with the speaker; of any other folder nothing is known.
        speaker = file.stem.split("-")[0] if file.stem in told and "-" in file.stem else ""
        found.append(Recording(file, text or None, speaker))
    return found


def _manifest(path: Path) -> Iterator[Recording]:
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError(f"a {type(row).__name__}")
        except (ValueError, TypeError) as error:
            raise StreamerError(
                f"{path}, line {number}: expected a JSON object with a 'path', found {line[:80]!r} ({error})"
            ) from error
        yield _row(row, path, number)


def _table(path: Path) -> Iterator[Recording]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(_text(path).splitlines(), delimiter=delimiter)
    for number, row in enumerate(reader, 2):
        yield _row(row, path, number)


def _row(row: Mapping[str, Any], path: Path, number: int) -> Recording:
    file = next((str(row[name]).strip() for name in FILE_COLUMNS if row.get(name)), "")
    if not file:
        raise StreamerError(
            f"{path}, line {number}: expected a recording under {', '.join(FILE_COLUMNS)}, found "
            f"{', '.join(map(str, row)) or 'nothing'}"
        )
    text = next((str(row[name]).strip() for name in TEXT_COLUMNS if row.get(name)), None)
    split = str(row.get("split") or "train").strip()
    return Recording(path.parent / file, text or None, str(row.get("speaker") or "").strip(), split)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise StreamerError(f"cannot read {path}: {error}") from error
