"""What is changed in a text on its way out: replacements, words that are masked, personal data.

The tokens stay as they are: only what people read is edited, and every text of an utterance is edited anew
from what the model wrote. Stable text must not change, though what follows may turn two stable words into a
telephone number. So the end of a stable text is held back for as long as it may still become part of
something longer, and what was once published is never looked at again.

A number that a pause cuts in two is known by how many digits the utterance before ended in. An address that
is cut in two is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from streamer.asr.personal import JOINTS, Edit, ending_digits, may_go_on, personal, pieces
from streamer.asr.profanity import PROFANITY
from streamer.asr.words import TimedWord
from streamer.config import TextConfig


class Editor:
    """Edits the texts of one utterance after the other."""

    def __init__(self, config: TextConfig) -> None:
        profane = PROFANITY if config.profanity is True else config.profanity or ()
        new = {_normal(old): new for old, new in config.replacements.items()}
        self._replaced, self._masked = (
            _Phrases(new, lambda found: new[_normal(found)]),
            _Phrases(profane, masked),
        )
        self._personal = config.personal
        self._idle = not (config.replacements or profane or config.personal)
        self._done = 0
        self._frozen: list[Edit] = []
        """Edits of the first `_done` characters, which are published as stable."""
        self._carried = self._ended_in = 0
        """Digits that a number before `_done` has; and that the last final ended in."""

    def begin(self, soon: bool) -> None:
        """Another utterance begins; `soon`: so soon that it may go on with the last one's number."""
        self._done, self._frozen = 0, []
        self._carried = self._ended_in if soon else 0

    def partial(self, text: str, stable: str) -> tuple[str, str]:
        """What to show of a text that goes on, and what of it is stable: the one begins with the other.

        `text` begins with `stable`, and that with the one before it.
        """
        if self._idle:
            return text, stable
        safe = self._safe(stable)
        if safe > self._done:
            self._frozen += self._edits(stable[:safe], self._done)
            if any(word.bare not in JOINTS for word in pieces(stable[:safe], self._done)):
                self._carried = 0
            self._done = safe
        return apply(text, self._all(text)), apply(stable[: self._done], self._frozen)

    def final(self, text: str, words: Sequence[TimedWord] = ()) -> tuple[str, list[TimedWord]]:
        """What to show of a text that has ended and of its words; those that became one are one word."""
        if self._idle:
            return text, list(words)
        if self._personal:
            self._ended_in = ending_digits(pieces(text, self._done), self._carried)
        edits = self._all(text)
        return apply(text, edits), _edit_words(text, words, edits)

    def alone(self, text: str) -> str:
        """What to show of a text that nothing was shown of and nothing goes on from."""
        return apply(text, self._edits(text, 0))

    def _all(self, text: str) -> list[Edit]:
        return [*self._frozen, *self._edits(text, self._done)]

    def _edits(self, text: str, first: int) -> list[Edit]:
        """What is changed from character `first` on, in order, none overlapping another."""
        found = personal(text, first, self._carried) if self._personal else []
        for edit in (*self._replaced.find(text, first), *self._masked.find(text, first)):
            if all(edit.end <= other.start or edit.start >= other.end for other in found):
                found.append(edit)
        return sorted(found, key=lambda edit: edit.start)

    def _safe(self, stable: str) -> int:
        """The end of the words of a stable text that nothing behind them can change any more."""
        words = pieces(stable, self._done)
        held = min(self._replaced.held(stable), self._masked.held(stable))
        kept = sum(word.end <= held for word in words)
        if self._personal:
            kept = min(kept, len(words) - 1)  # the last may grow, or an address begins with it
        edits = self._edits(stable, self._done)
        while kept > 0:
            border = words[kept - 1].end
            if not any(edit.start < border < edit.end for edit in edits) and not (
                self._personal and may_go_on(words, kept)
            ):
                return border
            kept -= 1
        return self._done


class _Phrases:
    """Looks for phrases, whole words in any case, and what becomes of each."""

    def __init__(self, phrases: Iterable[str], edited: Callable[[str], str]) -> None:
        """`edited`: what becomes of a phrase as written. Of two that begin at one place the longer wins."""
        self._edited = edited
        self._phrases = sorted(
            {_normal(phrase) for phrase in phrases} - {""}, key=lambda one: (-len(one), one)
        )
        either = "|".join(re.escape(one).replace(r"\ ", r"\s+") for one in self._phrases)
        self._pattern = re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE) if either else None

    def find(self, text: str, first: int) -> Iterator[Edit]:
        """An edit for each that begins at character `first` or later."""
        for match in self._pattern.finditer(text, first) if self._pattern else ():
            found = match.group()
            yield Edit(match.start(), match.end(), self._edited(found))

    def held(self, text: str) -> int:
        """From where on the end of a text may be the beginning of a phrase; its length where it is not."""
        longest = max(map(len, self._phrases), default=0)
        for start in range(max(0, len(text) - longest), len(text)):
            if start and text[start - 1].isalnum():
                continue
            tail = text[start:].lower()
            if any(phrase.startswith(tail) for phrase in self._phrases):
                return start
        return len(text)


def _normal(phrase: str) -> str:
    return " ".join(phrase.lower().split())


def masked(word: str) -> str:
    """With an asterisk for each letter but the first of a word."""
    return re.sub(r"(?<=\w)\w", "*", word)


def apply(text: str, edits: Iterable[Edit]) -> str:
    """A text with edits, which are in order and do not overlap; what is left out takes its space along."""
    out, position = "", 0
    for edit in edits:
        before = text[position : edit.start]
        out += before + edit.text if edit.text else before.rstrip()
        position = edit.end
    return (out + text[position:]).lstrip(" ")


@dataclass(slots=True)
class _Place:
    """A word and its characters in the text."""

    start: int
    end: int
    word: TimedWord


def _edit_words(text: str, words: Iterable[TimedWord], edits: Sequence[Edit]) -> list[TimedWord]:
    places: list[_Place] = []
    position = 0
    for word in words:
        start = max(position, text.find(word.text, position))
        position = start + len(word.text)
        if places and any(edit.start < places[-1].end and start < edit.end for edit in edits):
            before = places.pop()
            sure = min(before.word.probability, word.probability)
            joint = TimedWord("", before.word.start, word.end, sure)
            places.append(_Place(before.start, position, joint))
        else:
            places.append(_Place(start, position, word))
    edited = []
    for place in places:
        here = [
            Edit(edit.start - place.start, edit.end - place.start, edit.text)
            for edit in edits
            if place.start <= edit.start < place.end
        ]
        if new := apply(text[place.start : place.end], here).strip():
            edited.append(replace(place.word, text=new))
    return edited
