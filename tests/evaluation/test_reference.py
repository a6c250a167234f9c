"""openai-whisper beside us, on one checkpoint with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.config import ModelConfig
from streamer.errors import ConfigError, ModelError
from streamer.evaluation.offline import load_readers
from streamer.evaluation.reference import OpenAIWhisper, checkpoint_for
from tests.cli.tiny import make_model
from tests.nn.reference import reference

DIMS = {
    "n_mels": 80,
    "n_audio_ctx": 1500,
    "n_audio_state": 64,
    "n_audio_head": 1,
    "n_audio_layer": 1,
    "n_vocab": 51864,
    "n_text_ctx": 24,
    "n_text_state": 64,
    "n_text_head": 1,
    "n_text_layer": 1,
}
"""English only, so that no language has to be found."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("whisper")
    path = tmp_path_factory.mktemp("whisper") / "mine.pt"
    model = reference(DIMS, 0)  # type: ignore[no-untyped-call]
    torch.save({"dims": DIMS, "model_state_dict": model.state_dict()}, path)
    return path


def test_both_read_the_same_checkpoint(checkpoint: Path) -> None:
    config = ModelConfig(name=str(checkpoint), threads=1, precision="fp32")
    samples = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)
    theirs = OpenAIWhisper(config)(Path("x.wav"), samples)
    assert theirs.passes >= 1  # one for each temperature that it tries
    ours = load_readers(config)["attention"](Path("x.wav"), samples)
    assert ours.passes == 1


def test_other_models_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    assert checkpoint_for(str(checkpoint)) == checkpoint
    model = make_model(tmp_path / "models" / "noise")
    with pytest.raises(ConfigError, match=r"its own checkpoints only.*streamer models pull base\.en"):
        OpenAIWhisper(ModelConfig(name=str(model)))
    with pytest.raises(ModelError, match="no model 'nothing'"):
        checkpoint_for("nothing")
