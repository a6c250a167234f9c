"""What contradicts itself is refused with both values named."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from streamer.config import SoundsConfig


def test_no_sound_may_fall_between_two_windows() -> None:
    assert SoundsConfig(hop=4.0, window=4.0).hop == 4.0
    with pytest.raises(ValidationError, match=r"hop \(4.4\) must not exceed window \(4.0\)"):
        SoundsConfig(hop=4.4, window=4.0)
