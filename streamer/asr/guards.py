"""Which texts are not believed: silence, noise, music and clatter give no words, whatever a model hears.

A text is suppressed for the first of these reasons that holds:

- `sound`: the tag head was sure of a sound (at least `sound`) and never of speech (below `speech`) while it
  was heard.
- `no_speech`: Whisper's rule. The decoder's no-speech probability is above `no_speech` and the mean
  log-probability of its text below `logprob`.
- `unsure`: the mean probability of the text's tokens is below `confidence`. A CTC branch has no other
  doubts, and a decoder that hallucinates over noise has little of it.
- `repeated`: the text compresses by more than `compression`: it says the same over and over.
- `endless`: the decoder was stopped by the cap on tokens for so much audio: nobody speaks as fast.

A voice detector stands before all of them, and loops are cut in the decoder, where they begin. What part of
a text has been called stable stays, whatever is thought of the rest.

The thresholds were chosen on a first version of the bundled model, without a word model. Of 233 utterances
that the voice detector let through of 120 recordings of sounds and 6 of noise (ESC-50 and its like), its CTC
branch made 2 texts, and these rules leave none of them (1 without the tag head). Its decoder made 178 texts
over 80 of these recordings and the noise; they leave none (1 without the tag head). All 64 texts over AN4 and
LibriSpeech stay, and of the decoder's 45 all but one, which was wrong.

`speech` and `sound` were chosen on the bundled model with the sound head before its present one. In every
utterance of half of AN4's test set and of held-out LibriSpeech speakers, sounds at 10 dB under them,
that head gave speech 0.9 or more; in no text over 28 minutes of sounds more than 0.83.
On the other halves, and over an hour of other sounds with either head: docs/captions.md.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from enum import StrEnum

from streamer.asr.decode import Decoded
from streamer.config import GuardsConfig


class Reason(StrEnum):
    """Why a text was suppressed; see the module's docstring."""

    SOUND = "sound"
    NO_SPEECH = "no_speech"
    UNSURE = "unsure"
    REPEATED = "repeated"
    ENDLESS = "endless"


@dataclass(frozen=True, slots=True)
class Opinion:
    """The tag head's highest scores in [0, 1] of an utterance so far: of people talking, of anything else."""

    speech: float = 0.0
    sound: float = 0.0

    def and_also(self, speech: float, sound: float) -> Opinion:
        """With another window's."""
        return Opinion(max(self.speech, speech), max(self.sound, sound))


def judge(decoded: Decoded, config: GuardsConfig, opinion: Opinion | None = None) -> Reason | None:
    """Why a text is not to be believed; None where it is, or where there is none.

    opinion: None where no tag head has heard it.
    """
    if not config.enabled or not decoded.text:
        return None
    if opinion is not None and opinion.sound >= config.sound and opinion.speech < config.speech:
        return Reason.SOUND
    if decoded.no_speech_prob > config.no_speech and decoded.avg_logprob < config.logprob:
        return Reason.NO_SPEECH
    if len(decoded.logprobs) and float(decoded.token_probs.mean()) < config.confidence:
        return Reason.UNSURE
    if compression_ratio(decoded.text) > config.compression:
        return Reason.REPEATED
    return Reason.ENDLESS if decoded.reached_limit else None


def compression_ratio(text: str) -> float:
    """Bytes of a text over those that zlib needs for it (Whisper's measure); 0 for none."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0
