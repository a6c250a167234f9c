"""What a track asks of the engine and what it says of the answers, whatever the scheduler leaves out."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.asr.attended import Frontier
from streamer.asr.ctc import decode_ctc
from streamer.asr.decode import DecodeOptions
from streamer.asr.evidence import Evidence
from streamer.asr.words import TimedWord
from streamer.audio.ring import Block, End
from streamer.config import Config
from streamer.ear import Ear
from streamer.engine import Engine, Request, Result
from streamer.events import Event, SoundStarted, SoundStopped, SoundTags, TranscriptFinal, TranscriptPartial
from streamer.labels import Label
from streamer.passes import Kind, Pass
from streamer.scheduler import Scheduler
from streamer.timebase import FRAME, SAMPLE_RATE, TOKEN, to_samples, to_seconds
from streamer.track import Track
from streamer.vad.base import make_vad
from tests.asr.test_ctc import frames_of, logits
from tests.test_pipeline import conversation
from tests.tiny import LABELS, tiny_model, tiny_tokenizer

CONFIG = Config()
AGREEMENT = Config.model_validate({"live": {"policy": "agreement"}})
HOP = to_samples(CONFIG.sounds.hop)
MODEL = tiny_model()
TOKENIZER = tiny_tokenizer()
DOG, SIREN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def make(config: Config = CONFIG) -> Track:
    return Track("s", config, MODEL, TOKENIZER)


def a_pass(kind: Kind, start: float, end: float, utterance: int = 0) -> Pass:
    first, last = to_samples(start), to_samples(end)
    samples = np.zeros(last - first if kind < Kind.SILENT else 0, np.float32)
    return Pass("s", kind, first, last, samples, time.monotonic(), utterance)


def ambient(end: float) -> Pass:
    return a_pass(Kind.AMBIENT, max(0.0, end - 4.0), end)


def silent(at: float) -> Pass:
    return a_pass(Kind.SILENT, at, at)


def answer(request: Request, path: str = "", scores: Any = (0.0, 0.0, 0.0), words: Any = ()) -> Result:
    """What an engine might say: this path through the CTC branch, these scores for every window."""
    table = np.tile(np.asarray(scores, np.float32), (len(request.windows), 1))
    if request.text is None:
        return Result(scores=table)
    got = decode_ctc(logits(frames_of(path)), TOKENIZER, request.text, request.prefix_frames)
    return Result(got.decoded, list(words), got.frames, table)


def do(track: Track, p: Pass, path: str = "", **options: Any) -> list[Event]:
    """One pass, from the request to the events."""
    request = track.request(p) if p.needs_encoder else None
    result = answer(request, path, **options) if request is not None else None
    return list(track.events(p, request, result))


def tagged(events: list[Event]) -> list[tuple[float, float]]:
    return [(e.start, e.end) for e in events if isinstance(e, SoundTags)]


# Tag slots.


def test_one_window_a_hop() -> None:
    track = make()
    events = do(track, ambient(0.8)) + do(track, ambient(1.6)) + do(track, ambient(5.6))
    # The last was stretched over the hops between: each still gets its own window.
    ends = [end for _, end in tagged(events)]
    assert ends == [0.8, 1.6, 2.4, 3.2, 4.0, 4.8, 5.6]
    assert tagged(events)[-1] == (1.6, 5.6)


def test_a_speech_pass_does_the_slots_that_nobody_did() -> None:
    track = make()
    do(track, ambient(2.4))
    assert tagged(do(track, a_pass(Kind.PARTIAL, 2.0, 3.2, 1))) == [(2.0, 3.2)]
    assert tagged(do(track, a_pass(Kind.PARTIAL, 2.0, 4.0, 1))) == [(2.0, 4.0)]
    assert tagged(do(track, a_pass(Kind.FINAL, 2.0, 5.7, 1))) == [(2.0, 4.8), (2.0, 5.6)]
    assert tagged(do(track, ambient(6.4))) == [(2.4, 6.4)]


def test_an_utterance_off_the_grid_has_every_window_once() -> None:
    """Tokens count from its first sample; a window then ends up to one token before its slot does."""
    track = make()
    events: list[Event] = []
    for end in (1.6, 2.4, 3.2):
        events += do(track, a_pass(Kind.PARTIAL, 0.5, end, 1))
    events += do(track, a_pass(Kind.FINAL, 0.5, 3.4, 1))
    assert tagged(events) == [(0.5, 1.3), (0.5, 2.1), (0.5, 2.9)]


def test_two_passes_in_one_batch_share_no_slot() -> None:
    """The second is asked before the first is answered."""
    track = make()
    first, second = a_pass(Kind.FINAL, 0.8, 4.3, 1), ambient(4.8)
    requests = [track.request(p) for p in (first, second)]
    events: list[Event] = []
    for p, request in zip((first, second), requests, strict=True):
        assert request is not None
        events += track.events(p, request, answer(request))
    assert tagged(events) == [(0.8, 1.6), (0.8, 2.4), (0.8, 3.2), (0.8, 4.0), (0.8, 4.8)]


def test_a_pass_of_which_nothing_is_wanted_any_more_costs_nothing() -> None:
    track = make()
    do(track, a_pass(Kind.FINAL, 2.0, 8.1, 1))
    late = ambient(2.4)
    assert track.request(late) is None
    assert list(track.events(late, None, None)) == []
    assert track.position == to_samples(8.1)


def test_without_a_tag_head_sounds_cost_nothing() -> None:
    track = Track("s", CONFIG, replace(MODEL, tags=None, labels=(), thresholds=()), TOKENIZER)
    assert track.request(ambient(4.0)) is None
    assert do(track, silent(4.8)) == []
    assert do(track, a_pass(Kind.END, 5.0, 5.0)) == []
    assert track.request(a_pass(Kind.FINAL, 0.0, 2.0, 1)) is not None


def run_ear(config: Config) -> list[Pass]:
    ear = Ear("s", config, make_vad(config.vad))
    audio = conversation()[: 16 * SAMPLE_RATE + 321]
    if not config.live.captions:  # a fan, on which somebody knocks
        audio = (0.01 * np.random.default_rng(0).standard_normal(25 * SAMPLE_RATE + 321)).astype(np.float32)
        audio[15 * SAMPLE_RATE :: 4000][:2] = 0.5
    said = [*ear.hear(Block(0, audio)), *ear.hear(End())]
    return [one for one in said if isinstance(one, Pass)]


CONFIGS = [
    Config.model_validate(c)
    for c in (
        {},
        {"live": {"partials": False}},
        {"live": {"step": 1.2}, "sounds": {"hop": 0.4, "window": 2.0}},
        {"live": {"step": 0.4}, "sounds": {"hop": 2.0}},
        {"live": {"captions": False}, "sounds": {"steady": 4.0}},
    )
]
PASSES = [run_ear(config) for config in CONFIGS]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, len(CONFIGS) - 1), st.data())
def test_slots_are_done_once_and_in_order_whatever_the_load(which: int, data: st.DataObject) -> None:
    """The real ear's passes through the real scheduler, which is emptied now and then."""
    config = CONFIGS[which]
    hop, track = to_samples(config.sounds.hop), make(config)
    scheduler = Scheduler(lambda _: 1, partial_patience=0.8, ambient_patience=4.0, backlog=10**9)
    ends: list[int] = []
    windows: list[tuple[int, int]] = []
    finals: list[int] = []

    def infer() -> None:
        batch = scheduler.next(0)
        requests = [track.request(p) if p.needs_encoder else None for p in batch]
        for p, request in zip(batch, requests, strict=True):
            if p.kind is Kind.FINAL:
                finals.append(p.utterance)
            for first, last in request.windows if request is not None else ():
                assert 2 <= last - first <= to_samples(config.sounds.window) // TOKEN
                assert 0 <= first < last <= len(p.samples) // TOKEN
                windows.append((p.start + first * TOKEN, p.start + last * TOKEN))
                ends.append(windows[-1][1])
            list(track.events(p, request, None if request is None else answer(request)))
        scheduler.done(batch)

    for p in PASSES[which]:
        scheduler.submit(p)
        for _ in range(data.draw(st.integers(0, 2))):
            infer()
    while scheduler.waiting:
        infer()
    assert len(set(windows)) == len(windows)
    assert ends == sorted(ends)
    slots = [-(-end // hop) for end in ends]
    last = max(p.end for p in PASSES[which])
    assert (
        len(set(slots)) >= len(slots) - (last % hop != 0) * 2
    )  # the tail's windows end where the stream does
    assert finals == sorted(p.utterance for p in PASSES[which] if p.kind is Kind.FINAL)
    assert track.finals == len(finals)
    assert track.position == last


@pytest.mark.parametrize("which", range(len(CONFIGS)))
def test_unhurried_no_audible_slot_is_left_out(which: int) -> None:
    config = CONFIGS[which]
    hop, track = to_samples(config.sounds.hop), make(config)
    done: set[int] = set()
    quiet: set[int] = set()
    for p in PASSES[which]:
        request = track.request(p) if p.needs_encoder else None
        if p.kind is Kind.SILENT:
            quiet.add(p.end // hop)
        if request is not None:
            done |= {-(-(p.start + last * TOKEN) // hop) for _, last in request.windows}
        if p.kind is Kind.STEADY:  # one window for all
            done |= set(range(-(-p.start // hop) + 1, p.end // hop))
        list(track.events(p, request, None if request is None else answer(request)))
    end = PASSES[which][-1].end // hop
    missing = set(range(1, end + 1)) - done - quiet
    # An utterance's first slot may be too close to its start to be judged by itself.
    assert len(missing) <= 1 + sum(p.kind is Kind.FINAL for p in PASSES[which]), missing


# Sounds.


def test_a_sound_starts_stops_and_is_reported_once() -> None:
    track = make()
    events: list[Event] = []
    for i in range(1, 16):
        events += do(track, ambient(i * 0.8), scores=DOG if 5 <= i <= 10 else (0, 0, 0))
    changes = [e for e in events if isinstance(e, SoundStarted | SoundStopped)]
    assert [(e.type, e.label, e.id) for e in changes] == [
        ("sound.started", "Dog", "/m/0bt9lr"),
        ("sound.stopped", "Dog", "/m/0bt9lr"),
    ]
    assert changes[0].start == changes[1].start == 3.2


def test_what_is_steady_is_heard_once_and_taken_for_what_it_was_in_between() -> None:
    steady = [*[ambient(i * 0.8) for i in range(1, 11)], replace(ambient(12.0), kind=Kind.STEADY)]
    quiet = [ambient(12.0 + i * 0.8) for i in range(1, 10)]
    one_by_one = [ambient(i * 0.8) for i in range(1, 16)]
    found = []
    for loud in (steady, one_by_one):
        track = make()
        events = [e for p in loud for e in do(track, p, scores=SIREN)]
        events += [e for p in quiet for e in do(track, p, scores=(0, 0, 0))]
        found.append([e for e in events if isinstance(e, SoundStarted | SoundStopped)])
        if loud is steady:
            assert tagged(events)[9:11] == [(4.0, 8.0), (8.0, 12.0)]
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_what_goes_on_at_the_end_is_closed() -> None:
    track = make()
    for i in (1, 2, 3):
        do(track, ambient(i * 0.8), scores=SIREN)
    (stopped,) = do(track, a_pass(Kind.END, 2.5, 2.5))
    assert isinstance(stopped, SoundStopped)
    assert (stopped.label, stopped.end) == ("Siren", 2.4)
    assert track.position == to_samples(2.5)


def test_silence_lets_sounds_stop() -> None:
    track = make()
    for i in (1, 2, 3):
        do(track, ambient(i * 0.8), scores=SIREN)
    events = [e for i in range(4, 10) for e in do(track, silent(i * 0.8))]
    (stopped,) = events
    assert isinstance(stopped, SoundStopped)
    assert stopped.end <= 2.4
    # The slots of the silence are done: nobody asks for them again.
    assert [end for _, end in tagged(do(track, ambient(8.0)))] == [8.0]


# Words.


def test_partials_become_stable_and_the_final_keeps_it() -> None:
    track = make(AGREEMENT)
    said = [
        do(track, a_pass(Kind.PARTIAL, 0, 0.8 + i * 0.8, 1), path)
        for i, path in enumerate(("-ab- cd", "-ab- cd- ef", "-ab- cx- eg--"))
    ]
    partials = [e for events in said for e in events if isinstance(e, TranscriptPartial)]
    assert [(e.text, e.stable) for e in partials] == [
        ("ab cd", ""),
        ("ab cd ef", "ab"),
        ("ab cx eg", "ab"),
    ]
    assert (partials[1].start, partials[1].end) == (0.0, 1.6)
    # Heard otherwise now, but what was stable stays.
    final = do(track, a_pass(Kind.FINAL, 0, 3.0, 1), "-xy- cz- eg")[-1]
    assert isinstance(final, TranscriptFinal)
    assert final.text.startswith("ab")
    assert final.latency_ms >= 0
    assert track.finals == 1


def test_the_next_pass_gets_the_stable_tokens_and_where_they_were_heard() -> None:
    track = make(AGREEMENT)
    do(track, a_pass(Kind.PARTIAL, 0, 0.8, 1), "-ab- cd")
    do(track, a_pass(Kind.PARTIAL, 0, 1.6, 1), "-ab- cd- ef")
    request = track.request(a_pass(Kind.FINAL, 0, 2.0, 1))
    assert request is not None
    assert request.text is not None
    assert bytes(request.text.prefix) == b"ab"
    assert request.prefix_frames == (1, 2)
    assert request.text.duration == 2.0
    # Another utterance begins with nothing.
    request = track.request(a_pass(Kind.PARTIAL, 2.4, 3.2, 2))
    assert request is not None
    assert request.text is not None
    assert (request.text.prefix, request.prefix_frames) == ((), ())


def test_nothing_becomes_stable_that_a_cut_may_take_away() -> None:
    """The segmenter cuts at the quietest point of the last 5 s of 28: later words are the next's."""
    track = make(Config.model_validate({"live": {"policy": "agreement", "longest_lag": 30.0}}))
    for end in (22.0, 22.8, 23.6, 24.4):
        events = do(
            track, a_pass(Kind.PARTIAL, 0, end, 1), "ab- cd- ef" if end < 23 else "ab- cd- ef- gh- ij"
        )
    assert isinstance(events[-1], TranscriptPartial)
    assert (events[-1].text, events[-1].stable) == ("ab cd ef gh ij", "ab cd")


def test_what_was_heard_before_the_margin_is_stable_at_once() -> None:
    """Half a second of 40 frames: "cd" begins before it, but goes on within it."""
    track = make()
    said = [
        do(track, a_pass(Kind.PARTIAL, 0, 0.8, 1), "-ab-" + " " * 10 + "c-d- e"),
        do(track, a_pass(Kind.PARTIAL, 0, 1.6, 1), "-ab-" + " " * 10 + "c-d- ex"),
    ]
    partials = [e for events in said for e in events if isinstance(e, TranscriptPartial)]
    assert [p.stable for p in partials] == ["ab", "ab cd"]


def test_a_decoder_is_told_how_far_it_may_go_until_the_utterance_ends() -> None:
    track = make()
    partial = track.request(a_pass(Kind.PARTIAL, 0, 1.6, 1))
    final = track.request(a_pass(Kind.FINAL, 0, 1.6, 1))
    assert partial is not None
    assert partial.text is not None
    assert final is not None
    assert final.text is not None
    assert partial.text.frontier == Frontier(frames=80, margin=25, jump_back=200)
    assert final.text.frontier is None
    other = make(AGREEMENT).request(a_pass(Kind.PARTIAL, 0, 1.6, 1))
    assert other is not None
    assert other.text is not None
    assert other.text.frontier is None


def options_of(track: Track, p: Pass) -> DecodeOptions:
    request = track.request(p)
    assert request is not None
    assert request.text is not None
    return request.text


def test_a_decoder_is_told_the_words_of_the_utterance_before_in_all_passes_of_the_next() -> None:
    track = make(Config.model_validate({"text": {"prompt": "x", "previous": True, "pause": 3.0}}))
    do(track, a_pass(Kind.PARTIAL, 0, 1.6, 1), "ab")
    assert bytes(options_of(track, a_pass(Kind.FINAL, 0, 2.0, 1)).prompt) == b" x"
    do(track, a_pass(Kind.FINAL, 0, 2.0, 1), "ab cd")
    for kind in (Kind.PARTIAL, Kind.FINAL):
        assert bytes(options_of(track, a_pass(kind, 4.0, 6.0, 2)).prompt) == b" xab cd"
    # A doubtful text, and a pause, leave nothing behind.
    doubtful(track, a_pass(Kind.FINAL, 4.0, 6.0, 2), "ef")
    assert bytes(options_of(track, a_pass(Kind.FINAL, 6.5, 8.0, 3)).prompt) == b" x"
    do(track, a_pass(Kind.FINAL, 6.5, 8.0, 3), "gh")
    assert bytes(options_of(track, a_pass(Kind.FINAL, 12.0, 13.0, 4)).prompt) == b" x"


def test_only_finals_are_tried_again_by_the_guards_measures() -> None:
    config = {"text": {"temperatures": [0.4, 0.8]}, "guards": {"compression": 3.0, "logprob": -0.5}}
    track = make(Config.model_validate(config))
    assert options_of(track, a_pass(Kind.PARTIAL, 0, 1.6, 1)).again == ()
    final = options_of(track, a_pass(Kind.FINAL, 0, 1.6, 1))
    assert (final.again, final.compression, final.least_logprob) == ((0.4, 0.8), 3.0, -0.5)


def test_only_finals_are_searched_with_a_beam() -> None:
    text = {"beam": 5, "beam_patience": 2.0, "length_penalty": 0.5}
    track = make(Config.model_validate({"text": text}))
    assert options_of(track, a_pass(Kind.PARTIAL, 0, 1.6, 1)).beam == 1
    final = options_of(track, a_pass(Kind.FINAL, 0, 1.6, 1))
    assert (final.beam, final.patience, final.length_penalty) == (5, 2.0, 0.5)


def test_the_language_of_an_utterance_is_settled_with_its_first_stable_word() -> None:
    track = make(Config.model_validate({"model": {"language": "auto"}, "live": {"policy": "agreement"}}))
    for end, settled in ((0.8, None), (1.6, None), (2.4, "de")):
        p = a_pass(Kind.PARTIAL, 0, end, 1)
        assert options_of(track, p).language == settled
        request = track.request(p)
        assert request is not None
        result = answer(request, "-ab- cd- ef")
        assert result.decoded is not None
        list(track.events(p, request, replace(result, decoded=replace(result.decoded, language="de"))))
    assert options_of(track, a_pass(Kind.FINAL, 4.0, 5.0, 2)).language is None


def test_a_text_that_ended_before_its_audio_is_complete() -> None:
    track = make()
    for end, path, expected in (
        (1.6, "-" * 60 + "ab", None),
        (2.4, "-" * 90, None),
        (2.4, "-" * 60 + "ab", (1, to_samples(2.4))),
    ):
        do(track, a_pass(Kind.PARTIAL, 0, end, 1), path)
        assert track.complete == expected
    # A decoder that stopped because of what is too new says so itself.
    for complete in (False, True):
        p = a_pass(Kind.PARTIAL, 4.0, 6.4, 2)
        request = track.request(p)
        assert request is not None
        result = answer(request, "-ab-")
        assert result.decoded is not None
        list(track.events(p, request, replace(result, decoded=replace(result.decoded, complete=complete))))
        assert (track.complete == (2, p.end)) is complete


def test_a_decoder_that_lost_its_place_says_nothing() -> None:
    track = make()
    do(track, a_pass(Kind.PARTIAL, 0, 1.6, 1), "-ab- cd")
    p = a_pass(Kind.PARTIAL, 0, 2.4, 1)
    request = track.request(p)
    assert request is not None
    result = answer(request, "-xy- zz")
    assert result.decoded is not None
    lost = replace(result, decoded=replace(result.decoded, lost=True))
    assert not [e for e in track.events(p, request, lost) if "transcript" in e.type]


def test_nothing_understood_gives_no_partial_and_an_empty_final() -> None:
    track = make()
    assert not [e for e in do(track, a_pass(Kind.PARTIAL, 0, 0.8, 1), "---") if "transcript" in e.type]
    final = do(track, a_pass(Kind.FINAL, 0, 1.0, 1), "---")[-1]
    assert isinstance(final, TranscriptFinal)
    assert (final.text, final.words) == ("", [])


def doubtful(track: Track, p: Pass, path: str, words: Any = ()) -> list[Event]:
    """A pass whose text has little probability."""
    request = track.request(p)
    assert request is not None
    result = answer(request, path, words=words)
    assert result.decoded is not None
    unsure = replace(result.decoded, logprobs=np.full(len(result.decoded.tokens), -3.0, np.float32))
    return list(track.events(p, request, replace(result, decoded=unsure)))


def test_a_word_said_between_two_hops_is_heard_by_the_tag_head_for_its_own_sake() -> None:
    """Clear of the grid a final has no window due, and one short word needs the head's word for it."""
    labels = (*LABELS[:2], Label("Speech", "/m/09x0r"))
    for speech, shown in ((0.99, True), (0.1, False)):
        track = Track("s", CONFIG, replace(MODEL, labels=labels), TOKENIZER)
        p = a_pass(Kind.FINAL, 0.4, 1.4, 1)
        request = track.request(p)
        assert request is not None
        assert request.windows == ((0, 2),)
        result = answer(request, "-ab-", (0.5, 0.5, speech))
        assert result.decoded is not None
        weak = replace(result.decoded, evidence=Evidence(gain=4.0, heard=1.0))
        events = list(track.events(p, request, replace(result, decoded=weak)))
        assert [e.type for e in events] == ["transcript.final"]
        assert (events[0].text == "ab") is shown  # type: ignore[attr-defined]
        # The hops' own windows are due as ever.
        assert tagged(do(track, a_pass(Kind.AMBIENT, 0.0, 1.6))) == [(0.0, 0.8), (0.0, 1.6)]


@pytest.mark.parametrize("length", [0.4, 0.7])
def test_what_is_too_short_for_the_tag_head_is_not_shown_to_it(length: float) -> None:
    labels = (*LABELS[:2], Label("Speech", "/m/09x0r"))
    track = Track("s", CONFIG, replace(MODEL, labels=labels), TOKENIZER)
    request = track.request(a_pass(Kind.FINAL, 0.0, length, 1))
    assert request is not None
    assert request.windows == ()


def test_a_text_that_is_not_believed_is_counted_and_not_shown() -> None:
    track = make()
    assert not [e for e in doubtful(track, a_pass(Kind.PARTIAL, 0, 1.6, 1), "-ab- cd") if "script" in e.type]
    words = [TimedWord("ab", 1, 2, 0.05), TimedWord("cd", 5, 6, 0.05)]
    final = doubtful(track, a_pass(Kind.FINAL, 0, 2.0, 1), "-ab- cd", words)[-1]
    assert isinstance(final, TranscriptFinal)
    assert (final.text, final.words) == ("", [])
    assert track.suppressed == {"unsure": 1}
    # A final is told in any case, and nothing of the refused partial became stable.
    assert track.finals == 1


def test_what_is_stable_outlives_a_doubtful_final() -> None:
    track = make()
    do(track, a_pass(Kind.PARTIAL, 0, 1.6, 1), "-ab- cd")
    words = [TimedWord("ab", 1, 2, 0.05), TimedWord("cd", 5, 6, 0.05), TimedWord("ef", 9, 10, 0.05)]
    final = doubtful(track, a_pass(Kind.FINAL, 0, 2.0, 1), "-ab- cd- ef", words)[-1]
    assert isinstance(final, TranscriptFinal)
    assert (final.text, [w.text for w in final.words]) == ("ab", ["ab"])


def test_texts_are_edited_in_partials_finals_words_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    text = {"replacements": {"ab": "Alphabet"}, "personal": True}
    track = make(Config.model_validate({"text": text}))
    tail = "-" * 40
    first = do(track, a_pass(Kind.PARTIAL, 0, 1.6, 1), "ab 41" + tail)[-1]
    second = do(track, a_pass(Kind.PARTIAL, 0, 2.4, 1), "ab 411234 567" + tail)[-1]
    assert isinstance(first, TranscriptPartial)
    assert isinstance(second, TranscriptPartial)
    assert (first.text, first.stable, second.text) == ("Alphabet 41", "", "Alphabet [number]")
    words = [TimedWord(word, 4 * i, 4 * i + 4, 0.9) for i, word in enumerate(("ab", "411234", "567", "ok"))]
    final = do(track, a_pass(Kind.FINAL, 0, 3.2, 1), "ab 411234 567 ok" + tail, words=words)[-1]
    assert isinstance(final, TranscriptFinal)
    assert final.text == "Alphabet [number] ok"
    assert [(w.text, w.start, w.end) for w in final.words] == [
        ("Alphabet", 0.0, 0.08),
        ("[number]", 0.08, 0.24),
        ("ok", 0.24, 0.32),
    ]
    doubtful(track, a_pass(Kind.FINAL, 30, 32, 4), "41212121212 is it")
    assert "[number] is it" in caplog.text
    assert "4121" not in caplog.text


def test_a_number_after_a_long_pause_is_another() -> None:
    for start, expected in ((2.0, "[number] is it"), (5.0, "4567 is it")):
        track = make(Config.model_validate({"text": {"personal": True, "pause": 2.0}}))
        do(track, a_pass(Kind.FINAL, 0, 1, 1), "it is 123")
        last = do(track, a_pass(Kind.FINAL, start, start + 1, 2), "4567 is it")[-1]
        assert isinstance(last, TranscriptFinal)
        assert last.text == expected


def test_the_tag_head_has_a_veto_where_it_hears_no_speech() -> None:
    labels = (*LABELS[:2], Label("Speech", "/m/09x0r"))
    said = {}
    for name, scores in (("music", (0.0, 0.9, 0.1)), ("talk", (0.0, 0.9, 0.95))):
        track = Track("s", CONFIG, replace(MODEL, labels=labels), TOKENIZER)
        do(track, a_pass(Kind.PARTIAL, 0, 0.8, 1), "-ab- cd", scores=scores)
        final = do(track, a_pass(Kind.FINAL, 0, 2.0, 1), "-ab- cd", scores=scores)[-1]
        assert isinstance(final, TranscriptFinal)
        said[name] = (final.text, track.suppressed)
    assert said == {"music": ("", {"sound": 1}), "talk": ("ab cd", {})}


def test_a_short_word_waits_for_the_tag_head_and_a_long_text_does_not() -> None:
    with_speech = replace(MODEL, labels=(*LABELS[:2], Label("Speech", "/m/09x0r")))

    def shown(track: Track, end: float, path: str) -> bool:
        events = do(track, a_pass(Kind.PARTIAL, 0.9, end, 1), path + "-" * 40, scores=(0.0, 0.0, 1.0))
        return any(isinstance(e, TranscriptPartial) for e in events)

    track = Track("s", CONFIG, with_speech, TOKENIZER)
    # The first has no window yet.
    assert [shown(track, end, "-a") for end in (1.6, 2.4)] == [False, True]
    assert shown(Track("s", CONFIG, with_speech, TOKENIZER), 1.6, "-ab- cd")
    # Nobody is asked, and nobody can tell.
    settings: list[dict[str, Any]] = [{"sounds": {"enabled": False}}, {"guards": {"enabled": False}}]
    for setting in settings:
        assert shown(Track("s", Config.model_validate(setting), with_speech, TOKENIZER), 1.6, "-a")
    assert shown(make(), 1.6, "-a")


def test_without_partials_ambient_passes_hear_what_an_utterance_was() -> None:
    """Of a long one the final has no window left to hear; what was before and after it is not asked."""
    labels = (*LABELS[:2], Label("Speech", "/m/09x0r"))
    music, talk = (0.0, 0.9, 0.1), (0.0, 0.9, 0.95)
    config = Config.model_validate({"live": {"partials": False}})
    for within, outside, text in ((music, talk, ""), (talk, music, "ab cd")):
        track = Track("s", config, replace(MODEL, labels=labels), TOKENIZER)
        do(track, ambient(9.6), scores=outside)
        do(track, ambient(14.4), scores=within)
        final = do(track, a_pass(Kind.FINAL, 10.0, 14.4, 1), "-ab- cd")[-1]
        assert isinstance(final, TranscriptFinal)
        assert final.text == text
        do(track, ambient(18.8), scores=outside)
        later = do(track, a_pass(Kind.FINAL, 18.8, 19.2, 2), "-ab- cd")[-1]
        assert isinstance(later, TranscriptFinal)
        assert later.text == "ab cd"


def test_silence_in_the_tag_heads_ears_takes_no_words_away() -> None:
    """Someone who speaks softly is not to lose their captions; silence by itself gives no text."""
    labels = (LABELS[0], Label("Silence", "/m/028v0c"), Label("Speech", "/m/09x0r"))
    track = Track("s", CONFIG, replace(MODEL, labels=labels), TOKENIZER)
    final = do(track, a_pass(Kind.FINAL, 0, 2.0, 1), "-ab- cd", scores=(0.0, 0.9, 0.1))[-1]
    assert isinstance(final, TranscriptFinal)
    assert final.text == "ab cd"


def test_words_are_on_the_streams_clock() -> None:
    track = make()
    words = [TimedWord("ab", 10, 20, 0.51234), TimedWord("cd", 45, 99, 1.0)]
    final = do(track, a_pass(Kind.FINAL, 61.2, 62.2, 7), "ab cd", words=words)[-1]
    assert isinstance(final, TranscriptFinal)
    assert [(w.text, w.start, w.end) for w in final.words] == [("ab", 61.4, 61.6), ("cd", 62.1, 62.2)]
    assert final.words[0].probability == 0.512


def test_every_event_of_the_real_engine_is_inside_its_pass() -> None:
    """Random weights say much nonsense, and all of it has to be in place."""
    engine, track = Engine(MODEL, TOKENIZER), make()
    rng = np.random.default_rng(0)
    seen: dict[str, int] = defaultdict(int)
    for kind, start, end in (
        (Kind.PARTIAL, 8000, 20800),
        (Kind.PARTIAL, 8000, 33600),
        (Kind.FINAL, 8000, 36480),
    ):
        samples: NDArray[np.float32] = (0.1 * rng.standard_normal(end - start)).astype(np.float32)
        p = Pass("s", kind, start, end, samples, time.monotonic(), 1)
        request = track.request(p)
        assert request is not None
        for event in track.events(p, request, engine.run([request])[0]):
            seen[event.type] += 1
            if isinstance(event, SoundTags | TranscriptFinal):
                assert to_seconds(start) <= event.start < event.end <= to_seconds(end)
            if isinstance(event, SoundTags):
                assert {tag.label for tag in event.tags} == {label.name for label in LABELS}
            if isinstance(event, TranscriptFinal):
                at = event.start
                for word in event.words:
                    assert at <= word.start <= word.end <= event.end
                    assert round((word.start - to_seconds(start)) * 1000) % (FRAME // 16) == 0
                    at = word.start
    assert seen["transcript.final"] == 1
    assert seen["sound.tags"] == 1  # the slot at 1.6 s: the one at 0.8 s is too close to the start


def test_options_follow_the_settings() -> None:
    config = Config.model_validate({"model": {"language": "auto", "task": "translate"}})
    request = make(config).request(a_pass(Kind.FINAL, 0, 1, 1))
    assert request is not None
    assert request.text == DecodeOptions(language=None, task="translate", prefix=(), duration=1.0)
