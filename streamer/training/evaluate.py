"""Word error rates of a speech model on packed clips: decoder and CTC, each greedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamer.asr.tokenizer import Tokenizer
from streamer.evaluation.asr import Samples, measure
from streamer.evaluation.offline import Decoder, reader_of
from streamer.evaluation.sets import Utterance
from streamer.training.bars import track
from streamer.training.corpus import Pack
from streamer.training.speech import SpeechModel


@dataclass(frozen=True, slots=True)
class SpeechScore:
    """Word error rates in per cent over a set, and how many utterances it had."""

    attention: float
    ctc: float
    utterances: int


def word_error_rates(
    model: SpeechModel, tokenizer: Tokenizer, pack: Pack, clips: Sequence[int], progress: bool = True
) -> SpeechScore:
    """What `streamer eval asr` would measure on these clips, in the daemon's contexts.

    Raises MissingExtraError without jiwer or openai-whisper's normaliser, StreamerError without clips.
    """
    numbers = {Utterance(Path(pack.clips[i].key), pack.clips[i].text or ""): i for i in clips}

    def audio(utterance: Utterance) -> Samples:
        return pack.audio(numbers[utterance])

    def rate(decoder: Decoder) -> float:
        bar = track(list(numbers), f"word error rate, {decoder}", progress)
        return measure(reader_of(model.whisper, model.ctc, tokenizer, decoder), bar, audio).words.rate

    return SpeechScore(rate("attention"), rate("ctc"), len(numbers))
