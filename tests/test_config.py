"""What contradicts itself is refused with both values named."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import ValidationError

from streamer.config import EngineConfig, SoundsConfig


def test_no_sound_may_fall_between_two_windows() -> None:
    assert SoundsConfig(hop=4.0, window=4.0).hop == 4.0
    with pytest.raises(ValidationError, match=r"hop \(4.4\) must not exceed window \(4.0\)"):
        SoundsConfig(hop=4.4, window=4.0)


@pytest.mark.parametrize(
    ("backend", "fixed"),
    [("auto", "torch"), ("torch", "torch"), ("onnx", "onnx"), ("openvino", "openvino")],
)
def test_a_model_is_measured_in_what_is_set_and_not_in_what_is_quick_here(
    backend: Literal["auto", "torch", "onnx", "openvino"], fixed: str
) -> None:
    assert EngineConfig(backend=backend).fixed == fixed
