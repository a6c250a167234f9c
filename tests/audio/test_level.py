"""Levels against what is known of sines, silence and noise, and the grid they stand on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.audio.level import BANDS, LEVEL, Level100ms, LevelMeter
from streamer.timebase import FRAME


def levels(meter: LevelMeter, samples: np.ndarray, size: int = FRAME) -> list[Level100ms]:
    found = (meter.feed(samples[start : start + size]) for start in range(0, len(samples), size))
    return [level for level in found if level is not None]


def sine(frequency: float, amplitude: float, count: int = LEVEL) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency * np.arange(count) / 16_000)).astype(np.float32)


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.001])
@pytest.mark.parametrize("frequency", [300.0, 1000.0, 4000.0])
def test_a_sine_measures_what_it_is(frequency: float, amplitude: float) -> None:
    (level,) = levels(LevelMeter(), sine(frequency, amplitude))
    decibels = 20 * np.log10(amplitude)
    assert level.rms_db == pytest.approx(decibels - 3.0, abs=0.11)
    assert level.peak_db == pytest.approx(decibels, abs=0.2)
    power = 10 * np.log10(sum(10 ** (band / 10) for band in level.bands))
    assert power == pytest.approx(decibels, abs=1.5)


def test_bands_go_from_low_to_high() -> None:
    tops = [int(np.argmax(levels(LevelMeter(), sine(f, 0.5))[0].bands)) for f in (150, 400, 1000, 2500, 6000)]
    assert tops == sorted(set(tops))
    assert len(levels(LevelMeter(), sine(100, 0.5))[0].bands) == BANDS


def test_silence_is_the_floor() -> None:
    (level,) = levels(LevelMeter(), np.zeros(LEVEL, np.float32))
    assert (level.rms_db, level.peak_db, set(level.bands)) == (-120.0, -120.0, {-120})
    (quiet,) = levels(LevelMeter(), np.full(LEVEL, 1e-9, np.float32))
    assert quiet.rms_db == quiet.peak_db == -120.0


@given(st.sampled_from([1, 32, 160, 320, 800, 1600]))
@settings(deadline=None, max_examples=10)
def test_the_cutting_does_not_matter(size: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * LEVEL).astype(np.float32)
    assert levels(LevelMeter(), noise, size) == levels(LevelMeter(), noise)


def test_levels_lie_on_the_streams_grid_after_a_gap() -> None:
    meter = LevelMeter()
    assert [(x.start, x.end) for x in levels(meter, sine(500, 0.1, 3200))] == [(0, 1600), (1600, 3200)]
    meter.feed(sine(500, 0.1, 320))
    meter.reset(10 * LEVEL + 640)
    first, second = levels(meter, sine(500, 0.1, 960 + 1600))
    assert (first.start, first.end) == (10 * LEVEL + 640, 11 * LEVEL)
    assert (second.start, second.end) == (11 * LEVEL, 12 * LEVEL)
    assert first.rms_db == pytest.approx(-23, abs=0.2)


def test_a_frame_across_the_grid_is_refused() -> None:
    with pytest.raises(ValueError, match="grid"):
        LevelMeter(1500).feed(np.zeros(320, np.float32))
