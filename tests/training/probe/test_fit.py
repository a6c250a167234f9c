"""Linear probes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from streamer.errors import StreamerError
from streamer.resources import config_dir
from streamer.training.config import read_settings
from streamer.training.probe.fit import Probe, ProbeConfig, cross_validate, splits


def planted(layer: int, n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (n, 4, 6) of which one layer tells the three labels, at another scale than the rest."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, n)
    features = rng.standard_normal((n, 4, 6)).astype(np.float32)
    features[:, layer, :3] += 6 * np.eye(3, dtype=np.float32)[truth]
    features[:, layer] = 100 + 50 * features[:, layer]
    return features, truth, np.arange(n) % 5


@pytest.mark.parametrize("layer", [0, 2])
def test_the_sum_learns_which_layer_tells(layer: int) -> None:
    features, truth, fold = planted(layer)
    told, shares = cross_validate(features, truth, splits(fold), 3, ProbeConfig())
    assert (told == truth).mean() > 0.95
    assert shares.shape == (5, 4)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert (shares.argmax(1) == layer).all()
    alone, _ = cross_validate(features[:, layer : layer + 1], truth, splits(fold), 3, ProbeConfig())
    other, _ = cross_validate(features[:, 1:2], truth, splits(fold), 3, ProbeConfig())
    assert (alone == truth).mean() > 0.95 > 0.6 > (other == truth).mean()
    again, same = cross_validate(features, truth, splits(fold), 3, ProbeConfig())
    np.testing.assert_array_equal(again, told)
    np.testing.assert_array_equal(same, shares)


def rotated(features: np.ndarray) -> np.ndarray:
    """The same of every layer, but in directions that no two layers share."""
    rng = np.random.default_rng(2)
    turns = [np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(features.shape[1])]
    return np.stack([features[:, i] @ turn for i, turn in enumerate(turns)], 1).astype(np.float32)


def test_layers_that_tell_alike_share_the_weight() -> None:
    features, truth, fold = planted(1)
    features[:, 3] = features[:, 1] + 10 * np.random.default_rng(3).standard_normal((len(truth), 6))
    _, shares = cross_validate(features, truth, splits(fold), 3, ProbeConfig())
    assert (shares[:, [1, 3]] > 2 * shares[:, [0, 2]].max(1, keepdims=True)).all()
    assert (shares.max(1) < 0.5).all()


def test_without_evenness_a_layer_takes_all_and_with_much_of_it_none_does() -> None:
    features, truth, fold = planted(1)
    features[:, 3] = features[:, 1]
    features = rotated(features)  # where one linear map reads one of both better than any mean
    alone, even = (
        cross_validate(features, truth, splits(fold), 3, ProbeConfig(evenness=value))[1].max()
        for value in (0.0, 100.0)
    )
    assert alone > 0.95
    assert even < 0.26


@pytest.mark.parametrize("layers", [1, 3])
def test_an_encoder_to_which_every_clip_is_the_same_tells_nothing(layers: int) -> None:
    _, truth, fold = planted(0)
    told, shares = cross_validate(
        np.ones((len(truth), layers, 6), np.float32), truth, splits(fold), 3, ProbeConfig()
    )
    assert (told == truth).mean() < 0.5
    np.testing.assert_allclose(shares, 1 / layers, atol=1e-5)


def test_a_clips_answer_does_not_see_its_own_label() -> None:
    """Features that only name the clip: right guesses could only come from having learnt the test."""
    truth = np.random.default_rng(1).integers(0, 3, 60)
    features = np.eye(60, dtype=np.float32)[:, None]
    told, _ = cross_validate(features, truth, splits(np.arange(60) % 5), 3, ProbeConfig())
    flipped = truth.copy()
    flipped[np.arange(60) % 5 == 0] = (flipped[np.arange(60) % 5 == 0] + 1) % 3
    swapped, _ = cross_validate(features, flipped, splits(np.arange(60) % 5), 3, ProbeConfig())
    np.testing.assert_array_equal(told[::5], swapped[::5])


def test_parts_are_whole_and_apart() -> None:
    parts = splits(np.array([0, 1, 2, 3, 3, 1]))
    assert sorted(np.concatenate([part.test for part in parts]).tolist()) == list(range(6))
    for part in parts:
        together = np.concatenate([part.train, part.choose, part.test])
        assert sorted(together.tolist()) == list(range(6))


def test_a_probe_ends_where_the_loss_is_flat() -> None:
    features, truth, _ = planted(0)
    x, y = torch.from_numpy(features[:, 1:3]), torch.from_numpy(truth)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    probe = Probe.zero(x, 3)
    probe.fit(x, y, 0.1, ProbeConfig(iterations=200))
    for tensor in (probe.mixture, probe.weight, probe.bias):
        tensor.requires_grad_(True)
    probe.loss(x, y, 0.1, ProbeConfig().evenness).backward()
    for tensor in (probe.mixture, probe.weight, probe.bias):
        assert tensor.grad is not None
        assert tensor.grad.abs().max() < 1e-3


def test_the_file_that_ships_says_every_default() -> None:
    path = config_dir() / "evaluation" / "probe.toml"
    assert read_settings(ProbeConfig, path) == ProbeConfig().checked()
    assert {line.split()[0] for line in path.read_text().splitlines() if line and line[0] != "#"} == {
        *ProbeConfig.__slots__
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"strengths": ()},
        {"strengths": (0.1, 1.0)},
        {"strengths": (0.0,)},
        {"iterations": 0},
        {"longest": 0.0},
        {"evenness": -0.1},
    ],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(StreamerError, match="expected"):
        replace(ProbeConfig(), **wrong).checked()
