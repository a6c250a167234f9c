"""One pass of the encoder, read by whatever writes and by the tag head. Synchronous, knows no streams."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.spelling import SPACE, SpellingTokenizer
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.asr.transcriber import DecoderTranscriber, Wordless, make_transcriber
from streamer.asr.words import TimedWord
from streamer.backends import processor
from streamer.backends.base import BUCKET, Encoded, Network
from streamer.backends.choice import Backend, choose, prepare
from streamer.config import PLAIN, ModelConfig, TextConfig
from streamer.errors import ConfigError

if TYPE_CHECKING:  # torch is for whom it is needed
    import torch

    from streamer.asr.transcriber import Model
    from streamer.nn.definition import Vocabulary


@dataclass(frozen=True, slots=True)
class Request:
    """What is wanted of one window of samples (n,) float32, n > 0.

    text: options for words, None for no words. prefix_frames: where the tokens of its prefix were
    heard (`Result.frames` of an earlier pass over the same beginning). windows: pooled tokens
    [first, last) that the tag head shall see, counted from the window's first sample.
    """

    samples: NDArray[np.float32]
    text: DecodeOptions | None = None
    prefix_frames: tuple[int, ...] = ()
    windows: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What one encoding gave: a transcript with word times in frames, and scores (windows, labels) in [0, 1].

    frames: the frame that each token was heard in; of a finished utterance only the CTC branch tells.
    emotion: a score for each label of a head that judges how an utterance was said, once it has ended.
    """

    decoded: Decoded | None = None
    words: list[TimedWord] = field(default_factory=list)
    frames: tuple[int, ...] = ()
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    emotion: tuple[float, ...] = ()


def load_engine(config: ModelConfig, text: TextConfig = PLAIN, backend: Backend = "torch") -> Engine:
    """The engine that the settings ask for. Blocks for as long as loading takes.

    backend: what computes, where it can (see `backends.choice`). Raises ModelError, and ConfigError for a
    decoder that the model has not.
    """
    threads = _threads(config)
    chosen = choose(config, backend, threads, _bounds)
    if chosen is None:
        return _load_torch_engine(config, text, threads)
    model, network = chosen
    tokenizer = load_tokenizer(model.vocabulary)
    return Engine(model, tokenizer, None, config.decoder, config.words, text, network)


def prepare_engine(config: ModelConfig, backend: Backend) -> bool:
    """Do now what takes a while at the first start with a model, and keep it; whether ONNX Runtime computes.

    Raises CheckpointError for a model whose definition is broken.
    """
    return prepare(config, backend, _threads(config), _bounds) is not None


def _threads(config: ModelConfig) -> int:
    """Of each worker."""
    return processor.threads(config.threads, processor.workers(config.workers))


def _bounds(vocabulary: Vocabulary) -> tuple[tuple[int, ...], int]:
    """What a text without timestamps begins with, and ends with."""
    tokenizer = load_tokenizer(vocabulary)
    return (*tokenizer.sot_sequence(), tokenizer.no_timestamps), tokenizer.eot


def _load_torch_engine(config: ModelConfig, text: TextConfig, threads: int) -> Engine:
    """Any model, in torch."""
    import torch

    from streamer.backends.torch import choose_device, choose_precision, network_of
    from streamer.nn.checkpoint import load, locate
    from streamer.nn.emotion_checkpoint import load_emotion_head, with_emotion
    from streamer.nn.speech_checkpoint import is_waveform

    torch.set_num_threads(threads)
    device = choose_device(config)
    path = locate(config.name)
    if is_waveform(path):
        return _load_speech_engine(config, path, text, device)
    model = load(config.name, config.tags or None)
    model = replace(model, info=model.info.filled(config.silence))
    if config.emotion:
        model = with_emotion(model, model.model, load_emotion_head(config.emotion))
    tokenizer = load_tokenizer(model.vocabulary)
    network = network_of(model, choose_precision(config), device)
    return Engine(model, tokenizer, None, config.decoder, config.words, text, network)


def _load_speech_engine(config: ModelConfig, path: Path, text: TextConfig, device: torch.device) -> Engine:
    """What hears the waveform itself: float32 unless told otherwise, for what bf16 costs was not measured."""
    import torch

    from streamer.backends.torch import choose_precision, network_of
    from streamer.nn.emotion_checkpoint import load_emotion_head, with_emotion
    from streamer.nn.head_checkpoint import load_head
    from streamer.nn.speech_checkpoint import load_waveform, with_head

    if config.decoder == "attention":
        raise ConfigError(f"model.decoder is 'attention', but {path} has no decoder: leave it at 'auto'")
    if config.task == "translate":
        raise ConfigError(f"model.task is 'translate', but {path} writes only what is said")
    model = load_waveform(path, "en" if config.language == "auto" else config.language)
    if config.tags:
        model = with_head(model, load_head(config.tags, model.encoder.n_layer))
    if config.emotion:
        model = with_emotion(model, model.encoder, load_emotion_head(config.emotion))
    tokenizer = SpellingTokenizer.of(model.letters.pieces if model.letters else (SPACE,))
    dtype = torch.float32 if config.precision == "auto" else choose_precision(config)
    network = network_of(model, dtype, device)
    return Engine(model, tokenizer, None, config.decoder, config.words, text, network)


