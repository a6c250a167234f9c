"""Streams with models of their own, in one daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.bus import Bus
from streamer.config import Config, ModelConfig
from streamer.engine import Engine, load_engine
from streamer.errors import ConfigError
from streamer.events import Event
from streamer.pipeline import Pipeline
from streamer.settings import load as load_settings
from tests.cli.tiny import make_model
from tests.test_pipeline import KEPT, Playback, conversation, cut, essence
from tests.tiny import tiny_model, tiny_tokenizer
from tests.tiny_speech import save_speech

pytestmark = pytest.mark.filterwarnings("ignore")


def together(pipeline: Pipeline, names: list[str]) -> list[Event]:
    events: list[Event] = []
    pipeline.bus.add_sink(events.append)
    pipeline.start()
    for name in names:
        pipeline.add(Playback(cut(conversation(), lambda: 4000), name))
    pipeline.wait()
    pipeline.stop()
    return events


def of_stream(events: list[Event], name: str) -> list[Event]:
    return [event for event in events if event.stream == name]


def test_two_encoders_at_once_give_what_each_gives_alone(tmp_path: Path) -> None:
    save_speech(tmp_path, large=True)
    whisper = Engine(tiny_model(), tiny_tokenizer())
    speech = load_engine(ModelConfig(name=str(tmp_path), threads=1))
    pipeline = Pipeline(Config(), Bus(1000), whisper, fast=True, others={"b": speech})
    assert pipeline.model.name == "tiny"
    assert pipeline.model.labels == ["Dog", "Siren", "My doorbell"]
    events = together(pipeline, ["a", "b"])
    for name, engine in (("a", whisper), ("b", speech)):
        alone = together(Pipeline(Config(), Bus(1000), engine, fast=True), [name])
        assert essence(of_stream(events, name), KEPT) == essence(of_stream(alone, name), KEPT)
    heard = {name: {event.type for event in of_stream(events, name)} for name in "ab"}
    assert "sound.tags" in heard["a"] - heard["b"]
    assert "transcript.final" in heard["a"] & heard["b"]


def test_the_settings_name_a_streams_model(tmp_path: Path) -> None:
    save_speech(tmp_path / "hubert", "hubert")
    model = make_model(tmp_path / "noise")
    streams = [{"source": "push"}, {"source": "push", "name": "b", "model": str(tmp_path / "hubert")}]
    config = Config.model_validate({"model": {"name": str(model), "threads": 1}, "streams": streams})
    pipeline = Pipeline.build(config, Bus(1000), fast=True)
    events = together(pipeline, ["a", "b"])
    assert "sound.tags" in {event.type for event in of_stream(events, "a")}
    assert "sound.tags" not in {event.type for event in of_stream(events, "b")}
    assert "transcript.final" in {event.type for event in of_stream(events, "b")}


def test_a_stream_with_a_model_needs_a_name() -> None:
    with pytest.raises(ConfigError, match="needs a name"):
        load_settings(None, {}, {"streams": [{"source": "mic", "model": "base"}]})
