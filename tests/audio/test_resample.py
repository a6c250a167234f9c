"""Streamed equals one shot, and a tone stays a tone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio.resample import Resampler, mix_down
from streamer.timebase import SAMPLE_RATE


def one_shot(rate: int, samples: np.ndarray) -> np.ndarray:
    resampler = Resampler(rate, samples.shape[1])
    return np.concatenate((resampler.feed(samples), resampler.flush()))


def streamed(rate: int, samples: np.ndarray, sizes: list[int]) -> np.ndarray:
    resampler = Resampler(rate, samples.shape[1])
    pieces, start = [], 0
    while start < len(samples):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(resampler.feed(samples[start : start + size].reshape(-1)))
        start += size
    return np.concatenate([*pieces, resampler.flush()])


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_streamed_equals_one_shot(rate: int, channels: int) -> None:
    noise = np.random.default_rng(rate).normal(0, 0.3, (rate // 2, channels)).astype(np.float32)
    whole = one_shot(rate, noise)
    assert len(whole) == SAMPLE_RATE // 2
    for milliseconds in (1, 10, 32):
        assert np.array_equal(streamed(rate, noise, [rate * milliseconds // 1000]), whole)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20), st.sampled_from([8000, 11025, 44100, 48000]))
@settings(max_examples=40, deadline=None)
def test_random_blocks_equal_one_shot(sizes: list[int], rate: int) -> None:
    noise = np.random.default_rng(1).normal(0, 0.3, (6000, 2)).astype(np.float32)
    assert np.array_equal(streamed(rate, noise, sizes), one_shot(rate, noise))


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_a_tone_keeps_its_pitch_level_and_place(rate: int) -> None:
    time_in = np.arange(rate) / rate
    out = one_shot(rate, np.sin(2 * np.pi * 1000 * time_in, dtype=np.float32).reshape(-1, 1) * 0.5)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    assert np.abs(out - expected)[500:-500].max() < 0.01


def test_what_16_khz_cannot_hold_is_filtered_out() -> None:
    tone = np.sin(2 * np.pi * 10_000 * np.arange(48_000) / 48_000, dtype=np.float32).reshape(-1, 1)
    assert np.abs(one_shot(48_000, tone)[500:-500]).max() < 0.003


def test_little_is_held_back() -> None:
    resampler = Resampler(44100, 1)
    out = sum(len(resampler.feed(np.zeros(441, np.float32))) for _ in range(50))
    assert SAMPLE_RATE // 2 - out <= 0.003 * SAMPLE_RATE


def test_flush_starts_anew() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, (4410, 1)).astype(np.float32)
    resampler = Resampler(44100)
    first = np.concatenate((resampler.feed(noise), resampler.flush()))
    second = np.concatenate((resampler.feed(noise), resampler.flush()))
    assert np.array_equal(first, second)
    assert len(resampler.flush()) == 0


def test_output_stays_in_range_and_mix_is_weighted() -> None:
    assert np.abs(one_shot(48000, np.full((4800, 1), 3.0, np.float32))).max() <= 1
    mono = mix_down(np.array([[1.0, 0.5, 0.25]], np.float32), [0.5, 0.5, 0.0])
    assert mono.tolist() == [0.75]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="rate"):
        Resampler(10)
    with pytest.raises(ValueError, match="weight"):
        Resampler(16000, 2, [1.0])
    with pytest.raises(ValueError, match="whole frames"):
        Resampler(16000, 2).feed(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="channels"):
        Resampler(16000, 2).feed(np.zeros((3, 1), np.float32))
