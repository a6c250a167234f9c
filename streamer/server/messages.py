"""What a client may say on /ws: one strict model a message."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from streamer.errors import ProtocolError
from streamer.events import EVENT_TYPES

LARGEST_TEXT = 64 * 1024
"""Characters of one text message."""

LARGEST_AUDIO = 1024 * 1024
"""Bytes of one binary message (32 s of 16 kHz s16le)."""

TYPES: tuple[str, ...] = tuple(str(event.model_fields["type"].default) for event in EVENT_TYPES)
"""Every event's `type`."""


class RefusedError(ProtocolError):
    """A message that is answered with an `error` event; the connection stays."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _known_type(name: str) -> str:
    if name not in TYPES:
        near = get_close_matches(name, TYPES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TYPES)}"
        raise ValueError(f"no event type {name[:40]!r}: {hint}")
    return name


StreamName = Annotated[str, Field(min_length=1, max_length=200)]
NewStreamName = Annotated[
    str, Field(pattern=r"^[\w.:@+\-]{1,64}$", description="1 to 64 letters, digits or any of _ . : @ + -")
]
TypeName = Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": list(TYPES)})]


class Message(BaseModel):
    """Base of every client message."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Subscribe(Message):
    """Choose what to get; replaces the choice before. Whatever is left out or null means the default."""

    type: Literal["subscribe"] = "subscribe"
    streams: Annotated[
        list[StreamName] | None, Field(max_length=256, description="Only these streams; null: all of them.")
    ] = None
    types: Annotated[
        list[TypeName] | None, Field(max_length=64, description="Only these types; null: all but level.")
    ] = None
    since: Annotated[
        int | None, Field(ge=0, description="First everything above this sequence number; null: from now on.")
    ] = None
    instance: Annotated[
        str, Field(max_length=64, description="The `instance` of the hello that `since` belongs to.")
    ] = ""


class Pause(Message):
    """Stop listening to a stream, for everybody; its source stays connected."""

    type: Literal["pause"]
    stream: StreamName


class Resume(Message):
    """Listen to a paused stream again."""

    type: Literal["resume"]
    stream: StreamName


class AudioOpen(Message):
    """Begin a stream of one's own: binary messages that follow are its samples."""

    type: Literal["audio.open"]
    stream: NewStreamName
    rate: Annotated[int, Field(ge=8000, le=192_000, description="Samples a second, of each channel.")] = (
        16_000
    )
    encoding: Literal["s16le", "f32le"] = "s16le"
    channels: Annotated[int, Field(ge=1, le=8, description="Interleaved; mixed down to one.")] = 1


class AudioClose(Message):
    """End one's stream: what is still open gets its final."""

    type: Literal["audio.close"]


ClientMessage = Annotated[
    Subscribe | Pause | Resume | AudioOpen | AudioClose,
    Field(discriminator="type"),
]

client_adapter: TypeAdapter[Subscribe | Pause | Resume | AudioOpen | AudioClose] = TypeAdapter(ClientMessage)


def parse(text: str) -> Subscribe | Pause | Resume | AudioOpen | AudioClose:
    """The message in one text frame, or RefusedError with what is wrong with it."""
    if len(text) > LARGEST_TEXT:
        raise RefusedError(
            "too_big", f"A text message may have {LARGEST_TEXT} characters, this one has {len(text)}."
        )
    try:
        return client_adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise RefusedError("bad_json", f"Expected one JSON object. {first['msg']}") from None
        raise RefusedError("bad_message", _explain(first["loc"], first["msg"])) from None


def parse_query(query: Mapping[str, str]) -> Subscribe | None:
    """The subscription in /ws's query: `since`, `types`, `streams`, `instance`; None if none is there."""
    if not {"since", "types", "streams", "instance"} & query.keys():
        return None
    fields: dict[str, object] = {"instance": query.get("instance", "")}
    for name in ("types", "streams"):
        if query.get(name):
            fields[name] = query[name].split(",")
    if "since" in query:
        text = query["since"]
        fields["since"] = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else text
    try:
        return Subscribe.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise RefusedError("bad_query", _explain(first["loc"], first["msg"])) from None


def _explain(where: tuple[int | str, ...], what: str) -> str:
    place = ".".join(str(part) for part in where)
    return (f"{place}: {what}" if place else what)[:500]
