"""Every family through one door, in windows that leave no seam."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.encoders import Encoder, load_encoder, pooled
from streamer.errors import ConfigError
from streamer.nn.frames import Frames
from tests.cli.tiny import make_model
from tests.nn.test_wav2vec1 import SMALL, checkpoint
from tests.tiny_speech import save_speech
from tests.training.corpora import write_teacher

pytestmark = pytest.mark.filterwarnings("ignore")


def noise(n: int) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


def test_whisper_gives_what_its_heads_read(tmp_path: Path) -> None:
    """Means over 20 frames are the pooled layers of the daemon's pass, the last norm gives its states."""
    from streamer.audio.mel import log_mel
    from streamer.nn.checkpoint import load

    folder = make_model(tmp_path / "noise")
    model = load(folder).model
    samples = noise(2 * 6400)
    frames = load_encoder(folder).layers(samples)
    with torch.inference_mode():
        expected = model.encode(torch.from_numpy(log_mel(samples, 80))[None], pooled=True)
        assert expected.layers is not None
        torch.testing.assert_close(frames.tokens(20), expected.layers)
        torch.testing.assert_close(model.encoder.ln_post(frames.layers[:, -1]), expected.states)


def test_a_measured_margin_is_kept(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "noise")
    plain, samples = load_encoder(folder), noise(2 * 6400)
    definition = folder / "model.toml"
    definition.write_text(definition.read_text().replace("margin = 0.0", "margin = 1.2"))
    measured = load_encoder(folder)
    padded = plain.layers(np.pad(samples, (0, 3 * 6400))).layers[:, :, :40]
    torch.testing.assert_close(measured.layers(samples).layers, padded)
    assert not torch.allclose(plain.layers(samples).layers, padded)
    assert measured.identity != plain.identity
    assert measured.layers(noise(480000)).lengths == (1500,)


def test_wav2vec2_and_wav2vec(tmp_path: Path) -> None:
    save_speech(tmp_path / "w2v2", kind="Model")
    checkpoint(tmp_path / "wav2vec.pt", SMALL)
    modern, old = load_encoder(tmp_path / "w2v2"), load_encoder(tmp_path / "wav2vec.pt")
    assert (modern.n_layer, modern.frames_per_second) == (2, 50)
    assert (old.n_layer, old.frames_per_second) == (2, 100)
    assert modern.layers(noise(6480)).layers.shape == (1, 2, 20, 32)
    assert old.layers(noise(6465), 2).layers.shape == (1, 1, 38, 8)


def test_windows_leave_no_seam(tmp_path: Path) -> None:
    """As many frames as in one pass, and each window's are its own pass's."""
    save_speech(tmp_path, kind="Model", large=True)
    whole = load_encoder(tmp_path)
    cut = replace(whole, window=6400)
    samples = noise(15000)
    frames = cut.layers(samples)
    assert frames.lengths == whole.layers(samples).lengths
    torch.testing.assert_close(frames.layers[:, :, 20:40], whole.layers(samples[6400:12880]).layers)


def test_layers_by_name_and_number() -> None:
    encoder = Encoder("x", lambda _: pytest.fail("not asked"), 4)
    assert [encoder.layer(text) for text in ("all", "last", "1", "4")] == [None, 4, 1, 4]
    for text in ("0", "5", "-1", "first", "²"):
        with pytest.raises(ConfigError, match="a number from 1 to 4"):
            encoder.layer(text)
    with pytest.raises(ValueError, match="found none"):
        encoder.layers(noise(0))


def test_pooling() -> None:
    layers = torch.arange(10.0).reshape(1, 1, 5, 2)
    frames = Frames(layers[:, 0], layers[:, 0], layers, (5,))
    assert pooled(frames, "none").shape == (1, 5, 2)
    assert pooled(frames, "mean").tolist() == [[4, 5]]
    assert pooled(frames, 4).tolist() == [[[3, 4], [8, 9]]]


def test_a_bare_encoder_and_what_it_is_padded_to(tmp_path: Path) -> None:
    write_teacher(tmp_path / "mine.safetensors")
    bare = load_encoder(tmp_path / "mine.safetensors")
    full = load_encoder(tmp_path / "mine.safetensors", "full")
    samples = noise(6400)
    heard = bare.layers(samples).layers
    assert heard.shape == full.layers(samples).layers.shape == (1, 1, 20, 64)
    padded = bare.layers(np.pad(samples, (0, 480000 - 6400))).layers[:, :, :20]
    torch.testing.assert_close(full.layers(samples).layers, padded)
    assert not torch.allclose(heard, padded)
    assert bare.name == "mine"
    assert bare.identity != full.identity
    assert bare.identity == load_encoder(tmp_path / "mine.safetensors", "short").identity
