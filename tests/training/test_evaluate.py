from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch

from streamer.errors import StreamerError
from streamer.nn.heads import CtcHead
from streamer.nn.whisper import DecoderCache
from streamer.training.evaluate import timestamp_score, word_error_rates
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


def writing(tokens: list[int]) -> SpeechModel:
    """A model whose decoder writes these tokens, then the end, whatever it hears."""
    model = oracle("x")
    decoder = model.whisper.decoder
    real = decoder.step

    def step(given: torch.Tensor, cache: DecoderCache) -> tuple[torch.Tensor, torch.Tensor]:
        before = cache.length
        logits, weights = real(given, cache)
        logits.fill_(-50.0)
        for i, row in enumerate(logits[0], before):
            row[tokens[i] if i < len(tokens) else TOKENIZER.eot] = 50.0
        return logits, weights

    decoder.step = step  # type: ignore[method-assign]
    return model


def test_timestamps_are_measured_at_the_borders_of_utterances(tmp_path: Path) -> None:
    """Times written everywhere are near every border; one at the beginning is near none."""
    t = TOKENIZER
    pack = speech_pack(tmp_path, 4)
    grid: list[int] = []
    letters = Random(0)
    for i in range(0, 300, 2):  # other letters each time: a text that repeats itself is cut off
        said = "".join(letters.sample("abcdefghijklmnopqrstuvwxyz", 2))
        grid += [t.timestamp(i / 10), *t.encode(said), t.timestamp(i / 10 + 0.1)]
    beginning = [t.timestamp(0.0), *t.encode(" a"), t.timestamp(0.1)]
    everywhere, nowhere = (
        timestamp_score(writing(tokens), t, pack, range(len(pack)), 3, progress=False)
        for tokens in (grid, beginning)
    )
    assert everywhere.items == 3
    assert 0 < everywhere.median <= 0.05 + 0.02
    assert nowhere.median > 0.3
    assert everywhere.written > nowhere.written > 0
