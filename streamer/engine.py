"""One pass of the encoder, read by the decoder and by the tag head. Synchronous, knows no streams."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.spelling import SPACE, SpellingTokenizer
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.asr.transcriber import DecoderTranscriber, Wordless, make_transcriber
from streamer.asr.words import TimedWord
from streamer.audio.mel import log_mel
from streamer.config import PLAIN, ModelConfig, TextConfig
from streamer.errors import ConfigError
from streamer.nn.checkpoint import LoadedModel, load, locate
from streamer.nn.emotion import LayersHead, token_frames
from streamer.nn.emotion_checkpoint import load_emotion_head, with_emotion
from streamer.nn.frames import Frames
from streamer.nn.head_checkpoint import load_head
from streamer.nn.speech import SpeechEncoder, frames_of
from streamer.nn.speech_checkpoint import LoadedSpeech, is_speech, load_speech, with_head
from streamer.nn.whisper import Encoding, Whisper
from streamer.timebase import FRAME, FULL_CONTEXT, TOKEN, ceil_to

log = logging.getLogger(__name__)

BUCKET = 2 * TOKEN
"""Contexts of models trained for short ones are multiples of this, so that passes can share a batch."""

SHORTEST = 2 * BUCKET
"""Less context than this is padded up to it."""


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


def context_for(samples: int, short: bool) -> int:
    """Samples that a window of so many is padded to; `short`: the model was trained for short contexts."""
    return min(max(ceil_to(samples, BUCKET), SHORTEST), FULL_CONTEXT) if short else FULL_CONTEXT


def load_engine(config: ModelConfig, text: TextConfig = PLAIN) -> Engine:
    """The engine that the settings ask for, with as many threads. Blocks for as long as loading takes.

    Raises ModelError, and ConfigError for a decoder that the model has not.
    """
    torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 2) - 1))
    path = locate(config.name)
    if path.is_dir() and is_speech(path):
        return _load_speech_engine(config, path, text)
    model = load(config.name, config.tags or None)
    if config.emotion:
        model = with_emotion(model, model.model, load_emotion_head(config.emotion))
    tokenizer = load_tokenizer(model.vocabulary)
    return Engine(model, tokenizer, choose_precision(config), config.decoder, config.words, text)


def _load_speech_engine(config: ModelConfig, path: Path, text: TextConfig) -> Engine:
    """A wav2vec 2.0 and its like: float32 unless told otherwise, for nobody measured what bf16 costs it."""
    if config.decoder == "attention":
        raise ConfigError(f"model.decoder is 'attention', but {path} has no decoder: leave it at 'auto'")
    if config.task == "translate":
        raise ConfigError(f"model.task is 'translate', but {path} writes only what is said")
    model = load_speech(path, "en" if config.language == "auto" else config.language)
    if config.tags:
        model = with_head(model, load_head(config.tags, model.encoder.n_layer))
    if config.emotion:
        model = with_emotion(model, model.encoder, load_emotion_head(config.emotion))
    tokenizer = SpellingTokenizer.of(model.letters.pieces if model.letters else (SPACE,))
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    return Engine(model, tokenizer, dtype, words=config.words, text=text)


def choose_precision(config: ModelConfig) -> torch.dtype:
    """bfloat16 where asked for, or where the processor multiplies it in hardware; else float32."""
    if config.precision == "auto":
        return torch.bfloat16 if _cpu_flags() & {"amx_bf16", "avx512_bf16"} else torch.float32
    return torch.bfloat16 if config.precision == "bf16" else torch.float32


def _give_back() -> None:
    """Return to the system what loading has freed. glibc keeps it otherwise: 50 MB with the bundled model."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            for line in info:
                if line.startswith("flags"):
                    return set(line.split(":", 1)[1].split())
    except OSError:
        pass
    return set()


