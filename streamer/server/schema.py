"""The JSON Schema of everything that crosses /ws, generated from the models.

`python -m streamer.server.schema > docs/events.schema.json` brings the committed file up to date.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from streamer.events import AnyEvent
from streamer.server.messages import ClientMessage


class _Generator(GenerateJsonSchema):
    """What we send always has every field, also those with a default."""

    def field_is_required(
        self,
        field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField,
        total: bool,
    ) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)


def schema() -> dict[str, Any]:
    """One event validates against the schema itself, one client message against `#/$defs/ClientMessage`."""
    events: TypeAdapter[Any] = TypeAdapter(AnyEvent)
    messages: TypeAdapter[Any] = TypeAdapter(ClientMessage)
    found, shared = TypeAdapter.json_schemas(
        [("Event", "serialization", events), ("ClientMessage", "validation", messages)],
        ref_template="#/$defs/{model}",
        schema_generator=_Generator,
    )
    definitions = dict(shared["$defs"])
    definitions["ClientMessage"] = found["ClientMessage", "validation"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "streamer events",
        "description": "One text message from the daemon on /ws. Client messages: #/$defs/ClientMessage.",
        **found["Event", "serialization"],
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """The committed file's content."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
