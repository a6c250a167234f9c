"""Hours of one recording, again and again, through the daemon's own threads: what grows, what drifts?

Rounds of the recording, with pauses between them and now and then a gap in the stream, all on the segmenter's
grid, so that every round should be heard as the second one was, only later (in the first one the voice
detector learns what the room is like). That is held against what comes out: words and utterances at their
places in the round, to the frame.
"""

from __future__ import annotations

import statistics
import threading
import time
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle

import numpy as np

from streamer.audio.ring import Ring
from streamer.audio.source import Report, StateChange
from streamer.bus import Bus
from streamer.config import Config
from streamer.engine import Engine
from streamer.errors import StreamerError
from streamer.evaluation import memory
from streamer.evaluation.align import align, bare
from streamer.evaluation.asr import Samples
from streamer.events import Event, SourceState, StreamStats, TranscriptFinal
from streamer.pipeline import Pipeline
from streamer.timebase import FRAME, SAMPLE_RATE, TOKEN, ceil_to, to_samples, to_seconds

NAME = "soak"
BLOCK = SAMPLE_RATE // 5
"""Samples that are written at once (200 ms)."""

LOOK = 0.25
"""Seconds of the real clock between two looks at lag and memory."""

NOISE = 1e-4
"""Amplitude of the noise in the pauses (-80 dB)."""

MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how fast, and what is between two rounds. Seconds; pauses and gap end on the token grid.

    speed: times as fast as a microphone, at most: the source waits where the engine does not keep up, so
    nothing is lost. pauses: by turns. gap: of the stream, after every `rounds_to_gap` rounds; 0 for none.
    stretch: what one row of figures is about.
    """

    seconds: float = 6 * 3600.0
    speed: float = 20.0
    pauses: tuple[float, ...] = (1.2, 4.0, 12.0, 30.0)
    gap: float = 10.0
    rounds_to_gap: int = 10
    stretch: float = 600.0


class Rounds:
    """A `Source`: the recording (n,) again and again; `starts`: the sample indices at which rounds began."""

    name = NAME
    address = "a recording, again and again"
    live = False

    def __init__(self, samples: Samples, plan: Plan) -> None:
        self._samples, self._plan = samples, plan
        self.starts: list[int] = []

    def run(self, ring: Ring, report: Report, stop: threading.Event) -> None:
        """See `Source.run`."""
        report(StateChange(SourceState.LIVE))
        end, began = to_samples(self._plan.seconds), time.monotonic()
        for piece in self._pieces():
            if isinstance(piece, int):
                ring.gap(piece, "soak")
                continue
            for first in range(0, len(piece), BLOCK):
                due = began + ring.position / SAMPLE_RATE / self._plan.speed
                if stop.wait(max(0.0, due - time.monotonic())) or not ring.write(
                    piece[first : first + BLOCK]
                ):
                    return
            if ring.position >= end:
                break
        report(StateChange(SourceState.ENDED))

    def _pieces(self) -> Iterator[Samples | int]:
        """Samples, and lengths of gaps. Notes where rounds begin."""
        noise = np.random.default_rng(0)
        position = 0
        for number, pause in zip(count(1), cycle(self._plan.pauses)):
            self.starts.append(position)
            length = ceil_to(len(self._samples) + to_samples(pause), TOKEN)
            room = NOISE * noise.standard_normal(length).astype(np.float32)
            room[: len(self._samples)] += self._samples
            yield room
            position += length
            if self._plan.gap and number % self._plan.rounds_to_gap == 0:
                gap = ceil_to(to_samples(self._plan.gap), TOKEN)
                yield gap
                position += gap


def _numbers() -> array[float]:
    """Small ones: what is noted of memory may not be what grows."""
    return array("f")


@dataclass(slots=True)
class Stretch:
    """Some minutes. `start`, `seconds`: of the stream's clock. Memory: resident MB, median of many looks.

    lag: seconds of audio between the newest sample and the newest one inferred, median and most. latency:
    milliseconds from an endpoint to its final, median. words: as the second round had them; other: words that
    are missing or new. apart: how many words' starts and ends are how many milliseconds from their place;
    utterances: the same for utterances.
    """

    start: float
    seconds: float = 0.0
    finals: int = 0
    words: int = 0
    other: int = 0
    apart: Counter[int] = field(default_factory=Counter)
    utterances: Counter[int] = field(default_factory=Counter)
    megabytes: array[float] = field(default_factory=_numbers)
    lags: array[float] = field(default_factory=_numbers)
    latencies: array[float] = field(default_factory=_numbers)

    @property
    def memory(self) -> float:
        """Resident MB, median."""
        return statistics.median(self.megabytes) if self.megabytes else 0.0

    @property
    def lag(self) -> float:
        """Seconds, median."""
        return statistics.median(self.lags) if self.lags else 0.0

    @property
    def most_lag(self) -> float:
        """Seconds, most."""
        return max(self.lags, default=0.0)

    @property
    def latency(self) -> float:
        """Milliseconds, median."""
        return statistics.median(self.latencies) if self.latencies else 0.0

    @property
    def furthest(self) -> float:
        """Seconds that a word is from its place, at most."""
        return max(map(abs, self.apart), default=0) / 1000

    @property
    def mean(self) -> float:
        """Seconds that words are behind their places, their mean: what a clock that drifts would show."""
        return mean(self.apart)


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it. `rounds`: how often the recording was heard; stats: the stream's, at its end."""

    stretches: list[Stretch]
    rounds: int
    seconds_taken: float
    stats: StreamStats

    @property
    def memory_change(self) -> float:
        """How far the memory of any stretch behind the first is from their median, as a share of it."""
        all_of_it = [one.memory for one in self.stretches[1:]] or [one.memory for one in self.stretches]
        middle = statistics.median(all_of_it)
        return max(abs(mb - middle) for mb in all_of_it) / max(middle, 1e-9)

    @property
    def apart(self) -> Counter[int]:
        """Words' starts and ends by their milliseconds from their place."""
        return sum((one.apart for one in self.stretches), Counter())

    @property
    def utterances(self) -> Counter[int]:
        """The same of utterances."""
        return sum((one.utterances for one in self.stretches), Counter())


