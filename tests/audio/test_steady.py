"""What counts as a change of what a stream sounds like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.audio.level import LevelMeter
from streamer.audio.steady import FEWEST, Steadiness
from streamer.timebase import FRAME, SAMPLE_RATE

Audio = NDArray[np.float32]


def white(seconds: float, level: float = -45.0, seed: int = 0) -> Audio:
    samples: Audio = np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE), np.float32)
    return samples * np.float32(10 ** (level / 20))


def pink(seconds: float, level: float = -45.0, seed: int = 0) -> Audio:
    spectrum = np.fft.rfft(white(seconds, 0.0, seed))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    samples = np.fft.irfft(spectrum, round(seconds * SAMPLE_RATE))
    out: Audio = (samples / samples.std() * 10 ** (level / 20)).astype(np.float32)
    return out


def tone(seconds: float, level: float, hertz: float = 3000.0) -> Audio:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    out: Audio = (np.sqrt(2) * 10 ** (level / 20) * np.sin(2 * np.pi * hertz * times)).astype(np.float32)
    return out


def changes(samples: Audio) -> list[float]:
    """Seconds at which something was new."""
    steadiness, meter, found = Steadiness(), LevelMeter(), []
    for start in range(0, len(samples) - FRAME + 1, FRAME):
        if (level := meter.feed(samples[start : start + FRAME])) is not None:
            before = steadiness.since
            steadiness.feed(level)
            if steadiness.since != before:
                found.append(steadiness.since / SAMPLE_RATE)
    return found


@pytest.mark.parametrize("noise", [white, pink])
@pytest.mark.parametrize("seed", range(3))
def test_noise_goes_on_as_it_is(noise: Callable[..., Audio], seed: int) -> None:
    assert changes(noise(60.0, seed=seed)) == []


@pytest.mark.parametrize(
    ("new", "level"),
    [(white, -45.0), (white, -50.0), (pink, -48.0), (tone, -52.0), (tone, -57.0)],
)
def test_something_more_is_new_where_it_begins_even_if_the_noise_is_louder(
    new: Callable[..., Audio], level: float
) -> None:
    samples = white(12.0)
    samples[8 * SAMPLE_RATE :] += new(4.0, level, seed=1) if new is not tone else new(4.0, level)
    first = changes(samples)[0]
    assert 7.9 <= first <= 8.5


@pytest.mark.parametrize("level", [-51.0, -42.0])
def test_another_loudness_is_new(level: float) -> None:
    assert changes(np.concatenate([white(8.0), white(8.0, level, 1)])) == pytest.approx([8.0], abs=0.05)


def test_the_same_loudness_in_another_shape_is_new() -> None:
    assert changes(np.concatenate([white(8.0), pink(8.0)])) == pytest.approx([8.0], abs=0.05)


def test_what_comes_and_goes_never_becomes_the_same() -> None:
    samples = pink(30.0)
    for start in range(8 * SAMPLE_RATE, 30 * SAMPLE_RATE, SAMPLE_RATE):
        samples[start : start + SAMPLE_RATE // 2] += tone(0.5, -35.0)
    found = changes(samples)
    assert found[0] == pytest.approx(8.0)
    assert max(np.diff([*found, 30.0])) <= FEWEST / 10 + 1.0


def test_another_place_has_nothing_to_do_with_this_one() -> None:
    steadiness, meter = Steadiness(), LevelMeter()
    for position, samples in ((0, white(3.0)), (5 * SAMPLE_RATE, pink(3.0, -30.0))):
        meter.reset(position)
        steadiness.reset(position)
        for start in range(0, len(samples) - FRAME + 1, FRAME):
            if (level := meter.feed(samples[start : start + FRAME])) is not None:
                steadiness.feed(level)
        assert steadiness.since == position
