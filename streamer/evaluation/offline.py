"""Whole utterances through the engine, one pass each: what a model can do without the daemon around it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from streamer.asr.decode import DecodeOptions
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.config import ModelConfig
from streamer.engine import Engine, Request, choose_precision
from streamer.evaluation.asr import Reading, Samples
from streamer.nn.checkpoint import LoadedModel, Vocabulary, load
from streamer.nn.definition import ContextInfo, Dims, ModelInfo
from streamer.nn.heads import CtcHead
from streamer.nn.whisper import Whisper
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE

Decoder = Literal["attention", "ctc"]

SEARCH = 5 * SAMPLE_RATE
"""Samples before the end of the encoder's context in which a longer recording is cut, at the quietest."""


def load_readers(config: ModelConfig, decoders: tuple[Decoder, ...] = ()) -> dict[Decoder, OfflineReader]:
    """A reader for each decoder (without any named: for each that the model has), by its name.

    Loads the model once, with the daemon's threads and precision. Raises ModelError, and ConfigError for a
    decoder that the model has not.
    """
    import torch

    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 2) - 1))
    model = load(config.name)
    tokenizer = load_tokenizer(model.vocabulary)
    dtype = choose_precision(config)
    language = None if config.language == "auto" else config.language
    options = DecodeOptions(language=language, task=config.task)
    every: tuple[Decoder, ...] = ("attention", "ctc") if model.ctc is not None else ("attention",)
    readers = {}
    for decoder in decoders or every:
        engine = Engine(model, tokenizer, dtype, decoder)
        engine.warm_up()
        readers[decoder] = OfflineReader(engine, options)
    return readers


def reader_of(
    whisper: Whisper, ctc: CtcHead, tokenizer: Tokenizer, decoder: Decoder, language: str = "en"
) -> OfflineReader:
    """A reader of modules in memory, trained for short contexts."""
    info = ModelInfo(name="in memory", dims=Dims.of(whisper.dims), context=ContextInfo(short=True))
    vocabulary = Vocabulary("ranks", None, tokenizer.n_vocab)
    model = LoadedModel(info.name, info, whisper, vocabulary, ctc=ctc)
    return OfflineReader(Engine(model, tokenizer, decoder=decoder), DecodeOptions(language=language))


class OfflineReader:
    """A `Reader`: one pass of the engine an utterance; what is longer than its context takes several."""

    def __init__(self, engine: Engine, options: DecodeOptions) -> None:
        self._engine, self._options = engine, options

    def __call__(self, path: Path, samples: Samples) -> Reading:  # noqa: ARG002  a Reader's arguments
        """What the engine reads in `samples` (n,)."""
        before = self._engine.encoder_passes
        texts = [self._text(piece) for piece in pieces(samples)]
        return Reading(" ".join(filter(None, texts)), self._engine.encoder_passes - before)

    def _text(self, samples: Samples) -> str:
        options = replace(self._options, duration=len(samples) / SAMPLE_RATE)
        decoded = self._engine.run([Request(samples, options)])[0].decoded
        assert decoded is not None
        return decoded.text


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
