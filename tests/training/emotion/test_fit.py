"""Fine-tuning with Hugging Face's Trainer on a tiny checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.nn.speech_checkpoint import load_speech
from streamer.training.emotion.config import EmotionConfig
from streamer.training.emotion.fit import EmotionModel, Example, collate, fit, predict
from tests.tiny_speech import save_speech

pytestmark = pytest.mark.filterwarnings("ignore")

QUICK = EmotionConfig(epochs=2, batch=4, rate=1e-2, unfreeze=1, dropout=0.0)


def examples(n: int) -> list[Example]:
    rng = np.random.default_rng(0)
    t = np.arange(4000) / 16000
    return [
        Example(
            (0.3 * np.sin(2 * np.pi * (200 + 700 * (i % 2)) * t) + 0.02 * rng.standard_normal(4000)).astype(
                np.float32
            )[: 4000 - 100 * i],
            i % 2,
        )
        for i in range(n)
    ]


def weights(model: EmotionModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_only_what_is_unfrozen_learns_and_a_second_run_goes_on(tmp_path: Path) -> None:
    checkpoint = tmp_path / "w2v2"
    save_speech(checkpoint, kind="Model", large=True)
    before = load_speech(checkpoint).encoder.state_dict()
    model, trainer = fit(checkpoint, examples(8), examples(4), 2, QUICK, tmp_path / "work")
    after = weights(model)
    changed = {name for name in before if not torch.equal(before[name], after[f"encoder.{name}"])}
    assert changed
    assert all(".encoder.layers.1." in name for name in changed)
    assert trainer.state.epoch == 2
    assert len(predict(trainer, examples(4))) == 4
    again, more = fit(checkpoint, examples(8), examples(4), 2, QUICK, tmp_path / "work")
    assert more.state.global_step == trainer.state.global_step
    assert all(torch.equal(tensor, after[name]) for name, tensor in weights(again).items())


def test_a_batch_with_padding_is_each_clip_alone(tmp_path: Path) -> None:
    save_speech(tmp_path, kind="Model")
    model = EmotionModel(load_speech(tmp_path).encoder, 2, QUICK).train()
    assert not model.encoder.training  # or its layers would be dropped at random
    clips = examples(3)
    together = model(**collate(clips))
    alone = [model(**collate([clip])) for clip in clips]
    torch.testing.assert_close(together["logits"], torch.cat([one["logits"] for one in alone]))
    torch.testing.assert_close(together["loss"], torch.stack([one["loss"] for one in alone]).mean())


def test_nothing_but_the_head_learns_where_all_is_frozen(tmp_path: Path) -> None:
    save_speech(tmp_path, kind="Model")
    model = EmotionModel(load_speech(tmp_path).encoder, 2, replace(QUICK, unfreeze=0))
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"head"}
