"""wav2vec's objective."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from streamer.errors import StreamerError
from streamer.nn.wav2vec1 import Wav2Vec, load_wav2vec
from streamer.training.pretrain.crops import Crop
from streamer.training.pretrain.wav2vec import (
    Collate,
    Predictor,
    PredictTask,
    dims_of,
    frames_in,
    measure,
    save,
)
from tests.training.tones import tone

TASK = PredictTask(ahead=3, distractors=4)


def crops(*seconds: float) -> list[Crop]:
    return [Crop(tone(300 + 400 * i, s, i), np.random.default_rng(i)) for i, s in enumerate(seconds)]


def model_of(large: bool = False) -> Predictor:
    torch.manual_seed(0)
    return Predictor(Wav2Vec(dims_of(8, large)), TASK)


def test_the_loss_is_the_papers_written_out() -> None:
    model = model_of()
    batch = Collate(TASK)(crops(0.2))
    z, c = model.features.features(batch["samples"][0].numpy())
    weight, bias = model.project_to_steps.weight, model.project_to_steps.bias
    assert bias is not None
    total, count = torch.zeros(()), 0
    for k in (1, 2, 3):
        for i in range(len(z) - k):
            told = c[i] @ weight[:, :, 0, k - 1] + bias
            total = total - F.logsigmoid(z[i + k] @ told)
            false = torch.stack([F.logsigmoid(-(z[j] @ told)) for j in batch["others"][0, i + k]])
            total, count = total - TASK.distractors * false.mean(), count + 1
    found = model(**batch)
    torch.testing.assert_close(found["loss"], total / count, rtol=1e-4, atol=1e-5)
    told_of = measure(SimpleNamespace(predictions=found["measures"].numpy()))
    assert told_of["contrastive"] == pytest.approx(float(total.detach()) / count, rel=1e-4)
    assert 0 <= told_of["accuracy"] <= 1


def test_clips_of_a_batch_do_not_touch() -> None:
    model = model_of(large=True)
    together = model(**Collate(TASK)(crops(0.3, 0.2)))
    alone = [model(**Collate(TASK)([crop]))["measures"] for crop in crops(0.3, 0.2)]
    torch.testing.assert_close(together["measures"], alone[0] + alone[1], rtol=1e-4, atol=1e-3)


def test_frames_are_counted_as_they_come() -> None:
    model = model_of()
    for samples in (465, 624, 625, 5000):
        z, _ = model.features.features(np.zeros(samples, np.float32))
        assert frames_in(samples) == len(z)
    assert frames_in(464) == 0


def test_it_learns_what_comes() -> None:
    model = model_of()
    rng = np.random.default_rng(0)
    samples = np.concatenate([tone(pitch, 0.1) for pitch in rng.choice([300, 900, 2500], 8)])
    batch = Collate(TASK)([Crop(samples, rng)])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = model(**batch)["loss"]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("large", [False, True])
def test_what_is_saved_is_loaded_as_fairseqs(tmp_path: Path, large: bool) -> None:
    model = model_of(large)
    save(model, tmp_path / "mine.pt")
    loaded = load_wav2vec(tmp_path / "mine.pt")
    assert loaded.dims == model.features.dims
    samples = tone(300, 0.2)
    for mine, theirs in zip(model.features.features(samples), loaded.features(samples), strict=True):
        assert torch.equal(mine, theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.pt"]


def test_a_width_of_nothing() -> None:
    with pytest.raises(StreamerError, match="width of 1 or more"):
        dims_of(0, large=False)
