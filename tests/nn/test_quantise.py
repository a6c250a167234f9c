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
    with pytest.raises(ValueError, match=r"w\.scale belongs to no quantised tensor"):
        dequantise({"w.scale": stored["w.scale"]})
    with pytest.raises(ValueError, match="not finite"):
        quantise({"w": torch.full((2, 2), float("nan"))})
    with pytest.raises(ValueError, match="reserved"):
        quantise({"w.scale": torch.ones(2)})


@settings(max_examples=40, deadline=None)
@given(hnp.arrays("float32", st.tuples(st.integers(1, 5), st.sampled_from([4, 8, 20])), elements=FLOATS))
def test_six_bits_are_three_quarters_of_the_bytes_and_within_half_a_step(values):
    tensor = torch.from_numpy(values)
    stored = quantise({"w": tensor, "v": tensor}, six_bits=lambda name: name == "w")
    assert stored["w"].nbytes * 4 == stored["v"].nbytes * 3
    back = dequantise(stored)["w"]
    assert back.shape == tensor.shape
    error = (back - tensor).abs().amax(1)
    assert (error <= tensor.abs().amax(1) / 62 * (1 + 1e-5) + 1e-37).all()
    assert torch.equal(dequantise(quantise({"w": back}, lambda _: True))["w"].sign(), back.sign())


def test_six_bits_cannot_hold_rows_that_no_four_fill():
    stored = quantise({"w": torch.randn(3, 5), "k": torch.randn(2, 4, 4)}, six_bits=lambda _: True)
    assert stored["w"].dtype == stored["k"].dtype == torch.int8
    with pytest.raises(ValueError, match="three bytes for four weights in w"):
        dequantise({"w": torch.zeros(2, 4, dtype=torch.uint8), "w.scale": torch.ones(2)})
