"""A head on a frozen Whisper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.audio.decode import decode_file
from streamer.training.emotion.config import EmotionConfig, FrozenConfig
from streamer.training.emotion.frozen import Layers, clip_layers, examples, fit_head, predict_head
from tests.training.corpora import noise, write_wav
from tests.training.tags.tools import encoder

QUICK = EmotionConfig(frozen=FrozenConfig(width=8, epochs=20, batch=8, rate=3e-2))


def test_layers_are_the_daemons_and_each_clip_is_heard_once(tmp_path: Path) -> None:
    frozen = encoder()
    paths = [write_wav(tmp_path / f"{i}.wav", noise(seconds, i)) for i, seconds in enumerate((0.2, 1.0, 1.0))]
    first = clip_layers(frozen, paths, 10.0, tmp_path / "cache", progress=False)
    assert [one.shape[1] for one in first] == [1, 2, 2]
    np.testing.assert_array_equal(first[1], frozen.features([decode_file(paths[1])])[0])
    passes = frozen.passes
    again = clip_layers(frozen, paths[::-1], 10.0, tmp_path / "cache", progress=False)
    assert frozen.passes == passes
    for one, same in zip(first, again[::-1], strict=True):
        np.testing.assert_array_equal(one, same)
    (short,) = clip_layers(frozen, paths[1:2], 0.5, tmp_path / "cache", progress=False)
    assert short.shape[1] == 1
    assert frozen.passes == passes + 1


def planted(n: int, seed: int) -> tuple[list[Layers], list[int]]:
    """Clips of one to four tokens, of which the second of three layers tells two labels."""
    rng = np.random.default_rng(seed)
    labels = [i % 2 for i in range(n)]
    layers = [rng.standard_normal((3, 1 + i % 4, 6)) for i in range(n)]
    for clip, label in zip(layers, labels, strict=True):
        clip[1, :, 0] += 6 * label
        clip[1] = 40 * clip[1] + 300
    return [clip.astype(np.float16) for clip in layers], labels


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_it_learns_which_layer_tells_and_the_same_again(pooling: str) -> None:
    config = replace(QUICK, pooling=pooling)
    train, choose, test = (examples(*planted(48, seed), pooling) for seed in range(3))
    head = fit_head(train, choose, 2, config, progress=False)
    told = predict_head(head, test)
    assert np.mean(np.array(told) == test.labels.numpy()) > 0.9
    assert head.layer_weights.argmax() == 1
    torch.manual_seed(9)  # what happens around it does not matter
    again = fit_head(train, choose, 2, config, progress=False).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in head.state_dict().items())


def test_one_token_has_all_that_a_mean_sees() -> None:
    clips, labels = planted(6, 0)
    short, full = examples(clips, labels, "mean"), examples(clips, labels, "max")
    assert (short.layers.shape[2], full.layers.shape[2]) == (1, 4)
    assert full.lengths == (1, 2, 3, 4, 1, 2)
    head = fit_head(short, short, 2, QUICK, progress=False)
    torch.testing.assert_close(
        head(short.frames(short.every)), head(full.frames(full.every)), atol=1e-4, rtol=1e-4
    )
