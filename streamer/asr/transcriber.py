"""What writes a model's text from an encoding: its decoder, or its CTC branch with all that helps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from streamer.asr.ctc import ctc_words, decode_ctc
from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.decoder import Writer, decode
from streamer.asr.fallback import decode_again
from streamer.asr.hotwords import Hotwords, TokenBias
from streamer.asr.ngram import AnyWords, WordModel
from streamer.asr.opinion import opinions
from streamer.asr.search import Found, Search, SearchOptions, sure
from streamer.asr.spelling import SPACE, SpellingTokenizer, as_known
from streamer.asr.tokenizer import Tokenizer
from streamer.asr.words import TimedWord, attended_frames, word_times
from streamer.backends.base import Network
from streamer.config import PLAIN, TextConfig
from streamer.errors import ConfigError
from streamer.nn.definition import CtcInfo, ModelInfo, WordsInfo

if TYPE_CHECKING:  # torch is for whom it is needed
    from streamer.backends.stored import StoredModel
    from streamer.nn.checkpoint import LoadedModel
    from streamer.nn.speech_checkpoint import LoadedSpeech

    Model = LoadedModel | LoadedSpeech[Any] | StoredModel

ASKED = 8
"""Texts that the decoder is asked about."""

DOUBT = 1.0
"""Nats that a reading may be behind the likeliest, and be nearly as likely."""


def wide(options: SearchOptions) -> SearchOptions:
    """For a search that expects words: the beginnings of fifty leave little room for what else was said."""
    return replace(options, width=3 * options.width, margin=1.5 * options.margin)


@dataclass(frozen=True, slots=True)
class Transcript:
    """Text, words in frames of the pass, and the frame that each token was heard in.

    The decoder tells words of an utterance that has ended, and frames of one that goes on.
    """

    decoded: Decoded
    words: list[TimedWord]
    frames: tuple[int, ...] = ()


class Transcriber(Protocol):
    """Reads the text out of one encoding."""

    def read(
        self, states: Any, options: DecodeOptions, frames: int, prefix_frames: Sequence[int]
    ) -> Transcript:
        """The transcript of states (1, T, D), of which `frames` are audio and the rest is padding."""
        ...


class DecoderTranscriber:
    """The decoder writes."""

    def __init__(self, model: Writer, tokenizer: Tokenizer, text: TextConfig = PLAIN) -> None:
        self._model, self._tokenizer = model, tokenizer
        expects = text.hotwords and text.hotword_boost > 0
        self._bias = TokenBias(text.hotwords, tokenizer, text.hotword_boost) if expects else None

    def read(
        self, states: Any, options: DecodeOptions, frames: int, prefix_frames: Sequence[int]
    ) -> Transcript:
        """See Transcriber. The decoder needs no frames of its prefix, it only hands them on."""
        decoded = decode_again(
            lambda one: decode(self._model, states, self._tokenizer, one, self._bias), options
        )
        if options.ended:
            return Transcript(decoded, word_times(decoded, self._tokenizer, frames))
        new = decoded.attended if options.frontier is not None else attended_frames(decoded, frames)
        return Transcript(decoded, [], (*prefix_frames, *new))


class Wordless:
    """Nothing writes: the checkpoint only judges utterances, or hears sounds."""

    def __init__(self) -> None:
        self._tokenizer = SpellingTokenizer.of([SPACE])

    def read(
        self, states: Any, options: DecodeOptions, frames: int, prefix_frames: Sequence[int]
    ) -> Transcript:
        """See Transcriber: always the empty text."""
        del states
        nothing = np.zeros((frames, 1), np.float32)  # every frame is blank
        return Transcript(decode_ctc(nothing, self._tokenizer, options, prefix_frames).decoded, [])


class CtcTranscriber:
    """The CTC branch writes; a word model, where the model has one, chooses among what it may have heard.

    The decoder is asked about the best: it knows the sentence that a word model of three words does not see.
    A wav2vec 2.0 has none. Partials are read as finals are, or what becomes stable would be wrong more often:
    of 2972 words of 285 utterances, 21.2 % where they were searched less far and without the decoder, 20.3 %
    so, 20.1 % where only finals count.
    """

    def __init__(
        self,
        model: Model,
        network: Network,
        tokenizer: Tokenizer,
        words: str = "auto",
        text: TextConfig = PLAIN,
    ) -> None:
        self._network, self._tokenizer = network, tokenizer
        branch: CtcInfo | None = getattr(model.info, "ctc", None)
        self._late = branch.late if branch is not None else 0
        self._search: Search | None = None
        file = {"auto": model.words, "off": None}.get(words, Path(words))
        expects = text.hotwords and text.hotword_boost > 0
        expected = Hotwords(text.hotwords, text.hotword_boost) if expects else None
        pieces = [tokenizer.encoding.decode_single_token_bytes(i) for i in range(_pieces(model))]
        self._decoder_weight = 0.0
        if file is not None:
            about: WordsInfo = getattr(model.info, "words", None) or WordsInfo()
            known = WordModel.load(file)
            options = SearchOptions(weight=about.weight, bonus=about.bonus, unknown=about.unknown)
            options = options if expected is None else wide(options)
            self._search = Search(known, as_known(pieces, known), options, expected)
            self._decoder_weight = about.decoder
        elif expected is not None:
            options = wide(SearchOptions(weight=0, bonus=0, unknown=0))
            self._search = Search(AnyWords(), pieces, options, expected)

    def read(
        self, states: Any, options: DecodeOptions, frames: int, prefix_frames: Sequence[int]
    ) -> Transcript:
        """See Transcriber."""

        # Beyond the audio there is only padding, which says nothing.
        logprobs = self._network.ctc(states)[:frames]
        search = partial(self._find, states) if self._search is not None else None
        path = decode_ctc(logprobs, self._tokenizer, options, prefix_frames, search)
        words = ctc_words(path, self._tokenizer, frames, self._late)
        return Transcript(path.decoded, words, path.frames)

    def _find(
        self,
        states: Any,
        logprobs: NDArray[np.float32],
        prefix: Sequence[int],
        known: Sequence[int],
        ended: bool,
    ) -> tuple[Found, int]:
        """See `asr.ctc.Finder`."""
        assert self._search is not None
        found = self._search.find(logprobs, ASKED, prefix, known, ended)
        follow = self._network.follow
        if len(found) > 1 and follow is not None and self._decoder_weight:
            second = opinions(follow, states, self._tokenizer, [text.tokens for text in found], ended)
            weighed = zip(found, second, strict=True)
            found = [replace(text, score=text.score + self._decoder_weight * o) for text, o in weighed]
            found.sort(key=lambda text: -text.score)
        return found[0], sure(found, DOUBT)


def _pieces(model: Model) -> int:
    """Outputs of its CTC branch beside the blank."""
    branch = model.ctc
    assert branch is not None
    return branch.tokens if isinstance(branch, CtcInfo) else branch.n_token


def make_transcriber(
    model: Model,
    network: Network,
    tokenizer: Tokenizer,
    decoder: str,
    words: str = "auto",
    text: TextConfig = PLAIN,
) -> Transcriber:
    """The one that the settings or, for "auto", the model's definition names, for what `network` encodes.

    `words`: "auto" for the model's own word model, "off", or the file of another. `text`: words that are
    expected. Raises CheckpointError for a word model that is broken, ConfigError for a checkpoint that cannot
    write.
    """
    if not isinstance(model.info, ModelInfo):
        if model.ctc is not None:
            return CtcTranscriber(model, network, tokenizer, words, text)
        if model.emotion is not None or model.tags is not None:
            return Wordless()
        raise ConfigError(
            f"expected a checkpoint with a CTC head for words, or one that judges emotion; found "
            f"{model.name}, an encoder with neither. `streamer features` gives its hidden states; with a "
            "head for it (model.tags, model.emotion) it hears sounds or judges utterances"
        )
    chosen = model.info.text.decoder if decoder == "auto" else decoder
    if chosen == "ctc" and model.ctc is not None:
        return CtcTranscriber(model, network, tokenizer, words, text)
    if network.writer is None:
        raise ConfigError(f"the decoder of {model.name} is not there to write: set engine.backend to 'torch'")
    return DecoderTranscriber(network.writer, tokenizer, text)
