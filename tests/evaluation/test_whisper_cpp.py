"""whisper.cpp gets the same weights and writes what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamer.audio.mel import log_mel
from streamer.evaluation.engine_cost import FINAL, VOCABULARY
from streamer.evaluation.whisper_cpp import PIECE, WhisperCpp
from streamer.nn.whisper import WhisperDims
from streamer.timebase import FULL_CONTEXT

DIMS = WhisperDims(80, 1500, 64, 2, 2, VOCABULARY, 448, 64, 2, 2)
SPEECH = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
NOT_TEXT = 50_256
"""The first token of an English vocabulary that is none: the end of a text."""


@pytest.mark.parametrize("seed", range(3))
def test_it_has_the_same_weights(seed: int) -> None:
    pytest.importorskip("pywhispercpp")
    torch.manual_seed(seed)
    peer = WhisperCpp(DIMS)
    runs = peer(SPEECH, 5, 1)
    assert [(run.part, run.context, run.tokens) for run in runs] == [(FINAL, 30, 5), (FINAL, 1, 5)]
    padded = np.pad(SPEECH, (0, FULL_CONTEXT - len(SPEECH)))
    tokens = [NOT_TEXT + 1, NOT_TEXT + 106]  # a transcript begins, without timestamps
    with torch.inference_mode():
        states = peer.source.encode(torch.from_numpy(log_mel(padded))[None]).states
        for _ in range(5):
            logits = peer.source.decoder(torch.tensor([tokens]), states)[0, -1, 1:NOT_TEXT]  # no blank first
            tokens.append(1 + int(logits.argmax()))
    said = peer.write(SPEECH, 5, 1, FULL_CONTEXT)
    assert said == "".join(f"{PIECE}{token}" for token in tokens[2:])
