"""The screened vocabulary against the whole of it in 8 bits, and against a product in float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.decoder import Writer, decode
from streamer.asr.hotwords import TokenBias
from streamer.asr.rules import log_softmax
from streamer.backends import screened
from streamer.backends.base import Floats
from streamer.backends.graphs import Layers
from streamer.backends.loaded import as_stored
from streamer.backends.onnx import OnnxNetwork
from streamer.backends.session import session
from streamer.backends.stored import Weights
from streamer.backends.verdict import FURTHEST_TOKEN
from streamer.nn.checkpoint import load
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer

WIDTH, TOKENS = 384, 6000
"""An embedding as narrow as any of Whisper's, of fewer tokens; large is what it is."""


@pytest.fixture(scope="module", autouse=True)
def large() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screened, "LARGE", WIDTH * TOKENS)
        yield


@pytest.fixture(scope="module")
def rows() -> NDArray[np.int8]:
    numbers = np.random.default_rng(0).standard_normal((TOKENS, WIDTH), np.float32)
    return np.clip(np.rint(35 * numbers), -127, 127).astype(np.int8)


@pytest.fixture(scope="module")
def scale() -> Floats:
    return np.random.default_rng(1).uniform(0.0002, 0.0004, TOKENS).astype(np.float32)


@pytest.fixture(scope="module")
def graph(rows: NDArray[np.int8], scale: Floats) -> Any:
    """x, and the tokens and position that it is of -> logits as they are, and in 8 bits alone."""
    net = Layers(Weights({}, Path()))
    g = net.graph
    x = g.input("x", np.float32, ("N", "n", WIDTH))
    asked = g.input("tokens", np.int64, ("N", "n")), g.input("first", np.int64, (1,))
    stored = g.constant(rows), g.constant(scale)
    found = screened.logits(net, x, rows, scale, asked, stored)
    g.output("found", found, np.float32, ("N", "n", TOKENS))
    g.output("whole", net.few_rows(x, rows, scale, None), np.float32, ("N", "n", TOKENS))
    return session(g.model(), 1)


@pytest.fixture(scope="module")
def states(rows: NDArray[np.int8], scale: Floats) -> Floats:
    """What a decoder asks with (8, WIDTH): near to some token's row, as sure of it as real ones are."""
    draw = np.random.default_rng(2)
    some = rows[:8] * scale[:8, None]
    near = some / (some**2).sum(1, keepdims=True) * draw.uniform(11, 13, (8, 1))
    return np.asarray(near + 6 * draw.standard_normal((8, WIDTH)), np.float32)


def asked(graph: Any, x: Floats, first: int = 3) -> tuple[Floats, Floats]:
    tokens = np.zeros(x.shape[:2], np.int64)
    found, whole = graph.run(["found", "whole"], {"x": x, "tokens": tokens, "first": np.array([first])})
    return found, whole


