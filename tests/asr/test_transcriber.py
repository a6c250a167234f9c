"""Who writes the text, and what the word model and the decoder add to the CTC branch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from streamer.asr.ctc import decode_ctc
from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import decode
from streamer.asr.ngram import WordModel
from streamer.asr.transcriber import Transcript, make_transcriber
from streamer.backends.torch import WhisperNetwork
from streamer.config import TextConfig
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import WordsInfo
from streamer.training.ngrams import NgramConfig, estimate
from tests.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
STATES = torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "words.safetensors"
    WordModel.of(estimate([("the cat sat", 2), ("a dog", 1)], NgramConfig(10, 1, 1))).save(path)
    return path


def knowing(words: Path, **weights: float) -> LoadedModel:
    model = tiny_model()
    return replace(model, words=words, info=model.info.model_copy(update={"words": WordsInfo(**weights)}))


def read(model: LoadedModel, decoder: str = "auto", *, words: str = "auto", ended: bool = True) -> Transcript:
    transcriber = make_transcriber(model, WhisperNetwork(model, torch.float32), TOKENIZER, decoder, words)
    return transcriber.read(STATES, DecodeOptions(ended=ended), 30, ())


def test_the_definition_chooses_and_the_settings_overrule() -> None:
    model = tiny_model(decoder="ctc")
    assert model.ctc is not None
    heard = model.ctc(STATES)[0, :30].log_softmax(-1).detach().numpy()
    branch = decode_ctc(heard, TOKENIZER, DecodeOptions())
    assert read(model).decoded.tokens == branch.decoded.tokens
    written = decode(model.model, STATES, TOKENIZER, DecodeOptions())
    assert read(model, "attention").decoded.tokens == written.tokens


def test_a_word_model_changes_the_text_unless_it_is_turned_off(words: Path) -> None:
    greedy = read(tiny_model()).decoded.tokens
    assert read(knowing(words), words="off").decoded.tokens == greedy
    guided = read(knowing(words, unknown=-50.0, decoder=0.0))
    assert guided.decoded.tokens != greedy
    assert len(guided.frames) == len(guided.decoded.tokens) == len(guided.decoded.logprobs)
    assert max(guided.frames, default=0) < 30


def test_any_model_with_a_branch_takes_a_word_model(words: Path) -> None:
    own = read(knowing(words)).decoded.tokens
    assert read(tiny_model(), words=str(words)).decoded.tokens == own


@pytest.mark.parametrize("ended", [False, True])
def test_the_decoder_is_asked_in_partials_and_finals(words: Path, ended: bool) -> None:
    silent, loud = knowing(words, decoder=0.0), knowing(words, decoder=1000.0)
    assert read(silent, ended=ended).decoded.tokens != read(loud, ended=ended).decoded.tokens


def expecting(
    word: str, decoder: str, words: Path | None = None, boost: float = 40.0, frames: int = 30
) -> Transcript:
    model = tiny_model() if words is None else knowing(words, decoder=0.0)
    text = TextConfig(hotwords=[word], hotword_boost=boost)
    transcriber = make_transcriber(model, WhisperNetwork(model, torch.float32), TOKENIZER, decoder, text=text)
    return transcriber.read(STATES, DecodeOptions(max_tokens=30), frames, ())


@pytest.mark.parametrize("guided", [False, True])
def test_expected_words_are_found_with_and_without_a_word_model(words: Path, guided: bool) -> None:
    model = tiny_model()
    assert model.ctc is not None
    # A word of two letters, of which each may have been heard in one of the first two frames.
    likely = model.ctc(STATES)[0, :2, 1:].topk(16).indices.tolist()
    word = bytes(next(t for t in frame if t < 128 and chr(t).isalpha()) for frame in likely).decode()
    for boost, found in ((0.0, False), (40.0, True)):
        read = expecting(word, "ctc", words if guided else None, boost, frames=2)
        assert (read.decoded.text == word) is found


def test_a_decoder_is_nudged_towards_expected_words_and_tells_its_own_probabilities() -> None:
    plain = decode(tiny_model().model, STATES, TOKENIZER, DecodeOptions(max_tokens=30))
    nudged = expecting("zebra", "attention").decoded
    assert "zebra" not in plain.text
    assert "zebra" in nudged.text
    forced = decode(tiny_model().model, STATES, TOKENIZER, DecodeOptions(prefix=nudged.tokens))
    assert forced.logprobs[: len(nudged.tokens)] == pytest.approx(nudged.logprobs, abs=0.5)
    assert expecting("zebra", "attention", boost=0.0).decoded.tokens == plain.tokens


def test_a_prefix_is_kept(words: Path) -> None:
    model = knowing(words)
    transcriber = make_transcriber(model, WhisperNetwork(model, torch.float32), TOKENIZER, "ctc")
    first = transcriber.read(STATES, DecodeOptions(ended=False), 30, ())
    prefix, frames = first.decoded.tokens[:3], first.frames[:3]
    later = transcriber.read(STATES, DecodeOptions(prefix=prefix), 40, frames)
    assert later.decoded.tokens[:3] == prefix
    assert later.frames[:3] == frames
