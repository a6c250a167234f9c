"""Finals and sounds written as text, JSON, JSON Lines, SubRip (SRT) and WebVTT.

`Transcript` gathers one stream's events; the writers are pure functions of it. Times are rounded
to milliseconds once, and every ordering rule is kept on those integers: cues never overlap, never
have an empty duration and never go back.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from streamer.events import (
    ErrorEvent,
    Event,
    SoundStarted,
    SoundStopped,
    StreamGap,
    TranscriptFinal,
    Word,
)

LINE = 42
"""Characters of one caption line, the broadcasters' usual limit."""

LINES = 2
"""Lines of words in one cue; a line of sounds may come on top."""

SHORTEST_MS = 1_000
"""A cue stays this long where the next one leaves room: shorter ones cannot be read."""

LONGEST_MS = 7_000
"""Words spoken later than this after a cue's start get a cue of their own."""

PAUSE_MS = 1_500
"""A pause between two words from which the second starts a new cue."""

SOUND_MS = 3_000
"""A sound line is shown at the onset for at most this long: rain that lasts an hour need not."""

SHORTEST_SOUND_MS = 500
"""A sound line with less room than this before the next words joins their cue."""

_JOINERS = "\u200c\u200d"
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """`text` on one line without anything that steers a terminal or reorders a line.

    Line breaks and tabs become spaces; control, format (but for the two joiners that scripts and
    emoji need), surrogate, private and unassigned characters go.
    """
    kept = (
        " " if char in "\t\n\r\v\f\u0085\u2028\u2029" else char
        for char in text
        if char in "\t\n\r\v\f\u0085\u2028\u2029" + _JOINERS or unicodedata.category(char) not in _HIDDEN
    )
    return "".join(kept)


@dataclass(frozen=True, slots=True)
class Sound:
    """One occurrence of a sound; times in seconds on the stream's clock, `end` None while it lasts."""

    label: str
    id: str
    start: float
    end: float | None
    score: float


@dataclass(slots=True)
class Transcript:
    """Everything worth writing about one stream. Grows with the stream: for files, not for daemons."""

    stream: str
    finals: list[TranscriptFinal] = field(default_factory=list)
    sounds: dict[int, Sound] = field(default_factory=dict)
    gaps: list[StreamGap] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take in one event; those of other streams and of other kinds are ignored."""
        if event.stream != self.stream:
            return
        match event:
            case TranscriptFinal():
                self.finals.append(event)
            case SoundStarted():
                self.sounds[event.sound] = Sound(event.label, event.id, event.start, None, event.score)
            case SoundStopped():
                self.sounds[event.sound] = Sound(event.label, event.id, event.start, event.end, event.peak)
            case StreamGap():
                self.gaps.append(event)
            case ErrorEvent():
                pass
            case _:
                return
        self.events.append(event)

    def spoken(self) -> list[TranscriptFinal]:
        """The finals that have text, by time."""
        return sorted((f for f in self.finals if printable(f.text).strip()), key=lambda f: f.start)

    def heard(self) -> list[Sound]:
        """The sounds, by time."""
        return sorted(self.sounds.values(), key=lambda s: (s.start, s.label))


@dataclass(frozen=True, slots=True)
class Cue:
    """What is shown from `start_ms` to `end_ms`; `lines` are printable and not escaped."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


# ---------------------------------------------------------------------------------------- cues


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word or a part of one, at most LINE characters, with what separates it from the one before."""

    separator: str
    text: str
    start_ms: int
    end_ms: int


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _timed_words(final: TranscriptFinal) -> list[Word]:
    """The final's words, or, without any, its text's words spread over its time by their lengths."""
    if any(printable(word.text).strip() for word in final.words):
        return final.words
    texts = printable(final.text).split()
    total = sum(len(t) + 1 for t in texts) or 1
    span, words, at = max(0.0, final.end - final.start), [], 0
    for text in texts:
        start = final.start + span * at / total
        at += len(text) + 1
        words.append(Word(text=text, start=start, end=final.start + span * at / total, probability=1.0))
    return words


def _pieces(final: TranscriptFinal) -> list[_Piece]:
    """The final's words in order, their separators read off its text (scripts without spaces have none)."""
    text, at, pieces = printable(final.text), 0, []
    for word in _timed_words(final):
        bare = printable(word.text).strip()
        if not bare:
            continue
        found = text.find(bare, at)
        blank = found < 0 or text[at:found].strip() != "" or found > at
        at = found + len(bare) if found >= 0 else at
        start, end = _ms(word.start), _ms(max(word.start, word.end))
        for i in range(0, len(bare), LINE):
            lower = start + (end - start) * i // len(bare)
            upper = start + (end - start) * min(i + LINE, len(bare)) // len(bare)
            pieces.append(_Piece(" " if blank and i == 0 else "", bare[i : i + LINE], lower, upper))
    return pieces


