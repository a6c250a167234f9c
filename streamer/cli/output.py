"""What goes to standard output (results, and nothing else) and to standard error (everything else)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Protocol, TypeVar

import click


class Dataclass(Protocol):
    """An instance of any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=Dataclass)


def json_option(command: Any) -> Any:
    """``--json``: JSON lines on standard output, nothing else there."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON lines on standard output.")(
        command
    )


def note(text: str) -> None:
    """A message for people, on standard error."""
    click.echo(text, err=True)


def emit(record: Mapping[str, Any]) -> None:
    """One JSON object a line on standard output, at once."""
    click.echo(json.dumps(record, ensure_ascii=False, default=str))


def clean(text: object) -> str:
    """`text` on one line without anything that steers the terminal."""
    from streamer.captions import printable

    return printable(str(text))


def width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    import unicodedata

    return sum(
        0
        if unicodedata.combining(char) or char in "\u200c\u200d"
        else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in text
    )


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], as_json: bool, empty: str = "") -> None:
    """`rows` as JSON lines (whole) or as a table of `columns`; `empty` is noted where there are none."""
    if as_json:
        for row in rows:
            emit(row)
        return
    cells = [[clean("" if row.get(c) is None else row.get(c, "")) for c in columns] for row in rows]
    if not cells:
        if empty:
            note(empty)
        return
    lines = [[c.replace("_", " ") for c in columns], *cells]
    widths = [max(width(line[i]) for line in lines) for i in range(len(columns))]
    for number, line in enumerate(lines):
        text = "  ".join(
            cell + " " * (w - width(cell)) for cell, w in zip(line, widths, strict=True)
        ).rstrip()
        click.echo(click.style(text, bold=True) if number == 0 else text, color=_colour())


def records(
    found: Iterable[T], columns: Sequence[str], cells: Callable[[T], Sequence[object]], as_json: bool
) -> None:
    """Dataclasses as JSON lines of all their fields, or as a table of `cells`, which `columns` name."""
    if as_json:
        for one in found:
            emit(asdict(one))
        return
    table((dict(zip(columns, cells(one), strict=True)) for one in found), columns, as_json=False)


def _colour() -> bool | None:
    """False where NO_COLOR asks for it; None leaves the choice to click (a terminal or not)."""
    import os

    return False if os.environ.get("NO_COLOR") else None
