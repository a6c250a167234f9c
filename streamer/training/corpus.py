"""Recordings packed for training: one file of int16 samples, one line of JSON a clip.

Packing decodes every recording once; batches then read slices of a memory map. A killed run goes
on where it stopped: clips already indexed are not decoded again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import StreamerError
from streamer.training.bars import track

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording. `text` is normalised, None where nobody knows it; `labels` are sound names."""

    key: str
    path: str
    group: str
    speaker: str = ""
    split: str = "train"
    text: str | None = None
    labels: tuple[str, ...] = ()
    fold: int = 0


def normalise_text(text: str, letters: str = "") -> str:
    """Lower case, letters and apostrophes only: what every transcript of the training data can agree on.

    Kept are a to z and `letters` (lower case; what a language needs beyond them); all else becomes a space.
    """
    text = re.sub(f"[^a-z{re.escape(letters)}' ]+", " ", text.lower().replace("’", "'"))
    letter = f"[a-z{re.escape(letters)}]"
    return re.sub(r"\s+", " ", re.sub(f"(?<!{letter})'|'(?!{letter})", " ", text)).strip()


def read_manifest(folder: Path, group: str, letters: str = "") -> list[Clip]:
    """The clips of a folder's `manifest.jsonl` (`path`, `text` or `label`, `speaker`, `split`, `fold`).

    Raises StreamerError where there is none, or naming the line that is not one.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        raise StreamerError(f"expected {manifest} with one JSON object a line, found no such file")
    clips = []
    for number, line in enumerate(manifest.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            path, fold = str(row["path"]), int(row.get("fold", 0))
        except (ValueError, TypeError, KeyError) as error:
            raise StreamerError(
                f"{manifest}, line {number}: expected a JSON object with at least a 'path', "
                f"found {line[:80]!r} ({type(error).__name__}: {error})"
            ) from error
        text = row.get("text")
        clips.append(
            Clip(
                key=f"{group}/{path}",
                path=str(folder / path),
                group=group,
                speaker=str(row.get("speaker") or ""),
                split=str(row.get("split") or "train"),
                text=normalise_text(str(text), letters) if text else None,
                labels=(str(row["label"]),) if row.get("label") else (),
                fold=fold,
            )
        )
    return clips


class Pack:
    """A packed corpus on disk: `samples.i16` and `index.jsonl` in one folder.

    A clip counts once its whole line is in the index and all its samples are in the file; what a kill
    or a full disk left behind that is not read, and `extend` cuts it off.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[Clip] = []
        self._spans: list[tuple[int, int]] = []
        self._index_bytes = 0
        samples = folder / "samples.i16"
        available = samples.stat().st_size // 2 if samples.exists() else 0
        index = folder / "index.jsonl"
        for line in index.read_bytes().splitlines(keepends=True) if index.exists() else ():
            entry = _parse(line)
            if entry is None or sum(entry[1]) > available:
                log.warning("%s: left out from clip %d on, which is not whole", folder, len(self.clips))
                break
            self.clips.append(entry[0])
            self._spans.append(entry[1])
            self._index_bytes += len(line)
        self._end = sum(self._spans[-1]) if self._spans else 0
        self._samples = (
            np.memmap(samples, np.int16, "r", shape=(self._end,)) if self._end else np.empty(0, np.int16)
        )

    def __len__(self) -> int:
        return len(self.clips)

    def length(self, i: int) -> int:
        """Samples of clip i."""
        return self._spans[i][1]

    def audio(self, i: int) -> NDArray[np.float32]:
        """Samples of clip i, float32 in [-1, 1]."""
        start, length = self._spans[i]
        return self._samples[start : start + length].astype(np.float32) / np.float32(32768)

    def extend(self, clips: Iterable[Clip], progress: bool = True) -> Pack:
        """Decode and append what is not packed yet; what cannot be decoded is listed and left out."""
        from streamer.audio.decode import decode_file

        self.folder.mkdir(parents=True, exist_ok=True)
        known = {clip.key for clip in self.clips}
        todo = [clip for clip in clips if clip.key not in known]
        end, broken = self._end, 0
        with (
            open(self.folder / "samples.i16", "ab") as samples,
            open(self.folder / "index.jsonl", "ab") as index,
        ):
            samples.truncate(2 * end)
            index.truncate(self._index_bytes)
            for clip in track(todo, f"packing {self.folder.name}", progress):
                try:
                    audio = decode_file(clip.path)
                except StreamerError as error:
                    broken += 1
                    log.warning("left out %s: %s", clip.path, error)
                    continue
                samples.write((np.clip(audio, -1, 1) * 32767).round().astype(np.int16).tobytes())
                samples.flush()
                row = {**asdict(clip), "start": end, "length": len(audio)}
                index.write(json.dumps(row).encode() + b"\n")
                index.flush()
                end += len(audio)
        if broken:
            log.warning("%d of %d recordings could not be decoded", broken, len(todo))
        return Pack(self.folder)


def _parse(line: bytes) -> tuple[Clip, tuple[int, int]] | None:
    """One line of an index as a clip and its (start, length); None for a line that was cut."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
        span = (int(row.pop("start")), int(row.pop("length")))
        return Clip(**{**row, "labels": tuple(row["labels"])}), span
    except (ValueError, TypeError, KeyError):
        return None
