"""Which heads of a decoder's cross-attention follow the audio: found on speech whose word times are known.

Word times and AlignAtt read the attention of a few heads. OpenAI publishes them for its checkpoints; for any
other they are measured here. Each head is asked where it looks when the first token of a word is chosen
(normalised and filtered as `asr.words.alignment_matrix` does), and gets a point where that is within the
word. The best heads are then averaged, one more at a time, and the number is kept that hits most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from streamer.asr.decode import DecodeOptions
from streamer.asr.tokenizer import Tokenizer
from streamer.asr.words import alignment_matrix
from streamer.audio.mel import log_mel
from streamer.backends.base import context_for
from streamer.engine import Engine
from streamer.errors import CheckpointError, StreamerError
from streamer.evaluation.asr import Samples, decode_audio
from streamer.evaluation.offline import OfflineReader
from streamer.evaluation.sets import SpokenWord, Utterance
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import FILE, read_info, write_definition
from streamer.nn.whisper import DecoderCache
from streamer.timebase import FRAMES_PER_SECOND, FULL_CONTEXT, SAMPLE_RATE

SLACK = 0.1
"""Seconds before and after a word in which a head still hits it."""

MOST_HEADS = 10
"""Heads that are averaged at most."""

Head = tuple[int, int]
"""Layer and head of the decoder."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """Speech (n,) of at most the model's context, and when its words are said."""

    samples: Samples
    words: tuple[SpokenWord, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """rates: (layers, heads) share of the words that a head hits. heads: the chosen. rate: theirs together.

    before: the share that the heads hit that the model had until now. words: how many were asked for.
    """

    rates: NDArray[np.float64]
    heads: tuple[Head, ...]
    rate: float
    before: float
    words: int


def calibrate(
    model: LoadedModel,
    tokenizer: Tokenizer,
    spoken: Sequence[Spoken],
    track: Callable[[Sequence[Spoken], str], Iterable[Spoken]] = lambda items, _: items,
) -> Calibration:
    """Find the heads. Goes through the speech twice; `track` may show how far it is.

    Raises StreamerError where no word is said.
    """
    words = sum(len(one.words) for one in spoken)
    if not words:
        raise StreamerError("expected speech with known words to find the alignment heads on, found no word")
    dims = model.model.dims
    hits = np.zeros((dims.n_text_layer, dims.n_text_head))
    old = 0
    for one in track(spoken, "heads"):
        attention, rows = _read(model, tokenizer, one)
        places = [[layer, head] for layer, head in model.model.alignment_heads]
        old += hit_count(alignment_matrix(attention[tuple(np.transpose(places))]), rows, one.words)
        for layer, head in np.ndindex(*hits.shape):
            hits[layer, head] += hit_count(
                alignment_matrix(attention[layer, head : head + 1]), rows, one.words
            )
    order = np.argsort(-hits, axis=None, kind="stable")[:MOST_HEADS]
    ranked = [divmod(int(place), dims.n_text_head) for place in order]
    together = np.zeros(len(ranked), np.int64)
    for one in track(spoken, "together"):
        attention, rows = _read(model, tokenizer, one)
        matrix = np.zeros(attention.shape[2:])
        for i, (layer, head) in enumerate(ranked):
            matrix += alignment_matrix(attention[layer, head : head + 1])
            together[i] += hit_count(matrix, rows, one.words)
    count = int(together.argmax()) + 1
    return Calibration(
        hits / words, tuple(ranked[:count]), float(together[count - 1]) / words, old / words, words
    )


def known(model: LoadedModel, tokenizer: Tokenizer, utterances: Iterable[Utterance]) -> Iterator[Spoken]:
    """Recordings with their words' times: the set's own, else what the model's CTC branch hears.

    What is longer than 30 s, or has no word, is left out. Raises StreamerError where nobody knows the times.
    """
    reader = None
    if model.ctc is not None:
        reader = OfflineReader(Engine(model, tokenizer, decoder="ctc"), DecodeOptions())
    for one in utterances:
        if not one.words and reader is None:
            raise StreamerError(
                f"expected word times for {one.path}, found none, and {model.name} has no CTC branch to tell "
                "them: make a set that has them with `streamer eval words`"
            )
        samples = decode_audio(one)
        if len(samples) <= FULL_CONTEXT:
            words = one.words or (reader.words(samples) if reader is not None else ())
            if words:
                yield Spoken(samples, words)


def hit_count(matrix: NDArray[np.float64], rows: Sequence[int], words: Sequence[SpokenWord]) -> int:
    """How many words are looked at: row `rows[i]` of the matrix (rows, T) has its peak within words[i]."""
    peaks = matrix[list(rows)].argmax(-1) / FRAMES_PER_SECOND
    return sum(
        word.start - SLACK <= peak <= word.end + SLACK for peak, word in zip(peaks, words, strict=True)
    )


@torch.inference_mode()
def _read(model: LoadedModel, tokenizer: Tokenizer, one: Spoken) -> tuple[NDArray[np.float32], list[int]]:
    """Attention (layers, heads, rows, T) over the audio alone while the words are dictated to the decoder.

    And for each word the row that chose its first token.
    """
    whisper = model.model
    length = context_for(len(one.samples), model.short_context, model.info.context.samples)
    if len(one.samples) > length:
        raise StreamerError(
            f"expected at most {length / SAMPLE_RATE:g} s of speech at once, found "
            f"{len(one.samples) / SAMPLE_RATE:.1f} s: leave this recording out"
        )
    mel = log_mel(np.pad(one.samples, (0, length - len(one.samples))), whisper.dims.n_mels)
    states = whisper.encode(torch.from_numpy(mel)[None]).states
    given = [*tokenizer.sot_sequence(), tokenizer.no_timestamps]
    rows = []
    for word in one.words:
        rows.append(len(given) - 1)
        given += tokenizer.encode(f" {word.text}")
    given = [*given, tokenizer.eot][: whisper.dims.n_text_ctx]
    if rows and rows[-1] >= len(given):
        raise StreamerError(
            f"expected a text of at most {whisper.dims.n_text_ctx} tokens, found more: leave it out"
        )
    _, weights = whisper.decoder.step(torch.tensor([given]), DecoderCache(whisper.decoder, states))
    frames = max(1, round(len(one.samples) / SAMPLE_RATE * FRAMES_PER_SECOND))
    return weights[0, :, :, :, :frames].numpy(), rows


def keep(folder: Path, heads: Sequence[Head]) -> None:
    """Write heads into the `model.toml` of a folder. CheckpointError where it has none."""
    if not (folder / FILE).is_file():
        raise CheckpointError(
            f"the heads found cannot be kept: expected a folder with {FILE}, found {folder}, which is "
            "another project's checkpoint"
        )
    write_definition(folder / FILE, read_info(folder).model_copy(update={"alignment_heads": tuple(heads)}))
