"""OpenVINO on a tiny random encoder: what the same graph says elsewhere."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from streamer.audio.mel import log_mel
from streamer.backends import graphs, openvino
from streamer.backends.base import Floats
from streamer.backends.plain import PlainLayers
from streamer.backends.session import session
from streamer.backends.stored import Weights, read_stored
from streamer.errors import MissingExtraError, ModelError
from tests.tiny import save_tiny

needs_it = pytest.mark.skipif(not openvino.installed(), reason="OpenVINO is not installed (extra `openvino`)")
NAMES = ("states", "layers")


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = save_tiny(tmp_path_factory.mktemp("models") / "model")
    return graphs.encoder(PlainLayers(Weights.of(folder)), read_stored(folder).info.dims, pooled=True)


def noise(*loud: float) -> Floats:
    rng = np.random.default_rng(0)
    return np.stack([log_mel((a * rng.standard_normal(25_600)).astype(np.float32), 80) for a in loud])


@needs_it
def test_it_says_what_onnx_runtime_says_of_the_same_graph(graph: bytes, tmp_path: Path) -> None:
    (tmp_path / "encoder.onnx").write_bytes(graph)
    mel = noise(0.1, 0.01)
    wanted = session(graph, 1).run(NAMES, {"mel": mel})
    for model in (graph, tmp_path / "encoder.onnx"):
        for found, one in zip(openvino.session(model, 1).run(NAMES, {"mel": mel}), wanted, strict=True):
            apart = np.abs(found - one)
            assert found.shape == one.shape
            assert apart.mean() <= 0.03 * one.std()
            assert apart.max() <= 0.3 * one.std()


@needs_it
def test_a_batch_is_its_windows_one_after_the_other(graph: bytes) -> None:
    ours, mel = openvino.session(graph, 1), noise(0.1, 0.3, 0.001)
    together = ours.run(NAMES, {"mel": mel})
    for i in range(len(mel)):
        for whole, alone in zip(together, ours.run(NAMES, {"mel": mel[i : i + 1]}), strict=True):
            assert np.array_equal(whole[i : i + 1], alone)


@needs_it
def test_threads_may_ask_at_once(graph: bytes) -> None:
    ours, mels = openvino.session(graph, 1, workers=2), [noise(loud) for loud in (0.1, 0.3, 0.01, 0.03)] * 3
    alone = [ours.run(NAMES, {"mel": mel}) for mel in mels]
    with ThreadPoolExecutor(2) as threads:
        together = list(threads.map(lambda mel: ours.run(NAMES, {"mel": mel}), mels))
    for wanted, found in zip(alone, together, strict=True):
        assert all(np.array_equal(one, other) for one, other in zip(wanted, found, strict=True))


@needs_it
def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(ModelError, match=r"OpenVINO .* cannot run the model"):
        openvino.session(b"nothing", 1)


def test_without_it_the_extra_is_named(graph: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError, match=r"streamer\[openvino\]"):
        openvino.session(graph, 1)
