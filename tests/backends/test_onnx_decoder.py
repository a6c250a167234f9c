"""A decoder in ONNX Runtime on tiny random weights: what torch says, from the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import Writer, decode
from streamer.backends.base import Floats
from streamer.backends.loaded import as_stored
from streamer.backends.onnx import OnnxNetwork
from streamer.backends.stored import StoredModel
from streamer.engine import Engine, Request
from streamer.nn.checkpoint import load
from streamer.timebase import SAMPLE_RATE
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer

Decoders = tuple[Writer, Writer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny", tiny_model(decoder="attention"))


@pytest.fixture(scope="module")
def decoders(folder: Path) -> Decoders:
    network = in_onnx(folder)[1]
    assert network.writer is not None
    return load(folder).model, network.writer


def in_onnx(folder: Path) -> tuple[StoredModel, OnnxNetwork]:
    model, weights = as_stored(load(folder), folder)
    return model, OnnxNetwork(model, 1, weights, writes=True)


def heard(frames: int = 40) -> Floats:
    return np.random.default_rng(3).standard_normal((1, frames, 64)).astype(np.float32)


def near(found: Floats, wanted: Floats, share: float = 0.03) -> bool:
    """Whether rounding to 8 bits explains the difference: on the whole, and nowhere by ten times as much."""
    apart = np.abs(found - wanted)
    return bool(apart.mean() <= share * wanted.std() and apart.max() <= 10 * share * wanted.std())


def test_each_step_says_what_torch_says(decoders: Decoders) -> None:
    caches = [decoders[0].listen(torch.from_numpy(heard())), decoders[1].listen(heard())]
    for tokens in ([256, 4, 7], [9], [31]):
        wanted, found = (
            decoder.step(np.array([tokens]), cache) for decoder, cache in zip(decoders, caches, strict=True)
        )
        assert near(found[0], wanted[0])
        assert found[1].shape == wanted[1].shape
        assert np.allclose(found[1], wanted[1], atol=0.005)


def test_tokens_may_come_at_once_or_one_by_one_and_be_forgotten(decoders: Decoders) -> None:
    onnx, tokens = decoders[1], [256, 4, 7, 9]
    cache = onnx.listen(heard())
    at_once = onnx.step(np.array([tokens]), cache)[0]
    for again in (1, 0):
        cache.truncate(again)
        one_by_one = [onnx.step(np.array([[token]]), cache)[0] for token in tokens[again:]]
        assert np.allclose(np.concatenate(one_by_one, 1), at_once[:, again:], atol=1e-4)


def test_rows_about_one_encoding_go_on_as_each_would_alone(decoders: Decoders) -> None:
    onnx = decoders[1]
    cache = onnx.listen(heard())
    onnx.step(np.array([[256, 4]]), cache)
    cache.rearrange([0, 0])
    onnx.step(np.array([[7], [9]]), cache)
    cache.rearrange([1, 0])
    logits, weights = onnx.step(np.array([[3], [5]]), cache)
    for row, tokens in enumerate(([256, 4, 9, 3], [256, 4, 7, 5])):
        alone = onnx.listen(heard())
        wanted, attention = onnx.step(np.array([tokens]), alone)
        assert np.allclose(logits[row, -1], wanted[0, -1], atol=1e-4)
        assert np.allclose(weights[row, :, :, -1], attention[0, :, :, -1], atol=1e-5)


def test_more_tokens_than_there_is_room_for_are_refused(decoders: Decoders) -> None:
    onnx = decoders[1]
    room = onnx.dims.n_text_ctx
    with pytest.raises(ValueError, match=f"at most {room} tokens, found {room + 1}"):
        onnx.step(np.zeros((1, room + 1), np.int64), onnx.listen(heard()))


def test_an_engine_writes_with_all_that_a_decoder_can_be_asked(folder: Path) -> None:
    model, network = in_onnx(folder)
    engine = Engine(model, tiny_tokenizer(), network=network)
    samples = (0.1 * np.random.default_rng(0).standard_normal(SAMPLE_RATE)).astype(np.float32)
    for options in (
        DecodeOptions(max_tokens=6),
        DecodeOptions(max_tokens=6, beam=3),
        DecodeOptions(max_tokens=6, prompt=(4, 5), prefix=(7,), timestamps=True),
    ):
        (result,) = engine.run([Request(samples, options, windows=((0, 2),))])
        assert result.decoded is not None
        assert 0 < len(result.decoded.tokens) <= 7
        assert result.scores.shape == (1, 3)
    assert engine.decodes


def test_a_text_and_its_probability_are_torchs(decoders: Decoders) -> None:
    how = DecodeOptions(prefix=tuple(b"as it was"), max_tokens=1)
    states = torch.from_numpy(heard()), heard()
    wanted, found = (
        decode(decoder, given, tiny_tokenizer(), how) for decoder, given in zip(decoders, states, strict=True)
    )
    assert near(found.logprobs[:9], wanted.logprobs[:9])
    assert found.attention.shape == wanted.attention.shape
