"""Where torch computes, and in what. That it computes the right thing is told by tests of all who use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from streamer.backends import torch as reference
from streamer.backends.choice import prepare
from streamer.backends.torch import WhisperNetwork, choose_device, choose_precision, network_of
from streamer.config import ModelConfig
from streamer.errors import ConfigError
from streamer.nn.whisper import Whisper
from tests.tiny import tiny_model

META = torch.device("meta")
"""A device that every torch has: it computes shapes, and refuses whatever lies elsewhere."""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What came out of a network on META, of which there are no numbers to be had."""
    seen: list[torch.Tensor] = []

    def array(values: torch.Tensor) -> np.ndarray[Any, Any]:
        seen.append(values)
        return np.zeros(values.shape, np.float32)

    monkeypatch.setattr(reference, "_array", array)
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_everything_is_put_where_the_model_is(elsewhere: list[torch.Tensor], dtype: torch.dtype) -> None:
    network = network_of(tiny_model(), dtype, META)
    assert isinstance(network, WhisperNetwork)
    clip = np.zeros(16_000, np.float32)
    encoded = network.encode([clip, clip], network.context(len(clip)), pooled=True, judged=False)
    assert (encoded.states.device, encoded.states.dtype) == (META, dtype)
    assert network.tags([layers[:, :5] for layers in encoded.layers]).shape[0] == 2
    assert network.ctc(encoded.states).shape == (encoded.states.shape[1], 257)
    tokens = np.zeros((3, 4), np.int64)
    assert network.follow(encoded.states[:1], tokens, tokens).shape == (3, 4)
    assert {(values.device, values.dtype) for values in elsewhere} == {(META, torch.float32)}
    cache = network.writer.listen(encoded.states[:1])
    with pytest.raises(NotImplementedError, match="meta tensor"):  # all was well until it is fetched
        network.writer.step(tokens[:1], cache)


def test_the_device_would_refuse_what_lies_elsewhere() -> None:
    network = network_of(tiny_model(), torch.float32, META)
    assert isinstance(network.writer, Whisper)
    with pytest.raises(RuntimeError):
        network.writer.encode(torch.zeros(1, 80, 320))


@pytest.mark.parametrize(
    ("device", "there"), [("cuda", torch.cuda.is_available), ("mps", torch.backends.mps.is_available)]
)
def test_a_gpu_that_is_not_there_is_refused(device: Any, there: Callable[[], bool]) -> None:
    if there():
        pytest.skip(f"there is one for {device}")
    with pytest.raises(ConfigError, match=rf"model.device is '{device}', but PyTorch .* sees none"):
        choose_device(ModelConfig(device=device))


@pytest.mark.parametrize("backend", ["auto", "onnx"])
def test_on_a_gpu_torch_computes(backend: Any) -> None:
    assert prepare(ModelConfig(device="cuda"), backend, 1, lambda _: ()) is None


@pytest.mark.parametrize(
    ("device", "quick", "wanted"),
    [("cuda", True, torch.bfloat16), ("cuda", False, torch.float16), ("mps", True, torch.float16)],
)
def test_a_gpu_computes_in_halves(
    device: Any, quick: bool, wanted: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: quick)
    assert choose_precision(ModelConfig(device=device)) == wanted
    assert choose_precision(ModelConfig(device=device, precision="fp32")) == torch.float32


def test_a_processor_is_not_given_halves_that_it_is_slow_at() -> None:
    with pytest.raises(ConfigError, match="'fp16', which is for GPUs"):
        choose_precision(ModelConfig(precision="fp16"))