def test_the_likeliest_are_exact_and_all_others_near(
    graph: Any, states: Floats, rows: NDArray[np.int8], scale: Floats
) -> None:
    for x in states:
        found = asked(graph, x[None, None])[0][0, 0]
        exact = rows.astype(np.float32) @ x * scale
        highest = np.argsort(exact)[::-1]
        few = highest[: screened.EXACT // 8]
        assert np.allclose(found[few], exact[few], atol=1e-4 * exact.std())
        apart = found - exact
        assert 0 < apart.std() < 0.12 * exact.std()
        assert np.argmax(found) == highest[0]


def test_the_best_token_that_is_allowed_is_the_exact_one(
    graph: Any, states: Floats, rows: NDArray[np.int8], scale: Floats
) -> None:
    """Some of the likelier ones are forbidden."""
    for x in states:
        found = asked(graph, x[None, None])[0][0, 0]
        exact = rows.astype(np.float32) @ x * scale
        for forbidden in (1, 10, 40):
            best = np.argsort(exact)[::-1]
            found[best[:forbidden]] = -np.inf
            assert found.argmax() == best[forbidden]


def test_probabilities_hardly_move(graph: Any, states: Floats, rows: NDArray[np.int8], scale: Floats) -> None:
    apart = []
    for x in states:
        found = log_softmax(asked(graph, x[None, None])[0][0, 0])
        exact = log_softmax(rows.astype(np.float32) @ x * scale)
        assert 0.3 < np.exp(exact.max()) < 0.999
        likeliest = np.argsort(exact)[::-1][:20]
        assert np.abs(found - exact)[likeliest].max() < 0.01
        apart.append(np.abs(np.exp(found) - np.exp(exact)).sum())
    assert np.mean(apart) < FURTHEST_TOKEN


def test_several_tokens_several_texts_and_the_first_token_are_not_screened(
    graph: Any, states: Floats
) -> None:
    for x, first in ((states[None], 3), (states[:, None], 3), (states[None, :1], 0)):
        found, whole = asked(graph, x, first)
        assert np.array_equal(found, whole)
    found, whole = asked(graph, states[None, :1], 1)
    assert not np.array_equal(found, whole)


def test_a_small_vocabulary_is_asked_as_it_is(rows: NDArray[np.int8], scale: Floats) -> None:
    for some, is_screened in ((rows[:-1], False), (rows, True)):
        net = Layers(Weights({}, Path()))
        stored = net.graph.constant(some), net.graph.constant(scale)
        screened.logits(net, "x", some, scale[: len(some)], ("tokens", "first"), stored)
        assert (b"TopK" in net.graph.model()) == is_screened


def test_four_bits_are_half_a_step_off(rows: NDArray[np.int8], scale: Floats) -> None:
    some, sizes = rows[:50].copy(), scale[:50]
    some[7] = 0
    packed, steps, block = screened.in_four_bits(some, sizes)
    assert block * steps.shape[1] == WIDTH
    levels = np.stack([packed & 15, packed >> 4], -1).reshape(50, -1, block).astype(np.float32) - 8
    off = levels * steps[..., None] - (some * sizes[:, None]).reshape(50, -1, block)
    # Only what is as large as the largest, with the other sign, has no level of its own.
    within = levels < 7
    assert (np.abs(off) <= 0.501 * np.abs(steps[..., None]))[within].all()
    assert (np.abs(off) <= 1.001 * np.abs(steps[..., None])).all()
    assert not off[7].any()


@pytest.fixture
def writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Writer, Writer]:
    """A tiny decoder, screened though its vocabulary is small, and as it is."""
    folder = save_tiny(tmp_path / "tiny", tiny_model(decoder="attention"))
    found = []
    for least in (0, 1 << 30):
        monkeypatch.setattr(screened, "LARGE", least)
        model, weights = as_stored(load(folder), folder)
        writer = OnnxNetwork(model, 1, weights, writes=True).writer
        assert writer is not None
        found.append(writer)
    return found[0], found[1]


def test_a_screened_decoder_writes_what_the_whole_one_does(writers: tuple[Writer, Writer]) -> None:
    states = np.random.default_rng(3).standard_normal((1, 40, 64)).astype(np.float32)
    tokenizer = tiny_tokenizer()
    bias = TokenBias(["siren"], tokenizer)
    for options, expected in (
        (DecodeOptions(max_tokens=12), None),
        (DecodeOptions(max_tokens=12, suppress_tokens=(-1, *range(40, 90))), None),
        (DecodeOptions(max_tokens=12, timestamps=True), None),
        (DecodeOptions(max_tokens=12), bias),
        (DecodeOptions(max_tokens=12, beam=3), None),
    ):
        found, wanted = (decode(one, states, tokenizer, options, expected) for one in writers)
        assert same(found, wanted)


def same(found: Decoded, wanted: Decoded) -> bool:
    """The same tokens, about as likely; no speech and what came first exactly as likely."""
    first = len(found.tokens) > 0 and found.logprobs[0] == wanted.logprobs[0]
    near = abs(found.avg_logprob - wanted.avg_logprob) < 0.01
    return found.tokens == wanted.tokens and near and first and found.no_speech_prob == wanted.no_speech_prob
