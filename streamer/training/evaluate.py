"""Word error rates of a speech model on packed clips: decoder, CTC, and CTC with its word model."""

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
    """Word error rates in per cent over a set, and how many utterances it had.

    guided: of the CTC branch with a word model and the decoder's opinion; None without a word model.
    """

    attention: float
    ctc: float
    utterances: int
    guided: float | None = None


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
