"""ONNX Runtime on tiny random models: what torch says, from the same file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamer.asr.decode import DecodeOptions
from streamer.asr.ngram import WordModel
from streamer.asr.tokenizer import load_tokenizer
from streamer.backends import processor
from streamer.backends.onnx import OnnxNetwork
from streamer.backends.stored import read_stored
from streamer.backends.torch import WhisperNetwork
from streamer.engine import Engine, Request
from streamer.errors import CheckpointError
from streamer.nn.checkpoint import LoadedModel, load
from streamer.nn.definition import WEIGHTS, ContextInfo, WordsInfo
from streamer.nn.silence import Thinned
from streamer.timebase import SAMPLE_RATE
from streamer.training.ngrams import NgramConfig, estimate
from tests.tiny import save_tiny, tiny_model

Networks = tuple[WhisperNetwork, OnnxNetwork]
Samples = NDArray[np.float32]


def noise(seconds: float, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def stored(folder: Path, precision: Literal["int8", "mixed", "fp32"] = "int8") -> Path:
    """A tiny model with a word model, in a folder."""
    words = folder.with_name(f"{folder.name}-words.safetensors")
    WordModel.of(estimate([("the cat sat", 2), ("a dog", 1)], NgramConfig(10, 1, 1))).save(words)
    tiny = tiny_model()
    info = tiny.info.model_copy(update={"words": WordsInfo()})
    return save_tiny(folder, replace(tiny, info=info, words=words), precision)


@pytest.fixture(scope="module", params=["int8", "mixed", "fp32"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stored(tmp_path_factory.mktemp("models") / request.param, request.param)


@pytest.fixture(scope="module")
def networks(folder: Path) -> Networks:
    return WhisperNetwork(load(folder), torch.float32), OnnxNetwork(read_stored(folder), 1)


def near(found: NDArray[np.float32], wanted: NDArray[np.float32], share: float = 0.03) -> bool:
    """Whether rounding to 8 bits explains the difference: on the whole, and nowhere by ten times as much."""
    apart = np.abs(found - wanted)
    return bool(apart.mean() <= share * wanted.std() and apart.max() <= 10 * share * wanted.std())


@pytest.mark.parametrize("seconds", [1.6, 2.4])
def test_every_network_says_what_torch_says(networks: Networks, seconds: float) -> None:
    reference, onnx = networks
    clips = [noise(seconds), noise(seconds - 0.3, 1)]
    length = onnx.context(len(clips[0]))
    assert length == reference.context(len(clips[0]))
    wanted, found = (network.encode(clips, length, True, False) for network in networks)
    assert found.layers is not None
    assert wanted.layers is not None
    assert near(found.states, wanted.states.numpy())
    assert near(found.layers, wanted.layers.numpy())
    # The readers alone, on the same states.
    assert near(onnx.ctc(wanted.states[:1].numpy()), reference.ctc(wanted.states[:1]))
    windows = [wanted.layers[i, :, first : first + 3] for i, first in ((0, 0), (0, 1), (1, 0))]
    assert onnx.tags([w.numpy() for w in windows]) == pytest.approx(reference.tags(windows), abs=0.01)


@pytest.mark.parametrize("seconds", [1.6, 29.8])
def test_thinned_silence_is_torchs(folder: Path, seconds: float) -> None:
    """Encoder, decoder and the decoder's opinion; behind 29.8 s there is none left to thin."""
    context = ContextInfo(thinned=True)
    model, kept = load(folder), read_stored(folder)
    info = model.info.model_copy(update={"context": context})
    reference = WhisperNetwork(replace(model, info=info), torch.float32)
    onnx = OnnxNetwork(replace(kept, info=info), 1)
    writing = OnnxNetwork(replace(kept, info=info), 1, writes=True)
    clips = [noise(seconds), noise(seconds - 0.3, 1)]
    length = onnx.context(len(clips[0]))
    assert length == reference.context(len(clips[0]))
    wanted, found = (network.encode(clips, length, True, False) for network in (reference, onnx))
    assert found.layers is not None
    assert wanted.layers is not None
    assert found.states.shape == wanted.states.shape
    assert near(found.states, wanted.states.numpy())
    assert near(found.layers, wanted.layers.numpy())
    np.testing.assert_array_equal(found.shares, wanted.shares)
    # The readers alone, on the same states.
    one = wanted.window(1)
    same = Thinned(one.states.numpy(), found.shares)
    assert near(onnx.ctc(same), reference.ctc(one))
    rng = np.random.default_rng(0)
    given, chosen = rng.integers(0, 256, (2, 5, 9))
    assert onnx.follow is not None
    assert near(onnx.follow(same, given, chosen), reference.follow(one, given, chosen))
    assert writing.writer is not None
    told = [
        writer.step(given[:1], writer.listen(heard))
        for writer, heard in ((writing.writer, same), (reference.writer, one))
    ]
    for mine, theirs in zip(*told, strict=True):
        assert near(mine, theirs)


