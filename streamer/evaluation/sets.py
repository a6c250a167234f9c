"""Recordings whose words are known: folders with a manifest, LibriSpeech's layout, or a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamer.errors import StreamerError

MANIFEST = "manifest.jsonl"
TRANSCRIPTS = "*.trans.txt"
AUDIO = (".flac", ".wav", ".mp3", ".opus", ".ogg", ".m4a")
"""Suffixes that the recordings of LibriSpeech's layout may have, the corpus's own first."""

EXPECTED = (
    f"expected a folder with {MANIFEST}, a folder in LibriSpeech's layout (*.trans.txt), "
    f"a {MANIFEST}, or a .csv or .tsv file of path,text"
)


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word and when it is said, in seconds from the recording's beginning."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording and what is said in it; `words` where somebody knows when."""

    path: Path
    text: str
    speaker: str = ""
    split: str = ""
    words: tuple[SpokenWord, ...] = ()


@dataclass(frozen=True, slots=True)
class TestSet:
    """Utterances under one name."""

    __test__ = False

    name: str
    utterances: tuple[Utterance, ...]


def read_set(path: Path) -> TestSet:
    """The set at `path`, named after its folder or file. What has no text is left out.

    Raises StreamerError for what is no set, for a line that is not one, and where nothing is left.
    """
    if path.is_dir() and (path / MANIFEST).is_file():
        found, name = list(_manifest(path / MANIFEST)), path.resolve().name
    elif path.is_dir():
        found, name = list(_librispeech(path)), path.resolve().name
    elif path.name == MANIFEST and path.is_file():
        found, name = list(_manifest(path)), path.resolve().parent.name
    elif path.suffix.lower() in (".csv", ".tsv") and path.is_file():
        found, name = list(_table(path)), path.stem
    else:
        raise StreamerError(f"{EXPECTED}; found none of them at {path}")
    found = [one for one in found if one.text.strip()]
    if not found:
        raise StreamerError(f"{path}: expected recordings with texts, found none")
    return TestSet(name, tuple(found))


def choose(
    test_set: TestSet,
    *,
    split: str | None = None,
    speakers: Collection[str] | None = None,
    limit: int | None = None,
) -> TestSet:
    """The part of a set that is asked for; a set whose recordings name no split is taken whole.

    limit: so many utterances at most, spread evenly over the set. StreamerError where none is left.
    """
    kept = test_set.utterances
    if split is not None and any(one.split for one in kept):
        kept = _some(test_set.name, kept, "split", [split], lambda one: one.split)
    if speakers is not None:
        kept = _some(test_set.name, kept, "speaker", speakers, lambda one: one.speaker)
    if limit is not None and limit < len(kept):
        kept = tuple(kept[i * len(kept) // limit] for i in range(limit))
    return TestSet(test_set.name, kept)


def _some(
    name: str,
    utterances: Sequence[Utterance],
    what: str,
    wanted: Collection[str],
    key: Callable[[Utterance], str],
) -> tuple[Utterance, ...]:
    kept = tuple(one for one in utterances if key(one) in wanted)
    if not kept:
        there = sorted({key(one) or "(none)" for one in utterances})
        shown = ", ".join(there[:8]) + (" …" if len(there) > 8 else "")
        raise StreamerError(
            f"{name}: expected recordings of {what} {', '.join(sorted(wanted))}, found only: {shown}"
        )
    return kept


# -------------------------------------------------------------------------------------- the layouts


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank. Raises StreamerError where the file is not readable text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise StreamerError(f"{path}: expected text in UTF-8, found: {error}") from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")


def _manifest(path: Path) -> Iterator[Utterance]:
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise TypeError("not an object")
            words = tuple(_word(one) for one in row.get("words") or ())
            yield _utterance(path.parent, row, words)
        except (ValueError, TypeError, KeyError) as error:
            raise StreamerError(
                f"{path}, line {number}: expected a JSON object with at least a 'path' and perhaps "
                f"'words' ([[word, start, end], …] in seconds, by time), "
                f"found {line[:80]!r} ({type(error).__name__}: {error})"
            ) from error


def _word(entry: Any) -> SpokenWord:
    text, start, end = entry
    word = SpokenWord(str(text), float(start), float(end))
    if not 0 <= word.start <= word.end:
        raise ValueError(f"a word from {word.start} to {word.end} s")
    return word


def _utterance(folder: Path, row: Mapping[str, Any], words: tuple[SpokenWord, ...] = ()) -> Utterance:
    return Utterance(
        folder / str(row["path"]),
        str(row.get("text") or ""),
        str(row.get("speaker") or ""),
        str(row.get("split") or ""),
        words,
    )


def _librispeech(folder: Path) -> Iterator[Utterance]:
    """`SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt`: an id and its text a line, recordings beside it."""
    for path in sorted(folder.rglob(TRANSCRIPTS)):
        for number, line in _lines(path):
            key, _, text = line.strip().partition(" ")
            recordings = [path.with_name(key + suffix) for suffix in AUDIO]
            audio = next((one for one in recordings if one.is_file()), None)
            if audio is None:
                raise StreamerError(
                    f"{path}, line {number}: expected a recording {key}{AUDIO[0]} (or another of "
                    f"{', '.join(AUDIO[1:])}) beside it, found none"
                )
            yield Utterance(audio, text, key.partition("-")[0])


def _table(path: Path) -> Iterator[Utterance]:
    """Columns by a first line that names them (path, text, speaker, split), else path and text."""
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.reader((line for _, line in _lines(path)), delimiter=separator)
    columns = ["path", "text"]
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if number == 1 and "path" in cells and "text" in cells:
            columns = cells
            continue
        if len(cells) < len(columns):
            raise StreamerError(
                f"{path}, row {number}: expected {len(columns)} columns ({separator.join(columns)}), "
                f"found {len(cells)}: {separator.join(row)[:80]!r}"
            )
        yield _utterance(path.parent, dict(zip(columns, cells, strict=False)))
