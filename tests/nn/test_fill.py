"""Named tensors put into a module that was made without weights of its own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from streamer.errors import CheckpointError
from streamer.nn.fill import Undrawn, fill
from streamer.nn.whisper import Whisper, WhisperDims

DIMS = WhisperDims(80, 100, 32, 2, 1, 60, 16, 16, 2, 1)


class Scaled(nn.Module):
    """A buffer that no checkpoint holds, beside a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("steps", torch.arange(4.0) + torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x) * self.steps
        return out


def test_no_weights_are_drawn_that_would_be_thrown_away() -> None:
    tensors = Whisper(DIMS).state_dict()
    before = torch.get_rng_state()
    model = fill(lambda: Whisper(DIMS), tensors, "here", "")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_what_no_checkpoint_holds_is_computed() -> None:
    given = Scaled()
    model = fill(Scaled, given.state_dict(), "here", "")
    assert torch.equal(model(torch.ones(2, 4)), given(torch.ones(2, 4)))


def test_modules_made_afterwards_are_drawn_again() -> None:
    with Undrawn():
        nn.Linear(4, 4)
    assert nn.Linear(4, 4).weight.any()


def test_what_does_not_fit_is_named() -> None:
    tensors = dict(Scaled().state_dict())
    tensors["linear.wheight"] = tensors.pop("linear.weight")
    with pytest.raises(CheckpointError, match=r"missing linear\.weight \(4, 4\); unexpected linear\.wheight"):
        fill(Scaled, tensors, "here", "Advice")
