"""Recordings and their labels from whatever somebody has: a folder for each label, or a table.

What is missing or broken is listed and left out; only data without a single usable recording is an error.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamer.errors import StreamerError
from streamer.labels import Label, audioset
from streamer.tagging.labels import suggestions
from streamer.training.corpus import Clip
from streamer.training.tags.names import SPEECH, in_order, known_label, own_label, split_labels
from streamer.training.tags.tables import SUFFIXES, Row, Skipped, read_table

AUDIO = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".webm", ".mp4"),
    *(".mka", ".wma", ".au", ".caf"),
)
"""What a file of sound ends in."""

MANIFEST = "manifest.jsonl"
BACKGROUND = ("_background_noise_", "background", "background_noise", "none")
"""Labels and folders that mean: nothing worth a name."""

LOPSIDED = 0.6
"""Share of a label's recordings in one fold from which that fold cannot be tested."""
TESTS = ("test", "eval", "evaluation")
TEST_FOLD = -1
"""The fold of what is never trained on."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was read.

    clips: with the names of their labels; without any they are background (or speech, where they have a
    text and no label). labels: each once, in order of name. fold: from 1, 0 for none, TEST_FOLD for a
    recording of a test split. notes: what a person should know. licences: how many recordings of each set
    are under which, `("esc10", "CC-BY") -> 243`.
    """

    clips: tuple[Clip, ...]
    labels: tuple[Label, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    licences: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Recordings of each label."""
        count = Counter(name for clip in self.clips for name in clip.labels)
        return {label.name: count[label.name] for label in self.labels}


@dataclass(slots=True)
class _Naming:
    """Names in the data to labels, and what there is to say about them."""

    rename: Mapping[str, str]
    background: Sequence[str]
    licences: Counter[tuple[str, str]] = field(default_factory=Counter)
    found: dict[str, Label] = field(default_factory=dict)
    own: dict[str, Label] = field(default_factory=dict)

    def labels(self, names: Iterable[str]) -> tuple[str, ...]:
        out = []
        for name in names:
            if name.strip() and name.strip().casefold() not in self.background:
                label = self._label(name.strip())
                if label.name and label.name not in out:
                    out.append(label.name)
        return tuple(out)

    def _label(self, name: str) -> Label:
        if (label := known_label(name, self.rename)) is None:
            own = own_label(name, self.rename)
            label = self.own.setdefault(own.name.casefold(), own)
        self.found[label.name] = label
        return label

    def notes(self) -> Iterator[str]:
        for label in self.own.values():
            near = suggestions(label.name.replace("_", " "), audioset(), 3)
            hint = f"; near it are {', '.join(map(repr, near))} ([rename] maps names)" if near else ""
            yield f"{label.name!r} is not among AudioSet's labels: kept as a label of your own{hint}"


def read_data(
    paths: Sequence[Path],
    rename: Mapping[str, str] | None = None,
    background: Sequence[str] = BACKGROUND,
) -> Dataset:
    """Read folders of labels, CSV, JSON and manifests as one set of data.

    Raises StreamerError where something is no data, or where nothing of it can be used.
    """
    naming = _Naming(rename or {}, [name.casefold() for name in background])
    clips: dict[str, Clip] = {}
    skipped: list[Skipped] = []
    notes: list[str] = []
    empty: dict[str, str] = {}
    for path in paths:
        for one in _read(path, naming, empty):
            if isinstance(one, Skipped):
                skipped.append(one)
            elif (known := clips.get(one.path)) is not None:
                # One row for each label of a recording, or the same recording in two tables.
                clips[one.path] = replace(known, labels=tuple(dict.fromkeys((*known.labels, *one.labels))))
            else:
                clips[one.path] = one
    if not clips:
        shown = "; ".join(f"{one.where}: {one.why}" for one in skipped[:3])
        places = ", ".join(map(str, paths))
        raise StreamerError(f"expected recordings in {places}, found none that can be used. {shown}".strip())
    named = {name for clip in clips.values() for name in clip.labels}
    for label in naming.found:
        if label not in named:
            empty.setdefault(label, "none of its recordings can be used")
    notes += [f"the label {name!r} is left out: {why}" for name, why in empty.items() if name not in named]
    notes += naming.notes()
    labels = in_order([label for name, label in naming.found.items() if name in named])
    return Dataset(tuple(clips.values()), labels, tuple(skipped), tuple(notes), dict(naming.licences))


def _read(path: Path, naming: _Naming, empty: dict[str, str]) -> Iterator[Clip | Skipped]:
    if path.is_dir():
        table = _table_in(path)
        yield from _from_folders(path, naming, empty) if table is None else _from_table(table, naming)
    elif path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise StreamerError(
                f"expected a folder or a table ({', '.join(SUFFIXES)}) as data, found the file {path}"
            )
        yield from _from_table(path, naming)
    else:
        raise StreamerError(f"expected a folder or a table as data, found nothing at {path}")


def _table_in(folder: Path) -> Path | None:
    """The table that describes a folder; None where its subfolders are the labels.

    Raises StreamerError where there is neither, or a choice of tables.
    """
    if (folder / MANIFEST).is_file():
        return folder / MANIFEST
    for place in (folder / "meta", folder / "metadata", folder):
        tables = (
            [p for p in sorted(place.glob("*")) if p.suffix.lower() in SUFFIXES] if place.is_dir() else []
        )
        if place == folder and any(_audio_files(sub) for sub in _subfolders(folder)):
            return None
        if len(tables) == 1:
            return tables[0]
        if tables:
            names = ", ".join(p.name for p in tables[:5])
            raise StreamerError(f"{place} has several tables ({names}): name the one to read as --data")
    raise StreamerError(
        f"expected data in {folder}: a subfolder of recordings for each label, {MANIFEST}, or one table "
        f"({', '.join(SUFFIXES)}); found none of them"
    )


def _subfolders(folder: Path) -> list[Path]:
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]


def _audio_files(folder: Path) -> list[Path]:
    files = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in AUDIO)
    return [p for p in files if p.is_file() and not p.name.startswith(".")]


def _from_folders(folder: Path, naming: _Naming, empty: dict[str, str]) -> Iterator[Clip | Skipped]:
    for sub in _subfolders(folder):
        files = _audio_files(sub)
        labels = naming.labels([sub.name])
        if not files:
            for name in labels:
                empty[name] = f"the folder {sub.name!r} holds no recording"
        naming.licences[folder.name, "not stated"] += len(files)
        for path in files:
            yield _clip(path, folder.name, labels, Row(str(path), str(path), None))
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in AUDIO and path.is_file():
            yield _clip(path, folder.name, (), Row(str(path), str(path), None))


def _from_table(table: Path, naming: _Naming) -> Iterator[Clip | Skipped]:
    group = table.parent.name if table.name == MANIFEST else table.stem
    rows = list(read_table(table))
    folds = [row.fold for row in rows if isinstance(row, Row)]
    from_zero = None not in folds and 0 in folds and any(folds)
    for row in rows:
        if isinstance(row, Skipped):
            yield row
            continue
        names = split_labels(row.labels, naming.rename) if isinstance(row.labels, str) else row.labels or ()
        labels = naming.labels(names)
        if not labels and row.text:
            labels = naming.labels([SPEECH])
        path = find_audio(table.parent, row)
        if path is None:
            yield Skipped(row.where, f"there is no file {row.path!r}")
        else:
            naming.licences[group, row.licence or "not stated"] += 1
            yield _clip(path, group, labels, row, from_zero)


def _clip(path: Path, group: str, labels: tuple[str, ...], row: Row, from_zero: bool = False) -> Clip:
    """`from_zero`: the table counts its folds from 0."""
    where = os.path.abspath(path)
    fold = TEST_FOLD if row.split.casefold() in TESTS else (row.fold or 0) + from_zero
    return Clip(
        key=where,
        path=where,
        group=group,
        speaker=row.speaker,
        split=row.split or "train",
        text=row.text or None,
        labels=labels,
        fold=fold,
    )


def find_audio(base: Path, row: Row) -> Path | None:
    """Where a row's recording is: beside the table, in `audio/` (ESC-50), a fold's folder.

    None where it is nowhere.
    """
    names = [row.path]
    if Path(row.path).suffix.lower() not in AUDIO:
        names += [f"{start}{row.path}{suffix}" for suffix in AUDIO for start in ("", "Y")]
    folds = [] if row.fold is None else [f"audio/fold{row.fold}", f"fold{row.fold}"]
    for folder in (base, *(root / sub for root in (base, base.parent) for sub in ("audio", *folds))):
        for name in names:
            candidate = os.path.join(folder, name)
            if os.path.isfile(candidate):
                return Path(candidate)
    return None


def draw_folds(clips: Sequence[Clip], folds: int, seed: int) -> list[Clip]:
    """The clips with folds from 1 to `folds` drawn at random, label by label, where they have none.

    Of a recording's several labels the rarest counts; takes of one recording (see `origin`) share a fold.
    Tests, and clips without labels, keep what they have.
    """
    todo = [i for i, clip in enumerate(clips) if clip.labels and clip.fold == 0]
    return _drawn(clips, todo, list(range(1, folds + 1)), seed)


def spread_folds(clips: Sequence[Clip], seed: int) -> tuple[list[Clip], list[str]]:
    """The clips with folds drawn anew for labels that lie in one fold, and the names of those labels.

    Of a label of which all (or more than LOPSIDED) recordings are in one fold no head can be tested: the one
    that did not learn that fold never heard the label. Other labels keep the folds that the data names.
    """
    folds = sorted({clip.fold for clip in clips if clip.labels and clip.fold > 0})
    where: dict[str, Counter[int]] = {}
    for clip in clips:
        for name in clip.labels if clip.fold > 0 else ():
            where.setdefault(name, Counter())[clip.fold] += 1
    lopsided = {name for name, count in where.items() if 2 <= count.total() < max(count.values()) / LOPSIDED}
    if len(folds) < 2 or not lopsided:
        return list(clips), []
    todo = [i for i, clip in enumerate(clips) if clip.fold > 0 and lopsided & set(clip.labels)]
    return _drawn(clips, todo, folds, seed), sorted(lopsided)


_TAKE = re.compile(r"(?<=\d)-[A-Z](-\d+)?$")
"""What ESC-50's names end in: the take, and the class's number."""


def origin(clip: Clip) -> str:
    """What a recording was cut from, as far as a name like ESC-50's tells; else the recording itself."""
    stem = Path(clip.path).stem
    take = _TAKE.search(stem)
    return stem[: take.start()] if take else clip.key


def _drawn(clips: Sequence[Clip], todo: Sequence[int], folds: Sequence[int], seed: int) -> list[Clip]:
    count = Counter(name for clip in clips for name in clip.labels)
    takes: dict[str, dict[str, list[int]]] = {}
    for i in todo:
        rarest = min(clips[i].labels, key=lambda name: (count[name], name))
        takes.setdefault(rarest, {}).setdefault(origin(clips[i]), []).append(i)
    out, rng, turn = list(clips), random.Random(seed), 0
    for name in sorted(takes):
        origins = list(takes[name])
        rng.shuffle(origins)
        for one in origins:
            for i in takes[name][one]:
                out[i] = replace(out[i], fold=folds[turn % len(folds)])
            turn += 1
    return out
