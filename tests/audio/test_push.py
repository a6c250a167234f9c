"""Bytes cut anywhere give the samples of one piece; what does not fit is a gap and is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio.push import QUEUE_SECONDS, Encoding, PushSource, decode_pcm
from streamer.audio.resample import Resampler
from streamer.errors import ProtocolError
from streamer.events import SourceState
from streamer.timebase import SAMPLE_RATE
from tests.audio.tools import Running


def pcm(encoding: Encoding, frames: int, channels: int) -> bytes:
    noise = np.random.default_rng(frames).uniform(-0.8, 0.8, frames * channels)
    return (noise * 32767).astype("<i2").tobytes() if encoding == "s16le" else noise.astype("<f4").tobytes()


def pushed(source: PushSource, pieces: list[bytes]) -> Running:
    with Running(source) as running:
        for piece in pieces:
            source.feed(piece)
        source.finish()
        running.wait_end()
    return running


@given(
    st.sampled_from(["s16le", "f32le"]),
    st.sampled_from([8000, 16000, 24000, 48000]),
    st.integers(1, 2),
    st.lists(st.integers(1, 700), min_size=1, max_size=10),
)
@settings(max_examples=30, deadline=None)
def test_any_cutting_equals_one_piece(encoding: Encoding, rate: int, channels: int, sizes: list[int]) -> None:
    data = pcm(encoding, 2000, channels)
    pieces, start = [], 0
    while start < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[start : start + size])
        start += size
    running = pushed(PushSource("p", rate, encoding, channels), pieces)
    resampler = Resampler(rate, channels)
    expected = np.concatenate((resampler.feed(decode_pcm(data, encoding)), resampler.flush()))
    assert np.array_equal(running.samples, expected)
    assert running.states == [SourceState.CONNECTING, SourceState.LIVE, SourceState.ENDED]
    assert not running.gaps


def test_an_incomplete_last_sample_is_discarded() -> None:
    running = pushed(PushSource("p", 16000, "s16le"), [b"\x00\x40\x00\x40\x01"])
    assert running.samples.tolist() == [0.5, 0.5]


def test_values_that_are_no_numbers_do_no_harm() -> None:
    data = np.array([np.nan, np.inf, -np.inf, 1e30, 0.25], dtype="<f4").tobytes()
    assert decode_pcm(data, "f32le").tolist() == [0.0, 1.0, -1.0, 1.0, 0.25]


def test_overflow_is_a_gap_of_its_length_at_its_place() -> None:
    source = PushSource("p", 8000, "s16le")
    room = int(QUEUE_SECONDS * 8000)
    source.feed(np.full(room + 500, 8192, "<i2").tobytes())
    source.feed(np.full(300, 8192, "<i2").tobytes())
    assert source.lost == 800
    assert source.waiting == pytest.approx(QUEUE_SECONDS)
    running = pushed(source, [])
    assert [(gap.start, gap.length, gap.reason) for gap in running.gaps] == [(2 * room, 1600, "overrun")]
    assert len(running.samples) == 2 * room
    assert source.waiting == 0


def test_a_client_faster_than_real_time_is_held_back_not_cut() -> None:
    source = PushSource("p", SAMPLE_RATE, "s16le")
    assert not source.live
    data = pcm("s16le", 2 * SAMPLE_RATE, 1)
    with Running(source, capacity=1000) as running:
        source.feed(data)
        source.finish()
        running.wait_end()
    assert len(running.samples) == 2 * SAMPLE_RATE
    assert running.ring.lost == 0


def test_silence_of_the_client_is_no_failure_and_stop_is_heard() -> None:
    source = PushSource("p", 16000, "s16le")
    with Running(source) as running:
        source.feed(b"\x00\x00" * 100)
        running.wait(lambda: len(running.samples) == 100)
        running.thread.join(0.3)
        assert running.states == [SourceState.CONNECTING, SourceState.LIVE]
    source.feed(b"\x00\x00")  # after the end: ignored without an error


@pytest.mark.parametrize(
    ("rate", "encoding", "channels", "words"),
    [(16000, "mp3", 1, "s16le or f32le"), (10, "s16le", 1, "8000 to"), (16000, "s16le", 0, "channels")],
)
def test_bad_declarations(rate: int, encoding: Encoding, channels: int, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        PushSource("p", rate, encoding, channels)
