"""An utterance's cost is measured whole and in parts, beside other programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from streamer.backends.torch import network_of
from streamer.engine import Engine
from streamer.evaluation.engine_cost import (
    FINAL,
    OURS,
    PEAK,
    Plan,
    Run,
    Samples,
    forced,
    made_up_tokenizer,
    measure,
    official,
    own_runs,
    random_model,
    windows,
)
from streamer.nn.whisper import WhisperDims
from tests.tiny import tiny_model, tiny_tokenizer

SPEECH = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
DIMS = WhisperDims(80, 1500, 32, 2, 2, 3000, 448, 32, 2, 2)


def engine(decoder: str = "ctc") -> Engine:
    return Engine(tiny_model(decoder=decoder), tiny_tokenizer())


def test_the_whole_comes_first_and_then_every_part() -> None:
    runs = own_runs(engine(), SPEECH, None)
    assert [run.part for run in runs] == [
        FINAL,
        "features",
        "encoder",
        "tags",
        "text: CTC, greedy",
        "text: decoder",
        PEAK,
    ]
    # The whole writes with the CTC branch, and the decoder as many tokens as that has heard.
    assert runs[0].tokens == runs[4].tokens == runs[5].tokens
    assert {run.context for run in runs} == {1.6}


@pytest.mark.parametrize("count", [1, 7])
def test_a_decoder_writes_as_many_tokens_as_are_asked_for(count: int) -> None:
    runs = own_runs(engine("attention"), SPEECH, count)
    assert runs[0].tokens == count
    assert next(run for run in runs if run.part == "text: decoder").tokens == count


def test_random_weights_of_any_size_go_through_the_engine() -> None:
    random = Engine(random_model(DIMS), made_up_tokenizer(DIMS.n_vocab))
    assert random.tokenizer.n_vocab == DIMS.n_vocab
    assert own_runs(random, SPEECH, 3)[0].tokens == 3
    assert official("base") == WhisperDims(80, 1500, 512, 8, 6, 51864, 448, 512, 8, 6)
    assert forced(random.tokenizer, 3).suppress_tokens == (-1, random.tokenizer.eot)


def test_an_utterance_is_heard_once_each_hop() -> None:
    assert windows(5 * 16_000) == ((0, 2), (0, 4), (0, 6), (0, 8), (0, 10), (2, 12))
    assert windows(6_400) == ()


def test_rows_compare_with_the_whole_of_the_last_precision_beside_peers() -> None:
    asked: list[tuple[int, int, int]] = []

    def peer(samples: Samples, count: int, threads: int) -> list[Run]:
        asked.append((len(samples), count, threads))
        return [Run("other", FINAL, "int8", 30.0, lambda: None)]

    engines = {
        torch.float32: engine(),
        torch.bfloat16: Engine(tiny_model(), tiny_tokenizer(), torch.bfloat16),
    }
    rounds: list[None] = []
    plan = Plan(list(engines), contexts=(1.0, 2.0), tokens=2, repeat=1)
    before = torch.get_num_threads()
    rows = list(measure(plan, engines, SPEECH, [peer], lambda: rounds.append(None)))
    assert torch.get_num_threads() == before
    assert asked == [(16_000, 2, 1), (32_000, 2, 1)]
    assert len(rounds) == 4
    for speech in (1.0, 2.0):
        mine = [row for row in rows if row.speech == speech]
        assert (mine[0].who, mine[0].part, mine[0].precision) == (OURS, FINAL, "bf16")
        assert (mine[0].ratio, mine[0].cpu_ratio) == (1, 1)
        assert mine[-1].who == "other"
        assert mine[-1].ratio < 1
        assert {row.precision for row in mine} == {"bf16", "fp32", "int8"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here")
def test_a_gpu_is_measured_and_named() -> None:
    device = torch.device("cuda")
    for decoder in ("ctc", "attention"):
        model = tiny_model(decoder=decoder)
        there = Engine(model, tiny_tokenizer(), network=network_of(model, torch.float16, device))
        rows = list(
            measure(Plan((torch.float16,), (1.0,), tokens=3, repeat=2), {torch.float16: there}, SPEECH)
        )
        assert {row.precision for row in rows} == {"fp16, cuda"}
        assert [row.part for row in rows][:4] == [FINAL, "features", "encoder", "tags"]
        assert PEAK not in {row.part for row in rows}  # that one is a processor's


def test_a_model_without_tags_has_no_row_for_them() -> None:
    deaf = Engine(replace(tiny_model(), tags=None, labels=(), thresholds=()), tiny_tokenizer())
    runs = own_runs(deaf, SPEECH, None)
    assert not any(run.tags for run in runs)


def test_an_encoder_has_a_share_of_its_own_precisions_peak() -> None:
    engines = {torch.float32: engine()}
    work = next(run.work for run in own_runs(engine(), SPEECH, 2) if run.part == "encoder")
    assert work is not None

    def peers(samples: Samples, count: int, threads: int) -> list[Run]:
        return [
            Run("other", "encoder", precision, 30.0, lambda: sum(range(1000)), work=work)
            for precision in ("fp32", "int8")
        ]

    rows = list(measure(Plan(list(engines), (1.0,), tokens=2, repeat=3), engines, SPEECH, [peers]))
    shares = {(row.who, row.part, row.precision): row.peak_share for row in rows}
    assert shares[OURS, PEAK, "fp32"] == 1
    assert 0 < (shares[OURS, "encoder", "fp32"] or 0) < 1
    assert shares["other", "encoder", "fp32"] is not None
    # Nobody measured what eight bits are capable of, nor counted what a decoder does.
    assert shares["other", "encoder", "int8"] is None
    assert shares[OURS, "text: decoder", "fp32"] is None
