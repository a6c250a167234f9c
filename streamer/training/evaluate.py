"""Word error rates of a speech model on packed clips: decoder, CTC, and CTC with its word model.

And how far off the times are that its decoder writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import decode
from streamer.asr.tokenizer import Tokenizer
from streamer.evaluation.asr import Samples, measure
from streamer.evaluation.offline import Decoder, reader_of
from streamer.evaluation.sets import Utterance
from streamer.timebase import MEL_HOP, SAMPLE_RATE
from streamer.training.bars import track
from streamer.training.batches import IGNORE, BatchConfig, SpeechBatches
from streamer.training.corpus import Pack
from streamer.training.speech import SpeechModel


@dataclass(frozen=True, slots=True)
class SpeechScore:
    """Word error rates in per cent over a set, and how many utterances it had.

    guided: of the CTC branch with a word model and the decoder's opinion; None without a word model.
    """

    attention: float
    ctc: float
    utterances: int
    guided: float | None = None


@dataclass(frozen=True, slots=True)
class TimestampScore:
    """Timestamps written by the decoder where utterances follow each other.

    median, p90: seconds from the beginning or end of an utterance to the nearest timestamp. written:
    timestamps for each such border. items: rows of utterances that were decoded.
    """

    median: float
    p90: float
    written: float
    items: int


def timestamp_score(
    model: SpeechModel,
    tokenizer: Tokenizer,
    pack: Pack,
    clips: Sequence[int],
    count: int = 100,
    progress: bool = True,
) -> TimestampScore:
    """Decode `count` rows of two to five utterances with pauses between them, with Whisper's timestamp rules.

    A row without any timestamp is as far off as it is long.
    """
    config = BatchConfig(joined=1.0, wordless=0.0, spoil=False, timestamps=1.0)
    batches = SpeechBatches([(pack, list(clips), 1.0)], [], tokenizer, config)
    options = DecodeOptions(timestamps=True)
    distances: list[float] = []
    written = borders = 0
    for step in track(range(count), "timestamps", progress):
        batch = batches.batch(step)
        mel, targets = batch.mel[0], batch.targets[0]
        with torch.inference_mode():
            states = model.whisper.encoder(torch.from_numpy(mel)[None]).states
        found = _times(tokenizer, decode(model.whisper, states, tokenizer, options).tokens)
        true = _times(tokenizer, [int(token) for token in targets if token != IGNORE])
        written, borders = written + len(found), borders + len(true)
        silent = mel.shape[1] * MEL_HOP / SAMPLE_RATE
        distances += [min((abs(a - b) for b in found), default=silent) for a in true]
    return TimestampScore(
        float(np.median(distances)), float(np.quantile(distances, 0.9)), written / borders, count
    )


def _times(tokenizer: Tokenizer, tokens: Sequence[int]) -> list[float]:
    return [at for token in tokens if (at := tokenizer.time(token)) is not None]


def word_error_rates(
    model: SpeechModel,
    tokenizer: Tokenizer,
    pack: Pack,
    clips: Sequence[int],
    progress: bool = True,
    words: Path | None = None,
) -> SpeechScore:
    """What `streamer eval asr` would measure on these clips, in the daemon's contexts.

    Raises MissingExtraError without jiwer or openai-whisper's normaliser, StreamerError without clips.
    """
    numbers = {Utterance(Path(pack.clips[i].key), pack.clips[i].text or ""): i for i in clips}

    def audio(utterance: Utterance) -> Samples:
        return pack.audio(numbers[utterance])

    def rate(decoder: Decoder, words: Path | None = None) -> float:
        bar = track(list(numbers), f"word error rate, {decoder}{' and words' if words else ''}", progress)
        reader = reader_of(model.whisper, model.ctc, tokenizer, decoder, words=words)
        return measure(reader, bar, audio).words.rate

    guided = rate("ctc", words) if words is not None else None
    return SpeechScore(rate("attention"), rate("ctc"), len(numbers), guided)
