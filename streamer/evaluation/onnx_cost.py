"""What an utterance costs in ONNX Runtime, and with OpenVINO for its encoder: see `engine_cost.measure`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from streamer.asr.decode import DecodeOptions
from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.asr.transcriber import make_transcriber
from streamer.backends import openvino
from streamer.backends.choice import NAMES, Fitting, fit
from streamer.backends.loaded import as_stored
from streamer.backends.onnx import Runtime
from streamer.config import ModelConfig
from streamer.engine import Engine, Request
from streamer.evaluation.engine_cost import (
    FINAL,
    OURS,
    PEAK,
    Maker,
    Run,
    Samples,
    forced,
    made_up_tokenizer,
    official,
    random_model,
    windows,
)
from streamer.evaluation.peak import WORK, encoder_work, onnx_product
from streamer.nn.definition import ContextInfo
from streamer.timebase import FRAME, FULL_CONTEXT, SAMPLE_RATE

FILLS = {"thinned silence": ContextInfo(thinned=True), "whole silence": ContextInfo()}
"""What a checkpoint that knows nothing but 30 s may hear behind the audio, by what it is called."""


def onnx_maker(name: str) -> Maker | None:
    """A model in ONNX Runtime, its whole and what differs of its parts; None where that has none.

    With OpenVINO for its encoder, too, where that is installed. One that needs 30 s comes with its silence
    thinned and whole.
    """
    found = fit(ModelConfig(name=name))
    if isinstance(found, str):
        return None
    fills = [""] if found.model.info.context.short else [*FILLS]
    return _onnx_maker(found, load_tokenizer(found.model.vocabulary), fills)


def random_onnx_maker(size: str) -> Maker:
    """Random weights of an official size in ONNX Runtime, in a short context and in 30 s."""
    model, weights = as_stored(random_model(official(size), size), Path())
    return _onnx_maker(Fitting(model, weights, writes=True), made_up_tokenizer(), ["", *FILLS])


def _onnx_maker(found: Fitting, tokenizer: Tokenizer, fills: Sequence[str]) -> Maker:
    """fills: what is heard behind the audio, as in FILLS, empty for what the model's definition says."""
    runtimes: tuple[Runtime, ...] = ("onnx", "openvino") if openvino.installed() else ("onnx",)
    makers = [
        _runtime_maker(replace(found, runtime=one), tokenizer, fill) for fill in fills for one in runtimes
    ]

    def make(samples: Samples, tokens: int, threads: int) -> list[Run]:
        return [run for maker in makers for run in maker(samples, tokens, threads)]

    return make


def _runtime_maker(found: Fitting, tokenizer: Tokenizer, fill: str) -> Maker:
    info = found.model.info
    besides = bool(fill) and info.context.short
    """Whether the model's own context is measured, too."""
    if fill:
        info = info.model_copy(update={"context": FILLS[fill]})
        found = replace(found, model=replace(found.model, info=info))
    model = found.model

    def make(samples: Samples, tokens: int, threads: int) -> list[Run]:
        if len(samples) + info.context.samples >= FULL_CONTEXT and (besides or info.context.thinned):
            return []  # there is no silence, and another one's figures say it all
        network = found.network(threads)
        engine = Engine(model, tokenizer, network=network)
        seen = windows(len(samples)) if model.tags is not None else ()
        # A CTC branch writes as many tokens as it hears.
        heard = DecodeOptions(duration=len(samples) / SAMPLE_RATE)
        how = forced(tokenizer, tokens) if found.writes else heard
        request = Request(samples, how, windows=seen)
        decoded = engine.run([request])[0].decoded
        assert decoded is not None
        length = network.context(len(samples))
        whole = Run(
            OURS,
            FINAL,
            ", ".join(["int8", NAMES[found.runtime], *([fill] if fill else [])]),
            FULL_CONTEXT / SAMPLE_RATE if fill else length / SAMPLE_RATE,
            lambda: engine.run([request]),
            len(decoded.tokens),
            bool(seen),
        )
        encode = replace(
            whole,
            part="features and encoder",
            call=lambda: network.encode([samples], length, bool(seen), judged=False),
            tokens=None,
            tags=False,
            work=None if info.context.thinned else encoder_work(info.dims.whisper(), length // FRAME),
        )
        runs = [whole, encode]
        if found.runtime == "onnx" and not (besides or info.context.thinned):
            runs.append(replace(encode, part=PEAK, call=onnx_product(threads), work=WORK))
        if not found.writes:
            return runs
        states = network.encode([samples], length, bool(seen), judged=False).window(0)
        reader = make_transcriber(model, network, tokenizer, "attention")
        read = partial(reader.read, states, how, len(samples) // FRAME, ())
        return [*runs, replace(whole, part="text: decoder", call=read, tags=False)]

    return make
