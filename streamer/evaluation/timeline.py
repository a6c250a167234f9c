"""What a client sees of one recording and when: how late words come, how often they change.

Times are seconds on the recording's clock; `at` is when an event came out of the daemon on that clock,
so an event about a word that ended at 2.0 and that came out 0.7 s later has `at` 2.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamer.evaluation.align import align, bare
from streamer.evaluation.sets import SpokenWord
from streamer.events import Event, SpeechStopped, TranscriptFinal, TranscriptPartial


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, and when it came out."""

    event: Event
    at: float


@dataclass(frozen=True, slots=True)
class Appearance:
    """A word of an utterance's final: when it was first shown in its place, and when first stable there."""

    text: str
    utterance: int
    shown: float
    stable: float


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds from the end of a spoken word to its first appearance, and to its first stable one."""

    shown: float
    stable: float


@dataclass(frozen=True, slots=True)
class Flicker:
    """Words taken back: from what partials showed, and from what they had called stable (should be none).

    `final` counts the finals' words.
    """

    erased: int
    broken: int
    final: int


@dataclass(frozen=True, slots=True)
class EndLatency:
    """Seconds until a final: from the endpoint's decision, and from the end of the last word before it."""

    decided: float
    spoken: float | None


def finals(seen: Sequence[Seen]) -> list[tuple[Seen, TranscriptFinal]]:
    """The finals in the order in which they came."""
    return [(one, one.event) for one in seen if isinstance(one.event, TranscriptFinal)]


def partials(seen: Sequence[Seen], utterance: int) -> list[tuple[Seen, TranscriptPartial]]:
    """The partials of an utterance in the order in which they came."""
    return [
        (one, one.event)
        for one in seen
        if isinstance(one.event, TranscriptPartial) and one.event.utterance == utterance
    ]


def text(seen: Sequence[Seen]) -> str:
    """All finals, one after the other."""
    return " ".join(final.text for _, final in finals(seen) if final.text)


# ------------------------------------------------------------------------------------------- lag


def appearances(seen: Sequence[Seen]) -> list[Appearance]:
    """Every word of every final, in order."""
    return [word for one, final in finals(seen) for word in _of_final(seen, one.at, final)]


def _of_final(seen: Sequence[Seen], came: float, final: TranscriptFinal) -> list[Appearance]:
    words = final.text.split()
    keys = list(map(bare, words))
    shown, stable = [came] * len(words), [came] * len(words)
    for one, partial in partials(seen, final.utterance):
        for _, j in align(list(map(bare, partial.text.split())), keys, beginning=True):
            shown[j] = min(shown[j], one.at)
        for _, j in align(list(map(bare, partial.stable.split())), keys, beginning=True):
            stable[j] = min(stable[j], one.at)
    return [
        Appearance(word, final.utterance, min(first, last), last)
        for word, first, last in zip(words, shown, stable, strict=True)
    ]


def matched(
    spoken: Sequence[SpokenWord], appeared: Sequence[Appearance]
) -> list[tuple[SpokenWord, Appearance]]:
    """The spoken words that were understood, each with its appearance."""
    pairs = align([bare(word.text) for word in spoken], [bare(word.text) for word in appeared])
    return [(spoken[i], appeared[j]) for i, j in pairs if bare(spoken[i].text)]


def lags(spoken: Sequence[SpokenWord], seen: Sequence[Seen]) -> list[Lag]:
    """How late each word that was understood came. A negative lag: it was guessed before its end."""
    return [
        Lag(word.shown - said.end, word.stable - said.end)
        for said, word in matched(spoken, appearances(seen))
    ]


# --------------------------------------------------------------------------------------- flicker


def flicker(seen: Sequence[Seen]) -> Flicker:
    """Normalised erasure's parts (Arivazhagan et al. 2020), over words, letter by letter as shown.

    Each text of an utterance is held against the one shown before it: erased are the words behind what both
    begin with.
    """
    erased = broken = length = 0
    for _, final in finals(seen):
        before: list[str] = []
        promised: list[str] = []
        for _, partial in partials(seen, final.utterance):
            words, stable = partial.text.split(), partial.stable.split()
            erased += _erased(before, words)
            broken += _erased(promised, words)
            before, promised = words, stable
        words = final.text.split()
        erased += _erased(before, words)
        broken += _erased(promised, words)
        length += len(words)
    return Flicker(erased, broken, length)


def _erased(before: Sequence[str], after: Sequence[str]) -> int:
    same = 0
    for a, b in zip(before, after, strict=False):
        if a != b:
            break
        same += 1
    return len(before) - same


# ------------------------------------------------------------------------------------- end latency


def end_latencies(spoken: Sequence[SpokenWord], seen: Sequence[Seen]) -> list[EndLatency]:
    """For each utterance that ended by silence; `spoken` counts the hangover, `decided` does not."""
    decided = {
        one.event.utterance: one.at
        for one in seen
        if isinstance(one.event, SpeechStopped) and one.event.reason == "silence"
    }
    last: dict[int, float] = {}
    for said, word in matched(spoken, appearances(seen)):
        last[word.utterance] = said.end
    return [
        EndLatency(
            one.at - decided[final.utterance],
            one.at - last[final.utterance] if final.utterance in last else None,
        )
        for one, final in finals(seen)
        if final.utterance in decided
    ]
