"""Whole utterances through the engine, one pass each: what a model can do without the daemon around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.tokenizer import Tokenizer
from streamer.config import PLAIN, ModelConfig, TextConfig
from streamer.engine import Engine, Request, Result, load_engine
from streamer.evaluation.asr import Reading, Samples
from streamer.evaluation.sets import SpokenWord
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import ContextInfo, Dims, ModelInfo, Vocabulary
from streamer.nn.heads import CtcHead
from streamer.nn.whisper import Whisper
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE

Decoder = Literal["attention", "ctc"]

SEARCH = 5 * SAMPLE_RATE
"""Samples before the end of the encoder's context in which a longer recording is cut, at the quietest."""


def load_readers(
    config: ModelConfig,
    decoders: tuple[Decoder, ...] = (),
    text: TextConfig = PLAIN,
    backend: Literal["torch", "onnx", "openvino"] = "torch",
) -> dict[Decoder, OfflineReader]:
    """A reader for each decoder (without any named: for each that the model has), by its name.

    Their engines are the daemon's. Raises ModelError, and ConfigError for a decoder that the model has not.
    """
    readers = {}
    for decoder in decoders or ("attention", "ctc"):
        engine = load_engine(config.model_copy(update={"decoder": decoder}), text, backend)
        engine.warm_up()
        readers[decoder] = OfflineReader(engine, options_of(config))
        if not decoders and engine.model.ctc is None:
            break
    return readers


def options_of(config: ModelConfig) -> DecodeOptions:
    """How the daemon would decode."""
    return DecodeOptions(None if config.language == "auto" else config.language, config.task)


def reader_of(
    whisper: Whisper,
    ctc: CtcHead,
    tokenizer: Tokenizer,
    decoder: Decoder,
    language: str = "en",
    words: Path | None = None,
) -> OfflineReader:
    """A reader of modules in memory, trained for short contexts; `words`: the file of a word model."""
    info = ModelInfo(name="in memory", dims=Dims.of(whisper.dims), context=ContextInfo(short=True))
    vocabulary = Vocabulary("ranks", None, tokenizer.n_vocab)
    model = LoadedModel(info.name, info, whisper, vocabulary, ctc=ctc, words=words)
    return OfflineReader(Engine(model, tokenizer, decoder=decoder), DecodeOptions(language=language))


class OfflineReader:
    """A `Reader`: one pass of the engine an utterance; what is longer than its context takes several."""

    def __init__(self, engine: Engine, options: DecodeOptions) -> None:
        self._engine, self._options = engine, options

    def __call__(self, path: Path, samples: Samples) -> Reading:  # noqa: ARG002  a Reader's arguments
        """What the engine reads in `samples` (n,)."""
        before = self._engine.encoder_passes
        texts = [_decoded(self._run(piece)).text for piece in pieces(samples)]
        return Reading(" ".join(filter(None, texts)), self._engine.encoder_passes - before)

    def words(self, samples: Samples) -> tuple[SpokenWord, ...]:
        """The words that the engine reads in `samples` (n,), when it takes them to be said."""
        found, position = [], 0
        for piece in pieces(samples):
            offset = position / SAMPLE_RATE
            for word in self._run(piece).words:
                start, end = (offset + frame * FRAME / SAMPLE_RATE for frame in (word.start, word.end))
                found.append(SpokenWord(word.text, start, end))
            position += len(piece)
        return tuple(found)

    def _run(self, samples: Samples) -> Result:
        options = replace(self._options, duration=len(samples) / SAMPLE_RATE)
        return self._engine.run([Request(samples, options)])[0]


def _decoded(result: Result) -> Decoded:
    assert result.decoded is not None
    return result.decoded


def pieces(samples: Samples, longest: int = FULL_CONTEXT, search: int = SEARCH) -> list[Samples]:
    """`samples` (n,) in pieces of at most `longest`, each cut in the quietest frame of its last `search`."""
    found = []
    while len(samples) > longest:
        tail = samples[longest - search : longest]
        frames = tail[: len(tail) // FRAME * FRAME].reshape(-1, FRAME)
        cut = longest - search + FRAME * int(np.square(frames).sum(axis=1).argmin())
        found.append(samples[:cut])
        samples = samples[cut:]
    return [*found, samples] if len(samples) else found
