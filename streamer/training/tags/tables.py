"""Rows of the tables that sound data sets come with: CSV, JSON, JSON lines.

Known by their columns, whatever their case: ESC-50 (`filename`, `fold`, `category`), UrbanSound8K
(`slice_file_name`, `class`), FSD50K (`fname`, `labels`, `mids`, `split`), AudioSet's own segments (`# YTID,
start_seconds, …, positive_labels`), the JSON of AST and Whisper-AT (`{"data": [{"wav": …, "labels":
"/m/09x0r,/m/05zppz"}]}`), and this project's manifests. What a row lacks is told row by row; only a file
that is no table at all is an error.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import StreamerError

PATHS = (
    *("path", "filename", "file_name", "file", "wav", "audio", "audio_path", "audio_file", "filepath"),
    *("slice_file_name", "fname", "ytid"),
)
"""Columns that name the recording; the first that is there."""

LABELS = (
    *("mids", "positive_labels", "labels", "label", "category", "class", "classes", "class_name"),
    *("tags", "tag"),
)
"""Columns that say what is heard in it; ids before names."""

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in the data that was left out."""

    where: str
    why: str


@dataclass(frozen=True, slots=True)
class Row:
    """One recording as a table has it. `labels`: one cell of names, or a list; None where there is none."""

    where: str
    path: str
    labels: str | tuple[str, ...] | None
    fold: int | None = None
    split: str = ""
    text: str = ""
    speaker: str = ""
    licence: str = ""


def read_table(path: Path) -> Iterator[Row | Skipped]:
    """The rows of a table. Raises StreamerError where the file is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StreamerError(f"expected a table (CSV or JSON, UTF-8) in {path}, found: {error}") from error
    if path.suffix.lower() in (".json", ".jsonl"):
        yield from _json_rows(text, path)
    else:
        yield from _csv_rows(text, path)


def _csv_rows(text: str, path: Path) -> Iterator[Row | Skipped]:
    lines = text.replace("\r\n", "\n").split("\n")
    comments = [line for line in lines if line.lstrip().startswith("#")]
    body = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    # AudioSet's header is the last of its comments.
    if comments and "," in comments[-1] and _columns(_cells(comments[-1].lstrip("# "), ",")):
        body.insert(0, comments[-1].lstrip("# "))
    if not body:
        raise StreamerError(f"expected a table with a header in {path}, found an empty file")
    delimiter = "\t" if "\t" in body[0] else ";" if ";" in body[0] and "," not in body[0] else ","
    header = [name.strip() for name in _cells(body[0], delimiter)]
    _require(header, path)
    reader = csv.reader(io.StringIO("\n".join(body[1:])), delimiter=delimiter, skipinitialspace=True)
    number = 1
    while True:
        number += 1
        where = f"{path.name}, row {number}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Skipped(where, f"no CSV: {error}")
            continue
        if any(cell.strip() for cell in cells):
            yield _row(dict(zip(header, cells, strict=False)), where)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        return []


def _json_rows(text: str, path: Path) -> Iterator[Row | Skipped]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if path.suffix.lower() != ".jsonl" and "\n" not in text.strip():
            raise StreamerError(f"expected JSON in {path}, found a mistake: {error}") from error
        yield from _json_lines(text, path)
        return
    if isinstance(content, Mapping) and "data" in content:
        content = content["data"]
    elif isinstance(content, Mapping):
        content = [content]  # a manifest of one line
    if not isinstance(content, list):
        raise StreamerError(f"expected a list of recordings in {path}, found {type(content).__name__}")
    _require(sorted({str(name) for row in content if isinstance(row, Mapping) for name in row}), path)
    for number, row in enumerate(content, start=1):
        where = f"{path.name}, entry {number}"
        yield _row(row, where) if isinstance(row, Mapping) else Skipped(where, f"no object: {str(row)[:60]}")


def _json_lines(text: str, path: Path) -> Iterator[Row | Skipped]:
    parsed: list[tuple[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                parsed.append((f"{path.name}, line {number}", json.loads(line)))
            except (ValueError, RecursionError) as error:
                parsed.append((f"{path.name}, line {number}", error))
    rows = [row for _, row in parsed if isinstance(row, Mapping)]
    if not rows:
        raise StreamerError(f"expected JSON, or one JSON object a line, in {path}, found neither")
    _require(sorted({str(name) for row in rows for name in row}), path)
    for where, row in parsed:
        if isinstance(row, Mapping):
            yield _row(row, where)
        else:
            yield Skipped(where, f"no JSON object: {row}")


def _columns(header: Sequence[str]) -> str | None:
    """The column that names the recording; None where none does."""
    lowered = [name.strip().casefold() for name in header]
    return next((name for name in PATHS if name in lowered), None)


def _require(header: Sequence[str], path: Path) -> None:
    if _columns(header) is None:
        shown = ", ".join(header[:8]) or "nothing"
        raise StreamerError(
            f"{path}: expected a column for the recording ({', '.join(PATHS)}), found {shown[:200]}. "
            "Rename the column that has the file names"
        )


def _row(cells: Mapping[Any, Any], where: str) -> Row | Skipped:
    values = {str(name).strip().casefold(): value for name, value in cells.items()}
    path = next((str(values[name]).strip() for name in PATHS if values.get(name)), "")
    if not path:
        return Skipped(where, "names no recording")
    labels = next((values[name] for name in LABELS if values.get(name)), None)
    if labels is not None and not isinstance(labels, str):
        if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
            return Skipped(where, f"expected names of labels, found {str(labels)[:60]}")
        labels = tuple(labels)
    fold = values.get("fold")
    try:
        number = None if fold in (None, "") else int(fold)
    except (ValueError, TypeError, OverflowError):
        return Skipped(where, f"expected a whole number as the fold, found {str(fold)[:60]!r}")
    if number is not None and not 0 <= number < 1000:
        return Skipped(where, f"expected a fold from 0 to 999, found {number}")
    words = {name: str(values.get(name) or "").strip() for name in ("split", "text", "speaker")}
    licence = str(values.get("licence") or values.get("license") or "").strip()
    return Row(where, path, labels, number, words["split"], words["text"], words["speaker"], licence)
