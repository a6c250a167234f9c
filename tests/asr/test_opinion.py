"""The decoder's opinion is what its own steps add up to."""

from __future__ import annotations

import pytest
import torch

from streamer.asr.opinion import opinions
from streamer.backends.torch import WhisperNetwork
from streamer.nn.whisper import DecoderCache, Whisper
from tests.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()


def stepwise(model: Whisper, states: torch.Tensor, text: list[int], ended: bool) -> float:
    cache = DecoderCache(model.decoder, states)
    tokens = [*TOKENIZER.sot_sequence(), TOKENIZER.no_timestamps, *text]
    total = 0.0
    for i, token in enumerate(tokens):
        logits, _ = model.decoder.step(torch.tensor([[token]]), cache)
        following = [*tokens[1:], TOKENIZER.eot][i]
        if i >= len(tokens) - len(text) - 1 and (ended or i < len(tokens) - 1):
            total += float(logits[0, -1].float().log_softmax(-1)[following])
    return total


@pytest.mark.parametrize("ended", [True, False])
@torch.inference_mode()
def test_a_batch_of_texts_equals_one_step_after_another(ended: bool) -> None:
    tiny = tiny_model()
    states = torch.randn(1, 40, 64)
    texts = [list(b" one"), [], list(b" a longer one")]
    found = opinions(WhisperNetwork(tiny, torch.float32).follow, states, TOKENIZER, texts, ended)
    assert found == pytest.approx([stepwise(tiny.model, states, text, ended) for text in texts], abs=1e-3)