def mean(apart: Counter[int]) -> float:
    """Seconds."""
    return sum(ms * times for ms, times in apart.items()) / max(apart.total(), 1) / 1000


def within_a_frame(apart: Counter[int]) -> float:
    """Share of what is at most one frame from its place; 0 of nothing."""
    frame = round(1000 * FRAME / SAMPLE_RATE)
    return sum(times for ms, times in apart.items() if abs(ms) <= frame) / max(apart.total(), 1)


class Ledger:
    """A sink that holds rounds' finals against the second one's; not the last one's, which may be cut off."""

    def __init__(self, starts: list[int], stretch: float) -> None:
        """`starts`: see `Rounds`; goes on growing."""
        self._starts, self._stretch = starts, stretch
        self._round, self._finals = 0, list[TranscriptFinal]()
        self._model: list[TranscriptFinal] = []
        """The second round's."""
        self.stretches: list[Stretch] = []

    def add(self, event: Event) -> None:
        """Take in one event, in the order of publication."""
        if not isinstance(event, TranscriptFinal):
            return
        stretch = self.at(event.end)
        stretch.finals += 1
        stretch.latencies.append(event.latency_ms)
        middle = to_samples((event.start + event.end) / 2)
        heard_in = bisect_right(self._starts, middle) - 1
        if heard_in != self._round:
            self._compare()
            self._round = heard_in
        self._finals.append(event)

    def look(self, position: float, lag: float, resident: float) -> None:
        """Note lag (seconds) and memory (MB) at `position` seconds."""
        stretch = self.at(position)
        stretch.megabytes.append(resident)
        stretch.lags.append(lag)
        stretch.seconds = max(stretch.seconds, position - stretch.start)

    def at(self, position: float) -> Stretch:
        """The stretch that `position` seconds lies in."""
        number = int(position // self._stretch)
        while len(self.stretches) <= number:
            self.stretches.append(Stretch(len(self.stretches) * self._stretch))
        return self.stretches[number]

    def _compare(self) -> None:
        """A round is over."""
        finals, self._finals = self._finals, []
        if self._round < 2:
            self._model = finals
            return
        shift = to_seconds(self._starts[self._round] - self._starts[1])
        stretch = self.at(to_seconds(self._starts[self._round]))
        if len(finals) == len(self._model):
            for was, now in zip(self._model, finals, strict=True):
                stretch.utterances.update(
                    (_milliseconds(now.start - shift - was.start), _milliseconds(now.end - shift - was.end))
                )
        before = [word for final in self._model for word in final.words]
        after = [word for final in finals for word in final.words]
        pairs = align([bare(word.text) for word in before], [bare(word.text) for word in after])
        stretch.words += len(pairs)
        stretch.other += len(before) + len(after) - 2 * len(pairs)
        for i, j in pairs:
            was_word, now_word = before[i], after[j]
            stretch.apart.update(
                (
                    _milliseconds(now_word.start - shift - was_word.start),
                    _milliseconds(now_word.end - shift - was_word.end),
                )
            )


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def soak(
    config: Config,
    engine: Engine,
    samples: Samples,
    plan: Plan,
    progress: Callable[[float], None] = lambda _: None,
) -> Soak:
    """Run it; `progress` is told the seconds heard.

    Raises StreamerError where a thread dies, or where the words of no third round came out.
    """
    bus = Bus(config.server.history)
    pipeline = Pipeline(config, bus, engine)
    source = Rounds(samples, plan)
    ledger = Ledger(source.starts, plan.stretch)
    bus.add_sink(ledger.add)
    began = time.perf_counter()
    pipeline.start()
    try:
        pipeline.add(source)
        stats = _watch(pipeline, ledger, progress)
    finally:
        pipeline.stop()
    if not any(one.words for one in ledger.stretches):
        raise StreamerError(
            f"expected words in three rounds and more of the recording, found {stats.finals} utterances in "
            f"{len(source.starts)}: play it for longer, or one with speech"
        )
    stretches = [one for one in ledger.stretches if one.finals or one.seconds > plan.stretch / 10]
    return Soak(stretches, len(source.starts), time.perf_counter() - began, stats)


def _watch(pipeline: Pipeline, ledger: Ledger, progress: Callable[[float], None]) -> StreamStats:
    while True:
        time.sleep(LOOK)
        if problem := pipeline.problem():
            raise StreamerError(problem)
        stats = pipeline.stats()[NAME]
        heard = max(0.0, stats.position - stats.lag)
        ledger.look(heard, stats.lag, memory.resident_bytes() / MB)
        progress(heard)
        if stats.state is SourceState.ENDED:
            return stats
