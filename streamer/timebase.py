"""The one clock: time inside is a sample index of a stream at 16 kHz; seconds exist only at the edge.

The constants derive from each other by exact division, so that a change of one that would break
the grid fails on import.
"""

SAMPLE_RATE = 16_000
"""Samples a second, everywhere behind a source."""

MEL_HOP = 160
"""Samples between two mel frames (10 ms)."""

FRAME = 2 * MEL_HOP
"""Samples of one encoder output frame (20 ms): the convolution halves the mel frames."""

POOL = 20
"""Encoder frames averaged into one pooled token (Whisper-AT)."""

TOKEN = POOL * FRAME
"""Samples of one pooled token (0.4 s): the grid that tag windows live on."""

FULL_CONTEXT = 30 * SAMPLE_RATE
"""Samples of the context that stock Whisper checkpoints were trained with."""


def exact_div(x: int, y: int) -> int:
    """``x / y`` for divisors that must divide."""
    if x % y:
        raise ValueError(f"{x} is not a multiple of {y}")
    return x // y


FRAMES_PER_SECOND = exact_div(SAMPLE_RATE, FRAME)


def to_seconds(samples: int) -> float:
    """A sample count or index in seconds, rounded to the millisecond."""
    return round(samples / SAMPLE_RATE, 3)


def to_samples(seconds: float) -> int:
    """The nearest sample count for a duration in seconds."""
    return round(seconds * SAMPLE_RATE)


def floor_to(samples: int, grid: int) -> int:
    """The largest multiple of ``grid`` not above ``samples``."""
    return samples - samples % grid


def ceil_to(samples: int, grid: int) -> int:
    """The smallest multiple of ``grid`` not below ``samples``."""
    return -(-samples // grid) * grid
