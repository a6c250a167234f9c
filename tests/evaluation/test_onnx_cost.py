"""A model is measured in ONNX Runtime, in its own context and in 30 s."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from streamer.backends import openvino
from streamer.engine import Engine
from streamer.evaluation.engine_cost import FINAL, OURS, PEAK, Plan, measure, own_runs
from streamer.evaluation.onnx_cost import onnx_maker
from streamer.nn.definition import ContextInfo
from tests.tiny import save_tiny, tiny_model, tiny_tokenizer

SPEECH = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)


def engine(decoder: str = "ctc") -> Engine:
    return Engine(tiny_model(decoder=decoder), tiny_tokenizer())


def test_a_model_of_ours_is_measured_in_onnx_runtime_too(tmp_path: Path) -> None:
    make = onnx_maker(str(save_tiny(tmp_path / "model")))
    assert make is not None
    whole, encoder, product, *others = make(SPEECH, 2, 1)
    assert product.part == PEAK
    with_openvino = "int8, OpenVINO"
    assert [run.precision for run in others] == [with_openvino] * (2 if openvino.installed() else 0)
    assert (whole.who, whole.part, whole.tags) == (OURS, FINAL, True)
    assert whole.precision == encoder.precision != own_runs(engine(), SPEECH, None)[0].precision
    writing = onnx_maker(str(save_tiny(tmp_path / "writing", tiny_model(decoder="attention"))))
    assert writing is not None
    runs = [run for run in writing(SPEECH, 3, 1) if run.precision != with_openvino]
    assert [(run.part, run.tokens) for run in runs] == [
        (FINAL, 3),
        ("features and encoder", None),
        (PEAK, None),
        ("text: decoder", 3),
    ]
    assert onnx_maker("none-such") is None
    plan = Plan((torch.float32,), contexts=(1.0,), tokens=3, repeat=1)
    rows = list(measure(plan, {torch.float32: engine("attention")}, SPEECH, first=writing))
    assert [(row.precision, row.ratio) for row in rows[:1]] == [(whole.precision, 1)]


def test_what_needs_30_s_is_measured_with_its_silence_thinned_and_whole(tmp_path: Path) -> None:
    tiny = tiny_model()
    stock = replace(tiny, info=tiny.info.model_copy(update={"context": ContextInfo()}))
    make = onnx_maker(str(save_tiny(tmp_path / "stock", stock)))
    assert make is not None
    runs = [run for run in make(SPEECH, 2, 1) if "OpenVINO" not in run.precision]
    assert [run.precision.split(", ")[-1] for run in runs] == ["thinned silence"] * 2 + ["whole silence"] * 3
    assert {run.context for run in runs} == {30.0}
    assert [run.part for run in runs] == [
        FINAL,
        "features and encoder",
        FINAL,
        "features and encoder",
        PEAK,
    ]
    full = make(np.resize(SPEECH, 30 * 16_000), 2, 1)
    assert {run.precision.split(", ")[-1] for run in full} == {"whole silence"}
