"""Bare encoders; that one is the model it was taken from is in tests/training/tags/test_encoders.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamer.errors import CheckpointError
from streamer.nn.bare import bare_name, is_bare, read_encoder, weights_digest
from tests.training.corpora import write_teacher


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "whisper-x" / "encoder.fp16.safetensors"
    assert not is_bare(path)
    write_teacher(path)
    assert is_bare(path)
    assert bare_name(path) == "whisper-x"
    assert bare_name(tmp_path / "mine.safetensors") == "mine"


def test_a_digest_is_of_every_weight_and_text() -> None:
    layer = torch.nn.Linear(2, 2)
    before = weights_digest(layer)
    assert weights_digest(layer) == before != weights_digest(layer, "x") != weights_digest(layer, "y")
    with torch.no_grad():
        layer.weight[0, 0] += 1e-3
    assert weights_digest(layer) != before


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"cannot read the encoder"):
        read_encoder(path)
    save_file({"decoder.ln.weight": torch.ones(3)}, path)
    with pytest.raises(CheckpointError, match=r"is no encoder.*encoder.conv1.weight"):
        read_encoder(path)
    write_teacher(path)
    tensors = load_file(path)
    del tensors["encoder.blocks.0.attn.query.bias"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=r"blocks.0.attn.query.bias"):
        read_encoder(path)
    save_file({**tensors, "encoder.conv1.weight": torch.ones(10, 80, 3)}, path)
    with pytest.raises(CheckpointError, match=r"multiple of 64"):
        read_encoder(path)
