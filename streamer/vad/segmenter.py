"""From frames to utterances: a pure state machine, no threads, no clock.

It is fed one 20 ms frame at a time (speech or not, and its energy); time is the sample index of
what it was fed, so the same audio gives the same utterances however it arrives.

Where an utterance starts and ends:

- *Start*: the first speech frame of the onset window, less the pre-roll, rounded down to the 0.4 s
  token grid so that the tags of a speech pass fall into the stream's slots. It never reaches back
  before the limit: the end of the previous utterance, of the last gap, or the start of the stream.
  Where rounding would reach further than the limit, the limit itself is the start, unrounded.
- *End on silence*: the last speech frame plus a tail of at most 200 ms. The rest of the hangover
  was only waited for; it stays available as the next utterance's pre-roll.
- *End on silence with a complete text*: as above, after a shorter silence, where somebody who read the text
  up to the last speech frame said that nothing more is to come.
- *End at a gap or a flush*: all that was heard, to the sample.
- *Cut at the longest length*: at the quietest point of the last `cut_search` seconds. What follows
  the cut is a new utterance that starts exactly there, unless no frame after the cut was speech.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from streamer.config import SegmentConfig
from streamer.timebase import FRAME, SAMPLE_RATE, TOKEN, floor_to, to_samples

TAIL_MS = 200
"""Silence kept after the last speech frame: word endings are quieter than the detector's threshold."""

SMOOTH = 3
"""Frames to each side of a possible cut whose mean energy counts (120 ms in all)."""

Reason = Literal["silence", "complete", "max_length", "gap", "end"]


@dataclass(frozen=True, slots=True)
class Started:
    """Utterance `utterance` began at sample `start`, decided at sample `at`."""

    utterance: int
    start: int
    at: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """Utterance `utterance` is samples [start, end), decided at sample `at` >= end."""

    utterance: int
    start: int
    end: int
    at: int
    reason: Reason


Boundary = Started | Stopped


@dataclass(frozen=True, slots=True)
class OpenUtterance:
    """The utterance that goes on now. Numbers grow by one, from 1."""

    number: int
    start: int


