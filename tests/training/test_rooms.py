from __future__ import annotations

import math

import numpy as np
import pytest

from streamer.training.rooms import (
    LONGEST,
    ROOMS,
    SPEED,
    Room,
    heard_in,
    images,
    impulse_response,
    random_room,
    response,
)
from tests.training.corpora import RATE, noise

SIMPLE = Room((4.0, 6.0, 3.0), (1.0, 2.0, 1.5), (2.0, 2.0, 1.5))
"""Source and microphone a metre apart along x."""


def test_first_images_are_where_mirrors_put_them() -> None:
    """Worked out by hand: the source mirrored in each wall, and in the corners of two of them."""
    distances, losses = images(SIMPLE, 4.3)
    expected = [
        (1.0, 0),  # itself
        (3.0, 1),  # x = 0: the image at -1
        (math.hypot(1, 3), 1),  # floor and ceiling: 3 m below and above
        (math.hypot(1, 3), 1),
        (math.hypot(1, 4), 1),  # y = 0: the image at -2
        (math.hypot(3, 3), 2),  # the corners of x = 0 with floor and ceiling
        (math.hypot(3, 3), 2),
    ]
    np.testing.assert_allclose(sorted(zip(distances, losses, strict=True)), sorted(expected))


def test_images_fill_space_as_rooms_do() -> None:
    """One image a room's volume: a sphere holds as many as rooms."""
    for seed in range(3):
        room = random_room(np.random.default_rng(seed))
        reach = 60.0
        expected = 4 / 3 * math.pi * reach**3 / math.prod(room.size)
        distances, _ = images(room, reach)
        assert len(distances) == pytest.approx(expected, rel=0.05)
        assert distances.max() <= reach


def test_each_wall_takes_its_share() -> None:
    walls = ((10.0, 20.0), (30.0, 40.0), (50.0, 60.0))
    room = Room(SIMPLE.size, SIMPLE.source, SIMPLE.microphone, walls)
    distances, losses = images(room, 20.0)
    _, counts = images(SIMPLE, 20.0)
    assert set(losses[counts == 1]) == {10.0, 20.0, 30.0, 40.0, 50.0, 60.0}
    # There and back between the walls of x: both once, the room's length twice.
    assert losses[np.isclose(distances, 2 * 4.0 - 1.0)].tolist() == [30.0]


def test_echoes_arrive_when_their_images_say() -> None:
    taps = impulse_response(SIMPLE, 0.3)
    assert taps[0] == pytest.approx(1)
    first = round((3.0 - 1.0) / SPEED * RATE)
    rise = np.diff(taps)
    assert int(rise[5:].argmax()) + 6 in (first, round((math.hypot(1, 3) - 1.0) / SPEED * RATE))
    assert np.abs(taps[1 : first - 1]).max() < 0.1  # nothing but the high-pass filter before it


@pytest.mark.parametrize("seed", range(6))
def test_energy_decays_as_asked(seed: int) -> None:
    """Schroeder's integral over 20 dB gives the RT60, also where the response is cut before -60 dB."""
    rng = np.random.default_rng(seed)
    room, rt60 = random_room(rng), float(rng.uniform(0.2, 0.9))
    tail = impulse_response(room, rt60).astype(float)[RATE // 200 :]
    assert len(tail) + RATE // 200 == int(min(rt60, LONGEST) * RATE)
    level = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1])
    level -= level[0]
    used = np.flatnonzero((level < -2) & (level > -22))
    slope = np.polyfit(used / RATE, level[used], 1)[0]
    assert -60 / slope == pytest.approx(rt60, rel=0.3)


def test_a_response_has_no_rumble() -> None:
    """All images have one sign; without a high-pass filter they would add up at 0 Hz."""
    for number in range(5):
        strength = np.abs(np.fft.rfft(response(number), RATE))
        assert strength[0] < 0.2 * np.sqrt(np.mean(strength[300:3000] ** 2))


def test_the_bank_is_always_the_same() -> None:
    before = response(3)
    response.cache_clear()
    np.testing.assert_array_equal(response(3), before)
    assert not before.flags.writeable
    assert len({response(n).tobytes() for n in range(5)}) == 5
    assert ROOMS >= 100


def test_a_room_keeps_the_direct_sound_in_place() -> None:
    click = np.zeros(RATE, np.float32)
    click[100] = 1
    out = heard_in(click, response(0))
    assert out.dtype == np.float32
    assert len(out) == len(click)
    np.testing.assert_allclose(out[100 : 100 + len(response(0))], response(0), atol=1e-5)
    assert np.abs(out[:100]).max() < 1e-5


def test_fast_convolution_is_convolution() -> None:
    audio = noise(0.4)
    expected = np.convolve(audio.astype(float), response(1).astype(float))[: len(audio)]
    np.testing.assert_allclose(heard_in(audio, response(1)), expected, atol=1e-5)


def test_random_rooms_hold_what_is_in_them() -> None:
    for seed in range(50):
        room = random_room(np.random.default_rng(seed))
        for place in (room.source, room.microphone):
            assert all(0.3 <= x <= size - 0.3 for x, size in zip(place, room.size, strict=True))
        assert math.dist(room.source, room.microphone) >= 0.3