class Engine:
    """A loaded model that answers requests. Not thread-safe: it belongs to the inference thread.

    `encoder_passes` counts windows encoded: a request costs exactly one, whatever it asks for. `tokens`
    counts what was decoded beyond the given prefixes, `seconds` the time spent in `run`.
    """

    def __init__(
        self,
        model: LoadedModel | LoadedSpeech,
        tokenizer: Tokenizer,
        dtype: torch.dtype = torch.float32,
        decoder: Literal["auto", "attention", "ctc"] = "auto",
        words: str = "auto",
        text: TextConfig = PLAIN,
    ) -> None:
        """`words`, `text`: see `asr.transcriber.make_transcriber`."""
        self.model, self.tokenizer = model, tokenizer
        if decoder == "ctc" and model.ctc is None:
            raise ConfigError(
                f"model.decoder is 'ctc', but {model.name} has no CTC branch: leave it at 'auto'"
            )
        encoder: Whisper | SpeechEncoder = model.model if isinstance(model, LoadedModel) else model.encoder
        self._encoder = encoder.to(dtype).eval()
        self._transcriber = make_transcriber(model, tokenizer, decoder, dtype, words, text)
        self._emotion = model.emotion
        if self._emotion is not None and not isinstance(self._emotion.head, LayersHead):
            self._emotion.head.to(dtype)
        self._tags = model.tags.to(dtype).eval() if model.tags is not None else None
        self.encoder_passes = self.tokens = 0
        self.seconds = 0.0

    @property
    def writes(self) -> bool:
        """Whether it gives words at all: what only judges how they were said does not."""
        return not isinstance(self._transcriber, Wordless)

    @property
    def decodes(self) -> bool:
        """Whether a decoder writes the words, which takes prompts and temperatures."""
        return isinstance(self._transcriber, DecoderTranscriber)

    def context(self, samples: int) -> int:
        """Samples that a window of so many is padded to.

        A checkpoint that was never trained on short contexts needs its full one. A wav2vec 2.0 needs none:
        then it is only what may share a batch.
        """
        if isinstance(self.model, LoadedSpeech):
            return ceil_to(samples, BUCKET)
        return context_for(samples, self.model.short_context)

    @torch.inference_mode()
    def run(self, requests: Sequence[Request]) -> list[Result]:
        """Answer requests of one context length as one batch. Raises ValueError where they differ."""
        began = time.perf_counter()
        contexts = {self.context(len(r.samples)) for r in requests}
        if len(contexts) != 1:
            raise ValueError(f"a batch has one context length, found {sorted(contexts)}")
        length = contexts.pop()
        encoding, emotions = self._encode(requests, length)
        self.encoder_passes += len(requests)
        scores = self._scores(requests, encoding)
        results = [self._read(r, encoding, i, scores[i], emotions[i]) for i, r in enumerate(requests)]
        self.tokens += sum(len(d.tokens) - d.prefix_length for r in results if (d := r.decoded) is not None)
        self.seconds += time.perf_counter() - began
        return results

    def _encode(self, requests: Sequence[Request], length: int) -> tuple[Encoding, list[tuple[float, ...]]]:
        """One encoding of all, and for each how it was said, where there is a head that judges that."""
        clips = [r.samples for r in requests]
        listens = self._tags is not None and any(r.windows for r in requests)
        lengths = [max(1, len(clip) // TOKEN) for clip in clips]
        if isinstance(self._encoder, SpeechEncoder):
            frames = self._encoder(clips)
            reads = self._emotion is not None and isinstance(self._emotion.head, LayersHead)
            tokens = frames.tokens() if listens or reads else None
            judged = token_frames(tokens, lengths) if reads and tokens is not None else frames
            return Encoding(frames.states, tokens), self._judged(judged)
        judges = self._emotion is not None and any(r.text is not None and r.text.ended for r in requests)
        n_mels = self._encoder.dims.n_mels
        mels = [log_mel(np.pad(clip, (0, length - len(clip))), n_mels) for clip in clips]
        encoding = self._encoder.encode(torch.from_numpy(np.stack(mels)), listens or judges)
        if not judges or encoding.layers is None:
            return encoding, [()] * len(clips)
        return encoding, self._judged(token_frames(encoding.layers, lengths))

    def _judged(self, frames: Frames) -> list[tuple[float, ...]]:
        """How each clip was said; nothing without a head for that."""
        if self._emotion is None:
            return [()] * len(frames.lengths)
        return [tuple(row) for row in self._emotion.scores(frames).tolist()]

    def _frames(self, samples: int) -> int:
        """Frames of the encoding that are audio."""
        return frames_of(samples) if isinstance(self._encoder, SpeechEncoder) else samples // FRAME

    def _read(
        self,
        request: Request,
        encoding: Encoding,
        i: int,
        scores: NDArray[np.float32],
        emotion: tuple[float, ...],
    ) -> Result:
        if request.text is None:
            return Result(scores=scores)
        transcript = self._transcriber.read(
            encoding.states[i : i + 1],
            request.text,
            self._frames(len(request.samples)),
            request.prefix_frames,
        )
        judged = emotion if request.text.ended else ()
        return Result(transcript.decoded, transcript.words, transcript.frames, scores, judged)

    def _scores(self, requests: Sequence[Request], encoding: Encoding) -> list[NDArray[np.float32]]:
        """(windows, labels) for each request. Windows of one length go through the head together."""
        scores = [np.zeros((len(r.windows), len(self.model.labels)), np.float32) for r in requests]
        if self._tags is None or encoding.layers is None:
            return scores
        wanted: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        for i, request in enumerate(requests):
            for k, (first, last) in enumerate(request.windows):
                wanted[last - first].append((i, k, first))
        for length, places in wanted.items():
            batch = torch.stack([encoding.layers[i, :, first : first + length] for i, _, first in places])
            heard = self._tags(batch).float().sigmoid().numpy()
            for (i, k, _), row in zip(places, heard, strict=True):
                scores[i][k] = row
        return scores

    def warm_up(self) -> None:
        """Run every kind of request once, so that the first real one costs what the later ones do."""
        noise = (1e-3 * np.random.default_rng(0).standard_normal(2 * BUCKET)).astype(np.float32)
        options = DecodeOptions(language=None if self.tokenizer.is_multilingual else "en", max_tokens=4)
        windows = ((0, 2),) if self._tags is not None else ()
        self.run([Request(noise, options, windows=windows)])
        self.encoder_passes = self.tokens = 0
        self.seconds = 0.0
        _give_back()
