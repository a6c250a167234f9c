"""From audio to a model that the daemon gives short contexts, or to one that has not earned them."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from streamer.asr.tokenizer import Tokenizer, load_tokenizer
from streamer.config import ModelConfig
from streamer.engine import load_engine
from streamer.errors import CheckpointError, StreamerError
from streamer.nn.checkpoint import load
from streamer.nn.definition import HeadInfo, TagsInfo
from streamer.nn.head_checkpoint import encoder_info, save_head
from streamer.nn.whisper import Whisper, WhisperDims
from streamer.timebase import FULL_CONTEXT, SAMPLE_RATE
from streamer.training.context.config import ContextConfig, Draws, Limits
from streamer.training.context.recipe import Outcome, train_context
from tests.tiny import LABELS, save_tiny, tiny_model
from tests.training.context.recordings import QUICK, save_stock, stock, write_recordings

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_recordings(tmp_path / "data")


def train(tmp_path: Path, model: Path, config: ContextConfig = QUICK, tags: str | None = None) -> Outcome:
    return train_context(model, [tmp_path / "data"], tmp_path / "out", tmp_path / "work", config, tags)


def test_the_margin_that_was_earned_is_what_the_engine_gives(tmp_path: Path, data: Path) -> None:
    outcome = train(tmp_path, save_stock(tmp_path / "stock"))
    assert outcome.margin == 0.0
    first = outcome.rows[0]
    assert first.after.states < first.before.states
    loaded = load(tmp_path / "out")
    assert loaded.info.context.short
    assert loaded.info.context.encoder
    assert loaded.info.scores["context_states"] == pytest.approx(first.after.states, abs=1e-3)
    assert loaded.labels == LABELS
    assert loaded.ctc is not None
    engine = load_engine(ModelConfig(name=str(tmp_path / "out")))
    assert engine.context(3 * SAMPLE_RATE) == 3.2 * SAMPLE_RATE
    stock_engine = load_engine(ModelConfig(name=str(tmp_path / "stock")))
    assert stock_engine.context(3 * SAMPLE_RATE) == FULL_CONTEXT
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [row["step"] for row in report["curve"]] == [3, 6]
    assert [row["margin"] for row in report["rows"]] == [0.0, 1.6, None]
    # Nothing is left to do: another look at it says the same.
    assert train(tmp_path, tmp_path / "stock") == outcome
    # And another encoder has not earned it.
    save_tiny(tmp_path / "other", tiny_model(seed=1), "fp32")
    (tmp_path / "other" / "weights.safetensors").replace(tmp_path / "out" / "weights.safetensors")
    with pytest.raises(CheckpointError, match="measured with another encoder"):
        load(tmp_path / "out")


def test_a_larger_margin_is_taken_where_only_that_is_near_enough(tmp_path: Path, data: Path) -> None:
    measured = train(tmp_path, save_stock(tmp_path / "stock"), replace(QUICK, steps=0))
    less, more, _ = (row.after.states for row in measured.rows)
    assert more < less
    limits = replace(QUICK.limits, states=(less + more) / 2)
    outcome = train(tmp_path, tmp_path / "stock", replace(QUICK, steps=0, limits=limits))
    assert outcome.margin == 1.6
    engine = load_engine(ModelConfig(name=str(tmp_path / "out")))
    assert engine.context(3 * SAMPLE_RATE) == 4.8 * SAMPLE_RATE


def test_what_is_not_earned_is_not_allowed(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strict = replace(QUICK, limits=Limits(states=1e-6, texts=0.0, sounds=1e-6))
    with caplog.at_level(logging.WARNING, "streamer"):
        outcome = train(tmp_path, save_stock(tmp_path / "stock"), strict)
    assert outcome.margin is None
    assert "no margin was earned" in caplog.text
    loaded = load(tmp_path / "out")
    assert not loaded.short_context
    assert "context_states" not in loaded.info.scores
    for a, b in zip(loaded.model.parameters(), stock().model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_a_stock_checkpoint_brings_its_vocabulary_and_takes_a_head_along(tmp_path: Path, data: Path) -> None:
    pytest.importorskip("whisper")
    torch.manual_seed(0)
    dims = WhisperDims(80, 1500, 64, 2, 2, 51864, 448, 12, 6, 4)
    whisper = Whisper(dims)
    torch.save({"dims": asdict(dims), "model_state_dict": whisper.state_dict()}, tmp_path / "tiny.en.pt")
    tags = tiny_model().tags
    assert tags is not None
    about = HeadInfo(name="mine", encoder=encoder_info("tiny.en", whisper), tags=TagsInfo())
    save_head(tmp_path / "head", about, tags, LABELS)
    quick = replace(QUICK, steps=2, every=2, texts=False, margins=(0.0,))
    outcome = train(tmp_path, tmp_path / "tiny.en.pt", quick, str(tmp_path / "head"))
    assert outcome.rows[0].after.texts is None
    assert outcome.rows[0].after.sounds is not None
    loaded = load(tmp_path / "out")
    assert loaded.short_context
    assert loaded.labels == LABELS
    assert loaded.model.alignment_heads == load(tmp_path / "tiny.en.pt").model.alignment_heads
    tokenizer, official = load_tokenizer(loaded.vocabulary), Tokenizer.official(51864)
    assert tokenizer.encode(" Good morning") == official.encode(" Good morning")
    assert tokenizer.timestamp_begin == official.timestamp_begin
    assert not tokenizer.is_multilingual


def test_a_decoder_is_asked_where_it_is_what_writes(tmp_path: Path, data: Path) -> None:
    save_tiny(tmp_path / "stock", stock("attention"), "fp32")
    train(tmp_path, tmp_path / "stock", replace(QUICK, margins=(1.6,)))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert all(row["text"] > 0 for row in report["curve"])


def test_states_that_nobody_has_read_earn_nothing(
    tmp_path: Path, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mute = replace(stock("attention"), tags=None, ctc=None, labels=(), thresholds=())
    save_tiny(tmp_path / "stock", mute, "fp32")
    with caplog.at_level(logging.WARNING, "streamer"):
        outcome = train(tmp_path, tmp_path / "stock", replace(QUICK, steps=0, texts=False, margins=(1.6,)))
    assert outcome.margin is None
    assert "states alone do not say" in caplog.text


def test_what_cannot_be_used(tmp_path: Path, data: Path) -> None:
    save_tiny(tmp_path / "short", tiny_model())
    with pytest.raises(StreamerError, match="expected a checkpoint that runs in its full context"):
        train(tmp_path, tmp_path / "short")
    save_stock(tmp_path / "stock")
    with pytest.raises(StreamerError, match="recordings of 9 s or more, found 5 shorter ones"):
        train(tmp_path, tmp_path / "stock", replace(QUICK, draws=Draws(shortest=9.0)))
    train(tmp_path, tmp_path / "stock", replace(QUICK, steps=2, every=1))
    with pytest.raises(StreamerError, match="found another config"):
        train(tmp_path, tmp_path / "stock", replace(QUICK, steps=3, every=1))
