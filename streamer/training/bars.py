"""Progress bars of the training stages: on standard error, so that standard output stays the results'."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def track(items: Sequence[T], text: str, show: bool = True) -> Iterable[T]:
    """`items` as they are, with a bar named `text` unless `show` is false."""
    from rich.console import Console
    from rich.progress import track as rich_track

    return rich_track(items, text, console=Console(stderr=True), disable=not show)


def progress(show: bool = True) -> Progress:
    """A context in which tasks can be added and moved."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), disable=not show)
