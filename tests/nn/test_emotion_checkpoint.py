"""Emotion heads in folders of their own; that the daemon takes only its encoder's: test_engine_emotion.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from streamer.errors import CheckpointError, ModelError
from streamer.nn.definition import EmotionHeadInfo, EmotionInfo, EncoderInfo
from streamer.nn.emotion import LayersHead, token_frames
from streamer.nn.emotion_checkpoint import FILE, WEIGHTS, load_emotion_head, save_emotion_head

ENCODER = EncoderInfo(name="x", n_layer=2, n_state=6, fingerprint="sha256:0123456789abcdef")
INFO = EmotionHeadInfo(
    name="mine",
    encoder=ENCODER,
    emotion=EmotionInfo(labels=("anger", "joy"), width=4, pooling="max", kind="dimensions"),
    scores={"uar": 0.5},
)


def head() -> LayersHead:
    torch.manual_seed(0)
    made = LayersHead(2, 6, 4, 2, "max").eval()
    made.mean.normal_()
    made.scale.uniform_(1, 2)
    return made


def test_a_folder_gives_back_what_was_saved(tmp_path: Path) -> None:
    save_emotion_head(tmp_path / "mine", INFO, head())
    loaded = load_emotion_head(tmp_path / "mine")
    assert loaded.info == INFO
    assert (loaded.head.labels, loaded.head.kind) == (("anger", "joy"), "dimensions")
    frames = token_frames(torch.randn(3, 2, 5, 6), [5, 2, 1])
    with torch.inference_mode():
        torch.testing.assert_close(loaded.head.scores(frames), head()(frames))


def test_a_name_among_the_users_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_MODELS", str(tmp_path))
    save_emotion_head(tmp_path / "mine", INFO, head())
    assert load_emotion_head("mine").info == INFO
    with pytest.raises(ModelError, match=r"expected an emotion head, a folder with emotion\.toml, at yours"):
        load_emotion_head("yours")


def test_what_does_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="2, 6, 5, 2, max; found 2, 6, 4, 2, max"):
        save_emotion_head(tmp_path, INFO, LayersHead(2, 6, 5, 2, "max"))
    assert not (tmp_path / FILE).exists()
    save_emotion_head(tmp_path, INFO, head())
    tensors = load_file(tmp_path / WEIGHTS)
    del tensors["scale"]
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(CheckpointError, match="scale"):
        load_emotion_head(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="cannot read the weights"):
        load_emotion_head(tmp_path)
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("width", "widht"))
    with pytest.raises(CheckpointError, match=r"emotion\.widht"):
        load_emotion_head(tmp_path)
