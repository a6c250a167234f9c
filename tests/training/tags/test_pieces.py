from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.timebase import SAMPLE_RATE, TOKEN
from streamer.training.tags.pieces import SHORTEST, crop, loudest, pieces_of, placed
from tests.training.corpora import noise, tone


def test_a_view_of_the_pause_is_not_the_sound() -> None:
    audio = np.concatenate([tone(0.4, 500), np.zeros(10 * SAMPLE_RATE, np.float32)])
    heard = [crop(audio, SAMPLE_RATE, np.random.default_rng(seed))[1] for seed in range(40)]
    assert 0 < sum(heard) < 15


@given(st.integers(1, 40 * SAMPLE_RATE), st.integers(SHORTEST, 75))
def test_pieces_lie_on_the_grid_and_miss_less_than_one(length: int, longest: int) -> None:
    pieces = pieces_of(length, longest * TOKEN)
    assert pieces[0][0] == 0
    for (start, end), (following, _) in zip(pieces, [*pieces[1:], (pieces[-1][1], 0)], strict=True):
        assert (end - start) % TOKEN == 0
        assert SHORTEST * TOKEN <= end - start <= max(longest, SHORTEST) * TOKEN
        assert end == following
    if length > longest * TOKEN:
        assert length - longest * TOKEN < pieces[-1][1] <= length


@pytest.mark.parametrize("snr", [0.0, 10.0, 20.0])
def test_a_placed_piece_is_so_many_decibels_over_its_ground(snr: float) -> None:
    piece, ground = tone(0.5, 700), noise(2.0)
    begins = set()
    for seed in range(20):
        out = placed(piece, ground, snr, np.random.default_rng(seed))
        assert out.shape == ground.shape
        # What is left of the ground where the piece is not tells its gain; the rest is the piece.
        gain = np.sqrt(np.mean(piece**2) / np.mean(ground**2) / 10 ** (snr / 10))
        alone = out - gain * ground
        there = np.flatnonzero(np.abs(alone) > 1e-4)
        begins.add(int(there[0]) // 1600)
        assert there[-1] - there[0] < len(piece)
        at = there[0] - int(np.flatnonzero(np.abs(piece) > 1e-4)[0])
        middle = slice(at + 2000, at + 6000)
        assert np.corrcoef(alone[middle], piece[np.arange(2000, 6000)])[0, 1] > 0.9
    assert len(begins) > 5


def test_a_piece_as_long_as_its_ground_and_silent_parts_are_no_error() -> None:
    rng = np.random.default_rng(0)
    silence, sound = np.zeros(1600, np.float32), tone(0.1, 500)
    assert loudest(placed(sound, silence, 10.0, rng)) == pytest.approx(loudest(sound), rel=0.1)
    np.testing.assert_array_equal(placed(silence, sound, 10.0, rng), sound)
    assert not placed(silence, silence, 10.0, rng).any()
