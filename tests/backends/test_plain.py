"""An encoder in standard operators alone: torch's, with nothing rounded but the stored weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from streamer.audio.mel import log_mel
from streamer.backends import graphs
from streamer.backends.plain import PlainLayers
from streamer.backends.session import session
from streamer.backends.stored import Weights, read_stored
from streamer.nn.checkpoint import load
from tests.tiny import save_tiny


def test_it_is_torchs_encoder(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "model")
    graph = graphs.encoder(PlainLayers(Weights.of(folder)), read_stored(folder).info.dims, pooled=True)
    assert graph.count(b"com.microsoft") == 1, (
        "more than the declaration: an operator that is no standard one"
    )
    samples = (0.1 * np.random.default_rng(0).standard_normal((2, 25_600))).astype(np.float32)
    mel = np.stack([log_mel(clip, 80) for clip in samples])
    states, layers = session(graph, 1).run(["states", "layers"], {"mel": mel})
    with torch.inference_mode():
        wanted = load(folder).model.encode(torch.from_numpy(mel), True)
    assert wanted.layers is not None
    assert states == pytest.approx(wanted.states.numpy(), abs=1e-3)
    assert layers == pytest.approx(wanted.layers.numpy(), abs=1e-3)
