"""One encoding, read by the decoder and the tag head: the same alone and in a batch, counted, refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from streamer.asr.decode import DecodeOptions
from streamer.asr.decoder import decode
from streamer.audio.mel import log_mel
from streamer.backends import processor
from streamer.backends.base import BUCKET, SHORTEST, context_for
from streamer.backends.torch import choose_precision
from streamer.config import ModelConfig
from streamer.engine import Engine, Request
from streamer.errors import ConfigError
from streamer.nn.checkpoint import LoadedModel
from streamer.nn.definition import ContextInfo
from streamer.nn.heads import Head
from streamer.nn.whisper import Whisper
from streamer.timebase import FRAME, FULL_CONTEXT, POOL, SAMPLE_RATE, TOKEN
from tests.tiny import LABELS, tiny_model, tiny_tokenizer

ENGLISH = DecodeOptions(language="en", max_tokens=6)
DECODERS = pytest.mark.parametrize("decoder", ["ctc", "attention"])


def make(text: str = "ctc", **options: Any) -> Engine:
    return Engine(tiny_model(decoder=text), tiny_tokenizer(), **options)


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


# Context.


@given(st.integers(1, FULL_CONTEXT))
def test_contexts_hold_the_samples_and_are_few(samples: int) -> None:
    length = context_for(samples, short=True)
    assert samples <= length <= FULL_CONTEXT
    assert length >= SHORTEST
    assert length % BUCKET == 0 or length == FULL_CONTEXT
    assert length % TOKEN == 0
    assert length - samples < BUCKET or length == SHORTEST
    assert context_for(samples, short=False) == FULL_CONTEXT


def test_only_models_made_for_it_get_short_contexts() -> None:
    model = tiny_model()
    stock = replace(model, info=model.info.model_copy(update={"context": ContextInfo(short=False)}))
    assert Engine(model, tiny_tokenizer()).context(SAMPLE_RATE) == SHORTEST
    engine = Engine(stock, tiny_tokenizer())
    assert engine.context(SAMPLE_RATE) == engine.context(20 * SAMPLE_RATE) == FULL_CONTEXT
    # And it answers: passes of any length share a batch.
    results = engine.run([Request(noise(1.0), ENGLISH), Request(noise(2.5), ENGLISH, windows=((0, 4),))])
    assert [r.decoded is not None for r in results] == [True, True]
    assert [r.scores.shape for r in results] == [(0, len(LABELS)), (1, len(LABELS))]


@given(st.integers(1, FULL_CONTEXT), st.integers(0, FULL_CONTEXT))
def test_a_margin_is_room_behind_the_samples(samples: int, margin: int) -> None:
    length = context_for(samples, short=True, margin=margin)
    assert length == FULL_CONTEXT or length >= samples + margin
    assert length == context_for(min(samples + margin, FULL_CONTEXT), short=True)
    assert context_for(samples, short=False, margin=margin) == FULL_CONTEXT


def test_a_margin_that_was_measured_makes_a_pass_cheaper() -> None:
    """What the encoder really sees: 30 s of a stock checkpoint, else audio and the margin it has earned."""

    def frames(context: ContextInfo) -> int:
        model = tiny_model()
        model = replace(model, info=model.info.model_copy(update={"context": context}))
        seen: list[int] = []
        model.model.encoder.register_forward_hook(lambda *told: seen.append(told[2].states.shape[1]))
        Engine(model, tiny_tokenizer()).run([Request(noise(2.4), ENGLISH)])
        (count,) = seen
        return count

    second = SAMPLE_RATE // FRAME
    assert frames(ContextInfo()) == 30 * second
    assert frames(ContextInfo(short=True, margin=1.6)) == 4 * second
    assert frames(ContextInfo(short=True)) == 2.4 * second


# A batch.


@DECODERS
def test_a_batch_says_what_each_request_says_alone(decoder: str) -> None:
    """Texts, sounds, both or nothing, of different lengths in one context."""
    engine = make(decoder)
    requests = [
        Request(noise(2.4, 1), ENGLISH),
        Request(noise(1.7, 2), ENGLISH, windows=((0, 2), (0, 4))),
        Request(0.01 * noise(2.0, 3), windows=((1, 5),)),
        Request(noise(2.4, 4), ENGLISH, windows=((0, 4), (1, 5), (0, 2))),
    ]
    assert len({engine.context(len(r.samples)) for r in requests}) == 1
    together = engine.run(requests)
    for request, result in zip(requests, together, strict=True):
        (alone,) = engine.run([request])
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-5)
        assert (result.decoded is None) == (request.text is None)
        if result.decoded is None or alone.decoded is None:
            continue
        assert result.decoded.tokens == alone.decoded.tokens
        assert result.decoded.tokens
        np.testing.assert_allclose(result.decoded.logprobs, alone.decoded.logprobs, atol=1e-5)
        assert [(w.text, w.start, w.end) for w in result.words] == [
            (w.text, w.start, w.end) for w in alone.words
        ]
        assert result.frames == alone.frames


def test_what_is_refused() -> None:
    engine = make()
    with pytest.raises(ValueError, match="one context length, found"):
        engine.run([Request(noise(1.0)), Request(noise(5.0))])
    with pytest.raises(ValueError, match="one context length"):
        engine.run([])
    assert engine.encoder_passes == 0


# One encoding.


def whisper_of(engine: Engine) -> Whisper:
    assert isinstance(engine.model, LoadedModel)
    return engine.model.model


def head_of(engine: Engine) -> Head:
    assert isinstance(engine.model.tags, Head)
    return engine.model.tags


class Counting:
    """Counts the windows that go through an encoder."""

    def __init__(self, engine: Engine) -> None:
        self.windows = 0
        whisper_of(engine).encoder.register_forward_hook(self._count)

    def _count(self, _module: object, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
        self.windows += len(inputs[0])


@DECODERS
def test_words_and_any_number_of_sounds_cost_exactly_one_encoder_pass(decoder: str) -> None:
    engine = make(decoder)
    count = Counting(engine)
    windows = tuple((max(0, last - 10), last) for last in range(2, 13, 2))
    engine.run([Request(noise(5.0), ENGLISH, windows=windows)])
    assert count.windows == engine.encoder_passes == 1
    engine.run([Request(noise(5.0, seed), ENGLISH, windows=windows) for seed in range(3)])
    assert count.windows == engine.encoder_passes == 4


@DECODERS
def test_tokens_beyond_the_prefix_and_seconds_are_counted(decoder: str) -> None:
    engine = make(decoder)
    (first,) = engine.run([Request(noise(2.0), ENGLISH)])
    assert first.decoded is not None
    assert engine.tokens == len(first.decoded.tokens)
    spent = engine.seconds
    assert spent > 0
    given = first.decoded.tokens[:2]
    options = replace(ENGLISH, prefix=given)
    (second,) = engine.run([Request(noise(2.0), options, first.frames[:2])])
    assert second.decoded is not None
    assert engine.tokens == len(first.decoded.tokens) + len(second.decoded.tokens) - len(given)
    assert engine.seconds > spent
    engine.warm_up()
    assert (engine.tokens, engine.seconds) == (0, 0)


def test_windows_are_judged_as_the_head_judges_them_alone() -> None:
    """Slices of one encoding, of several lengths and in any order, against the head on each by itself."""
    engine = make()
    samples = noise(5.0)
    windows = ((2, 12), (0, 2), (0, 10), (3, 5), (2, 12))
    (result,) = engine.run([Request(samples, windows=windows)])
    padded = np.pad(samples, (0, engine.context(len(samples)) - len(samples)))
    with torch.inference_mode():
        layers = whisper_of(engine).encode(torch.from_numpy(log_mel(padded))[None], True).layers
        assert layers is not None
        head = head_of(engine)
        for (first, last), scores in zip(windows, result.scores, strict=True):
            alone = head(layers[:, :, first:last])[0].sigmoid().numpy()
            np.testing.assert_allclose(scores, alone, atol=1e-6)
    assert ((result.scores > 0) & (result.scores < 1)).all()
    assert not np.allclose(result.scores[0], result.scores[2], atol=1e-6)
    np.testing.assert_allclose(result.scores[0], result.scores[4], rtol=1e-6)


def test_windows_of_one_length_cost_one_call_whoever_asks() -> None:
    engine = make()
    sizes: list[tuple[int, int]] = []
    head_of(engine).register_forward_hook(lambda _, inputs, __: sizes.append(inputs[0].shape[0:3:2]))
    engine.run(
        [
            Request(noise(5.0, 1), windows=((0, 10), (2, 12), (0, 4))),
            Request(noise(4.9, 2), ENGLISH),
            Request(noise(5.0, 3), ENGLISH, windows=((1, 11), (4, 8))),
        ]
    )
    assert sorted(sizes) == [(2, 4), (3, 10)]


def test_nothing_of_the_padding_is_read() -> None:
    """CTC frames and word times end with the audio, which is padded to 2.4 s here."""
    engine = make()
    samples = noise(1.0)
    (result,) = engine.run([Request(samples, ENGLISH)])
    assert result.decoded is not None
    frames = len(samples) // FRAME
    assert all(frame < frames for frame in result.frames)
    assert all(word.end <= frames for word in result.words)
    assert result.decoded.attention.shape[-1] == frames


def test_attention_text_is_the_decoders() -> None:
    engine = make("attention")
    samples = noise(2.4)
    (result,) = engine.run([Request(samples, ENGLISH)])
    with torch.inference_mode():
        states = whisper_of(engine).encode(torch.from_numpy(log_mel(samples))[None]).states
    assert states.shape[1] == len(samples) // FRAME == 6 * POOL
    assert result.decoded is not None
    assert result.decoded.tokens == decode(whisper_of(engine), states, tiny_tokenizer(), ENGLISH).tokens
    assert result.frames == ()


@DECODERS
def test_a_prefix_begins_the_text(decoder: str) -> None:
    engine = make(decoder)
    (first,) = engine.run([Request(noise(2.0), ENGLISH)])
    assert first.decoded is not None
    prefix = first.decoded.tokens[:3]
    text = replace(ENGLISH, prefix=prefix)
    (second,) = engine.run([Request(noise(2.4), text, first.frames[:3])])
    assert second.decoded is not None
    assert second.decoded.tokens[:3] == prefix


def test_a_model_without_heads_gives_words_and_zero_scores() -> None:
    model = replace(tiny_model(decoder="attention"), tags=None, ctc=None, labels=(), thresholds=())
    (result,) = Engine(model, tiny_tokenizer()).run([Request(noise(1.0), ENGLISH, windows=((0, 2),))])
    assert result.scores.shape == (1, 0)
    assert result.decoded is not None


def test_warming_up_leaves_no_trace() -> None:
    for decoder in ("ctc", "attention"):
        engine = make(decoder)
        engine.warm_up()
        assert engine.encoder_passes == 0


# What is chosen.


def test_the_decoder_is_the_models_unless_told_otherwise() -> None:
    def writes_ctc(engine: Engine) -> bool:
        return bool(engine.run([Request(noise(1.0), ENGLISH)])[0].frames)

    assert writes_ctc(make("ctc"))
    assert not writes_ctc(make("attention"))
    assert writes_ctc(make("attention", decoder="ctc"))
    assert not writes_ctc(make("ctc", decoder="attention"))


def test_a_ctc_branch_that_is_not_there_is_refused() -> None:
    model = replace(tiny_model(), ctc=None)
    with pytest.raises(ConfigError, match=r"model.decoder is 'ctc', but tiny has no CTC branch"):
        Engine(model, tiny_tokenizer(), decoder="ctc")
    # A definition that recommends what the file has not is no reason to be mute.
    (result,) = Engine(model, tiny_tokenizer()).run([Request(noise(1.0), ENGLISH)])
    assert result.decoded is not None


@pytest.mark.parametrize(
    ("precision", "flags", "wanted"),
    [
        ("auto", {"avx2"}, torch.float32),
        ("auto", {"avx2", "amx_bf16"}, torch.bfloat16),
        ("fp32", {"amx_bf16"}, torch.float32),
        ("bf16", set(), torch.bfloat16),
    ],
)
def test_precision(
    precision: Any, flags: set[str], wanted: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: flags)
    assert choose_precision(ModelConfig(precision=precision)) == wanted


@DECODERS
def test_bf16_hears_about_the_same(decoder: str) -> None:
    exact, rough = make(decoder), make(decoder, dtype=torch.bfloat16)
    request = Request(noise(2.0), ENGLISH, windows=((0, 4),))
    (wanted,), (found,) = exact.run([request]), rough.run([request])
    assert found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, wanted.scores, atol=0.05)
    assert found.decoded is not None
    assert np.isfinite(found.decoded.avg_logprob)


@settings(max_examples=15, deadline=None)
@given(st.integers(FRAME, 6 * SAMPLE_RATE), st.data())
def test_any_request_is_answered(samples: int, data: st.DataObject) -> None:
    engine = ENGINE
    tokens = samples // TOKEN
    ends = data.draw(st.lists(st.integers(2, tokens), max_size=4)) if tokens >= 2 else []
    windows = tuple((max(0, end - 10), end) for end in ends)
    (result,) = engine.run([Request(noise(7.0)[:samples], ENGLISH, windows=windows)])
    assert result.scores.shape == (len(windows), len(LABELS))
    assert np.isfinite(result.scores).all()
    assert result.decoded is not None
    assert len(result.frames) == len(result.decoded.tokens)


ENGINE = make()
