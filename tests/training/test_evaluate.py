from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamer.errors import StreamerError
from streamer.nn.heads import CtcHead
from streamer.training.evaluate import word_error_rates
from streamer.training.speech import SpeechModel
from tests.tiny import tiny_model, tiny_tokenizer
from tests.training.corpora import speech_pack

TOKENIZER = tiny_tokenizer()


def oracle(letter: str) -> SpeechModel:
    """A tiny Whisper with a CTC branch that hears nothing but `letter`."""
    whisper = tiny_model().model
    ctc = CtcHead(64, 256)
    with torch.no_grad():
        ctc.out.weight.zero_()
        ctc.out.bias.zero_()
        ctc.out.bias[1 + ord(letter)] = 9
    model = SpeechModel(whisper, 256)
    model.ctc = ctc
    return model.eval()


def test_word_error_rates_count_words(tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("whisper.normalizers")
    pack = speech_pack(tmp_path, 2)  # "yes" and "no"
    score = word_error_rates(oracle("x"), TOKENIZER, pack, [0, 1], progress=False)
    assert score.utterances == 2
    assert score.ctc == 100  # one wrong word for each right one
    assert score.attention >= 0
    with pytest.raises(StreamerError, match="found none"):
        word_error_rates(oracle("x"), TOKENIZER, pack, [], progress=False)
