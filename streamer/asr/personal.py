"""Where a text has personal data: card and telephone numbers, e-mail addresses, written or spoken in English.

A number is a run of at least `MASKED_DIGITS` digits, as digits or as words ("four one one", "double two",
"forty two"). A run that the text ends in may go on behind it, in the rest of an utterance or after a pause:
it counts from `OPEN_DIGITS` on. Amounts with marks (1,000,000 and 12.50) and times (10:30) are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

NUMBER = "[number]"
ADDRESS = "[e-mail]"

MASKED_DIGITS = 7
"""A run of so many digits is personal: the shortest telephone numbers …"""

OPEN_DIGITS = 5
"""… and of so many where it may go on: one more than a year has."""

_TENS = frozenset(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"])
_ONES = frozenset(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
_DIGITS = {
    **dict.fromkeys(_ONES | {"zero", "oh", "o", "nought", "double"}, 1),
    **dict.fromkeys(
        ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"], 2
    ),
    **dict.fromkeys(_TENS | {"eighteen", "nineteen", "hundred", "triple"}, 2),
}
"""Spoken numbers and how many digits each adds: "double two" is two, "eight hundred" three."""

JOINTS = frozenset(["", *["-", "–", "—", "/", "and", "dash", "hyphen", "plus", "space", "uh", "um", "er"]])
"""What may stand between the digits of one number; nothing is left of marks alone."""

LINKS = frozenset(["at", "dot", "point", "underscore", "dash", "hyphen", "plus"])
"""What joins the words of a spoken address."""

_WORD = re.compile(r"\S+")
_PLAIN = re.compile(r"\W*(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+[.,]\d{1,2}|\d{1,2}:\d{2}(?::\d{2})?)\W*")
"""An amount or a time."""

_LOCAL = (
    r"(?<!\w)(?:\w\s+){0,40}[\w.+-]+"
    rf"(?:\s+(?:(?:dot|point|underscore|dash|hyphen|plus)\s+[\w.+-]+|\d+|{'|'.join(sorted(_DIGITS))})){{0,20}}"
)
_HOST = r"\s+(?:at|@)\s+(?:sign\s+)?(?:\w\s+){0,40}[\w-]+(?:\s+(?:dash|hyphen)\s+[\w-]+)*"
_SPOKEN = re.compile(rf"{_LOCAL}{_HOST}(?:(?:\s+dot\s+|\.(?=[a-z]{{2}}))[\w-]+)+", re.IGNORECASE)
_BEGUN = re.compile(rf"{_LOCAL}{_HOST}\s+dot\W*\Z", re.IGNORECASE)
"""An address whose end is still to come; before its "dot" nobody knows that it is one."""
_WRITTEN = re.compile(r"[\w.+-]+@(?:[\w-]+(?:\.[\w-]+)*)?")


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters [start, end) of a text become `text`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Piece:
    """What stands between two spaces, and where."""

    text: str
    start: int
    end: int

    @cached_property
    def bare(self) -> str:
        """In lower case, without marks around it."""
        return self.text.strip(".,;:!?\"'()[]").lower()

    @cached_property
    def is_digits(self) -> bool:
        """Whether it may be part of a number."""
        written = sum(letter.isdigit() for letter in self.text)
        if written:
            alone = not any(letter.isalpha() for letter in self.text)
            return not _PLAIN.fullmatch(self.text) and (alone or written >= MASKED_DIGITS)
        return bool(self.bare) and all(part in _DIGITS for part in self.bare.split("-"))


def pieces(text: str, first: int = 0) -> list[Piece]:
    """The pieces of a text that begin at character `first` or later."""
    found = (Piece(match.group(), match.start(), match.end()) for match in _WORD.finditer(text))
    return [piece for piece in found if piece.start >= first]


@dataclass(frozen=True, slots=True)
class Run:
    """Pieces [first, end) are one number of so many digits; `open`: the text ends in it."""

    first: int
    end: int
    digits: int
    open: bool


def runs(words: Sequence[Piece], carried: int = 0) -> Iterator[Run]:
    """The numbers among words. `carried`: digits that the text before them ended in."""
    first = 0
    while first < len(words):
        if not words[first].is_digits:
            carried = carried if words[first].bare in JOINTS else 0
            first += 1
            continue
        last = end = first + 1
        while end < len(words) and (words[end].is_digits or words[end].bare in JOINTS):
            end += 1
            last = end if words[end - 1].is_digits else last
        yield Run(first, last, carried + _count(words[first:last]), end == len(words))
        first, carried = end, 0


def ending_digits(words: Sequence[Piece], carried: int = 0) -> int:
    """How many digits of a number words end in; all of `carried` where nothing follows it yet."""
    if all(word.bare in JOINTS for word in words):
        return carried
    return next((run.digits for run in runs(words, carried) if run.open), 0)


def numbers(words: Sequence[Piece], carried: int = 0) -> Iterator[Edit]:
    """An edit for each personal number."""
    for run in runs(words, carried):
        if run.digits >= (OPEN_DIGITS if run.open else MASKED_DIGITS):
            last = words[run.end - 1]
            marks = len(last.text) - len(last.text.rstrip(".,;:!?"))
            yield Edit(words[run.first].start, last.end - marks, NUMBER)


def addresses(text: str, first: int = 0) -> Iterator[Edit]:
    """An edit for each e-mail address that begins at character `first` or later."""
    for pattern in (_WRITTEN, _SPOKEN, _BEGUN):
        for match in pattern.finditer(text, first):
            yield Edit(match.start(), match.end(), ADDRESS)


def personal(text: str, first: int = 0, carried: int = 0) -> list[Edit]:
    """Edits of everything personal from character `first` on, in order; none overlaps another."""
    out: list[Edit] = []
    found = [*addresses(text, first), *numbers(pieces(text, first), carried)]
    for edit in sorted(found, key=lambda one: one.start):
        if out and edit.start < out[-1].end:
            out[-1] = replace(out[-1], end=max(out[-1].end, edit.end))
        else:
            out.append(edit)
    return out


def may_go_on(words: Sequence[Piece], kept: int) -> bool:
    """Whether something personal may reach over the border before word `kept`, whatever comes."""
    last, following = words[kept - 1], words[kept : kept + 1]
    if last.is_digits or last.bare in LINKS or len(last.bare) == 1:
        return True
    if last.bare in JOINTS and kept > 1 and words[kept - 2].is_digits:
        return True
    if any(one.text.startswith("@") or one.bare in LINKS for one in following):
        return True
    # The very last word may be half of one, and a digit goes on with an address.
    unsure = following if kept == len(words) - 1 else ()
    return any(_is_beginning(one.bare) for one in unsure) or any(one.is_digits for one in following)


def _is_beginning(letters: str) -> bool:
    return any(word.startswith(letters) for word in LINKS)


def _count(words: Iterable[Piece]) -> int:
    """Digits of a number: the one after a ten is counted with it."""
    count, after_ten = 0, False
    for word in words:
        written = sum(letter.isdigit() for letter in word.text)
        count += written
        for part in () if written else word.bare.split("-"):
            count += 0 if after_ten and part in _ONES else _DIGITS.get(part, 0)
            after_ten = part in _TENS
    return count
