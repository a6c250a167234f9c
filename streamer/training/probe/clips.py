"""Recordings of which each has one label, and folds of them: what encoders are compared on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from streamer.errors import StreamerError
from streamer.training.emotion.clips import Clip, read_clips, speaker_folds, tells_speakers
from streamer.training.tags.readers import draw_folds, read_data

FEWEST = 3
"""Folds: one to test, one to choose by, one to learn from."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What was read. folds: the clips' parts; how: what they go by. notes: what a person should know."""

    labels: tuple[str, ...]
    folds: tuple[tuple[Clip, ...], ...]
    how: str
    notes: tuple[str, ...] = ()

    @property
    def clips(self) -> list[Clip]:
        """All of them, fold by fold."""
        return [clip for fold in self.folds for clip in fold]


def read_labelled(paths: Sequence[Path], folds: int, seed: int) -> Labelled:
    """Read RAVDESS' and CREMA-D's names, and all that `streamer train tags` reads, as one set of data.

    Where every speaker is known, no two of the `folds` parts share one; else the data's own folds hold where
    every clip has one; else they are drawn, each label's clips evenly. Raises StreamerError for data of fewer
    than two labels, and for fewer than three folds.
    """
    if folds < FEWEST:
        raise StreamerError(f"expected {FEWEST} folds or more, found {folds}")
    clips: list[Clip] = []
    own: dict[Path, int] = {}
    drawn: dict[Path, int] = {}
    notes: list[str] = []
    for path in paths:
        if tells_speakers(path):
            clips += read_clips(path)
            continue
        data = read_data([path])
        single = [clip for clip in data.clips if len(clip.labels) == 1]
        if left := len(data.clips) - len(single) + len(data.skipped):
            notes.append(f"{path}: left out {left} recordings that are missing or have not exactly one label")
        clips += [Clip(Path(clip.path), clip.labels[0], clip.speaker) for clip in single]
        own |= {Path(clip.path): clip.fold for clip in single}
        bare = [replace(clip, fold=0) for clip in single]
        drawn |= {Path(clip.path): clip.fold for clip in draw_folds(bare, folds, seed)}
    labels = tuple(sorted({clip.label for clip in clips}))
    if len(labels) < 2:
        found = ", ".join(labels) or "none"
        raise StreamerError(
            f"expected recordings of two labels or more in {', '.join(map(str, paths))}, found {found}"
        )
    parts, how = _parts(clips, own, drawn, folds, seed)
    return Labelled(labels, parts, how, tuple(notes))


def _parts(
    clips: Sequence[Clip], own: Mapping[Path, int], drawn: Mapping[Path, int], count: int, seed: int
) -> tuple[tuple[tuple[Clip, ...], ...], str]:
    speakers = {clip.speaker for clip in clips}
    if "" not in speakers and len(speakers) >= count:
        return tuple(map(tuple, speaker_folds(clips, count, seed))), "by speaker"
    named = {own.get(clip.path, 0) for clip in clips}
    if min(named) > 0 and len(named) >= FEWEST:
        return _by_number(clips, own), "the data's own"
    missing = [clip for clip in clips if clip.path not in drawn]
    if missing:
        raise StreamerError(
            f"expected {count} speakers or more for as many folds, found {len(speakers)}: ask for fewer folds"
        )
    return _by_number(clips, drawn), "drawn at random"


def _by_number(clips: Sequence[Clip], fold: Mapping[Path, int]) -> tuple[tuple[Clip, ...], ...]:
    count = Counter(fold[clip.path] for clip in clips)
    return tuple(tuple(clip for clip in clips if fold[clip.path] == number) for number in sorted(count))
