"""wav2vec 2.0's objective."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from streamer.errors import CheckpointError, StreamerError
from streamer.nn.speech import unit_variance
from streamer.training.pretrain.crops import Crop
from streamer.training.pretrain.wav2vec2 import (
    Collate,
    Pretrainer,
    Sizes,
    Task,
    measure,
    network_of,
    new_network,
    perplexity,
)
from tests.tiny_speech import save_speech
from tests.training.tones import tone

pytestmark = pytest.mark.filterwarnings("ignore")

TINY = Sizes(32, 2, 2, 48, (16,) * 7, "layer", 16, 2, 8, 12)
TASK = Task(distractors=7)


def crops(*seconds: float) -> list[Crop]:
    return [Crop(tone(300 + 400 * i, s, i), np.random.default_rng(i)) for i, s in enumerate(seconds)]


def model_of(sizes: Sizes = TINY) -> Pretrainer:
    torch.manual_seed(0)
    model = Pretrainer(new_network(sizes, 0.0), True, TASK)
    torch.nn.init.normal_(model.network.quantizer.codevectors)
    return model


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_loss_and_similarities_are_transformers_own(norm: str) -> None:
    model = model_of(replace(TINY, norm=norm)).eval()
    batch = Collate(TASK)(crops(1.0, 1.0))
    mine = model(**batch)
    mask = batch["mask"]
    # transformers counts distractors through all frames, and has some for frames that are not hidden too.
    places = torch.arange(mask.numel()).reshape(mask.shape)
    negatives = torch.zeros(*mask.shape, 7, dtype=torch.long)
    negatives[mask] = places[mask][batch["others"]]
    samples = torch.stack([torch.from_numpy(unit_variance(row.numpy())) for row in batch["samples"]])
    with torch.no_grad():
        theirs = model.network(samples, mask_time_indices=mask, sampled_negative_indices=negatives)
    count = mask.sum()
    torch.testing.assert_close(mine["loss"], theirs.loss / count, rtol=1e-4, atol=1e-5)
    told = measure(SimpleNamespace(predictions=(mine["measures"].numpy(), mine["used"].numpy())))
    assert told["contrastive"] == pytest.approx(float(theirs.contrastive_loss / count), rel=1e-4)
    assert told["perplexity"] == pytest.approx(float(theirs.codevector_perplexity), rel=1e-4)
    similar = torch.cosine_similarity(theirs.projected_states, theirs.projected_quantized_states, dim=-1)
    assert told["target_similarity"] == pytest.approx(float(similar[mask].mean()), rel=1e-3)


def test_padding_leaves_no_trace() -> None:
    model = model_of(replace(TINY, norm="group")).eval()
    together = model(**Collate(TASK)(crops(1.0, 0.4)))
    one, two = (model(**Collate(TASK)([crop])) for crop in crops(1.0, 0.4))
    torch.testing.assert_close(together["measures"], one["measures"] + two["measures"], rtol=1e-4, atol=1e-3)
    assert torch.equal(together["used"], one["used"] + two["used"])


def test_distractors_are_hidden_frames_of_the_same_clip() -> None:
    batch = Collate(TASK)(crops(1.0, 0.4, 0.7))
    counts = batch["mask"].sum(1).tolist()
    owner = torch.repeat_interleave(torch.arange(3), torch.tensor(counts))
    assert (owner[batch["others"]] == owner[:, None]).all()
    assert (batch["others"] != torch.arange(len(owner))[:, None]).all()


def test_everything_learns_also_the_codebooks() -> None:
    model = model_of().train()
    model(**Collate(TASK)(crops(1.0, 0.6)))["loss"].backward()
    still = {name for name, p in model.network.named_parameters() if p.grad is None or not p.grad.any()}
    assert all("k_proj.bias" in name for name in still)  # keys' bias adds the same to all scores


def test_it_learns_what_belongs_where() -> None:
    model = model_of().train()
    model.temperature = 0.5
    rng = np.random.default_rng(0)
    samples = np.concatenate([tone(pitch, 0.1) for pitch in rng.choice([300, 900, 2500], 20)])
    batch = Collate(TASK)([Crop(samples, rng)])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = model(**batch)["loss"]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_codes_in_use() -> None:
    assert perplexity(torch.full((2, 8), 1 / 8)) == pytest.approx(16)
    assert perplexity(torch.eye(8)[:2]) == pytest.approx(2)


def test_the_temperature_falls_as_published_at_any_length() -> None:
    task = Task()
    published = [2.0 * 0.999995**step for step in (0, 100_000, 200_000)]
    share = np.log(0.25) / np.log(0.999995) / 400_000 / 0.7  # of 400 thousand steps
    assert [task.gumbel(step / 400_000 / share) for step in (0, 100_000, 200_000)] == pytest.approx(published)
    assert task.gumbel(0.7) == task.gumbel(1.0) == task.coldest
    assert Task(cooled=0.0).gumbel(0.0) == 0.5


def test_a_checkpoint_is_gone_on_with_codebooks_and_all(tmp_path: Path) -> None:
    theirs = save_speech(tmp_path, kind="ForPreTraining", large=True)
    network, normalise = network_of(tmp_path, 0.0)
    assert normalise
    mine, other = network.state_dict(), theirs.state_dict()
    assert all(torch.equal(mine[name], other[name]) for name in other)
    save_speech(tmp_path / "bare", kind="Model")
    network, normalise = network_of(tmp_path / "bare", 0.0)
    assert not normalise
    assert network.quantizer.codevectors.shape[1] == 2 * network.config.num_codevectors_per_group


def test_other_families_and_sizes_that_do_not_fit(tmp_path: Path) -> None:
    save_speech(tmp_path, "hubert", "Model")
    with pytest.raises(CheckpointError, match="expected model_type 'wav2vec2'"):
        network_of(tmp_path, 0.0)
    wrong: list[dict[str, Any]] = [{"heads": 3}, {"groups": 5}, {"norm": "batch"}, {"convolutions": (16,)}]
    for one in wrong:
        with pytest.raises(StreamerError, match="expected seven convolutions"):
            new_network(replace(TINY, **one), 0.0)


def test_choices_without_a_choice_are_not_right() -> None:
    model = model_of().eval()
    with torch.no_grad():
        model.network.quantizer.weight_proj.weight.zero_()  # one code for everything
    found = model(**Collate(TASK)(crops(1.0)))
    told = measure(SimpleNamespace(predictions=(found["measures"].numpy(), found["used"].numpy())))
    assert told["accuracy"] == 0
    assert told["perplexity"] == pytest.approx(2)
