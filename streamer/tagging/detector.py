"""From the scores of overlapping windows to sounds that start and stop: pure, no threads, no clock.

Windows come in order of their ends and overlap (4 s every 0.8 s by default), so one event is above
its threshold in several of them. Rules, for each label by itself:

- *Above*: a score of at least the threshold; for a sound that goes on, a third of it (hysteresis).
- *Onset*: `confirm` windows above in a row. The sound is placed at the beginning of the newest hop of
  the first window that heard it: earlier ones did not, so it became audible there. That is seldom the first
  one above, because a head is sure only once a sound fills a good part of its window: windows just before
  it count from where their score had risen by `views.RISE` of the way from quiet. Where windows are further
  apart than a hop (stretched under load) the place is the beginning of what the one before had not seen.
  Never before the window's own start.
- A *short* window (an utterance that has just begun hides what was before it) counts where it is above, and
  says nothing where it is not: heads are trained to judge more than that.
- *Offset*: below for `hold` seconds, without those of short windows. After a sound ended it is still inside
  every window that reaches back to it, for window - hop seconds, so the last window above says too much. The
  sound was in that window and not in the next one: it ended in what the next no longer saw, before
  the next one's start, which is the last window's start + hop when they come regularly. Where silence
  follows (no windows are run over it) that start is the beginning of the silence. The end is never
  after the last window above, and where that allows it at least one hop after the onset.
- *Merge*: a sound that starts again within `merge` seconds of such an end goes on instead. The offset
  is reported once `hold` is over and no later onset could merge.
- *Cooldown*: a sound that starts within that time of the label's last end is not reported, unless it
  lasts until a whole window lies after it; it then starts with the end of the cooldown.
- A window that still reaches back to a reported sound's end cannot tell it from a new one, so it never
  starts one. This matters only after silence or a long wait between windows.

A score that is NaN counts as 0; others are clipped to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamer.config import LabelConfig, SoundsConfig
from streamer.errors import ConfigError
from streamer.events import Tag
from streamer.tagging.labels import Label, resolve
from streamer.tagging.views import Past, View
from streamer.timebase import to_samples

HYSTERESIS = 0.35
"""Part of the threshold down to which a sound goes on.

On mixtures with known ends it puts them nearer than 0.5 and 0.7 do, and costs no event and no duplicate.
"""

SHORT = to_samples(1.6)
"""A window of fewer samples is short, unless all are meant to be."""


SPEECH = frozenset(
    {
        "Speech",
        "Male speech, man speaking",
        "Female speech, woman speaking",
        "Child speech, kid speaking",
        "Conversation",
        "Narration, monologue",
        "Speech synthesizer",
    }
)
"""AudioSet's names for people talking: sounds only where the configuration says so."""

SILENCE = "Silence"
"""AudioSet's name for nothing to be heard: no sound, unless the configuration gives it a threshold."""


@dataclass(frozen=True, slots=True)
class Onset:
    """A sound began at sample `start`. `sound` counts from 1; `score` is the best until now."""

    sound: int
    index: int
    label: Label
    start: int
    score: float


@dataclass(frozen=True, slots=True)
class Offset:
    """The sound of that number was samples [start, end); `peak` is its best score."""

    sound: int
    index: int
    label: Label
    start: int
    end: int
    peak: float


Change = Onset | Offset


@dataclass(slots=True)
class _Sound:
    """A reported sound that has not stopped."""

    number: int
    start: int
    peak: float
    last_seen: int
    """Latest `seen` of a window above."""
    last_end: int
    """End of the last window above."""
    doubted: int = 0
    """End of the last window that was too short to say that it was below."""
    below: int | None = None
    """`seen` of the first window below since."""
    ended: int | None = None
    """Its end, once it was below for the whole hold."""


@dataclass(slots=True)
class _Candidate:
    """Windows above in a row that do not make a reported sound yet."""

    start: int
    peak: float
    last_seen: int
    last_end: int
    hits: int = 1


@dataclass(slots=True)
class _Track:
    """One label that was heard."""

    sound: _Sound | None = None
    candidate: _Candidate | None = None
    last_end: int | None = None
    """End of the last sound that was reported as stopped."""


