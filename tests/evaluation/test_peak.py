"""Operations are counted by formula, which has to agree with the products that really take place."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from streamer.evaluation.peak import FRAMES, WIDER, WORK, encoder_work, onnx_product, torch_product
from tests.tiny import tiny_model


@pytest.mark.parametrize("frames", [40, 100])
def test_an_encoders_operations_are_those_that_torch_counts(frames: int) -> None:
    model = tiny_model().model
    # torch does not count what its fused attention does.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.encode(torch.zeros(1, 80, 2 * frames), False)
    assert counter.get_total_flops() == encoder_work(model.dims, frames)


def test_the_product_has_as_many_as_it_says() -> None:
    with FlopCounterMode(display=False) as counter:
        product = torch_product(torch.float32)
        found = product()
    assert isinstance(found, torch.Tensor)
    assert found.shape == (FRAMES, WIDER)
    assert counter.get_total_flops() == WORK
    (integers,) = onnx_product(1)()
    assert integers.shape == (FRAMES, WIDER)
