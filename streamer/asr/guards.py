"""Which texts are not believed: silence, noise, music and clatter give no words, whatever a model hears.

A text is suppressed for the first of these reasons that holds:

- `sound`: the tag head heard a sound (at least `sound`) and was never sure of speech (below `speech`; below
  `speech_if_weak` for a CTC branch's text that gains less than `gain` over silence, as one short word does).
- `unheard`: such a text of an utterance that the tag head has heard nothing of, in its first second.
- `no_speech`: Whisper's rule. The decoder's no-speech probability is above `no_speech` and the mean
  log-probability of its text below `logprob`.
- `unsure`: the mean probability of the text's tokens is below `confidence`. A decoder that hallucinates over
  noise has little of it.
- `unexplained`: a CTC branch heard much more than its text says: `asr.evidence` is below `explained`. Some
  sounds pass for a voice, to the tag head and to the branch, which then finds something nearly everywhere and
  words nowhere; of what people say its text leaves little over.
- `repeated`: the text compresses by more than `compression`: it says the same over and over.
- `endless`: the decoder was stopped by the cap on tokens for so much audio: nobody speaks as fast.

A voice detector stands before all of them, and loops are cut in the decoder, where they begin. What part of
a text has been called stable stays, whatever is thought of the rest.

The thresholds were chosen on a first version of the bundled model, without a word model. Of 233 utterances
that the voice detector let through of 120 recordings of sounds and 6 of noise (ESC-50 and its like), its CTC
branch made 2 texts, and these rules leave none of them (1 without the tag head). Its decoder made 178 texts
over 80 of these recordings and the noise; they leave none (1 without the tag head). All 64 texts over AN4 and
LibriSpeech stay, and of the decoder's 45 all but one, which was wrong.

What is asked of the tag head and of the CTC branch's evidence was chosen together, on the bundled model with
the sound head that ships: two and a half hours of sounds (1815 utterances, 128 of them with a text in finals
or partials), judged as well by heads that had not learnt them, and 226 utterances with sounds at 10 dB under
them. Of the one a single partial was left; of the other 223 kept a text, as before. Noises that pass for a
voice (scores up to 0.99) hardly get explained; clicks that are (as "three") do not pass for a voice, but one
short word did by 0.93. A logistic score fitted to these numbers did no better (cross-validated). It costs
some words said alone: of 96 (half of them digits over an 8 kHz line, half with such sounds) 77 were kept, 88
before; of 111 of AN4 with nothing under them 104, 109 before.
On hours and utterances that nothing was chosen on: docs/captions.md.
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
    UNHEARD = "unheard"
    NO_SPEECH = "no_speech"
    UNSURE = "unsure"
    UNEXPLAINED = "unexplained"
    REPEATED = "repeated"
    ENDLESS = "endless"


@dataclass(frozen=True, slots=True)
class Opinion:
    """The tag head's highest scores in [0, 1] of an utterance so far: of people talking, of anything else.

    heard: whether any window of it has been.
    """

    speech: float = 0.0
    sound: float = 0.0
    heard: bool = True

    def and_also(self, speech: float, sound: float) -> Opinion:
        """With another window's."""
        return Opinion(max(self.speech, speech), max(self.sound, sound))


UNHEARD = Opinion(heard=False)


def judge(decoded: Decoded, config: GuardsConfig, opinion: Opinion | None = None) -> Reason | None:
    """Why a text is not to be believed; None where it is, or where there is none.

    opinion: None where there is no tag head that could have one.
    """
    if not config.enabled or not decoded.text:
        return None
    evidence = decoded.evidence
    weak = evidence is not None and evidence.gain < config.gain
    if opinion is not None:
        if weak and not opinion.heard:
            return Reason.UNHEARD
        needed = config.speech_if_weak if weak else config.speech
        if opinion.sound >= config.sound and opinion.speech < needed:
            return Reason.SOUND
    if decoded.no_speech_prob > config.no_speech and decoded.avg_logprob < config.logprob:
        return Reason.NO_SPEECH
    if len(decoded.logprobs) and float(decoded.token_probs.mean()) < config.confidence:
        return Reason.UNSURE
    if evidence is not None and evidence.explained < config.explained:
        return Reason.UNEXPLAINED
    if compression_ratio(decoded.text) > config.compression:
        return Reason.REPEATED
    return Reason.ENDLESS if decoded.reached_limit else None


def compression_ratio(text: str) -> float:
    """Bytes of a text over those that zlib needs for it (Whisper's measure); 0 for none."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0
