"""What the daemon publishes: one frozen model an event, one JSON object a websocket message.

``seq`` and ``time`` are given by the bus at publication. ``start`` and ``end`` are seconds on the
stream's own clock, which starts at 0 with the stream and runs on through gaps. The JSON Schema in
``docs/`` is generated from these classes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class SourceState(StrEnum):
    """What a source is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    PAUSED = "paused"
    FAILED = "failed"
    ENDED = "ended"


class Event(BaseModel):
    """Fields that every event has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    droppable: ClassVar[bool] = False
    """Whether a slow client may miss it. What is not is delivered, or the client is disconnected."""

    type: str
    seq: Annotated[int, Field(ge=0, description="Grows by one with every event; `since` refers to it.")] = 0
    stream: Annotated[str | None, Field(description="Name of the stream, null for the daemon itself.")] = None
    time: Annotated[float, Field(description="When it was published, in Unix seconds.")] = 0.0


class Hello(Event):
    """First message on a connection."""

    type: Literal["hello"] = "hello"
    version: str
    protocol: int = 1
    model: str
    languages: list[str]
    labels: Annotated[list[str], Field(description="Names of every sound the model's tag head knows.")]
    streams: dict[str, SourceState]
    last_seq: int
    oldest_seq: Annotated[int, Field(description="Smallest sequence number that `since` can still reach.")]
    instance: Annotated[str, Field(description="Differs after every start: numbers begin anew.")] = ""


class StreamState(Event):
    """A source changed its state."""

    type: Literal["stream.state"] = "stream.state"
    state: SourceState
    source: Annotated[str, Field(description="Where the audio comes from, without any password.")]
    detail: str = ""
    retry_in: Annotated[float | None, Field(description="Seconds until the next attempt.")] = None


class StreamGap(Event):
    """Audio that never arrived or was lost; the stream's clock runs on through it."""

    type: Literal["stream.gap"] = "stream.gap"
    start: float
    end: float
    reason: Annotated[str, Field(description="interruption, overrun, device_overflow, paused, …")]


class SpeechStarted(Event):
    """Somebody began to speak."""

    type: Literal["speech.started"] = "speech.started"
    utterance: int
    start: float


class SpeechStopped(Event):
    """The endpoint of an utterance; its final follows."""

    type: Literal["speech.stopped"] = "speech.stopped"
    utterance: int
    start: float
    end: float
    reason: Literal["silence", "complete", "max_length", "gap", "end"]


class TranscriptPartial(Event):
    """What has been understood so far of an utterance that goes on."""

    droppable: ClassVar[bool] = True
    type: Literal["transcript.partial"] = "transcript.partial"
    utterance: int
    start: float
    end: float
    text: str
    stable: Annotated[str, Field(description="The beginning of `text` that will not change.")]


class Word(BaseModel):
    """One word with its times on the stream's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    start: float
    end: float
    probability: float


class TranscriptFinal(Event):
    """The text of an utterance. Sent for every utterance, with empty text where nothing was understood."""

    type: Literal["transcript.final"] = "transcript.final"
    utterance: int
    start: float
    end: float
    text: str
    words: list[Word]
    language: str
    avg_logprob: float
    no_speech_prob: float
    latency_ms: Annotated[float, Field(description="From the endpoint's decision to this event.")]


class Emotion(Event):
    """How an utterance was said, by a checkpoint that judges that: of a voice, not of a person."""

    type: Literal["emotion"] = "emotion"
    utterance: int
    start: float
    end: float
    label: Annotated[str, Field(description="The likeliest class, empty where there are dimensions.")]
    kind: Annotated[
        Literal["classes", "dimensions"],
        Field(description="Probabilities of classes, or a value for each dimension such as arousal."),
    ]
    scores: dict[str, float]


class Tag(BaseModel):
    """One sound label and its score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    id: Annotated[str, Field(description="AudioSet id, empty for labels of one's own.")] = ""
    score: Annotated[float, Field(ge=0, le=1)]


class SoundTags(Event):
    """The most probable sounds of one window."""

    droppable: ClassVar[bool] = True
    type: Literal["sound.tags"] = "sound.tags"
    start: float
    end: float
    tags: list[Tag]


class SoundStarted(Event):
    """A sound began. Overlapping windows report it once."""

    type: Literal["sound.started"] = "sound.started"
    sound: Annotated[int, Field(description="Number of this occurrence on its stream.")]
    label: str
    id: str = ""
    start: float
    score: float


class SoundStopped(Event):
    """A sound ended."""

    type: Literal["sound.stopped"] = "sound.stopped"
    sound: int
    label: str
    id: str = ""
    start: float
    end: float
    peak: float


class Level(Event):
    """Loudness of 100 ms; sent only to clients that ask for it."""

    droppable: ClassVar[bool] = True
    type: Literal["level"] = "level"
    start: float
    end: float
    rms_db: Annotated[float, Field(description="dB relative to full scale, -120 for digital silence.")]
    peak_db: float
    bands: Annotated[list[int], Field(description="Energy of mel bands from low to high, dB full scale.")]


class StreamStats(BaseModel):
    """Running totals and rates of one stream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: SourceState
    position: Annotated[float, Field(description="Seconds of the stream's clock heard so far.")]
    lag: Annotated[float, Field(description="Seconds from the newest sample to the newest one inferred.")]
    lost: Annotated[float, Field(description="Seconds lost to gaps.")]
    encoder_passes: int
    passes_per_second: Annotated[float, Field(description="Encoder passes a second of audio, lately.")]
    partials_replaced: Annotated[int, Field(description="Partials overtaken by a newer one before they ran.")]
    ambient_stretched: Annotated[int, Field(description="Ambient passes skipped under load.")]
    finals: int
    finals_waiting: int
    suppressed: Annotated[
        dict[str, int], Field(description="Finals whose text was not believed, by the reason.")
    ] = {}


class Stats(Event):
    """How the daemon is doing; once a second."""

    droppable: ClassVar[bool] = True
    type: Literal["stats"] = "stats"
    uptime: float
    streams: dict[str, StreamStats]
    clients: int
    events_dropped: Annotated[int, Field(description="Droppable events that slow clients missed.")]
    clients_disconnected: Annotated[int, Field(description="Clients disconnected for being too slow.")]


class ErrorEvent(Event):
    """Something went wrong: with a stream, or with what this client asked for."""

    type: Literal["error"] = "error"
    code: str
    message: str


AnyEvent = Annotated[
    Hello
    | StreamState
    | StreamGap
    | SpeechStarted
    | SpeechStopped
    | TranscriptPartial
    | TranscriptFinal
    | Emotion
    | SoundTags
    | SoundStarted
    | SoundStopped
    | Level
    | Stats
    | ErrorEvent,
    Field(discriminator="type"),
]

EVENT_TYPES: tuple[type[Event], ...] = (
    Hello,
    StreamState,
    StreamGap,
    SpeechStarted,
    SpeechStopped,
    TranscriptPartial,
    TranscriptFinal,
    Emotion,
    SoundTags,
    SoundStarted,
    SoundStopped,
    Level,
    Stats,
    ErrorEvent,
)

event_adapter: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)
"""Parses one event from JSON, for clients written with this package."""