class Detector:
    """The detector of one stream. See the module's docstring for the rules.

    `labels`: the model's, in the order of its scores, C of them. `thresholds`: the model's, C of them,
    in (0, 1). The configuration's threshold overrides those, a label's own overrides both. State is
    bounded by C. Raises ConfigError for labels in the configuration that the model does not know.
    """

    def __init__(self, labels: Sequence[Label], thresholds: ArrayLike, config: SoundsConfig) -> None:
        self._labels = tuple(labels)
        own = validate_labels(config, self._labels)
        self._thresholds = np.array(thresholds, np.float32)
        if self._thresholds.shape != (len(self._labels),):
            raise ValueError(
                f"expected one threshold for each of {len(self._labels)} labels, "
                f"found shape {self._thresholds.shape}"
            )
        if config.threshold is not None:
            self._thresholds[:] = config.threshold
        unheard = {SILENCE} if config.speech else SPEECH | {SILENCE}
        self._thresholds[[label.name in unheard for label in self._labels]] = np.inf
        self._cooldowns = np.full(len(self._labels), to_samples(config.cooldown), np.int64)
        for index, label in own.items():
            if label.threshold is not None:
                self._thresholds[index] = label.threshold
            if label.cooldown is not None:
                self._cooldowns[index] = to_samples(label.cooldown)
            if label.ignore:
                self._thresholds[index] = np.inf
        self._hop = to_samples(config.hop)
        self._window = to_samples(config.window)
        self._confirm = config.confirm
        self._hold = to_samples(config.hold)
        self._merge = to_samples(config.merge)

        self._tracks: dict[int, _Track] = {}
        self._past = Past(self._window)
        self._newest: int | None = None
        self._floor = 0
        self._number = 0
        self.late = 0
        """Windows that did not reach beyond an earlier one and were left out."""

    def push(self, start: int, end: int, scores: ArrayLike) -> list[Change]:
        """Take the scores, (C,) in [0, 1], of the window of samples [start, end).

        Returns what was decided with it. A window that ends no later than an earlier one, or than the
        last flush, says nothing new and is left out and counted. Raises ValueError for an empty
        window or another number of scores.
        """
        values = self._checked(start, end, scores)
        newest = self._newest
        if end <= self._floor or (newest is not None and end <= newest):
            self.late += 1
            return []
        start = max(start, self._floor)
        fresh = end - self._hop
        out: list[Change] = []
        if newest is not None and newest >= start:
            fresh = min(fresh, newest)
        elif newest is not None and start - newest > self._hop:
            out += self.silence(start)  # what no window saw was not heard
        seen = max(start, end - self._window)
        view = View(seen, max(start, fresh), end, end - seen < min(SHORT, self._window))
        return out + self._step(view, values)

    def silence(self, end: int) -> list[Change]:
        """Nothing was heard since the last window until sample `end`, and no window was run.

        To be called where silence lets passes be skipped, so that sounds stop in time.
        """
        if self._newest is None:
            self._newest = max(self._floor, end)
            return []
        if end <= self._newest:
            return []
        return self._step(View(self._newest, self._newest, end), np.zeros(len(self._labels), np.float32))

    def flush(self, end: int) -> list[Offset]:
        """The stream ends at sample `end` or has a gap there: stops every sound that goes on.

        A sound that was above until the last window is taken to have lasted as long as that one.
        """
        out: list[Offset] = []
        for index in sorted(self._tracks):
            track = self._tracks[index]
            track.candidate = None
            if track.sound is not None:
                if track.sound.ended is None:
                    track.sound.ended = self._end_of(track.sound)
                out.append(self._stop(index, track))
        # Windows after the break have nothing in common with those before it.
        self._floor = max(self._floor, end, self._newest or 0)
        self._newest = None
        self._past.clear()
        return out

    def _checked(self, start: int, end: int, scores: ArrayLike) -> NDArray[np.float32]:
        values = np.asarray(scores, np.float32)
        if values.shape != (len(self._labels),):
            raise ValueError(f"expected {len(self._labels)} scores, one a label, found shape {values.shape}")
        if end <= start:
            raise ValueError(f"expected a window that ends after it starts, found samples {start} to {end}")
        return np.clip(np.nan_to_num(values, nan=0.0), 0.0, 1.0)

    def _step(self, view: View, scores: NDArray[np.float32]) -> list[Change]:
        self._newest = view.end
        out: list[Change] = []
        heard = np.flatnonzero(scores >= self._thresholds).tolist()
        for index in sorted({*self._tracks, *heard}):
            track = self._tracks.setdefault(index, _Track())
            score, threshold = float(scores[index]), float(self._thresholds[index])
            if track.sound is not None and track.sound.ended is None:
                self._go_on(track.sound, view, score, score >= threshold * HYSTERESIS)
            else:
                self._count(index, track, view, score, score >= threshold)
                out += self._decide(index, track, view)
            if track.sound is not None and self._is_over(track, view):
                out.append(self._stop(index, track))
            if self._is_idle(index, track, view):
                del self._tracks[index]
        self._past.add(view, scores)
        return out

    def _go_on(self, sound: _Sound, view: View, score: float, above: bool) -> None:
        """Update a sound that is not in its hold's aftermath."""
        if above:
            sound.peak = max(sound.peak, score)
            sound.last_seen = max(sound.last_seen, view.seen)
            sound.last_end = view.end
            sound.below = None
            return
        if view.short and view.end - sound.last_end < self._window + self._hold:
            sound.doubted = view.end
            return
        if sound.below is None:
            sound.below = view.seen
        if view.end - max(sound.last_end, sound.doubted) >= self._hold:
            sound.ended = self._end_of(sound)

    def _end_of(self, sound: _Sound) -> int:
        if sound.below is None:
            return sound.last_end
        end = max(sound.start + self._hop, sound.last_seen + self._hop, sound.below)
        return min(end, sound.last_end)

    def _count(self, index: int, track: _Track, view: View, score: float, above: bool) -> None:
        """Update the windows in a row that may become a sound."""
        candidate = track.candidate
        if not above:
            if not view.short:
                track.candidate = None
        elif candidate is None:
            track.candidate = _Candidate(self._past.onset(index, view, score), score, view.seen, view.end)
        else:
            candidate.hits += 1
            candidate.peak = max(candidate.peak, score)
            candidate.last_seen = max(candidate.last_seen, view.seen)
            candidate.last_end = view.end

    def _decide(self, index: int, track: _Track, view: View) -> list[Change]:
        """Let a confirmed candidate continue the last sound or become one of its own."""
        candidate, sound = track.candidate, track.sound
        if candidate is None or candidate.hits < self._confirm:
            return []
        out: list[Change] = []
        if sound is not None and sound.ended is not None:
            if candidate.start - sound.ended < self._merge:
                sound.peak = max(sound.peak, candidate.peak)
                sound.last_seen = max(sound.last_seen, candidate.last_seen)
                sound.last_end = candidate.last_end
                sound.below = sound.ended = None
                track.candidate = None
                return []
            out.append(self._stop(index, track))
        start = candidate.start
        if track.last_end is not None:
            cool = track.last_end + int(self._cooldowns[index])
            if view.seen < track.last_end or max(start, view.seen) < cool:
                return out
            start = max(start, cool)
        self._number += 1
        track.candidate = None
        track.sound = _Sound(
            self._number, start, candidate.peak, max(start, candidate.last_seen), candidate.last_end
        )
        out.append(Onset(self._number, index, self._labels[index], start, candidate.peak))
        return out

    def _is_over(self, track: _Track, view: View) -> bool:
        """Whether the sound has ended and nothing that is or may be heard can merge with it."""
        assert track.sound is not None
        if track.sound.ended is None:
            return False
        # No later window finds an onset before its own newest hop, which begins after this one's.
        next_onset = view.end - self._hop if track.candidate is None else track.candidate.start
        return next_onset - track.sound.ended >= self._merge

    def _stop(self, index: int, track: _Track) -> Offset:
        sound = track.sound
        assert sound is not None
        assert sound.ended is not None
        track.sound = None
        track.last_end = sound.ended
        return Offset(sound.number, index, self._labels[index], sound.start, sound.ended, sound.peak)

    def _is_idle(self, index: int, track: _Track, view: View) -> bool:
        """Whether nothing that the track remembers can matter any more."""
        if track.sound is not None or track.candidate is not None:
            return False
        # Later windows reach back no further than this.
        reach = view.end - self._window
        return track.last_end is None or reach >= track.last_end + int(self._cooldowns[index])


