"""One stream's way from samples to passes: frames, voice activity, utterances, loudness, ticks.

No threads and no influence of the wall clock: every decision falls on a sample index, so that the
same audio gives the same passes however it arrives.

Ticks: every `live.step` seconds of the stream's clock an open utterance asks for a partial; every
`sounds.hop` seconds without one, the last `sounds.window` seconds are heard for sounds, unless the
hop was silent. Where partials are off, an utterance longer than that window no longer hides sounds.
With sounds off only the clock is told of, or it would seem to lag for as long as nobody speaks.

Steady sound: where nothing has changed (`audio.steady`) for longer than it takes to find a sound's start or
end, ticks wait for up to `sounds.steady` seconds, and then the last one's window is heard for all. Anything
new, silence, or somebody who speaks ends that at the next tick, and what is new has its own pass as ever. So
nothing is left out, for windows meet, and nothing is late but what is not new.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from streamer.audio.level import Level100ms, LevelMeter
from streamer.audio.recent import Recent
from streamer.audio.ring import Block, End, Gap
from streamer.audio.steady import Steadiness
from streamer.config import Config
from streamer.events import Event, Level, SpeechStarted, SpeechStopped, StreamGap
from streamer.passes import SHORTEST_VIEW, Kind, Pass
from streamer.timebase import FRAME, TOKEN, floor_to, to_samples, to_seconds
from streamer.vad.base import Vad
from streamer.vad.segmenter import Boundary, Segmenter, Started

_NOTHING = np.empty(0, np.float32)

NEARLY = 3.0
"""dB below `sounds.silence_db` from which on nobody asks whether anything changes."""


class Ear:
    """Feed it what the ring gives; it yields events to publish and passes to run, in order."""

    def __init__(self, stream: str, config: Config, vad: Vad) -> None:
        self.stream = stream
        self._config = config
        self._vad = vad
        self._segmenter = Segmenter(config.segment)
        self._meter = LevelMeter()
        self._step = to_samples(config.live.step)
        self._hop = to_samples(config.sounds.hop)
        self._window = to_samples(config.sounds.window)
        self._patience = min(to_samples(config.sounds.steady), self._window)
        confirmed = max(config.sounds.confirm * config.sounds.hop, config.sounds.hold, config.sounds.merge)
        self._known = self._window + 2 * self._hop + to_samples(confirmed)
        """Samples without a change after which windows tell nothing new: sounds have started or stopped."""
        self._steadiness = Steadiness()
        self._waiting: tuple[int, int] | None = None
        """The first and the last tick that a later pass will speak for."""
        longest = to_samples(config.segment.longest + config.segment.pre_roll_ms / 1000 + 2)
        self._recent = Recent(max(longest, self._window + self._hop) + 2 * TOKEN)
        self._rest = np.zeros(FRAME, np.float32)
        self._filled = 0
        self._audible = False
        self._paused_at: int | None = None

    @property
    def position(self) -> int:
        """Sample index up to which whole frames were heard."""
        return self._recent.position

    def alert(self, samples: int) -> bool:
        """Whether within so many samples something may happen that is not on the grid of levels and ticks."""
        return self._segmenter.alert(samples)

    def hear(self, item: Block | Gap | End) -> Iterator[Event | Pass]:
        """Take the next thing from the ring."""
        if isinstance(item, Block):
            if self._paused_at is None:
                yield from self._samples(item.samples)
        elif isinstance(item, Gap):
            if self._paused_at is None:
                yield from self._gap(item.start, item.length, item.reason)
        else:
            yield from self._end()

    def pause(self) -> Iterator[Event | Pass]:
        """Stop listening here: an open utterance ends, what arrives from now on is not heard."""
        if self._paused_at is None:
            yield from self._boundaries(self._segmenter.flush("gap"))
            yield from self._last_sounds()
            # To the sample, so that a stream resumed at once goes on where it was.
            self._paused_at = self.position + self._filled

    def resume(self, position: int) -> Iterator[Event | Pass]:
        """Listen again from sample index `position` on; the time between is a gap."""
        if self._paused_at is not None:
            start, self._paused_at = self._paused_at, None
            if position > start:
                yield from self._gap(start, position - start, "paused")

    def complete(self, utterance: int, heard: int) -> None:
        """The text of an utterance was found complete by a pass that ended at sample `heard`."""
        self._segmenter.complete(utterance, heard)

    def _samples(self, samples: NDArray[np.float32]) -> Iterator[Event | Pass]:
        taken = 0
        if self._filled:
            taken = min(FRAME - self._filled, len(samples))
            self._rest[self._filled : self._filled + taken] = samples[:taken]
            self._filled += taken
            if self._filled < FRAME:
                return
            self._filled = 0
            yield from self._frame(self._rest)
        while len(samples) - taken >= FRAME:
            yield from self._frame(samples[taken : taken + FRAME])
            taken += FRAME
        self._filled = len(samples) - taken
        self._rest[: self._filled] = samples[taken:]

    def _frame(self, frame: NDArray[np.float32]) -> Iterator[Event | Pass]:
        self._recent.append(frame)
        level = self._meter.feed(frame)
        if level is not None:
            self._audible |= level.rms_db >= self._config.sounds.silence_db
            if self._patience:
                self._compare(level)
            yield Level(
                stream=self.stream,
                start=to_seconds(level.start),
                end=to_seconds(level.end),
                rms_db=level.rms_db,
                peak_db=level.peak_db,
                bands=level.bands,
            )
        if self._config.live.captions:
            speech = self._vad.is_speech(frame)
            yield from self._boundaries(self._segmenter.push(speech, float(frame @ frame)))
        yield from self._ticks()

    def _compare(self, level: Level100ms) -> None:
        """Whether it still sounds the same. Silence need not be looked at."""
        if level.rms_db >= self._config.sounds.silence_db - NEARLY:
            self._steadiness.feed(level)
        else:
            self._steadiness.reset(level.end)

    def _ticks(self) -> Iterator[Pass]:
        position = self.position
        spoken = self._segmenter.current if self._config.live.captions else None
        if spoken is not None:
            yield from self._catch_up()
        if spoken is not None and self._config.live.partials:
            if position % self._step == 0 and position - spoken.start >= TOKEN:
                yield self._pass(Kind.PARTIAL, spoken.start, position, spoken.number)
                self._audible = False
        elif position % self._hop == 0:
            if not self._config.sounds.enabled:
                if spoken is None:
                    yield self._silent()
            elif spoken is None or position - spoken.start >= self._window:
                yield from self._sounds(may_wait=spoken is None)

    def _sounds(self, may_wait: bool) -> Iterator[Pass]:
        """At a tick: what there is to hear, now or with a later one."""
        position = self.position
        if not self._audible:
            yield from self._catch_up()
            yield self._silent()
        elif may_wait and self._patience and position - self._steadiness.since >= self._known:
            first = self._waiting[0] if self._waiting else position
            self._waiting, self._audible = (first, position), False
            length = position + self._hop - first
            if length + self._hop > self._patience:
                yield from self._catch_up()
            else:
                yield self._silent(Kind.STEADY)
        else:
            yield from self._catch_up()
            yield from self._ambient()

    def _ambient(self) -> Iterator[Pass]:
        """The last window, in whole tokens up to here. What is too short to judge waits for the next tick."""
        length = floor_to(min(self._window, self.position - self._recent.start), TOKEN)
        if length >= SHORTEST_VIEW * TOKEN:
            self._audible = False
            yield self._pass(Kind.AMBIENT, self.position - length, self.position)

    def _catch_up(self) -> Iterator[Pass]:
        """The ticks that wait, in one pass: the window of the last."""
        if self._waiting:
            (_, last), self._waiting = self._waiting, None
            yield self._pass(Kind.STEADY, last - self._window, last)

    def _last_sounds(self) -> Iterator[Pass]:
        """What was not heard yet, where there will be no next tick."""
        yield from self._catch_up()
        if self._config.sounds.enabled and self._audible:
            yield from self._ambient()

    def _pass(self, kind: Kind, start: int, end: int, utterance: int = 0) -> Pass:
        return Pass(self.stream, kind, start, end, self._recent.cut(start, end), time.monotonic(), utterance)

    def _silent(self, kind: Kind = Kind.SILENT) -> Pass:
        return Pass(self.stream, kind, self.position, self.position, _NOTHING, time.monotonic())

    def _boundaries(self, boundaries: list[Boundary]) -> Iterator[Event | Pass]:
        for b in boundaries:
            if isinstance(b, Started):
                yield SpeechStarted(stream=self.stream, utterance=b.utterance, start=to_seconds(b.start))
                continue
            yield SpeechStopped(
                stream=self.stream,
                utterance=b.utterance,
                start=to_seconds(b.start),
                end=to_seconds(b.end),
                reason=b.reason,
            )
            yield self._pass(Kind.FINAL, b.start, b.end, b.utterance)

    def _complete_frame(self) -> Iterator[Event | Pass]:
        """Fill a begun frame with silence."""
        if self._filled:
            self._rest[self._filled :] = 0
            self._filled = 0
            yield from self._frame(self._rest)

    def _gap(self, start: int, length: int, reason: str) -> Iterator[Event | Pass]:
        """Jump over samples that never came; zeros fill the frames that the gap only begins or ends in."""
        end = start + length
        yield StreamGap(stream=self.stream, start=to_seconds(start), end=to_seconds(end), reason=reason)
        before = self.position
        whole = floor_to(end, FRAME)
        if whole > before:
            yield from self._complete_frame()
            yield from self._boundaries(self._segmenter.skip(whole - self.position))
            yield from self._last_sounds()
            self._recent.reset(whole)
            self._meter.reset(whole)
            self._steadiness.reset(whole)
            self._vad.reset()
            self._audible = False
            yield self._silent()
        else:
            yield from self._boundaries(self._segmenter.skip(0))
        self._rest[self._filled : end - whole] = 0
        self._filled = end - whole

    def _end(self) -> Iterator[Event | Pass]:
        if self._paused_at is None:
            yield from self._complete_frame()
            if self._config.live.captions:
                yield from self._boundaries(self._segmenter.flush())
            yield from self._last_sounds()
        yield self._silent(Kind.END)
