"""What an ear says depends on the samples alone, and every pass carries the samples it speaks for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.audio.level import LEVEL
from streamer.audio.ring import Block, End, Gap
from streamer.config import Config
from streamer.ear import Ear
from streamer.events import Event, Level, SpeechStarted, SpeechStopped, StreamGap
from streamer.passes import SHORTEST_VIEW, Kind, Pass
from streamer.timebase import FRAME, SAMPLE_RATE, TOKEN, to_samples, to_seconds
from streamer.track import Track
from streamer.vad.base import make_vad
from tests.test_pipeline import conversation
from tests.tiny import tiny_model, tiny_tokenizer

Audio = NDArray[np.float32]
CONFIG = Config()
HOP = to_samples(CONFIG.sounds.hop)


class Loud:
    """Speech is what is louder than 0.1: boundaries fall where a test puts them."""

    def __init__(self) -> None:
        self.resets = 0

    def is_speech(self, frame: Audio) -> bool:
        return float(np.abs(frame).max()) > 0.1

    def reset(self) -> None:
        self.resets += 1


def make(vad: Any = None, **config: Any) -> Ear:
    return Ear("s", Config.model_validate(config), vad or Loud())


def sound(seconds: float, amplitude: float = 0.05, seed: int = 0) -> Audio:
    """Noise: audible, but only an amplitude above 0.1 is speech."""
    rng = np.random.default_rng(seed)
    samples = rng.uniform(-amplitude, amplitude, round(seconds * SAMPLE_RATE))
    samples[::50] = amplitude  # no frame is quieter than that
    return samples.astype(np.float32)


def speech(seconds: float) -> Audio:
    return sound(seconds, 0.5, 1)


def silence(seconds: float) -> Audio:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


MIDDLE = sound(0.1, 0.08, 5)
"""What is new in `sound`: 5 dB louder."""


def test_without_an_alert_nothing_happens_but_on_the_grid_of_levels() -> None:
    ear = make(make_vad(CONFIG.vad), live={"partials": True})
    audio, calm = conversation(), 0
    for start in range(0, len(audio) - FRAME + 1, FRAME):
        alert = ear.alert(LEVEL)
        out = list(ear.hear(Block(start, audio[start : start + FRAME])))
        if not alert and ear.position % LEVEL:
            assert out == []
            calm += 1
    assert calm > 100  # else there was nothing to see


def heard(ear: Ear, *items: Any) -> list[Event | Pass]:
    """Everything an ear says about arrays (consecutive samples), gaps (how many samples) and the end."""
    out: list[Event | Pass] = []
    at = 0
    for item in items:
        if isinstance(item, int):
            out += ear.hear(Gap(at, item, "interruption"))
            at += item
        elif isinstance(item, End):
            out += ear.hear(item)
        else:
            out += ear.hear(Block(at, item))
            at += len(item)
    return out


def passes(said: Iterable[Event | Pass], *kinds: Kind) -> list[Pass]:
    return [one for one in said if isinstance(one, Pass) and (not kinds or one.kind in kinds)]


def only(said: Iterable[Event | Pass], kind: type) -> list[Any]:
    return [one for one in said if isinstance(one, kind)]


def plain(said: Iterable[Event | Pass]) -> list[Any]:
    """What two ears are compared by: all but the wall clock."""
    return [
        (one.kind, one.start, one.end, one.utterance, one.samples.tobytes())
        if isinstance(one, Pass)
        else one.model_dump(exclude={"time", "seq"})
        for one in said
    ]


# Ticks.


def test_sounds_are_asked_for_on_every_hop_and_look_a_window_back() -> None:
    said = heard(make(), sound(10.0), End())
    ambient = passes(said, Kind.AMBIENT)
    # A first hop is long enough to judge; 10.0 is on no tick, but what came since 9.6 is heard at the end.
    assert [p.end for p in ambient] == [*range(HOP, 10 * SAMPLE_RATE, HOP), 10 * SAMPLE_RATE]
    for p in ambient:
        assert p.start == max(0, p.end - to_samples(CONFIG.sounds.window))


def test_a_tick_too_early_to_be_judged_is_made_up_for() -> None:
    said = heard(make(sounds={"hop": 0.4}), np.concatenate([sound(0.2), silence(1.0)]))
    assert [(p.kind, p.start, p.end) for p in passes(said)] == [
        (Kind.AMBIENT, 0, 2 * TOKEN),
        (Kind.SILENT, 3 * TOKEN, 3 * TOKEN),
    ]


def test_silence_moves_the_clock_without_samples() -> None:
    said = heard(make(), silence(4.0), End())
    assert [p.kind for p in passes(said)] == [Kind.SILENT] * 5 + [Kind.END]
    assert not any(p.needs_encoder for p in passes(said))
    assert [p.end for p in passes(said)] == [*range(HOP, 4 * SAMPLE_RATE + 1, HOP), 4 * SAMPLE_RATE]


def test_an_open_utterance_asks_for_partials_instead_of_sounds() -> None:
    said = heard(make(), np.concatenate([silence(1.1), speech(3.0), silence(2.0)]))
    started, stopped = only(said, SpeechStarted)[0], only(said, SpeechStopped)[0]
    partials = passes(said, Kind.PARTIAL)
    assert [p.end for p in partials] == [to_samples(t) for t in (1.6, 2.4, 3.2, 4.0)]
    for p in partials:
        assert to_seconds(p.start) == started.start == 0.8  # 300 ms before 1.1 s
        assert (p.end - p.start) % TOKEN == 0
        assert p.utterance == 1
    (final,) = passes(said, Kind.FINAL)
    assert (to_seconds(final.start), to_seconds(final.end)) == (0.8, stopped.end) == (0.8, 4.3)
    assert not any(0.8 < to_seconds(p.end) < 4.5 for p in passes(said, Kind.AMBIENT, Kind.SILENT))


def test_a_partial_has_a_whole_token_at_least() -> None:
    said = heard(make(live={"step": 0.4}), np.concatenate([silence(0.72), speech(1.0)]))
    for p in passes(said, Kind.PARTIAL):
        assert p.end - p.start >= TOKEN
    assert passes(said, Kind.PARTIAL)


def test_without_partials_a_long_utterance_does_not_hide_sounds() -> None:
    said = heard(
        make(live={"partials": False}), np.concatenate([silence(0.8), speech(8.0), silence(1.0)]), End()
    )
    assert not passes(said, Kind.PARTIAL)
    within = [p.end for p in passes(said, Kind.AMBIENT) if p.end <= to_samples(8.8)]
    assert passes(said, Kind.FINAL)[0].start == to_samples(0.4)
    assert within == [*range(to_samples(4.8), to_samples(8.8) + 1, HOP)]  # a window after the start


@pytest.mark.parametrize(
    ("config", "absent"),
    [
        ({"live": {"captions": False}}, (Kind.FINAL, Kind.PARTIAL)),
        ({"sounds": {"enabled": False}}, (Kind.AMBIENT,)),
    ],
)
def test_what_is_switched_off_is_not_asked_for(config: dict[str, Any], absent: tuple[Kind, ...]) -> None:
    said = heard(make(**config), np.concatenate([sound(2.0), speech(3.0), sound(2.0)]), End())
    kinds = {p.kind for p in passes(said)}
    assert not kinds & set(absent)
    assert {Kind.FINAL, Kind.AMBIENT} & kinds


def test_without_sounds_the_clock_still_moves_while_nobody_speaks() -> None:
    said = heard(make(sounds={"enabled": False}), np.concatenate([sound(4.0), speech(1.0)]))
    assert [p.end for p in passes(said)][:5] == [HOP * i for i in range(1, 6)]
    assert {p.kind for p in passes(said)[:5]} == {Kind.SILENT}


# Steady sound.


def windows(said: Iterable[Event | Pass]) -> list[tuple[int, int]]:
    """The tag windows of all passes without text, as a track asks for them."""
    config = Config()
    track = Track("s", config, tiny_model(), tiny_tokenizer())
    out = []
    for p in passes(said, Kind.AMBIENT, Kind.STEADY):
        request = track.request(p) if p.needs_encoder else None
        for first, last in request.windows if request is not None else ():
            out.append((p.start + first * TOKEN, p.start + last * TOKEN))
    return out


def waiting(audio: Audio, steady: float = 4.0, **config: Any) -> list[Event | Pass]:
    config.setdefault("live", {"captions": False})
    return heard(make(sounds={"steady": steady}, **config), audio, End())


@pytest.mark.parametrize(
    "audio",
    [
        sound(30.0),
        np.concatenate([sound(13.3), MIDDLE, sound(12.0, seed=2)]),
        np.concatenate([sound(14.0), silence(3.0), sound(16.1, seed=2)]),
        np.concatenate([sound(11.7), 0.3 * sound(11.0, seed=2)]),
    ],
    ids=["the same", "something short", "silence", "quieter"],
)
def test_windows_are_those_without_waiting_and_leave_nothing_out(audio: Audio) -> None:
    one_by_one, together = waiting(audio, 0.0), waiting(audio)
    every, some = windows(one_by_one), windows(together)
    assert set(some) < set(every)
    for start, end in every:
        covered = {at for first, last in some for at in range(max(first, start), min(last, end), FRAME)}
        assert len(covered) == (end - start) // FRAME
    count = [sum(p.needs_encoder for p in passes(said)) for said in (one_by_one, together)]
    assert count[1] < 0.8 * count[0]
    # Time goes on as before.
    assert {p.end for p in passes(together)} == {p.end for p in passes(one_by_one)}


def test_nothing_waits_for_longer_than_it_may() -> None:
    for steady in (1.6, 2.0, 4.0, 8.0):
        ends = [
            p.end for p in passes(waiting(sound(40.0), steady), Kind.AMBIENT, Kind.STEADY) if p.needs_encoder
        ]
        longest = max(after - before for before, after in pairwise(ends))
        assert longest == to_samples(min(steady, CONFIG.sounds.window)) // HOP * HOP


def test_what_is_new_is_heard_at_the_next_tick_and_by_itself() -> None:
    for at in (13.0, 13.3, 14.0, 14.7):
        said = waiting(np.concatenate([sound(at), MIDDLE, sound(10.0, seed=2)]))
        tick = -(-to_samples(at + 0.1) // HOP) * HOP
        (first,) = [p for p in passes(said, Kind.AMBIENT) if p.end == tick]
        assert first.end - first.start == to_samples(CONFIG.sounds.window)
        assert not [p for p in passes(said, Kind.STEADY) if tick <= p.end < tick + 5 * SAMPLE_RATE]


def test_somebody_who_speaks_does_not_make_sounds_wait() -> None:
    audio = np.concatenate([sound(14.1), speech(1.0), sound(2.0, seed=2)])
    said = waiting(audio, live={"captions": True})
    kinds = [type(one).__name__ if isinstance(one, Event) else one.kind.name for one in said]
    began = kinds.index("SpeechStarted")
    assert kinds[began:].index("STEADY") < kinds[began:].index("PARTIAL")
    (late,) = [p for p in passes(said[began:], Kind.STEADY) if p.needs_encoder]
    assert late.end == to_samples(13.6)


def test_what_was_before_a_gap_does_not_wait_behind_it() -> None:
    said = heard(
        make(live={"captions": False}, sounds={"steady": 4.0}), sound(14.0), SAMPLE_RATE, sound(9.0), End()
    )
    gap = said.index(only(said, StreamGap)[0])
    assert [p.end for p in passes(said[: gap + 3]) if p.needs_encoder][-2:] == [
        to_samples(13.6),
        to_samples(14.0),
    ]
    after = [p for p in passes(said, Kind.STEADY) if p.end > to_samples(15.0)]
    assert min(p.end for p in after) >= to_samples(15.0 + CONFIG.sounds.window)


# The pass's samples.


def test_passes_carry_the_samples_of_their_indices() -> None:
    audio = conversation()
    said = heard(make(make_vad(CONFIG.vad)), audio, End())
    padded = np.concatenate([audio, np.zeros(FRAME, np.float32)])
    kinds = {p.kind for p in passes(said)}
    assert kinds == {Kind.FINAL, Kind.PARTIAL, Kind.AMBIENT, Kind.SILENT, Kind.END}
    for p in passes(said):
        if p.needs_encoder:
            np.testing.assert_array_equal(p.samples, padded[p.start : p.end])
        else:
            assert p.kind in (Kind.SILENT, Kind.END)
            assert p.start == p.end


def test_passes_own_their_samples() -> None:
    """Later audio must not change what waits."""
    ear = make()
    first = passes(heard(ear, sound(1.0)), Kind.AMBIENT)[0]
    before = first.samples.copy()
    list(ear.hear(Block(SAMPLE_RATE, sound(80.0, seed=2))))
    np.testing.assert_array_equal(first.samples, before)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=40), st.booleans())
def test_any_blocks_say_the_same(sizes: list[int], steady: bool) -> None:
    audio = np.concatenate([sound(9.5), MIDDLE]) if steady else conversation()[: 9 * SAMPLE_RATE + 123]
    ear = make(make_vad(CONFIG.vad), sounds={"steady": 4.0})
    said: list[Event | Pass] = []
    at = number = 0
    while at < len(audio):
        size = sizes[number % len(sizes)] if number < 200 else len(audio)
        said += ear.hear(Block(at, audio[at : at + size]))
        at, number = at + size, number + 1
    said += ear.hear(End())
    whole = make(make_vad(CONFIG.vad), sounds={"steady": 4.0})
    assert plain(said) == plain([*whole.hear(Block(0, audio)), *whole.hear(End())])


# Levels.


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40_000), st.integers(0, 5000), st.integers(1, 30_000))
def test_levels_cover_the_stream(first: int, gap: int, second: int) -> None:
    """One after the other; only a gap and less than 100 ms before it or the end are left out."""
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(-0.05, 0.05, n).astype(np.float32) for n in (first, second))
    said = heard(make(), a, *([gap] if gap else []), b, End())
    levels = only(said, Level)
    for one, after in pairwise(levels):
        hole = after.start - one.end
        if hole > 1e-6:
            assert one.end <= to_seconds(first) + 0.02 + 1e-6
            assert hole <= to_seconds(gap) + 0.14
        assert hole > -1e-6
    for level in levels:
        assert level.end * 10 == pytest.approx(round(level.end * 10))
    if levels:
        assert to_seconds(first + gap + second) - levels[-1].end < 0.12 or second < 2 * FRAME + 1600


# Gaps.


def test_a_gap_ends_the_utterance_and_the_grid_goes_on() -> None:
    vad = Loud()
    a, length, b = speech(2.0), 5 * SAMPLE_RATE + 123, speech(2.0)
    said = heard(make(vad), a, length, b, End())
    (gap,) = only(said, StreamGap)
    assert (gap.start, gap.end) == (2.0, to_seconds(2 * SAMPLE_RATE + length))
    one, two = passes(said, Kind.FINAL)
    assert (one.start, one.end) == (0, 2 * SAMPLE_RATE)
    assert only(said, SpeechStopped)[0].reason == "gap"
    after = 2 * SAMPLE_RATE + length
    assert two.start == after - 123  # the frame that the gap ends in; zeros stand for its missing beginning
    assert not two.samples[:123].any()
    np.testing.assert_array_equal(two.samples[123 : 123 + len(b)], b)
    assert vad.resets == 1
    for p in passes(said, Kind.PARTIAL):
        assert p.end % HOP == 0
    assert said.index(gap) < said.index(only(said, SpeechStopped)[0])


@pytest.mark.parametrize("filled", [0, 1, 200, 319])
@pytest.mark.parametrize("length", [1, 100, 119, 120, 121, 319, 320, 321, 1600, 16_000])
def test_the_clock_after_a_gap_is_exact(filled: int, length: int) -> None:
    a, b = sound(1.0)[: 10 * FRAME + filled], sound(1.5, seed=3)
    ear = make()
    said = heard(ear, a, length, b)
    start = len(a) + length
    assert ear.position == (start + len(b)) // FRAME * FRAME
    stream = np.zeros(start + len(b), np.float32)
    stream[: len(a)] = a
    stream[start:] = b
    for p in passes(said):
        np.testing.assert_array_equal(p.samples, stream[p.start : p.end])
    assert passes(said, Kind.AMBIENT)[-1].end > start


def test_a_gap_within_a_frame_is_a_splice() -> None:
    said = heard(make(), np.concatenate([silence(0.5), speech(1.0)])[:-20], 10, speech(1.0), End())
    assert [e.reason for e in only(said, SpeechStopped)] == ["gap", "end"]
    one, two = passes(said, Kind.FINAL)
    assert one.end <= two.start


def test_what_was_audible_before_a_gap_is_heard() -> None:
    said = heard(make(), np.concatenate([silence(3.2), sound(0.7)]), 3 * SAMPLE_RATE, silence(2.0))
    (ambient,) = passes(said, Kind.AMBIENT)
    assert ambient.end == to_samples(3.9)
    assert (ambient.end - ambient.start) % TOKEN == 0
    assert [p.kind for p in passes(said)][4:6] == [Kind.AMBIENT, Kind.SILENT]


# Pausing.


def test_pause_and_resume_leave_a_gap() -> None:
    ear = make()
    said = heard(ear, np.concatenate([silence(0.4), speech(1.0)]))
    said += ear.pause()
    said += ear.pause()  # nothing happens
    at = to_samples(1.4)
    assert list(ear.hear(Block(at, speech(2.0)))) == []
    assert list(ear.hear(Gap(at + 2 * SAMPLE_RATE, 500, "interruption"))) == []
    later = at + 2 * SAMPLE_RATE + 500
    said += ear.resume(later)
    said += ear.resume(later)
    said += ear.hear(Block(later, speech(1.0)))
    said += ear.hear(End())
    (gap,) = only(said, StreamGap)
    assert (gap.start, gap.end, gap.reason) == (1.4, to_seconds(later), "paused")
    one, two = passes(said, Kind.FINAL)
    assert (one.end, two.end) == (at, -(-(later + SAMPLE_RATE) // FRAME) * FRAME)


@pytest.mark.parametrize("filled", [0, 1, 200])
def test_resumed_at_once_the_clock_is_still_right(filled: int) -> None:
    """No sample came in between: there is no gap, and the stream's samples keep their indices."""
    audio = np.concatenate([silence(0.4), speech(1.0), sound(3.0)])
    cut = to_samples(1.0) + filled
    ear = make()
    said = list(ear.hear(Block(0, audio[:cut])))
    said += ear.pause()
    said += ear.resume(cut)
    said += ear.hear(Block(cut, audio[cut:]))
    assert not only(said, StreamGap)
    assert ear.position == len(audio)
    for p in passes(said):
        np.testing.assert_array_equal(p.samples, audio[p.start : p.end])


