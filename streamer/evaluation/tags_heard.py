"""What the daemon told of one recording: sounds with their times, windows with their scores, words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamer.events import Event, SoundStarted, SoundStopped, SoundTags, TranscriptFinal


@dataclass(frozen=True, slots=True)
class Reported:
    """A sound that was reported; times in seconds on the stream's clock.

    told: the end of the window that it was reported with. Nobody knew of the sound before.
    """

    label: str
    start: float
    end: float
    peak: float
    told: float


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """The scores, by label, of the seconds from `start` to `end`."""

    start: float
    end: float
    scores: Mapping[str, float]


@dataclass(slots=True)
class Heard:
    """Filled event by event (`add` is a sink); every sound that started has to be told to have stopped."""

    sounds: list[Reported] = field(default_factory=list)
    windows: list[ScoredWindow] = field(default_factory=list)
    finals: list[TranscriptFinal] = field(default_factory=list)
    _told: dict[int, float] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take in one event, in the order of publication; kinds that say nothing here are left out."""
        match event:
            case SoundTags():
                scores = {tag.label: tag.score for tag in event.tags}
                self.windows.append(ScoredWindow(event.start, event.end, scores))
            case SoundStarted():
                # A stream's sounds come right after the window that they were found in.
                self._told[event.sound] = self.windows[-1].end if self.windows else event.start
            case SoundStopped():
                told = self._told.pop(event.sound, event.end)
                self.sounds.append(Reported(event.label, event.start, event.end, event.peak, told))
            case TranscriptFinal():
                self.finals.append(event)

    @property
    def text(self) -> str:
        """All words, in the order in which they were said."""
        spoken = sorted(self.finals, key=lambda final: final.start)
        return " ".join(text for final in spoken if (text := final.text.strip()))
