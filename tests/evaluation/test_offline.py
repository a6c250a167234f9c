from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.asr.bytepairs import write_ranks
from streamer.asr.decode import DecodeOptions
from streamer.config import ModelConfig
from streamer.engine import Engine, Request
from streamer.errors import ConfigError
from streamer.evaluation.asr import Reading
from streamer.evaluation.offline import OfflineReader, load_readers, pieces, reader_of
from streamer.nn.checkpoint import save
from streamer.timebase import SAMPLE_RATE
from tests.tiny import LABELS, tiny_model, tiny_tokenizer

NOISE = (0.1 * np.random.default_rng(5).standard_normal(2 * SAMPLE_RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """The tiny model with its CTC branch, in a folder."""
    folder = tmp_path_factory.mktemp("models")
    tiny = tiny_model()
    write_ranks(folder / "ranks", [bytes([i]) for i in range(256)])
    info = tiny.info.model_copy(update={"name": "both"})
    parts = {"tags": tiny.tags, "ctc": tiny.ctc}
    save(folder / "both", info, tiny.model, folder / "ranks", labels=LABELS, precision="fp32", **parts)  # type: ignore[arg-type]
    return ModelConfig(name=str(folder / "both"), threads=1, precision="fp32")


def test_it_reads_what_one_pass_of_the_engine_reads(config: ModelConfig) -> None:
    readers = load_readers(config)
    assert list(readers) == ["attention", "ctc"]
    for decoder, reader in readers.items():
        reading = reader(Path("x.wav"), NOISE)
        engine = Engine(tiny_model(), tiny_tokenizer(), decoder=decoder)
        (result,) = engine.run([Request(NOISE, DecodeOptions(duration=2.0))])
        assert result.decoded is not None
        assert reading == Reading(result.decoded.text, 1)
    assert readers["ctc"](Path("x.wav"), NOISE).text


def test_modules_in_memory_read_as_the_saved_model_does(config: ModelConfig) -> None:
    tiny = tiny_model()
    assert tiny.ctc is not None
    for decoder, saved in load_readers(config).items():
        ours = reader_of(tiny.model, tiny.ctc, tiny_tokenizer(), decoder)
        assert ours(Path("x"), NOISE) == saved(Path("x"), NOISE)


def test_the_other_backend_reads_too_where_it_is_asked_for(config: ModelConfig) -> None:
    readers = load_readers(config.model_copy(update={"precision": "auto"}), backend="onnx")
    assert [(name, reader(Path("x.wav"), NOISE).passes) for name, reader in readers.items()] == [
        ("attention", 1),
        ("ctc", 1),
    ]


def test_one_decoder_only_and_one_that_is_not_there(config: ModelConfig, tmp_path: Path) -> None:
    assert list(load_readers(config, ("ctc",))) == ["ctc"]
    tiny = tiny_model()
    write_ranks(tmp_path / "ranks", [bytes([i]) for i in range(256)])
    info = tiny.info.model_copy(update={"ctc": None, "tags": None, "name": "plain"})
    save(tmp_path / "plain", info, tiny.model, tmp_path / "ranks", precision="fp32")
    without = config.model_copy(update={"name": str(tmp_path / "plain")})
    assert list(load_readers(without)) == ["attention"]
    with pytest.raises(ConfigError, match="no CTC branch"):
        load_readers(without, ("ctc",))


def test_silence_without_a_sample_needs_no_pass() -> None:
    tiny = tiny_model()
    reader = OfflineReader(Engine(tiny, tiny_tokenizer()), DecodeOptions())
    assert reader(Path("x"), NOISE[:0]) == reader(Path("y"), NOISE[:0])
    assert reader(Path("x"), NOISE[:0]).passes == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20_000), st.integers(2_000, 8_000), st.integers(640, 1_900))
def test_pieces_are_the_whole_and_none_is_too_long(length: int, longest: int, search: int) -> None:
    samples = np.random.default_rng(length).standard_normal(length).astype(np.float32)
    found = pieces(samples, longest, search)
    np.testing.assert_array_equal(np.concatenate([samples[:0], *found]), samples)
    assert all(0 < len(one) <= longest for one in found)
    assert all(len(one) >= longest - search for one in found[:-1])


def test_the_cut_is_where_it_is_quiet() -> None:
    samples = np.ones(40 * SAMPLE_RATE, np.float32)
    samples[27 * SAMPLE_RATE : 27 * SAMPLE_RATE + 800] = 0
    first, second = pieces(samples)
    assert 27 * SAMPLE_RATE <= len(first) < 27 * SAMPLE_RATE + 800
    assert len(first) + len(second) == len(samples)