def validate_labels(config: SoundsConfig, labels: Sequence[Label]) -> dict[int, LabelConfig]:
    """The settings of single labels by the label's index.

    Raises ConfigError for names that the model does not know, with the nearest ones, and for two
    names of one label.
    """
    out: dict[int, LabelConfig] = {}
    names: dict[int, str] = {}
    for name, label_config in config.labels.items():
        try:
            label = resolve(name, labels)
        except ConfigError as error:
            raise ConfigError(f'[sounds.labels."{name}"]: {error}') from None
        index = labels.index(label)
        if index in names:
            raise ConfigError(
                f'[sounds.labels."{name}"] and [sounds.labels."{names[index]}"] are both {label.name!r}: '
                "keep one of them"
            )
        names[index] = name
        out[index] = label_config
    return out


def top_k(scores: ArrayLike, labels: Sequence[Label], k: int) -> list[Tag]:
    """The `k` labels with the highest scores, (C,), best first, of equals the one that comes first.

    NaN counts as 0; others are clipped to [0, 1]. Raises ValueError for another number of scores.
    """
    values = np.asarray(scores, np.float32)
    if values.shape != (len(labels),):
        raise ValueError(f"expected {len(labels)} scores, one a label, found shape {values.shape}")
    values = np.clip(np.nan_to_num(values, nan=0.0), 0.0, 1.0)
    order = np.argsort(-values, kind="stable")[:k]
    return [Tag(label=labels[i].name, id=labels[i].id, score=round(float(values[i]), 4)) for i in order]
