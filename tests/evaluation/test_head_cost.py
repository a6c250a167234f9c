"""What a head costs is counted, not guessed."""

from __future__ import annotations

import pytest
import torch

from streamer.errors import ConfigError, ModelError
from streamer.evaluation.head_cost import ENCODER, POOLING, Plan, dims_of, flops, measure
from streamer.nn.heads import HEADS, make_head
from streamer.nn.whisper import AudioEncoder, WhisperDims

LAYERS, WIDTH, TOKENS = 3, 32, 5


def products(*sizes: int) -> int:
    """A matrix product's operations: 2 for each multiplication."""
    out = 2
    for size in sizes:
        out *= size
    return out


def test_an_mlp_head_is_one_product() -> None:
    x = torch.zeros(1, LAYERS, TOKENS, WIDTH)
    assert flops(make_head("last-mlp", LAYERS, WIDTH, 7), x) == products(WIDTH, 7)
    assert flops(make_head("last-mlp", LAYERS, WIDTH, 7, 8), x) == products(WIDTH, 8) + products(8, 7)


def test_tl_tr_is_its_two_blocks() -> None:
    """Over time: L·T tokens; over layers: L. The feed-forward's second matrix sees only the means."""

    def block(tokens: int, rows: int) -> int:
        attention = 2 * products(tokens, tokens, WIDTH) * rows
        return rows * (products(tokens, 8 * WIDTH, WIDTH) + products(4 * WIDTH, WIDTH)) + attention

    found = flops(make_head("tl-tr", LAYERS, WIDTH, 7), torch.zeros(1, LAYERS, TOKENS, WIDTH))
    assert found == block(TOKENS, LAYERS) + block(LAYERS, 1) + products(WIDTH, 7)


def test_an_encoder_is_its_convolutions_and_blocks() -> None:
    frames, dims = 40, WhisperDims(80, 1500, WIDTH, 2, LAYERS, 1, 1, 2, 1, 1)
    convolutions = products(80, WIDTH, 3, 2 * frames) + products(WIDTH, WIDTH, 3, frames)
    block = products(frames, 12 * WIDTH, WIDTH) + 2 * products(frames, frames, WIDTH)
    assert flops(AudioEncoder(dims), torch.zeros(1, 80, 2 * frames)) == convolutions + LAYERS * block


def test_every_part_has_a_row_and_its_share() -> None:
    plan = Plan(encoders=("tiny",), contexts=(0.8,), widths=(None, 128, 512), repeat=1)
    calls: list[int] = []
    rows = list(measure(plan, lambda: calls.append(1)))
    assert [row.part for row in rows[:2]] == [ENCODER, POOLING]
    assert (rows[0].flops_share, rows[0].time_share) == (100, 100)
    # 512 is no projection of an encoder that is narrower.
    assert [(row.part, row.width) for row in rows[2:]] == [(kind, w) for kind in HEADS for w in (None, 128)]
    full = {row.part: row for row in rows[2:] if row.width is None}
    assert round(full["tl-tr"].parameters / 1e6, 3) == 3.752
    assert full["last-mlp"].mflops <= full["wa-mlp"].mflops < full["wa-tr"].mflops < full["tl-tr"].mflops
    for row in rows:
        assert row.flops_share == pytest.approx(100 * row.mflops / rows[0].mflops)
        assert row.ms > 0
    assert calls == [1]


def test_encoders_are_official_sizes_or_models_of_ours() -> None:
    assert dims_of("large").n_audio_layer == 32
    assert dims_of("bundled").n_audio_state == 512
    with pytest.raises(ConfigError, match="Did you mean 'tiny'"):
        dims_of("tinny")
    with pytest.raises(ConfigError, match=r"at least 0.4 s"):
        next(measure(Plan(encoders=("tiny",), contexts=(0.2,))))
    with pytest.raises(ModelError, match="tl-tr"):
        list(measure(Plan(encoders=("tiny",), contexts=(0.4,), heads=("tltr",), repeat=1)))
