"""Recordings packed for training: one file of int16 samples, one line of JSON a clip.

Packing decodes every recording once; batches then read slices of a memory map. A killed run goes
on where it stopped: clips already indexed are not decoded again.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.errors import StreamerError

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


def normalise_text(text: str) -> str:
    """Lower case, letters and apostrophes only: what every transcript of the training data can agree on."""
    text = re.sub(r"[^a-z' ]+", " ", text.lower().replace("’", "'"))
    return re.sub(r"\s+", " ", re.sub(r"(?<![a-z])'|'(?![a-z])", " ", text)).strip()


def read_manifest(folder: Path, group: str) -> list[Clip]:
    """The clips of a folder's `manifest.jsonl` (`path`, `text` or `label`, `speaker`, `split`, `fold`)."""
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        raise StreamerError(f"expected {manifest} with one JSON object a line, found no such file")
    clips = []
    for line in manifest.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        text = row.get("text")
        clips.append(
            Clip(
                key=f"{group}/{row['path']}",
                path=str(folder / row["path"]),
                group=group,
                speaker=row.get("speaker", ""),
                split=row.get("split", "train"),
                text=normalise_text(text) if text else None,
                labels=(row["label"],) if "label" in row else (),
                fold=int(row.get("fold", 0)),
            )
        )
    return clips


class Pack:
    """A packed corpus on disk: `samples.i16` and `index.jsonl` in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[Clip] = []
        self._spans: list[tuple[int, int]] = []
        index = folder / "index.jsonl"
        if index.exists():
            for line in index.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                self._spans.append((row.pop("start"), row.pop("length")))
                row["labels"] = tuple(row["labels"])
                self.clips.append(Clip(**row))
        samples = folder / "samples.i16"
        self._samples = (
            np.memmap(samples, np.int16, "r") if samples.exists() and samples.stat().st_size else np.empty(0, np.int16)
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
        from rich.progress import track

        from streamer.audio.decode import decode_file

        self.folder.mkdir(parents=True, exist_ok=True)
        known = {clip.key for clip in self.clips}
        todo: Sequence[Clip] = [clip for clip in clips if clip.key not in known]
        end = self._spans[-1][0] + self._spans[-1][1] if self._spans else 0
        broken = 0
        with (
            open(self.folder / "samples.i16", "ab") as samples,
            open(self.folder / "index.jsonl", "a", encoding="utf-8") as index,
        ):
            samples.truncate(2 * end)
            for clip in track(todo, f"packing {self.folder.name}", disable=not progress):
                try:
                    audio = decode_file(clip.path)
                except StreamerError as error:
                    broken += 1
                    log.warning("left out %s: %s", clip.path, error)
                    continue
                samples.write((np.clip(audio, -1, 1) * 32767).round().astype(np.int16).tobytes())
                samples.flush()
                index.write(json.dumps({**asdict(clip), "start": end, "length": len(audio)}) + "\n")
                end += len(audio)
        if broken:
            log.warning("%d of %d recordings could not be decoded", broken, len(todo))
        return Pack(self.folder)
