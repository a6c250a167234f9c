"""A decoder's own text, and how much of it other states leave open."""

from __future__ import annotations

import torch

from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import decode
from streamer.training.context.told import Scribe
from tests.tiny import tiny_tokenizer
from tests.training.context.recordings import stock


def states(seed: int = 0, frames: int = 60) -> torch.Tensor:
    return torch.randn(1, frames, 64, generator=torch.Generator().manual_seed(seed))


def test_what_is_written_is_the_decoders() -> None:
    model, tokenizer = stock("attention").model, tiny_tokenizer()
    told = Scribe(model, tokenizer, "en").write(states(), 16000)
    text = decode(model, states(), tokenizer, DecodeOptions("en", duration=1.0))
    assert text.tokens
    assert told.tokens.tolist() == [tokenizer.sot, tokenizer.no_timestamps, *text.tokens]
    logits = model.decoder(told.tokens[None], states())[0]
    assert len(told.said) == 1 + len(text.tokens)
    again = torch.nn.functional.linear(told.said, model.decoder.token_embedding.weight)
    torch.testing.assert_close(again, logits[1:], rtol=1e-4, atol=1e-4)


def test_a_distance_is_none_from_the_same_and_teaches_states_alone() -> None:
    model = stock("attention").model
    scribe = Scribe(model, tiny_tokenizer(), "en")
    told = scribe.write(states(), 16000)
    assert abs(float(scribe.distance(told, states()))) < 1e-5
    others = states(1).requires_grad_(True)
    apart = scribe.distance(told, others)
    assert apart > 1e-3
    apart.backward()
    assert others.grad is not None
    assert others.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_its_identity_is_of_its_weights_and_language() -> None:
    def of(seed: int, language: str | None) -> str:
        model = stock("attention").model
        with torch.no_grad():
            model.decoder.ln.bias.add_(seed)
        return Scribe(model, tiny_tokenizer(), language).identity

    assert of(0, "en") == of(0, "en")
    assert len({of(0, "en"), of(1, "en"), of(0, None)}) == 3