class Segmenter:
    """The state machine of one stream. See the module's docstring for the rules.

    State is bounded: flags of the onset window and energies of the last `cut_search` seconds.
    """

    def __init__(self, config: SegmentConfig) -> None:
        self._onset = _frames_up(config.onset_ms)
        window = max(self._onset, config.onset_window_ms * SAMPLE_RATE // 1000 // FRAME)
        self._hangover = config.hangover_ms * SAMPLE_RATE // 1000
        self._complete = config.complete_ms * SAMPLE_RATE // 1000
        self._told = (0, 0)
        """The utterance whose text was found complete, and the sample index up to which it was read."""
        self._tail = min(self._hangover, TAIL_MS * SAMPLE_RATE // 1000)
        self._longest = to_samples(config.longest)
        # An utterance may not begin so far back, nor be cut so early, that hardly anything is left of it.
        self._pre_roll = min(config.pre_roll_ms * SAMPLE_RATE // 1000, self._longest // 2)
        search = min(to_samples(config.cut_search), self._longest // 2)
        self._search = max(SMOOTH, search // FRAME)

        self._recent: deque[bool] = deque(maxlen=window)
        self._energies: deque[float] = deque(maxlen=self._search + SMOOTH)
        self._position = 0
        self._limit = 0
        self._speech_end = 0
        self._number = 0
        self._current: OpenUtterance | None = None

    @property
    def position(self) -> int:
        """Sample index after the last frame or gap."""
        return self._position

    @property
    def current(self) -> OpenUtterance | None:
        """The open utterance, if there is one."""
        return self._current

    def alert(self, samples: int) -> bool:
        """Whether an utterance may be about to begin, the last frames having had speech, or the one that is
        open may end before so many samples are over, whatever they are."""
        if self._current is None:
            return any(self._recent)
        ends = self._speech_end + min(self._hangover, self._complete or self._hangover)
        return self._position + samples > min(ends, self._start + self._longest)

    def push(self, speech: bool, energy: float) -> list[Boundary]:
        """Take the next 20 ms frame; returns what was decided with it, in order of time.

        `energy`: the frame's mean square, or anything else that grows with loudness on a linear
        scale. A value that is not finite is taken as loud: no cut will be made there.
        """
        self._position += FRAME
        self._energies.append(energy if math.isfinite(energy) else math.inf)
        if speech:
            self._speech_end = self._position
        if self._current is None:
            self._recent.append(speech)
            if not speech or sum(self._recent) < self._onset:
                return []
            out: list[Boundary] = [self._open(self._onset_start())]
        elif not speech and self._position - self._speech_end >= self._hangover:
            return [self._close(self._speech_end + self._tail, "silence")]
        elif not speech and self._is_complete(self._current.number):
            return [self._close(self._speech_end + min(self._tail, self._complete), "complete")]
        else:
            out = []
        # The test is on the next frame's end, so that no utterance is ever longer than `longest`.
        if self._position + FRAME - self._start > self._longest:
            out += self._cut()
        return out

    def complete(self, utterance: int, heard: int) -> None:
        """Somebody who read an utterance up to sample `heard` takes its text to be complete."""
        self._told = (utterance, heard)

    def skip(self, length: int) -> list[Boundary]:
        """A gap of `length` samples: ends an open utterance where the gap begins, then jumps over it.

        A gap of 0 samples is a splice and ends the utterance too. Raises ValueError for a negative one.
        """
        if length < 0:
            raise ValueError(f"a gap's length is 0 or more samples, found {length}")
        out = self.flush("gap")
        self._position += length
        self._limit = self._speech_end = self._position
        return out

    def flush(self, reason: Reason = "end") -> list[Boundary]:
        """End an open utterance here and forget frames that did not make one. The index stays."""
        out: list[Boundary] = []
        if self._current is not None:
            out.append(self._close(self._position, reason))
        self._limit = self._position
        self._recent.clear()
        self._energies.clear()
        return out

    def _is_complete(self, utterance: int) -> bool:
        """Whether an utterance, which has just been silent, may end before the hangover is over."""
        told, heard = self._told
        waited = self._position - self._speech_end >= self._complete > 0
        return waited and told == utterance and heard >= self._speech_end

    @property
    def _start(self) -> int:
        assert self._current is not None
        return self._current.start

    def _onset_start(self) -> int:
        """Where an utterance that is recognised with the newest frame begins."""
        first = self._position - (len(self._recent) - self._recent.index(True)) * FRAME
        # The second limit matters only for windows of onset and pre-roll near the longest utterance.
        limit = max(self._limit, self._position + FRAME - self._longest)
        start = max(limit, first - self._pre_roll)
        return max(floor_to(start, TOKEN), limit)

    def _open(self, start: int) -> Started:
        self._number += 1
        self._current = OpenUtterance(self._number, start)
        self._recent.clear()
        return Started(self._number, start, self._position)

    def _close(self, end: int, reason: Reason) -> Stopped:
        assert self._current is not None
        stopped = Stopped(self._current.number, self._current.start, end, self._position, reason)
        self._current = None
        self._limit = end
        return stopped

    def _cut(self) -> list[Boundary]:
        """End the open utterance at its quietest late point and go on from there."""
        cut = self._quietest()
        out: list[Boundary] = [self._close(cut, "max_length")]
        if self._speech_end > cut:
            out.append(self._open(cut))
        return out

    def _quietest(self) -> int:
        """The boundary between two frames around which the mean energy is lowest; of equals the latest."""
        energies = list(self._energies)
        count = len(energies)
        best, lowest = self._position, math.inf
        for back in range(SMOOTH, min(self._search, count - SMOOTH) + 1):
            boundary = self._position - back * FRAME
            if boundary <= self._start:
                break
            level = sum(energies[count - back - SMOOTH : count - back + SMOOTH])
            if level < lowest:
                best, lowest = boundary, level
        return best


def _frames_up(milliseconds: int) -> int:
    """Frames that it takes to hold so many milliseconds, at least one."""
    return max(1, -(-milliseconds * SAMPLE_RATE // 1000 // FRAME))
