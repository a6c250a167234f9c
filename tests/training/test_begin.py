from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from streamer.asr.bytepairs import write_ranks
from streamer.errors import CheckpointError, ModelError
from streamer.nn.checkpoint import save
from streamer.training.batches import Batch
from streamer.training.begin import adopt_vocabulary, read_beginning, read_teacher, speech_model
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.corpora import write_teacher

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


def test_a_teacher_may_be_an_official_checkpoint(tmp_path: Path) -> None:
    tensors = write_teacher(tmp_path / "t.safetensors")
    torch.save(
        {"dims": {}, "model_state_dict": {**tensors, "decoder.ln.weight": torch.ones(3)}}, tmp_path / "t.pt"
    )
    got = read_teacher(tmp_path / "t.pt")
    assert set(got) == set(tensors)
    assert all(torch.equal(got[name], tensors[name]) for name in tensors)


def test_what_is_no_teacher_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    with pytest.raises(CheckpointError, match=r"cannot read the teacher .*t\.safetensors"):
        read_teacher(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="cannot read the teacher"):
        read_teacher(path)
    (tmp_path / "t.pt").write_bytes(b"rubbish")
    with pytest.raises(CheckpointError, match="cannot read the teacher"):
        read_teacher(tmp_path / "t.pt")
    save_file({"decoder.x": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"no tensor 'encoder\.conv1\.weight'"):
        read_teacher(path)
    save_file({"encoder.conv1.weight": torch.ones(64, 128, 3)}, path)
    with pytest.raises(CheckpointError, match="128 bands"):
        read_teacher(path)


def test_timestamps_lie_in_order_where_they_were_not_learnt(written: Path, tmp_path: Path) -> None:
    """Neighbours in time are neighbours; a model that knows its timestamps keeps them."""
    t = tiny_tokenizer()
    loaded = read_beginning(written)
    text = loaded.info.text.model_copy(update={"timestamps": False})
    unlearnt = replace(loaded, info=loaded.info.model_copy(update={"text": text}))
    before = loaded.model.decoder.token_embedding.weight
    after = speech_model(unlearnt, t, **SIZES).whisper.decoder.token_embedding.weight
    first = t.timestamp_begin
    assert torch.equal(after[:first], before[:first])
    times = after[first:].detach()
    assert times.norm(dim=1).mean() == pytest.approx(before[:first].norm(dim=1).mean().item(), rel=1e-3)
    for at in (0, 700, 1500):
        near = (times - times[at]).norm(dim=1)
        assert near.argmin() == at
        nearest = near.argsort()[: 3 if 0 < at < 1500 else 2] - at
        assert nearest.abs().max() == 1