def test_a_stream_that_ends_while_paused_says_its_end_only() -> None:
    ear = make()
    heard(ear, sound(1.3)[:-7])
    assert [p.kind for p in passes(ear.pause())] == [Kind.AMBIENT]
    assert [p.kind for p in passes(ear.hear(End()))] == [Kind.END]


# The end.


def test_the_end_in_the_middle_of_a_frame_loses_nothing() -> None:
    audio = np.concatenate([silence(0.4), speech(1.0)])[:-100]
    said = heard(make(), audio, End())
    (final,) = passes(said, Kind.FINAL)
    assert final.end == to_samples(1.4)
    np.testing.assert_array_equal(final.samples[:-100], audio[final.start :])
    assert not final.samples[-100:].any()
    assert only(said, SpeechStopped)[0].reason == "end"
    assert passes(said)[-1].kind is Kind.END
    assert passes(said)[-1].end == to_samples(1.4)


def test_pre_roll_reaches_back_before_the_onset_and_not_into_the_last_utterance() -> None:
    config = {"segment": {"pre_roll_ms": 1000}}
    said = heard(
        make(**config), np.concatenate([silence(3.06), speech(1.0), silence(0.7), speech(1.0), silence(1.0)])
    )
    one, two = passes(said, Kind.FINAL)
    assert one.start == to_samples(2.0)  # 3.06 - 1, down to the 0.4 s grid
    assert one.end == two.start == to_samples(4.26)  # 0.2 s after the last speech
    assert not one.samples[: to_samples(1.06)].any()


