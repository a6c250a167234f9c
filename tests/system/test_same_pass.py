"""What may be asked of a model's words has its effect on speech, and none of it runs the encoder again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.tokenizer import Tokenizer
from streamer.audio.decode import decode_file
from streamer.config import ModelConfig, TextConfig
from streamer.engine import Engine, Request, load_engine
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import ContextInfo, Dims, ModelInfo, TextInfo, Vocabulary
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.resources import find_sample, models_dir
from streamer.timebase import SAMPLE_RATE
from streamer.training.demo import SPEECH

WELCOME, RAINING, TELEPHONE, CAPTAIN, SMOKE = range(5)
"""The sample's sentences."""

LONGEST = 4.0
"""Seconds of the longest of them."""

PLAIN = DecodeOptions()

pytestmark = pytest.mark.skipif(
    not (models_dir() / "bundled" / "model.toml").exists(), reason="there is no bundled model"
)


@pytest.fixture(scope="module")
def sentences() -> list[NDArray[np.float32]]:
    audio = decode_file(find_sample())
    begins = [round(start * SAMPLE_RATE) for start, _, _ in SPEECH]
    return [audio[begin : begin + round(LONGEST * SAMPLE_RATE)] for begin in begins]


@cache
def bundled(decoder: str, *hotwords: str) -> Engine:
    about = ModelConfig.model_validate({"decoder": decoder, "precision": "fp32", "threads": 1})
    return load_engine(about, TextConfig(hotwords=list(hotwords)))


Read = Callable[..., Decoded]


@pytest.fixture
def read(sentences: list[NDArray[np.float32]]) -> Read:
    """A sentence, in exactly one pass."""

    def read(
        sentence: int, options: DecodeOptions = PLAIN, decoder: str = "attention", *hotwords: str
    ) -> Decoded:
        engine = bundled(decoder, *hotwords)
        before = engine.encoder_passes
        (result,) = engine.run([Request(sentences[sentence], options)])
        assert engine.encoder_passes == before + 1
        assert result.decoded is not None
        return result.decoded

    return read


def test_a_beam_finds_likelier_texts_and_the_right_one_where_greedy_decoding_does_not(read: Read) -> None:
    greedy, wide = read(CAPTAIN), read(CAPTAIN, replace(PLAIN, beam=5))
    assert greedy.text != SPEECH[CAPTAIN][2] == wide.text
    assert wide.avg_logprob > greedy.avg_logprob
    assert read(SMOKE, replace(PLAIN, beam=5)).text == read(SMOKE).text == SPEECH[SMOKE][2]


@pytest.mark.parametrize(
    ("decoder", "sentence", "phrase"), [("ctc", WELCOME, "sea"), ("attention", RAINING, "since early")]
)
def test_expected_words_are_found(read: Read, decoder: str, sentence: int, phrase: str) -> None:
    assert not read(sentence, PLAIN, decoder).text.count(f" {phrase}")
    assert f" {phrase} " in read(sentence, PLAIN, decoder, phrase).text + " "


def test_what_was_said_before_is_heeded_and_not_written_again(read: Read) -> None:
    before = " good morning"
    told = replace(PLAIN, prompt=tuple(bundled("attention").tokenizer.encode(before)))
    texts = [(read(i).text, read(i, told).text) for i in (WELCOME, TELEPHONE)]
    assert all(plain != prompted for plain, prompted in texts)
    assert not any(prompted.startswith(before.strip()) for _, prompted in texts)


def test_only_what_is_not_likely_enough_is_tried_again(read: Read) -> None:
    options = replace(PLAIN, least_logprob=-0.5, again=(0.4, 0.8))
    sure, unsure = read(SMOKE, options), read(TELEPHONE, options)
    assert sure.temperature == 0
    assert unsure.temperature > 0
    assert unsure.text != read(TELEPHONE).text


def multilingual(language: str) -> Engine:
    """Random weights that take everything for one language."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.official(51865)
    dims = WhisperDims(80, 1500, 64, 2, 2, tokenizer.n_vocab, 448, 32, 2, 2)
    whisper = Whisper(dims).eval()
    with torch.no_grad():
        spoken = dict(zip(tokenizer.languages, tokenizer.language_tokens, strict=True))
        embedding = whisper.decoder.token_embedding.weight
        embedding[list(spoken.values())] = 0
        embedding[spoken[language]] = 10 * whisper.decoder.ln.weight
        whisper.decoder.ln.bias.fill_(1.0)
    info = ModelInfo(
        name="tiny", dims=Dims.of(dims), text=TextInfo(decoder="attention"), context=ContextInfo(short=True)
    )
    vocabulary = Vocabulary("ranks", Path("unused"), tokenizer.n_vocab)
    return Engine(LoadedModel("tiny", info, whisper, vocabulary), tokenizer)


def test_a_language_is_detected_in_the_pass_that_writes_it(sentences: list[NDArray[np.float32]]) -> None:
    for language in ("de", "fr"):
        engine = multilingual(language)
        options = replace(PLAIN, max_tokens=4)
        asked = [Request(sentences[0], replace(options, language=one)) for one in (None, "en")]
        detected, told = (result.decoded for result in engine.run(asked))
        assert detected is not None
        assert told is not None
        assert detected.language == language
        assert detected.language_prob > 0.5
        assert told.language == "en"
        assert engine.encoder_passes == 2
