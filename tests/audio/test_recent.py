"""The last seconds of a stream."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.audio.recent import Recent


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(40, 100))
def test_cuts_are_what_was_appended(sizes: list[int], capacity: int) -> None:
    recent = Recent(capacity)
    everything = np.arange(sum(sizes), dtype=np.float32)
    position = 0
    for size in sizes:
        recent.append(everything[position : position + size])
        position += size
        assert recent.position == position
        assert recent.start <= max(0, position - capacity)
        start = max(recent.start, position - capacity)
        np.testing.assert_array_equal(recent.cut(start, position), everything[start:position])


def test_a_reset_forgets() -> None:
    recent = Recent(100)
    recent.append(np.ones(10, np.float32))
    recent.reset(500)
    assert (recent.start, recent.position) == (500, 500)
    with pytest.raises(ValueError, match=r"not within 500\.\.500"):
        recent.cut(495, 500)


def test_a_cut_is_a_copy() -> None:
    recent = Recent(4)
    recent.append(np.array([1, 2, 3], np.float32))
    cut = recent.cut(0, 3)
    recent.append(np.array([4, 5, 6, 7], np.float32))
    recent.append(np.array([8, 9, 10, 11], np.float32))
    np.testing.assert_array_equal(cut, [1, 2, 3])