def test_a_long_utterance_is_cut_without_losing_a_sample() -> None:
    audio = speech(70.0)
    said = heard(make(sounds={"enabled": False}, live={"partials": False}), audio, End())
    finals = passes(said, Kind.FINAL)
    assert len(finals) >= 3
    np.testing.assert_array_equal(np.concatenate([p.samples for p in finals]), audio)
    assert all(len(p.samples) <= to_samples(28.0) for p in finals)
    assert [e.reason for e in only(said, SpeechStopped)] == ["max_length"] * (len(finals) - 1) + ["end"]


def test_sounds_are_never_asked_for_with_too_little_to_judge() -> None:
    for n in range(1, 12):
        said = heard(make(sounds={"hop": 0.4}), sound(n / 10), End())
        for p in passes(said, Kind.AMBIENT):
            assert len(p.samples) >= SHORTEST_VIEW * TOKEN


def test_a_complete_text_ends_an_utterance_before_the_hangover_is_over() -> None:
    for told, expected in ((False, []), (True, ["complete"])):
        ear = make(segment={"hangover_ms": 1000, "complete_ms": 200})
        said = heard(ear, silence(0.4), speech(1.2), silence(0.6))
        partial = only(said, Pass)[-1]
        assert partial.kind is Kind.PARTIAL
        if told:
            ear.complete(partial.utterance, partial.end)
        more = list(ear.hear(Block(ear.position, silence(0.1))))
        assert [stop.reason for stop in only(more, SpeechStopped)] == expected
        assert [p.kind for p in only(more, Pass)] == [Kind.FINAL] * len(expected)