def _lay_out(pieces: list[_Piece]) -> tuple[str, ...] | None:
    """The pieces on one line or on two of nearly equal length; None where they do not fit."""
    whole = "".join(p.separator + p.text for p in pieces).strip()
    if len(whole) <= LINE:
        return (whole,)
    best: tuple[str, ...] | None = None
    for i in range(1, len(pieces)):
        upper = "".join(p.separator + p.text for p in pieces[:i]).strip()
        lower = "".join(p.separator + p.text for p in pieces[i:]).strip()
        longer = max(len(upper), len(lower))
        if longer <= LINE and (best is None or longer < max(map(len, best))):
            best = (upper, lower)
    return best


def _split(final: TranscriptFinal) -> list[Cue]:
    """One final as cues of at most LINES lines of LINE characters, times not yet put in order."""
    cues: list[Cue] = []
    open_: list[_Piece] = []

    def close() -> None:
        lines = _lay_out(open_) if open_ else None
        if lines:
            cues.append(Cue(open_[0].start_ms, max(p.end_ms for p in open_), lines))
        open_.clear()

    for piece in _pieces(final):
        if open_ and (
            _lay_out([*open_, piece]) is None
            or piece.end_ms - open_[0].start_ms > LONGEST_MS
            or piece.start_ms - open_[-1].end_ms > PAUSE_MS
            or (open_[-1].text[-1] in ".?!…。？！" and sum(len(p.text) for p in open_) >= LINE // 2)
        ):
            close()
        open_.append(piece)
    close()
    return cues


def _in_order(cues: Iterable[Cue]) -> list[Cue]:
    """The same cues with strictly growing starts, shown long enough to read, each ending before the next."""
    ordered = sorted(cues, key=lambda c: c.start_ms)
    starts: list[int] = []
    for cue in ordered:
        starts.append(max(cue.start_ms, starts[-1] + 1) if starts else cue.start_ms)
    result = []
    for i, cue in enumerate(ordered):
        end = max(cue.end_ms, starts[i] + SHORTEST_MS)
        if i + 1 < len(ordered):
            end = min(end, starts[i + 1])
        result.append(Cue(starts[i], end, cue.lines))
    return result


def _with_sounds(words: list[Cue], sounds: Iterable[Sound]) -> list[Cue]:
    """Sound lines between the words as cues of their own, and on top of the words they begin under."""
    on_top: dict[int, list[str]] = {}
    alone: dict[int, tuple[int, list[str]]] = {}
    for sound in sounds:
        label = f"[{printable(sound.label).strip()}]"
        start = _ms(sound.start)
        end = start + SOUND_MS if sound.end is None else min(_ms(sound.end), start + SOUND_MS)
        end = max(end, start + SHORTEST_MS)
        under = next((i for i, c in enumerate(words) if c.start_ms <= start < c.end_ms), None)
        after = next((i for i, c in enumerate(words) if c.start_ms > start), None)
        if under is None and after is not None and words[after].start_ms - start < SHORTEST_SOUND_MS:
            under = after
        if under is not None:
            lines = on_top.setdefault(under, [])
        else:
            room = end if after is None else min(end, words[after].start_ms)
            lines = alone.setdefault(start, (room, []))[1]
            alone[start] = (max(alone[start][0], room), lines)
        if label not in lines:
            lines.append(label)
    cues = [Cue(c.start_ms, c.end_ms, (*_rows(on_top.get(i, [])), *c.lines)) for i, c in enumerate(words)]
    cues += [Cue(start, end, _rows(lines)) for start, (end, lines) in alone.items()]
    return _in_order(cues)


def _rows(labels: list[str]) -> tuple[str, ...]:
    """Sound labels side by side on as few lines as hold them."""
    rows: list[str] = []
    for label in labels:
        if rows and len(rows[-1]) + 1 + len(label) <= LINE:
            rows[-1] += " " + label
        else:
            rows.append(label)
    return tuple(rows)


def cues(transcript: Transcript, tags: bool = False) -> list[Cue]:
    """The transcript as cues by time; with `tags`, sound lines such as ``[Dog]`` among them."""
    words = _in_order(cue for final in transcript.spoken() for cue in _split(final))
    return _with_sounds(words, transcript.heard()) if tags else words


# ------------------------------------------------------------------------------------- writers


def _clock(ms: int, point: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}{ms:03}"


def write_text(transcript: Transcript, tags: bool = False) -> str:
    """One line an utterance, and with `tags` one a sound, by time."""
    lines = [(f.start, printable(f.text).strip()) for f in transcript.spoken()]
    if tags:
        lines += [(s.start, f"[{printable(s.label).strip()}]") for s in transcript.heard()]
    return "".join(f"{text}\n" for _, text in sorted(lines, key=lambda line: line[0]))


def document(transcript: Transcript) -> dict[str, Any]:
    """One object: `stream`, `text`, `utterances` (each with its words), `words`, `sounds` and `gaps`."""
    keep = {"utterance", "start", "end", "text", "words", "language", "avg_logprob", "no_speech_prob"}
    spoken = transcript.spoken()
    return {
        "stream": transcript.stream,
        "text": " ".join(f.text.strip() for f in spoken),
        "utterances": [f.model_dump(mode="json", include=keep) for f in spoken],
        "words": [w.model_dump(mode="json") for f in spoken for w in f.words],
        "sounds": [
            {"label": s.label, "id": s.id, "start": s.start, "end": s.end, "score": s.score}
            for s in transcript.heard()
        ],
        "gaps": [{"start": g.start, "end": g.end, "reason": g.reason} for g in transcript.gaps],
    }


def write_json(transcript: Transcript, tags: bool = True) -> str:  # noqa: ARG001  one signature for all writers
    """`document` as JSON; sounds are always part of it."""
    return json.dumps(document(transcript), ensure_ascii=False, indent=2) + "\n"


def write_jsonl(transcript: Transcript, tags: bool = True) -> str:  # noqa: ARG001  one signature for all writers
    """The finals, sounds, gaps and errors as the daemon sends them, one event a line."""
    return "".join(event.model_dump_json() + "\n" for event in transcript.events)


def _srt_line(line: str) -> str:
    """SRT has no escapes: what a player would take for markup is replaced by its likeness."""
    line = re.sub(r"<(/?[a-zA-Z][^<>]*)>", "‹\\1›", line)
    return line.replace("-->", "→").replace("{\\", "{ \\")


def write_srt(transcript: Transcript, tags: bool = False) -> str:
    """SubRip: numbered cues, comma before the milliseconds."""
    blocks = []
    for number, cue in enumerate(cues(transcript, tags), start=1):
        text = "\n".join(map(_srt_line, cue.lines))
        blocks.append(f"{number}\n{_clock(cue.start_ms, ',')} --> {_clock(cue.end_ms, ',')}\n{text}\n")
    return "\n".join(blocks)


def _vtt_line(line: str) -> str:
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def write_vtt(transcript: Transcript, tags: bool = False) -> str:
    """WebVTT: header, then cues whose text is escaped."""
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript, tags):
        text = "\n".join(map(_vtt_line, cue.lines))
        blocks.append(f"{_clock(cue.start_ms, '.')} --> {_clock(cue.end_ms, '.')}\n{text}\n")
    return "\n".join(blocks)


WRITERS: dict[str, Callable[[Transcript, bool], str]] = {
    "text": write_text,
    "json": write_json,
    "jsonl": write_jsonl,
    "srt": write_srt,
    "vtt": write_vtt,
}
"""Format name to writer."""

SUFFIXES = {"text": ".txt", "json": ".json", "jsonl": ".jsonl", "srt": ".srt", "vtt": ".vtt"}
"""Format name to file name suffix."""
