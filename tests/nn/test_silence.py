"""What stands for silence, and what a network makes of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from streamer.audio.mel import log_mels
from streamer.nn import silence
from streamer.nn.silence import FRAMES, ONE_IN, Thinned, rest
from streamer.nn.whisper import Encoding, Whisper
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE
from tests.tiny import tiny_model


@given(st.integers(0, FRAMES))
def test_what_is_kept_counts_for_all_that_there_was(first: int) -> None:
    places, shares = rest(first)
    counts = np.exp(shares.astype(np.float64))
    assert len(shares) == first + len(places)
    assert (counts[:first] == 1).all()
    assert counts.sum() == pytest.approx(FRAMES, abs=1e-3)
    assert (counts >= 1 - 1e-6).all()
    assert (np.diff(places) > 0).all()
    assert all(first <= place < FRAMES for place in places)
    assert len(places) <= (FRAMES - first) / ONE_IN + 1
    assert len(rest(FRAMES).places) == 0


def whisper() -> Whisper:
    return tiny_model().model


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def encode(model: Whisper, samples: np.ndarray, first: int) -> tuple[Encoding, Tensor]:
    """Thinned behind so many frames; and its shares."""
    kept, length = silence.fill(first * FRAME)
    places, shares = (torch.tensor(one) for one in kept)
    mel = torch.from_numpy(log_mels([samples], length, model.dims.n_mels))
    return model.encode(mel, True, (places, shares)), shares


def full(model: Whisper, samples: np.ndarray) -> Encoding:
    return model.encode(torch.from_numpy(log_mels([samples], FULL_CONTEXT, model.dims.n_mels)), True)


@torch.inference_mode()
def test_nothing_left_out_is_the_full_context() -> None:
    model, samples = whisper(), noise(28.0)
    found, shares = encode(model, samples, FRAMES)
    wanted = full(model, samples)
    torch.testing.assert_close(found.states, wanted.states)
    assert found.layers is not None
    assert wanted.layers is not None
    torch.testing.assert_close(found.layers, wanted.layers)
    tokens = np.array([[3, 4, 5]])
    for told, said in zip(
        model.step(tokens, model.listen(Thinned(found.states, shares))),
        model.step(tokens, model.listen(wanted.states)),
        strict=True,
    ):
        np.testing.assert_allclose(told, said, atol=1e-5)


@torch.inference_mode()
def test_frames_that_are_all_alike_may_stand_for_each_other() -> None:
    """Without positions all silence behind the audio is the same: leaving most of it out changes nothing."""
    model, samples = whisper(), noise(2.0)
    model.encoder.positional_embedding.zero_()
    audio = len(samples) // FRAME
    found, shares = encode(model, samples, audio + 25)
    wanted = full(model, samples)
    # Only the last frame of the full context sees its edge: one key of 1500.
    torch.testing.assert_close(found.states[:, :audio], wanted.states[:, :audio], atol=2e-3, rtol=0)
    cut = model.encode(torch.from_numpy(log_mels([samples], (audio + 25) * FRAME, model.dims.n_mels)))
    near = (found.states[:, :audio] - wanted.states[:, :audio]).abs().max()
    far = (cut.states[:, :audio] - wanted.states[:, :audio]).abs().max()
    assert near < far / 10
    tokens = np.array([[3, 4, 5]])
    logits, weights = model.step(tokens, model.listen(Thinned(found.states, shares)))
    plainly, all_weights = model.step(tokens, model.listen(wanted.states))
    np.testing.assert_allclose(logits, plainly, atol=5e-3)
    np.testing.assert_allclose(weights[..., :audio], all_weights[..., :audio], atol=1e-4)
    tokens_before = torch.from_numpy(tokens)
    followed = model.decoder(tokens_before, found.states, shares)
    torch.testing.assert_close(followed, torch.from_numpy(logits), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_a_batch_is_its_windows() -> None:
    model = whisper()
    kept, length = silence.fill(80 * FRAME)
    places, shares = (torch.tensor(one) for one in kept)
    mel = torch.from_numpy(log_mels([noise(1.0), noise(0.7, 1)], length, model.dims.n_mels))
    together = model.encode(mel, True, (places, shares))
    for i in range(2):
        alone = model.encode(mel[i : i + 1], True, (places, shares))
        torch.testing.assert_close(together.states[i : i + 1], alone.states, atol=1e-5, rtol=1e-5)
