"""What to decode, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamer.asr.attended import Frontier
from streamer.asr.evidence import Evidence
from streamer.asr.tokenizer import Task


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """What to decode, and within which bounds.

    language: a code; None detects it from the same encoding.
    prompt: tokens of the text before, most recent last.
    prefix: tokens that the transcript must begin with.
    max_tokens: most tokens to sample; None is half the text context.
    duration: seconds of audio, for the cap of `tokens_per_second`; None for no such cap.
    suppress_tokens: ids that may not be sampled; -1 stands for Whisper's non-speech set.
    end_after_prefix: a prefix may be the whole transcript; off is Whisper's behaviour, where
        `suppress_blank` asks for a token more.
    break_loops: stop and cut at a structural repetition; off is Whisper's behaviour.
    ended: the audio is a whole utterance; else its last word may go on (only a search asks).
    frontier: how far the decoder may go into audio that goes on; None is to its end.
    beam: texts that are followed at once, at temperature 0 and without a frontier; 1 is the likeliest token
        each time. patience: so many times `beam` texts have to be finished before the best is taken.
        length_penalty: of a finished text's log-probability, 0 to 1; None divides by its length.
    temperature: 0 takes the likeliest token; above, one is drawn, of unlikely ones the more the higher.
    again: temperatures of further tries, for a text that is not believed (see `asr.fallback`).
    compression, least_logprob, no_speech: what is believed.
    """

    language: str | None = "en"
    task: Task = "transcribe"
    timestamps: bool = False
    prompt: tuple[int, ...] = ()
    prefix: tuple[int, ...] = ()
    max_tokens: int | None = None
    duration: float | None = None
    tokens_per_second: float = 22.0
    suppress_blank: bool = True
    suppress_tokens: tuple[int, ...] = (-1,)
    max_initial_timestamp: float | None = 1.0
    end_after_prefix: bool = True
    break_loops: bool = True
    ended: bool = True
    frontier: Frontier | None = None
    beam: int = 1
    patience: float = 1.0
    length_penalty: float | None = None
    temperature: float = 0.0
    again: tuple[float, ...] = ()
    compression: float = 2.4
    least_logprob: float = -1.0
    no_speech: float = 0.6


@dataclass(frozen=True, slots=True)
class Decoded:
    """A transcript.

    tokens: the prefix, then what was sampled, without the end-of-text token.
    prefix_length: how many of them were given.
    logprobs: (tokens,) log-probability of each under the model.
    avg_logprob: Whisper's: of the sampled tokens and the end, divided by their number plus one.
    attention: (alignment heads, rows, T) cross-attention of each position from `sot` on; row
        `attention_start + i` is the position that chose token i, the one after the last token's is
        there where the end was chosen.
    reached_limit: a cap stopped it; broke_loop: a repetition was cut.
    attended: with a frontier, the frame of each sampled token. beyond: the token that was dropped there.
    complete: it chose the end of the text where it attended to the end of the audio; None where nobody tells.
    lost: it jumped back, and what it had sampled was discarded. temperature: at which it was decoded.
    sure: how many tokens every likely reading begins with; None where nobody tells.
    evidence: what speaks for the text; None where nobody tells.
    """

    tokens: tuple[int, ...]
    prefix_length: int
    text: str
    logprobs: NDArray[np.float32]
    avg_logprob: float
    no_speech_prob: float
    language: str
    language_prob: float
    attention: NDArray[np.float32]
    attention_start: int
    reached_limit: bool
    broke_loop: bool
    attended: tuple[int, ...] = ()
    beyond: int | None = None
    complete: bool | None = None
    lost: bool = False
    temperature: float = 0.0
    sure: int | None = None
    evidence: Evidence | None = None

    @property
    def token_probs(self) -> NDArray[np.float32]:
        """(tokens,) probability of each token."""
        return np.exp(self.logprobs)
