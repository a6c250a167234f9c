"""What `streamer eval tags` measures on: sounds, speech and backgrounds from data sets and from packs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from streamer.audio.decode import decode_file
from streamer.errors import StreamerError
from streamer.evaluation.mixtures import Recording
from streamer.evaluation.sets import choose, read_set
from streamer.training.corpus import Clip, Pack
from streamer.training.tags.names import SPEECH, known_label
from streamer.training.tags.readers import read_data


@dataclass(frozen=True, slots=True)
class Choice:
    """Which recordings: of sounds by split and fold, of speech by split and speaker. None: all of them."""

    split: str | None = None
    folds: Collection[int] = ()
    speech_split: str | None = None
    speakers: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """Recordings with the model's labels, and what there is to say about those that were left out.

    left_out: labels that the model does not know, with the number of their recordings.
    """

    recordings: tuple[Recording, ...]
    left_out: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def sounds(self) -> list[Recording]:
        """Those with a label."""
        return [one for one in self.recordings if one.labels]


def gather(
    data: Sequence[Path],
    speech: Sequence[Path],
    labels: Sequence[str],
    choice: Choice,
    ignored: Mapping[str, tuple[str, ...]],
    *,
    need_sounds: bool = True,
) -> Material:
    """Read data sets (or packs) of sounds, of backgrounds (no label) and of speech (texts).

    labels: the model's. ignored: labels that a background truly holds, by a part of its file's name. The
    choice holds for backgrounds where it leaves any of them. Raises StreamerError for what is no data, and
    where the choice leaves nothing of what is needed.
    """
    found: list[Recording] = []
    left_out: Counter[str] = Counter()
    notes: list[str] = []
    backgrounds: list[tuple[bool, Recording]] = []
    for clip, load in _clips(data, notes):
        named = [name for name in clip.labels if name != SPEECH]
        if not named:
            if not clip.text and not clip.labels:
                name = Path(clip.key).name
                excused = [one for part, names in ignored.items() if part in name for one in names]
                one = Recording(clip.key, load, ignored=tuple(dict.fromkeys(excused)))
                backgrounds.append((_is_chosen(clip, choice), one))
            continue
        if not _is_chosen(clip, choice):
            continue
        known = [label for name in named if (label := _of_model(name, labels))]
        left_out.update(name for name in named if not _of_model(name, labels))
        if known:
            found.append(Recording(clip.key, load, tuple(dict.fromkeys(known))))
    if need_sounds and not any(one.labels for one in found):
        raise StreamerError(
            f"expected sounds that the model knows, found none in --data{_hint(choice, left_out)}"
        )
    chosen = [one for is_chosen, one in backgrounds if is_chosen]
    found += chosen or [one for _, one in backgrounds]
    for path in speech:
        found += _speech(path, choice)
    return Material(tuple(found), dict(left_out), tuple(notes))


def _hint(choice: Choice, left_out: Mapping[str, int]) -> str:
    chosen = choice.split is not None or choice.folds
    unknown = f"; it does not know {', '.join(sorted(left_out)[:5])}" if left_out else ""
    return (" of that --split and --fold" if chosen else "") + unknown


Load = partial[NDArray[np.float32]]


def _clips(data: Sequence[Path], notes: list[str]) -> list[tuple[Clip, Load]]:
    out: list[tuple[Clip, Load]] = []
    sets = []
    for path in data:
        if _is_pack(path):
            pack = Pack(path)
            out += [(clip, partial(pack.audio, i)) for i, clip in enumerate(pack.clips)]
        else:
            sets.append(path)
    if sets:
        dataset = read_data(sets)
        notes += [*dataset.notes, *(f"{one.where}: {one.why}" for one in dataset.skipped)]
        out += [(clip, partial(decode_file, clip.path)) for clip in dataset.clips]
    return out


def _is_pack(path: Path) -> bool:
    return (path / "index.jsonl").is_file() and (path / "samples.i16").is_file()


def _is_chosen(clip: Clip, choice: Choice) -> bool:
    return (choice.split is None or clip.split == choice.split) and (
        not choice.folds or clip.fold in choice.folds
    )


def _of_model(name: str, labels: Sequence[str]) -> str:
    """The model's label for a name in data, which may be an ESC-50 class; empty where it has none."""
    meant = known_label(name)
    wanted = {name.strip().casefold(), *([meant.name.casefold()] if meant is not None else [])}
    return next((label for label in labels if label.casefold() in wanted), "")


def _speech(path: Path, choice: Choice) -> list[Recording]:
    if not _is_pack(path):
        chosen = choose(read_set(path), split=choice.speech_split, speakers=choice.speakers)
        return [
            Recording(str(one.path), partial(decode_file, str(one.path)), text=one.text)
            for one in chosen.utterances
        ]
    pack = Pack(path)
    found = [
        Recording(clip.key, partial(pack.audio, i), text=clip.text)
        for i, clip in enumerate(pack.clips)
        if clip.text
        and (choice.speech_split is None or clip.split == choice.speech_split)
        and (choice.speakers is None or clip.speaker in choice.speakers)
    ]
    if not found:
        raise StreamerError(f"{path}: expected speech of that --speech-split and --speakers, found none")
    return found