def give_back() -> None:
    """Return freed memory to the system. glibc keeps it otherwise: 50 MB after loading the bundled model.

    Takes some milliseconds, in which other threads run.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Engine:
    """A loaded model that answers requests, of several threads at once if need be.

    `encoder_passes` counts windows encoded: a request costs exactly one, whatever it asks for. `tokens`
    counts what was decoded beyond the given prefixes, `seconds` the time spent in `run`.
    """

    def __init__(
        self,
        model: Model,
        tokenizer: Tokenizer,
        dtype: torch.dtype | None = None,
        decoder: Literal["auto", "attention", "ctc"] = "auto",
        words: str = "auto",
        text: TextConfig = PLAIN,
        network: Network | None = None,
    ) -> None:
        """`words`, `text`: see `asr.transcriber.make_transcriber`.

        network: what computes; None is torch, on the model's own modules in `dtype` (float32).
        """
        self.model, self.tokenizer = model, tokenizer
        if decoder == "ctc" and model.ctc is None:
            raise ConfigError(
                f"model.decoder is 'ctc', but {model.name} has no CTC branch: leave it at 'auto'"
            )
        self._network = network or _reference(model, dtype)
        self._transcriber = make_transcriber(model, self._network, tokenizer, decoder, words, text)
        self.encoder_passes = self.tokens = 0
        self.seconds = 0.0
        self._counting = threading.Lock()

    @property
    def writes(self) -> bool:
        """Whether it gives words at all: what only judges how they were said does not."""
        return not isinstance(self._transcriber, Wordless)

    @property
    def decodes(self) -> bool:
        """Whether a decoder writes the words, which takes prompts and temperatures."""
        return isinstance(self._transcriber, DecoderTranscriber)

    @property
    def batch(self) -> int:
        """Requests that are worth running at once. See `backends.base.Network`."""
        return self._network.batch

    def context(self, samples: int) -> int:
        """Samples that a window of so many is padded to. See `backends.base.Network`."""
        return self._network.context(samples)

    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Answer requests of one context length as one batch. Raises ValueError where they differ."""
        began = time.perf_counter()
        contexts = {self.context(len(r.samples)) for r in requests}
        if len(contexts) != 1:
            raise ValueError(f"a batch has one context length, found {sorted(contexts)}")
        length = contexts.pop()
        encoded = self._network.encode(
            [r.samples for r in requests],
            length,
            pooled=self.model.tags is not None and any(r.windows for r in requests),
            judged=any(r.text is not None and r.text.ended for r in requests),
        )
        scores = self._scores(requests, encoded)
        results = [self._read(r, encoded, i, scores[i]) for i, r in enumerate(requests)]
        with self._counting:
            self.encoder_passes += len(requests)
            self.tokens += sum(
                len(d.tokens) - d.prefix_length for r in results if (d := r.decoded) is not None
            )
            self.seconds += time.perf_counter() - began
        return results

    def _read(self, request: Request, encoded: Encoded, i: int, scores: NDArray[np.float32]) -> Result:
        if request.text is None:
            return Result(scores=scores)
        transcript = self._transcriber.read(
            encoded.window(i),
            request.text,
            self._network.frames(len(request.samples)),
            request.prefix_frames,
        )
        emotion = encoded.emotions[i] if request.text.ended else ()
        return Result(transcript.decoded, transcript.words, transcript.frames, scores, emotion)

    def _scores(self, requests: Sequence[Request], encoded: Encoded) -> list[NDArray[np.float32]]:
        """(windows, labels) for each request. Windows of one length go through the head together."""
        scores = [np.zeros((len(r.windows), len(self.model.labels)), np.float32) for r in requests]
        layers = encoded.layers
        if layers is None or self.model.tags is None:
            return scores
        wanted: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for i, request in enumerate(requests):
            for k, (first, last) in enumerate(request.windows):
                wanted[last - first].append((i, k, first))
        for length, places in wanted.items():
            heard = self._network.tags([layers[i, :, first : first + length] for i, _, first in places])
            for (i, k, _), row in zip(places, heard, strict=True):
                scores[i][k] = row
        return scores

    def warm_up(self) -> None:
        """Run every kind of request once, so that the first real one costs what the later ones do."""
        noise = (1e-3 * np.random.default_rng(0).standard_normal(2 * BUCKET)).astype(np.float32)
        options = DecodeOptions(language=None if self.tokenizer.is_multilingual else "en", max_tokens=4)
        windows = ((0, 2),) if self.model.tags is not None else ()
        self.run([Request(noise, options, windows=windows)])
        self.encoder_passes = self.tokens = 0
        self.seconds = 0.0
        give_back()


def _reference(model: Model, dtype: torch.dtype | None) -> Network:
    """Torch on a checkpoint's own modules."""
    import torch

    from streamer.backends.stored import StoredModel
    from streamer.backends.torch import network_of

    assert not isinstance(model, StoredModel)
    return network_of(model, dtype or torch.float32)
