"""Responses of shoebox rooms by the image method (Allen & Berkley 1979, J. Acoust. Soc. Am. 65, 943).

A source's sound reaches the microphone directly and from its mirror images in the six walls. An image at
distance d arrives d / c later, 1 / d as strong, and weaker by each reflection on its way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from streamer.timebase import SAMPLE_RATE

Floats = NDArray[np.float64]
Audio = NDArray[np.float32]

SPEED = 343.0
"""Metres a second of sound in air of 20 °C."""
ROOMS = 200
"""Rooms in the bank that `response` draws from."""
LONGEST = 0.6
"""Seconds after which a response is cut."""
_BIN = 0.005
"""Seconds over which energy is summed when its decay is measured."""
_SHARES = 256
"""Steps in which the walls' losses are counted when their absorption is looked for."""
_CUTOFF_HZ = 100.0


@dataclass(frozen=True, slots=True)
class Room:
    """A shoebox, all in metres: its size, where the source and the microphone are in it (x, y, z).

    walls: of each axis, how much the walls at 0 and at the far end absorb, relative to each other.
    """

    size: tuple[float, float, float]
    source: tuple[float, float, float]
    microphone: tuple[float, float, float]
    walls: tuple[tuple[float, float], ...] = ((1.0, 1.0),) * 3


def random_room(rng: np.random.Generator) -> Room:
    """From a box room to a hall; source and microphone at least 0.3 m from walls and each other."""
    size = rng.uniform((2.8, 2.5, 2.3), (10.0, 8.0, 4.0))
    while True:
        source, microphone = rng.uniform(0.3, size - 0.3), rng.uniform(0.3, size - 0.3)
        if np.linalg.norm(source - microphone) >= 0.3:
            break
    walls = rng.uniform(0.3, 1.7, (3, 2))
    x, y, z = (tuple(float(v) for v in place) for place in (size, source, microphone))
    return Room(x, y, z, tuple((float(a), float(b)) for a, b in walls))  # type: ignore[arg-type]


def images(room: Room, reach: float) -> tuple[Floats, Floats]:
    """Distances (n,) in metres, up to `reach`, of the source's images from the microphone, and losses (n,).

    A loss is the number of reflections on the way, each counted with its wall's share in `Room.walls`.
    """
    squares, losses = zip(*(_axis(room, axis, reach) for axis in range(3)), strict=True)
    plane = np.add.outer(squares[0], squares[1]).ravel()
    near = np.flatnonzero(plane <= reach**2)
    lost = np.add.outer(losses[0], losses[1]).ravel()[near]
    square = np.add.outer(plane[near], squares[2]).ravel()
    near = np.flatnonzero(square <= reach**2)
    return np.sqrt(square[near]), np.add.outer(lost, losses[2]).ravel()[near]


def _axis(room: Room, axis: int, reach: float) -> tuple[Floats, Floats]:
    """Squared offsets and losses of the images along one axis (Allen & Berkley's equation 10)."""
    length, source, microphone = room.size[axis], room.source[axis], room.microphone[axis]
    count = math.ceil(reach / (2 * length)) + 1
    n, q = np.arange(-count, count + 1)[:, None], np.arange(2)[None, :]
    offset = (1 - 2 * q) * source + 2 * n * length - microphone
    loss = room.walls[axis][0] * abs(n - q) + room.walls[axis][1] * abs(n)
    near = abs(offset) <= reach
    return offset[near] ** 2, loss[near]


def impulse_response(room: Room, rt60: float) -> Audio:
    """What a click at the source is at the microphone, (taps,) at 16 kHz: 1 at 0 for the direct sound.

    `rt60` is the time in seconds in which its energy falls by 60 dB. The walls' absorption is found from the
    decay of the images themselves: Sabine's and Eyring's formulas are off in rooms that are not cubes.
    """
    taps = int(min(rt60, LONGEST) * SAMPLE_RATE)
    direct = math.dist(room.source, room.microphone)
    distances, losses = images(room, direct + taps / SAMPLE_RATE * SPEED)
    delays = np.rint((distances - direct) * (SAMPLE_RATE / SPEED)).astype(np.int64)
    strengths = direct / distances * np.exp(-_absorption(delays, distances, losses, rt60) * losses)
    clicks: Floats = np.bincount(delays, strengths, taps)[:taps].astype(np.float64)
    return _without_rumble(clicks).astype(np.float32)


def _absorption(delays: NDArray[np.int64], distances: Floats, losses: Floats, rt60: float) -> float:
    """By which power of e a reflection of loss 1 is weaker, for energy to fall by 30 dB in half of `rt60`.

    The later half would show the few paths along hard walls, which nobody hears under the rest.
    """
    bins = delays // int(_BIN * SAMPLE_RATE)
    step = max(float(losses.max()), 1e-9) / (_SHARES - 1)
    count = int(bins.max()) + 1
    cells = bins * _SHARES + np.rint(losses / step).astype(np.int64)
    energy = np.bincount(cells, distances**-2.0, count * _SHARES).reshape(count, _SHARES)
    times = (np.arange(count) + 0.5) * _BIN
    used = np.flatnonzero(energy.sum(1) * (times < rt60 / 2))[1:]  # the first bin has the direct sound

    def decay(absorption: float) -> float:
        left = energy @ np.exp(-2 * absorption * step * np.arange(_SHARES))
        slope = float(np.polyfit(times[used], 10 * np.log10(left[used] + 1e-300), 1)[0])
        return -60 / slope if slope < 0 else math.inf

    low, high = 1e-4, 8.0
    for _ in range(24):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if decay(middle) > rt60 else (low, middle)
    return math.sqrt(low * high)


def _without_rumble(clicks: Floats) -> Floats:
    """Allen & Berkley's high-pass at 100 Hz (their appendix): clicks of one sign alone add up to a rumble."""
    w = 2 * math.pi * _CUTOFF_HZ / SAMPLE_RATE
    r = math.exp(-w)
    z = np.exp(-2j * np.pi * np.fft.rfftfreq(2 * len(clicks)))
    passed = (1 - (1 + r) * z + r * z**2) / (1 - 2 * r * math.cos(w) * z + r**2 * z**2)
    return np.fft.irfft(np.fft.rfft(clicks, 2 * len(clicks)) * passed)[: len(clicks)]


@lru_cache(maxsize=ROOMS)
def response(number: int) -> Audio:
    """The response of a room of the bank, of an RT60 of 0.15 to 0.9 s; always the same for a number."""
    rng = np.random.default_rng([0x5EED, number])
    out = impulse_response(random_room(rng), float(rng.uniform(0.15, 0.9)))
    out.flags.writeable = False
    return out


def heard_in(audio: Audio, response: Audio) -> Audio:
    """`audio` as it is in the room of a response; as long, and the direct sound where it was."""
    size = 1 << (len(audio) + len(response) - 1).bit_length()
    out = np.fft.irfft(np.fft.rfft(audio, size) * np.fft.rfft(response, size), size)[: len(audio)]
    return out.astype(np.float32)
