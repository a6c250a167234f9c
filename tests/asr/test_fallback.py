"""Another try only for what is not believed, over the encoding that there is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from streamer.asr.decode import Decoded, DecodeOptions
from streamer.asr.decoder import decode
from streamer.asr.fallback import believed, decode_again
from streamer.config import TextConfig
from streamer.engine import Engine, Request
from tests.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
MODEL = tiny_model(decoder="attention")
STATES = torch.randn(1, 40, 64, generator=torch.Generator().manual_seed(1))
SHORT = DecodeOptions(max_tokens=12, break_loops=False)


def a_text(
    text: str = "some words", logprob: float = -0.2, silence: float = 0.0, *, loops: bool = False
) -> Decoded:
    made = decode(MODEL.model, STATES, TOKENIZER, SHORT)
    return replace(made, text=text, avg_logprob=logprob, no_speech_prob=silence, broke_loop=loops)


@pytest.mark.parametrize(
    ("decoded", "expected"),
    [
        (a_text(), True),
        (a_text(logprob=-1.5), False),
        (a_text(text="over and " * 30), False),
        (a_text(loops=True), False),
        (a_text(logprob=-1.5, silence=0.9), True),
        (a_text(text="over and " * 30, silence=0.9), False),
    ],
)  # fmt: skip
def test_what_is_believed(decoded: Decoded, expected: bool) -> None:
    assert believed(decoded, DecodeOptions()) is expected


def test_tries_end_with_the_first_that_is_believed() -> None:
    asked: list[float] = []

    def run(options: DecodeOptions) -> Decoded:
        asked.append(options.temperature)
        return replace(
            a_text(logprob=-1.0 if options.temperature >= 0.4 else -2.0), temperature=options.temperature
        )

    options = DecodeOptions(again=(0.2, 0.4, 0.6))
    assert decode_again(run, options).temperature == 0.4
    assert asked == [0.0, 0.2, 0.4]
    assert decode_again(run, replace(options, least_logprob=-0.5)).temperature == 0.6
    assert decode_again(run, replace(options, again=())).temperature == 0.0


def test_a_temperature_draws_the_same_every_time_and_next_to_none_the_likeliest() -> None:
    greedy, cold, hot, again = (
        decode(MODEL.model, STATES, TOKENIZER, replace(SHORT, temperature=t)) for t in (0.0, 1e-4, 1.5, 1.5)
    )
    assert cold.tokens == greedy.tokens
    assert hot.tokens == again.tokens != greedy.tokens
    # Probabilities are the model's own, whatever the temperature was.
    forced = decode(MODEL.model, STATES, TOKENIZER, replace(SHORT, prefix=hot.tokens[:6]))
    np.testing.assert_allclose(forced.logprobs[1:6], hot.logprobs[1:6], atol=0.05)


def test_prompts_hotwords_and_tries_cost_no_second_pass_of_the_encoder() -> None:
    text = TextConfig(hotwords=["zebra"], hotword_boost=2.0)
    engine = Engine(MODEL, TOKENIZER, text=text)
    samples = np.random.default_rng(0).standard_normal(32000).astype(np.float32)
    wanted = replace(SHORT, least_logprob=0.0)
    tried = replace(wanted, again=(0.5, 1.0), prompt=tuple(b" as before"))
    plain, other = engine.run([Request(samples, wanted), Request(samples, tried)])
    assert engine.encoder_passes == 2
    assert plain.decoded is not None
    assert other.decoded is not None
    assert (plain.decoded.temperature, other.decoded.temperature) == (0.0, 1.0)
    assert plain.decoded.tokens != other.decoded.tokens
