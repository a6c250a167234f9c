"""Other programs get the same dimensions, the same utterance and the same number of tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from streamer.audio.mel import log_mel
from streamer.errors import ConfigError, MissingExtraError
from streamer.evaluation.engine_cost import FINAL, VOCABULARY
from streamer.evaluation.peers import CTranslate2, OpenAIWhisper, make_peers
from streamer.nn.whisper import WhisperDims

DIMS = WhisperDims(80, 1500, 64, 2, 2, VOCABULARY, 448, 64, 2, 2)
SPEECH = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)


def test_openai_whisper_pads_to_30_s_and_writes_what_is_asked_for() -> None:
    pytest.importorskip("whisper")
    final, encoder = OpenAIWhisper(DIMS)(SPEECH, 5, 1)
    assert (final.part, final.tokens, final.context, encoder.context) == (FINAL, 5, 30, 30)
    assert encoder.call().shape == (1, 1500, 64)  # type: ignore[attr-defined]


def test_ctranslate2_has_the_same_weights() -> None:
    pytest.importorskip("ctranslate2")
    torch.manual_seed(0)
    peer = CTranslate2(DIMS)
    runs = peer(SPEECH, 5, 1)
    assert [(run.part, run.context) for run in runs] == [
        (FINAL, 30),
        ("encoder", 30),
        (FINAL, 1),
        ("encoder", 1),
    ]
    assert [run.tokens for run in runs[::2]] == [5, 5]
    theirs = torch.from_numpy(np.array(runs[3].call()))
    with torch.inference_mode():
        ours = peer.source.encode(torch.from_numpy(log_mel(SPEECH))[None]).states
    assert theirs.shape == ours.shape
    assert torch.cosine_similarity(theirs, ours, dim=-1).min() > 0.99


def test_names_and_what_is_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'ctranslate2'"):
        make_peers("tiny", ["ctranslate"])
    monkeypatch.setitem(__import__("sys").modules, "ctranslate2", None)
    monkeypatch.setitem(__import__("sys").modules, "whisper", None)
    monkeypatch.setitem(__import__("sys").modules, "pywhispercpp.model", None)
    for name in ("ctranslate2", "openai-whisper", "whisper.cpp"):
        with pytest.raises(MissingExtraError, match=r"streamer\[peers\]"):
            make_peers("tiny", [name])
