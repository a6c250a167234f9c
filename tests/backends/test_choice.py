"""What computes: who can, who was quicker, and how long that is believed."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamer.backends import choice, openvino, state, verdict
from streamer.backends.choice import VERDICTS, Backend, Fitting, fit
from streamer.backends.kept import Kept
from streamer.backends.onnx import OnnxNetwork
from streamer.backends.stored import StoredModel, Weights, read_stored
from streamer.backends.verdict import Trial, Verdict
from streamer.config import ModelConfig
from streamer.engine import load_engine
from streamer.errors import MissingExtraError
from streamer.nn.checkpoint import LoadedModel, load
from streamer.nn.definition import ContextInfo, HeadInfo, TagsInfo, Vocabulary
from streamer.nn.head_checkpoint import encoder_info, save_head
from streamer.timebase import FULL_CONTEXT, SAMPLE_RATE
from tests.tiny import LABELS, save_tiny, tiny_model

needs_openvino = pytest.mark.skipif(
    not openvino.installed(), reason="OpenVINO is not installed (extra `openvino`)"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STREAMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(verdict, "SECONDS", 1.0)
    monkeypatch.setattr(verdict, "WINDOWS", 1)
    monkeypatch.setattr(verdict, "ROUNDS", 1)
    # What a second Python is for does not matter here, and starting one takes seconds.
    monkeypatch.setattr(choice, "in_child", lambda function, *given: function(*given))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny(tmp_path / "model")


def asked(folder: Path, **settings: Any) -> ModelConfig:
    return ModelConfig(name=str(folder), threads=1, **settings)


def choose(config: ModelConfig, backend: Backend, threads: int) -> tuple[StoredModel, OnnxNetwork] | None:
    return choice.choose(config, backend, threads, bounds)


def bounds(vocabulary: Vocabulary) -> tuple[list[int], int]:
    return [vocabulary.n_vocab - 1], vocabulary.n_vocab - 2


def measured(caplog: pytest.LogCaptureFixture) -> int:
    return sum("once: a few seconds" in record.message for record in caplog.records)


def test_a_verdict_is_kept_until_the_model_or_what_computes_changes(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    first = choose(asked(folder), "auto", 1)
    kept = json.loads((cache / VERDICTS).read_text())
    assert [Verdict.of(one).backend != "torch" for one in kept.values()] == [first is not None]
    assert (choose(asked(folder), "auto", 1) is None) == (first is None)
    assert measured(caplog) == 1
    choose(asked(folder), "auto", 2)
    assert measured(caplog) == 2
    save_tiny(folder, tiny_model(seed=1))
    choose(asked(folder), "auto", 1)
    assert measured(caplog) == 3
    monkeypatch.setattr(state, "_version", lambda package: f"another {package}")
    choose(asked(folder), "auto", 1)
    assert measured(caplog) == 4
    assert len(json.loads((cache / VERDICTS).read_text())) == 4


def test_a_cache_that_says_nothing_or_cannot_be_written_is_no_obstacle(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cache.mkdir()
    (cache / VERDICTS).write_text("[")
    choose(asked(folder), "auto", 1)
    (cache / VERDICTS).unlink()
    (cache / VERDICTS).mkdir()
    choose(asked(folder), "auto", 1)
    assert measured(caplog) == 2
    assert "cannot write" in caplog.text


@pytest.mark.parametrize("decoder", ["auto", "attention"])
def test_what_cannot_be_kept_is_computed_all_the_same(
    decoder: str, folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where a folder should be")
    assert choose(asked(folder, decoder=decoder), "onnx", 1) is not None
    assert "cannot keep" in caplog.text


@pytest.mark.parametrize("decoder", ["auto", "attention"])
def test_later_starts_need_neither_the_weights_nor_torch(
    decoder: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = asked(folder, decoder=decoder)
    samples = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    found = fit(config)
    assert isinstance(found, Fitting)
    networks = [found.network(1)]
    for _ in range(2):
        chosen = choose(config, "onnx", 1)
        assert chosen is not None
        assert chosen[0] == found.model
        networks.append(chosen[1])
        # From here on whoever asks for them fails.
        monkeypatch.setattr(choice, "_loaded", None)
        monkeypatch.setattr(Weights, "of", None)
    wanted, *others = (network.encode([samples], 2 * SAMPLE_RATE, True, False) for network in networks)
    for other in others:
        np.testing.assert_array_equal(other.states, wanted.states)
        np.testing.assert_array_equal(other.layers, wanted.layers)
    assert {network.writer is None for network in networks} == {decoder == "auto"}
    assert {network.follow is None for network in networks} == {decoder != "auto"}


def test_another_head_is_kept_beside_the_models_own(folder: Path, tmp_path: Path) -> None:
    tiny = load(folder)
    assert tiny.tags is not None
    about = HeadInfo(name="head", encoder=encoder_info("tiny", tiny.model), tags=TagsInfo(width=32))
    save_head(tmp_path / "head", about, tiny.tags, LABELS)
    kept = []
    for settings in ({}, {"tags": str(tmp_path / "head")}, {}):
        ready = choice.prepare(asked(folder, **settings), "onnx", 1, bounds)
        assert isinstance(ready, Kept)
        kept.append(ready)
    assert kept[0] == kept[2]
    assert kept[0].graphs != kept[1].graphs


def test_why_a_model_cannot_be_is_found_out_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    (tmp_path / "no.pt").write_bytes(b"something else")
    config = ModelConfig(name=str(tmp_path / "no.pt"))
    assert choose(config, "auto", 1) is None
    monkeypatch.setattr(choice, "in_child", None)
    assert choose(config, "auto", 1) is None
    assert caplog.text.count("is no Whisper") == 2


def test_what_is_not_here_is_for_the_loader_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert choose(ModelConfig(name="none-such"), "auto", 1) is None
    assert "not on this machine" in caplog.text


@pytest.mark.parametrize(
    ("found", "backend"),
    [
        (Verdict(10.0, Trial(5.0, 0.001, 0.001)), "onnx"),
        (Verdict(10.0, Trial(10.5, 0.001, 0.001)), "onnx"),
        (Verdict(10.0, Trial(12.0, 0.001, 0.001)), "torch"),
        (Verdict(10.0, Trial(5.0, 0.02, 0.001)), "torch"),
        (Verdict(10.0, Trial(5.0, 0.001, 0.2)), "torch"),
        (Verdict(10.0, Trial(5.0, 0.02, 0.001), writes=True), "onnx"),
        (Verdict(10.0, Trial(5.0, 0.001, 0.001), Trial(4.9, 0.001, 0.001)), "onnx"),
        (Verdict(10.0, Trial(5.0, 0.001, 0.001), Trial(4.0, 0.001, 0.001)), "openvino"),
        (Verdict(10.0, Trial(5.0, 0.001, 0.001), Trial(4.0, 0.02, 0.001)), "onnx"),
        (Verdict(10.0, Trial(5.0, 0.02, 0.001), Trial(9.0, 0.001, 0.001)), "openvino"),
        (Verdict(10.0, Trial(20.0, 0.001, 0.001), Trial(12.0, 0.001, 0.001)), "torch"),
    ],
)
def test_neither_much_slower_nor_different_is_taken(found: Verdict, backend: str) -> None:
    assert found.backend == backend
    assert Verdict.of(json.loads(json.dumps(asdict(found)))) == found


def test_what_was_chosen_before_is_taken_at_its_word(folder: Path, cache: Path) -> None:
    choose(asked(folder), "auto", 1)
    (key,) = json.loads((cache / VERDICTS).read_text())
    for ms, onnx in ((1.0, True), (100.0, False)):
        kept = Verdict(10.0, Trial(ms, 0.0, 0.0))
        (cache / VERDICTS).write_text(json.dumps({key: asdict(kept)}))
        engine = load_engine(asked(folder), backend="auto")
        assert isinstance(engine.model, StoredModel) is onnx


def test_torch_is_torch(folder: Path) -> None:
    assert isinstance(load_engine(asked(folder), backend="torch").model, LoadedModel)
    assert isinstance(load_engine(asked(folder), backend="onnx").model, StoredModel)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"precision": "fp32"}, "model.precision is 'fp32'"),
        ({"tags": "none-such"}, "none-such"),
    ],
)
def test_what_onnx_runtime_cannot_do_is_left_to_torch(
    settings: dict[str, str], reason: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = fit(asked(folder, **settings))
    assert isinstance(found, str)
    assert reason in found
    assert choose(asked(folder, **settings), "onnx", 1) is None
    assert reason in caplog.text
    assert "torch computes" in caplog.text


def test_what_needs_no_torch_is_told_apart_from_what_it_has_to_load(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "a")
    needs = {}
    for decoder in ("auto", "attention"):
        found = fit(asked(folder, decoder=decoder))
        assert isinstance(found, Fitting)
        needs[decoder] = found.weights is not None, found.writes
    assert needs == {"auto": (False, False), "attention": (True, True)}
    without = fit(asked(save_tiny(tmp_path / "b", replace(tiny_model(), ctc=None))))
    assert isinstance(without, Fitting)
    assert without.writes


def test_what_is_too_large_is_not_even_tried(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(choice, "LARGEST", 1000)
    assert choose(asked(folder), "auto", 1) is None
    assert "too large to be tried" in caplog.text
    assert not cache.exists()
    assert choose(asked(folder), "onnx", 1) is not None


def test_what_is_no_whisper_is_torchs(folder: Path) -> None:
    assert isinstance(fit(ModelConfig(name="none-such")), str)
    assert isinstance(fit(asked(folder, emotion="some")), str)


def test_a_decoder_is_measured_by_what_it_writes(folder: Path, cache: Path) -> None:
    choose(asked(folder, decoder="attention"), "auto", 1)
    (kept,) = json.loads((cache / VERDICTS).read_text()).values()
    assert kept["writes"]


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    """What knows nothing but 30 s."""
    model = tiny_model()
    return save_tiny(
        tmp_path / "stock", replace(model, info=model.info.model_copy(update={"context": ContextInfo()}))
    )


@pytest.mark.parametrize("backend", ["auto", "onnx"])
@pytest.mark.parametrize("decoder", ["auto", "attention"])
def test_silence_is_thinned_where_that_says_the_same(
    backend: Backend,
    decoder: str,
    stock: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(verdict, "TOLERANCE", 1000.0)  # how quick it is does not matter
    config = asked(stock, decoder=decoder)
    for time in ("measured", "kept"):
        chosen = choose(config, backend, 1)
        assert chosen is not None, time
        assert chosen[0].info.context.thinned, time
        assert chosen[1].context(SAMPLE_RATE) < 2 * SAMPLE_RATE, time
    assert measured(caplog) == 1
    monkeypatch.setattr(verdict, "FURTHEST", -1.0)
    monkeypatch.setattr(verdict, "FURTHEST_TOKEN", -1.0)
    monkeypatch.setattr(verdict, "FURTHEST_SHARE", -1.0)
    shutil.rmtree(state.place(config, "onnx").path, ignore_errors=True)  # auto may have kept OpenVINO's
    whole = choose(config, "onnx", 1)
    assert whole is not None
    assert whole[1].context(SAMPLE_RATE) == FULL_CONTEXT
    assert "hears all silence" in caplog.text


@pytest.mark.parametrize("backend", ["auto", "onnx", "torch"])
@pytest.mark.parametrize("silence", ["whole", "thinned"])
def test_what_is_set_about_silence_holds(silence: str, backend: Backend, stock: Path) -> None:
    engine = load_engine(asked(stock, silence=silence), backend=backend)
    assert engine.model.info.context.thinned == (silence == "thinned")
    assert (engine.context(SAMPLE_RATE) == FULL_CONTEXT) == (silence == "whole")


def test_a_short_context_has_no_silence_to_thin(folder: Path) -> None:
    chosen = choose(asked(folder, silence="thinned"), "onnx", 1)
    assert chosen is not None
    assert chosen[0].info.context == read_stored(folder).info.context


@needs_openvino
@pytest.mark.parametrize("decoder", ["auto", "attention"])
def test_openvino_computes_the_encoder_alone(decoder: str, folder: Path) -> None:
    config = asked(folder, decoder=decoder)
    samples = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32)
    states = []
    backends: tuple[Backend, ...] = ("onnx", "openvino", "openvino")
    for backend in backends:
        chosen = choose(config, backend, 1)
        assert chosen is not None
        encoded = chosen[1].encode([samples], 2 * SAMPLE_RATE, True, False)
        assert encoded.layers is not None
        assert chosen[1].tags([encoded.layers[0]]).shape == (1, len(LABELS))
        states.append(encoded.states)
    onnx, first, kept = states
    assert not np.array_equal(first, onnx)
    assert np.abs(first - onnx).mean() < 0.05 * onnx.std()
    np.testing.assert_array_equal(kept, first)


@needs_openvino
def test_openvino_is_measured_where_it_is(
    folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    choose(asked(folder), "auto", 1)
    (kept,) = json.loads((cache / VERDICTS).read_text()).values()
    assert Verdict.of(kept).openvino is not None
    assert "; OpenVINO " in caplog.text


def test_openvino_where_it_is_not_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino, "installed", lambda: False)
    with pytest.raises(MissingExtraError, match=r"streamer\[openvino\]"):
        choose(asked(folder), "openvino", 1)
