"""Encoders of the wav2vec 2.0 family against transformers' own, whole and in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamer.nn.frames import Frames
from streamer.nn.speech import frames_of, unit_variance
from streamer.nn.speech_checkpoint import load_speech
from tests.tiny_speech import CLASSES, save_speech

pytestmark = pytest.mark.filterwarnings("ignore")


def noise(*lengths: int, seed: int = 0) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    return [(0.05 * random.standard_normal(n) + 0.01).astype(np.float32) for n in lengths]


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
@pytest.mark.parametrize("family", CLASSES)
@torch.inference_mode()
def test_outputs_are_those_of_transformers(tmp_path: Path, family: str, large: bool) -> None:
    """Every layer and the CTC logits; a batch of several lengths is the clips one by one."""
    reference = save_speech(tmp_path, family, large=large)
    loaded = load_speech(tmp_path)
    clips = noise(16000, 9000, 400)
    frames = loaded.encoder(clips)
    assert frames.lengths == (49, 27, 1)
    assert loaded.ctc is not None
    for i, clip in enumerate(clips):
        given = torch.from_numpy(unit_variance(clip) if large else clip)[None]
        expected = getattr(reference, family)(given, output_hidden_states=True)
        n = frames.lengths[i]
        torch.testing.assert_close(frames.states[i, :n], expected.last_hidden_state[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(frames.embedding[i, :n], expected.hidden_states[0][0], atol=1e-4, rtol=0)
        torch.testing.assert_close(frames.layers[i, 0, :n], expected.hidden_states[1][0], atol=1e-4, rtol=0)
        last = frames.layers[i, -1, :n]
        if large:  # whose last norm comes behind all layers
            last = loaded.encoder.body.encoder.layer_norm(last)
        torch.testing.assert_close(last, frames.states[i, :n])
        wanted = reference(given).logits[0]
        silent, spoken = wanted[:, :4].logsumexp(-1, keepdim=True), wanted[:, 4:]
        ours = loaded.ctc(frames.states[i, :n])
        torch.testing.assert_close(ours, torch.cat([silent, spoken], -1), atol=1e-4, rtol=0)


def test_normalisation_is_that_of_transformers() -> None:
    import transformers

    (clip,) = noise(3000)
    extractor: Any = transformers.Wav2Vec2FeatureExtractor
    expected = extractor(do_normalize=True)(clip, sampling_rate=16000).input_values[0]
    np.testing.assert_allclose(unit_variance(clip), expected, atol=1e-5)


def test_frames_are_counted_as_the_convolutions_make_them(tmp_path: Path) -> None:
    save_speech(tmp_path, kind="Model")
    encoder = load_speech(tmp_path).encoder
    for n in (1, 399, 400, 719, 720, 6400):
        assert encoder(noise(n)).states.shape[1] == frames_of(n)
    with pytest.raises(ValueError, match="found none"):
        encoder([np.empty(0, np.float32)])


def test_tokens_average_a_clips_own_frames_only() -> None:
    layers = torch.arange(2 * 1 * 5 * 1, dtype=torch.float32).reshape(2, 1, 5, 1)
    frames = Frames(layers[:, 0], layers[:, 0], layers, (5, 1))
    assert frames.tokens(2).flatten().tolist() == [0.5, 2.5, 4.0, 5.0, 0.0, 0.0]
