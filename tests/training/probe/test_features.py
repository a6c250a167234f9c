"""Means over frames, kept on disk."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.decode import decode_file
from streamer.encoders import load_encoder
from streamer.errors import StreamerError
from streamer.nn.frames import Frames
from streamer.training.probe.features import clip_features, mean_layers
from tests.cli.tiny import make_model
from tests.nn.test_wav2vec1 import SMALL, checkpoint
from tests.tiny_speech import save_speech
from tests.training.corpora import noise, write_wav

pytestmark = pytest.mark.filterwarnings("ignore")


def clips(folder: Path) -> list[Path]:
    return [write_wav(folder / f"{i}.wav", noise(0.5 + 0.3 * i, i)) for i in range(3)]


def test_each_layer_and_what_goes_into_the_first(tmp_path: Path) -> None:
    (wav, *_) = clips(tmp_path)
    samples = decode_file(wav)
    save_speech(tmp_path / "w2v2", kind="Model")
    checkpoint(tmp_path / "old.pt", SMALL)
    for path, shape in ((make_model(tmp_path / "m"), (3, 64)), (tmp_path / "w2v2", (3, 32))):
        encoder = load_encoder(path)
        frames = encoder.layers(samples)
        found = mean_layers(encoder, samples)
        assert found.shape == shape
        np.testing.assert_allclose(found[0], frames.embedding[0].mean(0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found[2], frames.layers[0, 1].mean(0), rtol=1e-5, atol=1e-6)
    # z goes into nothing but c: it is a layer already.
    assert mean_layers(load_encoder(tmp_path / "old.pt"), samples).shape == (2, 8)


def test_a_clip_is_heard_once_until_it_changes(tmp_path: Path) -> None:
    save_speech(tmp_path / "w2v2", kind="Model")
    encoder = load_encoder(tmp_path / "w2v2")
    heard: list[int] = []

    def counted(samples: np.ndarray) -> Frames:
        heard.append(len(samples))
        return encoder.encode(samples)

    counting = replace(encoder, encode=counted)
    paths = clips(tmp_path)
    first = clip_features(counting, paths, 10.0, tmp_path / "cache", progress=False)
    assert heard[1:] == [8000, 12800, 17600]  # before them, silence tells the sizes
    wanted = mean_layers(encoder, decode_file(paths[1]))
    np.testing.assert_allclose(first[1], wanted, atol=2e-3)
    again = clip_features(counting, paths[::-1], 10.0, tmp_path / "cache", progress=False)
    np.testing.assert_array_equal(again[::-1], first)
    assert len(heard) == 5
    os.utime(paths[0], ns=(1, 1))
    clip_features(counting, paths, 10.0, tmp_path / "cache", progress=False)
    clip_features(counting, paths, 0.4, tmp_path / "cache", progress=False)
    assert heard[5:] == [16000, 8000, 16000, 6400, 6400, 6400]


def test_clips_that_cannot_be_read(tmp_path: Path) -> None:
    save_speech(tmp_path / "w2v2", kind="Model")
    encoder = load_encoder(tmp_path / "w2v2")
    with pytest.raises(StreamerError, match=r"gone\.wav: No such file"):
        clip_features(encoder, [tmp_path / "gone.wav"], 10.0, tmp_path / "cache", progress=False)
    short = write_wav(tmp_path / "short.wav", noise(0.05))
    with pytest.raises(StreamerError, match=r"expected 0\.1 s of audio or more, found 800"):
        clip_features(encoder, [short], 10.0, tmp_path / "cache", progress=False)
