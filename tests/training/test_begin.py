from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.asr.bytepairs import write_ranks
from streamer.errors import CheckpointError, ModelError
from streamer.nn.checkpoint import save
from streamer.training.batches import Batch
from streamer.training.begin import adopt_vocabulary, read_beginning, speech_model
from tests.tiny import tiny_model, tiny_tokenizer

BYTES = [bytes([i]) for i in range(256)]
SIZES = {"text_state": 32, "text_layer": 2, "text_head": 2}
"""What the tiny model is made with."""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A model without a sound head, quantised, in a folder."""
    write_ranks(tmp_path / "bytes", BYTES)
    tiny = tiny_model()
    info = tiny.info.model_copy(update={"tags": None})
    save(tmp_path / "model", info, tiny.model, tmp_path / "bytes", ctc=tiny.ctc)
    return tmp_path / "model"


def test_a_model_is_trained_on_from_its_own_weights(written: Path) -> None:
    loaded = read_beginning(written)
    model = speech_model(loaded, tiny_tokenizer(), **SIZES)
    assert loaded.ctc is not None
    for part, source in ((model.whisper, loaded.model), (model.ctc, loaded.ctc)):
        for name, tensor in source.state_dict().items():
            assert torch.equal(part.state_dict()[name], tensor), name
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.whisper.alignment_heads == loaded.model.alignment_heads
    t = tiny_tokenizer()
    batch = Batch(
        np.zeros((1, 80, 80), np.float32),
        np.array([[t.sot, t.no_timestamps]]),
        np.array([[t.no_timestamps, t.eot]]),
        [[5, 6]],
        0.8,
    )
    assert all(bool(loss.isfinite()) for loss in model(batch, 0.1))


def test_its_vocabulary_comes_along_and_no_other_will_do(written: Path, tmp_path: Path) -> None:
    loaded, target = read_beginning(written), tmp_path / "vocab.tiktoken"
    adopt_vocabulary(loaded, target)
    assert target.read_bytes() == (written / "vocab.tiktoken").read_bytes()
    adopt_vocabulary(loaded, target)
    write_ranks(target, [*BYTES, b" a"])
    with pytest.raises(CheckpointError, match=r"vocab\.tiktoken.*found another one.*fresh work folder"):
        adopt_vocabulary(loaded, target)


@pytest.mark.parametrize("size", SIZES)
def test_other_sizes_are_refused_by_name(written: Path, size: str) -> None:
    expected = SIZES | {size: 64}
    with pytest.raises(CheckpointError, match=rf"to have {size} = 64, found {SIZES[size]}: .*configuration"):
        speech_model(read_beginning(written), tiny_tokenizer(), **expected)


def test_what_is_no_model_of_the_recipe_is_refused(written: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        read_beginning(tmp_path / "nowhere")
    tiny = tiny_model()
    info = tiny.info.model_copy(update={"tags": None})
    save(tmp_path / "words", info, tiny.model, written / "vocab.tiktoken")
    with pytest.raises(CheckpointError, match=r"--from: expected a model of this recipe, with a CTC branch"):
        read_beginning(tmp_path / "words")
