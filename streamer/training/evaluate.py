"""Word error rates of a speech model on packed clips: decoder and CTC, each greedy."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from streamer.asr.decode import DecodeOptions, decode
from streamer.asr.tokenizer import Tokenizer
from streamer.audio.mel import log_mel
from streamer.engine import context_for
from streamer.errors import MissingExtraError, StreamerError
from streamer.timebase import SAMPLE_RATE
from streamer.training.bars import track
from streamer.training.corpus import Pack
from streamer.training.speech import SpeechModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpeechScore:
    """Word error rates in per cent over a set, and how many utterances it had."""

    attention: float
    ctc: float
    utterances: int


def ctc_greedy(scores: torch.Tensor, tokenizer: Tokenizer) -> str:
    """The best path through (T, 1 + pieces) scores, repeats and blanks removed."""
    path = scores.argmax(-1).tolist()
    pieces = [p - 1 for p, before in zip(path, [0, *path], strict=False) if p and p != before]
    return tokenizer.decode(pieces).strip()


@torch.inference_mode()
def word_error_rates(
    model: SpeechModel,
    tokenizer: Tokenizer,
    pack: Pack,
    clips: Sequence[int],
    show: int = 0,
    progress: bool = True,
) -> SpeechScore:
    """Decode clips one by one with the context the daemon would give them; texts in Whisper's normal form.

    `show` of them are logged. Raises MissingExtraError without jiwer or openai-whisper's normaliser,
    StreamerError without clips.
    """
    try:
        import jiwer
    except ImportError as error:
        raise MissingExtraError("a word error rate", "train") from error
    try:
        from whisper.normalizers import EnglishTextNormalizer
    except ImportError as error:
        raise MissingExtraError("Whisper's normal form of texts", "whisper") from error
    if not clips:
        raise StreamerError("expected clips to measure a word error rate on, found none")

    normal = EnglishTextNormalizer()
    wanted, attended, aligned = [], [], []
    for i in track(clips, "word error rate", progress):
        audio = pack.audio(i)[: 30 * SAMPLE_RATE]
        padded = np.pad(audio, (0, context_for(len(audio), short=True) - len(audio)))
        states = model.whisper.encode(torch.from_numpy(log_mel(padded))[None]).states
        options = DecodeOptions(duration=len(audio) / SAMPLE_RATE)
        wanted.append(normal(pack.clips[i].text or ""))
        attended.append(normal(decode(model.whisper, states, tokenizer, options).text))
        aligned.append(normal(ctc_greedy(model.ctc(states)[0], tokenizer)))
        if len(wanted) <= show:
            log.info("%s\n  attention: %s\n  ctc:       %s", wanted[-1], attended[-1], aligned[-1])
    return SpeechScore(100 * jiwer.wer(wanted, attended), 100 * jiwer.wer(wanted, aligned), len(wanted))
