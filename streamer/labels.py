"""Names of sounds: AudioSet's 527 classes, and the label list of a model.

`audioset.csv` beside this file is AudioSet's list of evaluated classes (index, machine id, display
name): Gemmeke et al., "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP
2017, © Google LLC, https://research.google.com/audioset, licensed under CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/); unchanged but for line endings and quoting.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from streamer.errors import ModelError

HEADER = ["name", "id"]
"""First row of a model's `labels.csv`."""


@dataclass(frozen=True, slots=True)
class Label:
    """One kind of sound. `id`: its AudioSet id, empty for labels of one's own."""

    name: str
    id: str = ""


@cache
def audioset() -> tuple[Label, ...]:
    """AudioSet's 527 classes in the order of Whisper-AT's outputs."""
    file = resources.files("streamer") / "audioset.csv"
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    return tuple(Label(row["display_name"], row["mid"]) for row in rows)


def read_labels(path: Path) -> tuple[Label, ...]:
    """A model's label list: CSV with the header `name,id`, one label a row, in the order of its outputs.

    Raises ModelError for a file that is missing, malformed, empty or names a label twice.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ModelError(f"cannot read the label list {path}: {error}") from error
    if not rows or rows[0] != HEADER:
        found = rows[0] if rows else "nothing"
        raise ModelError(f"{path}: expected the header {','.join(HEADER)}, found {found}")
    labels = []
    seen: set[str] = set()
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or not row[0].strip():
            raise ModelError(f"{path}, row {number}: expected a name and an id, found {row}")
        name = row[0].strip()
        if name.casefold() in seen:
            raise ModelError(f"{path}, row {number}: the label {name!r} is there twice")
        seen.add(name.casefold())
        labels.append(Label(name, row[1].strip()))
    if not labels:
        raise ModelError(f"{path}: expected at least one label, found none")
    return tuple(labels)


def write_labels(path: Path, labels: Sequence[Label]) -> None:
    """Write a model's label list so that `read_labels` gives it back."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        writer.writerows((label.name, label.id) for label in labels)
