"""Each reason suppresses what it is for, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.asr.decode import Decoded
from streamer.asr.evidence import Evidence
from streamer.asr.guards import UNHEARD, Opinion, Reason, compression_ratio, judge
from streamer.config import GuardsConfig

CONFIG = GuardsConfig()
NOISE = Opinion(speech=0.1, sound=0.9)


def decoded(text: str = "hello there", **changes: Any) -> Decoded:
    """A transcript that nobody doubts, with changes."""
    values: dict[str, Any] = {
        "tokens": tuple(text.encode()),
        "prefix_length": 0,
        "text": text,
        "logprobs": np.full(len(text), -0.1, np.float32),
        "avg_logprob": -0.1,
        "no_speech_prob": 0.01,
        "language": "en",
        "language_prob": 1.0,
        "attention": np.zeros((0, 0, 0), np.float32),
        "attention_start": 0,
        "reached_limit": False,
        "broke_loop": False,
    }
    return Decoded(**{**values, **changes})


WORDS, WORD, MURMUR = Evidence(90.0, 30.0), Evidence(6.0, 2.0), Evidence(9.0, 40.0)
"""Of a CTC branch: of a sentence, of one short word, and of a noise that sounds like speech everywhere."""

DOUBTFUL = {
    Reason.NO_SPEECH: decoded(no_speech_prob=0.9, avg_logprob=-1.2),
    Reason.UNSURE: decoded(logprobs=np.full(11, -2.5, np.float32)),
    Reason.UNEXPLAINED: decoded(evidence=MURMUR),
    Reason.REPEATED: decoded("thank you. " * 20),
    Reason.ENDLESS: decoded(reached_limit=True),
}


@pytest.mark.parametrize("reason", DOUBTFUL)
def test_each_reason(reason: Reason) -> None:
    assert judge(DOUBTFUL[reason], CONFIG) is reason
    assert judge(DOUBTFUL[reason], GuardsConfig(enabled=False)) is None


def test_what_is_believed() -> None:
    assert judge(decoded(), CONFIG) is None
    assert judge(decoded(), CONFIG, Opinion(speech=CONFIG.speech, sound=0.95)) is None
    assert judge(decoded(), CONFIG, Opinion(speech=0.1, sound=CONFIG.sound / 2)) is None
    assert judge(decoded(evidence=WORDS), CONFIG) is None
    # One of two doubts is not enough where two are asked for.
    assert judge(decoded(no_speech_prob=0.9), CONFIG) is None
    assert judge(decoded(avg_logprob=-1.2), CONFIG) is None
    long = "it was the best of times, it was the worst of times, it was the age of wisdom"
    assert judge(decoded(long), CONFIG) is None


def test_a_sound_without_speech_is_a_veto_until_speech_is_heard() -> None:
    assert judge(decoded(), CONFIG, NOISE) is Reason.SOUND
    assert judge(decoded(), CONFIG, NOISE.and_also(speech=0.9, sound=0.0)) is None


def test_the_less_a_text_gains_the_surer_the_tag_head_has_to_be_of_speech() -> None:
    between = Opinion(speech=(CONFIG.speech + CONFIG.speech_if_weak) / 2, sound=0.5)
    assert judge(decoded(evidence=WORDS), CONFIG, between) is None
    assert judge(decoded(evidence=WORD), CONFIG, between) is Reason.SOUND
    assert judge(decoded(evidence=WORD), CONFIG, between.and_also(CONFIG.speech_if_weak, 0.0)) is None
    assert judge(decoded(evidence=WORD), CONFIG, UNHEARD) is Reason.UNHEARD
    assert judge(decoded(evidence=WORDS), CONFIG, UNHEARD) is None
    assert judge(decoded(evidence=WORD), CONFIG, UNHEARD.and_also(1.0, 0.5)) is None
    # Who is sure of speech still does not make words of a murmur.
    assert judge(decoded(evidence=MURMUR), CONFIG, Opinion(speech=1.0, sound=0.0)) is Reason.UNEXPLAINED


@given(
    st.builds(Evidence, st.floats(-50, 200), st.floats(0.1, 50)),
    st.builds(Opinion, st.floats(0, 1), st.floats(0, 1)),
    st.floats(0, 50),
    st.floats(0, 1),
)
def test_more_evidence_never_makes_a_text_less_believable(
    evidence: Evidence, opinion: Opinion, gain: float, speech: float
) -> None:
    if judge(decoded(evidence=evidence), CONFIG, opinion) is None:
        more = Evidence(evidence.gain + gain, evidence.heard)
        assert judge(decoded(evidence=more), CONFIG, opinion.and_also(speech, 0.0)) is None


def test_nothing_said_is_nothing_suppressed() -> None:
    for reason in DOUBTFUL:
        assert judge(decoded("", reached_limit=reason is Reason.ENDLESS), CONFIG, NOISE) is None


def test_repetition_compresses() -> None:
    assert compression_ratio("") == 0.0
    ratios = [compression_ratio("one two three four " * n) for n in (1, 3, 10, 30)]
    assert ratios == sorted(ratios)
    assert ratios[0] < 1.1 < 2.4 < ratios[-1]