def test_the_decoders_opinion_is_torchs(networks: Networks) -> None:
    reference, onnx = networks
    states = torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(3))
    rng = np.random.default_rng(0)
    given, wanted = rng.integers(0, 256, (2, 5, 9))
    assert onnx.follow is not None
    found, expected = onnx.follow(states.numpy(), given, wanted), reference.follow(states, given, wanted)
    assert found.shape == (5, 9)
    assert near(found, expected)


def decided(folder: Path) -> tuple[LoadedModel, Samples]:
    """A model that says a, b or nothing, and noise in which torch is sure of each frame."""
    tiny = tiny_model()
    assert tiny.ctc is not None
    chosen = [0, ord("a") + 1, ord("b") + 1]
    with torch.no_grad():
        tiny.ctc.out.weight *= 1000
        tiny.ctc.out.bias.fill_(-30_000).index_fill_(0, torch.tensor(chosen), 0.0)
    save_tiny(folder, tiny)
    model = load(folder)
    reference = WhisperNetwork(model, torch.float32)
    for seed in range(100):
        samples = noise(0.4, seed)
        heard = reference.ctc(
            reference.encode([samples], reference.context(len(samples)), False, False).states
        )
        best = np.sort(heard[: reference.frames(len(samples))])
        margins = best[:, -1] - best[:, -2]
        if margins.min() > 0.05 * margins.mean():
            return model, samples
    raise AssertionError("no noise is decided")


def test_an_engine_hears_the_same_words_times_and_sounds(tmp_path: Path) -> None:
    loaded, samples = decided(tmp_path / "model")
    model = read_stored(tmp_path / "model")
    tokenizer = load_tokenizer(model.vocabulary)
    request = Request(samples, DecodeOptions(), windows=((0, 1), (1, 4)))
    wanted = Engine(loaded, tokenizer).run([request])[0]
    found = Engine(model, tokenizer, network=OnnxNetwork(model, 1)).run([request])[0]
    assert wanted.decoded is not None
    assert found.decoded is not None
    assert found.decoded.text == wanted.decoded.text != ""
    assert found.frames == wanted.frames
    assert [(w.text, w.start, w.end) for w in found.words] == [(w.text, w.start, w.end) for w in wanted.words]
    assert found.scores == pytest.approx(wanted.scores, abs=0.02)


def test_a_batch_is_its_windows_one_after_the_other(folder: Path) -> None:
    onnx = OnnxNetwork(read_stored(folder), 1)
    clips = [noise(1.6), noise(1.6, 1)]
    together = onnx.encode(clips, onnx.context(len(clips[0])), False, False)
    assert together.layers is None
    for i, clip in enumerate(clips):
        alone = onnx.encode([clip], onnx.context(len(clip)), False, False).states
        assert np.array_equal(together.states[i : i + 1], alone)


def test_a_processor_that_cannot_multiply_signed_comes_to_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, this_one_can = [], processor.multiplies_signed()
    for can in (True, False):
        monkeypatch.setattr(processor, "multiplies_signed", lambda can=can: can)
        onnx = OnnxNetwork(read_stored(folder), 1)
        states.append(onnx.encode([noise(1.0)], onnx.context(SAMPLE_RATE), False, False).states)
    assert np.array_equal(*states) or not this_one_can


def test_a_model_without_a_branch_or_a_head_has_neither(tmp_path: Path) -> None:
    deaf = save_tiny(tmp_path / "deaf", replace(tiny_model(), ctc=None, tags=None, labels=()))
    onnx = OnnxNetwork(read_stored(deaf), 1)
    assert onnx.follow is None
    assert onnx.encode([noise(1.0)], onnx.context(SAMPLE_RATE), False, False).states.shape == (1, 80, 64)


def test_weights_that_miss_something_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path / "model")
    (path / WEIGHTS).write_bytes(b"no tensors")
    with pytest.raises(CheckpointError, match="cannot read the weights"):
        OnnxNetwork(read_stored(path), 1)
