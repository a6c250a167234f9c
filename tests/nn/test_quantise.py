import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from streamer.nn.quantise import dequantise, halve, quantise

FLOATS = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=80, deadline=None)
@given(hnp.arrays("float32", hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=FLOATS))
def test_the_error_is_within_half_a_step_of_the_row(values):
    tensor = torch.from_numpy(values)
    stored = quantise({"w": tensor})
    assert stored["w"].dtype == torch.int8
    back = dequantise(stored)["w"]
    assert back.shape == tensor.shape
    rows = tensor.flatten(1).abs().amax(1)
    error = (back - tensor).flatten(1).abs().amax(1)
    assert (error <= rows / 254 * (1 + 1e-5) + 1e-37).all()


@settings(max_examples=40, deadline=None)
@given(hnp.arrays("float32", hnp.array_shapes(max_dims=1, max_side=6), elements=FLOATS))
def test_vectors_keep_eleven_bits_and_never_overflow(values):
    tensor = torch.from_numpy(values)
    back = dequantise(quantise({"b": tensor}))["b"]
    assert torch.allclose(back, tensor, rtol=2**-11, atol=2**-24)


def test_twice_is_once():
    first = dequantise(quantise({"w": torch.randn(8, 5)}))
    second = dequantise(quantise(first))
    assert torch.allclose(first["w"], second["w"], rtol=1e-6)


def test_mixed_files_come_back_as_floats():
    tensors = {"w": torch.randn(3, 4, 5), "b": torch.randn(7)}
    back = dequantise(quantise(tensors) | halve({"h": torch.ones(2, 2)}))
    assert {name: t.dtype for name, t in back.items()} == dict.fromkeys(("w", "b", "h"), torch.float32)


def test_broken_files_are_named():
    stored = quantise({"w": torch.randn(3, 4)})
    with pytest.raises(ValueError, match="expected 3 scales for w, found none"):
        dequantise({"w": stored["w"]})
    with pytest.raises(ValueError, match=r"w\.scale belongs to no int8 tensor"):
        dequantise({"w.scale": stored["w.scale"]})
    with pytest.raises(ValueError, match="not finite"):
        quantise({"w": torch.full((2, 2), float("nan"))})
    with pytest.raises(ValueError, match="reserved"):
        quantise({"w.scale": torch.ones(2)})
