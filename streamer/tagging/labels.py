"""Finding the label that a person means. The labels themselves are `streamer.labels`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from streamer.errors import ConfigError
from streamer.labels import HEADER, Label, audioset, read_labels, write_labels

__all__ = [
    "HEADER",
    "Label",
    "audioset",
    "by_id",
    "by_name",
    "read_labels",
    "resolve",
    "suggestions",
    "write_labels",
]


def by_name(name: str, known: Sequence[Label] | None = None) -> Label | None:
    """The label of that name, whatever its case; None where there is none. `known`: AudioSet's if omitted."""
    wanted = name.strip().casefold()
    return next((label for label in _or_audioset(known) if label.name.casefold() == wanted), None)


def by_id(identifier: str, known: Sequence[Label] | None = None) -> Label | None:
    """The label of that AudioSet id such as `/m/0bt9lr`; None where there is none."""
    if not identifier:
        return None
    return next((label for label in _or_audioset(known) if label.id == identifier), None)


def resolve(name: str, known: Sequence[Label]) -> Label:
    """The one of `known` that a person means with `name`: a name in any case, or an AudioSet id.

    Raises ConfigError naming the nearest labels.
    """
    label = by_name(name, known) or by_id(name.strip(), known)
    if label is not None:
        return label
    nearest = suggestions(name, known)
    hint = f"did you mean {', '.join(map(repr, nearest))}?" if nearest else "no label is like it"
    raise ConfigError(f"unknown sound {name!r} among the {len(known)} that the model knows: {hint}")


def suggestions(name: str, known: Sequence[Label], count: int = 5) -> list[str]:
    """Names like `name`, nearest first: spelled alike, then containing it or one of its words."""
    wanted = name.strip().casefold()
    names = {label.name.casefold(): label.name for label in known}
    found = difflib.get_close_matches(wanted, names, n=count, cutoff=0.6)
    words = [wanted] + [word for word in wanted.split() if len(word) > 2]
    for word in words:
        found += [n for n in names if word and word in n and n not in found]
    return [names[n] for n in found[:count]]


def _or_audioset(known: Sequence[Label] | None) -> Sequence[Label]:
    return audioset() if known is None else known
