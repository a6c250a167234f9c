from __future__ import annotations

import numpy as np
import pytest

from streamer.tagging.labels import by_name
from streamer.timebase import SAMPLE_RATE
from streamer.training.sounds import MAKERS


def loudest(audio: np.ndarray) -> float:
    """RMS of the loudest 20 ms."""
    frames = audio[: len(audio) // 320 * 320].reshape(-1, 320)
    return float(np.sqrt((frames**2).mean(axis=1).max()))


@pytest.mark.parametrize("name", MAKERS)
def test_every_sound_is_one(name: str) -> None:
    assert by_name(name) is not None
    made = {}
    for seconds in (1.6, 3.0):
        for seed in range(6):
            audio = MAKERS[name](seconds, np.random.default_rng(seed))
            assert audio.dtype == np.float32
            assert audio.shape == (int(seconds * SAMPLE_RATE),)
            assert np.isfinite(audio).all()
            assert 0.4 < np.abs(audio).max() < 0.6
            assert loudest(audio) > 0.02
            np.testing.assert_array_equal(audio, MAKERS[name](seconds, np.random.default_rng(seed)))
            made[seconds, seed] = audio.tobytes()
    assert len(set(made.values())) == len(made)


@pytest.mark.parametrize(
    "name", ["Telephone bell ringing", "Beep, bleep", "Alarm clock", "Knock", "Tick-tock"]
)
def test_a_short_window_is_never_just_the_pause(name: str) -> None:
    """A label on silence would teach that silence sounds so."""
    for seed in range(60):
        assert np.abs(MAKERS[name](1.6, np.random.default_rng(seed))).max() > 0.4


def test_sounds_have_their_bands() -> None:
    def centre(name: str) -> float:
        power = np.abs(np.fft.rfft(MAKERS[name](2.0, np.random.default_rng(0)))) ** 2
        return float((power * np.fft.rfftfreq(2 * SAMPLE_RATE, 1 / SAMPLE_RATE)).sum() / power.sum())

    assert 2700 < centre("Smoke detector, smoke alarm") < 4500
    assert centre("Wind") < 500 < centre("White noise")
