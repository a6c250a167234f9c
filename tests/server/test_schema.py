"""The committed schema is the code's, and every message fits it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from streamer import events
from streamer.events import EVENT_TYPES, Event, SourceState
from streamer.server import schema
from streamer.server.messages import TYPES

ROOT = Path(__file__).parents[2]

STATS = events.StreamStats(
    state=SourceState.LIVE,
    position=1,
    lag=0.1,
    lost=0,
    encoder_passes=1,
    passes_per_second=1,
    partials_replaced=0,
    ambient_stretched=0,
    finals=0,
    finals_waiting=0,
)
EXAMPLES: list[Event] = [
    events.Hello(
        version="1", model="m", languages=["en"], labels=["Dog"], streams={"a": SourceState.LIVE},
        last_seq=3, oldest_seq=1, instance="x",
    ),
    events.StreamState(stream="a", seq=1, state=SourceState.RECONNECTING, source="rtsp://cam/", retry_in=5),
    events.StreamGap(stream="a", seq=2, start=1, end=2, reason="overrun"),
    events.SpeechStarted(stream="a", seq=3, utterance=1, start=0.5),
    events.SpeechStopped(stream="a", seq=4, utterance=1, start=0.5, end=1.5, reason="silence"),
    events.TranscriptPartial(stream="a", seq=5, utterance=1, start=0.5, end=1, text="he", stable=""),
    events.TranscriptFinal(
        stream="a", seq=6, utterance=1, start=0.5, end=1.5, text="hello",
        words=[events.Word(text="hello", start=0.6, end=1.2, probability=0.9)],
        language="en", avg_logprob=-0.2, no_speech_prob=0.01, latency_ms=80,
    ),
    events.Emotion(
        stream="a", seq=6, utterance=1, start=0.5, end=1.5, label="joy", kind="classes",
        scores={"joy": 0.9, "anger": 0.1},
    ),
    events.SoundTags(seq=7, start=0, end=4, tags=[events.Tag(label="Dog", id="/m/0bt9lr", score=0.8)]),
    events.SoundStarted(stream="a", seq=8, sound=1, label="Dog", start=2, score=0.8),
    events.SoundStopped(stream="a", seq=9, sound=1, label="Dog", start=2, end=3, peak=0.9),
    events.Level(stream="a", seq=10, start=0, end=0.1, rms_db=-30, peak_db=-12, bands=[-40, -50]),
    events.Stats(seq=11, uptime=5, streams={"a": STATS}, clients=1, events_dropped=0, clients_disconnected=0),
    events.ErrorEvent(seq=12, code="x", message="y"),
]  # fmt: skip


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    document = json.loads((ROOT / "docs" / "events.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(document)
    return Draft202012Validator(document)


def test_the_committed_schema_is_the_generated_one() -> None:
    committed = (ROOT / "docs" / "events.schema.json").read_text(encoding="utf-8")
    assert committed == schema.text(), "python -m streamer.server.schema > docs/events.schema.json"


def test_there_is_an_example_of_every_type() -> None:
    assert {type(example) for example in EXAMPLES} == set(EVENT_TYPES)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.type)
def test_every_event_fits(validator: Draft202012Validator, event: Event) -> None:
    message = json.loads(event.model_dump_json())
    validator.validate(message)
    with pytest.raises(ValidationError):
        validator.validate({**message, "surprise": 1})
    with pytest.raises(ValidationError):
        validator.validate({name: value for name, value in message.items() if name != "time"})


@pytest.mark.parametrize(
    ("message", "good"),
    [
        ({"type": "subscribe"}, True),
        ({"type": "subscribe", "streams": ["a"], "types": ["level"], "since": 4, "instance": "x"}, True),
        ({"type": "subscribe", "types": None, "since": None}, True),
        ({"type": "subscribe", "types": ["nonsense"]}, False),
        ({"type": "pause", "stream": "a"}, True),
        ({"type": "pause"}, False),
        ({"type": "audio.open", "stream": "a", "rate": 48000, "encoding": "f32le", "channels": 2}, True),
        ({"type": "audio.open", "stream": "a b"}, False),
        ({"type": "audio.close"}, True),
    ],
)
def test_client_messages(validator: Draft202012Validator, message: dict[str, Any], good: bool) -> None:
    client = validator.evolve(schema={**validator.schema, "oneOf": [{"$ref": "#/$defs/ClientMessage"}]})
    assert client.is_valid(message) == good


def test_the_protocol_document_shows_every_message_and_its_examples_are_valid(
    validator: Draft202012Validator,
) -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    shown = [json.loads(block.split("```")[0]) for block in text.split("```json\n")[1:]]
    client = validator.evolve(schema={**validator.schema, "oneOf": [{"$ref": "#/$defs/ClientMessage"}]})
    for message in shown:
        (validator if "time" in message else client).validate(message)
    assert {message["type"] for message in shown} == {
        *TYPES, "subscribe", "pause", "resume", "audio.open", "audio.close",
    }  # fmt: skip
